# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a word to change, and waking those who do (kernel/futex/waitwake.c)."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EAGAIN, EINVAL, ENOSYS, ETIMEDOUT
from typing import TYPE_CHECKING

from emu.kernel.args import s32
from emu.kernel.futex.core import (
    FUTEX_BITSET_MATCH_ANY,
    READ,
    WRITE,
    Key,
    fault_in_user_writeable,
    futex_cmpxchg_value,
    futex_get_value,
    futex_q,
    get_futex_key,
    get_user,
)
from emu.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTSYS
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.kernel.task import Task

_FOREVER = 1 << 61  # ns: a deadline beyond it never comes


def sleep(task: Task, deadline: int | None, address: int) -> int:
    """Sleep until woken (0), until `deadline` (-ETIMEDOUT) or for a signal (-EINTR)."""
    task.waiting_for = f"futex {address:#x}"
    task.futex_waited = address
    if deadline is not None and deadline >= _FOREVER:
        deadline = None
    result = task.machine.sched.block(State.INTERRUPTIBLE, deadline)
    task.waiting_for = ""
    task.futex_waited = 0
    return result


def timed_out(task: Task, deadline: int | None) -> bool:
    """Is it past the deadline."""
    return deadline is not None and task.machine.sched.now() >= deadline


def futex_wait_setup(task: Task, address: int, value: int, shared: bool, q: futex_q, other: Key | None = None) -> int:
    """Queue `q` if the word still holds `value`: 0, -EAGAIN when it does not, -EFAULT, -EINVAL.

    `other`: a key that must not be the word's own.
    """
    while True:
        key = get_futex_key(task, address, shared, READ)
        if isinstance(key, int):
            return key
        sched = task.machine.sched
        sched.charge(sched.cost.futex_wait)
        sched.sync()
        now = futex_get_value(task, address)
        if now is not None:
            break
        error = get_user(task, address)
        if error:
            return error
    if now != value & 0xFFFFFFFF:
        return -EAGAIN
    if other is not None and other == key:
        return -EINVAL
    q.key = key
    task.machine.futexes.queue(q)
    return 0


def futex_wait_once(task: Task, address: int, value: int, shared: bool, deadline: int | None, bitset: int) -> int:
    """Wait for a wake-up: 0, -EAGAIN, -ETIMEDOUT, -ERESTARTSYS, -EFAULT, -EINVAL (__futex_wait)."""
    if not bitset & 0xFFFFFFFF:
        return -EINVAL
    futexes = task.machine.futexes
    while True:
        q = futex_q(task, (), bitset)
        error = futex_wait_setup(task, address, value, shared, q)
        if error:
            return error
        sleep(task, deadline, address)
        if not futexes.unqueue(q):
            return 0
        if timed_out(task, deadline):
            return -ETIMEDOUT
        if task.signal_pending():
            return -ERESTARTSYS


def futex_wait(task: Task, address: int, value: int, shared: bool, deadline: int | None, bitset: int) -> int:
    """FUTEX_WAIT and FUTEX_WAIT_BITSET; one with a deadline goes on to the same deadline after a signal."""
    result = futex_wait_once(task, address, value, shared, deadline, bitset)
    if result == -ERESTARTSYS and deadline is not None:
        task.restart_block = lambda: futex_wait(task, address, value, shared, deadline, bitset)
        return -ERESTART_RESTARTBLOCK
    return result


def futex_wake(task: Task, address: int, shared: bool, count: int, bitset: int, strict: bool = False) -> int:
    """Wake up to `count` waiters that share a bit with `bitset`, at least one unless `strict`: how many, or -errno.

    -EINVAL where the next to be woken waits for a priority-inheriting lock.
    """
    if not bitset & 0xFFFFFFFF:
        return -EINVAL
    key = get_futex_key(task, address, shared, READ)
    if isinstance(key, int):
        return key
    if strict and not count:
        return 0
    task.machine.sched.sync()
    return _wake(task, key, count, bitset)


def _wake(task: Task, key: Key, count: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
    futexes = task.machine.futexes
    woken = 0
    for q in futexes.waiters(key):
        if q.pi_state is not None or q.waits_for_pi:
            return -EINVAL
        if not q.bitset & bitset:
            continue
        futexes.wake(q)
        woken += 1
        if woken >= count:
            break
    return woken


def _sign_extend12(value: int) -> int:
    return value - 4096 if value & 2048 else value


def _atomic_op(task: Task, encoded: int, address: int) -> int | None:
    """Change the word as `encoded` says: 1 or 0 as its comparison of the old value gives, -ENOSYS; None: the page is
    not writable (futex_atomic_op_inuser)."""
    operation, comparison = encoded >> 28 & 7, encoded >> 24 & 15
    argument = _sign_extend12(encoded >> 12 & 0xFFF)
    compared = _sign_extend12(encoded & 0xFFF)
    if encoded & 8 << 28:  # FUTEX_OP_OPARG_SHIFT
        argument = 1 << (argument & 31)
    if operation > 4:
        return -ENOSYS
    old = futex_cmpxchg_value(task, address, -1, 0)  # reads, if it may be written
    if old is None:
        return None
    new = (argument, old + argument, old | argument, old & ~argument, old ^ argument)[operation]
    futex_cmpxchg_value(task, address, old, new & 0xFFFFFFFF)
    before = s32(old)
    if comparison > 5:
        return -ENOSYS
    return int(
        (
            before == compared,
            before != compared,
            before < compared,
            before <= compared,
            before > compared,
            before >= compared,
        )[comparison]
    )


def futex_wake_op(task: Task, first: int, shared: bool, second: int, count: int, count2: int, encoded: int) -> int:
    """Change the word `second`, wake up to `count` waiters of `first`, and up to `count2` of `second` where its old
    value compared as asked: how many in all, or -errno."""
    while True:
        key = get_futex_key(task, first, shared, READ)
        if isinstance(key, int):
            return key
        key2 = get_futex_key(task, second, shared, WRITE)
        if isinstance(key2, int):
            return key2
        task.machine.sched.sync()
        result = _atomic_op(task, encoded & 0xFFFFFFFF, second)
        if result is not None:
            break
        error = fault_in_user_writeable(task, second)
        if error:
            return error
    if result < 0:
        return result
    woken = _wake(task, key, count)
    if result == 0 or woken < 0:
        return woken
    more = _wake(task, key2, count2)
    return more if more < 0 else woken + more


class futex_vector:
    """One word of a wait for several (struct futex_vector)."""

    __slots__ = ("address", "q", "shared", "value")

    def __init__(self, address: int, value: int, shared: bool) -> None:
        self.address = address
        self.value = value
        self.shared = shared
        self.q: futex_q | None = None


def futex_unqueue_multiple(task: Task, vector: Sequence[futex_vector]) -> int:
    """Take all waiters out: the index of the last one that was woken, -1 when none was."""
    woken = -1
    for index, each in enumerate(vector):
        if each.q is not None and not task.machine.futexes.unqueue(each.q):
            woken = index
        each.q = None
    return woken


def futex_wait_multiple(task: Task, vector: Sequence[futex_vector], deadline: int | None) -> int:
    """Wait until one of several words is woken: its index, or -EAGAIN (one has another value), -ETIMEDOUT,
    -ERESTARTSYS, -EFAULT, -EINVAL."""
    while True:
        result = _wait_multiple_setup(task, vector)
        if result is not None:
            return result
        sleep(task, deadline, vector[0].address)
        woken = futex_unqueue_multiple(task, vector)
        if woken >= 0:
            return woken
        if timed_out(task, deadline):
            return -ETIMEDOUT
        if task.signal_pending():
            return -ERESTARTSYS


def _wait_multiple_setup(task: Task, vector: Sequence[futex_vector]) -> int | None:
    """Queue a waiter for each word. None: all hold what they should; else what the wait ends with."""
    futexes = task.machine.futexes
    while True:
        keys: list[Key] = []
        for each in vector:
            key = get_futex_key(task, each.address, each.shared, READ)
            if isinstance(key, int):
                return key
            keys.append(key)
        task.machine.sched.sync()
        for each, key in zip(vector, keys):
            now = futex_get_value(task, each.address)
            if now == each.value:
                each.q = futex_q(task, key)
                futexes.queue(each.q)
                continue
            woken = futex_unqueue_multiple(task, vector)
            if woken >= 0:
                return woken
            if now is not None:
                return -EAGAIN
            error = get_user(task, each.address)
            if error:
                return error
            break
        else:
            return None
