# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of System V shared memory, and their structures on each architecture."""

from __future__ import annotations

import struct
from errno import EACCES, EFAULT, EINVAL, ENOSYS, EPERM
from typing import TYPE_CHECKING

from emu.kernel.ipc.ids import ipcperms, may_control, update_perm
from emu.kernel.ipc.shm import (
    SHMMIN,
    SHMMNI,
    do_shmat,
    ksys_shmdt,
    shm_lock,
    shm_rmid,
    shmget,
    shmid_kernel,
    shmmax,
)

if TYPE_CHECKING:
    from emu.kernel.task import Task

IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
IPC_64 = 0x100
SHMAT, SHMDT, SHMGET, SHMCTL = 21, 22, 23, 24  # calls of ipc(2)


def _order(task: Task) -> str:
    return ">" if task.arch.elf.big_endian else "<"


def _int(value: int) -> int:
    """An argument as a C int."""
    return (value & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def _perm(task: Task, segment: shmid_kernel) -> bytes:
    """struct ipc64_perm: 48 bytes; PowerPC's sequence number has 32 bits."""
    perm = segment.perm
    head = (perm.key & 0xFFFFFFFF, perm.uid, perm.gid, perm.cuid, perm.cgid, perm.mode)
    layout = "6II20x" if task.arch.name.startswith("powerpc") else "6IH22x"
    return struct.pack(_order(task) + layout, *head, perm.seq)


def _shmid64_ds(task: Task, segment: shmid_kernel) -> bytes:
    """struct shmid64_ds."""
    order = _order(task)
    times = (segment.atime, segment.dtime, segment.ctime)
    users = (segment.cpid, segment.lpid)
    if task.word == 4:
        halves = [half for time in times for half in (time >> 32, time & 0xFFFFFFFF)]
        body = struct.pack(order + "6I4xIiiI8x", *halves, segment.size, *users, segment.nattch)
    elif task.arch.name.startswith("powerpc"):
        body = struct.pack(order + "3qQiiQ16x", *times, segment.size, *users, segment.nattch)
    else:
        body = struct.pack(order + "Q3qiiQ16x", segment.size, *times, *users, segment.nattch)
    return _perm(task, segment) + body


def _shminfo64(task: Task) -> bytes:
    most = shmmax(task.word)
    letter = "Q" if task.word == 8 else "I"
    return struct.pack(f"{_order(task)}9{letter}", most, SHMMIN, SHMMNI, SHMMNI, most, 0, 0, 0, 0)


def _shm_info(task: Task) -> bytes:
    shm = task.machine.shm
    resident = sum(segment.file.f_mapping.nrpages for segment in shm.ids.objects.values())
    values = (len(shm.ids.objects), shm.total, resident, 0, 0, 0)
    return struct.pack(_order(task) + ("i4x5Q" if task.word == 8 else "i5I"), *values)


def ksys_shmctl(task: Task, number: int, command: int, buffer: int) -> int:
    """shmctl with structures of the 64-bit kind (ksys_shmctl)."""
    number, command = _int(number), _int(command)
    if command < 0 or number < 0:
        return -EINVAL
    shm = task.machine.shm
    put = task.access.copy_to_user
    if command in (IPC_INFO, SHM_INFO):
        data = _shminfo64(task) if command == IPC_INFO else _shm_info(task)
        return shm.ids.highest if put(buffer, data, "ksys_shmctl") else -EFAULT
    if command in (IPC_STAT, SHM_STAT, SHM_STAT_ANY):
        segment = shm.ids.by_id(number) if command == IPC_STAT else shm.ids.by_index(number)
        if segment is None:
            return -EINVAL
        if command != SHM_STAT_ANY and not ipcperms(task, segment.perm, 0o444):
            return -EACCES
        if not put(buffer, _shmid64_ds(task, segment), "copy_shmid_to_user"):
            return -EFAULT
        return 0 if command == IPC_STAT else segment.perm.id
    if command == IPC_SET:
        given = task.access.copy_from_user(buffer, 104 if task.word == 4 else 112)
        if given is None:
            return -EFAULT
        segment = shm.ids.by_id(number)
        if segment is None:
            return -EINVAL
        if not may_control(task, segment.perm):
            return -EPERM
        uid, gid, mode = struct.unpack_from(_order(task) + "4xII8xI", given)
        error = update_perm(segment.perm, uid, gid, mode)
        if not error:
            segment.ctime = segment.now()
        return error
    if command in (IPC_RMID, SHM_LOCK, SHM_UNLOCK):
        segment = shm.ids.by_id(number)
        if segment is None:
            return -EINVAL
        return shm_rmid(task, segment) if command == IPC_RMID else shm_lock(task, segment, command == SHM_LOCK)
    return -EINVAL


def sys_shmget(task: Task, key: int, size: int, flags: int, *_: int) -> int:
    return shmget(task, _int(key), size, _int(flags))


def sys_shmat(task: Task, number: int, addr: int, flags: int, *_: int) -> int:
    return do_shmat(task, _int(number), addr, _int(flags))


def sys_shmdt(task: Task, addr: int, *_: int) -> int:
    return ksys_shmdt(task, addr)


def sys_shmctl(task: Task, number: int, command: int, buffer: int, *_: int) -> int:
    return ksys_shmctl(task, number, command, buffer)


def sys_ipc(task: Task, call: int, first: int, second: int, third: int, pointer: int, *_: int) -> int:
    """ipc(2): all of System V IPC behind one number, on PowerPC. Shared memory is what there is of it."""
    version, call = call >> 16 & 0xFFFF, call & 0xFFFF
    if call == SHMAT:
        if version == 1:
            return -EINVAL
        result = do_shmat(task, _int(first), pointer, _int(second))
        if result < 0:
            return result
        return 0 if task.access.put_user(third, result, task.word) else -EFAULT
    if call == SHMDT:
        return ksys_shmdt(task, pointer)
    if call == SHMGET:
        return shmget(task, _int(first), second, _int(third))
    if call == SHMCTL:
        # Structures of the old kind, with 16-bit owners, are not there.
        return ksys_shmctl(task, first, second & ~IPC_64, pointer) if second & IPC_64 else -EINVAL
    missing = task.machine.missing_syscalls
    missing["ipc"] = missing.get("ipc", 0) + 1
    return -ENOSYS


SYSCALLS = {"shmget": sys_shmget, "shmat": sys_shmat, "shmdt": sys_shmdt, "shmctl": sys_shmctl, "ipc": sys_ipc}
