# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame allocator (mm/page_alloc.c, much smaller): free frames of guest RAM by order, and a list of single ones for
each CPU.

A frame that was never used reads as zero because host memory does; only a recycled frame is cleared when a zeroed
one is asked for. Frame 0 is never given out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from emu.hw.ram import Ram
from emu.mm.mm_types import page

if TYPE_CHECKING:
    from emu.sched.sched import Sched

AHEAD = 64  # frames for which the host is asked for memory at once: 1 us a fault less; 16 to 1,024 do as well
HIGH = 8  # batches that a CPU may have in its list


def zone_batchsize(npages: int) -> int:
    """How many frames a CPU takes at a time, in a machine with `npages` of them (zone_batchsize): 63 from 1 GiB on."""
    batch = max(1, min(npages >> 10, 256) // 4)
    return max(1, (1 << (batch + batch // 2).bit_length() - 1) - 1)


class PageAllocator:
    """Allocates page frames. `allocated` counts frames in use, and `mem_map[pfn]` is the page of each.

    `pcp` has a list for each CPU (struct per_cpu_pages), last in first out. That the pages of a task lie beside each
    other is good for the host's caches too: 0.7 us less a page where 64 CPUs unmap 2,048 pages each.
    """

    __slots__ = (
        "_backed", "_free", "_new_page", "_next", "_ram", "allocated", "batch", "free0", "freed", "high", "mem_map",
        "npages", "pcp", "sched",
    )  # fmt: skip

    def __init__(self, ram: Ram, sched: Sched) -> None:
        self._ram = ram
        self.sched = sched
        self._new_page = sched.kind_of(page)
        self.npages = ram.npages
        self.mem_map: list[page | None] = [None] * ram.npages
        self.pcp: list[list[page]] = [[] for _ in sched.rqs]
        self.batch = zone_batchsize(ram.npages)
        self.high = HIGH * self.batch if len(sched.rqs) > 1 else ram.npages
        self.free0: list[page] = []  # free single frames in no CPU's list
        self._free: dict[int, list[int]] = {}  # order -> first frames of recycled blocks
        self._next = 1  # frames from here on were never used
        self._backed = 1  # frames from here on have no memory of the host's yet
        self.allocated = 0
        self.freed = 0  # frames given back so far

    def alloc_page(self, zero: bool = True) -> page | None:
        """One frame with a reference count of 1, cleared when `zero`; None = out of memory."""
        pcp = self.pcp[self.sched.rq.id]
        if not pcp and not self._rmqueue_bulk(pcp):
            return None
        new = pcp.pop()
        assert new._refcount == 0, f"free frame {new.pfn:#x} is in use"
        if zero and not new.zeroed:
            self._ram.zero(new.pfn)
        new._refcount = 1
        self.allocated += 1
        return new

    def _rmqueue_bulk(self, pcp: list[page]) -> bool:
        """Fill the list of a CPU (rmqueue_bulk): recycled frames, then those that were never used, then what was kept
        in larger blocks or in lists of other CPUs. False: there are none."""
        free0 = self.free0
        if not free0 and self._next < self.npages:
            pcp.extend(reversed(self._take_fresh(min(self.batch, self.npages - self._next))))
            return True
        if not free0 and not self._split_block():
            self._drain_all_pages()
        pcp += free0[-self.batch :]
        del free0[-self.batch :]
        return bool(pcp)

    def _take_fresh(self, count: int) -> list[page]:
        """The next frames that were never used."""
        first, end = self._next, self._next + count
        while end > self._backed:
            self._backed = self._ram.populate(self._backed, AHEAD)
        self._next = end
        pages = [self._new_page(pfn) for pfn in range(first, end)]
        self.mem_map[first:end] = pages
        return pages

    def _split_block(self) -> bool:
        """Make single frames of a block (expand)."""
        for order in sorted(self._free):
            if self._free[order]:
                first = self._free[order].pop()
                for pfn in range(first + (1 << order) - 1, first - 1, -1):
                    self.free0.append(self._recycled(pfn))
                return True
        return False

    def _recycled(self, pfn: int) -> page:
        """The page of a frame that was part of a block."""
        found = self.mem_map[pfn]
        if found is None:
            found = self.mem_map[pfn] = self._new_page(pfn)
        found.zeroed = False
        return found

    def _drain_all_pages(self) -> None:
        """Take from all CPUs what is in their lists (drain_all_pages)."""
        for pcp in self.pcp:
            self.free0 += pcp
            pcp.clear()

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
            self.free0 += self._take_fresh(first - self._next)
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
        ram, pcp = self._ram, self.pcp[self.sched.rq.id]
        code_map = ram.code_map
        frames = 0
        for old in pages:
            assert old._refcount == 0 and old._mapcount == 0, f"frame {old.pfn:#x} freed while in use"
            old.mapping = None
            old.exclusive = old.dirty = old.uptodate = old.mlocked = old.lazyfree = old.zeroed = False
            pfn, order = old.pfn, old.order
            frames += 1 << order
            if order:
                old.order = 0
                self._free.setdefault(order, []).append(pfn)
                continue
            if code_map[pfn]:
                ram.code_written(pfn)
            pcp.append(old)
        self.allocated -= frames
        self.freed += frames
        if len(pcp) > self.high:
            self._free_pcppages_bulk(pcp)

    def _free_pcppages_bulk(self, pcp: list[page]) -> None:
        """A CPU has too many: those that it has had for the longest time are for all (free_pcppages_bulk)."""
        count = len(pcp) - self.high + self.batch
        self.free0 += pcp[:count]
        del pcp[:count]
