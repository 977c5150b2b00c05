# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait queues: who sleeps until something happens to an object (kernel/sched/wait.c).

`wake_up` does not wake: it notes that the sleepers of this object are to look again, which they do, in the order in
which they went to sleep, at the end of the call that changed it. So what a wake-up costs does not depend on how many
sleep for other things.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity


class Sleeper:
    """A task in wait_event. `number` is its turn; `look_again` collects those who are to look, by number."""

    __slots__ = ("condition", "look_again", "number", "task")

    def __init__(
        self, task: SchedEntity, condition: Callable[[], bool], number: int, look_again: dict[int, Sleeper]
    ) -> None:
        self.task = task
        self.condition = condition
        self.number = number
        self.look_again = look_again


class wait_queue_head:
    """The sleepers of one object."""

    __slots__ = ("sleepers",)

    def __init__(self) -> None:
        self.sleepers: dict[int, Sleeper] = {}

    def add(self, sleeper: Sleeper) -> None:
        """It sleeps for this object too (prepare_to_wait, poll_wait)."""
        self.sleepers[sleeper.number] = sleeper

    def remove(self, sleeper: Sleeper) -> None:
        """It is awake (finish_wait)."""
        self.sleepers.pop(sleeper.number, None)

    def wake_up(self) -> None:
        """Something happened to the object."""
        for number, sleeper in self.sleepers.items():
            sleeper.look_again[number] = sleeper
