# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end of a task does to the futexes that it holds (futex_exit_release of kernel/futex/core.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.args import slong
from emu.kernel.futex.core import (
    FUTEX_BITSET_MATCH_ANY,
    FUTEX_OWNER_DIED,
    FUTEX_TID_MASK,
    FUTEX_WAITERS,
    fault_in_user_writeable,
    futex_cmpxchg_value,
)
from emu.kernel.futex.pi import exit_pi_state_list
from emu.kernel.futex.waitwake import futex_wake

if TYPE_CHECKING:
    from emu.kernel.task import Task

ROBUST_LIST_LIMIT = 2048


def futex_exit_release(task: Task) -> None:
    """The task ends: mark the locks that it holds as such, and wake those who wait for them."""
    _cleanup(task)
    task.futex_dead = True


def futex_exec_release(task: Task) -> None:
    """The task leaves its address space for another program."""
    _cleanup(task)


def _cleanup(task: Task) -> None:
    futexes = task.machine.futexes
    futexes.exiting[task] = []
    if task.robust_list[0]:
        exit_robust_list(task)
        task.robust_list = (0, 0)
    exit_pi_state_list(task)
    for waiter in futexes.exiting.pop(task):
        task.machine.sched.wake(waiter)


def _fetch_robust_entry(task: Task, address: int) -> tuple[int, bool] | None:
    """(pointer, is it a priority-inheriting lock); None = EFAULT."""
    entry = task.access.get_user(address, task.word)
    return None if entry is None else (entry & ~1, bool(entry & 1))


def exit_robust_list(task: Task) -> None:
    """Walk the list that set_robust_list registered, as far as it can be read, ROBUST_LIST_LIMIT entries at most."""
    head, word = task.robust_list[0], task.word
    mask = (1 << 8 * word) - 1
    first = _fetch_robust_entry(task, head)
    if first is None:
        return
    offset = task.access.get_user(head + word, word)
    if offset is None:
        return
    pending = _fetch_robust_entry(task, head + 2 * word)
    if pending is None:
        return
    offset = slong(task, offset)
    entry, pi = first
    limit = ROBUST_LIST_LIMIT
    while entry != head:
        following = _fetch_robust_entry(task, entry)
        # A lock that was being taken or released may be on the list already.
        if entry != pending[0] and handle_futex_death(task, entry + offset & mask, pi, pending=False):
            return
        if following is None:
            return
        entry, pi = following
        limit -= 1
        if not limit:
            break
        task.machine.sched.sync()
    if pending[0]:
        handle_futex_death(task, pending[0] + offset & mask, pending[1], pending=True)


def handle_futex_death(task: Task, address: int, pi: bool, pending: bool) -> int:
    """One word: if the task holds it, set FUTEX_OWNER_DIED and wake a waiter. -1 when it cannot be reached."""
    if address & 3:
        return -1
    while True:
        value = task.access.get_user(address, 4)
        if value is None:
            return -1
        owner = value & FUTEX_TID_MASK
        if pending and not pi and not owner:
            # It was killed between its unlock and its wake, or when it had been woken: somebody else must go on.
            futex_wake(task, address, True, 1, FUTEX_BITSET_MATCH_ANY)
            return 0
        if owner != task.pid:
            return 0
        current = futex_cmpxchg_value(task, address, value, value & FUTEX_WAITERS | FUTEX_OWNER_DIED)
        if current is None:
            if fault_in_user_writeable(task, address):
                return -1
        elif current == value:
            break
    if not pi and value & FUTEX_WAITERS:
        futex_wake(task, address, True, 1, FUTEX_BITSET_MATCH_ANY)
    return 0
