# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of the page cache belong together: the folios that writes made (include/linux/pagemap.h)."""

from __future__ import annotations

from collections.abc import Callable

from emu.mm.mm_types import PAGE_SHIFT

EXT4_MAX_ORDER = 11  # largest folio of the page cache of ext4 with 4 KiB blocks, as a power of two of pages


class Folios:
    """The large folios of one file, as far as writes of this run made them."""

    def __init__(self, max_order: int) -> None:
        self.max_order = max_order
        self.large = False  # is there one of more than a page
        self.start: dict[int, int] = {}  # index of a folio's first page -> its order

    def find(self, index: int) -> tuple[int, int] | None:
        """(first page, order) of the folio that holds a page; None = a page of its own."""
        for order in range(self.max_order + 1):
            first = index & -(1 << order)
            found = self.start.get(first)
            if found is not None and first + (1 << found) > index:
                return first, found
        return None

    def write_begin(self, pos: int, size: int, cached: Callable[[int], bool]) -> int:
        """The end (a file offset) of the folio that a write of `size` bytes at `pos` goes to; a new one is as large as
        the write and the alignment of its index allow, and what is there already (__filemap_get_folio). `cached(index)`
        tells which pages are: those that no write made count as folios of their own."""
        index = pos >> PAGE_SHIFT
        found = self.find(index)
        if found is None:
            order = min(max(0, size.bit_length() - 1 - PAGE_SHIFT), self.max_order)
            if index & (1 << order) - 1:
                order = (index & -index).bit_length() - 1
            if cached(index):
                order = 0
            while order and any(page in self.start or cached(page) for page in range(index + 1, index + (1 << order))):
                order -= 1
            self.start[index] = order
            self.large = self.large or order > 0
            found = index, order
        return found[0] + (1 << found[1]) << PAGE_SHIFT

    def overlapping(self, first: int, last: int) -> list[tuple[int, int]]:
        """(first page, last page) of the folios that have one of the pages first..last."""
        ends = [(index, index + (1 << order) - 1) for index, order in self.start.items()]
        return [(low, high) for low, high in ends if low <= last and high >= first]

    def drop(self, first: int, last: int) -> list[tuple[int, int]]:
        """Pages first..last are to leave the cache. A folio with other pages as well stays whole, cleared where it
        should go: to split it, its buffers had to be clean (truncate_inode_partial_folio). Those, as `overlapping`."""
        partial = []
        for low, high in self.overlapping(first, last):
            if first <= low and high <= last:
                del self.start[low]
            else:
                partial.append((low, high))
        return partial
