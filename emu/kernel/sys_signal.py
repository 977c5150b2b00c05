# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls about signals (kernel/signal.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from archs.base import SI_KERNEL, SI_TIMER, SI_TKILL, SI_USER, SigAction, SigInfo
from emu.kernel.args import get_timespec, order, put_struct, s32, timespec_ns
from emu.kernel.signal import (
    ERESTARTNOHAND,
    NSIG,
    SIG_IGN,
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    bit,
    set_blocked,
)
from emu.kernel.sys_timer import posixtimer_sig_unignore
from emu.kernel.syscall import NO_RESULT

if TYPE_CHECKING:
    from emu.kernel.process import Process
    from emu.kernel.task import Task

CAP_KILL = 5
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
# SA_NOCLDSTOP ... SA_UNSUPPORTED's neighbours: what user space may set; the rest reads back as clear.
UAPI_SA_FLAGS = 0xD8000000 | 0x807 | 0x04000000
_MINSIGSTKSZ = {"x86_64": 2048, "aarch64": 5120, "powerpc64": 8192, "powerpc64le": 8192, "powerpc": 2048}


def _swap_words(task: Task, mask: int) -> int:
    """A sigset_t is an array of words: on a big-endian 32-bit machine the low word comes first."""
    if task.word == 4 and task.arch.elf.big_endian:
        return mask >> 32 | (mask & 0xFFFFFFFF) << 32
    return mask


def get_sigset(task: Task, address: int) -> int | None:
    """A sigset_t of the guest; None = EFAULT."""
    mask = task.access.get_user(address, 8, "_copy_from_user")
    return None if mask is None else _swap_words(task, mask)


def put_sigset(task: Task, address: int, mask: int) -> int:
    """Store a sigset_t: 0 or -EFAULT."""
    return 0 if task.access.put_user(address, _swap_words(task, mask), 8, "_copy_to_user") else -errno.EFAULT


def sys_rt_sigaction(task: Task, signo: int, act: int, oact: int, size: int, *_: int) -> int:
    """rt_sigaction: struct sigaction is handler, flags, restorer, mask on all three architectures."""
    if size != 8:
        return -errno.EINVAL
    signo = s32(signo)
    letter = "Q" if task.word == 8 else "I"
    head = struct.Struct(order(task) + 3 * letter)
    new: SigAction | None = None
    if act:
        data = task.access.copy_from_user(act, head.size + 8)
        if data is None:
            return -errno.EFAULT
        handler, flags, restorer = head.unpack_from(data)
        mask = _swap_words(task, int.from_bytes(data[head.size :], "big" if task.arch.elf.big_endian else "little"))
        new = SigAction(handler, flags & UAPI_SA_FLAGS, restorer, mask & ~(bit(SIGKILL) | bit(SIGSTOP)))
    if not 1 <= signo <= NSIG or (new is not None and signo in (SIGKILL, SIGSTOP)):
        return -errno.EINVAL
    signals = task.signals
    old = signals.actions[signo]
    if new is not None:
        signals.actions[signo] = new
        if signals.ignored(signo):  # what is pending of it is forgotten
            task.signal.shared_pending.flush(bit(signo))
            for thread in task.signal.threads:
                thread.signals.private.flush(bit(signo))
        elif old.handler == SIG_IGN:
            posixtimer_sig_unignore(task, signo)
    if oact:
        old_mask = _swap_words(task, old.mask).to_bytes(8, "big" if task.arch.elf.big_endian else "little")
        data = head.pack(old.handler, old.flags, old.restorer) + old_mask
        return put_struct(task, oact, data)
    return 0


def sys_rt_sigprocmask(task: Task, how: int, address: int, old: int, size: int, *_: int) -> int:
    if size != 8:
        return -errno.EINVAL
    before = task.signals.blocked
    if address:
        mask = get_sigset(task, address)
        if mask is None:
            return -errno.EFAULT
        mask &= ~(bit(SIGKILL) | bit(SIGSTOP))
        how = s32(how)
        if how == SIG_BLOCK:
            set_blocked(task, before | mask)
        elif how == SIG_UNBLOCK:
            set_blocked(task, before & ~mask)
        elif how == SIG_SETMASK:
            set_blocked(task, mask)
        else:
            return -errno.EINVAL
    return put_sigset(task, old, before) if old else 0


def sys_rt_sigpending(task: Task, address: int, size: int, *_: int) -> int:
    if size > 8:
        return -errno.EINVAL
    mask = task.signals.pending & task.signals.blocked
    byteorder: Any = "big" if task.arch.elf.big_endian else "little"
    data = _swap_words(task, mask).to_bytes(8, byteorder)[:size]
    return put_struct(task, address, data)


def _sleep_until_signal(task: Task) -> int:
    while task.wait_event(lambda: False, what="a signal", queues=()) >= 0:
        pass
    return -ERESTARTNOHAND


def sys_rt_sigsuspend(task: Task, address: int, size: int, *_: int) -> int:
    if size != 8:
        return -errno.EINVAL
    mask = get_sigset(task, address)
    if mask is None:
        return -errno.EFAULT
    task.signals.saved = task.signals.blocked
    set_blocked(task, mask)
    return _sleep_until_signal(task)


def sys_pause(task: Task, *_: int) -> int:
    return _sleep_until_signal(task)


def _sigtimedwait(task: Task, address: int, info: int, timeout: int, size: int, width: int) -> int:
    if size != 8:
        return -errno.EINVAL
    mask = get_sigset(task, address)
    if mask is None:
        return -errno.EFAULT
    mask &= ~(bit(SIGKILL) | bit(SIGSTOP))
    limit: int | None = None
    if timeout:
        value = get_timespec(task, timeout, width)
        if isinstance(value, int):
            return value
        limit = timespec_ns(value)
        if limit < 0:
            return limit
    signals = task.signals
    found = signals.dequeue(mask)
    if found is None and limit != 0:
        blocked = signals.blocked
        signals.blocked &= ~mask  # so that one of them wakes us
        signals.waited = mask & blocked
        result = task.wait_event(lambda: bool(signals.pending & mask), limit, "a signal")
        signals.blocked = blocked
        signals.waited = 0
        task.sigpending = True
        found = signals.dequeue(mask)
        if found is None and result < 0:
            return -errno.EINTR
    if found is None:
        return -errno.EAGAIN
    if info:
        error = put_struct(task, info, task.arch.pack_siginfo(found))
        if error:
            return error
    return found.signo


def sys_rt_sigtimedwait(task: Task, address: int, info: int, timeout: int, size: int, *_: int) -> int:
    return _sigtimedwait(task, address, info, timeout, size, task.word)


def sys_rt_sigtimedwait_time64(task: Task, address: int, info: int, timeout: int, size: int, *_: int) -> int:
    return _sigtimedwait(task, address, info, timeout, size, 8)


# Sending


def kill_ok_by_cred(task: Task, target: Task) -> bool:
    """May `task` send `target` a signal: the same user, or CAP_KILL."""
    mine, theirs = task.cred, target.cred
    users = (theirs.suid, theirs.uid)
    return mine.euid in users or mine.uid in users or task.capable(CAP_KILL)


def check_kill_permission(task: Task, target: Task, signo: int) -> int:
    """0, -EINVAL or -EPERM; anybody of the session may send SIGCONT."""
    if not 0 <= signo <= NSIG:
        return -errno.EINVAL
    if target.signal is task.signal or kill_ok_by_cred(task, target):
        return 0
    return 0 if signo == SIGCONT and target.sid == task.sid else -errno.EPERM


def _send(task: Task, target: Task, signo: int, info: SigInfo, group: bool) -> int:
    """Send if it is allowed; signal 0 only asks (do_send_specific, group_send_sig_info)."""
    error = check_kill_permission(task, target, signo)
    if error or not signo:
        return error
    return target.send_group_signal(signo, info) if group else target.send_signal(signo, info)


def _send_many(task: Task, targets: list[Process], signo: int, info: SigInfo) -> int:
    """To each of several processes: 0 if one got it (__kill_pgrp_info)."""
    results = [_send(task, process.leader, signo, info, True) for process in targets]
    return 0 if 0 in results else results[-1] if results else -errno.ESRCH


def sys_kill(task: Task, pid: int, signo: int, *_: int) -> int:
    signo, number = s32(signo), s32(pid)
    info = task.siginfo(signo)
    machine = task.machine
    if number > 0:
        target = machine.pids.get(number)
        return -errno.ESRCH if target is None else _send(task, target, signo, info, True)
    if number == -(1 << 31):
        return -errno.ESRCH
    if number == -1:
        others = [process for process in machine.processes() if process is not task.signal]
        results = [_send(task, process.leader, signo, info, True) for process in others]
        return next((each for each in reversed(results) if each != -errno.EPERM), 0) if results else -errno.ESRCH
    group = -number or task.pgid
    return _send_many(task, [process for process in machine.processes() if process.pgid == group], signo, info)


def _tkill(task: Task, tgid: int, pid: int, signo: int) -> int:
    target = task.machine.pids.get(pid)
    if target is None or tgid not in (0, target.tgid):
        return -errno.ESRCH
    return _send(task, target, signo, task.siginfo(signo, SI_TKILL), False)


def sys_tkill(task: Task, pid: int, signo: int, *_: int) -> int:
    return -errno.EINVAL if s32(pid) <= 0 else _tkill(task, 0, s32(pid), s32(signo))


def sys_tgkill(task: Task, tgid: int, pid: int, signo: int, *_: int) -> int:
    if s32(pid) <= 0 or s32(tgid) <= 0:
        return -errno.EINVAL
    return _tkill(task, s32(tgid), s32(pid), s32(signo))


SI_SIGIO, SI_DETHREAD, SI_ASYNCNL = -5, -7, -60
_SI_CODES = {4: 11, 5: 6, 7: 5, 8: 15, 11: 10, 17: 6, 29: 6, 31: 2}  # signal -> its greatest si_code
_SI_LAYOUTS = {17: "SIL_CHLD", 29: "SIL_POLL", 31: "SIL_SYS"}  # of these codes; the others tell of a fault
NSIGPOLL = 6


def siginfo_layout(signo: int, code: int) -> str:
    """Which fields a siginfo with this si_code has; SIL_FAULT stands for all SIL_FAULT_*."""
    if SI_USER < code < SI_KERNEL:
        if code <= _SI_CODES.get(signo, 0):
            return _SI_LAYOUTS.get(signo, "SIL_FAULT")
        return "SIL_POLL" if code <= NSIGPOLL else "SIL_KILL"
    if code == SI_TIMER:
        return "SIL_TIMER"
    if code == SI_SIGIO:
        return "SIL_POLL"
    return "SIL_RT" if code < 0 else "SIL_KILL"


def known_siginfo_layout(signo: int, code: int) -> bool:
    """Is it known which fields a siginfo with this si_code has."""
    if code in (SI_KERNEL, SI_ASYNCNL) or SI_DETHREAD <= code <= 0:
        return True
    return 0 < code <= _SI_CODES.get(signo, NSIGPOLL)


def copy_siginfo_from_user(task: Task, address: int, signo: int | None = None) -> SigInfo | int:
    """A siginfo_t of the guest, of `signo` whatever it says itself: -EFAULT, or -E2BIG where something is behind what
    the kernel keeps of it and it is not known which fields it has (post_copy_siginfo_from_user)."""
    data = task.access.copy_from_user(address, 128)
    if data is None:
        return -errno.EFAULT
    kept = 48 if task.word == 8 else 32
    told, number, code = struct.unpack_from(order(task) + "iii", data)
    signo = told if signo is None else signo
    if not known_siginfo_layout(signo, code) and any(data[kept:]):
        return -errno.E2BIG
    return SigInfo(signo, code, number, fields=data[12:kept])


def impersonates(info: SigInfo) -> bool:
    """Does it say that the kernel, kill or tkill sent it: only to itself may a task send such a one."""
    return info.code >= 0 or info.code == SI_TKILL


def _queue(task: Task, tgid: int, pid: int, info: SigInfo, group: bool) -> int:
    if impersonates(info) and pid != task.pid:
        return -errno.EPERM
    target = task.machine.pids.get(pid)
    if target is None or tgid not in (0, target.tgid):
        return -errno.ESRCH
    return _send(task, target, info.signo, info, group)


def sys_rt_sigqueueinfo(task: Task, pid: int, signo: int, address: int, *_: int) -> int:
    info = copy_siginfo_from_user(task, address, s32(signo))
    return info if isinstance(info, int) else _queue(task, 0, s32(pid), info, True)


def sys_rt_tgsigqueueinfo(task: Task, tgid: int, pid: int, signo: int, address: int, *_: int) -> int:
    info = copy_siginfo_from_user(task, address, s32(signo))
    if isinstance(info, int):
        return info
    if s32(tgid) <= 0 or s32(pid) <= 0:
        return -errno.EINVAL
    return _queue(task, s32(tgid), s32(pid), info, False)


# Stacks and returns


def do_sigaltstack(task: Task, sp: int, size: int, flags: int) -> int:
    """Set the alternate stack (do_sigaltstack)."""
    signals = task.signals
    if signals.on_altstack(task.cpu.sp):
        return -errno.EPERM
    mode = flags & ~SS_AUTODISARM & 0xFFFFFFFF
    if mode not in (SS_DISABLE, SS_ONSTACK, 0):
        return -errno.EINVAL
    if (sp, size, flags & 0xFFFFFFFF) == signals.altstack:
        return 0
    if mode == SS_DISABLE:
        signals.altstack = (0, 0, flags & 0xFFFFFFFF)
        return 0
    if size < _MINSIGSTKSZ[task.arch.name]:
        return -errno.ENOMEM
    signals.altstack = (sp, size, flags & 0xFFFFFFFF)
    return 0


def sys_sigaltstack(task: Task, new: int, old: int, *_: int) -> int:
    layout = struct.Struct(order(task) + ("Qi4xQ" if task.word == 8 else "IiI"))
    signals = task.signals
    sp, size, flags = signals.altstack
    data = None
    if new:
        data = task.access.copy_from_user(new, layout.size)
        if data is None:
            return -errno.EFAULT
    state = SS_DISABLE if not size else SS_ONSTACK if signals.on_altstack(task.cpu.sp) else 0
    state |= flags & SS_AUTODISARM
    if data is not None:
        new_sp, new_flags, new_size = layout.unpack(data)
        error = do_sigaltstack(task, new_sp, new_size, new_flags)
        if error:
            return error
    if old:
        text = layout.pack(sp, state - (1 << 32) if state >> 31 else state, size)
        return put_struct(task, old, text)
    return 0


def sys_rt_sigreturn(task: Task, *_: int) -> Any:
    """Back from a handler: registers, mask and alternate stack are those of the frame."""
    task.machine.sched.charge(task.machine.sched.cost.sigreturn)
    found = task.arch.rt_sigreturn(task.cpu, task.access)
    if found is None:
        task.force_sig(task.arch.bad_frame(task.cpu, task.access))
        return NO_RESULT
    mask, (sp, size, flags) = found
    set_blocked(task, mask)
    do_sigaltstack(task, sp, size, flags)
    return NO_RESULT


def sys_sigreturn(task: Task, *_: int) -> Any:
    """Back from a handler that was not given siginfo."""
    task.machine.sched.charge(task.machine.sched.cost.sigreturn)
    mask = task.arch.sigreturn(task.cpu, task.access)
    if mask is None:
        task.force_sig(task.arch.bad_frame(task.cpu, task.access))
    else:
        set_blocked(task, mask)
    return NO_RESULT


def sys_restart_syscall(task: Task, *_: int) -> int:
    """Go on with what a signal without a handler interrupted."""
    function = task.restart_block
    return -errno.EINTR if function is None else function()


SYSCALLS = {
    "rt_sigaction": sys_rt_sigaction,
    "rt_sigprocmask": sys_rt_sigprocmask,
    "rt_sigpending": sys_rt_sigpending,
    "rt_sigsuspend": sys_rt_sigsuspend,
    "rt_sigtimedwait": sys_rt_sigtimedwait,
    "rt_sigtimedwait_time64": sys_rt_sigtimedwait_time64,
    "rt_sigqueueinfo": sys_rt_sigqueueinfo,
    "rt_tgsigqueueinfo": sys_rt_tgsigqueueinfo,
    "rt_sigreturn": sys_rt_sigreturn,
    "sigreturn": sys_sigreturn,
    "sigaltstack": sys_sigaltstack,
    "pause": sys_pause,
    "kill": sys_kill,
    "tkill": sys_tkill,
    "tgkill": sys_tgkill,
    "restart_syscall": sys_restart_syscall,
}
