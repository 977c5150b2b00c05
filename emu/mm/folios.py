# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of the page cache belong together: the folios that writes made (include/linux/pagemap.h), and how they
are taken apart (__folio_split)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from emu.mm.mm_types import PAGE_SHIFT

EXT4_MAX_ORDER = 9  # largest folio of the page cache of ext4, as a power of two of pages: a huge page


class Pages:
    """A set of pages of one file, by index."""

    __slots__ = ("ranges",)

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []  # [first, end), in order, apart from each other

    def __contains__(self, index: int) -> bool:
        return self.any(index, index + 1)

    def any(self, first: int, end: int) -> bool:
        """Is one of the pages first .. end-1 among them."""
        at = bisect_left(self.ranges, (end,))  # the first range behind them all
        return at > 0 and self.ranges[at - 1][1] > first

    def add(self, first: int, end: int) -> None:
        """Pages first .. end-1 come to it."""
        if first >= end:
            return
        ranges = self.ranges
        low = bisect_left(ranges, (first,))
        if low and ranges[low - 1][1] >= first:
            low -= 1
        high = low
        while high < len(ranges) and ranges[high][0] <= end:
            first, end = min(first, ranges[high][0]), max(end, ranges[high][1])
            high += 1
        ranges[low:high] = [(first, end)]

    def remove(self, first: int, end: int) -> int:
        """Pages first .. end-1 leave it; how many there were."""
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


class Folios:
    """The large folios of one file, as far as writes of this run made them."""

    def __init__(self, max_order: int) -> None:
        self.max_order = max_order
        self.large = False  # is there one of more than a page
        self.start: dict[int, int] = {}  # index of a folio's first page -> its order
        self.dirty = Pages()  # pages with buffers that are to be written back

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

    def drop(self, first: int, end: int) -> None:
        """The folios that lie in first .. end-1 leave the cache."""
        for low in [low for low, order in self.start.items() if first <= low and low + (1 << order) <= end]:
            del self.start[low]
        self.dirty.remove(first, end)

    def split(self, index: int) -> bool:
        """Halve the folio that holds page `index`, and again the half that holds it, until that is a folio of its own.
        False = not done: buffers of the folio are dirty (filemap_release_folio)."""
        found = self.find(index)
        if found is None or not found[1]:
            return True
        first, order = found
        if self.dirty.any(first, first + (1 << order)):
            return False
        while order:
            order -= 1
            half = first + (1 << order)
            self.start[first] = self.start[half] = order
            if index >= half:
                first = half
        return True
