# SPDX-License-Identifier: GPL-2.0-or-later
"""What a locking scheme is to the memory manager and to the fault entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class LockingScheme(Protocol):
    """One version of the VMA lock. `reason` says why the last `lock_vma_under_rcu` gave None."""

    name: str
    faults_under_vma_lock: bool  # the fault entry tries the VMA lock at all
    needs_second_user: bool  # only when mm_users > 1 (rfc)
    signals_under_vma_lock: bool  # an access error is decided under the VMA lock (else: mmap_lock path)
    callee_drops_lock: bool  # handle_mm_fault released the VMA lock when it returns VM_FAULT_RETRY or COMPLETED
    madvise_under_vma_lock: bool
    fork_marks_late: bool  # dup_mmap write-locks a VMA right before its pages are copied (rfc), not before all else
    reason: int

    def __init__(self, memory: MemoryManager) -> None: ...

    def vma_lock_init(self, vma: vm_area_struct) -> None: ...

    def mm_lock_begin(self, mm: mm_struct) -> None:
        """mmap_lock was just taken for write."""
        ...

    def vma_start_write(self, vma: vm_area_struct) -> None: ...

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None: ...

    def vma_end_write_all(self, mm: mm_struct) -> None: ...

    def vma_mark_attached(self, vma: vm_area_struct) -> None: ...

    def vma_mark_detached(self, vma: vm_area_struct) -> None: ...

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None: ...

    def vma_end_read(self, vma: vm_area_struct) -> None: ...

    def anon_vma_may_prepare(self, vma: vm_area_struct) -> bool:
        """Under the VMA lock, before anon_vma_prepare: False = VM_FAULT_RETRY. True: call anon_vma_prepared
        afterwards."""
        ...

    def anon_vma_prepared(self, vma: vm_area_struct) -> None: ...
