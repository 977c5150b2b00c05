# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls of the memory manager: arguments checked and handed to emu.mm."""

from __future__ import annotations

from errno import EBADF, EINTR, EINVAL, ENOMEM, ENOSPC, EPERM
from typing import TYPE_CHECKING

from emu.kernel.args import s32
from emu.mm import madvise, mincore, mlock, mmap, mprotect, mremap, msync
from emu.mm.mm_types import PAGE_SIZE
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_lock_killable, mmap_write_unlock
from emu.mm.pkeys import (
    PKEY_DISABLE_ACCESS,
    PKEY_DISABLE_WRITE,
    arch_set_user_pkey_access,
    mm_pkey_alloc,
    mm_pkey_free,
)

if TYPE_CHECKING:
    from emu.kernel.task import Task

_PPC_MAP = {0x40: mmap.MAP_NORESERVE, 0x80: mmap.MAP_LOCKED}
_PPC_MCL = {0x2000: 1, 0x4000: 2, 0x8000: 4}


def _map_flags(task: Task, flags: int) -> int:
    """PowerPC has its own numbers for two flags, and only x86 has MAP_32BIT."""
    if task.arch.name.startswith("powerpc"):
        known = flags & ~(0x40 | 0x80 | mmap.MAP_NORESERVE | mmap.MAP_LOCKED)
        for ours, common in _PPC_MAP.items():
            if flags & ours:
                known |= common
        return known
    if task.arch.name != "x86_64":
        flags &= ~mmap.MAP_32BIT
    return flags


def ksys_mmap_pgoff(task: Task, addr: int, length: int, prot: int, flags: int, fd: int, pgoff: int) -> int:
    """mmap with its offset in pages."""
    flags = _map_flags(task, flags)
    file = None
    if not flags & mmap.MAP_ANONYMOUS:
        file = task.files.fdget(fd & 0xFFFFFFFF)
        if file is None:
            return -EBADF
        if flags & mmap.MAP_HUGETLB:
            return -EINVAL
    elif flags & mmap.MAP_HUGETLB:
        # The file of huge pages can be made, but not mapped: none are reserved.
        if mmap_write_lock_killable(task.mm):
            return -EINTR
        mmap_write_unlock(task.mm)
        return -ENOMEM
    return mmap.vm_mmap_pgoff(task.mm, file, addr, length, prot, flags, pgoff)


def sys_mmap(task: Task, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap with its offset in bytes."""
    if offset & PAGE_SIZE - 1:
        return -EINVAL
    return ksys_mmap_pgoff(task, addr, length, prot, flags, fd, offset >> 12)


def sys_remap_file_pages(task: Task, start: int, size: int, prot: int, pgoff: int, flags: int, *_: int) -> int:
    return mmap.sys_remap_file_pages(task.mm, start, size, prot, pgoff, _map_flags(task, flags))


def sys_munmap(task: Task, addr: int, length: int, *_: int) -> int:
    return mmap.ksys_munmap(task.mm, addr, length)


def sys_brk(task: Task, brk: int, *_: int) -> int:
    return mmap.sys_brk(task.mm, brk)


def sys_mprotect(task: Task, start: int, length: int, prot: int, *_: int) -> int:
    return mprotect.do_mprotect_pkey(task.mm, start, length, prot)


def sys_pkey_mprotect(task: Task, start: int, length: int, prot: int, pkey: int, *_: int) -> int:
    return mprotect.do_mprotect_pkey(task.mm, start, length, prot, s32(pkey))


def sys_pkey_alloc(task: Task, flags: int, rights: int, *_: int) -> int:
    """A protection key that the thread may not use as `rights` say."""
    if flags or rights & ~(PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE):
        return -EINVAL
    mm = task.mm
    mmap_write_lock(mm)
    pkey = mm_pkey_alloc(mm)
    if pkey < 0:
        pkey = -ENOSPC
    else:
        error = arch_set_user_pkey_access(mm, pkey, rights)
        if error:
            mm_pkey_free(mm, pkey)
            pkey = error
    mmap_write_unlock(mm)
    return pkey


def sys_pkey_free(task: Task, pkey: int, *_: int) -> int:
    mmap_write_lock(task.mm)
    error = mm_pkey_free(task.mm, s32(pkey))
    mmap_write_unlock(task.mm)
    return error


def sys_mseal(task: Task, start: int, length: int, flags: int, *_: int) -> int:
    return mprotect.do_mseal(task.mm, start, length, flags)


def sys_mremap(task: Task, addr: int, old_len: int, new_len: int, flags: int, new_addr: int, *_: int) -> int:
    return mremap.sys_mremap(task.mm, addr, old_len, new_len, flags, new_addr)


def sys_madvise(task: Task, start: int, length: int, behavior: int, *_: int) -> int:
    return madvise.do_madvise(task.mm, start, length, behavior & 0xFFFFFFFF)


def sys_mlock(task: Task, start: int, length: int, *_: int) -> int:
    return mlock.do_mlock(task.mm, start, length, 0)


def sys_mlock2(task: Task, start: int, length: int, flags: int, *_: int) -> int:
    return mlock.sys_mlock2(task.mm, start, length, flags)


def sys_munlock(task: Task, start: int, length: int, *_: int) -> int:
    return mlock.sys_munlock(task.mm, start, length)


def sys_mlockall(task: Task, flags: int, *_: int) -> int:
    if task.arch.name.startswith("powerpc"):
        common = 0
        for ours, ordinary in _PPC_MCL.items():
            if flags & ours:
                common |= ordinary
                flags &= ~ours
        if flags:
            return -EINVAL
        flags = common
    return mlock.sys_mlockall(task.mm, flags)


def sys_munlockall(task: Task, *_: int) -> int:
    return mlock.sys_munlockall(task.mm)


def sys_mincore(task: Task, start: int, length: int, vector: int, *_: int) -> int:
    return mincore.sys_mincore(task.mm, task.access, start, length, vector)


def sys_msync(task: Task, start: int, length: int, flags: int, *_: int) -> int:
    return msync.sys_msync(task.mm, start, length, flags)


# MEMBARRIER_CMD_*: each private command has its registration at the next bit.
MEMBARRIER_GLOBAL, MEMBARRIER_GLOBAL_EXPEDITED, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED = 1, 2, 4
MEMBARRIER_PRIVATE = (0x8, 0x20, 0x80)  # EXPEDITED, EXPEDITED_SYNC_CORE, EXPEDITED_RSEQ
MEMBARRIER_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_GET_REGISTRATIONS = 0x80, 0x200
MEMBARRIER_ALL = 0x3FF
MEMBARRIER_CMD_FLAG_CPU = 1


def sys_membarrier(task: Task, command: int, flags: int, cpu: int, *_: int) -> int:
    """Memory is in order between any two steps of the simulation, so that a barrier has nothing to wait for; one for
    restartable sequences makes those of the other threads start over."""
    command, flags = s32(command), flags & 0xFFFFFFFF
    if flags and not (command == MEMBARRIER_PRIVATE_EXPEDITED_RSEQ and flags == MEMBARRIER_CMD_FLAG_CPU):
        return -EINVAL
    mm = task.mm
    if command == 0:
        return MEMBARRIER_ALL
    if command == MEMBARRIER_GET_REGISTRATIONS:
        return mm.membarrier_state
    if command in (MEMBARRIER_GLOBAL, MEMBARRIER_GLOBAL_EXPEDITED):
        return 0
    if command == MEMBARRIER_REGISTER_GLOBAL_EXPEDITED or command >> 1 in MEMBARRIER_PRIVATE:
        mm.membarrier_state |= command
        return 0
    if command not in MEMBARRIER_PRIVATE:
        return -EINVAL
    if not mm.membarrier_state & command << 1:
        return -EPERM
    if command == MEMBARRIER_PRIVATE_EXPEDITED_RSEQ:
        for other in task.machine.pids.values():
            rq = other.rq
            if other.mm is mm and rq is not None and rq.curr is other and (not flags or s32(cpu) == rq.id):
                other.rseq_restart = other is not task
    return 0


def sys_get_mempolicy(task: Task, mode: int, nodes: int, count: int, addr: int, flags: int, *_: int) -> int:
    """The default policy, on the one node there is."""
    if flags & ~7:
        return -EINVAL
    if mode and not task.access.put_user(mode, 0, 4):
        return -14
    return 0


def sys_swapon(task: Task, *_: int) -> int:
    return -EPERM


SYSCALLS = {
    "mmap": sys_mmap,
    "mmap2": ksys_mmap_pgoff,
    "munmap": sys_munmap,
    "remap_file_pages": sys_remap_file_pages,
    "brk": sys_brk,
    "mprotect": sys_mprotect,
    "pkey_mprotect": sys_pkey_mprotect,
    "pkey_alloc": sys_pkey_alloc,
    "pkey_free": sys_pkey_free,
    "mseal": sys_mseal,
    "mremap": sys_mremap,
    "madvise": sys_madvise,
    "mlock": sys_mlock,
    "mlock2": sys_mlock2,
    "munlock": sys_munlock,
    "mlockall": sys_mlockall,
    "munlockall": sys_munlockall,
    "mincore": sys_mincore,
    "msync": sys_msync,
    "membarrier": sys_membarrier,
    "get_mempolicy": sys_get_mempolicy,
    "swapon": sys_swapon,
    "swapoff": sys_swapon,
}
