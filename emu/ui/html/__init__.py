# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of a trace: one self-contained page, and one static SVG."""

from emu.ui.html.page import write_html
from emu.ui.html.svg import write_svg

__all__ = ["write_html", "write_svg"]
