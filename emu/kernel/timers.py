# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in virtual time: what fires when (kernel/time/itimer.c, posix-timers.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.sched.sched import Sched, SchedTimer


class Timer:
    """One timer. `deadline` and `interval` in virtual ns; deadline None = not armed. `restarts`: one with an interval
    goes on when it has fired, others stand still until `Timers.restart`."""

    __slots__ = ("deadline", "fire", "fired", "interval", "overrun", "pending", "restarts")

    def __init__(self, fire: Callable[[Timer], None], restarts: bool = True) -> None:
        self.restarts = restarts
        self.deadline: int | None = None
        self.fired = 0  # the last deadline that has passed
        self.interval = 0
        self.overrun = 0
        self.fire = fire
        self.pending: SchedTimer | None = None


class Timers:
    """All timers of a machine."""

    def __init__(self, sched: Sched, after: Callable[[], None]) -> None:
        """`after` is called when a timer has fired."""
        self.sched = sched
        self.after = after

    def arm(self, timer: Timer, deadline: int | None, interval: int) -> None:
        """Set or stop (None) a timer."""
        if timer.pending is not None:
            timer.pending.function = None
            timer.pending = None
        timer.deadline, timer.interval = deadline, interval
        if deadline is not None:
            timer.pending = self.sched.add_timer(deadline, lambda: self._expired(timer))

    def restart(self, timer: Timer) -> None:
        """Let a periodic timer that stands still go on at the next multiple of its interval (hrtimer_forward)."""
        if timer.deadline is None and timer.interval:
            periods = max(0, self.sched.clock - timer.fired) // timer.interval + 1
            timer.overrun = periods - 1
            self.arm(timer, timer.fired + periods * timer.interval, timer.interval)

    def _expired(self, timer: Timer) -> None:
        assert timer.deadline is not None
        timer.fired = timer.deadline
        timer.pending = timer.deadline = None
        if timer.restarts:
            self.restart(timer)
        timer.fire(timer)
        self.after()


class PosixTimers(dict[int, Any]):
    """The POSIX timers of a process by number. `ignored`: the periodic ones whose signal is to be queued when it is not
    ignored any more (ignored_posix_timers)."""

    def __init__(self) -> None:
        super().__init__()
        self.ignored: list[Any] = []
        self.next_id = 0

    def new_number(self) -> int:
        """A number that no timer has (posix_timer_add)."""
        while True:
            number = self.next_id & 0x7FFFFFFF
            self.next_id = number + 1
            if number not in self:
                return number
