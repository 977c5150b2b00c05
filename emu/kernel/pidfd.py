# SPDX-License-Identifier: GPL-2.0-or-later
"""pidfd: a descriptor of a process or thread, and the calls on it (fs/pidfs.c, kernel/pid.c, kernel/signal.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from archs.base import SI_TKILL, SI_USER, SigInfo
from emu.fs.anon_inodes import anon_dentry
from emu.fs.consts import O_NONBLOCK, O_RDWR, POLLHUP, POLLIN
from emu.fs.file import File
from emu.fs.proc_pid import PidDirectory
from emu.kernel.args import order, s32
from emu.kernel.signal import NSIG
from emu.kernel.sys_signal import check_kill_permission

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.kernel.task import Task

PIDFD_THREAD = 0x80  # O_EXCL
PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP = -10000, -20000
PIDFD_SIGNAL_THREAD, PIDFD_SIGNAL_THREAD_GROUP, PIDFD_SIGNAL_PROCESS_GROUP = 1, 2, 4
RLIMIT_NOFILE = 7


class PidFile(File):
    """What a pidfd refers to: a process, or with `thread` one thread of it. It names the same one for ever."""

    can_read = can_write = False

    def __init__(self, task: Task, thread: bool, flags: int) -> None:
        self.thread = thread
        self._task = task
        super().__init__(anon_dentry("[pidfd]"), O_RDWR | flags)

    def task(self) -> Task | None:
        """The thread, or a thread of the process (its leader, or one that still lives); None: it was reaped."""
        found = self._task
        machine = found.machine
        if not self.thread:
            process = found.signal
            if process.threads or process.leader.zombie:
                return process.leader
            return None
        return found if machine.pids.get(found.pid) is found else None

    @property
    def exited(self) -> bool:
        """Is it a zombie or gone; a process is when its last thread is."""
        task = self.task()
        return task is None or (task.zombie and (self.thread or not task.signal.threads))

    @property
    def pid(self) -> int:
        return self._task.pid if self.thread else self._task.tgid

    def can_poll(self) -> bool:
        return True

    def poll(self, task: Current) -> int:
        """pidfd_poll."""
        if self.task() is None:
            return POLLIN | POLLHUP
        return POLLIN if self.exited else 0

    def edges(self, events: int) -> int:
        return int(self.exited) + int(self.task() is None)

    def fdinfo(self) -> str:
        pid = self.pid if self.task() is not None else -1
        return f"Pid:\t{pid}\nNSpid:\t{pid}\n"


def pidfd_create(task: Task, target: Task, thread: bool, flags: int) -> int:
    """A new descriptor of `target`, closed on exec: its number, or -EMFILE."""
    file = PidFile(target, thread, flags)
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), cloexec=True)
    if fd < 0:
        file.put()
    return fd


def pidfd_get_task(task: Task, fd: int) -> PidFile | Task | int:
    """The open pidfd of a descriptor, the caller for PIDFD_SELF_*, or -EBADF."""
    number = s32(fd)
    if number == PIDFD_SELF_THREAD:
        return task
    if number == PIDFD_SELF_THREAD_GROUP:
        return task.signal.leader
    file = task.files.get(number)
    return file if isinstance(file, PidFile) else -errno.EBADF


def sys_pidfd_open(task: Task, pid: int, flags: int, *_: int) -> int:
    flags, number = flags & 0xFFFFFFFF, s32(pid)
    if flags & ~(O_NONBLOCK | PIDFD_THREAD) or number <= 0:
        return -errno.EINVAL
    target = task.machine.pids.get(number)
    if target is None:
        return -errno.ESRCH
    thread = bool(flags & PIDFD_THREAD)
    if not thread and target is not target.signal.leader:
        return -errno.ENOENT
    return pidfd_create(task, target, thread, flags & O_NONBLOCK)


def _signal_info(task: Task, target: Task, signo: int, address: int) -> SigInfo | int:
    if not address:
        return SigInfo(signo, SI_USER, pid=task.tgid, uid=task.cred.uid)
    data = task.access.copy_from_user(address, 128)
    if data is None:
        return -errno.EFAULT
    o, letter = order(task), "Q" if task.word == 8 else "I"
    told, number, code = struct.unpack_from(o + "iii", data)
    if told != signo:
        return -errno.EINVAL
    if (code >= 0 or code == SI_TKILL) and target is not task:
        return -errno.EPERM
    sender, uid, value = struct.unpack_from(o + "iI" + letter, data, 16 if task.word == 8 else 12)
    return SigInfo(signo, code, errno=number, pid=sender, uid=uid, value=value)


def sys_pidfd_send_signal(task: Task, pidfd: int, signo: int, info: int, flags: int, *_: int) -> int:
    flags, signo = flags & 0xFFFFFFFF, s32(signo)
    if flags & ~7 or flags.bit_count() > 1:
        return -errno.EINVAL
    file = pidfd_get_task(task, pidfd)
    if isinstance(file, int):
        opened = task.files.get(s32(pidfd))
        directory = None if opened is None else opened.f_inode
        if not isinstance(directory, PidDirectory) or not directory.of_process:
            return file
        target, group = directory.subject.task(), True  # tgid_pidfd_to_pid
    elif isinstance(file, PidFile):
        target, group = file.task(), not file.thread
    else:
        target, group = file, s32(pidfd) == PIDFD_SELF_THREAD_GROUP
    if flags:
        group = flags != PIDFD_SIGNAL_THREAD
    told = _signal_info(task, target or task.signal.leader, signo, info)
    if isinstance(told, int):
        return told
    if target is None:
        return -errno.ESRCH
    if not 0 <= signo <= NSIG:
        return -errno.EINVAL
    targets = [target]
    if flags == PIDFD_SIGNAL_PROCESS_GROUP:
        targets = [process.leader for process in task.machine.processes() if process.pgid == target.tgid]
    result = -errno.ESRCH
    for each in targets:
        error = check_kill_permission(task, each, signo)
        if not error and signo:
            error = each.send_group_signal(signo, told) if group else each.send_signal(signo, told)
        result = 0 if not error or result == 0 else error
    return result


def sys_pidfd_getfd(task: Task, pidfd: int, fd: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF:
        return -errno.EINVAL
    file = pidfd_get_task(task, pidfd)
    if isinstance(file, int):
        return file
    target = file.task() if isinstance(file, PidFile) else file
    if target is None:
        return -errno.ESRCH
    if not task.ptrace_may_access(target):
        return -errno.EPERM
    if target.exiting:
        return -errno.ESRCH
    wanted = target.files.get(s32(fd))
    if wanted is None:
        return -errno.EBADF
    wanted.get()
    got = task.files.alloc(wanted, task.rlimit(RLIMIT_NOFILE), cloexec=True)
    if got < 0:
        wanted.put()
    return got


SYSCALLS = {
    "pidfd_open": sys_pidfd_open,
    "pidfd_send_signal": sys_pidfd_send_signal,
    "pidfd_getfd": sys_pidfd_getfd,
}
