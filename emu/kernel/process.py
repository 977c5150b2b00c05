# SPDX-License-Identifier: GPL-2.0-or-later
"""A process: what the threads of one thread group share (struct signal_struct)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archs.base import SigInfo
from emu.kernel.cpu_timers import CpuTimer
from emu.kernel.signal import SIGCHLD, SIGCONT, SIGKILL, Pending, bit, send_signal
from emu.kernel.timers import PosixTimers, Timer
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.kernel.task import Task

CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_TRAPPED, CLD_STOPPED, CLD_CONTINUED = 1, 2, 3, 4, 5, 6
SA_NOCLDSTOP, SA_NOCLDWAIT = 1, 2
RLIM_INFINITY = (1 << 64) - 1


class Process:
    """A thread group. `group_exit`: once it is set every thread ends with it (as subprocess.Popen.returncode)."""

    def __init__(self, tgid: int, rlimits: list[list[int]]) -> None:
        self.tgid = tgid
        self.leader: Task
        self.threads: list[Task] = []  # that have not ended
        self.parent: Process | None = None  # None: init, which is not there
        self.children: list[Task] = []  # leaders of the child processes, zombies included
        self.shared_pending = Pending()
        self.group_exit: int | None = None
        self.execing: Task | None = None  # the thread that ends all others, to run another program
        self.stopped = False  # its threads are to stop, or have done so
        self.to_stop: list[Task] = []  # those that have not yet (group_stop_count)
        self.stop_signal = 0
        self.stop_reported = True  # what wait4 has told of the last stop
        self.continued = False  # WCONTINUED has not told yet
        self.parked: list[Task] = []  # threads that sleep because the process is stopped
        self.waiters: list[Task] = []  # threads that sleep in wait4 (wait_chldexit)
        self.rlimits = rlimits
        self.pgid = tgid
        self.sid = tgid
        self.itimers: dict[int, Timer | CpuTimer] = {}  # by ITIMER_*
        self.posix_timers = PosixTimers()
        self.cpu_timers: list[CpuTimer] = []  # armed, on clocks of the process
        self.cpu_limit_told = 0  # s of CPU time at the last SIGXCPU
        self.oom_score_adj = 0
        self.child_subreaper = 0
        self.utime = self.stime = 0  # ns of threads that have ended
        self.cutime = self.cstime = 0  # ns of children that were waited for
        self.min_flt = self.cmin_flt = self.maj_flt = self.cmaj_flt = 0
        self.nvcsw = self.nivcsw = self.cnvcsw = self.cnivcsw = 0
        self.maxrss = self.cmaxrss = 0  # pages: of address spaces that it has left; of children
        self.argv: list[bytes] = []
        self.envp: list[bytes] = []
        self.auxv = b""
        self.exe = ""
        self.did_exec = False

    # Ending

    def kill_all(self, code: int, current: Task | None = None) -> None:
        """Every thread is to end with `code` (complete_signal); `current`: by itself (zap_other_threads)."""
        if self.group_exit is None:
            self.group_exit = code
        self.stopped = False
        self.to_stop.clear()
        for thread in self.threads:
            if thread is not current:
                self.kill_thread(thread)
        if current is not None:
            current.sigpending = True
        self._unpark()

    def kill_thread(self, thread: Task) -> None:
        """Give one thread a SIGKILL of its own."""
        thread.signals.private.add(SigInfo(SIGKILL))
        thread.sigpending = True
        thread.machine.sched.signal_wake(thread, True)

    # Stopping

    def stop(self, task: Task, signo: int) -> None:
        """A stop signal was delivered (do_signal_stop): all threads sleep until SIGCONT or SIGKILL."""
        self.stopped = True
        self.to_stop = list(self.threads)
        self.stop_signal = signo
        self.stop_reported = True
        self.continued = False
        for thread in self.threads:
            if thread is not task:
                thread.machine.sched.signal_wake(thread, False)

    @property
    def stop_complete(self) -> bool:
        """Have all threads stopped (SIGNAL_STOP_STOPPED)."""
        return self.stopped and not self.to_stop

    def participate_group_stop(self, task: Task) -> None:
        """A thread stops, or ends instead: the last one tells the parent (task_participate_group_stop)."""
        if task in self.to_stop:
            self.to_stop.remove(task)
            if not self.to_stop:
                self.stop_reported = False
                self.notify_parent(CLD_STOPPED, self.stop_signal)

    def wait_stopped(self, task: Task) -> None:
        """Sleep while the process is stopped."""
        self.participate_group_stop(task)
        self.parked.append(task)
        task.waiting_for = "SIGCONT"
        task.machine.sched.block(State.KILLABLE)
        if task in self.parked:
            self.parked.remove(task)

    def resume(self) -> None:
        """SIGCONT came, perhaps before all threads had stopped (prepare_signal)."""
        if self.stopped:
            told = (CLD_CONTINUED, SIGCONT) if self.stop_complete else (CLD_STOPPED, 0)
            self.stopped = False
            self.to_stop.clear()
            self.continued = True
            self.stop_reported = True
            self._unpark()
            self.notify_parent(*told)

    def _unpark(self) -> None:
        parked, self.parked = self.parked, []
        for thread in parked:
            thread.machine.sched.wake(thread)

    def orphaned_group(self, ignored: Process | None = None) -> bool:
        """Is there nobody in the session who could continue the group, but perhaps `ignored`'s parent
        (will_become_orphaned_pgrp)."""
        for other in self.leader.machine.processes():
            parent = other.parent
            if other.pgid != self.pgid or other is ignored or not other.threads or parent is None:
                continue
            if parent.pgid != self.pgid and parent.sid == other.sid:
                return False
        return True

    # Parents

    def notify_parent(self, why: int, status: int) -> None:
        """SIGCHLD for a child that stopped or goes on (do_notify_parent_cldstop), and whoever waits for it."""
        parent = self.parent
        if parent is None or not parent.threads:
            return
        action = parent.threads[0].signals.actions[SIGCHLD]
        if action.handler != 1 and not action.flags & SA_NOCLDSTOP:
            leader = self.leader
            info = SigInfo(SIGCHLD, why, pid=self.tgid, uid=leader.cred.uid, status=status)
            send_signal(parent.threads[0], info, True)
        parent.wake_waiters()

    def wake_waiters(self) -> None:
        """Let those in wait4 look again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.machine.sched.wake(waiter)

    def rlimit(self, resource: int) -> int:
        """Soft limit RLIMIT_*; RLIM_INFINITY = none."""
        return self.rlimits[resource][0]

    def cpu_ns(self) -> tuple[int, int]:
        """User and system time of all threads, those that have ended included, in ns."""
        return (
            self.utime + sum(t.utime for t in self.threads),
            self.stime + sum(t.stime for t in self.threads),
        )

    def faults(self) -> tuple[int, int]:
        """Minor and major faults of all threads, those that have ended included."""
        return (
            self.min_flt + sum(t.min_flt for t in self.threads),
            self.maj_flt + sum(t.maj_flt for t in self.threads),
        )

    def cpu_total_ns(self) -> int:
        """User and system time of all threads together, in ns."""
        return self.utime + self.stime + sum(t.cpu_ns() for t in self.threads)

    def user_ns(self) -> int:
        """User time of all threads together, in ns."""
        return self.utime + sum(t.utime for t in self.threads)

    def sigkill_pending(self) -> bool:
        """Has the whole process been told to end."""
        return self.group_exit is not None


__all__ = ["CLD_DUMPED", "CLD_EXITED", "CLD_KILLED", "RLIM_INFINITY", "SA_NOCLDWAIT", "Process", "bit"]
