# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a task, and waiting for it (kernel/exit.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from archs.base import SigInfo
from emu.kernel.futex.core import FUTEX_BITSET_MATCH_ANY
from emu.kernel.futex.robust import futex_exec_release, futex_exit_release
from emu.kernel.futex.waitwake import futex_wake
from emu.kernel.ipc.sem import exit_sem
from emu.kernel.process import CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, SA_NOCLDWAIT, Process
from emu.kernel.signal import NSIG, SIG_IGN, SIGCHLD, SIGCONT, SIGHUP, send_signal
from emu.kernel.sys_timer import exit_timers
from emu.kernel.timers import Timer
from emu.mm.fork import mmput
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.sched.entity import State
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.kernel.task import Task

_COREDUMP = (3, 4, 5, 6, 7, 8, 11, 24, 25, 31)
WCOREFLAG = 0x80


def mm_release(task: Task) -> None:
    """The task lets go of its address space, by exit or by exec: robust futexes, the tid that is to be cleared, a
    parent in vfork (mm_release)."""
    if task.exiting:
        futex_exit_release(task)
    else:
        futex_exec_release(task)
    if task.clear_child_tid:
        if task.mm.mm_users > 1:
            task.access.put_user(task.clear_child_tid, 0, 4)
            futex_wake(task, task.clear_child_tid, True, 1, FUTEX_BITSET_MATCH_ANY)
        task.clear_child_tid = 0
    parent, task.vfork_parent = task.vfork_parent, None
    if parent is not None:
        task.machine.sched.wake(parent)


def do_exit(task: Task) -> None:
    """Give back what the task has. Its exit code is set already.

    mmap_lock is taken for read by the process accounting (acct_collect, last thread only), by exit_mm and by exit_mmap,
    and then once for write.
    """
    mm = task.mm
    machine = task.machine
    process = task.signal
    tp = machine.tp
    assert task.exit_code is not None
    task.exiting = True
    process.threads.remove(task)
    process.participate_group_stop(task)
    group_dead = not process.threads
    if group_dead:
        real = process.itimers.get(0)
        if isinstance(real, Timer):
            machine.timers.arm(real, None, 0)
        exit_timers(process)
        if process.group_exit is None:
            process.group_exit = task.exit_code
        mmap_read_lock(mm)  # acct_collect: the size of the address space
        mm.hiwater_rss = max(mm.hiwater_rss, sum(mm.rss))
        process.maxrss = max(process.maxrss, mm.hiwater_rss)
        mmap_read_unlock(mm)
    mm_release(task)
    mmap_read_lock(mm)  # exit_mm
    mmap_read_unlock(mm)
    cpu = mm.cpu
    if cpu is not None and cpu.task is task:
        cpu.task = None
    task.thread = None
    if mm.mm_users == 1:
        machine.detach(mm)
    mmput(mm)
    exit_sem(task)
    task.signals.sighand.count -= 1
    task.files.count -= 1
    if task.files.count == 0:
        task.files.close_all()
    process.utime += task.utime
    process.stime += task.stime
    process.min_flt += task.min_flt
    process.maj_flt += task.maj_flt
    process.nvcsw += task.nvcsw
    process.nivcsw += task.nivcsw
    if tp.on:
        tp.emit(Kind.EXIT, result=task.exit_code, code=int(group_dead))
    exit_notify(task, group_dead)
    machine.wake_sleepers()


def exit_notify(task: Task, group_dead: bool) -> None:
    """Children get another parent; the parent is told, or nobody waits and the task is gone at once."""
    machine = task.machine
    process = task.signal
    if task is not process.leader:
        machine.pids.pop(task.pid, None)
        if process.execing is not None and len(process.threads) <= 1:
            machine.sched.wake(process.execing)
    if not group_dead:
        for child in process.children:
            if child.real_parent is task:
                child.real_parent = process.threads[0]
                _send_pdeath_signals(child, task)
        if task is process.leader:
            task.zombie = True
            if process.execing is not None and len(process.threads) <= 1:
                machine.sched.wake(process.execing)
        return
    _forget_original_parent(task)
    _kill_orphaned_pgrp(process, None)
    leader = process.leader
    leader.zombie = True
    leader.exit_code = process.group_exit
    if not _notify_exit(process):
        release_task(process)


def _send_pdeath_signals(child: Task, parent: Task) -> None:
    """The thread that was the parent of a process has ended: its threads may want to know (PR_SET_PDEATHSIG)."""
    for thread in list(child.signal.threads):
        signo = thread.pdeath_signal
        if signo:
            thread.send_group_signal(signo, parent.siginfo(signo))


def _forget_original_parent(task: Task) -> None:
    """The children of a process whose last thread ends go to the nearest subreaper, else to init, which waits for all
    (forget_original_parent, reparent_leader)."""
    process = task.signal
    reaper = process.parent
    while reaper is not None and not (reaper.child_subreaper and reaper.threads):
        reaper = reaper.parent
    children, process.children = process.children, []
    for child in children:
        child.signal.parent = reaper
        child.real_parent = reaper.threads[0] if reaper is not None else None
        _send_pdeath_signals(child, task)
        child.exit_signal = SIGCHLD
        if reaper is not None:
            reaper.children.append(child)
        if _has_ended(child) and not _notify_exit(child.signal):
            release_task(child.signal)
        _kill_orphaned_pgrp(child.signal, process)


def _kill_orphaned_pgrp(process: Process, father: Process | None) -> None:
    """A process ends, or with `father` loses that parent. Where it was the last link of its group to the rest of the
    session, and a job of the group is stopped, nobody can continue that: the group gets SIGHUP, and goes on."""
    parent = father or process.parent
    if parent is None or parent.pgid == process.pgid or parent.sid != process.sid:
        return
    if not process.orphaned_group(process if father is None else None):
        return
    group = [other for other in process.leader.machine.processes() if other.pgid == process.pgid]
    if any(other.stop_complete for other in group):
        for signo in (SIGHUP, SIGCONT):
            for other in group:
                other.leader.send_group_signal(signo)


def _notify_exit(process: Process) -> bool:
    """do_notify_parent: SIGCHLD with how it ended. False: nobody will wait."""
    parent = process.parent
    if parent is None or not parent.threads:
        return False
    leader = process.leader
    code = process.group_exit
    assert code is not None
    receiver = parent.threads[0]
    action = receiver.signals.actions[SIGCHLD]
    ignored = leader.exit_signal == SIGCHLD and (action.handler == SIG_IGN or bool(action.flags & SA_NOCLDWAIT))
    if 0 < leader.exit_signal <= NSIG and not (leader.exit_signal == SIGCHLD and action.handler == SIG_IGN):
        why = CLD_EXITED if code >= 0 else CLD_KILLED
        status = code if code >= 0 else -code
        utime, stime = process.cpu_ns()
        info = SigInfo(
            leader.exit_signal, why, pid=process.tgid, uid=leader.cred.uid, status=status,
            utime=utime // 10_000_000, stime=stime // 10_000_000,
        )  # fmt: skip
        send_signal(receiver, info, True)
    parent.wake_waiters()
    return not ignored


def _has_ended(leader: Task) -> bool:
    """Has the whole process of this leader ended, and waits to be waited for."""
    return leader.zombie and not leader.signal.threads


def release_task(process: Process) -> None:
    """The process is gone for good: its pid is free (release_task)."""
    leader = process.leader
    leader.zombie = False
    leader.machine.pids.pop(leader.pid, None)
    if process.parent is not None and leader in process.parent.children:
        process.parent.children.remove(leader)


def take_over_leader(task: Task) -> None:
    """A thread that execs becomes the leader of its process, with the pid of the one that ended (de_thread)."""
    process = task.signal
    machine = task.machine
    leader = process.leader
    del machine.pids[task.pid]
    leader.pid, task.pid = task.pid, leader.pid
    task.start_time = leader.start_time
    leader.zombie = False
    task.real_parent = leader.real_parent
    machine.pids[task.pid] = task
    process.leader = task
    if process.parent is not None:
        siblings = process.parent.children
        siblings[siblings.index(leader)] = task
    if machine.task is leader:
        machine.task = task
    machine.tp.tid = task.pid


# Waiting

WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT = 1, 2, 4, 8, 0x01000000
WNOTHREAD, WALL, WCLONE = 0x20000000, 0x40000000, 0x80000000
P_ALL, P_PID, P_PGID, P_PIDFD = 0, 1, 2, 3


class Waited:
    """What a wait found: `status` as wait4 gives it; `code` and `value` as waitid's si_code and si_status."""

    def __init__(self, process: Process, status: int, code: int, value: int) -> None:
        self.pid = process.tgid
        self.uid = process.leader.cred.uid
        self.status = status
        self.code = code
        self.value = value
        self.utime, self.stime = process.cpu_ns()
        self.utime += process.cutime
        self.stime += process.cstime
        self.maxrss = max(process.maxrss, process.cmaxrss)
        self.min_flt = process.min_flt + process.cmin_flt
        self.maj_flt = process.maj_flt + process.cmaj_flt
        self.nvcsw, self.nivcsw = process.nvcsw + process.cnvcsw, process.nivcsw + process.cnivcsw


def do_wait(task: Task, kind: int, number: int, options: int) -> Waited | int:
    """Wait for a child to change its state: what it did; 0 = WNOHANG and none did; -ECHILD, -ERESTARTSYS."""
    process = task.signal
    sched = task.machine.sched
    while True:
        eligible = False
        for child in list(process.children):
            if not _eligible(task, child, kind, number, options):
                continue
            if options & WEXITED or not _has_ended(child):
                eligible = True
            found = _consider(task, child.signal, options)
            if found is not None:
                return found
        if not eligible:
            return -errno.ECHILD
        if options & WNOHANG:
            return 0
        if task.signal_pending():
            return -512
        process.waiters.append(task)
        task.waiting_for = _describe(kind, number)
        sched.block(State.INTERRUPTIBLE)
        task.waiting_for = ""
        if task in process.waiters:
            process.waiters.remove(task)


def _describe(kind: int, number: int) -> str:
    if kind == P_PID:
        return f"process {number} to end (wait)"
    return f"a child of group {number} to end (wait)" if kind == P_PGID else "a child to end (wait)"


def _eligible(task: Task, child: Task, kind: int, number: int, options: int) -> bool:
    if kind == P_PID and child.tgid != number:
        return False
    if kind == P_PGID and child.signal.pgid != number:
        return False
    if options & WNOTHREAD and child.real_parent is not task:
        return False
    clone = child.exit_signal != SIGCHLD
    return bool(options & WALL) or clone == bool(options & WCLONE)


def _consider(task: Task, child: Process, options: int) -> Waited | None:
    """wait_consider_task."""
    leader = child.leader
    if _has_ended(leader):
        if not options & WEXITED:
            return None
        code = child.group_exit
        assert code is not None
        if code >= 0:
            found = Waited(child, (code & 0xFF) << 8, CLD_EXITED, code & 0xFF)
        else:
            found = Waited(child, -code, CLD_KILLED, -code)
        if not options & WNOWAIT:
            parent = task.signal
            parent.cutime += found.utime
            parent.cstime += found.stime
            parent.cmin_flt += found.min_flt
            parent.cmaj_flt += found.maj_flt
            parent.cnvcsw += found.nvcsw
            parent.cnivcsw += found.nivcsw
            parent.cmaxrss = max(parent.cmaxrss, found.maxrss)
            release_task(child)
        return found
    if options & WUNTRACED and child.stopped and not child.stop_reported:
        if not options & WNOWAIT:
            child.stop_reported = True
        return Waited(child, child.stop_signal << 8 | 0x7F, CLD_STOPPED, child.stop_signal)
    if options & WCONTINUED and child.continued:
        if not options & WNOWAIT:
            child.continued = False
        return Waited(child, 0xFFFF, 6, SIGCONT)
    return None


__all__ = ["CLD_DUMPED", "do_exit", "do_wait", "mm_release", "release_task"]
