# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipes and FIFOs: a ring of page-sized buffers (fs/pipe.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.consts import (
    FMODE_READ,
    FMODE_WRITE,
    O_ACCMODE,
    O_DIRECT,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    PIPEFS_MAGIC,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    S_IFIFO,
    SIGPIPE,
)
from emu.fs.dcache import Dentry
from emu.fs.file import File, kiocb
from emu.fs.inode import NamelessFs, NamelessInode, capable
from emu.fs.iov_iter import iov_iter
from emu.locking.mutex import mutex
from emu.locking.wait import wait_queue_head
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.fs.current import Cred, Current
    from emu.sched.sched import Sched

PIPE_DEF_BUFFERS, PIPE_MIN_DEF_BUFFERS = 16, 2
PIPE_MAX_SIZE = 1 << 20
INR_OPEN_CUR = 1024
CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24


class PipeBuffer:
    """One slot: the bytes still to be read of a page, and where in the page they end."""

    __slots__ = ("can_merge", "data", "end", "packet")

    def __init__(self, data: bytes, packet: bool) -> None:
        self.data = data
        self.end = len(data)
        self.packet = packet
        self.can_merge = not packet


class Pipe:
    """What both ends share (struct pipe_inode_info)."""

    def __init__(self, sched: Sched, ino: int) -> None:
        """`ino`: of its inode, which tells its mutex from others."""
        self.wait = wait_queue_head()
        self.mutex = mutex(sched, "pipe->mutex", ino)  # one reads or writes at a time
        self.in_edges = self.out_edges = 0  # writes, and reads from a full pipe: an edge-triggered epoll looks again
        self.buffers: list[PipeBuffer] = []
        self.max_usage = PIPE_DEF_BUFFERS
        self.readers = 0
        self.writers = 0
        self.accounted: tuple[PipeFs, int] | None = None  # to a user; FIFOs are to nobody
        self.r_counter = 0
        self.w_counter = 0

    @property
    def full(self) -> bool:
        return len(self.buffers) >= self.max_usage

    def push(self, data: bytes) -> None:
        """Add a buffer (splice)."""
        self.buffers.append(PipeBuffer(data, False))
        self.buffers[-1].can_merge = False
        self.wait.wake_up()

    def wait_for(self, task: Current, condition: Callable[[], bool], what: str) -> int:
        """Sleep until something that happens to the pipe makes the condition hold: 1, or -ERESTARTSYS."""
        return task.wait_event(condition, what=what, queues=(self.wait,))

    def bytes_ready(self) -> int:
        """What FIONREAD says."""
        return sum(len(b.data) for b in self.buffers)


class PipeFs(NamelessFs):
    """Where pipes have their inodes, and what of them each user may have."""

    def __init__(self) -> None:
        super().__init__("pipefs", 0xE, PIPEFS_MAGIC)
        self.max_size = PIPE_MAX_SIZE  # sysctls fs.pipe-max-size, in bytes, and fs.pipe-user-pages-*, 0 = no limit
        self.user_pages_soft = PIPE_DEF_BUFFERS * INR_OPEN_CUR
        self.user_pages_hard = 0
        self.user_bufs: dict[int, int] = {}  # slots of a user's pipes

    def account_pipe_buffers(self, uid: int, old: int, new: int) -> int:
        """A pipe of the user has `new` slots instead of `old`: how many all have together."""
        total = self.user_bufs.get(uid, 0) + new - old
        self.user_bufs[uid] = total
        return total

    def too_many_soft(self, slots: int) -> bool:
        return 0 < self.user_pages_soft < slots

    def too_many_hard(self, slots: int) -> bool:
        return 0 < self.user_pages_hard < slots


class PipeInode(NamelessInode):
    """The inode of an anonymous pipe."""

    __slots__ = ()

    def __init__(self, sb: PipeFs, uid: int, gid: int, now: int) -> None:
        super().__init__(sb, S_IFIFO | 0o600, uid, gid, now)

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        """Through /proc/self/fd: the pipe is found by a file that is open on it."""
        for file in task.files.fd.values():
            if file.f_inode is self and isinstance(file, PipeFile):
                return fifo_open(dentry, flags, file.pipe, task)
        return -errno.ENXIO


class PipeFile(File):
    """An end of a pipe."""

    stream = True

    def __init__(self, dentry: Dentry, flags: int, pipe: Pipe) -> None:
        self.pipe = pipe
        self.f_pipe = 0  # w_counter when it was opened without a writer: no hang-up before one came
        super().__init__(dentry, flags)
        if self.f_mode & FMODE_READ:
            pipe.readers += 1
            pipe.r_counter += 1
        if self.f_mode & FMODE_WRITE:
            pipe.writers += 1
            pipe.w_counter += 1
        pipe.wait.wake_up()

    @property
    def wait(self) -> wait_queue_head:  # type: ignore[override]
        """Both ends have one."""
        return self.pipe.wait

    def release(self) -> None:
        if self.f_mode & FMODE_READ:
            self.pipe.readers -= 1
        if self.f_mode & FMODE_WRITE:
            self.pipe.writers -= 1
        if not self.pipe.readers and not self.pipe.writers:
            self.pipe.buffers.clear()
            if self.pipe.accounted is not None:
                fs, uid = self.pipe.accounted
                fs.account_pipe_buffers(uid, self.pipe.max_usage, 0)
                self.pipe.accounted = None
        self.wait.wake_up()

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """anon_pipe_read."""
        if not to.count:
            return 0
        pipe = self.pipe
        pipe.mutex.lock()
        try:
            return self._read(task, iocb, to)
        finally:
            pipe.wait.wake_up()
            pipe.mutex.unlock()

    def _wait(self, task: Current, condition: Callable[[], bool]) -> int:
        """Let others use the pipe until the condition holds: 1, or -ERESTARTSYS on a signal."""
        pipe = self.pipe
        pipe.wait.wake_up()  # for what was read or written so far
        pipe.mutex.unlock()
        result = pipe.wait_for(task, condition, f"the other end of {self.name}")
        pipe.mutex.lock()
        return result

    def _read(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        pipe = self.pipe
        task.machine.sched.charge(task.machine.sched.cost.pipe)
        wanted = to.count
        done = 0
        while True:
            if pipe.buffers:
                buffer = pipe.buffers[0]
                chars = min(len(buffer.data), wanted)
                written = to.copy_page_to_iter(buffer.data[:chars], buffer.end - len(buffer.data))
                if written < chars:
                    return done or -errno.EFAULT
                done += chars
                if buffer.packet:
                    wanted = chars
                    buffer.data = b""
                else:
                    buffer.data = buffer.data[chars:]
                if not buffer.data:
                    pipe.out_edges += pipe.full
                    pipe.buffers.pop(0)
                wanted -= chars
                if not wanted:
                    return done
                if pipe.buffers:
                    continue
            if not pipe.writers or done:
                return done
            if self.nonblock or iocb.nowait:
                return -errno.EAGAIN
            error = self._wait(task, lambda: bool(pipe.buffers) or not pipe.writers)
            if error < 0:
                return error

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """anon_pipe_write."""
        if not source.count:
            return 0
        pipe = self.pipe
        pipe.mutex.lock()
        try:
            return self._write(task, iocb, source)
        finally:
            pipe.wait.wake_up()
            pipe.mutex.unlock()

    def _write(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        pipe = self.pipe
        task.machine.sched.charge(task.machine.sched.cost.pipe)
        total = source.count
        done = 0
        if not pipe.readers:
            task.send_signal(SIGPIPE)
            return -errno.EPIPE
        chars = total & PAGE_SIZE - 1
        if chars and pipe.buffers:
            last = pipe.buffers[-1]
            if last.can_merge and last.end + chars <= PAGE_SIZE:
                data = source.copy_page_from_iter(chars)
                if len(data) < chars:
                    return -errno.EFAULT
                pipe.in_edges += 1
                last.data += data
                last.end += chars
                done = chars
                if not source.count:
                    return done
        while True:
            if not pipe.readers:
                task.send_signal(SIGPIPE)
                return done or -errno.EPIPE
            if not pipe.full:
                data = source.copy_page_from_iter(PAGE_SIZE)
                if len(data) < PAGE_SIZE and source.count:
                    return done or -errno.EFAULT
                pipe.in_edges += 1
                pipe.buffers.append(PipeBuffer(data, bool(self.f_flags & O_DIRECT)))
                done += len(data)
                if not source.count:
                    return done
                continue
            if self.nonblock or iocb.nowait:
                return done or -errno.EAGAIN
            error = self._wait(task, lambda: not pipe.full or not pipe.readers)
            if error < 0:
                return done or error

    def can_poll(self) -> bool:
        return True

    def edges(self, events: int) -> int:
        pipe = self.pipe
        return (pipe.in_edges if events & POLLIN else 0) + (pipe.out_edges if events & POLLOUT else 0)

    def poll(self, task: Current) -> int:
        """pipe_poll."""
        pipe = self.pipe
        mask = 0
        if self.f_mode & FMODE_READ:
            if pipe.buffers:
                mask |= POLLIN | POLLRDNORM
            if not pipe.writers and self.f_pipe != pipe.w_counter:
                mask |= POLLHUP
        if self.f_mode & FMODE_WRITE:
            if not pipe.full:
                mask |= POLLOUT | POLLWRNORM
            if not pipe.readers:
                mask |= POLLERR
        return mask

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "FIONREAD":
            return 0 if task.access.put_user(arg, self.pipe.bytes_ready(), 4) else -errno.EFAULT
        return super().ioctl(task, command, arg)

    def set_size(self, size: int, cred: Cred) -> int:
        """F_SETPIPE_SZ: the capacity in bytes after rounding up, or -errno (pipe_set_size)."""
        if size > 1 << 31:
            return -errno.EINVAL
        size = max(PAGE_SIZE, 1 << (max(size, 1) - 1).bit_length())
        slots, pipe = size // PAGE_SIZE, self.pipe
        fs, uid = pipe.accounted or (None, 0)
        limit = PIPE_MAX_SIZE if fs is None else fs.max_size
        more = slots > pipe.max_usage
        if more and size > limit and not capable(cred, CAP_SYS_RESOURCE):
            return -errno.EPERM
        if fs is not None:
            total = fs.account_pipe_buffers(uid, pipe.max_usage, slots)
            if more and (fs.too_many_hard(total) or fs.too_many_soft(total)) and _is_unprivileged_user(cred):
                fs.account_pipe_buffers(uid, slots, pipe.max_usage)
                return -errno.EPERM
        if slots < len(pipe.buffers):
            if fs is not None:
                fs.account_pipe_buffers(uid, slots, pipe.max_usage)
            return -errno.EBUSY
        pipe.max_usage = slots
        self.wait.wake_up()
        return size


def _is_unprivileged_user(cred: Cred) -> bool:
    return not capable(cred, CAP_SYS_RESOURCE) and not capable(cred, CAP_SYS_ADMIN)


def create_pipe_files(fs: PipeFs, flags: int, task: Current, now: int) -> tuple[PipeFile, PipeFile] | int:
    """The read and the write end of a new pipe (create_pipe_files); -ENFILE: the user has as much as he may. Who has
    more than the soft limit gets small ones (alloc_pipe_info)."""
    cred = task.cred
    uid, slots = cred.uid, PIPE_DEF_BUFFERS
    if slots * PAGE_SIZE > fs.max_size and not capable(cred, CAP_SYS_RESOURCE):
        slots = fs.max_size // PAGE_SIZE
    total = fs.account_pipe_buffers(uid, 0, slots)
    if fs.too_many_soft(total) and _is_unprivileged_user(cred):
        total = fs.account_pipe_buffers(uid, slots, PIPE_MIN_DEF_BUFFERS)
        slots = PIPE_MIN_DEF_BUFFERS
    if fs.too_many_hard(total) and _is_unprivileged_user(cred):
        fs.account_pipe_buffers(uid, slots, 0)
        return -errno.ENFILE
    inode = PipeInode(fs, cred.fsuid, cred.fsgid, now)
    place = Dentry(None, b"pipe:[%d]" % inode.ino, inode)
    place.mount_writable = True
    pipe = Pipe(task.machine.sched, inode.ino)
    pipe.max_usage = slots
    pipe.accounted = fs, uid
    return PipeFile(place, O_RDONLY | flags & (O_NONBLOCK | O_DIRECT), pipe), PipeFile(
        place, O_WRONLY | flags & (O_NONBLOCK | O_DIRECT), pipe
    )


def fifo_open(dentry: Dentry, flags: int, pipe: Pipe, task: Current) -> File | int:
    """Open a FIFO, waiting for the other end as POSIX wants it (fifo_open). A pipe has no name to wait at: through
    /proc/self/fd it is opened at once, whoever is at the other end."""
    access = flags & O_ACCMODE
    if isinstance(dentry.inode, PipeInode):
        return PipeFile(dentry, flags, pipe)
    if access == O_WRONLY and flags & O_NONBLOCK and not pipe.readers:
        return -errno.ENXIO
    file = PipeFile(dentry, flags, pipe)
    if access == O_RDWR or flags & O_NONBLOCK:
        if access == O_RDONLY and not pipe.writers:
            file.f_pipe = pipe.w_counter
        return file
    if access == O_RDONLY:
        seen = pipe.w_counter
        error = 1 if pipe.writers else pipe.wait_for(task, lambda: pipe.w_counter != seen, f"a writer of {file.name}")
    else:
        seen = pipe.r_counter
        error = 1 if pipe.readers else pipe.wait_for(task, lambda: pipe.r_counter != seen, f"a reader of {file.name}")
    if error < 0:
        file.put()
        return error
    return file
