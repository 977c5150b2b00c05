# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers that count CPU time: of a thread, of all threads of a process, or user time only
(kernel/time/posix-cpu-timers.c).

They are looked at whenever a thread goes back to its program; until the earliest of them could fire it may run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from archs.base import SI_KERNEL, SigInfo

if TYPE_CHECKING:
    from emu.kernel.process import Process
    from emu.kernel.task import Task

RLIMIT_CPU = 0
SIGKILL, SIGXCPU = 9, 24
NSEC_PER_SEC = 1_000_000_000


class CpuTimer:
    """A timer on a clock that `sample` reads in ns; `deadline` None = not armed. It belongs to `timers`, a list of its
    thread or process, while it is armed."""

    __slots__ = ("deadline", "fire", "interval", "overrun", "sample", "timers")

    def __init__(self, sample: Callable[[], int], timers: list[CpuTimer], fire: Callable[[CpuTimer], None]) -> None:
        self.sample = sample
        self.timers = timers
        self.fire = fire
        self.deadline: int | None = None
        self.interval = 0
        self.overrun = 0

    def arm(self, deadline: int | None, interval: int) -> None:
        """Set or stop (None) it; `deadline` on its own clock."""
        if self.deadline is not None:
            self.timers.remove(self)
        self.deadline, self.interval = deadline, interval
        if deadline is not None:
            self.timers.append(self)

    def remaining(self) -> int:
        """ns to go, at least 1; 0 = not armed."""
        return 0 if self.deadline is None else max(1, self.deadline - self.sample())

    def check(self) -> int | None:
        """Fire if it is time: ns to go, None when it is not armed any more."""
        if self.deadline is None:
            return None
        left = self.deadline - self.sample()
        if left > 0:
            return left
        if self.interval:
            periods = -left // self.interval + 1
            self.overrun = periods - 1
            self.deadline += periods * self.interval
            left += periods * self.interval
        else:
            self.arm(None, 0)
        self.fire(self)
        return left if left > 0 else None


def run_posix_cpu_timers(task: Task) -> int | None:
    """Fire what is due for the running task: ns of its CPU time until the next one may be, None when there is none."""
    process = task.signal
    earliest: int | None = None
    for timer in (*task.cpu_timers, *process.cpu_timers):
        left = timer.check()
        if left is not None and (earliest is None or left < earliest):
            earliest = left
    left = _check_rlimit(task, process)
    if left is not None and (earliest is None or left < earliest):
        earliest = left
    return earliest


def _check_rlimit(task: Task, process: Process) -> int | None:
    """RLIMIT_CPU: SIGXCPU at the soft limit and every second after it, SIGKILL at the hard one."""
    soft, hard = process.rlimits[RLIMIT_CPU]
    if soft >> 32:
        return None
    used = process.cpu_total_ns()
    if used >= hard * NSEC_PER_SEC:
        task.send_group_signal(SIGKILL, SigInfo(SIGKILL, SI_KERNEL))
        return None
    due = max(soft, process.cpu_limit_told + 1 if process.cpu_limit_told >= soft else soft) * NSEC_PER_SEC
    if used < due:
        return due - used
    process.cpu_limit_told = used // NSEC_PER_SEC
    task.send_group_signal(SIGXCPU, SigInfo(SIGXCPU, SI_KERNEL))
    return NSEC_PER_SEC
