# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours and words: what each kind, path and reason looks like and what it means, for page and SVG alike."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from emu.tracepoint import Path, Reason, Served

# Hue tells the family: blue anonymous, green file, orange copies, red what failed, grey what cost nothing.
SERVED = {
    Served.ANON: ("#2f6bdb", "a new zeroed page"),
    Served.ZERO_PAGE: ("#7fb2f5", "the shared zero page, for a read"),
    Served.STACK: ("#7a5ae0", "the stack grew, then a new page"),
    Served.COW: ("#e8801a", "copy on write of a present page"),
    Served.REUSE: ("#f2b866", "write to a page that is the task's alone"),
    Served.FILE_READ: ("#1d9a74", "page cache, read"),
    Served.FILE_COW: ("#a9a31c", "private file page, written first"),
    Served.FILE_SHARED: ("#0f7a8a", "shared file or shmem page, written"),
    Served.MKWRITE: ("#6cc4a0", "shared page made writable"),
    Served.SPURIOUS: ("#97a3b0", "the entry was good already"),
    Served.YOUNG: ("#b9c3cd", "only accessed or dirty had to be set"),
    Served.SIGNAL: ("#d6303a", "the task got a signal"),
    Served.FIXUP: ("#ee8f92", "a kernel access failed: EFAULT"),
    Served.OOM: ("#8c1239", "no memory was left"),
    Served.NONE: ("#6d7986", "not told"),
}
PATH = {
    Path.VMA_LOCK: ("#1f9a8a", "under the VMA's own lock"),
    Path.MMAP_LOCK: ("#e2572b", "under mmap_lock, for read"),
    Path.MMAP_LOCK_WRITE: ("#a5216a", "mmap_lock was taken for write to grow a stack"),
    Path.SPECULATIVE: ("#6a4fd8", "speculatively, under no lock"),
    Path.NONE: ("#97a3b0", "decided before any lock"),
}
REASON = {
    Reason.NONE: ("#c3ccd5", "the fastest path of the scheme served it"),
    Reason.SCHEME: ("#8793a0", "the scheme has no VMA lock"),
    Reason.KERNEL_MODE: ("#3d6fd9", "the kernel itself touched the page"),
    Reason.SINGLE_USER: ("#7fb2f5", "the address space has one user only"),
    Reason.NO_VMA: ("#d6303a", "nothing is mapped at the address"),
    Reason.OUTSIDE: ("#7a5ae0", "a VMA above the address (a stack that grows), or one that moved away"),
    Reason.NOT_ANONYMOUS: ("#1d9a74", "the VMA maps a file"),
    Reason.NO_ANON_VMA: ("#6cc4a0", "its anon_vma had to be made first"),
    Reason.WRITE_LOCKED: ("#e2572b", "a writer held the VMA"),
    Reason.DETACHED: ("#a5216a", "the VMA was being unmapped"),
    Reason.ACCESS_ERROR: ("#ee8f92", "the VMA does not allow the access"),
    Reason.RETRY: ("#e8a01a", "the handler asked to try again under mmap_lock"),
    Reason.SWAP: ("#a9a31c", "the page is in swap"),
    Reason.USERFAULTFD: ("#0f7a8a", "userfaultfd handles the range"),
    Reason.NO_MAP_PAGES: ("#5f8f2f", "the file cannot map pages under the VMA lock"),
    Reason.OVERFLOW: ("#8c1239", "the reference count is at its limit"),
    Reason.SEQUENCE: ("#b0552b", "mmap_lock was taken for write meanwhile"),
    Reason.NO_PAGE_TABLE: ("#2d4f9e", "a page table would have to be made"),
    Reason.PAGE_TABLE_LOCKED: ("#c95b96", "somebody else had the page-table lock"),
}
OTHER = "#6d7986"
WAIT = "#e0401f"
# Tasks: told apart from each other, and from the colour of a wait.
TASKS = ("#3f74c9", "#2b9d8f", "#8f63c7", "#c08a1e", "#5b9bd5", "#6f9a3a", "#b8609e", "#4a8a6b", "#8793c9", "#a8753c")
# Density, from few to many: for a light page, and for a dark one.
LIGHT_RAMP = ("#cfe1f2", "#8fbfe0", "#4a8fc7", "#2a5ca8", "#26307a", "#1a1446")
DARK_RAMP = ("#1d2f4f", "#1f5a86", "#1f8f9a", "#54bf80", "#bfdc53", "#fff7b0")


def words() -> dict[str, list[list[str]]]:
    """For each enum the (name, colour, meaning) of its values 0, 1, 2 ...; a value that has no colour here is grey."""
    enums: tuple[tuple[str, type[IntEnum], Any], ...] = (
        ("served", Served, SERVED), ("path", Path, PATH), ("reason", Reason, REASON),
    )  # fmt: skip
    found = {}
    for key, enum, table in enums:
        names = {int(member): member.name.lower() for member in enum}
        found[key] = [
            [names.get(value, str(value)), *table.get(value, (OTHER, names.get(value, "").replace("_", " ")))]
            for value in range(max(names) + 1)
        ]
    return found
