# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheme before 6.4: every fault under mmap_lock, and no lock in the VMA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mm_types import VM_GROWSDOWN
from emu.tracepoint import Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class Scheme:
    """No VMA lock: every function that would take one does nothing."""

    name = "mmap_lock"
    speculative = False
    needs_second_user = False
    signals_under_vma_lock = False
    callee_drops_lock = True
    counts_retried_faults = True
    swap_under_vma_lock = False
    madvise_under_vma_lock = False
    fork_marks_late = False
    marks_before_merge = False

    def __init__(self, memory: MemoryManager) -> None:
        self.reason = int(Reason.SCHEME)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        pass

    def vm_area_free(self, vma: vm_area_struct) -> None:
        pass

    def mm_lock_begin(self, mm: mm_struct) -> None:
        pass

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        assert vma.vm_mm.mmap_lock.writer, "a VMA is changed without mmap_lock held for write"

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        assert vma.vm_mm.mmap_lock.writer, "mmap_lock is not held for write"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        pass

    def vma_mark_attached(self, vma: vm_area_struct) -> None:
        vma.detached = False

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        vma.detached = True

    def munmap_may_downgrade(self, after: vm_area_struct | None) -> bool:
        """Not beside a stack (until 6.5)."""
        return after is None or not after.vm_flags & VM_GROWSDOWN

    def drain_free_vmas(self, mm: mm_struct) -> None:
        pass

    def not_tried(self, mm: mm_struct, arch: str) -> bool:
        return False

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        return None

    def vma_end_read(self, vma: vm_area_struct) -> None:
        raise AssertionError("vma_end_read without a VMA lock")

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        raise AssertionError("no fault runs under a VMA lock in this scheme")

    def anon_vma_prepared(self, vma: vm_area_struct) -> None:
        pass
