# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual CPU with its run queue (struct rq)."""

from __future__ import annotations

from emu.sched.entity import SCHED_FIFO, SchedEntity


class Rq:
    """`clock`: the CPU's own time in ns; that of the CPU which runs right now is in Sched.clock."""

    __slots__ = (
        "clock",
        "curr",
        "id",
        "idle_ns",
        "interrupted",
        "last",
        "nr_switches",
        "queue",
        "rate",
        "sibling",
        "slice_end",
    )

    def __init__(self, number: int) -> None:
        self.id = number
        self.clock = 0
        self.curr: SchedEntity | None = None  # None: idle
        self.last: SchedEntity | None = None  # whose state its caches hold
        self.queue: list[SchedEntity] = []  # runnable tasks that wait for this CPU, first come first served
        self.slice_end = 0  # when `curr` has used up its time slice
        self.nr_switches = 0
        self.idle_ns = 0
        self.interrupted = 0  # ns that interrupts by others took and `clock` does not contain yet
        self.sibling: Rq | None = None  # the other thread of the core
        self.rate = 100  # how long work takes in per cent: more while the sibling is busy

    def pick(self) -> SchedEntity | None:
        """Take the task that runs next off the queue: real-time tasks by priority, then the others in turn."""
        queue = self.queue
        if not queue:
            return None
        best = 0
        for index, task in enumerate(queue):
            if task.rt_priority > queue[best].rt_priority:
                best = index
        task = queue.pop(best)
        task.on_rq = False
        return task

    def preempted_by(self, task: SchedEntity) -> bool:
        """Must `curr` make room at once for a task that was woken."""
        curr = self.curr
        return curr is not None and task.rt_priority > curr.rt_priority and task.policy >= SCHED_FIFO
