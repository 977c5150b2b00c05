# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of a trace: one self-contained page, and one static SVG."""


