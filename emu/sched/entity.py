# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scheduler knows of a task (the scheduling half of struct task_struct)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from emu.tracepoint import Waits

if TYPE_CHECKING:
    from emu.sched.rq import Rq

SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE = 0, 1, 2, 3, 5
ALL_CPUS = -1
NICE_0_LOAD = 1024
WEIGHT_IDLEPRIO = 3
# sched_prio_to_weight for nice -20 ... 19, by its rule: a factor of 1.25 for each step.
_WEIGHTS = tuple(round(NICE_0_LOAD / 1.25**nice) for nice in range(-20, 20))


class State(IntEnum):
    """What a task is doing (__state)."""

    RUNNING = 0  # runs, or waits in a run queue
    INTERRUPTIBLE = 1  # sleeps; any signal wakes it
    KILLABLE = 2  # sleeps; a fatal signal wakes it
    UNINTERRUPTIBLE = 3
    DEAD = 4


class SchedEntity:
    """A kernel thread of execution: a greenlet that a virtual CPU runs. emu.kernel.task.Task derives from it."""

    # What _native.c reads, and what every fault does: beside each other, where __dict__ has each in another line of the
    # host's cache, and these are cold when the turns of many tasks follow each other. All else is in __dict__.
    __slots__ = (
        "__dict__", "greenlet", "min_flt", "mm", "need_resched", "pid", "pkru", "sigpending", "tgid", "utime", "waits",
    )  # fmt: skip

    def __init__(self, pid: int, comm: str = "") -> None:
        self.pid = pid  # of the thread (a tid in user space)
        self.tgid = pid
        self.comm = comm
        self.greenlet: Any = None
        self.mm: Any = None  # the address space in which it runs
        self.state = State.RUNNING
        self.rq: Rq | None = None  # where it runs or ran last
        self.on_rq = False  # is runnable and waits for `rq`
        self.spinning = False  # sleeps without giving up its CPU
        self.wake_result = 0
        self.affinity = ALL_CPUS  # a bit for each CPU
        self.policy = SCHED_NORMAL
        self.rt_priority = 0
        self.nice = 0
        self.weight = NICE_0_LOAD  # by policy and nice; Sched.set_scheduler changes it
        self.vruntime = self.deadline = self.vlag = self.vprot = 0  # virtual time: emu/sched/fair.py
        self.slice = self.custom_slice = 0  # ns that it asks for at a time; as sched_setattr said, 0 = it did not
        self.rel_deadline = False  # `deadline` counts from `vruntime`
        self.sched_delayed = False  # sleeps, but competes for its CPU until it is eligible
        self.need_resched = False
        self.pagefault_disabled = 0  # depth of pagefault_disable(): its accesses must fail rather than fault
        self.sigpending = False  # look for signals before going back to guest code (TIF_SIGPENDING)
        self.pkru = 0  # what protection keys forbid it (thread.pkru); `set_pkru` changes it
        self.waits = Waits()
        self.spinners: list[SchedEntity] = []  # who spins for a lock as long as this task, its owner, runs
        self.waiting_for = ""  # what a sleeping task waits for, for reports
        self.utime = 0  # ns in guest code
        self.sum_exec_runtime = 0  # ns on a CPU, the present turn left out
        self.exec_start = 0  # clock of its CPU when the present turn began
        self.min_flt = 0  # page faults that did not wait for a disk, and those that did
        self.maj_flt = 0
        self.nvcsw = 0  # voluntary and involuntary context switches
        self.nivcsw = 0

    def prio_weight(self) -> int:
        """The weight that policy and nice give (set_load_weight)."""
        return WEIGHT_IDLEPRIO if self.policy == SCHED_IDLE else _WEIGHTS[self.nice + 20]

    def set_pkru(self, value: int) -> None:
        """Change what protection keys forbid."""
        self.pkru = value

    def signal_pending(self) -> bool:
        """Is there a signal that an interruptible sleep must end for."""
        return False

    def fatal_signal_pending(self) -> bool:
        """Is a SIGKILL pending."""
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.comm or '?'}/{self.pid} {self.state.name.lower()}>"
