# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMA lock as it was merged in 6.4: a rwsem beside the VMA, two sequence numbers, and a mark on detached VMAs.

A VMA is write-locked while its vm_lock_seq equals the mm's mm_lock_seq. The rwsem is held for write only for the moment
in which the number is stored, so that readers are waited for; adding one to mm_lock_seq ends all write locks at once.
Only anonymous memory that has its anon_vma is served. With the fixes of the first stable releases.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emu.locking.rwsem import rw_semaphore
from emu.mm.mm_types import VM_UFFD_MISSING, VM_UFFD_WP
from emu.mm.mmap_lock import mmap_assert_write_locked
from emu.mm.schemes.scheme import LockingScheme
from emu.tracepoint import Kind, Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class Scheme(LockingScheme):
    """include/linux/mm.h and mm/memory.c of 6.4."""

    name = "6.4"
    callee_drops_lock = False  # the entry code always unlocks, after VM_FAULT_RETRY too

    def __init__(self, memory: MemoryManager) -> None:
        self.vmstat = memory.vmstat
        self.sched = memory.sched
        self.rcu = memory.rcu
        self.smp = len(self.sched.rqs) > 1
        self.lookup_ns = self.sched.cost.vma_lookup
        self.reason = int(Reason.NONE)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        """vma_lock_alloc."""
        vma.vm_lock = rw_semaphore(self.sched, "vma_lock", vma.vm_mm.id, vma.id)
        vma.vm_lock_seq = -1

    def vm_area_free(self, vma: vm_area_struct) -> None:
        """After a grace period; at once where the address space ends and nobody can look any more."""
        if vma.vm_mm.mm_users == 0:
            self._vm_area_free_rcu_cb(vma)
            return
        self.rcu.call_rcu(partial(self._vm_area_free_rcu_cb, vma))

    def _vm_area_free_rcu_cb(self, vma: vm_area_struct) -> None:
        assert not vma.vm_lock.is_locked(), f"{vma} is destroyed with a reader inside"
        self.kmem_cache_free(vma)

    def mm_lock_begin(self, mm: mm_struct) -> None:
        pass

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        """Wait for readers, then mark."""
        mm = vma.vm_mm
        mmap_assert_write_locked(mm)
        if vma.vm_lock_seq == mm.mm_lock_seq:
            return
        waited = mm.tp.current.wait
        vma.vm_lock.down_write()
        vma.vm_lock_seq = mm.mm_lock_seq
        vma.vm_lock.up_write()
        tp = mm.tp
        if tp.on:
            wait = tp.current.wait - waited
            tp.emit(
                Kind.VMA_LOCK_WRITE, vma.vm_start, size=vma.vm_end - vma.vm_start, vma=vma.id, text=site or None,
                wait=wait, holder=tp.current.holder if wait else 0,
            )  # fmt: skip

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)
        assert vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, "the VMA is not write-locked"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        mm.mm_lock_seq += 1

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        self.vma_assert_write_locked(vma)
        vma.detached = True

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """The anonymous VMA that contains `address`, read-locked; None with `reason` set."""
        if self.smp:
            self.sched.sync()
        while True:
            vma = mm.mm_mt.load(address)
            if vma is None:
                reason = Reason.NO_VMA
                break
            if vma.vm_ops is not None:
                reason = Reason.NOT_ANONYMOUS
                break
            if not self._vma_start_read(vma):
                reason = Reason.WRITE_LOCKED
                break
            if vma.anon_vma is None:  # the neighbours, at which preparing one looks, are not locked
                reason = Reason.NO_ANON_VMA
            elif vma.vm_flags & (VM_UFFD_MISSING | VM_UFFD_WP):
                reason = Reason.USERFAULTFD
            elif not vma.vm_start <= address < vma.vm_end:
                reason = Reason.OUTSIDE
            elif vma.detached:
                self.vma_end_read(vma)
                self.vmstat["vma_lock_miss"] += 1
                continue
            else:
                tp = mm.tp
                if tp.on:
                    tp.emit(Kind.VMA_LOCK_READ, vma.vm_start, vma=vma.id)
                return vma
            self.vma_end_read(vma)
            break
        self.reason = reason
        self.vmstat["vma_lock_abort"] += 1
        tp = mm.tp
        if tp.on and vma is not None:
            tp.emit(Kind.VMA_LOCK_READ_FAILED, address, vma=vma.id, reason=reason)
        return None

    def _vma_start_read(self, vma: vm_area_struct) -> bool:
        if self.smp:
            if vma.vm_mm.lookup_line is not None:
                self.sched.read_line(vma.vm_mm.lookup_line)
            self.sched.charge_for(self.lookup_ns, vma.vm_lock.line)
        if vma.vm_lock_seq == vma.vm_mm.mm_lock_seq:
            return False
        if not vma.vm_lock.down_read_trylock():
            return False
        if vma.vm_lock_seq == vma.vm_mm.mm_lock_seq:
            vma.vm_lock.up_read()
            return False
        return True

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """The section keeps the VMA alive until up_read has looked at the lock for the last time."""
        self.rcu.rcu_read_lock()
        vma.vm_lock.up_read()
        self.rcu.rcu_read_unlock()
