# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving waiters from one word to another without waking them (kernel/futex/requeue.c)."""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EFAULT, EINTR, EINVAL, ETIMEDOUT
from typing import TYPE_CHECKING

from emu.kernel.futex.core import (
    READ,
    WRITE,
    FutexTable,
    Key,
    fault_in_user_writeable,
    futex_get_value,
    futex_q,
    get_futex_key,
    get_user,
)
from emu.kernel.futex.pi import (
    PiState,
    fixup_pi_owner,
    futex_lock_pi_atomic,
    put_pi_state,
    start_lock,
    wait_for_owner_exiting,
    wait_lock,
)
from emu.kernel.futex.waitwake import futex_wait_setup, sleep, timed_out
from emu.kernel.signal import ERESTARTNOINTR

if TYPE_CHECKING:
    from emu.kernel.task import Task


def futex_requeue(
    task: Task,
    first: int,
    second: int,
    shared: bool,
    count: int,
    moved: int,
    expected: int | None,
    pi: bool,
) -> int:
    """Wake `count` waiters of `first` and move up to `moved` others to `second`: how many in all, or -errno.

    `expected`: the value that `first` must hold (-EAGAIN). `pi`: `second` is a lock that the first waiter is given, or
    that they wait for from now on; its waiters must be in FUTEX_WAIT_REQUEUE_PI.
    """
    if count < 0 or moved < 0:
        return -EINVAL
    if pi and (first == second or count != 1):
        return -EINVAL
    while True:
        key = get_futex_key(task, first, shared, READ)
        if isinstance(key, int):
            return key
        key2 = get_futex_key(task, second, shared, pi)
        if isinstance(key2, int):
            return key2
        if pi and key == key2:
            return -EINVAL
        task.machine.sched.sync()
        if expected is not None:
            value = futex_get_value(task, first)
            if value is None:
                error = get_user(task, first)
                if error:
                    return error
                continue
            if value != expected & 0xFFFFFFFF:
                return -EAGAIN
        if not pi:
            return _requeue(task, key, key2, count, moved)
        done, state, ret = _proxy_trylock(task, second, key, key2, moved)
        if ret == -EFAULT:
            error = fault_in_user_writeable(task, second)
            if error:
                return error
        elif ret == -EBUSY:
            wait_for_owner_exiting(task, second)
        elif ret != -EAGAIN:
            break
    if ret < 0:
        return ret
    ret, done = _requeue_pi(task.machine.futexes, key, key2, state, done, moved)
    if state is not None:
        put_pi_state(task.machine.futexes, state)
    return ret or done


def _requeue(task: Task, key: Key, key2: Key, count: int, moved: int) -> int:
    futexes = task.machine.futexes
    done = 0
    for q in futexes.waiters(key):
        if done - count >= moved:
            break
        if q.waits_for_pi or q.pi_state is not None:
            return -EINVAL
        done += 1
        if done <= count:
            futexes.wake(q)
        else:
            futexes.requeue(q, key2)
    return done


def _proxy_trylock(task: Task, second: int, key: Key, key2: Key, moved: int) -> tuple[int, PiState | None, int]:
    """Try to take the lock for the waiter in front (futex_proxy_trylock_atomic): (1, state, 0) it has it and was woken;
    (0, state, 0) it must wait; (0, None, -errno)."""
    futexes = task.machine.futexes
    if futex_get_value(task, second) is None:
        return 0, None, -EFAULT
    top = futexes.top_waiter(key)
    if top is None:
        return 0, None, 0
    if not top.waits_for_pi or top.pi_state is not None or top.requeue_pi_key != key2:
        return 0, None, -EINVAL
    ret, state = futex_lock_pi_atomic(task, second, key2, top.task, moved > 0)
    if ret == 1:
        _requeue_pi_wake(futexes, top)
    return max(ret, 0), state, min(ret, 0)


def _requeue_pi_wake(futexes: FutexTable, q: futex_q) -> None:
    """The waiter has the lock: it goes on."""
    q.waits_for_pi = False
    futexes.wake(q)


def _requeue_pi(
    futexes: FutexTable, key: Key, key2: Key, state: PiState | None, done: int, moved: int
) -> tuple[int, int]:
    """Let waiters wait for the lock: (0 or -errno, how many woken or moved)."""
    for q in futexes.waiters(key):
        if done - 1 >= moved:
            break
        if not q.waits_for_pi or q.pi_state is not None or q.requeue_pi_key != key2:
            return -EINVAL, done
        assert state is not None
        state.refcount += 1
        q.pi_state = state
        ret = start_lock(futexes, state, q)
        if ret < 0:
            q.pi_state = None
            put_pi_state(futexes, state)
            return ret, done  # the waiter stays where it is; user space has to deal with it
        if ret == 1:
            _requeue_pi_wake(futexes, q)
        else:
            futexes.requeue(q, key2)
        done += 1
    return 0, done


def futex_wait_requeue_pi(
    task: Task, address: int, value: int, shared: bool, deadline: int | None, bitset: int, second: int
) -> int:
    """Wait on a plain word until FUTEX_CMP_REQUEUE_PI moves the wait to the lock `second`, and that is ours: 0. -EAGAIN
    (another value, or a signal after the move), -ETIMEDOUT, -ERESTARTNOINTR, -EINVAL, -EFAULT."""
    if address == second or not bitset & 0xFFFFFFFF:
        return -EINVAL
    futexes = task.machine.futexes
    key2 = get_futex_key(task, second, shared, WRITE)
    if isinstance(key2, int):
        return key2
    q = futex_q(task, (), bitset)
    q.waits_for_pi = True
    q.requeue_pi_key = key2
    error = futex_wait_setup(task, address, value, shared, q, key2)
    if error:
        return error
    result = sleep(task, deadline, address)
    state = q.pi_state
    if state is None:
        if not futexes.unqueue(q):
            return 0  # the lock was free, and was taken for us
        if timed_out(task, deadline):
            return -ETIMEDOUT
        return -ERESTARTNOINTR if task.signal_pending() else -EAGAIN
    if state.holder is not task and result:
        state.waiters.remove(q)
        result = -ETIMEDOUT if result == -ETIMEDOUT else -EINTR
    else:
        result = wait_lock(task, second, q, deadline)
    if result == 0:
        result = fixup_pi_owner(task, second, q)
    futexes.unqueue(q)
    put_pi_state(futexes, state)
    return -EAGAIN if result == -EINTR else result
