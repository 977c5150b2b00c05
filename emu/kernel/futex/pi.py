# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks whose owner the kernel knows: FUTEX_LOCK_PI and what belongs to it (kernel/futex/pi.c).

The word holds the owner's tid, FUTEX_WAITERS once somebody sleeps, FUTEX_OWNER_DIED when the last owner ended without
unlocking. An unlock hands the lock to the waiter in front. Priorities are not lent.
"""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EDEADLK, EFAULT, EINTR, EINVAL, EPERM, ESRCH
from typing import TYPE_CHECKING

from emu.kernel.futex.core import (
    FUTEX_OWNER_DIED,
    FUTEX_TID_MASK,
    FUTEX_WAITERS,
    WRITE,
    Key,
    fault_in_user_writeable,
    futex_cmpxchg_value,
    futex_get_value,
    futex_q,
    get_futex_key,
)
from emu.kernel.futex.waitwake import sleep
from emu.kernel.signal import ERESTARTNOINTR
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.kernel.futex.core import FutexTable
    from emu.kernel.task import Task

MAX_LOCK_DEPTH = 1024


class PiState:
    """A lock that somebody waits for (struct futex_pi_state with its rt_mutex).

    `owner`: whose tid the word holds; None after it died, until the next holder has put its own there. `holder`: who
    has the lock, which differs from `owner` for that time only.
    """

    __slots__ = ("holder", "key", "owner", "refcount", "waiters")

    def __init__(self, futexes: FutexTable, owner: Task, key: Key) -> None:
        self.owner: Task | None = owner
        self.holder: Task | None = owner
        self.key = key
        self.refcount = 1
        self.waiters: list[futex_q] = []  # that sleep for it, in the order in which they get it
        futexes.pi_states[self] = None

    def add_waiter(self, q: futex_q) -> None:
        """Queue by priority, first come first served."""
        place = len(self.waiters)
        while place and self.waiters[place - 1].prio > q.prio:
            place -= 1
        self.waiters.insert(place, q)

    def hand_over(self) -> futex_q | None:
        """Give the lock to the waiter in front; None: there is none, and it is free (rt_mutex_futex_unlock)."""
        if not self.waiters:
            self.holder = None
            return None
        q = self.waiters.pop(0)
        self.holder = q.task
        return q


def put_pi_state(futexes: FutexTable, state: PiState) -> None:
    """Drop a use; the last one forgets the lock: the word alone tells who has it."""
    state.refcount -= 1
    if state.refcount == 0:
        del futexes.pi_states[state]


def _blocked_on(futexes: FutexTable, task: Task) -> PiState | None:
    for state in futexes.pi_states:
        if any(q.task is task for q in state.waiters):
            return state
    return None


def start_lock(futexes: FutexTable, state: PiState, q: futex_q) -> int:
    """Take the lock for a waiter if it is free (1), else queue the waiter for it (0); -EDEADLK where its holder waits,
    through however many others, for a lock of the waiter's (rt_mutex_start_proxy_lock)."""
    if state.holder is None:
        state.holder = q.task
        return 1
    holder: Task | None = state.holder
    for _ in range(MAX_LOCK_DEPTH):
        if holder is q.task:
            return -EDEADLK
        further = _blocked_on(futexes, holder) if holder is not None else None
        if further is None:
            state.add_waiter(q)
            return 0
        holder = further.holder
    return -EDEADLK


def lock_pi_update_atomic(task: Task, address: int, old: int, new: int) -> int:
    """0, -EAGAIN when the word has changed, -EFAULT."""
    current = futex_cmpxchg_value(task, address, old, new)
    if current is None:
        return -EFAULT
    return 0 if current == old else -EAGAIN


def _attach_to_pi_state(value: int, state: PiState | None) -> PiState | int:
    """Join those who wait already, if the word and what the kernel knows agree."""
    if state is None:
        return -EINVAL  # they wait on it as on a plain futex
    tid = value & FUTEX_TID_MASK
    if value & FUTEX_OWNER_DIED:
        if state.owner is None:
            if tid:
                return -EINVAL
            state.refcount += 1
            return state
        if not tid:
            state.refcount += 1
            return state
    elif state.owner is None:
        return -EINVAL
    if tid != state.owner.pid:
        return -EINVAL
    state.refcount += 1
    return state


def _handle_exit_race(task: Task, address: int, value: int) -> int:
    now = futex_get_value(task, address)
    if now is None:
        return -EFAULT
    return -EAGAIN if now != value else -ESRCH


def _attach_to_pi_owner(task: Task, address: int, value: int, key: Key) -> PiState | int:
    """The first waiter: make the lock known, with the task whose tid is in the word as its owner. -ESRCH: no such task;
    -EBUSY: it is about to end, see wait_for_owner_exiting."""
    tid = value & FUTEX_TID_MASK
    if not tid:
        return -EAGAIN
    machine = task.machine
    owner = machine.pids.get(tid)
    if owner is None:
        return _handle_exit_race(task, address, value)
    if owner in machine.futexes.exiting:
        return -EBUSY
    if owner.futex_dead:
        return _handle_exit_race(task, address, value)
    return PiState(machine.futexes, owner, key)


def futex_lock_pi_atomic(
    caller: Task, address: int, key: Key, task: Task, set_waiters: bool
) -> tuple[int, PiState | None]:
    """Try to take the word for `task`: (1, _) it has it; (0, state) it must wait for that; (-errno, None).

    With `set_waiters` the word is marked as waited for even when it is free, and the state is given for it.
    """
    value = futex_get_value(caller, address)
    if value is None:
        return -EFAULT, None
    if value & FUTEX_TID_MASK == task.pid:
        return -EDEADLK, None
    top = caller.machine.futexes.top_waiter(key)
    if top is not None:
        found = _attach_to_pi_state(value, top.pi_state)
        return (found, None) if isinstance(found, int) else (0, found)
    if not value & FUTEX_TID_MASK:
        new = value & FUTEX_OWNER_DIED | task.pid | (FUTEX_WAITERS if set_waiters else 0)
        error = lock_pi_update_atomic(caller, address, value, new)
        if error:
            return error, None
        return 1, PiState(caller.machine.futexes, task, key) if set_waiters else None
    error = lock_pi_update_atomic(caller, address, value, value | FUTEX_WAITERS)
    if error:
        return error, None
    found = _attach_to_pi_owner(caller, address, value | FUTEX_WAITERS, key)
    return (found, None) if isinstance(found, int) else (0, found)


def wait_for_owner_exiting(task: Task, address: int) -> None:
    """After -EBUSY: sleep until the owner has dealt with its futexes."""
    machine = task.machine
    value = futex_get_value(task, address)
    owner = machine.pids.get(value & FUTEX_TID_MASK) if value is not None else None
    waiters = machine.futexes.exiting.get(owner) if owner is not None else None
    if waiters is None:
        machine.sched.sync()
        return
    waiters.append(task)
    task.waiting_for = f"the end of task {owner.pid if owner is not None else 0}"
    machine.sched.block(State.UNINTERRUPTIBLE)
    task.waiting_for = ""


def fixup_pi_owner(task: Task, address: int, q: futex_q) -> int:
    """The task has got the lock: put its tid into the word where the last owner could not. 0 or -EFAULT."""
    state = q.pi_state
    assert state is not None and state.holder is task
    if state.owner is task:
        return 0
    tid = task.pid | FUTEX_WAITERS | (FUTEX_OWNER_DIED if state.owner is None else 0)
    while True:
        value = futex_get_value(task, address)
        if value is not None:
            current = futex_cmpxchg_value(task, address, value, value & FUTEX_OWNER_DIED | tid)
            if current == value:
                state.owner = task
                return 0
        error = fault_in_user_writeable(task, address)
        if error:
            state.owner = task
            return error


def wait_lock(task: Task, address: int, q: futex_q, deadline: int | None) -> int:
    """Sleep until the lock is ours: 0; -ETIMEDOUT or -EINTR, no longer queued for it (rt_mutex_wait_proxy_lock)."""
    state = q.pi_state
    assert state is not None
    while state.holder is not task:
        result = sleep(task, deadline, address)
        if result and state.holder is not task:
            state.waiters.remove(q)
            return result
    return 0


def futex_lock_pi(task: Task, address: int, shared: bool, deadline: int | None, trylock: bool) -> int:
    """FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI: 0, or -EDEADLK (held by the caller, or its holder waits for one
    of the caller's), -EAGAIN (trylock: held), -ESRCH (held by nobody), -EINVAL (the word is at odds with the waiters),
    -ETIMEDOUT, -ERESTARTNOINTR, -EFAULT."""
    futexes = task.machine.futexes
    while True:
        key = get_futex_key(task, address, shared, WRITE)
        if isinstance(key, int):
            return key
        task.machine.sched.sync()
        ret, state = futex_lock_pi_atomic(task, address, key, task, False)
        if ret == 0:
            break
        if ret == 1:
            return 0
        if ret == -EFAULT:
            error = fault_in_user_writeable(task, address)
            if error:
                return error
        elif ret == -EBUSY:
            wait_for_owner_exiting(task, address)
        elif ret != -EAGAIN:
            return ret
    assert state is not None
    q = futex_q(task, key)
    q.pi_state = state
    futexes.queue(q)
    if trylock:
        ret = 0 if state.holder is None else -EAGAIN
        if ret == 0:
            state.holder = task
    else:
        ret = start_lock(futexes, state, q)
        if ret == 0:
            ret = wait_lock(task, address, q, deadline)
        elif ret == 1:
            ret = 0
    if ret == 0:
        ret = fixup_pi_owner(task, address, q)
    futexes.unqueue(q)
    put_pi_state(futexes, state)
    return -ERESTARTNOINTR if ret == -EINTR else ret


def _wake_futex_pi(task: Task, address: int, value: int, state: PiState) -> int | None:
    """Hand the lock to the waiter in front: 0, -EINVAL or -EFAULT; None: only the waiters' bit was set meanwhile."""
    new_owner = state.waiters[0].task
    current = futex_cmpxchg_value(task, address, value, FUTEX_WAITERS | new_owner.pid)
    if current is None:
        return -EFAULT
    if current != value:
        return None if current & FUTEX_TID_MASK == value else -EINVAL
    state.owner = new_owner
    q = state.hand_over()
    assert q is not None
    task.machine.sched.wake(q.task)
    return 0


def futex_unlock_pi(task: Task, address: int, shared: bool) -> int:
    """FUTEX_UNLOCK_PI: 0, -EPERM (not the owner), -EINVAL (the word is at odds with the waiters), -EAGAIN, -EFAULT."""
    futexes = task.machine.futexes
    while True:
        value = task.access.get_user(address, 4)
        if value is None:
            return -EFAULT
        if value & FUTEX_TID_MASK != task.pid:
            return -EPERM
        key = get_futex_key(task, address, shared, WRITE)
        if isinstance(key, int):
            return key
        task.machine.sched.sync()
        ret = _unlock(futexes, task, address, value, key)
        if ret == -EFAULT:
            error = fault_in_user_writeable(task, address)
            if error:
                return error
        elif ret is not None:
            return ret


def _unlock(futexes: FutexTable, task: Task, address: int, value: int, key: Key) -> int | None:
    """The word held `value`, of which the caller is the owner. None: begin again."""
    while True:
        top = futexes.top_waiter(key)
        if top is None:
            current = futex_cmpxchg_value(task, address, value, 0)
            if current is None:
                return -EFAULT
            return 0 if current == value else -EAGAIN
        state = top.pi_state
        if state is None or state.owner is not task:
            return -EINVAL
        if state.waiters:
            return _wake_futex_pi(task, address, value, state)
        futexes.unqueue(top)  # it is on its way out


def exit_pi_state_list(task: Task) -> None:
    """The task ends: its locks go to those who wait, who will find FUTEX_OWNER_DIED set."""
    futexes = task.machine.futexes
    for state in list(futexes.pi_states):
        if state.owner is not task and state.holder is not task:
            continue
        if state.owner is task:
            state.owner = None
        if state.holder is task:
            q = state.hand_over()
            if q is not None:
                task.machine.sched.wake(q.task)
