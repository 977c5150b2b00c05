# SPDX-License-Identifier: GPL-2.0-or-later
"""The futex system calls (kernel/futex/syscalls.c)."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL, ENOSYS
from typing import TYPE_CHECKING

from emu.kernel.args import get_timespec, order, s32, timespec_ns
from emu.kernel.futex.core import FUTEX_BITSET_MATCH_ANY
from emu.kernel.futex.pi import futex_lock_pi, futex_unlock_pi
from emu.kernel.futex.requeue import futex_requeue, futex_wait_requeue_pi
from emu.kernel.futex.waitwake import (
    futex_vector,
    futex_wait,
    futex_wait_multiple,
    futex_wait_once,
    futex_wake,
    futex_wake_op,
)

if TYPE_CHECKING:
    from emu.kernel.task import Task

FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP = 0, 1, 3, 4, 5
FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 6, 7, 8, 9, 10
FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2 = 11, 12, 13
FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME = 128, 256
FUTEX_CMD_MASK = 0x7F
FUTEX2_SIZE_MASK, FUTEX2_SIZE_U32, FUTEX2_NUMA, FUTEX2_MPOL, FUTEX2_PRIVATE = 3, 2, 4, 8, 128
FUTEX2_VALID_MASK = FUTEX2_SIZE_MASK | FUTEX2_NUMA | FUTEX2_MPOL | FUTEX2_PRIVATE
FUTEX_WAITV_MAX = 128
CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1

_HAVE_TIMEOUT = (FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI)
_MAY_CHOOSE_CLOCK = (FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2)


def _deadline(task: Task, timeout: int, size: int, relative: bool, realtime: bool) -> int | None:
    """Virtual time at which a wait ends, from a struct timespec of two `size`-byte values; -EFAULT, -EINVAL; None: it
    has no end (`timeout` is NULL)."""
    if not timeout:
        return None
    value = get_timespec(task, timeout, size)
    if isinstance(value, int):
        return value
    ns = timespec_ns(value)
    if ns < 0:
        return ns
    if relative:
        return ns + task.machine.clock()
    return max(0, ns - task.machine.boot_time) if realtime else ns


def do_futex(task: Task, address: int, op: int, value: int, timeout: int, second: int, third: int, size: int) -> int:
    """futex; `size`: bytes of a field of its struct timespec."""
    task.machine.sched.charge(task.machine.sched.cost.futex_hash)
    op &= 0xFFFFFFFF
    value &= 0xFFFFFFFF
    command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    shared = not op & FUTEX_PRIVATE_FLAG
    realtime = bool(op & FUTEX_CLOCK_REALTIME)
    deadline = None
    if command in _HAVE_TIMEOUT:
        of_realtime = realtime or command == FUTEX_LOCK_PI
        deadline = _deadline(task, timeout, size, command == FUTEX_WAIT, of_realtime)
        if deadline is not None and deadline < 0:
            return deadline
    if realtime and command not in _MAY_CHOOSE_CLOCK:
        return -ENOSYS
    count, count2 = s32(value), s32(timeout)
    if command == FUTEX_WAIT:
        return futex_wait(task, address, value, shared, deadline, FUTEX_BITSET_MATCH_ANY)
    if command == FUTEX_WAIT_BITSET:
        return futex_wait(task, address, value, shared, deadline, third)
    if command == FUTEX_WAKE:
        return futex_wake(task, address, shared, count, FUTEX_BITSET_MATCH_ANY)
    if command == FUTEX_WAKE_BITSET:
        return futex_wake(task, address, shared, count, third)
    if command == FUTEX_REQUEUE:
        return futex_requeue(task, address, second, shared, count, count2, None, False)
    if command == FUTEX_CMP_REQUEUE:
        return futex_requeue(task, address, second, shared, count, count2, third, False)
    if command == FUTEX_WAKE_OP:
        return futex_wake_op(task, address, shared, second, count, count2, third)
    if command in (FUTEX_LOCK_PI, FUTEX_LOCK_PI2):
        return futex_lock_pi(task, address, shared, deadline, False)
    if command == FUTEX_UNLOCK_PI:
        return futex_unlock_pi(task, address, shared)
    if command == FUTEX_TRYLOCK_PI:
        return futex_lock_pi(task, address, shared, None, True)
    if command == FUTEX_WAIT_REQUEUE_PI:
        return futex_wait_requeue_pi(task, address, value, shared, deadline, FUTEX_BITSET_MATCH_ANY, second)
    if command == FUTEX_CMP_REQUEUE_PI:
        return futex_requeue(task, address, second, shared, count, count2, third, True)
    return -ENOSYS


def sys_futex(task: Task, address: int, op: int, value: int, timeout: int, second: int, third: int) -> int:
    """futex(2). Its timespec has fields of a word (futex_time32 on a 32-bit machine)."""
    return do_futex(task, address, op, value, timeout, second, third, task.word)


def sys_futex_time64(task: Task, address: int, op: int, value: int, timeout: int, second: int, third: int) -> int:
    """futex on a 32-bit machine with a timespec of two 64-bit values."""
    return do_futex(task, address, op, value, timeout, second, third, 8)


def _futex2_deadline(task: Task, timeout: int, clock: int) -> int | None:
    """An absolute timeout on a clock that may be chosen: as _deadline."""
    if not timeout:
        return None
    if s32(clock) not in (CLOCK_REALTIME, CLOCK_MONOTONIC):
        return -EINVAL
    return _deadline(task, timeout, 8, False, s32(clock) == CLOCK_REALTIME)


def _futex2_flags_ok(flags: int, *values: int) -> bool:
    """A 32-bit futex, of no special NUMA node, and values that fit."""
    if flags & ~FUTEX2_VALID_MASK or flags & (FUTEX2_NUMA | FUTEX2_MPOL):
        return False
    return flags & FUTEX2_SIZE_MASK == FUTEX2_SIZE_U32 and all(value >> 32 == 0 for value in values)


def _parse_waitv(task: Task, address: int, count: int) -> list[futex_vector] | int:
    """An array of struct futex_waitv: value, address, flags, reserved."""
    vector = []
    for index in range(count):
        data = task.access.copy_from_user(address + 24 * index, 24)
        if data is None:
            return -EFAULT
        value, where, flags, reserved = struct.unpack(order(task) + "QQII", data)
        if reserved or not _futex2_flags_ok(flags, value):
            return -EINVAL
        vector.append(futex_vector(where, value, not flags & FUTEX2_PRIVATE))
    return vector


def sys_futex_waitv(task: Task, waiters: int, count: int, flags: int, timeout: int, clock: int, *_: int) -> int:
    """futex_waitv: wait on up to 128 words at once; the index of one that was woken."""
    count &= 0xFFFFFFFF
    if flags & 0xFFFFFFFF or not 0 < count <= FUTEX_WAITV_MAX or not waiters:
        return -EINVAL
    deadline = _futex2_deadline(task, timeout, clock)
    if deadline is not None and deadline < 0:
        return deadline
    vector = _parse_waitv(task, waiters, count)
    return vector if isinstance(vector, int) else futex_wait_multiple(task, vector, deadline)


def sys_futex_wake(task: Task, address: int, mask: int, count: int, flags: int, *_: int) -> int:
    """futex_wake: as FUTEX_WAKE_BITSET, but 0 waiters are none."""
    if not _futex2_flags_ok(flags & 0xFFFFFFFF, mask):
        return -EINVAL
    return futex_wake(task, address, not flags & FUTEX2_PRIVATE, s32(count), mask, strict=True)


def sys_futex_wait(task: Task, address: int, value: int, mask: int, flags: int, timeout: int, clock: int) -> int:
    """futex_wait: as FUTEX_WAIT_BITSET with an absolute timeout."""
    if not _futex2_flags_ok(flags & 0xFFFFFFFF, value, mask):
        return -EINVAL
    deadline = _futex2_deadline(task, timeout, clock)
    if deadline is not None and deadline < 0:
        return deadline
    return futex_wait_once(task, address, value, not flags & FUTEX2_PRIVATE, deadline, mask)


def sys_futex_requeue(task: Task, waiters: int, flags: int, count: int, moved: int, *_: int) -> int:
    """futex_requeue: as FUTEX_CMP_REQUEUE from the first of two struct futex_waitv to the second."""
    if flags & 0xFFFFFFFF or not waiters:
        return -EINVAL
    vector = _parse_waitv(task, waiters, 2)
    if isinstance(vector, int):
        return vector
    a, b = vector
    if a.shared != b.shared:
        return -EINVAL
    return futex_requeue(task, a.address, b.address, a.shared, s32(count), s32(moved), a.value, False)


SYSCALLS = {
    "futex": sys_futex,
    "futex_time64": sys_futex_time64,
    "futex_waitv": sys_futex_waitv,
    "futex_wake": sys_futex_wake,
    "futex_wait": sys_futex_wait,
    "futex_requeue": sys_futex_requeue,
}
