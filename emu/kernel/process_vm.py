# SPDX-License-Identifier: GPL-2.0-or-later
"""process_vm_readv and process_vm_writev: from one address space to another (mm/process_vm_access.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.iov_iter import iov_iter
from emu.hw.ram import PAGE_SIZE
from emu.kernel.args import s32
from emu.kernel.sys_read_write import import_iovec, iovec_from_user
from emu.mm.gup import get_user_page_remote
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock

if TYPE_CHECKING:
    from emu.kernel.task import Task
    from emu.mm.mm_types import mm_struct, page

MAX_PAGES = 1024  # pinned at a time (PVM_MAX_KMALLOC_PAGES)


def _pin_pages(mm: mm_struct, start: int, pages: int, write: bool) -> list[page] | int:
    """The pages from `start` on, each with a reference of its own, as many as there are: -errno when it is the first
    that fails (pin_user_pages_remote)."""
    pinned: list[page] = []
    mmap_read_lock(mm)
    for number in range(pages):
        found = get_user_page_remote(mm, start + number * PAGE_SIZE, write, unlockable=True, pin=True)
        if isinstance(found, int):
            if not pinned:
                mmap_read_unlock(mm)
                return found
            break
        found._refcount += 1  # it stays while the caller's own memory is faulted in
        pinned.append(found)
    mmap_read_unlock(mm)
    return pinned


def _rw_pages(task: Task, pages: list[page], offset: int, size: int, mine: iov_iter, write: bool) -> bool:
    """Copy `size` bytes from `offset` of the first page on to or from `mine` (process_vm_rw_pages). False = EFAULT."""
    ram = task.machine.ram
    for found in pages:
        count = min(PAGE_SIZE - offset, size)
        at = (found.pfn << 12) + offset
        if write:
            data = mine.copy_page_from_iter(count)
            ram.write(at, data)
            copied = len(data)
            found.dirty = True
        else:
            copied = mine.copy_page_to_iter(ram.read(at, count), offset)
        if copied < count and mine.count:
            return False
        size -= copied
        offset = 0
    return True


def _rw_single_vec(task: Task, mm: mm_struct, start: int, size: int, mine: iov_iter, write: bool) -> int:
    """One of the remote segments, MAX_PAGES at a time: 0 or -errno (process_vm_rw_single_vec)."""
    at, offset = start & -PAGE_SIZE, start & PAGE_SIZE - 1
    left = (start + size - 1) // PAGE_SIZE - start // PAGE_SIZE + 1
    while left and mine.count:
        pinned = _pin_pages(mm, at, min(left, MAX_PAGES), write)
        if isinstance(pinned, int):
            return -errno.EFAULT
        count = min(len(pinned) * PAGE_SIZE - offset, size)
        try:
            if not _rw_pages(task, pinned, offset, count, mine, write):
                return -errno.EFAULT
        finally:
            for found in pinned:
                mm.memory.put_page(found)
        size -= count
        offset = 0
        left -= len(pinned)
        at += len(pinned) * PAGE_SIZE
    return 0


def _process_vm_rw(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int, write: bool
) -> int:
    if flags:
        return -errno.EINVAL
    mine = import_iovec(task, local, local_count)
    if isinstance(mine, int):
        return mine
    if not sum(size for _, size in mine):
        return 0
    theirs = iovec_from_user(task, remote, remote_count)
    if isinstance(theirs, int):
        return theirs
    if not sum(size for _, size in theirs):
        return 0
    target = task if s32(pid) == 0 else task.machine.pids.get(s32(pid))
    if target is None or s32(pid) <= 0 or target.exiting:
        return -errno.ESRCH
    if not task.ptrace_may_access(target):
        return -errno.EPERM
    buffer = iov_iter(task.access, mine)
    whole = buffer.count
    for start, size in theirs:
        if not size or not buffer.count:
            continue
        error = _rw_single_vec(task, target.mm, start, size, buffer, write)
        if error:
            return whole - buffer.count or error
    return whole - buffer.count


def sys_process_vm_readv(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int, *_: int
) -> int:
    return _process_vm_rw(task, pid, local, local_count, remote, remote_count, flags, False)


def sys_process_vm_writev(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int, *_: int
) -> int:
    return _process_vm_rw(task, pid, local, local_count, remote, remote_count, flags, True)


SYSCALLS = {"process_vm_readv": sys_process_vm_readv, "process_vm_writev": sys_process_vm_writev}
