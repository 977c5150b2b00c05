# SPDX-License-Identifier: GPL-2.0-or-later
"""Sizes on the command line."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SMALLEST = 1 << 20
LARGEST = 1 << 38


def parse_size(text: str) -> int:
    """Bytes of "512M", "2G", "65536K" or a plain number; ValueError outside of 1 MiB to 256 GiB."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:iB|B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512M or 2G")
    size = int(match[1]) * _UNITS[match[2].upper()] + 4095 & -4096
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"{text}: guest RAM must be 1M to 256G")
    return size
