# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheme before 6.4: every fault under mmap_lock, and no lock in the VMA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mmap_lock import mmap_assert_write_locked
from emu.mm.schemes.scheme import LockingScheme
from emu.tracepoint import Reason

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct, vm_area_struct


class Scheme(LockingScheme):
    """No VMA lock: every function that would take one does nothing."""

    name = "mmap_lock"
    counts_retried_faults = True
    events = ()

    def __init__(self, memory: MemoryManager) -> None:
        self.reason = int(Reason.SCHEME)

    def vma_lock_init(self, vma: vm_area_struct) -> None:
        pass

    def vm_area_free(self, vma: vm_area_struct) -> None:
        self.kmem_cache_free(vma)

    def mm_lock_begin(self, mm: mm_struct) -> None:
        pass

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        mmap_assert_write_locked(vma.vm_mm)

    def vma_assert_write_locked(self, vma: vm_area_struct) -> None:
        mmap_assert_write_locked(vma.vm_mm)

    def vma_end_write_all(self, mm: mm_struct) -> None:
        pass
