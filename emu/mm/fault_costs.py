# SPDX-License-Identifier: GPL-2.0-or-later
"""What the parts of a page fault take, in sums that are made once: what emu/mm/memory.py charges.

With one CPU a part is one addition to the clock. With more, the parts that CPUs share go through emu/mm/batches.py,
and a busy second thread of the core slows the rest down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.mm.batches import Batches

if TYPE_CHECKING:
    from emu.sched.sched import Sched


class FaultCosts:
    """All in ns. `batches` is None on a machine with one CPU: there `entry` holds what is `core` and `lookup` on
    others."""

    def __init__(self, sched: Sched) -> None:
        cost = sched.cost
        self.sched = sched
        self.batches = sched.kind_of(Batches)(sched) if len(sched.rqs) > 1 else None
        self.core = cost.fault_core
        self.lookup = cost.vma_lookup
        self.entry = cost.exception + (cost.fault_core + cost.vma_lookup if self.batches is None else 0)
        self._new = cost.page_alloc + cost.memcg_charge + cost.rmap_lru
        self.anon = cost.anon_fault + self._new + cost.clear_page  # for one CPU
        self.clear_flush = cost.clear_flush
        self.copy = cost.copy_page
        self.reuse = cost.reuse_page
        self.filemap_get = cost.filemap_get
        self.hole_page = cost.page_alloc + cost.clear_page  # one that is read in and has nothing on the disk
        self.map_around = cost.map_around_page
        self.mkwrite = cost.page_mkwrite
        self.shmem_add = cost.shmem_add
        self.page_table = cost.page_table
        self.zap = cost.zap_page
        self.zone_free = cost.zone_free
        # A zeroed page of the running task's own, charged and on the LRU (alloc_anon_folio and what follows).
        self.new_anon: Callable[[], None] = self._new_anon if self.batches is None else self.batches.new_anon

    def without_exception(self) -> None:
        """The kernel itself asks for a page: handle_mm_fault charges what is left (faultin_page)."""
        if self.batches is None:
            self.sched.clock += self.core

    def _new_anon(self) -> None:
        """`new_anon` on a machine with one CPU."""
        self.sched.clock += self.anon

    def new_copy(self, more: int) -> None:
        """A page that is a copy of another one, and `more` ns of work (wp_page_copy, do_cow_fault)."""
        batches = self.batches
        if batches is None:
            self.sched.clock += self._new + self.copy + more
            return
        batches.alloc()
        batches.add_anon()
        self.sched.charge(self.copy + more)

    def zapped(self, pages: int, freed: int) -> None:
        """`pages` entries were cleared, and `freed` frames given back (zap_pte_range, tlb_flush_mmu)."""
        batches = self.batches
        if batches is None:
            self.sched.clock += pages * self.zap
            return
        self.sched.charge(pages * self.zap - freed * self.zone_free)
        if freed:
            batches.free(freed)
