# SPDX-License-Identifier: GPL-2.0-or-later
"""process_vm_readv and process_vm_writev: from one address space to another (mm/process_vm_access.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.hw.ram import PAGE_SIZE
from emu.kernel.args import s32
from emu.kernel.pidfd import ptrace_may_access
from emu.kernel.sys_read_write import import_iovec
from emu.mm.gup import get_user_page_remote
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock

if TYPE_CHECKING:
    from emu.kernel.task import Task


def access_process_vm(task: Task, target: Task, address: int, size: int, local: int, write: bool) -> int:
    """Copy up to `size` bytes within one page of `target` to or from `local` of the caller: how many, or -EFAULT."""
    mm = target.mm
    mmap_read_lock(mm)
    page = get_user_page_remote(mm, address, write)
    if isinstance(page, int):
        mmap_read_unlock(mm)
        return page
    page._refcount += 1  # it stays while the caller's own memory is faulted in
    mmap_read_unlock(mm)
    at = (page.pfn << 12) + (address & PAGE_SIZE - 1)
    ram = task.machine.ram
    try:
        if not write:
            return task.access.copy_to_user_partial(local, ram.read(at, size), "copy_page_to_iter")
        data = task.access.copy_from_user_partial(local, size, "copy_page_from_iter")
        ram.write(at, data)
        return len(data)
    finally:
        mm.memory.put_page(page)


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
    theirs = import_iovec(task, remote, remote_count)
    if isinstance(theirs, int):
        return theirs
    if not sum(size for _, size in theirs):
        return 0
    target = task if s32(pid) == 0 else task.machine.pids.get(s32(pid))
    if target is None or s32(pid) <= 0 or target.exiting:
        return -errno.ESRCH
    if not ptrace_may_access(task, target):
        return -errno.EPERM
    done = 0
    mine = [segment for segment in mine if segment[1]]
    for start, size in theirs:
        while size and mine:
            here, room = mine[0]
            count = min(size, room, PAGE_SIZE - (start & PAGE_SIZE - 1))
            copied = access_process_vm(task, target, start, count, here, write)
            if copied < 0:
                return done or copied
            done += copied
            if copied < count:
                return done or -errno.EFAULT
            start, size = start + count, size - count
            mine[0] = here + count, room - count
            if room == count:
                mine.pop(0)
    return done


def sys_process_vm_readv(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int, *_: int
) -> int:
    return _process_vm_rw(task, pid, local, local_count, remote, remote_count, flags, False)


def sys_process_vm_writev(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int, *_: int
) -> int:
    return _process_vm_rw(task, pid, local, local_count, remote, remote_count, flags, True)


SYSCALLS = {"process_vm_readv": sys_process_vm_readv, "process_vm_writev": sys_process_vm_writev}
