# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: what is pending, what is blocked, what happens on delivery (kernel/signal.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archs.base import SI_KERNEL, SigAction, SigFrameContext, SigInfo
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


class Signals:
    """The signal state of a task."""

    def __init__(self) -> None:
        self.blocked = 0
        self.saved: int | None = None  # mask to come back to after sigsuspend and its like
        self.pending = 0
        self.queue: dict[int, list[SigInfo]] = {}
        self.actions = [SigAction() for _ in range(NSIG + 1)]
        self.altstack = (0, 0, SS_DISABLE)  # ss_sp, ss_size, ss_flags
        self.fatal = False  # a SIGKILL is pending

    def ignored(self, signo: int) -> bool:
        """Would delivery do nothing."""
        handler = self.actions[signo].handler
        return handler == SIG_IGN or (handler == SIG_DFL and bool(bit(signo) & _IGNORED_BY_DEFAULT))

    def send(self, info: SigInfo) -> None:
        """Make pending: once for a classic signal, queued for a real-time one; dropped where it is ignored and not
        blocked."""
        mask = bit(info.signo)
        if self.ignored(info.signo) and not self.blocked & mask:
            return
        if info.signo < 32 and self.pending & mask:
            return
        self.pending |= mask
        self.queue.setdefault(info.signo, []).append(info)
        if info.signo == SIGKILL:
            self.fatal = True

    def force(self, info: SigInfo) -> None:
        """A blocked or ignored one gets its default action, and is unblocked (force_sig_info_to_task)."""
        action = self.actions[info.signo]
        mask = bit(info.signo)
        if self.blocked & mask or action.handler == SIG_IGN:
            self.actions[info.signo] = SigAction()
            self.blocked &= ~mask
        self.pending |= mask
        self.queue.setdefault(info.signo, []).append(info)

    def deliverable(self) -> int:
        """The mask of pending signals that are not blocked."""
        return self.pending & ~(self.blocked & ~_UNBLOCKABLE)

    def dequeue(self, mask: int) -> SigInfo | None:
        """Take the next pending signal of `mask`: synchronous ones first, then by number (dequeue_signal)."""
        ready = self.pending & mask
        if not ready:
            return None
        if ready & bit(SIGKILL):
            ready = bit(SIGKILL)
        elif ready & _SYNCHRONOUS:
            ready &= _SYNCHRONOUS
        signo = (ready & -ready).bit_length()
        waiting = self.queue[signo]
        info = waiting.pop(0)
        if not waiting:
            self.pending &= ~bit(signo)
        return info

    def flush(self, signo: int) -> None:
        """Forget pending instances: the signal is ignored now."""
        self.pending &= ~bit(signo)
        self.queue.pop(signo, None)

    def on_altstack(self, sp: int) -> bool:
        """Is `sp` on the alternate stack."""
        base, size, flags = self.altstack
        return size != 0 and not flags & SS_AUTODISARM and base < sp <= base + size


def do_signal(task: Task, restart: int) -> None:
    """Deliver what is pending before the task goes back to its program (arch_do_signal_or_restart).

    `restart`: 0, or the ERESTART* code with which the system call ended that was interrupted.
    """
    signals = task.signals
    while task.exit_code is None:
        info = signals.dequeue(signals.deliverable())
        if info is None:
            break
        action = signals.actions[info.signo]
        if action.handler == SIG_IGN and info.signo != SIGKILL:
            continue
        if action.handler == SIG_DFL or info.signo in (SIGKILL, SIGSTOP):
            if bit(info.signo) & (_IGNORED_BY_DEFAULT | _STOPS):
                continue  # nobody could wake a stopped task
            _trace_delivered(task, info)
            task.machine.kill(task, info)
            return
        if restart:
            if restart == ERESTARTNOINTR or (restart == ERESTARTSYS and action.flags & SA_RESTART):
                task.cpu.restart_syscall()
            else:
                task.cpu.set_syscall_result(-EINTR)
            restart = 0
        _trace_delivered(task, info)
        _handle_signal(task, info, action)
    if restart and task.exit_code is None:
        if restart == ERESTART_RESTARTBLOCK:
            task.cpu.restart_syscall(task.machine.restart_syscall_number(task))
        else:
            task.cpu.restart_syscall()
    if signals.saved is not None and not signals.deliverable():
        signals.blocked, signals.saved = signals.saved, None


def _trace_delivered(task: Task, info: SigInfo) -> None:
    tp = task.machine.tp
    if tp.on:
        tp.emit(Kind.SIGNAL_DELIVER, ip=task.cpu.pc, code=info.signo, result=info.code, args=(info.addr,))


def _handle_signal(task: Task, info: SigInfo, action: SigAction) -> None:
    """handle_signal: build the frame, then the masks of the handler."""
    signals = task.signals
    if action.flags & SA_RESETHAND:
        signals.actions[info.signo] = SigAction()
    oldmask = signals.blocked if signals.saved is None else signals.saved
    signals.saved = None
    sp = task.cpu.sp
    base, size, flags = signals.altstack
    on_stack = signals.on_altstack(sp)
    enter = bool(action.flags & SA_ONSTACK) and size != 0 and not on_stack
    state = SS_DISABLE if size == 0 else SS_ONSTACK if on_stack else 0
    frame = SigFrameContext(
        info=info,
        action=action,
        blocked=oldmask,
        altstack=(base, size, state | flags & SS_AUTODISARM),
        on_altstack=enter,
        fault_address=task.cpu.fault_address,
        fault_syndrome=task.cpu.fault_syndrome,
        trap_number=task.cpu.trap_number,
    )
    if not task.arch.setup_rt_frame(task.cpu, task.access, frame):
        # force_sigsegv: no stack to run the handler on.
        if info.signo == SIGSEGV:
            signals.actions[SIGSEGV] = SigAction()
        task.force_sig(SigInfo(SIGSEGV, SI_KERNEL))
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
