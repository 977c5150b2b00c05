# SPDX-License-Identifier: GPL-2.0-or-later
"""The RFC of September 2022: a rwsem in the VMA and two sequence numbers.

A VMA is write-locked while its vm_lock_seq equals the mm's mm_lock_seq. The rwsem is held for write only for the
moment in
which the number is stored, so that readers are waited for; adding one to mm_lock_seq ends all write locks at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.locking.rwsem import rw_semaphore
from emu.mm.mmap_lock import mmap_assert_write_locked
from emu.tracepoint import Kind, Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class Scheme:
    """The RFC's vma_mark_locked, vma_read_trylock and find_and_lock_anon_vma, under the names of the common
    interface."""

    name = "rfc"
    faults_under_vma_lock = True
    needs_second_user = True  # the entry code tries the VMA lock only while mm_users > 1
    signals_under_vma_lock = False
    callee_drops_lock = False  # the entry code always unlocks, after VM_FAULT_RETRY too
    madvise_under_vma_lock = False
    fork_marks_late = True

    def __init__(self, memory: MemoryManager) -> None:
        self.vmstat = memory.vmstat
        self.reason = int(Reason.NONE)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        vma.vm_lock = rw_semaphore("vma->lock")
        vma.vm_lock_seq = -1

    def mm_lock_begin(self, mm: mm_struct) -> None:
        pass

    def vma_start_write(self, vma: vm_area_struct) -> None:
        """vma_mark_locked: wait for readers, then mark."""
        mm = vma.vm_mm
        mmap_assert_write_locked(mm)
        if vma.vm_lock_seq == mm.mm_lock_seq:
            return
        assert vma.vm_lock is not None
        vma.vm_lock.down_write()
        vma.vm_lock_seq = mm.mm_lock_seq
        vma.vm_lock.up_write()
        tp = mm.tp
        if tp.on:
            tp.emit(Kind.VMA_LOCK_WRITE, vma.vm_start, size=vma.vm_end - vma.vm_start, vma=vma.id)

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)
        assert vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, "the VMA is not marked locked"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        """vma_mark_unlocked_all."""
        mm.mm_lock_seq += 1

    def vma_mark_attached(self, vma: vm_area_struct) -> None:
        vma.detached = False

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        """Isolation: the RFC marks the VMA and clears its tree node."""
        self.vma_start_write(vma)
        vma.detached = True

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """find_and_lock_anon_vma."""
        rcu = mm.memory.rcu
        rcu.nesting += 1
        vma = mm.mm_mt.find(address)
        rcu.nesting -= 1
        if vma is None:
            self.reason = Reason.NO_VMA
            return None
        if vma.vm_start > address:
            self.reason = Reason.OUTSIDE
            return None
        if vma.vm_ops is not None:
            self.reason = Reason.NOT_ANONYMOUS
            return None
        if not self._vma_read_trylock(vma):
            self.vmstat["vma_lock_abort"] += 1
            self.reason = Reason.WRITE_LOCKED
            tp = mm.tp
            if tp.on:
                tp.emit(Kind.VMA_LOCK_READ_FAILED, vma.vm_start, vma=vma.id, reason=self.reason)
            return None
        if vma.detached:
            self.vma_end_read(vma)
            self.vmstat["vma_lock_miss"] += 1
            self.reason = Reason.DETACHED
            return None
        self.reason = Reason.NONE
        return vma

    def _vma_read_trylock(self, vma: vm_area_struct) -> bool:
        assert vma.vm_lock is not None
        if not vma.vm_lock.down_read_trylock():
            return False
        if vma.vm_lock_seq == vma.vm_mm.mm_lock_seq:
            vma.vm_lock.up_read()
            return False
        tp = vma.vm_mm.tp
        if tp.on:
            tp.emit(Kind.VMA_LOCK_READ, vma.vm_start, vma=vma.id)
        return True

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """vma_read_unlock."""
        assert vma.vm_lock is not None
        vma.vm_lock.up_read()

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """The RFC prepares the anon_vma under the VMA lock alone."""
        return True

    def anon_vma_prepared(self, vma: vm_area_struct) -> None:
        pass
