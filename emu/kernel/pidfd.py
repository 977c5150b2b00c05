# SPDX-License-Identifier: GPL-2.0-or-later
"""pidfd: a descriptor of a process or thread, and the calls on it (fs/pidfs.c, kernel/pid.c, kernel/signal.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from archs.base import SI_TKILL, SI_USER, SigInfo
from emu.fs.abi import ioctl_parts
from emu.fs.anon_inodes import AnonInode, anon_dentry
from emu.fs.consts import O_NONBLOCK, O_RDWR, PID_FS_MAGIC, POLLHUP, POLLIN
from emu.fs.file import File
from emu.fs.inode import SuperBlock
from emu.fs.proc_pid import PidDirectory
from emu.kernel.args import order, put_struct, s32
from emu.kernel.sys_signal import check_kill_permission, copy_siginfo_from_user, impersonates

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.kernel.task import Task

PIDFD_THREAD = 0x80  # O_EXCL
PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP = -10000, -10001
PIDFD_SIGNAL_THREAD, PIDFD_SIGNAL_THREAD_GROUP, PIDFD_SIGNAL_PROCESS_GROUP = 1, 2, 4
PIDFD_GET_INFO = 0xFF << 8 | 11
PIDFD_INFO_PID, PIDFD_INFO_CREDS, PIDFD_INFO_CGROUPID, PIDFD_INFO_EXIT, PIDFD_INFO_COREDUMP = 1, 2, 4, 8, 16
PIDFD_INFO_SIZE_VER0 = 64
PIDFD_COREDUMP = {0: 2, 1: 4, 2: 8}  # dumpable -> PIDFD_COREDUMP_SKIP, _USER, _ROOT
FS_IOC_GETVERSION = ord("v") << 8 | 1
ROOT_CGROUP_ID = 1
RLIMIT_NOFILE = 7

_SUPER = SuperBlock("pidfs", 0x5, PID_FS_MAGIC)


class PidInode(AnonInode):
    """The inode of a process or thread; its mode is 0700."""

    __slots__ = ("pid",)

    def __init__(self, pid: int) -> None:
        super().__init__(_SUPER)
        self.pid = pid

    @property
    def i_mode(self) -> int:
        return 0o700

    @property
    def i_ino(self) -> int:
        return self.pid


class PidFile(File):
    """What a pidfd refers to: a process, or with `thread` one thread of it. It names the same one for ever."""

    can_read = can_write = False

    def __init__(self, task: Task, thread: bool, flags: int) -> None:
        self.thread = thread
        self._task = task
        super().__init__(anon_dentry("[pidfd]", PidInode(self.pid)), O_RDWR | flags)
        self.f_flags |= PIDFD_THREAD if thread else 0

    def task(self) -> Task | None:
        """The thread, or the leader of the process; None: it was reaped."""
        found = self._task if self.thread else self._task.signal.leader
        return found if found.machine.pids.get(found.pid) is found else None

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

    def ioctl_number(self, task: Any, command: int, arg: int) -> int:
        """pidfd_ioctl; there are no namespaces."""
        reads, writes, number, size = ioctl_parts(task.arch, command)
        if number == PIDFD_GET_INFO and reads and writes and size >= PIDFD_INFO_SIZE_VER0:
            return self._info(task, arg, size)
        if number == FS_IOC_GETVERSION and reads and not writes and size == task.word:
            if not arg:
                return -errno.EINVAL
            return 0 if task.access.put_user(arg, 0, 4) else -errno.EFAULT
        return -errno.ENOTTY

    def _info(self, task: Any, address: int, size: int) -> int:
        """PIDFD_GET_INFO: struct pidfd_info, as much of it as the program knows (pidfd_info)."""
        if not address:
            return -errno.EINVAL
        wanted = task.access.get_user(address, 8, "_copy_from_user")
        if wanted is None:
            return -errno.EFAULT
        found = self.task()
        mask = wanted & PIDFD_INFO_COREDUMP | PIDFD_INFO_CGROUPID
        exit_code = coredump = 0
        ids = [0] * 11
        if found is not None:
            cred = found.cred
            users = (cred.uid, cred.gid, cred.euid, cred.egid, cred.suid, cred.sgid, cred.fsuid, cred.fsgid)
            ids = [found.pid, found.tgid, found.ppid, *users]
            mask |= PIDFD_INFO_PID | PIDFD_INFO_CREDS
            if mask & PIDFD_INFO_COREDUMP and not found.exiting:
                coredump = PIDFD_COREDUMP[found.dumpable]
        elif wanted & PIDFD_INFO_EXIT:
            mask |= PIDFD_INFO_EXIT
            code = self._task.exit_code or 0
            exit_code = code << 8 if code >= 0 else -code
        else:
            return -errno.ESRCH
        data = struct.pack(order(task) + "QQ11IiII", mask, ROOT_CGROUP_ID, *ids, exit_code, coredump, 0)
        return put_struct(task, address, data.ljust(size, b"\0")[:size])


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


def _signal_info(task: Task, target: Task | None, signo: int, address: int, kind: int) -> SigInfo | int:
    if not address:
        return task.siginfo(signo, SI_TKILL if kind == PIDFD_SIGNAL_THREAD else SI_USER)
    info = copy_siginfo_from_user(task, address)
    if isinstance(info, int):
        return info
    if info.signo != signo:
        return -errno.EINVAL
    if impersonates(info) and (target is not task or kind == PIDFD_SIGNAL_PROCESS_GROUP):
        return -errno.EPERM
    return info


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
        target, thread = directory.subject.task(), False  # tgid_pidfd_to_pid
    elif isinstance(file, PidFile):
        target, thread = file.task(), file.thread
    else:
        target, thread = file, s32(pidfd) == PIDFD_SELF_THREAD
    kind = flags or (PIDFD_SIGNAL_THREAD if thread else PIDFD_SIGNAL_THREAD_GROUP)
    told = _signal_info(task, target, signo, info, kind)
    if isinstance(told, int):
        return told
    targets = [] if target is None else [target]
    if kind == PIDFD_SIGNAL_PROCESS_GROUP:
        group = file.pid if isinstance(file, PidFile) else target.pid if target is not None else 0
        targets = [process.leader for process in task.machine.processes() if process.pgid == group]
    result = -errno.ESRCH
    for each in targets:
        error = check_kill_permission(task, each, signo)
        if not error and signo:
            send = each.send_signal if kind == PIDFD_SIGNAL_THREAD else each.send_group_signal
            error = send(signo, told)
        result = 0 if not error or result == 0 else error
    return result


def sys_pidfd_getfd(task: Task, pidfd: int, fd: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF:
        return -errno.EINVAL
    file = task.files.get(s32(pidfd))
    if not isinstance(file, PidFile):
        return -errno.EBADF
    target = file.task()
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
