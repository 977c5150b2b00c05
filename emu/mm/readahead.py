# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of a file are not in the page cache, and which come in together (mm/readahead.c).

The cache is warm: what a file held when it was opened is in it. Not so what the guest makes and nobody has written or
read yet: the part by which a file was extended, and holes punched into it. Who needs such a page reads those around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mm_types import PAGE_SIZE, VM_EXEC, VM_RAND_READ, VM_SEQ_READ, vm_area_struct, vma_pages

if TYPE_CHECKING:
    from emu.mm.filemap import address_space

RA_PAGES = 2048  # of a file's readahead window (bdi->ra_pages, read_ahead_kb 8192: the machine of the kernel's records)


class Absent:
    """The pages of one file whose content is not in the cache, by index."""

    __slots__ = ("empty", "marks", "ranges")

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []  # [first, end), in order, apart from each other
        self.empty: set[int] = set()  # those of them that have a page already, which is not up to date
        self.marks: set[int] = set()  # first pages of cached folios that are to bring in the next window (PG_readahead)

    def add_empty(self, index: int) -> None:
        """The file system made the page to clear the end of it, and had nothing to clear: a hole is there."""
        if index in self:
            self.empty.add(index)

    def __contains__(self, index: int) -> bool:
        return any(first <= index < end for first, end in self.ranges)

    def add(self, first: int, end: int) -> None:
        """Pages first .. end-1 go."""
        if first >= end:
            return
        self.marks -= {mark for mark in self.marks if first <= mark < end}
        apart = []
        for low, high in self.ranges:
            if high < first or low > end:
                apart.append((low, high))
            else:
                first, end = min(first, low), max(end, high)
        self.ranges = sorted([*apart, (first, end)])

    def covers(self, first: int, end: int) -> bool:
        """Has none of the pages first .. end-1 even a page that is not up to date."""
        absent = any(low <= first and end <= high for low, high in self.ranges)
        return absent and not any(first <= index < end for index in self.empty)

    def next_miss(self, index: int) -> int | None:
        """The first absent page from `index` on."""
        return next((max(low, index) for low, high in self.ranges if high > index), None)

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
        self.empty = {index for index in self.empty if not first <= index < end}
        return found

    def read_ahead(self, first: int, end: int) -> int:
        """As `remove`, but pages that exist already are passed over (page_cache_ra_unbounded)."""
        passed = [index for index in self.empty if first <= index < end]
        found = self.remove(first, end) - len(passed)
        for index in passed:
            self.add(index, index + 1)
            self.empty.add(index)
        return found


class file_ra_state:
    """Where the reading ahead of an open file is (struct file_ra_state), in pages."""

    __slots__ = ("async_size", "order", "size", "start")

    def __init__(self) -> None:
        self.start = 0  # the last window
        self.size = 0
        self.async_size = 0  # the next window is read when only so many pages of this one are left
        self.order = 0  # of the folios of the last window


def page_cache_sync_ra(absent: Absent, index: int, count: int) -> int:
    """A read of `count` pages from `index` on needs a page that is absent: how many come in. The beginning of a file is
    read as if all of it were to follow."""
    if index == 0:
        count = get_init_ra_size(count, RA_PAGES)
    return absent.read_ahead(index, index + count)


def get_init_ra_size(size: int, most: int) -> int:
    """The first window of a file that is read from its start, in pages."""
    size = 1 << (size - 1).bit_length()
    if size <= most // 32:
        return size * 4
    if size <= most // 4:
        return size * 2
    return most


def get_next_ra_size(size: int, most: int) -> int:
    """The window after one of `size` pages."""
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


def do_sync_mmap_readahead(mapping: address_space, ra: file_ra_state, pgoff: int, vma: vm_area_struct) -> int:
    """A fault needs page `pgoff`, which is absent: how many come in, those around it among them, but where the mapping
    is for random access; those behind it where it is for sequential access, or for execution: then of the VMA only."""
    if vma.vm_flags & VM_RAND_READ:
        return mapping.absent.remove(pgoff, pgoff + 1)
    ra.order = 0
    if vma.vm_flags & (VM_SEQ_READ | VM_EXEC) == VM_EXEC:
        ra.start, ra.async_size = pgoff, 0
        ra.size = min(RA_PAGES, vma.vm_pgoff + vma_pages(vma) - pgoff)
    elif not vma.vm_flags & VM_SEQ_READ:
        ra.start, ra.size, ra.async_size = max(0, pgoff - RA_PAGES // 2), RA_PAGES, RA_PAGES // 4
    elif pgoff == 0:
        ra.start, ra.size, ra.async_size = 0, RA_PAGES, RA_PAGES // 2
    else:
        return mapping.absent.read_ahead(pgoff, pgoff + RA_PAGES)
    return page_cache_ra_order(mapping, ra)


def page_cache_async_ra(mapping: address_space, ra: file_ra_state, head: int, pages: int) -> int:
    """Somebody has come to the folio of `pages` pages from `head` on, which marks that the next window should be read:
    how many come in. They are in larger folios than those before."""
    mapping.absent.marks.remove(head)
    if head == ra.start + ra.size - ra.async_size & -pages:
        ra.start += ra.size
        ra.size = max(ra.size, get_next_ra_size(ra.size, RA_PAGES))
    else:  # the mark of somebody else's window
        start = mapping.absent.next_miss(head + 1)
        if start is None or start - head > RA_PAGES:
            return 0
        ra.start, ra.size = start, get_next_ra_size(start - head + RA_PAGES, RA_PAGES)
    ra.order += 2
    ra.async_size = ra.size
    return page_cache_ra_order(mapping, ra)


def page_cache_ra_order(mapping: address_space, ra: file_ra_state) -> int:
    """Read the window in folios of ra.order where they fit, and mark the one that is to bring in the next window: how
    many pages came in."""
    absent, folios = mapping.absent, mapping.folios
    index = ra.start
    limit = min((mapping.host.i_size - 1) // PAGE_SIZE, index + ra.size - 1)
    mark = index + ra.size - ra.async_size
    ra.order = min(folios.max_order, ra.order, ra.size.bit_length() - 1)
    came = 0
    while ra.order and index <= limit:
        order = ra.order
        if index & (1 << order) - 1:
            order = (index & -index).bit_length() - 1
        while order and index + (1 << order) - 1 > limit:
            order -= 1
        if not absent.covers(index, index + (1 << order)):
            break
        if order:
            folios.start[index] = order
            folios.large = True
        if index == mark & -(1 << order):
            absent.marks.add(index)
        came += absent.remove(index, index + (1 << order))
        index += 1 << order
    if index <= mark <= limit and mark in absent:
        absent.marks.add(mark)
    return came + absent.read_ahead(index, limit + 1)
