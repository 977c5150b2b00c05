# SPDX-License-Identifier: GPL-2.0-or-later
"""What all address spaces of a machine share: frames, counters, limits of the system."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.hw.ram import Ram
from emu.locking.rcu import Rcu
from emu.mm.fault_costs import FaultCosts
from emu.mm.memory import vm_fault
from emu.mm.mm_types import mm_struct, page, vm_area_struct
from emu.mm.page_alloc import PageAllocator
from emu.mm.pgtable import PageTable, PageTableFormat
from emu.mm.schemes.scheme import LockingScheme
from emu.mm.vma_tree import VmaTree
from emu.mm.vmstat import new_vmstat
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints

if TYPE_CHECKING:
    from emu.mm.check import Checker

SCHEMES = {
    "mmap_lock": "emu.mm.schemes.mmap_lock",
    "spf": "emu.mm.schemes.spf",
    "rfc": "emu.mm.schemes.rfc",
    "6.4": "emu.mm.schemes.v6_4",
    "6.18": "emu.mm.schemes.v6_18",
}


class MemoryManager:
    """The machine-wide part of the memory manager."""

    check: Checker | None = None
    # The classes of what it makes: others where it is checked (emu/mm/check.py).
    mm_type: type[mm_struct] = mm_struct
    vma_type: type[vm_area_struct] = vm_area_struct
    table_type: type[PageTable] = PageTable

    def __init__(
        self, ram: Ram, tp: Tracepoints, locking: str = "6.18", sched: Sched | None = None, check: bool = False
    ) -> None:
        """`locking` is a key of SCHEMES (KeyError otherwise). Without `sched` there is one thread, which never
        waits. With `check`, which wants a CheckedSched, all is checked that emu/mm/check.py tells of."""
        self.ram = ram
        self.tp = tp
        self.sched = sched if sched is not None else Sched(tp)
        self.page_faults = 0  # exceptions while nothing is recorded, each once (PERF_COUNT_SW_PAGE_FAULTS)
        self.mmap_lock_reads = self.mmap_lock_writes = 0  # takings by address spaces that are gone
        self.rcu = Rcu(self.sched)
        self.costs = FaultCosts(self.sched)
        self.allocator = self.sched.kind_of(PageAllocator)(ram, self.sched)
        self.mem_map = self.allocator.mem_map
        self.vm_fault = self.sched.kind_of(vm_fault)
        self.totalram = ram.npages
        scheme: type[LockingScheme] = importlib.import_module(SCHEMES[locking]).Scheme
        self.vmstat = new_vmstat(scheme.events)
        self.vm_area_cachep: list[vm_area_struct] = []  # freed VMAs that may be used again at once (6.18)
        if check:
            from emu.mm.check import checked_scheme

            scheme = checked_scheme(scheme, self)
        self.scheme = scheme(self)
        self.committed = 0  # pages promised to private writable mappings (vm_committed_as)
        self.overcommit_memory = 0
        self.overcommit_ratio = 50
        self.max_map_count = 65530
        self.dac_mmap_min_addr = 4096  # the sysctl vm.mmap_min_addr: below it MAP_FIXED needs a privilege
        self.mmap_min_addr = 65536  # lowest address that the kernel chooses itself (CONFIG_LSM_MMAP_MIN_ADDR)
        self.stack_guard_gap = 256 << 12  # bytes
        self.out_of_memory: Callable[[mm_struct | None], None] = lambda mm: None
        self._vma_ids = 0
        self._mm_ids = 0
        zero = self.alloc_page()
        assert zero is not None, "guest RAM has no frame for the zero page"
        self.zero_pfn = zero.pfn

    def alloc_page(self, zero: bool = True, order: int = 0) -> page | None:
        """A page of 2**order frames, or None when RAM is used up. Multi-frame pages are always cleared."""
        return self.allocator.alloc_page(zero) if order == 0 else self.allocator.alloc_pages(order)

    def put_page(self, old: page) -> None:
        """Drop a reference; the last one frees the page (put_page)."""
        old._refcount -= 1
        if old._refcount == 0:
            self.allocator.free(old)

    def release_pages(self, pages: list[page]) -> None:
        """Drop a reference of each (release_pages)."""
        unused = []
        for old in pages:
            left = old._refcount = old._refcount - 1
            if not left:
                unused.append(old)
        self.allocator.free_unref_folios(unused)

    def free_table(self, pfn: int, order: int) -> None:
        """Free a page table that nothing points to any more."""
        table = self.mem_map[pfn]
        assert table is not None and table.order == order
        self.put_page(table)

    def vm_events(self) -> dict[str, int]:
        """The counters of /proc/vmstat, by the kernel's names (all_vm_events)."""
        allocator = self.allocator
        return {
            **self.vmstat,
            "pgalloc_normal": allocator.allocated + allocator.freed,
            "pgfree": allocator.freed,
        }

    def next_vma_id(self) -> int:
        self._vma_ids += 1
        return self._vma_ids

    def next_mm_id(self) -> int:
        self._mm_ids += 1
        return self._mm_ids

    def new_mm(self, format: PageTableFormat) -> mm_struct:
        """A new empty address space (mm_alloc). MemoryError when there is no frame for its top table."""
        return self.mm_type(self, self.table_type(format, self), self.scheme, self.sched.kind_of(VmaTree)(self.sched))
