# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages are in memory (mm/mincore.c)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOMEM

from emu.mm.memory import PTE_MARKER_GUARD
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, mm_struct, vm_area_struct
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.mm.uaccess import Uaccess


def _resident(vma: vm_area_struct, address: int) -> int:
    table = vma.vm_mm.pgtable
    slot = table.slot(address)
    pte = table.get(slot) if slot >= 0 else 0
    if pte and pte != PTE_MARKER_GUARD:
        return 1
    if vma.vm_file is None:
        return 0
    index = (address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
    mapping = vma.vm_file.f_mapping
    if mapping.shmem:
        found = mapping.find_get_page(index)
        return int(found is not None and found.uptodate)
    return int(mapping.in_cache(index) and index not in mapping.absent)


def do_mincore(mm: mm_struct, address: int, pages: int) -> bytes | int:
    """A byte a page from `address` to the end of its VMA, `pages` at most; -ENOMEM where nothing is mapped."""
    vma = mm.mm_mt.load(address)
    if vma is None:
        return -ENOMEM
    end = min(vma.vm_end, address + (pages << PAGE_SHIFT))
    return bytes(_resident(vma, at) for at in range(address, end, PAGE_SIZE))


def sys_mincore(mm: mm_struct, access: Uaccess, start: int, length: int, vector: int) -> int:
    """mincore: 0 or -errno."""
    if start & PAGE_SIZE - 1:
        return -EINVAL
    if start > mm.task_size or length > mm.task_size - start:
        return -ENOMEM
    pages = length + PAGE_SIZE - 1 >> PAGE_SHIFT
    if not access.access_ok(vector, pages):
        return -EFAULT
    while pages:
        mmap_read_lock(mm)
        found = do_mincore(mm, start, min(pages, PAGE_SIZE))
        if not isinstance(found, int):
            mm.memory.sched.charge(len(found) * mm.memory.sched.cost.mincore_page)
        mmap_read_unlock(mm)
        if isinstance(found, int):
            return found
        if not access.copy_to_user(vector, found):
            return -EFAULT
        pages -= len(found)
        vector += len(found)
        start += len(found) << PAGE_SHIFT
    return 0
