# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of System V semaphores, and their structures on each architecture (ipc/sem.c)."""

from __future__ import annotations

import struct
from errno import E2BIG, EACCES, EFAULT, EINVAL, ERANGE
from typing import TYPE_CHECKING

from emu.kernel.args import get_timespec, order, s32, timespec_ns
from emu.kernel.ipc.ids import (
    IPC_INFO,
    IPC_RMID,
    IPC_SET,
    ipcperms,
    pack_perm,
    pack_times,
    perm_from_user,
    stats,
    update_perm,
)
from emu.kernel.ipc.sem import (
    SEMAEM,
    SEMMNS,
    SEMOPM,
    SEMVMX,
    do_semtimedop,
    sem_array,
    sembuf,
    semget,
)

if TYPE_CHECKING:
    from emu.kernel.task import Task

GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = range(11, 18)
SEM_STAT, SEM_INFO, SEM_STAT_ANY = 18, 19, 20
STATS = stats(SEM_STAT, SEM_STAT_ANY)
SEMUSZ = 20


def _semid64_ds(task: Task, array: sem_array) -> bytes:
    """struct semid64_ds."""
    o, times = order(task), (array.otime, array.ctime)
    count = len(array.value)
    if task.word == 4:
        body = pack_times(task, *times) + struct.pack(o + "I8x", count)
    elif task.arch.name == "x86_64":
        body = struct.pack(o + "q8xq8xQ16x", *times, count)
    else:
        body = struct.pack(o + "qqQ16x", *times, count)
    return pack_perm(task, array.perm) + body


def ksys_semctl(task: Task, number: int, which: int, command: int, arg: int) -> int:
    """semctl with structures of the 64-bit kind (ksys_semctl). `arg`: union semun as it is in a register."""
    number, which, command = s32(number), s32(which), s32(command)
    if number < 0:
        return -EINVAL
    sem = task.machine.sem
    if command in (IPC_INFO, SEM_INFO):
        users = (len(sem.ids.objects), sem.used) if command == SEM_INFO else (SEMUSZ, SEMAEM)
        most, msl, opm = sem.semmns, sem.semmsl, sem.semopm
        data = struct.pack(
            order(task) + "10i", SEMMNS, sem.ids.most, most, SEMMNS, msl, opm, SEMOPM, users[0], SEMVMX, users[1]
        )
        return sem.ids.highest if task.access.copy_to_user(arg, data, "semctl_info") else -EFAULT
    if command in STATS:
        return sem.ids.stat(task, number, STATS[command], arg, _semid64_ds, "copy_semid_to_user")
    if command in (GETALL, GETVAL, GETPID, GETNCNT, GETZCNT, SETALL):
        return _values(task, number, which, command, arg)
    if command == SETVAL:
        return _setval(task, number, which, arg)
    given = None
    if command == IPC_SET:
        given = perm_from_user(task, arg, len(_semid64_ds(task, sem_array(task, 0, 0, 0))))
        if given is None:
            return -EFAULT
    elif command != IPC_RMID:
        return -EINVAL
    array = sem.ids.controlled(task, number)
    if isinstance(array, int):
        return array
    if command == IPC_RMID:
        sem.remove(array)
        return 0
    assert given is not None
    error = update_perm(array.perm, *given)
    if not error:
        array.ctime = array.now()
    return error


def _setval(task: Task, number: int, which: int, arg: int) -> int:
    """semctl_setval. An int in a union lies in the upper half of a big-endian register."""
    value = s32(arg >> 32 if task.word == 8 and task.arch.elf.big_endian else arg)
    if not 0 <= value <= SEMVMX:
        return -ERANGE
    array = task.machine.sem.ids.by_id(number)
    if array is None or not 0 <= which < len(array.value):
        return -EINVAL
    if not ipcperms(task, array.perm, 0o222):
        return -EACCES
    array.set_value(which, value, task.tgid)
    array.changed()
    return 0


def _values(task: Task, number: int, which: int, command: int, arg: int) -> int:
    """semctl_main."""
    array = task.machine.sem.ids.by_id(number)
    if array is None:
        return -EINVAL
    if not ipcperms(task, array.perm, 0o222 if command == SETALL else 0o444):
        return -EACCES
    layout = f"{order(task)}{len(array.value)}H"
    if command == GETALL:
        return 0 if task.access.copy_to_user(arg, struct.pack(layout, *array.value), "semctl_main") else -EFAULT
    if command == SETALL:
        data = task.access.copy_from_user(arg, 2 * len(array.value))
        if data is None:
            return -EFAULT
        values = struct.unpack(layout, data)
        if max(values) > SEMVMX:
            return -ERANGE
        for at, value in enumerate(values):
            array.set_value(at, value, task.tgid)
        array.changed()
        return 0
    if not 0 <= which < len(array.value):
        return -EINVAL
    if command == GETVAL:
        return array.value[which]
    if command == GETPID:
        return array.pid[which]
    return array.waiting(which, command == GETZCNT)


def ksys_semtimedop(task: Task, number: int, address: int, count: int, timeout: int, width: int) -> int:
    """semop, and semtimedop with a timespec of two words of `width` bytes."""
    limit = None
    if timeout:
        value = get_timespec(task, timeout, width)
        if isinstance(value, int):
            return value
    count &= 0xFFFFFFFF
    if count > task.machine.sem.semopm:
        return -E2BIG
    if not count:
        return -EINVAL
    data = task.access.copy_from_user(address, 6 * count)
    if data is None:
        return -EFAULT
    if timeout:
        assert not isinstance(value, int)
        limit = timespec_ns(value)
        if limit < 0:
            return limit
    sops = [sembuf(*sop) for sop in struct.iter_unpack(order(task) + "Hhh", data)]
    return do_semtimedop(task, s32(number), sops, limit)


def sys_semget(task: Task, key: int, count: int, flags: int, *_: int) -> int:
    return semget(task, s32(key), s32(count), s32(flags))


def sys_semctl(task: Task, number: int, which: int, command: int, arg: int, *_: int) -> int:
    return ksys_semctl(task, number, which, command, arg)


def sys_semop(task: Task, number: int, address: int, count: int, *_: int) -> int:
    return ksys_semtimedop(task, number, address, count, 0, task.word)


def sys_semtimedop(task: Task, number: int, address: int, count: int, timeout: int, *_: int) -> int:
    return ksys_semtimedop(task, number, address, count, timeout, task.word)


def sys_semtimedop_time64(task: Task, number: int, address: int, count: int, timeout: int, *_: int) -> int:
    return ksys_semtimedop(task, number, address, count, timeout, 8)


SYSCALLS = {
    "semget": sys_semget,
    "semctl": sys_semctl,
    "semop": sys_semop,
    "semtimedop": sys_semtimedop,
    "semtimedop_time64": sys_semtimedop_time64,
}
