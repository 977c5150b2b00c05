# SPDX-License-Identifier: GPL-2.0-or-later
"""Futexes (kernel/futex)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.kernel.args import get_timespec, timespec_ns
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.kernel.task import Task

_QUEUES: dict[tuple[int, int], list[Task]] = {}


def exit_robust_list(task: Task) -> None:
    pass


def futex_wake_address(task: Task, address: int, count: int) -> int:
    queue = _QUEUES.get((task.mm.id, address), [])
    woken = 0
    while queue and woken < count:
        task.machine.sched.wake(queue.pop(0))
        woken += 1
    return woken


def sys_futex(task: Task, address: int, op: int, value: int, timeout: int, *_: int) -> int:
    command = op & 0x7F
    if command in (1, 10):
        return futex_wake_address(task, address, value & 0x7FFFFFFF)
    if command not in (0, 9):
        return -errno.ENOSYS
    limit = None
    if timeout:
        got = get_timespec(task, timeout, task.word)
        if isinstance(got, int):
            return got
        limit = timespec_ns(got)
        if command == 0:
            limit += task.machine.clock()
    now = task.access.get_user(address, 4, "futex_wait_setup")
    if now is None:
        return -errno.EFAULT
    if now != value & 0xFFFFFFFF:
        return -errno.EAGAIN
    queue = _QUEUES.setdefault((task.mm.id, address), [])
    queue.append(task)
    result = task.machine.sched.block(State.INTERRUPTIBLE, limit)
    if task in queue:
        queue.remove(task)
    return -512 if result == -errno.EINTR else result


SYSCALLS = {"futex": sys_futex}
