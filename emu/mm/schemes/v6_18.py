# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMA lock as it stands in 6.18: a reference count in the VMA and the sequence count of the mm.

vm_refcnt: 0 detached; 1 attached; more: readers inside. A writer adds VMA_LOCK_OFFSET, waits until only it and the
attachment
are left, stores mm_lock_seq in vm_lock_seq, and takes the offset away: from then on the equal numbers keep readers
out. mm_lock_seq is odd while mmap_lock is held for write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mmap_lock import mmap_assert_write_locked, mmap_read_trylock, mmap_read_unlock
from emu.tracepoint import Kind, Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct

VMA_LOCK_OFFSET = 0x40000000
VMA_REF_LIMIT = VMA_LOCK_OFFSET - 1


class Scheme:
    """include/linux/mmap_lock.h and mm/mmap_lock.c of 6.18."""

    name = "6.18"
    faults_under_vma_lock = True
    needs_second_user = False
    signals_under_vma_lock = True
    callee_drops_lock = True
    madvise_under_vma_lock = True
    fork_marks_late = False

    def __init__(self, memory: MemoryManager) -> None:
        self.vmstat = memory.vmstat
        self.rcu = memory.rcu
        self.reason = int(Reason.NONE)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        vma.vm_lock_seq = 0xFFFFFFFF
        vma.vm_refcnt = 0

    def mm_lock_begin(self, mm: mm_struct) -> None:
        """mm_lock_seqcount_begin."""
        mm.mm_lock_seq = mm.mm_lock_seq + 1 & 0xFFFFFFFF

    def vma_start_write(self, vma: vm_area_struct) -> None:
        """Exclude readers until mmap_lock is released or downgraded; nothing when that is so already."""
        mm = vma.vm_mm
        mmap_assert_write_locked(mm)
        if vma.vm_lock_seq == mm.mm_lock_seq:
            return
        if vma.vm_refcnt:
            vma.vm_refcnt += VMA_LOCK_OFFSET
            if vma.vm_refcnt != VMA_LOCK_OFFSET + 1:
                raise RuntimeError("vma_start_write would wait for a reader that never leaves")
            vma.vm_lock_seq = mm.mm_lock_seq
            vma.vm_refcnt -= VMA_LOCK_OFFSET
        else:  # detached: no reader can be inside
            vma.vm_lock_seq = mm.mm_lock_seq
        tp = mm.tp
        if tp.on:
            tp.emit(Kind.VMA_LOCK_WRITE, vma.vm_start, size=vma.vm_end - vma.vm_start, vma=vma.id)

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)
        assert vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, "the VMA is not write-locked"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        """mm_lock_seqcount_end."""
        mm.mm_lock_seq = mm.mm_lock_seq + 1 & 0xFFFFFFFF

    def vma_mark_attached(self, vma: vm_area_struct) -> None:
        self.vma_assert_write_locked(vma)
        assert vma.vm_refcnt == 0, "the VMA is attached already"
        vma.vm_refcnt = 1
        vma.detached = False

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        self.vma_assert_write_locked(vma)
        assert vma.vm_refcnt >= 1, "the VMA is detached already"
        vma.vm_refcnt -= 1
        if vma.vm_refcnt:
            raise RuntimeError("vma_mark_detached would wait for a reader that never leaves")
        vma.detached = True

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """The VMA that contains `address`, read-locked; None with `reason` set."""
        rcu = self.rcu
        rcu.nesting += 1
        while True:
            vma = mm.mm_mt.load(address)
            if vma is None:
                self.reason = Reason.NO_VMA
                break
            # vma_start_read
            if vma.vm_lock_seq == mm.mm_lock_seq:
                self.reason = Reason.WRITE_LOCKED
                break
            count = vma.vm_refcnt
            if count == 0:  # detached between look-up and lock: look again
                self.vmstat["vma_lock_miss"] += 1
                continue
            if count >= VMA_REF_LIMIT:
                self.reason = Reason.OVERFLOW if count < VMA_LOCK_OFFSET else Reason.WRITE_LOCKED
                break
            vma.vm_refcnt = count + 1
            if vma.vm_mm is not mm or vma.vm_lock_seq == mm.mm_lock_seq:
                vma.vm_refcnt -= 1
                self.reason = Reason.WRITE_LOCKED
                break
            rcu.nesting -= 1
            if not vma.vm_start <= address < vma.vm_end:
                self.vma_end_read(vma)
                self.vmstat["vma_lock_abort"] += 1
                self.reason = Reason.OUTSIDE
                return None
            tp = mm.tp
            if tp.on:
                tp.emit(Kind.VMA_LOCK_READ, vma.vm_start, vma=vma.id)
            return vma
        rcu.nesting -= 1
        self.vmstat["vma_lock_abort"] += 1
        tp = mm.tp
        if tp.on and vma is not None:
            tp.emit(Kind.VMA_LOCK_READ_FAILED, vma.vm_start, vma=vma.id, reason=self.reason)
        return None

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """vma_refcount_put."""
        vma.vm_refcnt -= 1

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """The neighbours are looked at, which takes mmap_lock: try it, without waiting."""
        return mmap_read_trylock(vma.vm_mm)

    def anon_vma_prepared(self, vma: vm_area_struct) -> None:
        mmap_read_unlock(vma.vm_mm)
