# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of a file are not in the page cache, and which come in together (mm/readahead.c).

The cache is warm: what a file held when it was opened is in it. Not so what the guest makes and nobody has written or
read yet: the part by which a file was extended, and holes punched into it. Who needs such a page reads those around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.folios import Pages
from emu.mm.mm_types import PAGE_SIZE, VM_EXEC, VM_RAND_READ, VM_SEQ_READ, vm_area_struct, vma_pages

if TYPE_CHECKING:
    from emu.mm.filemap import address_space

RA_PAGES = 2048  # of a file's readahead window (bdi->ra_pages, read_ahead_kb 8192: the machine of the kernel's records)


class Absent(Pages):
    """The pages of one file whose content is not in the cache."""

    __slots__ = ("empty", "marks")

    def __init__(self) -> None:
        super().__init__()
        self.empty: set[int] = set()  # those of them that have a page already, which is not up to date
        self.marks: set[int] = set()  # first pages of cached folios that are to bring in the next window (PG_readahead)

    def add_empty(self, index: int) -> None:
        """The file system made the page to clear the end of it, and had nothing to clear: a hole is there."""
        if index in self:
            self.empty.add(index)

    def add(self, first: int, end: int) -> None:
        """Pages first .. end-1 go."""
        if first < end:
            self.marks -= {mark for mark in self.marks if first <= mark < end}
        super().add(first, end)

    def covers(self, first: int, end: int) -> bool:
        """Has none of the pages first .. end-1 even a page that is not up to date."""
        absent = any(low <= first and end <= high for low, high in self.ranges)
        return absent and not any(first <= index < end for index in self.empty)

    def first_present(self, first: int, end: int) -> int:
        """The first of the pages first .. end-1 that there is, up to date or not; `end` where there is none."""
        stop = next((high for low, high in self.ranges if low <= first < high), first)
        return min(stop, end, *(index for index in self.empty if index >= first))

    def next_miss(self, index: int) -> int | None:
        """The first absent page from `index` on."""
        return next((max(low, index) for low, high in self.ranges if high > index), None)

    def previous_end(self, index: int) -> int:
        """The page behind the last absent one of those before `index`; 0 = all of them are there."""
        return max((min(high, index) for low, high in self.ranges if low < index), default=0)

    def remove(self, first: int, end: int) -> int:
        """Pages first .. end-1 are there now; how many of them were not."""
        self.empty = {index for index in self.empty if not first <= index < end}
        return super().remove(first, end)

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

    __slots__ = ("async_size", "order", "prev_page", "size", "start")

    def __init__(self) -> None:
        self.start = 0  # the last window
        self.size = 0
        self.async_size = 0  # the next window is read when only so many pages of this one are left
        self.order = 0  # of the folios of the last window
        self.prev_page = -1  # where read(2) stopped; -1 = it has not read


def page_cache_sync_ra(mapping: address_space, ra: file_ra_state, index: int, count: int) -> int:
    """A read of `count` pages from `index` on needs that page, which is absent: how many come in. The beginning of a
    file, and what follows the last read, is read as if more were to follow; so is what is behind more pages than
    these that are in the cache, as a reader in order would have left them."""
    absent = mapping.absent
    if index and count <= RA_PAGES and (ra.prev_page < 0 or not 0 <= index - ra.prev_page <= 1):
        cached = index - absent.previous_end(index)
        if cached <= count:
            return absent.read_ahead(index, index + count)
        if cached == index:
            cached *= 2
        ra.size, ra.async_size = min(cached + count, RA_PAGES), 1
    else:
        ra.size = get_init_ra_size(count, RA_PAGES)
        ra.async_size = ra.size - count if ra.size > count else ra.size // 2
    ra.start, ra.order = index, 0
    return page_cache_ra_order(mapping, ra)


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
    else:
        return page_cache_sync_ra(mapping, ra, pgoff, RA_PAGES)
    return page_cache_ra_order(mapping, ra)


def page_cache_async_ra(mapping: address_space, ra: file_ra_state, head: int, pages: int, count: int = RA_PAGES) -> int:
    """Somebody who wants `count` pages has come to the folio of `pages` pages from `head` on, which marks that the next
    window should be read: how many come in. They are in larger folios than those before."""
    mapping.absent.marks.remove(head)
    if head == ra.start + ra.size - ra.async_size & -pages:
        ra.start += ra.size
        ra.size = max(ra.size, get_next_ra_size(ra.size, RA_PAGES))
    else:  # the mark of somebody else's window
        start = mapping.absent.next_miss(head + 1)
        if start is None or start - head > RA_PAGES:
            return 0
        ra.start, ra.size = start, get_next_ra_size(start - head + count, RA_PAGES)
    ra.order += 2
    ra.async_size = ra.size
    return page_cache_ra_order(mapping, ra)


def page_cache_ra_order(mapping: address_space, ra: file_ra_state) -> int:
    """Read the window in folios of ra.order where they fit, and mark the one that is to bring in the next window: how
    many pages came in. At a page that is there already this ends, and the rest is read as far as the file goes: the
    mark is then counted from there (do_page_cache_ra)."""
    absent, folios = mapping.absent, mapping.folios
    index = ra.start
    last = (mapping.host.i_size - 1) // PAGE_SIZE
    limit = min(last, index + ra.size - 1)
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
    if not ra.order:
        stop = absent.first_present(index, limit + 1)
        if index <= mark < stop:
            absent.marks.add(mark)
        came += absent.remove(index, stop)
        index = stop
    if index > limit:
        return came
    count = min(ra.start + ra.size, last + 1) - index
    mark = index + count - ra.async_size
    if mark >= index and mark in absent and mark not in absent.empty:
        absent.marks.add(mark)
    return came + absent.read_ahead(index, index + count)
