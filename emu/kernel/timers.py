# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers in virtual time: what fires when (kernel/time/itimer.c, posix-timers.c)."""

from __future__ import annotations

from collections.abc import Callable

from emu.sched.sched import Sched, SchedTimer


class Timer:
    """One timer. `deadline` and `interval` in virtual ns; deadline None = not armed."""

    __slots__ = ("deadline", "fire", "interval", "overrun", "pending")

    def __init__(self, fire: Callable[[Timer], None]) -> None:
        self.deadline: int | None = None
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

    def _expired(self, timer: Timer) -> None:
        now = self.sched.clock
        assert timer.deadline is not None
        if timer.interval:
            periods = (now - timer.deadline) // timer.interval + 1
            timer.overrun = periods - 1
            self.arm(timer, timer.deadline + periods * timer.interval, timer.interval)
        else:
            timer.pending = timer.deadline = None
        timer.fire(timer)
        self.after()
