# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: what is pending, what is blocked, what happens on delivery (kernel/signal.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from archs.base import SI_KERNEL, SI_USER, SigAction, SigFrameContext, SigInfo
from emu.kernel.rseq import rseq_handle_notify_resume
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.kernel.task import Task

ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK = 512, 513, 514, 516
EINTR = 4
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGSEGV, SIGPIPE, SIGALRM, SIGCHLD, SIGCONT, SIGSTOP = (
    1, 2, 3, 9, 11, 13, 14, 17, 18, 19,
)  # fmt: skip
SIG_DFL, SIG_IGN = 0, 1
SA_SIGINFO, SA_ONSTACK, SA_RESTART, SA_NODEFER, SA_RESETHAND = 4, 0x08000000, 0x10000000, 0x40000000, 0x80000000
SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31
NSIG = 64


def bit(signo: int) -> int:
    """The bit of a signal in a mask."""
    return 1 << signo - 1


_UNBLOCKABLE = bit(SIGKILL) | bit(SIGSTOP)
_SYNCHRONOUS = bit(SIGSEGV) | bit(7) | bit(4) | bit(5) | bit(8) | bit(31)
_IGNORED_BY_DEFAULT = bit(SIGCONT) | bit(SIGCHLD) | bit(28) | bit(23)
_STOPS = bit(SIGSTOP) | bit(20) | bit(21) | bit(22)
_COREDUMP = bit(3) | bit(4) | bit(5) | bit(6) | bit(7) | bit(8) | bit(11) | bit(24) | bit(25) | bit(31)
RLIMIT_SIGPENDING = 11


class TimerSignal(SigInfo):
    """The signal of a POSIX timer, which has one and queues it again and again."""

    def queued(self) -> None:
        """It is being queued."""
        raise NotImplementedError

    def ignored(self) -> None:
        """It is not queued, or not any more, because the signal is ignored or was flushed."""
        raise NotImplementedError

    def collect(self) -> SigInfo | None:
        """It is about to be delivered: what the program shall get; None = nothing, the timer does not want it any
        more."""
        raise NotImplementedError


class Pending:
    """Signals that wait to be delivered, to one thread or to a whole process (struct sigpending)."""

    __slots__ = ("alarm_taken", "mask", "queue")
    everywhere = 0  # how many are queued in all of them, and how many timers there are, at most: see may_queue

    def __init__(self) -> None:
        self.alarm_taken: Callable[[], None] | None = None  # called when a SIGALRM of a process was taken
        self.mask = 0
        self.queue: dict[int, list[SigInfo]] = {}

    def add(self, info: SigInfo) -> None:
        """Queue one more; a classic signal that is pending already is not queued twice (legacy_queue), but a timer's
        is."""
        if isinstance(info, TimerSignal):
            info.queued()
        elif info.signo < 32 and self.mask & bit(info.signo):
            return
        self.append(info)

    def append(self, info: SigInfo) -> None:
        """Queue one more, whatever is queued."""
        Pending.everywhere += 1
        self.mask |= bit(info.signo)
        self.queue.setdefault(info.signo, []).append(info)

    def take(self, mask: int) -> SigInfo | None:
        """Take the next one of `mask`: synchronous ones first, then by number (next_signal, collect_signal)."""
        ready = self.mask & mask
        if not ready:
            return None
        if ready & bit(SIGKILL):
            ready = bit(SIGKILL)
        elif ready & _SYNCHRONOUS:
            ready &= _SYNCHRONOUS
        signo = (ready & -ready).bit_length()
        waiting = self.queue.get(signo)
        if waiting is None:  # it came when there was no room: nothing else is known of it
            self.mask &= ~bit(signo)
            return SigInfo(signo, SI_USER)
        info = waiting.pop(0)
        Pending.everywhere -= 1
        if not waiting:
            del self.queue[signo]
            self.mask &= ~bit(signo)
        return info

    def flush(self, mask: int) -> None:
        """Forget all of `mask` (flush_sigqueue_mask)."""
        for signo in [number for number in self.queue if bit(number) & mask]:
            for info in self.queue.pop(signo):
                Pending.everywhere -= 1
                if isinstance(info, TimerSignal):
                    info.ignored()
        self.mask &= ~mask

    def flush_timers(self) -> None:
        """Forget what POSIX timers sent (flush_itimer_signals)."""
        for signo, waiting in list(self.queue.items()):
            before = len(waiting)
            waiting[:] = [info for info in waiting if not isinstance(info, TimerSignal)]
            Pending.everywhere -= before - len(waiting)
            if not waiting:
                del self.queue[signo]
                self.mask &= ~bit(signo)

    def holds(self, info: SigInfo) -> bool:
        """Is this very one queued."""
        return any(waiting is info for waiting in self.queue.get(info.signo, ()))

    @property
    def count(self) -> int:
        """How many are queued, without those of timers."""
        return sum(not isinstance(info, TimerSignal) for waiting in self.queue.values() for info in waiting)


class Sighand:
    """The handlers of the threads that share them (struct sighand_struct)."""

    def __init__(self) -> None:
        self.actions = [SigAction() for _ in range(NSIG + 1)]
        self.count = 1

    def copy(self) -> Sighand:
        """For a child without CLONE_SIGHAND."""
        new = Sighand()
        new.actions = list(self.actions)
        return new

    def flush_handlers(self) -> None:
        """execve: what had a handler gets its default action again (flush_signal_handlers)."""
        for signo, action in enumerate(self.actions):
            self.actions[signo] = SigAction(handler=SIG_IGN if action.handler == SIG_IGN else SIG_DFL)


class Signals:
    """The signal state of a thread. `shared` is that of its process."""

    def __init__(self, sighand: Sighand, shared: Pending) -> None:
        self.sighand = sighand
        self.shared = shared
        self.private = Pending()
        self.blocked = 0
        self.saved: int | None = None  # mask to come back to after sigsuspend and its like
        self.waited = 0  # what sigtimedwait waits for: wakes the thread although it is blocked (real_blocked)
        self.altstack = (0, 0, 0)  # ss_sp, ss_size, and of ss_flags what was set

    @property
    def actions(self) -> list[SigAction]:
        return self.sighand.actions

    @property
    def pending(self) -> int:
        """The mask of what is pending for the thread or its process."""
        return self.private.mask | self.shared.mask

    @property
    def fatal(self) -> bool:
        """Is a SIGKILL pending."""
        return bool(self.private.mask & bit(SIGKILL))

    def ignored(self, signo: int) -> bool:
        """Would delivery do nothing."""
        handler = self.actions[signo].handler
        return handler == SIG_IGN or (handler == SIG_DFL and bool(bit(signo) & _IGNORED_BY_DEFAULT))

    def unhandled(self, signo: int) -> bool:
        """Is there no handler, so that the signal ends the program (unhandled_signal)."""
        return self.actions[signo].handler in (SIG_DFL, SIG_IGN) and not self.fatal

    def force(self, info: SigInfo) -> None:
        """A blocked or ignored one gets its default action, and is unblocked (force_sig_info_to_task)."""
        action = self.actions[info.signo]
        mask = bit(info.signo)
        if self.blocked & mask or action.handler == SIG_IGN:
            self.actions[info.signo] = SigAction()
            self.blocked &= ~mask
        self.private.append(info)

    def deliverable(self) -> int:
        """The mask of pending signals that are not blocked."""
        return self.pending & ~(self.blocked & ~_UNBLOCKABLE)

    def dequeue(self, mask: int) -> SigInfo | None:
        """Take the next pending signal of `mask`, the thread's own before those of its process (dequeue_signal)."""
        while True:
            info = self.private.take(mask)
            if info is None:
                info = self.shared.take(mask)
                if info is not None and info.signo == SIGALRM and self.shared.alarm_taken is not None:
                    self.shared.alarm_taken()
            if not isinstance(info, TimerSignal):
                return info
            collected = info.collect()
            if collected is not None:
                return collected

    def on_altstack(self, sp: int) -> bool:
        """Is `sp` on the alternate stack."""
        base, size, flags = self.altstack
        return size != 0 and not flags & SS_AUTODISARM and base < sp <= base + size


# Sending


def may_queue(task: Task) -> bool:
    """Is there room for one more queued signal of the task's user: RLIMIT_SIGPENDING (sig_get_ucounts)."""
    limit = task.rlimit(RLIMIT_SIGPENDING)
    return Pending.everywhere < limit or task.queued_signals() < limit  # to count takes a look at every task


def send_signal(task: Task, info: SigInfo, group: bool) -> int:
    """Make a signal pending for a thread, or with `group` for its process, and wake whoever shall take it
    (__send_signal_locked, complete_signal): 0, or -EAGAIN when a realtime signal cannot be queued."""
    signo = info.signo
    mask = bit(signo)
    process = task.signal
    if process.group_exit is not None or not process.threads:
        return 0
    if mask & _STOPS:
        for thread in process.threads:
            thread.signals.private.flush(bit(SIGCONT))
        process.shared_pending.flush(bit(SIGCONT))
    elif signo == SIGCONT:
        for thread in process.threads:
            thread.signals.private.flush(_STOPS)
        process.shared_pending.flush(_STOPS)
        process.resume()
    signals = task.signals
    if signo == SIGKILL:
        group = True
    pending = process.shared_pending if group else signals.private
    timer = info if isinstance(info, TimerSignal) else None  # which has its place (posixtimer_send_sigqueue)
    if timer is not None and pending.holds(timer):
        return 0
    if signals.ignored(signo) and not signals.blocked & mask and not signals.waited & mask:
        if timer is not None:
            timer.ignored()
        return 0
    queued = timer is not None or (signo < 32 and info.code >= 0) or may_queue(task)
    if not queued and signo >= 32 and info.code != SI_USER:
        return -errno.EAGAIN
    if signo < 32 and pending.mask & mask and timer is None:  # legacy_queue: whoever shall take it has been told
        return 0
    sched = task.machine.sched
    sched.charge(sched.cost.send_signal)
    if queued:
        pending.add(info)
    else:
        pending.mask |= mask
    target = _choose(task, mask, group)
    if target is None:
        return 0
    action = signals.actions[signo]
    fatal = action.handler == SIG_DFL and not mask & (_IGNORED_BY_DEFAULT | _STOPS)
    if (fatal or signo == SIGKILL) and not target.signals.waited & mask and (signo == SIGKILL or not mask & _COREDUMP):
        process.shared_pending.flush(mask)
        signals.private.flush(mask)
        process.kill_all(-signo)
        return 0
    sched.signal_wake(target, signo == SIGKILL)
    return 0


def _choose(task: Task, mask: int, group: bool) -> Task | None:
    """The thread that takes a signal: the addressed one if it wants it, else for a process any that does."""
    if _wants(task, mask):
        return task
    if group:
        for thread in task.signal.threads:
            if thread is not task and _wants(thread, mask):
                return thread
    return None


def _wants(task: Task, mask: int) -> bool:
    if task.exiting:
        return False
    if mask & bit(SIGKILL):
        return True
    return not task.signals.blocked & ~task.signals.waited & mask and task not in task.signal.parked


def do_signal(task: Task, restart: int) -> None:
    """Deliver what is pending before the task goes back to its program (arch_do_signal_or_restart).

    `restart`: 0, or the ERESTART* code with which the system call ended that was interrupted.
    """
    signals = task.signals
    process = task.signal
    while task.exit_code is None:
        if process.group_exit is not None:
            task.exit_code = process.group_exit
            return
        if process.execing is not None and process.execing is not task:
            task.exit_code = 0  # another thread executes a program: this one has to go
            return
        if process.stopped:
            process.wait_stopped(task)
            continue
        info = signals.dequeue(signals.deliverable())
        if info is None:
            break
        action = signals.actions[info.signo]
        if action.handler == SIG_IGN and info.signo != SIGKILL:
            continue
        if action.handler == SIG_DFL or info.signo in (SIGKILL, SIGSTOP):
            if bit(info.signo) & _IGNORED_BY_DEFAULT:
                continue
            if bit(info.signo) & _STOPS:
                if info.signo == SIGSTOP or not process.orphaned_group():
                    process.stop(task, info.signo)
                continue
            _trace_delivered(task, info)
            process.kill_all(-info.signo, task)
            task.exit_code = process.group_exit
            return
        if restart:
            if restart == ERESTARTNOINTR or (restart == ERESTARTSYS and action.flags & SA_RESTART):
                task.cpu.restart_syscall()
            else:
                task.cpu.set_syscall_result(-EINTR)
            restart = 0
        _trace_delivered(task, info)
        _handle_signal(task, info, action)
    if task.exit_code is not None:
        return
    if restart:
        if restart == ERESTART_RESTARTBLOCK:
            task.cpu.restart_syscall(task.machine.restart_syscall_number(task))
        else:
            task.cpu.restart_syscall()
    if signals.saved is not None and not signals.deliverable():
        signals.blocked, signals.saved = signals.saved, None
    task.sigpending = signals.deliverable() != 0


def _trace_delivered(task: Task, info: SigInfo) -> None:
    tp = task.machine.tp
    if tp.on:
        tp.emit(Kind.SIGNAL_DELIVER, ip=task.cpu.pc, code=info.signo, result=info.code, args=(info.addr,))


def _handle_signal(task: Task, info: SigInfo, action: SigAction) -> None:
    """handle_signal: build the frame, then the masks of the handler."""
    signals = task.signals
    task.machine.sched.charge(task.machine.sched.cost.signal_deliver)
    if task.rseq[0]:
        rseq_handle_notify_resume(task)  # of the code that is interrupted, which the frame leads back to
    if action.flags & SA_RESETHAND:
        signals.actions[info.signo] = replace(action, handler=SIG_DFL)
    oldmask = signals.blocked if signals.saved is None else signals.saved
    signals.saved = None
    sp = task.cpu.sp
    base, size, flags = signals.altstack
    on_stack = signals.on_altstack(sp)
    enter = bool(action.flags & SA_ONSTACK) and size != 0 and not on_stack
    frame = SigFrameContext(
        info=info,
        action=action,
        blocked=oldmask,
        altstack=(base, size, flags),
        on_altstack=enter,
    )
    if not task.arch.setup_rt_frame(task.cpu, task.access, frame):
        # force_sigsegv: no stack to run the handler on.
        if info.signo == SIGSEGV:
            signals.actions[SIGSEGV] = SigAction()
        task.force_sig_unlogged(SigInfo(SIGSEGV, SI_KERNEL))
        return
    if flags & SS_AUTODISARM:
        signals.altstack = (0, 0, SS_DISABLE)
    signals.blocked |= action.mask
    if not action.flags & SA_NODEFER:
        signals.blocked |= bit(info.signo)
    signals.blocked &= ~_UNBLOCKABLE


def set_blocked(task: Task, mask: int) -> None:
    """Set the mask of blocked signals; SIGKILL and SIGSTOP cannot be."""
    task.signals.blocked = mask & ~_UNBLOCKABLE
    task.sigpending = True
