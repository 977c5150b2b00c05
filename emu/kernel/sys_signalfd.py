# SPDX-License-Identifier: GPL-2.0-or-later
"""signalfd and signalfd4 (fs/signalfd.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from archs.base import SI_QUEUE, SI_TIMER, SigInfo
from emu.fs.consts import O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE
from emu.fs.signalfd import SignalFile
from emu.kernel.args import order, s32
from emu.kernel.signal import SIGCHLD, SIGKILL, SIGSEGV, SIGSTOP, bit
from emu.kernel.sys_signal import get_sigset

if TYPE_CHECKING:
    from emu.kernel.task import Task

_FAULTS = (SIGSEGV, 4, 5, 7, 8)  # SIGILL, SIGTRAP, SIGBUS, SIGFPE


def signalfd_siginfo(task: Task, info: SigInfo) -> bytes:
    """struct signalfd_siginfo, 128 bytes (signalfd_copyinfo)."""
    big = task.arch.elf.big_endian
    number = s32(info.value >> 32 if big and task.word == 8 else info.value)  # si_int shares its place with si_ptr
    pid = uid = tid = overrun = status = value = pointer = utime = stime = address = 0
    if info.code == SI_TIMER:
        tid, overrun, value, pointer = info.pid, info.uid, number, info.value
    elif info.code > 0 and info.signo in _FAULTS:
        address = info.addr
    else:
        pid, uid = info.pid, info.uid
        if info.code > 0 and info.signo == SIGCHLD:
            status, utime, stime = info.status, info.utime, info.stime
        elif info.code == SI_QUEUE or info.code < SI_TIMER:
            value, pointer = number, info.value
    pid, uid, tid, overrun = (each & 0xFFFFFFFF for each in (pid, uid, tid, overrun))
    head = (info.signo, info.errno, info.code, pid, uid, 0, tid, 0, overrun, 0, status, value)
    wide = (pointer, utime, stime, address)
    return struct.pack(order(task) + "IiiIIiIIIIii4Q", *head, *wide).ljust(128, b"\0")


def sys_signalfd4(task: Task, fd: int, mask: int, size: int, flags: int, *_: int) -> int:
    if size != 8:
        return -errno.EINVAL
    wanted = get_sigset(task, mask)
    if wanted is None:
        return -errno.EFAULT
    flags &= 0xFFFFFFFF
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    wanted &= ~(bit(SIGKILL) | bit(SIGSTOP))
    if s32(fd) != -1:
        file = task.files.get(s32(fd))
        if file is None:
            return -errno.EBADF
        if not isinstance(file, SignalFile):
            return -errno.EINVAL
        file.mask = wanted
        return s32(fd)
    new = SignalFile(wanted, flags & O_NONBLOCK)
    number = task.files.alloc(new, task.rlimit(RLIMIT_NOFILE), 0, bool(flags & O_CLOEXEC))
    if number < 0:
        new.put()
    return number


def sys_signalfd(task: Task, fd: int, mask: int, size: int, *_: int) -> int:
    return sys_signalfd4(task, fd, mask, size, 0)


SYSCALLS = {"signalfd": sys_signalfd, "signalfd4": sys_signalfd4}
