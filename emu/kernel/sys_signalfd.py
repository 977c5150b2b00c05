# SPDX-License-Identifier: GPL-2.0-or-later
"""signalfd and signalfd4 (fs/signalfd.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from archs.base import SIGBUS, SigInfo
from emu.fs.consts import O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE
from emu.fs.signalfd import SignalFile
from emu.kernel.args import order, s32
from emu.kernel.signal import SIGKILL, SIGSTOP, bit
from emu.kernel.sys_signal import get_sigset, siginfo_layout

if TYPE_CHECKING:
    from emu.kernel.task import Task

BUS_MCEERR_AR, BUS_MCEERR_AO = 4, 5


def signalfd_siginfo(task: Task, info: SigInfo) -> bytes:
    """struct signalfd_siginfo, 128 bytes (signalfd_copyinfo)."""
    union = task.arch.pack_siginfo(info)[16 if task.word == 8 else 12 :]
    long = "q" if task.word == 8 else "i"

    def union_of(fields: str) -> tuple[int, ...]:
        return struct.unpack_from(order(task) + fields, union)

    pid = uid = fd = tid = band = overrun = status = number = pointer = utime = stime = address = lsb = 0
    call = call_address = arch = 0
    layout = siginfo_layout(info.signo, info.code)
    if layout == "SIL_KILL":
        pid, uid = union_of("II")
    elif layout == "SIL_RT":
        pid, uid, pointer = union_of("II" + long)
        _, _, number = union_of("IIi")
    elif layout == "SIL_TIMER":
        tid, overrun, pointer = union_of("II" + long)
        _, _, number = union_of("IIi")
    elif layout == "SIL_POLL":
        band, fd = union_of(long + "i")
    elif layout == "SIL_FAULT":
        (address,) = union_of(long)
        if info.signo == SIGBUS and info.code in (BUS_MCEERR_AR, BUS_MCEERR_AO):
            address, lsb = union_of(long + "h")
    elif layout == "SIL_CHLD":
        pid, uid, status, utime, stime = union_of("IIi" + ("4xqq" if task.word == 8 else "ii"))
    elif layout == "SIL_SYS":
        call_address, call, arch = union_of(long + "iI")
    head = (info.signo, info.errno, info.code, pid, uid, fd, tid, band & 0xFFFFFFFF, overrun, 0, status, number)
    wide = (each & (1 << 64) - 1 for each in (pointer, utime, stime, address))
    tail = (lsb & 0xFFFF, call, call_address & (1 << 64) - 1, arch)
    return struct.pack(order(task) + "IiiIIiIIIIii4QH2xiQI", *head, *wide, *tail).ljust(128, b"\0")


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
