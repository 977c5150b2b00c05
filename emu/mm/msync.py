# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing shared mappings back (mm/msync.c)."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOMEM

from emu.mm.mm_types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, VM_LOCKED, VM_SHARED, mm_struct
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock

MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4


def sys_msync(mm: mm_struct, start: int, length: int, flags: int) -> int:
    """msync: 0 or -errno. mmap_lock is dropped while a file is written."""
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start & PAGE_SIZE - 1:
        return -EINVAL
    if flags & MS_ASYNC and flags & MS_SYNC:
        return -EINVAL
    mask = (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF
    length = length + PAGE_SIZE - 1 & PAGE_MASK & mask
    end = start + length & mask
    if end < start:
        return -ENOMEM
    if end == start:
        return 0
    unmapped = 0
    mmap_read_lock(mm)
    while True:
        vma = mm.mm_mt.find(start)
        if vma is None:
            mmap_read_unlock(mm)
            return -ENOMEM
        if start < vma.vm_start:
            start = vma.vm_start
            if flags == MS_ASYNC or start >= end:
                mmap_read_unlock(mm)
                return -ENOMEM
            unmapped = -ENOMEM
        if flags & MS_INVALIDATE and vma.vm_flags & VM_LOCKED:
            mmap_read_unlock(mm)
            return -EBUSY
        file = vma.vm_file
        first = (start - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
        last = first + (min(end, vma.vm_end) - start >> PAGE_SHIFT) - 1
        start = vma.vm_end
        if flags & MS_SYNC and file is not None and vma.vm_flags & VM_SHARED:
            file.get()
            mmap_read_unlock(mm)
            error = file.f_mapping.writeback(first, last)
            file.put()
            if error or start >= end:
                return error or unmapped
            mmap_read_lock(mm)
        elif start >= end:
            mmap_read_unlock(mm)
            return unmapped
