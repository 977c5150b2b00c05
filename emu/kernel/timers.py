# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in virtual time: what fires when (kernel/time/itimer.c, posix-timers.c)."""

from __future__ import annotations

from collections.abc import Callable


class Timer:
    """One timer. `deadline` and `interval` in virtual ns; deadline None = not armed."""

    __slots__ = ("deadline", "fire", "interval", "overrun")

    def __init__(self, fire: Callable[[Timer], None]) -> None:
        self.deadline: int | None = None
        self.interval = 0
        self.overrun = 0
        self.fire = fire


class Timers:
    """All timers of a machine."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.armed: list[Timer] = []

    def arm(self, timer: Timer, deadline: int | None, interval: int) -> None:
        """Set or stop (None) a timer."""
        if timer in self.armed:
            self.armed.remove(timer)
        timer.deadline, timer.interval = deadline, interval
        if deadline is not None:
            self.armed.append(timer)

    def next_deadline(self) -> int | None:
        """When the next one fires, None = none is armed."""
        return min((t.deadline for t in self.armed if t.deadline is not None), default=None)

    def run(self) -> None:
        """Fire what is due, in the order of the deadlines."""
        now = self.clock()
        while True:
            due = [t for t in self.armed if t.deadline is not None and t.deadline <= now]
            if not due:
                return
            timer = min(due, key=lambda t: t.deadline or 0)
            assert timer.deadline is not None
            if timer.interval:
                periods = (now - timer.deadline) // timer.interval + 1
                timer.overrun = periods - 1
                timer.deadline += periods * timer.interval
            else:
                self.armed.remove(timer)
                timer.deadline = None
            timer.fire(timer)
