# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is a file: shared anonymous mappings and memfd (mm/shmem.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.filemap import address_space, filemap_map_pages
from emu.mm.mm_types import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_LOCKED,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    vm_area_struct,
    vm_operations_struct,
)
from emu.mm.readahead import file_ra_state

if TYPE_CHECKING:
    from emu.mm.memory import vm_fault
    from emu.mm.memory_manager import MemoryManager


class shmem_inode:
    """The host side of a shmem mapping: a size and no storage but the page cache."""

    def __init__(self, size: int) -> None:
        self.i_size = size
        self.i_ino = 0  # as /proc/PID/maps shows it: a System V segment's identifier

    def read_page(self, index: int) -> bytes | None:
        return b""

    def write_page(self, index: int, data: bytes) -> int:
        return 0


class shmem_file:
    """An open shmem object (what shmem_file_setup returns). Its pages go when the last user has gone."""

    aligns_huge = False

    def __init__(self, memory: MemoryManager, name: str, size: int) -> None:
        self.inode = shmem_inode(size)
        self.f_mapping = address_space(self.inode, memory, shmem=True)
        self.f_ra = file_ra_state()
        self.f_mode = 3
        self.f_flags = 2
        self.f_count = 1
        self._name = name

    @property
    def name(self) -> str:
        """As /proc/PID/maps shows it."""
        return self._name

    def mmap(self, vma: vm_area_struct) -> int:
        vma.vm_ops = shmem_anon_vm_ops
        return 0

    def punch_hole(self, offset: int, length: int) -> int:
        self.f_mapping.truncate_range(offset >> PAGE_SHIFT, (offset + length >> PAGE_SHIFT) - 1, even_cows=False)
        return 0

    def get(self) -> None:
        self.f_count += 1

    def put(self) -> None:
        self.f_count -= 1
        if self.f_count == 0:
            self.f_mapping.drop()


def shmem_fault(vmf: vm_fault) -> int:
    """The page of the object, made (zeroed) when it is a hole (shmem_fault)."""
    assert vmf.vma.vm_file is not None
    mapping = vmf.vma.vm_file.f_mapping
    if vmf.pgoff << PAGE_SHIFT >= (mapping.host.i_size + PAGE_SIZE - 1 & -PAGE_SIZE):
        return VM_FAULT_SIGBUS
    hole = vmf.pgoff not in mapping.pages
    found = mapping.read_cache_page(vmf.pgoff)
    if isinstance(found, int):
        return VM_FAULT_OOM
    found.uptodate = True
    if hole:
        memory = mapping.memory
        memory.costs.new_anon()
        memory.sched.charge(memory.costs.shmem_add)
    found._refcount += 1
    vmf.page = found
    return VM_FAULT_LOCKED


shmem_vm_ops = vm_operations_struct(fault=shmem_fault, map_pages=filemap_map_pages)
shmem_anon_vm_ops = vm_operations_struct(fault=shmem_fault, map_pages=filemap_map_pages)


def shmem_file_setup(memory: MemoryManager, name: str, size: int) -> shmem_file:
    """A new object of `size` bytes, all holes."""
    return shmem_file(memory, name, size)


def shmem_zero_setup(vma: vm_area_struct) -> int:
    """Give a shared anonymous mapping its object (shmem_zero_setup). 0 or -errno."""
    vma.vm_file = shmem_file(vma.vm_mm.memory, "/dev/zero (deleted)", vma.vm_end - vma.vm_start)
    vma.vm_ops = shmem_anon_vm_ops
    return 0
