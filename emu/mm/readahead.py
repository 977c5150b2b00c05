# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of a file are not in the page cache, and which come in together (mm/readahead.c).

The cache is warm: what a file held when it was opened is in it. Not so what the guest makes and nobody has written or
read yet: the part by which a file was extended, and holes punched into it. Who needs such a page reads those around it.
"""

from __future__ import annotations

from emu.mm.mm_types import VM_RAND_READ

RA_PAGES = 2048  # of a file's readahead window (bdi->ra_pages, read_ahead_kb 8192: the machine of the kernel's records)


class Absent:
    """The pages of one file that are not in the cache, by index."""

    __slots__ = ("ranges",)

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []  # [first, end), in order, apart from each other

    def __contains__(self, index: int) -> bool:
        return any(first <= index < end for first, end in self.ranges)

    def add(self, first: int, end: int) -> None:
        """Pages first .. end-1 go."""
        if first >= end:
            return
        apart = []
        for low, high in self.ranges:
            if high < first or low > end:
                apart.append((low, high))
            else:
                first, end = min(first, low), max(end, high)
        self.ranges = sorted([*apart, (first, end)])

    def remove(self, first: int, end: int) -> int:
        """Pages first .. end-1 are there now; how many of them were not."""
        left = []
        found = 0
        for low, high in self.ranges:
            inside = min(high, end) - max(low, first)
            if inside <= 0:
                left.append((low, high))
                continue
            found += inside
            left += [piece for piece in ((low, first), (end, high)) if piece[0] < piece[1]]
        self.ranges = left
        return found


def page_cache_sync_ra(absent: Absent, index: int, count: int) -> int:
    """A read of `count` pages from `index` on needs a page that is absent: how many come in. The beginning of a file is
    read as if all of it were to follow."""
    if index == 0:
        count = get_init_ra_size(count, RA_PAGES)
    return absent.remove(index, index + count)


def get_init_ra_size(size: int, most: int) -> int:
    """The first window of a file that is read from its start, in pages."""
    size = 1 << (size - 1).bit_length()
    if size <= most // 32:
        return size * 4
    if size <= most // 4:
        return size * 2
    return most


def do_sync_mmap_readahead(absent: Absent, pgoff: int, vm_flags: int) -> int:
    """A fault needs page `pgoff`, which is absent: how many come in, those around it among them, but where the mapping
    is for random access."""
    if vm_flags & VM_RAND_READ:
        return absent.remove(pgoff, pgoff + 1)
    start = max(0, pgoff - RA_PAGES // 2)
    return absent.remove(start, start + RA_PAGES)
