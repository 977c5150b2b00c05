# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as a person reads them."""

from __future__ import annotations

from emu.mm.mm_types import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE


def count(number: int, noun: str = "") -> str:
    """1 234 567 with thin spaces, and the noun in its plural where it is not one."""
    text = f"{number:,}".replace(",", "\u202f")
    return f"{text} {noun}{'' if number == 1 else 's'}" if noun else text


def span(ns: float) -> str:
    """A length of time in the unit that suits it: three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size:
            value = ns / size
            return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}\u00a0{unit}"
    return f"{ns:.0f}\u00a0ns"


def permissions(flags: int) -> str:
    """As in /proc/PID/maps: rw-p."""
    letters = "".join(
        letter if flags & bit else "-" for letter, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC))
    )
    return letters + ("s" if flags & VM_SHARED else "p")


def memory(pages: int) -> str:
    """Pages of 4 KiB as KiB, MiB or GiB."""
    size = float(pages * 4)
    for unit in ("KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size == int(size) else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.0f} TiB" if size == int(size) else f"{size:.1f} TiB"
