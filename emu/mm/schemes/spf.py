# SPDX-License-Identifier: GPL-2.0-or-later
"""Speculative page faults (Lespinasse, January 2022): no lock at all until the page-table lock.

mmap_seq of the mm is odd while mmap_lock is held for write. A fault notes it, copies the VMA, and works on the copy;
when it has the page-table lock it looks whether the count is still the same, and only then changes the table. Whatever
does not fit is tried again under mmap_lock. Anonymous memory only, and only while a second task uses the address space;
a page table is never made, nor an anon_vma.

Counters: SPF_ATTEMPT, SPF_ABORT, and one for each reason, where the aborts of one fault are one reason each.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emu.mm.mm_types import vm_area_struct
from emu.mm.mmap_lock import mmap_assert_write_locked
from emu.mm.schemes.scheme import LockingScheme
from emu.tracepoint import Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct

# Why an attempt was given up, and what the trace says of it.
SPF_ABORTS = {
    "odd": Reason.WRITE_LOCKED,  # a writer has mmap_lock
    "unmapped": Reason.NO_VMA,
    "no_speculate": Reason.NOT_ANONYMOUS,
    "vma_copy": Reason.SEQUENCE,  # a writer came while the VMA was copied
    "access_error": Reason.ACCESS_ERROR,
    "pud": Reason.NO_PAGE_TABLE,
    "pmd": Reason.NO_PAGE_TABLE,
    "anon_vma": Reason.NO_ANON_VMA,
    "pte_map_lock_seq1": Reason.SEQUENCE,
    "pte_map_lock_pmd": Reason.NO_PAGE_TABLE,
    "pte_map_lock_ptl": Reason.PAGE_TABLE_LOCKED,
    "pte_map_lock_seq2": Reason.SEQUENCE,
    "userfaultfd": Reason.USERFAULTFD,
    "fault": Reason.NOT_ANONYMOUS,
    "swap": Reason.SWAP,
}
SPF_ATTEMPTS = ("anon", "numa", "pte", "wp")
SPF_EVENTS = (
    "spf_attempt", "spf_abort", *(f"spf_abort_{why}" for why in SPF_ABORTS),
    *(f"spf_attempt_{what}" for what in SPF_ATTEMPTS),
)  # fmt: skip


class Scheme(LockingScheme):
    """The series on 5.17-rc1, version 2."""

    name = "spf"
    speculative = True
    needs_second_user = True
    counts_retried_faults = True
    events = SPF_EVENTS

    def __init__(self, memory: MemoryManager) -> None:
        self.vmstat = memory.vmstat
        self.sched = memory.sched
        self.rcu = memory.rcu
        self.smp = len(self.sched.rqs) > 1
        self.lookup_ns = self.sched.cost.vma_lookup
        self.reason = int(Reason.NONE)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        pass

    def vm_area_free(self, vma: vm_area_struct) -> None:
        """After a grace period where others may look at it, that is in an address space with several users."""
        if vma.vm_mm.mm_users > 1:
            self.rcu.call_rcu(partial(self.kmem_cache_free, vma))
        else:
            self.kmem_cache_free(vma)

    def mm_lock_begin(self, mm: mm_struct) -> None:
        """mmap_write_lock: the sequence count becomes odd."""
        mm.mmap_seq.write_seqcount_begin()

    def vma_end_write_all(self, mm: mm_struct) -> None:
        """mmap_write_unlock, mmap_write_downgrade: it becomes even."""
        mm.mmap_seq.write_seqcount_end()

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        mmap_assert_write_locked(vma.vm_mm)

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)

    # Speculative faults

    def not_tried(self, mm: mm_struct, arch: str) -> bool:
        """Not for the only user of an address space."""
        if mm.mm_users == 1:
            self.reason = Reason.SINGLE_USER
            return True
        return False

    def begin(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """The first part of an attempt: a copy of the VMA at `address` whose `vm_lock_seq` is the sequence count that
        it was made under; None when the attempt is over, with `reason` set."""
        self.vmstat["spf_attempt"] += 1
        seq = mm.mmap_seq.raw_seqcount_try_begin()  # mmap_seq_read_start
        if seq < 0:
            self.abort("odd")
            return None
        rcu = self.rcu
        rcu.rcu_read_lock()
        vma = mm.mm_mt.find(address)
        if vma is None or vma.vm_start > address:
            rcu.rcu_read_unlock()
            self.abort("unmapped")
            return None
        if vma.vm_ops is not None:
            rcu.rcu_read_unlock()
            self.abort("no_speculate")
            return None
        pvma = copy_vma(vma)
        rcu.rcu_read_unlock()
        if self.smp:
            self.sched.read_and_charge(mm.lookup_line, self.lookup_ns)
        if not self.mmap_seq_read_check(mm, seq, "vma_copy"):
            return None
        pvma.vm_lock_seq = seq
        return pvma

    def mmap_seq_read_check(self, mm: mm_struct, seq: int, why: str) -> bool:
        """Is the count still what it was; else the attempt is over."""
        if mm.mmap_seq.read_seqcount_retry(seq):
            self.abort(why)
            return False
        return True

    def abort(self, why: str) -> None:
        """Count a reason (count_vm_spf_event) and keep it for the trace."""
        self.vmstat["spf_abort_" + why] += 1
        self.reason = SPF_ABORTS[why]


def copy_vma(vma: vm_area_struct) -> vm_area_struct:
    """What a speculative fault needs of a VMA, as it is now."""
    copy = object.__new__(vm_area_struct)
    copy.vm_mm = vma.vm_mm
    copy.vm_start = vma.vm_start
    copy.vm_end = vma.vm_end
    copy.vm_pgoff = vma.vm_pgoff
    copy.vm_flags = vma.vm_flags
    copy.vm_page_prot = vma.vm_page_prot
    copy.vm_file = None
    copy.vm_ops = None
    copy.anon_vma = vma.anon_vma
    copy.id = vma.id
    return copy
