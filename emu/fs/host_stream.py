# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of the host that are streams: a terminal, a pipe or a socket, as standard input and output are.

A read waits on the host in short steps, and the machine's time goes on by as much, so that the guest's timers and a
Ctrl-C end the wait.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import TYPE_CHECKING

from emu.fs.consts import (
    DEFAULT_POLLMASK,
    O_ACCMODE,
    O_APPEND,
    O_NONBLOCK,
    O_RDONLY,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    S_IFCHR,
    S_IFMT,
    S_IFREG,
    SIGPIPE,
)
from emu.fs.dcache import Dentry, mount_of
from emu.fs.file import File, kiocb
from emu.fs.hostfs import HostFile, HostFs, HostInode
from emu.fs.iov_iter import iov_iter
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.inode import Inode

STEP_NS = 100_000_000  # how long one wait on the host is


def host_poll(fd: int, events: int, timeout_ns: int) -> int:
    """POLL* bits of a descriptor of the host, after waiting for at most `timeout_ns` of the host's time."""
    poller = select.poll()
    poller.register(fd, events)
    found = poller.poll(timeout_ns / 1e6)
    return found[0][1] if found else 0


class HostStream(File):
    """A stream of the host, read and written through `fd`."""

    stream = True

    def __init__(self, dentry: Dentry, flags: int, inode: Inode, fd: int, *, close: bool = False) -> None:
        self.fd = fd
        self.close_host_fd = close
        super().__init__(dentry, flags, inode)

    def release(self) -> None:
        if self.close_host_fd:
            os.close(self.fd)

    def wait_host(self, task: Current, events: int) -> int:
        """Wait until the host has data (or room): 0, or -ERESTARTSYS when a signal came, or -EAGAIN for O_NONBLOCK."""
        if host_poll(self.fd, events, 0):
            return 0
        if self.nonblock:
            return -errno.EAGAIN
        error: int = task.machine.wait_host(task, self.fd, events)
        return error

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        if not to.count:
            return 0
        error = self.wait_host(task, POLLIN)
        if error:
            return error
        try:
            data = os.read(self.fd, min(to.count, 1 << 16))
        except OSError as problem:
            return -(problem.errno or errno.EIO)
        done = to.copy_page_to_iter(data, 0)
        return done if done or not data else -errno.EFAULT

    def send(self, task: Current, data: bytes) -> int:
        """Write all of `data` to the host: bytes written, or -errno; EPIPE comes with SIGPIPE."""
        done = 0
        while done < len(data):
            try:
                done += os.write(self.fd, data[done:] if done else data)
            except BlockingIOError:
                error = self.wait_host(task, POLLOUT)
                if error:
                    return done or error
            except BrokenPipeError:
                task.send_signal(SIGPIPE)
                return done or -errno.EPIPE
            except OSError as problem:
                return done or -(problem.errno or errno.EIO)
        return done

    def can_poll(self) -> bool:
        return True

    def host_fd(self) -> int | None:
        return self.fd

    def poll(self, task: Current) -> int:
        found = host_poll(self.fd, POLLIN | POLLOUT, 0)
        mask = found & (POLLERR | POLLHUP)
        if found & POLLIN:
            mask |= POLLIN | POLLRDNORM
        if found & POLLOUT:
            mask |= POLLOUT | POLLWRNORM
        return mask

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "FIONREAD":
            import fcntl
            import struct
            import termios

            try:
                (ready,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))
            except OSError as problem:
                return -(problem.errno or errno.EIO)
            return 0 if task.access.put_user(arg, ready, 4) else -errno.EFAULT
        return super().ioctl(task, command, arg)


class HostPipe(HostStream):
    """A pipe or socket of the host."""

    chunk = PAGE_SIZE

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """Copied page by page, as a pipe does; a page that cannot be read in full is not sent."""
        parts = []
        short = False
        while source.count:
            data = source.copy_page_from_iter(self.chunk)
            if len(data) < self.chunk and source.count:
                short = True
                break
            parts.append(data)
        done = self.send(task, b"".join(parts))
        return -errno.EFAULT if short and done == 0 else done


class HostTty(HostStream):
    """A terminal of the host."""

    chunk = 2048

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """file_tty_write: copied in pieces of 2048 bytes."""
        total = 0
        while source.count:
            want = min(self.chunk, source.count)
            data = source.copy_from_iter(want)
            if len(data) < want:
                return total or -errno.EFAULT
            done = self.send(task, data)
            if done < 0:
                return total or done
            total += done
            if done < want:
                break
        return total

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        from emu.fs.tty import tty_ioctl

        result = tty_ioctl(self.fd, task, command, arg)
        return super().ioctl(task, command, arg) if result is None else result


class HostDevice(HostStream):
    """Any other character device that mmscope was started with."""

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        data = source.copy_from_iter(source.count)
        return self.send(task, data) if data or not source.count else -errno.EFAULT

    def poll(self, task: Current) -> int:
        return DEFAULT_POLLMASK


def host_status_flags(fd: int) -> int:
    """O_ACCMODE, O_APPEND and O_NONBLOCK of a descriptor of the host, as internal flags."""
    import fcntl

    found = fcntl.fcntl(fd, fcntl.F_GETFL)
    flags = found & O_ACCMODE
    if found & os.O_APPEND:
        flags |= O_APPEND
    if found & os.O_NONBLOCK:
        flags |= O_NONBLOCK
    return flags


def open_host_fd(fs: HostFs, fd: int, task: Current, locate: object) -> File | None:
    """The guest's file for a descriptor that mmscope itself was started with; None when that is closed.

    `locate(path)` gives the dentry of a path of the host, or None: what has a name is shown by it. What mmscope may
    write the guest may write, too: the descriptor's place is on a mount that is writable, so that it can be opened
    again through /proc/self/fd, though not by its name.
    """
    try:
        st = os.fstat(fd)
        flags = host_status_flags(fd)
    except OSError:
        return None
    inode = fs.inode(st)
    assert isinstance(inode, HostInode)
    try:
        name = os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        name = b"fd:[%d]" % fd
    place = None
    if name.startswith(b"/") and callable(locate):
        place = locate(name)
        if place is not None and place.inode.key != inode.key:
            place = None
    if place is None:
        place = Dentry(None, name, inode)
        if name.endswith(b" (deleted)"):
            place.name = name.removesuffix(b" (deleted)")
            place.unlinked = True
        place.mount_writable = True
    elif flags & O_ACCMODE != O_RDONLY and not mount_of(place).mount_writable:
        place = Dentry(place.parent, place.name, inode)
        place.mount_writable = True
    place.inode = inode
    fs.given[place] = fd
    kind = st.st_mode & S_IFMT
    if kind == S_IFREG:
        return HostFile(place, flags, inode, fd, close=False, shared_offset=True)
    if kind == S_IFCHR:
        if os.isatty(fd):
            return HostTty(place, flags, inode, fd)
        known = fs.device_open(Dentry(None, name, inode), st.st_rdev, flags, task)
        if isinstance(known, File):
            known.f_dentry = place
            return known
        return HostDevice(place, flags, inode, fd)
    if stat.S_ISDIR(st.st_mode):
        opened = inode.open(place, flags, task)
        return opened if isinstance(opened, File) else None
    return HostPipe(place, flags, inode, fd)
