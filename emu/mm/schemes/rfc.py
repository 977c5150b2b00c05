# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-VMA locks as proposed in September 2022: 28 patches on 6.0-rc3.

A VMA is marked locked while its vm_lock_seq equals the mm's mm_lock_seq. The rwsem in the VMA is held for write only
for the moment in which the number is stored, so that readers are waited for; adding one to mm_lock_seq ends all marks
at once. Only anonymous memory, and only while a second task uses the address space.

The patches, the switch that takes the behaviour of each out (`disabled`), and where it is:

    01 CONFIG_PER_VMA_LOCK              "config"          faults go straight to mmap_lock (archs/*/mm/fault.py)
    02 RCU-safe VMA freeing             "rcu_free"        vm_area_free
    03 __find_vma without the assertion "find_vma"        lock_vma_under_rcu
    04 assertions moved                 "asserts"         vma_start_write, vma_assert_write_locked
    05 the lock and its helpers         "lock"            vma_start_write, _vma_read_trylock, vma_end_write_all
    06 before vm_flags change           "vm_flags"        sites madvise_update_vma, mlock_fixup, mprotect_fixup ...
    07 before pages are copied          "fork"            site dup_mmap
    08 collapse of huge pages           -                 there are no huge pages (emu/mm/khugepaged.py will have it)
    09 before a memory policy changes   -                 there are no memory policies (emu/mm/mempolicy.py)
    10 __vma_adjust                     "vma_adjust"      sites vma_expand, vma_shrink, commit_merge
    11 merge and split                  "merge_split"     sites vma_merge, __split_vma
    12 mremap                           "mremap"          sites move_vma, copy_vma
    13 free_pgtables, unmap_page_range  "free_pgtables"   sites free_pgtables, unmap_page_range; not after a downgrade
    14 before isolation                 "isolate"         vma_mark_detached
    15 growable neighbours              "growable"        munmap_may_downgrade
    16 no readers at destruction        "no_readers"      _vm_area_free
    17 registering an mmu notifier      -                 there are no mmu notifiers
    18 FAULT_FLAG_VMA_LOCK              "fault_flag"      fault_flag
    19 swap                             "swap"            swap_under_vma_lock (emu/mm/memory.py do_swap_page)
    20 statistics                       "stats"           _count
    21 find_and_lock_anon_vma           "find_and_lock"   lock_vma_under_rcu
    22, 23 x86                          "x86"             arch_enabled (archs/x86/mm/fault.py)
    24, 25 arm64                        "arm64"           arch_enabled (archs/arm64/mm/fault.py)
    26, 27 powerpc                      "powerpc"         arch_enabled (archs/powerpc/mm/fault.py)
    28 call_rcu in batches              "batch"           vm_area_free, drain_free_vmas

The series lacked what its later versions added; `bugs` brings that back: "address" (the bounds are looked at once more
after the lock was taken), "anon_vma" (a VMA without anon_vma goes to mmap_lock).

Each patch has a test in tests/mm/rfc/ that runs with its behaviour and with its switch.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from emu.locking.rwsem import rw_semaphore
from emu.mm.mm_types import FAULT_FLAG_VMA_LOCK, VM_GROWSDOWN
from emu.mm.mmap_lock import mmap_assert_write_locked
from emu.mm.schemes.scheme import LockingScheme
from emu.tracepoint import Kind, Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct

VM_AREA_FREE_LIST_MAX = 32
_SITES = {
    "madvise_update_vma": "vm_flags",
    "mlock_fixup": "vm_flags",
    "mprotect_fixup": "vm_flags",
    "mmap_region": "vm_flags",
    "mseal_apply": "vm_flags",
    "dup_mmap": "fork",
    "vma_expand": "vma_adjust",
    "vma_shrink": "vma_adjust",
    "commit_merge": "vma_adjust",
    "expand_downwards": "vma_adjust",
    "vma_merge": "merge_split",
    "__split_vma": "merge_split",
    "move_vma": "mremap",
    "copy_vma": "mremap",
    "free_pgtables": "free_pgtables",
    "unmap_page_range": "free_pgtables",
    "vms_gather_munmap_vmas": "isolate",
    "isolate": "isolate",
    "exit_mmap": "isolate",
}


class Scheme(LockingScheme):
    """The RFC's functions under the names of the common interface: vma_mark_locked is vma_start_write,
    find_and_lock_anon_vma is lock_vma_under_rcu, vma_read_unlock is vma_end_read, vma_mark_unlocked_all is
    vma_end_write_all."""

    name = "rfc"
    needs_second_user = True  # the entry code tries the VMA lock only while mm_users > 1
    callee_drops_lock = False  # the entry code always unlocks, after VM_FAULT_RETRY too
    counts_retried_faults = True
    fork_marks_late = True
    marks_before_merge = True
    lock_among_fields = True

    def __init__(self, memory: MemoryManager, disabled: Collection[str] = (), bugs: Collection[str] = ()) -> None:
        """`disabled`: patches whose behaviour is taken out; `bugs`: what later versions added is taken out."""
        self.memory = memory
        self.vmstat = memory.vmstat
        self.sched = memory.sched
        self.rcu = memory.rcu
        self.smp = len(self.sched.rqs) > 1
        self.lookup_ns = self.sched.cost.vma_lookup
        self.reason = int(Reason.NONE)
        self.disabled = frozenset(disabled)
        self.bugs = frozenset(bugs)
        self.swap_under_vma_lock = "swap" in disabled
        self.fault_flag = 0 if "fault_flag" in disabled else FAULT_FLAG_VMA_LOCK

    # Writers

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        vma.vm_lock = rw_semaphore(self.sched, "vma_lock", vma.vm_mm.id, vma.id, owner_apart=True)
        vma.vm_lock_seq = -1

    def mm_lock_begin(self, mm: mm_struct) -> None:
        pass

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        """vma_mark_locked: wait for readers, then mark. The rwsem is held for the moment of the wait alone."""
        if self.disabled and ("lock" in self.disabled or _SITES.get(site) in self.disabled):
            return
        mm = vma.vm_mm
        if "asserts" not in self.disabled:
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
        if self.disabled:
            return
        mmap_assert_write_locked(vma.vm_mm)
        assert vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, "the VMA is not marked locked"

    def vma_end_write_all(self, mm: mm_struct) -> None:
        """vma_mark_unlocked_all."""
        mm.mm_lock_seq += 1

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        """Isolation (__vma_rb_erase): the VMA is marked, and its tree node cleared."""
        self.vma_start_write(vma, "isolate")
        if "isolate" not in self.disabled:
            vma.detached = True

    def munmap_may_downgrade(self, after: vm_area_struct | None) -> bool:
        """detach_vmas_to_be_unmapped: not beside a stack, which could grow into the hole under a read lock."""
        if "growable" not in self.disabled and after is not None and after.vm_flags & VM_GROWSDOWN:
            self.vma_start_write(after, "detach_vmas_to_be_unmapped")
            return False
        return True

    # Freeing

    def vm_area_free(self, vma: vm_area_struct) -> None:
        """Collect freed VMAs, and let more than VM_AREA_FREE_LIST_MAX of them share a grace period.

        The links of list and callback lie over vm_start and vm_end: a reader that still looks sees kernel addresses.
        """
        mm = vma.vm_mm
        vma.vm_start = vma.vm_end = 0xFFFF_8880_0000_0000
        if "rcu_free" in self.disabled:
            self._vm_area_free([vma])
        elif "batch" in self.disabled:
            self.rcu.call_rcu(partial(self._vm_area_free, [vma]))
        else:
            mm.vma_free_list.append(vma)
            if len(mm.vma_free_list) > VM_AREA_FREE_LIST_MAX:
                self.drain_free_vmas(mm)

    def drain_free_vmas(self, mm: mm_struct) -> None:
        """Free what has been collected; at the end of exit_mmap too."""
        if mm.vma_free_list:
            ring, mm.vma_free_list = mm.vma_free_list, []
            self.rcu.call_rcu(partial(self._vm_area_free, ring))

    def _vm_area_free(self, vmas: list[vm_area_struct]) -> None:
        for vma in vmas:
            if "no_readers" not in self.disabled:  # vma_assert_no_reader
                assert not vma.vm_lock.is_locked() or vma.vm_lock_seq == vma.vm_mm.mm_lock_seq, (
                    f"VMA {vma.id} is destroyed with a reader inside"
                )
            self.kmem_cache_free(vma)

    # Readers

    def not_tried(self, mm: mm_struct, arch: str) -> bool:
        """Not for the only user of an address space; nor where the kernel was configured without, or the architecture
        does not do it."""
        if mm.mm_users == 1:
            self.reason = Reason.SINGLE_USER
            return True
        if self.disabled and ("config" in self.disabled or arch in self.disabled):
            self.reason = Reason.SCHEME
            return True
        return False

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """find_and_lock_anon_vma: the VMA of anonymous memory at `address`, read-locked; None with `reason` set."""
        rcu = self.rcu
        rcu.rcu_read_lock()
        vma, reason = self._find_vma_under_rcu(mm, address)
        rcu.rcu_read_unlock()
        self.reason = reason
        tp = mm.tp
        if reason:
            if tp.on and vma is not None:
                tp.emit(Kind.VMA_LOCK_READ_FAILED, address, vma=vma.id, reason=reason)
            return None
        assert vma is not None
        if tp.on:
            tp.emit(Kind.VMA_LOCK_READ, vma.vm_start, vma=vma.id)
        return vma

    def _find_vma_under_rcu(self, mm: mm_struct, address: int) -> tuple[vm_area_struct | None, Reason]:
        """The VMA, and why it is not locked (Reason.NONE: it is)."""
        if self.smp:
            self.sched.sync()
        if "find_vma" in self.disabled:  # find_vma
            assert mm.mmap_lock.is_locked(), "mmap_lock is not held for a look-up"
        vma = mm.mm_mt.find(address)  # __find_vma
        if vma is None:
            return None, Reason.NO_VMA
        if vma.vm_start > address:
            return vma, Reason.OUTSIDE
        if "find_and_lock" in self.disabled:  # whatever it is, if only its lock is free
            return (vma, Reason.NONE) if self._vma_read_trylock(vma) else (vma, Reason.WRITE_LOCKED)
        if vma.vm_ops is not None:
            return vma, Reason.NOT_ANONYMOUS
        if not self._vma_read_trylock(vma):
            self._count("vma_lock_abort")
            return vma, Reason.WRITE_LOCKED
        if vma.detached:
            self._count("vma_lock_miss")
            reason = Reason.DETACHED
        elif not vma.vm_start <= address < vma.vm_end and "address" not in self.bugs:
            reason = Reason.OUTSIDE
        elif vma.anon_vma is None and "anon_vma" not in self.bugs:
            reason = Reason.NO_ANON_VMA
        else:
            return vma, Reason.NONE
        self.vma_end_read(vma)
        return vma, reason

    def _vma_read_trylock(self, vma: vm_area_struct) -> bool:
        if self.smp:
            if vma.vm_mm.lookup_line is not None:
                self.sched.read_line(vma.vm_mm.lookup_line)
            self.sched.charge_for(self.lookup_ns, vma.vm_lock.line)
        if "lock" in self.disabled:
            return True
        if not vma.vm_lock.down_read_trylock():
            return False
        if vma.vm_lock_seq == vma.vm_mm.mm_lock_seq:
            vma.vm_lock.up_read()
            return False
        return True

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """vma_read_unlock, in a read-side section as later versions have it."""
        if "lock" in self.disabled:
            return
        if self.smp:
            # The lock is in the VMA: what a fault reads of it late, vm_page_prot and anon_vma, is in a line to which
            # others write (the reason for which the lock was moved out of it in February 2023).
            sched = self.sched
            if sched.clock > sched.horizon:
                sched.sync_for(vma.vm_lock.line)
            vma.vm_lock.line.read(sched)
        self.rcu.rcu_read_lock()
        vma.vm_lock.up_read()
        self.rcu.rcu_read_unlock()

    def _count(self, event: str) -> None:
        """count_vm_vma_lock_event."""
        if "stats" not in self.disabled:
            self.vmstat[event] += 1

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """With "anon_vma" of `bugs`: under the VMA lock alone, though the neighbours are not locked."""
        return True
