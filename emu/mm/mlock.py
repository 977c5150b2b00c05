# SPDX-License-Identifier: GPL-2.0-or-later
"""Locking memory (mm/mlock.c)."""

from __future__ import annotations

from errno import EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM

from emu.mm.gup import mm_populate
from emu.mm.memory import present_entries
from emu.mm.mm_types import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DROPPABLE,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_SPECIAL,
    VM_STICKY,
    mm_struct,
    vm_area_struct,
)
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_unlock
from emu.mm.vma import RLIMIT_MEMLOCK, trace_vma_modify, vma_modify

MLOCK_ONFAULT = 1
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def can_do_mlock(mm: mm_struct) -> bool:
    """May the task lock anything at all."""
    return mm.rlimit(RLIMIT_MEMLOCK) != 0 or mm.capable_ipc_lock


def mlock_fixup(vma: vm_area_struct, start: int, end: int, newflags: int) -> int:
    """Give [start, end) of one VMA its lock flags. 0 or -errno."""
    mm = vma.vm_mm
    oldflags = vma.vm_flags
    if newflags == oldflags or oldflags & (VM_SPECIAL | VM_HUGETLB | VM_DROPPABLE):
        return 0
    mm.memory.sched.charge(mm.memory.sched.cost.mlock_vma)
    modified = vma_modify(vma, start, end, newflags)
    if isinstance(modified, int):
        return modified
    pages = end - start >> PAGE_SHIFT
    if not newflags & VM_LOCKED:
        mm.locked_vm -= pages
    elif not oldflags & VM_LOCKED:
        mm.locked_vm += pages
    mm.scheme.vma_start_write(modified, "mlock_fixup")
    present = sum(1 for _ in present_entries(mm, start, end))  # mlock_vma_pages_range
    mm.memory.sched.charge(present * mm.memory.sched.cost.mlock_page)
    newflags |= modified.vm_flags & VM_STICKY
    if modified.vm_flags != newflags:
        modified.vm_flags = newflags
        trace_vma_modify(modified)
    return 0


def apply_vma_lock_flags(mm: mm_struct, start: int, length: int, flags: int) -> int:
    """Lock or unlock [start, start+length): 0, -EINVAL where that passes the last address, -ENOMEM at a hole, or
    another -errno; what came before stays done."""
    end = start + length
    if end > _mask(mm):
        return -EINVAL
    if end == start:
        return 0
    at = start
    while at < end:
        vma = mm.mm_mt.load(at)
        if vma is None:
            return -ENOMEM
        stop = min(vma.vm_end, end)
        error = mlock_fixup(vma, at, stop, vma.vm_flags & ~VM_LOCKED_MASK | flags)
        if error:
            return error
        at = stop
    return 0


def count_mm_mlocked_page_nr(mm: mm_struct, start: int, length: int) -> int:
    """Pages of the range that are locked already."""
    count = 0
    for vma in mm.mm_mt.iterate(start, start + length):
        if vma.vm_flags & VM_LOCKED:
            count += min(vma.vm_end, start + length) - max(vma.vm_start, start)
    return count >> PAGE_SHIFT


def _mask(mm: mm_struct) -> int:
    return (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF


def _range(mm: mm_struct, start: int, length: int) -> tuple[int, int]:
    return start & PAGE_MASK, length + (start & PAGE_SIZE - 1) + PAGE_SIZE - 1 & PAGE_MASK & _mask(mm)


def do_mlock(mm: mm_struct, start: int, length: int, flags: int) -> int:
    """mlock with VM_LOCKONFAULT or without: 0 or -errno."""
    if not can_do_mlock(mm):
        return -EPERM
    start, length = _range(mm, start, length)
    limit = mm.rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT
    locked = length >> PAGE_SHIFT
    if mmap_write_lock_killable(mm):
        return -EINTR
    locked += mm.locked_vm
    if locked > limit and not mm.capable_ipc_lock:
        locked -= count_mm_mlocked_page_nr(mm, start, length)
    error = -ENOMEM
    if locked <= limit or mm.capable_ipc_lock:
        error = apply_vma_lock_flags(mm, start, length, VM_LOCKED | flags)
    mmap_write_unlock(mm)
    if error:
        return error
    error = mm_populate(mm, start, length, ignore_errors=False)
    if error == -EFAULT:
        return -ENOMEM
    return -EAGAIN if error == -ENOMEM else error


def sys_mlock2(mm: mm_struct, start: int, length: int, flags: int) -> int:
    """mlock2."""
    if flags & ~MLOCK_ONFAULT:
        return -EINVAL
    return do_mlock(mm, start, length, VM_LOCKONFAULT if flags else 0)


def sys_munlock(mm: mm_struct, start: int, length: int) -> int:
    """munlock."""
    start, length = _range(mm, start, length)
    if mmap_write_lock_killable(mm):
        return -EINTR
    error = apply_vma_lock_flags(mm, start, length, 0)
    mmap_write_unlock(mm)
    return error


def _apply_mlockall_flags(mm: mm_struct, flags: int) -> None:
    mm.def_flags &= ~VM_LOCKED_MASK
    on_fault = VM_LOCKONFAULT if flags & MCL_ONFAULT else 0
    if flags & MCL_FUTURE:
        mm.def_flags |= VM_LOCKED | on_fault
        if not flags & MCL_CURRENT:
            return
    to_add = VM_LOCKED | on_fault if flags & MCL_CURRENT else 0
    at = 0
    while True:
        vma = mm.mm_mt.find(at)
        if vma is None:
            return
        at = vma.vm_end
        mlock_fixup(vma, vma.vm_start, at, vma.vm_flags & ~VM_LOCKED_MASK | to_add)


def sys_mlockall(mm: mm_struct, flags: int) -> int:
    """mlockall."""
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -EINVAL
    if not can_do_mlock(mm):
        return -EPERM
    limit = mm.rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT
    if mmap_write_lock_killable(mm):
        return -EINTR
    error = -ENOMEM
    if not flags & MCL_CURRENT or mm.total_vm <= limit or mm.capable_ipc_lock:
        _apply_mlockall_flags(mm, flags)
        error = 0
    mmap_write_unlock(mm)
    if not error and flags & MCL_CURRENT:
        mm_populate(mm, 0, mm.task_size)
    return error


def sys_munlockall(mm: mm_struct) -> int:
    """munlockall."""
    if mmap_write_lock_killable(mm):
        return -EINTR
    _apply_mlockall_flags(mm, 0)
    mmap_write_unlock(mm)
    return 0
