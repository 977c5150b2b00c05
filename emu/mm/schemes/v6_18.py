# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMA lock as it stands in 6.18: a reference count in the VMA and the sequence count of the mm.

vm_refcnt: 0 detached; 1 attached; more: readers inside. A writer adds VMA_LOCK_OFFSET, waits until only it and the
attachment are left, stores mm_lock_seq in vm_lock_seq, and takes the offset away: from then on the equal numbers keep
readers out. mm_lock_seq is odd while mmap_lock is held for write.

A VMA's object is recycled at once when the VMA goes (SLAB_TYPESAFE_BY_RCU): a reader that found it before may get hold
of another VMA in it, in another address space even, and must look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.locking.lock import LCB_F_WRITE, Lock
from emu.locking.refcount import refcount_t
from emu.mm.mm_types import mmdrop, mmgrab
from emu.mm.mmap_lock import mmap_assert_write_locked, mmap_read_trylock, mmap_read_unlock
from emu.mm.schemes.scheme import LockingScheme
from emu.tracepoint import Kind, Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct
    from emu.sched.cacheline import CacheLine
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched

VMA_LOCK_OFFSET = 0x40000000
VMA_REF_LIMIT = VMA_LOCK_OFFSET - 1


class vma_lock(Lock):
    """What belongs to the reference count of a VMA beside it: its cache line, and, for the trace, who is inside."""

    __slots__ = ("last_holder", "readers")
    line: CacheLine  # where there is more than one CPU

    def __init__(self, sched: Sched, ident: int, vma: int) -> None:
        super().__init__(sched, "vma_lock", ident, vma)
        self.readers: dict[SchedEntity, None] = {}  # in order; kept where there is more than one CPU
        self.last_holder = 0  # tid of the reader that let a writer in

    def enter(self) -> None:
        """With more than one CPU: the running task adds its reference, and is inside."""
        sched = self.sched
        self.line.exchange(sched)
        self.readers[sched.current] = None

    def leave(self) -> None:
        """With more than one CPU: it takes its reference away, when it is its turn to."""
        sched = self.sched
        sched.write_line(self.line)
        del self.readers[sched.current]


class Scheme(LockingScheme):
    """include/linux/mmap_lock.h and mm/mmap_lock.c of 6.18."""

    name = "6.18"
    signals_under_vma_lock = True
    swap_under_vma_lock = True
    madvise_under_vma_lock = True
    prefetches_mmap_lock = False

    def __init__(self, memory: MemoryManager) -> None:
        self.vmstat = memory.vmstat
        self.sched = memory.sched
        self.smp = len(self.sched.rqs) > 1
        self.lookup_ns = self.sched.cost.vma_lookup
        self.free_vmas = memory.vm_area_cachep
        self.reason = int(Reason.NONE)

    # Writers

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        vma.vm_lock_seq = 0xFFFFFFFF
        if vma.vm_lock is None:
            vma.vm_lock = vma_lock(self.sched, vma.vm_mm.id, vma.id)
            vma.vm_refcnt = refcount_t(0)
        else:
            vma.vm_lock.ident, vma.vm_lock.vma = vma.vm_mm.id, vma.id

    def vm_area_free(self, vma: vm_area_struct) -> None:
        """The object may be another VMA from now on."""
        assert vma.detached and vma.vm_refcnt.refs in (0, VMA_LOCK_OFFSET), "a VMA is freed that is not detached"
        self.kmem_cache_free(vma)

    def kmem_cache_free(self, vma: vm_area_struct) -> None:
        self.free_vmas.append(vma)

    def mm_lock_begin(self, mm: mm_struct) -> None:
        """mm_lock_seqcount_begin."""
        mm.mm_lock_seq = mm.mm_lock_seq + 1 & 0xFFFFFFFF

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        """Exclude readers until mmap_lock is released or downgraded; nothing when that is so already."""
        mm = vma.vm_mm
        mmap_assert_write_locked(mm)
        if vma.vm_lock_seq == mm.mm_lock_seq:
            return
        waits = mm.tp.current
        waited = waits.wait
        if self._vma_enter_locked(vma, VMA_LOCK_OFFSET + 1):
            vma.vm_lock_seq = mm.mm_lock_seq
            detached = vma.vm_refcnt.sub_and_test(VMA_LOCK_OFFSET)
            assert not detached, "a VMA lost its attachment while a writer waited"
        else:  # detached: no reader can be inside
            vma.vm_lock_seq = mm.mm_lock_seq
        tp = mm.tp
        if tp.on:
            wait = tp.current.wait - waited
            tp.emit(
                Kind.VMA_LOCK_WRITE, vma.vm_start, size=vma.vm_end - vma.vm_start, vma=vma.id, text=site or None,
                wait=wait, holder=tp.current.holder if wait else 0,
            )  # fmt: skip

    def _vma_enter_locked(self, vma: vm_area_struct, target: int) -> bool:
        """__vma_enter_locked: keep new readers out, and wait until `target` is what is left. False for a VMA that is
        detached: it has no readers."""
        if self.smp:
            sched = self.sched
            sched.write_line(vma.vm_lock.line)
        refcnt = vma.vm_refcnt
        if not refcnt.add_not_zero(VMA_LOCK_OFFSET):
            return False
        if refcnt.refs != target:
            lock = vma.vm_lock
            begin = lock.contention_begin(LCB_F_WRITE, next(iter(lock.readers), None))
            vma.vm_mm.vma_writer_wait.wait_event(lambda: refcnt.refs == target)
            lock.contention_end(LCB_F_WRITE, begin, lock.last_holder)
        return True

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)
        assert vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, "the VMA is not write-locked"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        """mm_lock_seqcount_end."""
        mm.mm_lock_seq = mm.mm_lock_seq + 1 & 0xFFFFFFFF

    def vma_mark_attached(self, vma: vm_area_struct) -> None:
        self.vma_assert_write_locked(vma)
        assert vma.vm_refcnt.refs == 0, "the VMA is attached already"
        vma.vm_refcnt.set_release(1)
        vma.detached = False

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        """Readers can still be there for a moment, until they see that the VMA is write-locked: wait for them."""
        self.vma_assert_write_locked(vma)
        refcnt = vma.vm_refcnt
        assert refcnt.refs >= 1, "the VMA is detached already"
        if not refcnt.dec_and_test():
            if self._vma_enter_locked(vma, VMA_LOCK_OFFSET):
                detached = refcnt.sub_and_test(VMA_LOCK_OFFSET)
                assert detached, "a reader got into a VMA that is detached"
        vma.detached = True

    # Readers. vma_start_read is written out in its caller, and an atomic operation where it is done: a call costs as
    # much as all the rest.

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """The VMA that contains `address`, read-locked; None with `reason` set."""
        smp = self.smp
        sched = self.sched
        tree = mm.mm_mt
        while True:
            vma = tree.load(address)
            if smp:  # it takes time to get here from the root of the tree: the object may be another VMA by now
                begin, changes = sched.clock, tree.changes
                if mm.lookup_line is not None:
                    sched.read_line(mm.lookup_line)
                if vma is not None:
                    sched.charge_for(self.lookup_ns, vma.vm_lock.line)
                else:
                    sched.charge(self.lookup_ns)
                    sched.sync()
                if tree.changes != changes and tree.changed_at <= begin:  # that was before the look-up
                    vma = tree.load(address)
            if vma is None:
                reason = Reason.NO_VMA
                break
            # vma_start_read
            if vma.vm_lock_seq == mm.mm_lock_seq:
                reason = Reason.WRITE_LOCKED
                break
            refcnt = vma.vm_refcnt
            old = refcnt.refs
            if not 0 < old < VMA_REF_LIMIT:  # refcount_inc_not_zero_limited_acquire
                if smp:
                    vma.vm_lock.line.exchange(sched)
                if old == 0:  # detached between look-up and lock: look again
                    self.vmstat["vma_lock_miss"] += 1
                    continue
                reason = Reason.OVERFLOW if old < VMA_LOCK_OFFSET else Reason.WRITE_LOCKED
                break
            refcnt.refs = old + 1
            if smp:
                vma.vm_lock.enter()
            if vma.vm_mm is not mm:
                # A VMA of another address space, which may end as soon as the reference is dropped.
                other = vma.vm_mm
                mmgrab(other)
                self.vma_end_read(vma)
                mmdrop(other)
                reason = Reason.DETACHED
                break
            if vma.vm_lock_seq == mm.mm_lock_seq:
                self.vma_end_read(vma)
                reason = Reason.WRITE_LOCKED
                break
            if not vma.vm_start <= address < vma.vm_end:
                self.vma_end_read(vma)
                reason = Reason.OUTSIDE
                break
            tp = mm.tp
            if tp.on:
                tp.emit(Kind.VMA_LOCK_READ, vma.vm_start, vma=vma.id)
            return vma
        self.reason = reason
        self.vmstat["vma_lock_abort"] += 1
        tp = mm.tp
        if tp.on and vma is not None:
            tp.emit(Kind.VMA_LOCK_READ_FAILED, address, vma=vma.id, reason=reason)
        return None

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """vma_refcount_put: drop a reader's reference, and wake the writer that waits for it to be the last."""
        if self.smp:
            vma.vm_lock.leave()
        refcnt = vma.vm_refcnt
        left = refcnt.refs = refcnt.refs - 1
        if left & VMA_LOCK_OFFSET and left <= VMA_LOCK_OFFSET + 1:  # is_vma_writer_only
            vma.vm_lock.last_holder = self.sched.current.pid
            vma.vm_mm.vma_writer_wait.wake_up()
        assert left > 0, "a VMA lock is released that nobody holds"

    def munmap_may_downgrade(self, after: vm_area_struct | None) -> bool:
        """Always: stacks grow under the write lock only."""
        return True

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """The neighbours are looked at, which takes mmap_lock: try it, without waiting."""
        return mmap_read_trylock(vma.vm_mm)

    def anon_vma_prepared(self, vma: vm_area_struct) -> None:
        mmap_read_unlock(vma.vm_mm)
