# SPDX-License-Identifier: GPL-2.0-or-later
"""One task that waits for a condition (include/linux/rcuwait.h)."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINTR
from typing import TYPE_CHECKING

from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched


class rcuwait:
    """`task`: who waits, None = nobody. There is never more than one."""

    __slots__ = ("sched", "task")

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.task: SchedEntity | None = None

    def wait_event(self, condition: Callable[[], bool], state: State = State.UNINTERRUPTIBLE) -> int:
        """Sleep until `condition` holds: 0; -EINTR when a signal that `state` lets in came first."""
        assert self.task is None, "two tasks in one rcuwait"
        sched = self.sched
        self.task = sched.current
        result = 0
        while not condition():
            result = sched.block(state)
            if result == -EINTR:
                break
        self.task = None
        return 0 if condition() else result

    def wake_up(self) -> None:
        """The condition may hold now (rcuwait_wake_up)."""
        if self.task is not None:
            self.sched.wake(self.task)
