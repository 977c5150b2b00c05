# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of CPUs and nodes as the kernel prints them (lib/bitmap-str.c)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby


def cpu_list(cpus: Iterable[int]) -> str:
    """0-3,8 (bitmap_print_list)."""
    parts = []
    for _, run in groupby(enumerate(sorted(cpus)), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        parts.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    return ",".join(parts)


def cpu_map(cpus: Iterable[int], width: int) -> str:
    """Hexadecimal words of 32 bits, the highest first (bitmap_print_bitmask); `width`: CPUs of the machine."""
    mask = sum(1 << cpu for cpu in cpus)
    words = [f"{mask >> shift & 0xFFFFFFFF:08x}" for shift in range(0, width, 32)]
    digits = ((width % 32 or 32) + 3) // 4  # of the highest word
    words[-1] = words[-1][-digits:]
    return ",".join(reversed(words))
