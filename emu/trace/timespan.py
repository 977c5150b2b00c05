# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual times as people write and read them."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"": 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}


def parse_time(text: str) -> int:
    """Nanoseconds of "0.000027" (seconds), "27us", "1.5ms" or "27000ns"; ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(s|ms|us|µs|ns|)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 0.000027, 27us or 27000ns")
    return int(Decimal(match[1]) * _UNITS[match[2]])


def show_time(ns: float) -> str:
    """A time with three or four digits and its unit, as perf lock prints it: 950 ns, 1.23 us, 4.56 ms, 7.89 s."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns >= size:
            return f"{ns / size:.2f} {unit}"
    return f"{ns:.0f} ns"
