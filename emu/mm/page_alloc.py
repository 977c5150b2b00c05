# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame allocator (mm/page_alloc.c, much smaller): free frames of guest RAM by order.

A frame that was never used reads as zero because host memory does; only a recycled frame is cleared when a zeroed
one is asked for. Frame 0 is never given out.
"""

from __future__ import annotations

from collections.abc import Iterable

from emu.hw.ram import Ram
from emu.mm.mm_types import page

AHEAD = 64  # frames for which the host is asked for memory at once: 1 us a fault less; 16 to 1,024 do as well


class PageAllocator:
    """Allocates page frames. `allocated` counts frames in use, and `mem_map[pfn]` is the page of each."""

    __slots__ = ("_backed", "_free", "_new_page", "_next", "_ram", "allocated", "free0", "freed", "mem_map", "npages")

    def __init__(self, ram: Ram, new_page: type[page] = page) -> None:
        self._ram = ram
        self._new_page = new_page
        self.npages = ram.npages
        self.mem_map: list[page | None] = [None] * ram.npages
        self.free0: list[int] = []  # recycled single frames, last in first out
        self._free: dict[int, list[int]] = {}  # order -> first frames of recycled blocks
        self._next = 1  # frames from here on were never used
        self._backed = 1  # frames from here on have no memory of the host's yet
        self.allocated = 0
        self.freed = 0  # frames given back so far

    def alloc_page(self, zero: bool = True) -> page | None:
        """One frame with a reference count of 1, cleared when `zero`; None = out of memory."""
        if self.free0:
            pfn = self.free0.pop()
            if zero:
                self._ram.zero(pfn)
            new = self.mem_map[pfn]
            assert new is not None and new._refcount == 0, f"free frame {pfn:#x} is in use"
        else:
            pfn = self._next
            if pfn >= self.npages:
                return self._split_block(zero)
            if pfn >= self._backed:
                self._backed = self._ram.populate(pfn, AHEAD)
            self._next = pfn + 1
            new = self.mem_map[pfn] = self._new_page(pfn)
        new._refcount = 1
        self.allocated += 1
        return new

    def _split_block(self, zero: bool) -> page | None:
        for order in sorted(self._free):
            if self._free[order]:
                first = self._free[order].pop()
                for pfn in range(first + (1 << order) - 1, first - 1, -1):
                    self.mem_map[pfn] = self.mem_map[pfn] or self._new_page(pfn)
                    self.free0.append(pfn)
                return self.alloc_page(zero)
        return None

    def alloc_pages(self, order: int) -> page | None:
        """2**order frames in a row, aligned to their size, cleared, with one page for them all; None = out of
        memory."""
        if order == 0:
            return self.alloc_page()
        blocks = self._free.get(order)
        if blocks:
            first = blocks.pop()
            for pfn in range(first, first + (1 << order)):
                self._ram.zero(pfn)
        else:
            size = 1 << order
            first = (self._next + size - 1) & -size
            if first + size > self.npages:
                return None
            for pfn in range(self._next, first):
                self.mem_map[pfn] = self._new_page(pfn)
                self.free0.append(pfn)
            self._next = first + size
        head = self.mem_map[first] = self.mem_map[first] or self._new_page(first)
        head._refcount = 1
        head.order = order
        self.allocated += 1 << order
        return head

    def free(self, old: page) -> None:
        """Give back a page whose last reference is gone (free_unref_page)."""
        self.free_unref_folios((old,))

    def free_unref_folios(self, pages: Iterable[page]) -> None:
        """As `free`, for each of them in turn."""
        ram, free0 = self._ram, self.free0
        code_map = ram.code_map
        frames = 0
        for old in pages:
            assert old._refcount == 0 and old._mapcount == 0, f"frame {old.pfn:#x} freed while in use"
            old.mapping = None
            old.exclusive = old.dirty = old.uptodate = old.mlocked = old.lazyfree = False
            pfn, order = old.pfn, old.order
            frames += 1 << order
            if order:
                old.order = 0
                self._free.setdefault(order, []).append(pfn)
                continue
            if code_map[pfn]:
                ram.code_written(pfn)
            free0.append(pfn)
        self.allocated -= frames
        self.freed += frames
