# SPDX-License-Identifier: GPL-2.0-or-later
"""mmscope: Linux programs on an emulated machine whose memory manager is written in Python."""

__version__ = "0.1.0"
