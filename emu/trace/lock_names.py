# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lock is called in reports: its class, and which one of the class it is.

An event names it by `text` and `address`: of mmap_lock the serial number of its mm, of a page-table lock (ptl) the
physical address of the table, of any other the number of its object; a VMA lock by the serial number of the VMA.
"""

from __future__ import annotations

SHARED = frozenset(("mmap_lock", "vma_lock"))
"""Classes of locks that readers share: of all others there is no reading and writing."""


def lock_name(name: str | None, number: int, vma: int = 0) -> str:
    """mmap_lock of mm 3, vma_lock of VMA 17, ptl 0x1c3000."""
    name = name or "lock"
    if vma:
        return f"{name} of VMA {vma}"
    if name == "vma_lock":
        return f"{name} of VMA {number}"
    return f"{name} of mm {number}" if name == "mmap_lock" else f"{name} {number:#x}" if number else name


def lock_mode(name: str | None, write: int | bool) -> str:
    """How it is taken: read or write; nothing for a lock that nobody shares."""
    return ("write" if write else "read") if name in SHARED else ""
