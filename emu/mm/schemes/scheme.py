# SPDX-License-Identifier: GPL-2.0-or-later
"""What a locking scheme is to the memory manager and to the fault entries.

A scheme is what one version of the kernel did about the locking of faults:

    mmap_lock  every fault under mmap_lock
    spf        speculative faults, Lespinasse's series of January 2022: a copy of the VMA and a sequence count of the mm
    rfc        per-VMA locks as proposed in September 2022
    6.4        per-VMA locks as merged: anonymous memory only, swap and userfaultfd under mmap_lock
    6.18       a reference count in the VMA, files too, madvise under it

Where a version had a bug that was fixed later, the scheme has the fix.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from emu.mm.mm_types import FAULT_FLAG_VMA_LOCK, VM_GROWSDOWN
from emu.mm.vmstat import VMA_LOCK_EVENTS

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class LockingScheme(ABC):
    """One version of the VMA lock. `reason` says why the last attempt to do without mmap_lock failed."""

    name: str
    speculative = False  # the fault entry tries a speculative fault instead of a VMA lock (spf)
    needs_second_user = False  # only when mm_users > 1 (spf, rfc)
    signals_under_vma_lock = False  # an access error is decided under the VMA lock (else: mmap_lock path)
    callee_drops_lock = True  # handle_mm_fault released the VMA lock when it returns VM_FAULT_RETRY or COMPLETED
    counts_retried_faults = False  # pgfault counts an attempt that ends with VM_FAULT_RETRY as well (before 6.4)
    madvise_under_vma_lock = False
    fork_marks_late = False  # dup_mmap write-locks a VMA right before its pages are copied (rfc), not before all else
    marks_before_merge = False  # VMAs are write-locked before it is decided whether they merge (rfc)
    swap_under_vma_lock = False  # an entry that is neither empty nor present is handled under the VMA lock
    lock_among_fields = False  # the VMA lock's count is in a cache line with fields of the VMA that each fault reads
    prefetches_mmap_lock = True  # exc_page_fault of x86 asks for mmap_lock's line before anything else (until 6.15)
    fault_flag = FAULT_FLAG_VMA_LOCK  # tells the handlers which lock is held
    events: tuple[str, ...] = VMA_LOCK_EVENTS  # the counters in /proc/vmstat that this version has
    reason: int

    def __new__(cls, memory: MemoryManager) -> LockingScheme:
        # What each fault asks for is the instance's own: Python 3.11 looks for a class's anew each time (0.1 us).
        self = super().__new__(cls)
        for name in (
            "speculative", "needs_second_user", "callee_drops_lock", "counts_retried_faults", "lock_among_fields",
            "fault_flag",
        ):  # fmt: skip
            setattr(self, name, getattr(cls, name))
        return self

    @abstractmethod
    def __init__(self, memory: MemoryManager) -> None: ...

    # Writers

    @abstractmethod
    def vma_lock_init(self, vma: vm_area_struct) -> None:
        """A new VMA, perhaps in a recycled object."""

    @abstractmethod
    def mm_lock_begin(self, mm: mm_struct) -> None:
        """mmap_lock was just taken for write."""

    @abstractmethod
    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        """Exclude readers of the VMA until mmap_lock is released or downgraded. `site`: the kernel function that does
        so, for the trace."""

    @abstractmethod
    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        """AssertionError where the caller has not done so."""

    @abstractmethod
    def vma_end_write_all(self, mm: mm_struct) -> None:
        """mmap_lock is about to be released or downgraded."""

    def vma_mark_attached(self, vma: vm_area_struct) -> None:
        """The VMA is in the tree."""
        vma.detached = False

    def vma_mark_detached(self, vma: vm_area_struct) -> None:
        """It is no longer."""
        vma.detached = True

    def munmap_may_downgrade(self, after: vm_area_struct | None) -> bool:
        """May munmap go on with mmap_lock for read; `after` is the VMA behind the hole. Until 6.5 not beside a stack,
        which could grow into the hole under a read lock."""
        return after is None or not after.vm_flags & VM_GROWSDOWN

    # Freeing

    @abstractmethod
    def vm_area_free(self, vma: vm_area_struct) -> None:
        """Nobody needs the VMA any more but readers that came before."""

    def drain_free_vmas(self, mm: mm_struct) -> None:
        """The address space ends."""

    def kmem_cache_free(self, vma: vm_area_struct) -> None:
        """The object goes: nobody may touch it from now on (but see 6.18)."""

    # Faults

    def not_tried(self, mm: mm_struct, arch: str) -> bool:
        """Where `needs_second_user`: must a fault of `arch` go to mmap_lock at once; `reason` is set then."""
        return False

    def begin(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """Where `speculative`: a copy of the VMA at `address`; None with `reason` set."""
        raise AssertionError("no fault is speculative in this scheme")

    def abort(self, why: str) -> None:
        """Where `speculative`: the attempt is given up."""
        raise AssertionError("no fault is speculative in this scheme")

    def mmap_seq_read_check(self, mm: mm_struct, seq: int, why: str) -> bool:
        """Where `speculative`: did no writer come since the attempt began; else it is over, for the reason `why`."""
        raise AssertionError("no fault is speculative in this scheme")

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        """The VMA that contains `address`, read-locked; None with `reason` set."""
        return None

    def vma_end_read(self, vma: vm_area_struct) -> None:
        """Release it."""
        raise AssertionError("vma_end_read without a VMA lock")

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """Under the VMA lock, before anon_vma_prepare: False = VM_FAULT_RETRY. True: call anon_vma_prepared
        afterwards."""
        raise AssertionError("no fault prepares an anon_vma under the VMA lock in this scheme")

    def anon_vma_prepared(self, vma: vm_area_struct) -> None:
        """Afterwards."""
