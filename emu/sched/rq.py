# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual CPU with its run queue (struct rq): real-time tasks first, by priority, then the fair ones."""

from __future__ import annotations

from collections.abc import Iterator

from emu.sched.entity import SCHED_FIFO, SchedEntity
from emu.sched.fair import TICK_NSEC, CfsRq

NEVER = 1 << 62
RR_TIMESLICE = 100_000_000  # ns that a SCHED_RR task runs before others of its priority


class Rq:
    """`clock`: the CPU's own time in ns; that of the CPU which runs right now is in Sched.clock, and `now` below is
    whichever of them holds."""

    __slots__ = (
        "cfs",
        "clock",
        "curr",
        "id",
        "idle_ns",
        "interrupted",
        "nr_switches",
        "rate",
        "rt",
        "sibling",
        "slice_end",
        "tick_due",
        "waiting",
    )

    def __init__(self, number: int, slice_ns: int) -> None:
        self.id = number
        self.clock = 0
        self.curr: SchedEntity | None = None  # None: idle
        self.cfs = CfsRq(slice_ns)
        self.rt: list[SchedEntity] = []  # real-time tasks that wait, first come first served
        self.waiting = 0  # runnable tasks that wait for this CPU
        self.slice_end = 0  # where `waiting`: when `curr` has used up its time slice
        self.tick_due = TICK_NSEC  # when the next timer interrupt is due, if it does not idle
        self.nr_switches = 0
        self.idle_ns = 0
        self.interrupted = 0  # ns that interrupts by others took and `clock` does not contain yet
        self.sibling: Rq | None = None  # the other thread of the core
        self.rate = 100  # how long work takes in per cent: more while the sibling is busy

    def queue(self) -> Iterator[SchedEntity]:
        """The runnable tasks that wait for this CPU."""
        yield from self.rt
        yield from (task for task in self.cfs.tasks if not task.sched_delayed)

    def enqueue(self, task: SchedEntity, now: int, new: bool = False) -> None:
        """A task becomes runnable on this CPU (enqueue_task)."""
        task.rq = self
        task.on_rq = True
        self.waiting += 1
        if task.rt_priority:
            self.rt.append(task)
        elif task.sched_delayed:
            self.cfs.requeue_delayed_entity(task, now)
        else:
            self.cfs.enqueue_entity(task, now, new)

    def wakeup_preempt(self, task: SchedEntity, now: int) -> None:
        """A task was enqueued: ask the running one to make room for it where it must, and when it must at last."""
        curr = self.curr
        if curr is None:
            return
        if task.rt_priority or curr.rt_priority:
            preempt = task.rt_priority > curr.rt_priority
        else:
            preempt = self.cfs.wakeup_preempt(task)
        if preempt:
            curr.need_resched = True
        else:
            self.update_slice_end(now)

    def update_slice_end(self, now: int) -> None:
        """`slice_end` of the running task."""
        curr = self.curr
        assert curr is not None
        if curr.rt_priority:
            self.slice_end = NEVER if curr.policy == SCHED_FIFO else curr.exec_start + RR_TIMESLICE
        else:
            self.cfs.update_curr(now)
            self.slice_end = self.cfs.slice_end()

    def remove(self, task: SchedEntity, now: int) -> None:
        """A task that waits leaves, for another CPU or another class."""
        task.on_rq = False
        self.waiting -= 1
        if task.rt_priority:
            self.rt.remove(task)
        else:
            self.cfs.dequeue_entity(task, now, sleep=False)

    def put_prev(self, now: int) -> None:
        """The running task makes room and waits."""
        curr = self.curr
        assert curr is not None
        curr.on_rq = True
        self.waiting += 1
        if curr.rt_priority:
            self._account(curr, now)
            self.rt.insert(0 if curr.need_resched else len(self.rt), curr)
        else:
            self.cfs.put_prev_entity(now)
        curr.need_resched = False

    def dequeue_curr(self, now: int, sleep: bool, special: bool = False) -> None:
        """The running task stops to be runnable here: it sleeps, moves, or (`special`) ends."""
        curr = self.curr
        assert curr is not None
        if curr.rt_priority:
            self._account(curr, now)
        else:
            self.cfs.dequeue_entity(curr, now, sleep, special)
        curr.need_resched = False

    @staticmethod
    def _account(curr: SchedEntity, now: int) -> None:
        curr.sum_exec_runtime += now - curr.exec_start
        curr.exec_start = now

    def pick(self, now: int, curr: SchedEntity | None = None) -> SchedEntity | None:
        """Who runs next, where the running task may go on: `curr` (pick_next_task)."""
        best = curr if curr is not None and curr.rt_priority else None
        for task in self.rt:
            if best is None or task.rt_priority - (best is not curr) >= best.rt_priority:  # of equals not `curr`
                best = task
        if best is not None:
            if best is curr:
                self._account(best, now)  # a new slice begins
            return best
        cfs = self.cfs
        if curr is not None:
            cfs.update_curr(now)
        while True:
            se = cfs.pick_eevdf()
            if se is None or not se.sched_delayed:
                return se
            cfs.finish_delayed_dequeue_entity(se, now)

    def set_next(self, task: SchedEntity, now: int) -> None:
        """A task that waits runs from now on (set_next_task)."""
        task.on_rq = False
        self.waiting -= 1
        self.curr = task
        task.exec_start = now
        if task.rt_priority:
            self.rt.remove(task)
        else:
            self.cfs.set_next_entity(task)
        if self.waiting:
            self.update_slice_end(now)
