# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of System V shared memory, their structures on each architecture, and ipc(2)."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL, ENOSYS
from typing import TYPE_CHECKING

from emu.kernel.args import order, s32
from emu.kernel.ipc import sys_msg, sys_sem
from emu.kernel.ipc.ids import (
    IPC_INFO,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    pack_perm,
    pack_times,
    perm_from_user,
    stats,
    update_perm,
)
from emu.kernel.ipc.shm import (
    SHMMIN,
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

SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
STATS = stats(SHM_STAT, SHM_STAT_ANY)
IPC_64 = 0x100
# Calls of ipc(2)
SEMOP, SEMGET, SEMCTL, SEMTIMEDOP = 1, 2, 3, 4
MSGSND, MSGRCV, MSGGET, MSGCTL = 11, 12, 13, 14
SHMAT, SHMDT, SHMGET, SHMCTL = 21, 22, 23, 24


def _shmid64_ds(task: Task, segment: shmid_kernel) -> bytes:
    """struct shmid64_ds."""
    o = order(task)
    times = (segment.atime, segment.dtime, segment.ctime)
    users = (segment.cpid, segment.lpid)
    if task.word == 4:
        body = pack_times(task, *times) + struct.pack(o + "4xIiiI8x", segment.size, *users, segment.nattch)
    elif task.arch.name.startswith("powerpc"):
        body = struct.pack(o + "3qQiiQ16x", *times, segment.size, *users, segment.nattch)
    else:
        body = struct.pack(o + "Q3qiiQ16x", segment.size, *times, *users, segment.nattch)
    return pack_perm(task, segment.perm) + body


def _shminfo64(task: Task) -> bytes:
    most, count = shmmax(task.word), task.machine.shm.ids.most
    letter = "Q" if task.word == 8 else "I"
    return struct.pack(f"{order(task)}9{letter}", most, SHMMIN, count, count, most, 0, 0, 0, 0)


def _shm_info(task: Task) -> bytes:
    shm = task.machine.shm
    resident = sum(segment.file.f_mapping.nrpages for segment in shm.ids.objects.values())
    values = (len(shm.ids.objects), shm.total, resident, 0, 0, 0)
    return struct.pack(order(task) + ("i4x5Q" if task.word == 8 else "i5I"), *values)


def ksys_shmctl(task: Task, number: int, command: int, buffer: int) -> int:
    """shmctl with structures of the 64-bit kind (ksys_shmctl)."""
    number, command = s32(number), s32(command)
    if command < 0 or number < 0:
        return -EINVAL
    shm = task.machine.shm
    if command in (IPC_INFO, SHM_INFO):
        data = _shminfo64(task) if command == IPC_INFO else _shm_info(task)
        return shm.ids.highest if task.access.copy_to_user(buffer, data, "ksys_shmctl") else -EFAULT
    if command in STATS:
        return shm.ids.stat(task, number, STATS[command], buffer, _shmid64_ds, "copy_shmid_to_user")
    if command == IPC_SET:
        given = perm_from_user(task, buffer, 104 if task.word == 4 else 112)
        if given is None:
            return -EFAULT
        segment = shm.ids.controlled(task, number)
        if isinstance(segment, int):
            return segment
        error = update_perm(segment.perm, *given)
        if not error:
            segment.ctime = segment.now()
        return error
    if command in (IPC_RMID, SHM_LOCK, SHM_UNLOCK):
        target = shm.ids.by_id(number)
        if target is None:
            return -EINVAL
        return shm_rmid(task, target) if command == IPC_RMID else shm_lock(task, target, command == SHM_LOCK)
    return -EINVAL


def sys_shmget(task: Task, key: int, size: int, flags: int, *_: int) -> int:
    return shmget(task, s32(key), size, s32(flags))


def sys_shmat(task: Task, number: int, addr: int, flags: int, *_: int) -> int:
    return do_shmat(task, s32(number), addr, s32(flags))


def sys_shmdt(task: Task, addr: int, *_: int) -> int:
    return ksys_shmdt(task, addr)


def sys_shmctl(task: Task, number: int, command: int, buffer: int, *_: int) -> int:
    return ksys_shmctl(task, number, command, buffer)


def _ipc_sem(task: Task, call: int, first: int, second: int, third: int, pointer: int, fifth: int) -> int:
    if call == SEMGET:
        return sys_sem.sys_semget(task, first, second, third)
    if call == SEMCTL:
        if not pointer:
            return -EINVAL
        argument = task.access.get_user(pointer, task.word)
        if argument is None:
            return -EFAULT
        command = _modern(third, (IPC_SET, IPC_STAT, sys_sem.SEM_STAT, sys_sem.SEM_STAT_ANY))
        return -EINVAL if command is None else sys_sem.ksys_semctl(task, first, second, command, argument)
    timeout = fifth if call == SEMTIMEDOP else 0
    return sys_sem.ksys_semtimedop(task, first, pointer, second, timeout, task.word)


def _ipc_msg(task: Task, call: int, version: int, first: int, second: int, third: int, pointer: int, fifth: int) -> int:
    if call == MSGSND:
        return sys_msg.sys_msgsnd(task, first, pointer, second, third)
    if call == MSGGET:
        return sys_msg.sys_msgget(task, first, second)
    if call == MSGCTL:
        command = _modern(second, (IPC_SET, IPC_STAT, sys_msg.MSG_STAT, sys_msg.MSG_STAT_ANY))
        return -EINVAL if command is None else sys_msg.ksys_msgctl(task, first, command, pointer)
    if version:
        return sys_msg.sys_msgrcv(task, first, pointer, second, fifth, third)
    if not pointer:
        return -EINVAL
    data = task.access.copy_from_user(pointer, 2 * task.word)  # struct ipc_kludge
    if data is None:
        return -EFAULT
    address, kind = struct.unpack(order(task) + ("QQ" if task.word == 8 else "II"), data)
    return sys_msg.sys_msgrcv(task, first, address, second, kind, third)


def _modern(command: int, structures: tuple[int, ...]) -> int | None:
    """A command without IPC_64; None for one that would need a structure of the old kind, with 16-bit owners, which
    are not there."""
    plain = command & ~IPC_64
    return plain if command & IPC_64 or plain not in structures else None


def sys_ipc(task: Task, call: int, first: int, second: int, third: int, pointer: int, fifth: int) -> int:
    """ipc(2): all of System V IPC behind one number, on PowerPC."""
    version, call = call >> 16 & 0xFFFF, call & 0xFFFF
    if call == SHMAT:
        if version == 1:
            return -EINVAL
        result = do_shmat(task, s32(first), pointer, s32(second))
        if result < 0:
            return result
        return 0 if task.access.put_user(third, result, task.word) else -EFAULT
    if call == SHMDT:
        return ksys_shmdt(task, pointer)
    if call == SHMGET:
        return shmget(task, s32(first), second, s32(third))
    if call == SHMCTL:
        command = _modern(second, (IPC_SET, IPC_STAT, IPC_INFO, SHM_INFO, SHM_STAT, SHM_STAT_ANY))
        return -EINVAL if command is None else ksys_shmctl(task, first, command, pointer)
    if call in (SEMOP, SEMGET, SEMCTL, SEMTIMEDOP):
        return _ipc_sem(task, call, first, second, third, pointer, fifth)
    if call in (MSGSND, MSGRCV, MSGGET, MSGCTL):
        return _ipc_msg(task, call, version, first, second, third, pointer, fifth)
    return -ENOSYS


SYSCALLS = {
    "shmget": sys_shmget,
    "shmat": sys_shmat,
    "shmdt": sys_shmdt,
    "shmctl": sys_shmctl,
    "ipc": sys_ipc,
    **sys_sem.SYSCALLS,
    **sys_msg.SYSCALLS,
}
