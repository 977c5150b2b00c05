# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets of AF_UNIX: streams, datagrams, sequenced packets between processes of the machine (net/unix/af_unix.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emu.fs.consts import (
    O_NONBLOCK,
    O_RDWR,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    S_IFSOCK,
    SIGPIPE,
    SOCKFS_MAGIC,
)
from emu.fs.dcache import Dentry
from emu.fs.file import File, kiocb
from emu.fs.inode import NamelessFs, NamelessInode
from emu.fs.iov_iter import iov_iter
from emu.locking.mutex import mutex
from emu.locking.wait import wait_queue_head
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.fs.current import Current

SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET = 1, 2, 5
RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK = 1, 2, 3
CLOSE, LISTEN, ESTABLISHED = 7, 10, 1  # TCP_CLOSE, TCP_LISTEN, TCP_ESTABLISHED
MSG_PEEK, MSG_CTRUNC, MSG_TRUNC, MSG_DONTWAIT, MSG_WAITALL = 2, 8, 0x20, 0x40, 0x100
MSG_OOB, MSG_NOSIGNAL, MSG_CMSG_CLOEXEC = 1, 0x4000, 0x40000000
SOMAXCONN = 4096
SK_MEM_DEFAULT = 212992  # sysctl net.core.wmem_default and rmem_default
MAX_DGRAM_QLEN = 10  # sysctl net.unix.max_dgram_qlen

_SKB_OVERHEAD = 320  # struct skb_shared_info behind the data
_SKB_SIZE = 256  # struct sk_buff
_SKB_MAX_HEAD = PAGE_SIZE - _SKB_OVERHEAD
_SKB_MAX_ALLOC = 4 * PAGE_SIZE - _SKB_OVERHEAD
_FRAGS_SIZE = 8 * PAGE_SIZE  # UNIX_SKB_FRAGS_SZ


def truesize(header: int, paged: int) -> int:
    """Bytes that a buffer counts for: its head as kmalloc rounds it, its pages, the struct (alloc_skb_with_frags)."""
    head = (header + 63 & -64) + _SKB_OVERHEAD
    return (1 << (head - 1).bit_length()) + _SKB_SIZE + paged


@dataclass
class Creds:
    """struct ucred: who sent it, or who is connected."""

    pid: int = 0
    uid: int = 0xFFFFFFFF
    gid: int = 0xFFFFFFFF


@dataclass
class Message:
    """A buffer in flight (struct sk_buff with its unix_skb_parms)."""

    data: bytes
    sender: UnixSocket
    size: int  # truesize, in the sender's account
    address: bytes | None
    creds: Creds
    files: list[File] = field(default_factory=list)
    consumed: int = 0

    def release(self) -> None:
        """It has been received, or will never be (consume_skb)."""
        for file in self.files:
            file.put()
        self.files = []
        self.sender.wmem -= self.size
        self.sender.frees += 1
        self.sender.wait.wake_up()


@dataclass
class Received:
    """What comes with a message besides its bytes."""

    address: bytes | None = None  # of its sender, where that has one
    flags: int = 0
    creds: Creds | None = None
    files: list[File] = field(default_factory=list)


class SockFs(NamelessFs):
    """Where sockets have their inodes, and which names they have."""

    def __init__(self) -> None:
        super().__init__("sockfs", 0x8, SOCKFS_MAGIC)
        self.autobind = 0
        self.abstract: dict[bytes, UnixSocket] = {}
        self.bound: dict[object, UnixSocket] = {}  # by the inode of the path


class SocketInode(NamelessInode):
    """The inode of a socket."""

    __slots__ = ()

    def __init__(self, sb: SockFs, uid: int, gid: int, now: int) -> None:
        super().__init__(sb, S_IFSOCK | 0o777, uid, gid, now)

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        """Through /proc/self/fd: a socket cannot be opened (sock_no_open)."""
        return -errno.ENXIO


class UnixSocket(File):
    """A socket (struct unix_sock). `wmem`: bytes of its messages that were not received yet."""

    stream = True
    wait: wait_queue_head

    def __init__(self, fs: SockFs, kind: int, flags: int, task: Current) -> None:
        inode = SocketInode(fs, task.cred.fsuid, task.cred.fsgid, task.machine.realtime())
        place = Dentry(None, b"socket:[%d]" % inode.ino, inode)
        place.mount_writable = True
        self.fs = fs
        self.kind = kind
        self.state = CLOSE
        self.shutdown_mask = 0
        self.peer: UnixSocket | None = None
        self.others: list[UnixSocket] = []  # datagram sockets whose peer this is
        self.queue: list[Message] = []
        self.pending: list[UnixSocket] = []  # connections that were not accepted yet
        self.waiting_for_accept: UnixSocket | None = None  # the listener, until it is accepted
        self.backlog = 0
        self.address: bytes | None = None  # sun_path as it was bound
        self.bound_to: object | None = None
        self.error = 0
        self.dead = False
        self.passcred = False
        self.creds = Creds()
        self.peer_creds = Creds()
        self.wmem = 0
        self.sndbuf = self.rcvbuf = SK_MEM_DEFAULT
        self.rcvlowat = 1
        self.switches: dict[str, int] = {}  # options that only read back
        self.rcvtimeo: int | None = None
        self.sndtimeo: int | None = None
        self.arrivals = self.frees = 0
        self.wait = wait_queue_head()
        self.iolock = mutex(task.machine.sched, "unix_socket->iolock", inode.ino)
        super().__init__(place, O_RDWR | flags & O_NONBLOCK)

    # Life

    def release(self) -> None:
        """unix_release_sock."""
        self.dead = True
        fs = self.fs
        if self.address is not None and fs.abstract.get(self.address) is self:
            del fs.abstract[self.address]
        if self.bound_to is not None and fs.bound.get(self.bound_to) is self:
            del fs.bound[self.bound_to]
        self.shutdown_mask = SHUTDOWN_MASK
        peer, self.peer = self.peer, None
        if peer is not None:
            if self.kind != SOCK_DGRAM:
                peer.shutdown_mask = SHUTDOWN_MASK  # it keeps knowing who its peer was
                if self.queue or self.waiting_for_accept is not None:
                    peer.error = errno.ECONNRESET
            elif self in peer.others:
                peer.others.remove(self)
            peer.wake()
        for other in self.others:
            other.wake()
        self.flush_queue()
        for waiting in self.pending:
            waiting.put()
        self.pending.clear()
        self.wake()

    def flush_queue(self) -> None:
        """Drop what was sent to it."""
        for message in self.queue:
            message.release()
        self.queue.clear()

    def wake(self) -> None:
        """Something changed that sleepers and polls want to know (sk_state_change)."""
        self.arrivals += 1
        self.frees += 1
        self.wait.wake_up()

    def set_peer(self, peer: UnixSocket) -> None:
        """Be connected to `peer`."""
        self.peer = peer
        if self.kind == SOCK_DGRAM:
            peer.others.append(self)

    def forget_peer(self) -> None:
        """Be connected to nobody."""
        if self.peer is not None and self in self.peer.others:
            self.peer.others.remove(self)
        self.peer = None

    def take_error(self) -> int:
        """What went wrong since somebody asked, once (sock_error)."""
        error, self.error = self.error, 0
        return -error

    def shutdown(self, how: int) -> int:
        """unix_shutdown."""
        if not 0 <= how <= 2:
            return -errno.EINVAL
        mask = how + 1
        self.shutdown_mask |= mask
        peer = self.peer
        if peer is not None and self.kind != SOCK_DGRAM:
            peer.shutdown_mask |= (SEND_SHUTDOWN if mask & RCV_SHUTDOWN else 0) | (
                RCV_SHUTDOWN if mask & SEND_SHUTDOWN else 0
            )
            peer.wake()
        self.wake()
        return 0

    # Sending

    def _sleep(self, task: Current, condition: Callable[[], bool], left: int | None, what: str) -> int:
        """Wait without the lock of readers: 1; 0 when `left` ns passed; -ERESTARTSYS, or -EINTR with a timeout."""
        result = task.wait_event(condition, left, what, queues=(self.wait,))
        return -errno.EINTR if result < 0 and left is not None else result

    def _room(self, task: Current, nonblock: bool) -> int:
        """Wait until one more buffer may be sent: 0 or -errno (sock_alloc_send_pskb)."""
        left = self.sndtimeo
        while True:
            if self.error:
                return self.take_error()
            if self.shutdown_mask & SEND_SHUTDOWN:
                return -errno.EPIPE
            if self.wmem < self.sndbuf:
                return 0
            if nonblock:
                return -errno.EAGAIN
            result = self._sleep(
                task,
                lambda: self.wmem < self.sndbuf or bool(self.shutdown_mask & SEND_SHUTDOWN or self.error),
                left,
                f"room in {self.name}",
            )
            if result <= 0:
                return result or -errno.EAGAIN

    def _message(self, data: bytes, header: int, creds: Creds, files: list[File]) -> Message:
        paged = len(data) - header + PAGE_SIZE - 1 & -PAGE_SIZE
        message = Message(data, self, truesize(header, paged), self.address, creds, files)
        self.wmem += message.size
        return message

    def deliver(self, message: Message) -> None:
        """Put a message into the queue of this socket."""
        self.queue.append(message)
        self.arrivals += 1
        self.wait.wake_up()

    def sendmsg(
        self, task: Current, source: iov_iter, flags: int, to: UnixSocket | None, creds: Creds, files: list[File]
    ) -> int:
        """Send what `source` holds with the `files`, which it takes over when the result is not negative: bytes or
        -errno. `to`: where a datagram was addressed to."""
        task.machine.sched.charge(task.machine.sched.cost.pipe)
        if flags & MSG_OOB:
            return -errno.EOPNOTSUPP
        nonblock = self.nonblock or bool(flags & MSG_DONTWAIT)
        if self.kind == SOCK_STREAM:
            return self._send_stream(task, source, flags, nonblock, creds, files)
        if self.kind == SOCK_SEQPACKET:
            if self.error:
                return self.take_error()
            if self.state != ESTABLISHED:
                return -errno.ENOTCONN
            to = None
        return self._send_packet(task, source, nonblock, to, creds, files)

    def _send_stream(
        self, task: Current, source: iov_iter, flags: int, nonblock: bool, creds: Creds, files: list[File]
    ) -> int:
        """unix_stream_sendmsg."""
        if self.peer is None:
            return -errno.ENOTCONN
        sent = 0
        error = -errno.EPIPE if self.shutdown_mask & SEND_SHUTDOWN else 0
        while not error and source.count:
            size = min(source.count, (self.sndbuf >> 1) - 64, _SKB_MAX_HEAD + _FRAGS_SIZE)
            paged = min(size, max(0, size - _SKB_MAX_HEAD) + PAGE_SIZE - 1 & -PAGE_SIZE)
            error = self._room(task, nonblock)
            if error:
                break
            data = source.copy_from_iter(size)
            if len(data) < size:
                error = -errno.EFAULT
                break
            peer = self.peer
            if peer is None or peer.dead or peer.shutdown_mask & RCV_SHUTDOWN:
                error = -errno.EPIPE
                break
            peer.deliver(self._message(data, size - paged, creds, [] if sent else files))
            sent += size
        if error == -errno.EPIPE and not sent and not flags & MSG_NOSIGNAL:
            task.send_signal(SIGPIPE)
        return sent or error

    def _send_packet(
        self,
        task: Current,
        source: iov_iter,
        nonblock: bool,
        to: UnixSocket | None,
        creds: Creds,
        files: list[File],
    ) -> int:
        """unix_dgram_sendmsg."""
        if to is None and self.peer is None:
            return -errno.ENOTCONN
        size = source.count
        if size > self.sndbuf - 32:
            return -errno.EMSGSIZE
        paged = 0
        if size > _SKB_MAX_ALLOC:
            paged = size - _SKB_MAX_ALLOC + PAGE_SIZE - 1 & -PAGE_SIZE
        error = self._room(task, nonblock)
        if error:
            return error
        data = source.copy_from_iter(size)
        if len(data) < size:
            return -errno.EFAULT
        while True:
            target = to or self.peer
            if target is None:
                return -errno.ENOTCONN
            if target.dead and self.kind == SOCK_SEQPACKET:
                return -errno.EPIPE
            if target.dead:
                if target is self.peer:
                    self.peer = None
                    self.state = CLOSE
                    self.flush_queue()
                return -errno.ECONNREFUSED
            if target.shutdown_mask & RCV_SHUTDOWN:
                return -errno.EPIPE
            if target is not self and target.peer is not self and self.kind == SOCK_DGRAM and target.crowded:
                if nonblock:
                    return -errno.EAGAIN
                error = self._wait_for_reader(task, target)
                if error:
                    return error
                continue
            target.deliver(self._message(data, size - paged if paged < size else 0, creds, files))
            return size

    def _wait_for_reader(self, task: Current, target: UnixSocket) -> int:
        """Until `target` takes a message of a stranger or is gone: 0 or -errno (unix_wait_for_peer)."""
        result = task.wait_event(
            lambda: not target.crowded or target.dead or bool(target.shutdown_mask & RCV_SHUTDOWN),
            self.sndtimeo,
            f"room in the queue of {target.name}",
            queues=(target.wait, self.wait),
        )
        return self._ended(result)

    def _wait_for_accept(self, task: Current, target: UnixSocket) -> int:
        """Until a listener has room for one more connection or is none any more: 0 or -errno."""
        result = task.wait_event(
            lambda: target.dead or target.state != LISTEN or len(target.pending) <= target.backlog,
            self.sndtimeo,
            f"{target.name} to accept",
            queues=(target.wait,),
        )
        return self._ended(result)

    def _ended(self, result: int) -> int:
        """What a wait for another socket's sake that ended so is to its caller."""
        if result > 0:
            return 0
        if not result:
            return -errno.EAGAIN
        return result if self.sndtimeo is None else -errno.EINTR

    @property
    def crowded(self) -> bool:
        """Has it as many messages as strangers may leave (unix_recvq_full)."""
        return len(self.queue) > MAX_DGRAM_QLEN

    # Receiving

    def recvmsg(self, task: Current, to: iov_iter, flags: int) -> tuple[int, Received]:
        """Receive into `to`: bytes or -errno, and what came along. References to its files go to the caller."""
        task.machine.sched.charge(task.machine.sched.cost.pipe)
        found = Received()
        if flags & MSG_OOB:
            return (-errno.EINVAL if self.kind == SOCK_STREAM else -errno.EOPNOTSUPP), found
        if self.kind == SOCK_STREAM and self.state != ESTABLISHED:
            return -errno.EINVAL, found
        if self.kind == SOCK_SEQPACKET and self.state != ESTABLISHED:
            return -errno.ENOTCONN, found
        self.iolock.lock()
        try:
            if self.kind == SOCK_STREAM:
                return self._receive_stream(task, to, flags, found), found
            return self._receive_packet(task, to, flags, found), found
        finally:
            self.iolock.unlock()

    def _await_message(self, task: Current, nonblock: bool) -> int:
        """Wait for a message with the lock dropped: 1, 0 at the end of all messages, -errno."""
        while not self.queue:
            if self.error:
                return self.take_error()
            if self.shutdown_mask & RCV_SHUTDOWN:
                return -errno.EAGAIN if self.kind == SOCK_DGRAM and nonblock else 0
            if nonblock:
                return -errno.EAGAIN
            self.iolock.unlock()
            result = self._sleep(
                task,
                lambda: bool(self.queue or self.shutdown_mask & RCV_SHUTDOWN or self.error),
                self.rcvtimeo,
                f"a message in {self.name}",
            )
            self.iolock.lock()
            if result <= 0:
                return result or -errno.EAGAIN
        return 1

    def _attach(self, message: Message, found: Received, peek: bool) -> None:
        found.creds = message.creds
        if message.files:
            found.files = list(message.files)
            if peek:
                for file in found.files:
                    file.get()
            else:
                message.files = []

    def _receive_stream(self, task: Current, to: iov_iter, flags: int, found: Received) -> int:
        """unix_stream_read_generic."""
        peek = bool(flags & MSG_PEEK)
        nonblock = self.nonblock or bool(flags & MSG_DONTWAIT)
        wanted = to.count
        target = wanted if flags & MSG_WAITALL else min(self.rcvlowat, wanted) or 1
        copied = 0
        at = skip = 0  # of what MSG_PEEK has seen
        while True:  # who wants nothing waits for something as well
            if at >= len(self.queue):
                if copied >= target:
                    break
                if peek and copied:
                    break
                result = self._await_message(task, nonblock)
                if result <= 0:
                    return copied or result
                at = 0
            message = self.queue[at]
            if copied and self.passcred and found.creds != message.creds:
                break
            chunk = message.data[message.consumed + skip :][: to.count]
            done = to.copy_to_iter(chunk)
            if done < len(chunk):
                return copied or -errno.EFAULT
            copied += done
            had_files = bool(message.files)
            if peek:
                self._attach(message, found, True)
                if had_files or not to.count:
                    break
                at += 1
                continue
            self._attach(message, found, False)
            message.consumed += done
            if message.consumed == len(message.data) and self.queue and self.queue[0] is message:
                self.queue.pop(0)
                message.release()
            if had_files or not to.count:
                break
        return copied

    def _receive_packet(self, task: Current, to: iov_iter, flags: int, found: Received) -> int:
        """__unix_dgram_recvmsg."""
        result = self._await_message(task, self.nonblock or bool(flags & MSG_DONTWAIT))
        if result <= 0:
            return result
        peek = bool(flags & MSG_PEEK)
        message = self.queue[0] if peek else self.queue.pop(0)
        if not peek:
            for other in self.others:
                other.frees += 1
            self.wait.wake_up()
            for other in self.others:
                other.wait.wake_up()
        size = min(len(message.data), to.count)
        done = to.copy_to_iter(message.data[:size])
        if size < len(message.data):
            found.flags |= MSG_TRUNC
        if done == size:
            found.address = message.address
            self._attach(message, found, peek)
        if not peek:
            message.release()
        if done < size:
            return -errno.EFAULT
        return len(message.data) if flags & MSG_TRUNC else size

    # As a file

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        if not to.count:
            return 0
        result, found = self.recvmsg(task, to, MSG_DONTWAIT if iocb.nowait else 0)
        for file in found.files:
            file.put()
        return result

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        return self.sendmsg(task, source, MSG_DONTWAIT if iocb.nowait else 0, None, current_creds(task), [])

    def can_poll(self) -> bool:
        return True

    def edges(self, events: int) -> int:
        return (self.arrivals if events & (POLLIN | POLLRDHUP) else 0) + (self.frees if events & POLLOUT else 0)

    @property
    def writable(self) -> bool:
        """unix_writable."""
        return self.state != LISTEN and self.wmem << 2 <= self.sndbuf

    def poll(self, task: Current) -> int:
        """unix_poll, unix_dgram_poll."""
        mask = POLLERR if self.error else 0
        if self.shutdown_mask == SHUTDOWN_MASK:
            mask |= POLLHUP
        if self.shutdown_mask & RCV_SHUTDOWN:
            mask |= POLLRDHUP | POLLIN | POLLRDNORM
        if self.queue or self.pending:
            mask |= POLLIN | POLLRDNORM
        if self.kind != SOCK_DGRAM and self.state == CLOSE:
            mask |= POLLHUP
        writable = self.writable
        if self.kind == SOCK_DGRAM and self.peer is not None and self.peer.peer is not self and self.peer.crowded:
            writable = False
        if writable:
            mask |= POLLOUT | POLLWRNORM | POLLWRBAND
        return mask

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "FIONREAD":
            if self.state == LISTEN:
                return -errno.EINVAL
            ready = [len(message.data) - message.consumed for message in self.queue]
            count = sum(ready[:1] if self.kind == SOCK_DGRAM else ready)
        elif command == "TIOCOUTQ":
            count = self.wmem
        else:
            return super().ioctl(task, command, arg)
        return 0 if task.access.put_user(arg, count, 4) else -errno.EFAULT

    # Names and connections

    def bind(self, path: bytes, inode: object | None) -> int:
        """Take the name `path`, of an abstract one as it stands, else that of `inode`: 0 or -errno."""
        if self.address is not None:
            return -errno.EINVAL
        if inode is None:
            if path in self.fs.abstract:
                return -errno.EADDRINUSE
            self.fs.abstract[path] = self
        else:
            self.fs.bound[inode] = self
            self.bound_to = inode
        self.address = path
        return 0

    def autobind(self) -> None:
        """A name that nobody has: five hexadecimal digits (unix_autobind)."""
        if self.address is not None:
            return
        while True:
            self.fs.autobind = self.fs.autobind + 1 & 0xFFFFF
            name = b"\0%05x" % self.fs.autobind
            if name not in self.fs.abstract:
                self.bind(name, None)
                return

    def listen(self, backlog: int, creds: Creds) -> int:
        """unix_listen."""
        if self.kind == SOCK_DGRAM:
            return -errno.EOPNOTSUPP
        if self.address is None or self.state not in (CLOSE, LISTEN):
            return -errno.EINVAL
        self.backlog = min(backlog & 0xFFFFFFFF, SOMAXCONN)
        self.state = LISTEN
        self.creds = creds
        self.wake()
        return 0

    def connect(self, task: Current, target: UnixSocket, creds: Creds) -> int:
        """Connect a stream or a sequence of packets to a listener (unix_stream_connect)."""
        if self.state == ESTABLISHED:
            return -errno.EISCONN
        if self.state == LISTEN:
            return -errno.EINVAL
        while True:
            if target.dead or target.state != LISTEN or target.shutdown_mask & RCV_SHUTDOWN:
                return -errno.ECONNREFUSED
            if len(target.pending) <= target.backlog:
                break
            if self.nonblock:
                return -errno.EAGAIN
            error = self._wait_for_accept(task, target)
            if error:
                return error
        new = UnixSocket(self.fs, self.kind, 0, task)
        new.address = target.address
        new.peer, self.peer = self, new
        new.state = self.state = ESTABLISHED
        new.peer_creds, self.creds = creds, creds
        new.creds = self.peer_creds = target.creds
        new.waiting_for_accept = target
        target.pending.append(new)
        target.wake()
        return 0

    def accept(self, task: Current, nonblock: bool) -> UnixSocket | int:
        """The next connection: its socket, whose reference goes to the caller, or -errno (unix_accept)."""
        if self.kind == SOCK_DGRAM:
            return -errno.EOPNOTSUPP
        if self.state != LISTEN:
            return -errno.EINVAL
        while not self.pending:
            if self.shutdown_mask & RCV_SHUTDOWN:
                return -errno.EINVAL
            if nonblock:
                return -errno.EAGAIN
            result = self._sleep(
                task,
                lambda: bool(self.pending or self.shutdown_mask & RCV_SHUTDOWN),
                self.rcvtimeo,
                f"a connection to {self.name}",
            )
            if result <= 0:
                return result or -errno.EAGAIN
        new = self.pending.pop(0)
        new.waiting_for_accept = None
        self.frees += 1
        self.wait.wake_up()
        return new


def current_creds(task: Current) -> Creds:
    """Of the process that sends or connects (scm_set_cred)."""
    return Creds(task.tgid, task.cred.uid, task.cred.gid)


def socketpair(fs: SockFs, kind: int, flags: int, task: Current) -> tuple[UnixSocket, UnixSocket]:
    """Two sockets that are connected (unix_socketpair)."""
    first, second = UnixSocket(fs, kind, flags, task), UnixSocket(fs, kind, flags, task)
    first.set_peer(second)
    second.set_peer(first)
    for each in (first, second):
        each.state = ESTABLISHED
        each.creds = each.peer_creds = Creds(task.tgid, task.cred.euid, task.cred.egid)
    return first, second
