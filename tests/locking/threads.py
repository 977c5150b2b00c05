# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel threads without a machine: functions that run on virtual CPUs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from greenlet import greenlet

from emu.locking.lockdep import CheckedSched
from emu.sched.entity import SchedEntity
from emu.sched.sched import Sched
from emu.tracepoint import FIELDS, Tracepoints


class KThread(SchedEntity):
    """A thread whose fatal signal is a flag."""

    killed = False

    def signal_pending(self) -> bool:
        return self.killed

    def fatal_signal_pending(self) -> bool:
        return self.killed


class Threads:
    """A scheduler with threads on it. The clock stands for work: `work(ns)` lets the running thread compute."""

    def __init__(self, cpus: int = 4, seed: int = 0, trace: bool = False, check: bool = False) -> None:
        self.tp = Tracepoints()
        self.tp.on = trace
        self.sched = (CheckedSched if check else Sched)(self.tp, cpus, seed)
        self.threads: list[KThread] = []
        self.log: list[object] = []

    def start(self, function: Callable[[], object], comm: str = "") -> KThread:
        """A thread that runs `function` on the first CPU that is idle."""
        return self.adopt(KThread(100 + len(self.threads), comm), function)

    def adopt(self, task: KThread, function: Callable[[], object]) -> KThread:
        """The same for a thread that was prepared."""

        def body() -> None:
            function()
            self.sched.exit_task()

        task.greenlet = greenlet(body)
        self.threads.append(task)
        self.sched.start(task)
        return task

    def run(self) -> list[object]:
        """Run all threads to their end; AssertionError names those that hang. The log."""
        self.sched.run()
        assert self.sched.tasks == 0, f"hang: {[t for t in self.threads if t.state.name != 'DEAD']}"
        return self.log

    def work(self, ns: int) -> None:
        self.sched.charge(ns)

    def at(self, ns: int) -> None:
        """Compute until `ns` of virtual time."""
        self.sched.charge(max(0, ns - self.sched.clock))
        self.sched.sync()

    def note(self, what: object) -> None:
        self.log.append(what)

    def kill(self, task: KThread) -> None:
        task.killed = True
        self.sched.signal_wake(task, True)

    def rows(self) -> list[dict[str, object]]:
        """The events so far, by field name."""
        return [dict(zip(FIELDS, row)) for row in self.tp.drain()]


__all__ = ["KThread", "Threads", "partial"]
