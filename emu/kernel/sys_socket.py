# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls of sockets, and their structures (net/socket.c, net/core/scm.c, net/core/sock.c). AF_UNIX is the one
family that there is."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.abi import is_powerpc
from emu.fs.consts import FMODE_PATH, O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE, S_IFMT, S_IFSOCK
from emu.fs.file import File
from emu.fs.iov_iter import iov_iter
from emu.fs.namei import do_mknod, inode_permission, path_lookup
from emu.fs.unix_socket import (
    LISTEN,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_OOB,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    Creds,
    Received,
    UnixSocket,
    current_creds,
    socketpair,
)
from emu.kernel.args import get_timespec, order, s32, timespec_ns
from emu.kernel.sys_read_write import import_iovec
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.kernel.task import Task

AF_UNSPEC, AF_UNIX, AF_MAX = 0, 1, 46
SOCK_RAW, SOCK_MAX = 3, 11
SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS = 1, 1, 2
SCM_MAX_FD = 253
UN_PATH = 108
MAX_RW_COUNT = 0x7FFFF000
MAY_WRITE = 2
UCRED = 12
CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID = 21, 7, 6
MSG_WAITFORONE = 0x10000
MSG_CMSG_COMPAT = 0x80000000
# Options of SOL_SOCKET by their numbers; PowerPC has some of its own.
_OPTIONS = {
    2: "reuseaddr", 3: "type", 4: "error", 5: "dontroute", 6: "broadcast", 7: "sndbuf", 8: "rcvbuf", 9: "keepalive",
    10: "oobinline", 13: "linger", 15: "reuseport", 30: "acceptconn", 38: "protocol", 39: "domain",
    66: "rcvtimeo", 67: "sndtimeo",
}  # fmt: skip
_OWN = {16: "passcred", 17: "peercred", 18: "rcvlowat", 19: "sndlowat", 20: "rcvtimeo", 21: "sndtimeo"}
_OWN_POWERPC = {16: "rcvlowat", 17: "sndlowat", 18: "rcvtimeo", 19: "sndtimeo", 20: "passcred", 21: "peercred"}
SO_BSDCOMPAT = 14
_SWITCHES = ("reuseaddr", "dontroute", "broadcast", "keepalive", "oobinline", "reuseport")
_SOCK_MIN_SNDBUF, _SOCK_MIN_RCVBUF, _MEM_MAX = 4608, 2304, 212992


def _socket(task: Task, fd: int) -> UnixSocket | int:
    """sockfd_lookup."""
    file = task.files.get(s32(fd))
    if file is None or file.f_mode & FMODE_PATH:
        return -errno.EBADF
    return file if isinstance(file, UnixSocket) else -errno.ENOTSOCK


def _kind(family: int, kind: int, protocol: int) -> int:
    """The type of an AF_UNIX socket, or -errno (__sock_create, unix_create)."""
    if not 0 <= family < AF_MAX:
        return -errno.EAFNOSUPPORT
    if not 0 <= kind < SOCK_MAX:
        return -errno.EINVAL
    if family != AF_UNIX:
        return -errno.EAFNOSUPPORT
    if protocol not in (0, AF_UNIX):
        return -errno.EPROTONOSUPPORT
    if kind == SOCK_RAW:
        return SOCK_DGRAM
    return kind if kind in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET) else -errno.ESOCKTNOSUPPORT


def _install(task: Task, file: File, flags: int) -> int:
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), 0, bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_socket(task: Task, family: int, kind: int, protocol: int, *_: int) -> int:
    flags, kind = kind & 0xFFFFFFF0, kind & 0xF
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    kind = _kind(s32(family), kind, s32(protocol))
    if kind < 0:
        return kind
    return _install(task, UnixSocket(task.machine.vfs.sockfs, kind, flags & O_NONBLOCK, task), flags)


def sys_socketpair(task: Task, family: int, kind: int, protocol: int, pair: int, *_: int) -> int:
    flags, kind = kind & 0xFFFFFFF0, kind & 0xF
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    limit = task.rlimit(RLIMIT_NOFILE)
    first = task.files.find_free(0)
    second = task.files.find_free(first + 1)
    if second >= limit:
        return -errno.EMFILE
    for place, fd in ((pair, first), (pair + 4, second)):  # told before the sockets are made
        if not task.access.put_user(place, fd, 4):
            return -errno.EFAULT
    kind = _kind(s32(family), kind, s32(protocol))
    if kind < 0:
        return kind
    for file in socketpair(task.machine.vfs.sockfs, kind, flags & O_NONBLOCK, task):
        _install(task, file, flags)
    return 0


# Addresses


def _get_address(task: Task, address: int, length: int) -> bytes | int:
    """A struct sockaddr of the guest, as it stands (move_addr_to_kernel)."""
    length = s32(length)
    if not 0 <= length <= 128:
        return -errno.EINVAL
    data = task.access.copy_from_user(address, length) if length else b""
    return -errno.EFAULT if data is None else data


def _put_address(task: Task, name: bytes | None, address: int, length_at: int) -> int:
    """Store a name, as much as fits, and its real length (move_addr_to_user): 0 or -errno."""
    return _move_addr_to_user(task, struct.pack(order(task) + "H", AF_UNIX) + (name or b""), address, length_at)


def _move_addr_to_user(task: Task, data: bytes, address: int, length_at: int) -> int:
    room = task.access.get_user(length_at, 4, "move_addr_to_user")
    if room is None:
        return -errno.EFAULT
    if s32(room) < 0:
        return -errno.EINVAL if data else 0
    if not task.access.put_user(length_at, len(data), 4, "move_addr_to_user"):
        return -errno.EFAULT
    shown = data[:room]
    return 0 if not shown or task.access.copy_to_user(address, shown) else -errno.EFAULT


def _put_sender(task: Task, found: Received, address: int, length_at: int) -> int:
    """Store the name of who sent a message, a length of 0 where that has none: 0 or -errno."""
    if found.address is not None:
        return _put_address(task, found.address, address, length_at)
    return _move_addr_to_user(task, b"", address, length_at)


def _name(task: Task, data: bytes) -> bytes | int:
    """sun_path of an address: b"" for an unnamed one, as it stands with a NUL first, else up to its NUL, which it
    keeps (unix_validate_addr, unix_mkname_bsd)."""
    if len(data) < 2 or len(data) > 2 + UN_PATH or struct.unpack(order(task) + "H", data[:2])[0] != AF_UNIX:
        return -errno.EINVAL
    path = data[2:]
    return path if path[:1] in (b"", b"\0") else path.split(b"\0")[0] + b"\0"


def _find(task: Task, name: bytes, kind: int) -> UnixSocket | int:
    """Whose name it is (unix_find_other)."""
    fs = task.machine.vfs.sockfs
    found: UnixSocket | None
    if name[:1] == b"\0":
        found = fs.abstract.get(name)
    else:
        place = path_lookup(task, task.fs.pwd, name[:-1], 1)
        if isinstance(place, int):
            return place
        error = inode_permission(place, task, MAY_WRITE)
        if error:
            return error
        found = fs.bound.get(place.inode.key) if place.inode.i_mode & S_IFMT == S_IFSOCK else None
    if found is None:
        return -errno.ECONNREFUSED
    return found if found.kind == kind else -errno.EPROTOTYPE


def sys_bind(task: Task, fd: int, address: int, length: int, *_: int) -> int:
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    data = _get_address(task, address, length)
    if isinstance(data, int):
        return data
    if len(data) == 2 and data == struct.pack(order(task) + "H", AF_UNIX):
        sock.autobind()
        return 0
    name = _name(task, data)
    if isinstance(name, int):
        return name
    if name[:1] == b"\0":
        return sock.bind(name, None)
    if sock.address is not None:
        return -errno.EINVAL
    error = do_mknod(task, task.fs.pwd, name[:-1], S_IFSOCK | sock.f_inode.i_mode & 0o7777, 0)
    if error:
        return -errno.EADDRINUSE if error == -errno.EEXIST else error
    place = path_lookup(task, task.fs.pwd, name[:-1], 0)
    return place if isinstance(place, int) else sock.bind(name, place.inode.key)


def sys_connect(task: Task, fd: int, address: int, length: int, *_: int) -> int:
    sock = _socket(task, fd)
    if sock == -errno.EBADF:
        return sock
    data = _get_address(task, address, length)
    if isinstance(data, int):
        return data
    if isinstance(sock, int):
        return sock
    if len(data) < 2:
        return -errno.EINVAL
    if sock.kind == SOCK_DGRAM and struct.unpack(order(task) + "H", data[:2])[0] == AF_UNSPEC:
        sock.forget_peer()
        sock.flush_queue()
        return 0
    name = _name(task, data)
    if isinstance(name, int):
        return name
    if not name:
        return -errno.EINVAL
    if sock.passcred:
        sock.autobind()
    target = _find(task, name, sock.kind)
    if isinstance(target, int):
        return target
    if sock.kind != SOCK_DGRAM:
        return sock.connect(task, target, Creds(task.tgid, task.cred.euid, task.cred.egid))
    if target.peer is not None and target.peer is not sock:
        return -errno.EPERM
    sock.forget_peer()
    sock.set_peer(target)
    sock.state = 1
    return 0


def sys_listen(task: Task, fd: int, backlog: int, *_: int) -> int:
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    return sock.listen(s32(backlog), Creds(task.tgid, task.cred.euid, task.cred.egid))


def sys_accept4(task: Task, fd: int, address: int, length: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    sock = _socket(task, fd)
    if sock == -errno.EBADF:
        return sock
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    if isinstance(sock, int):
        return sock
    new = sock.accept(task, sock.nonblock)
    if isinstance(new, int):
        return new
    new.f_flags |= flags & O_NONBLOCK
    if address:
        error = _put_address(task, None if new.peer is None else new.peer.address, address, length)
        if error:
            new.put()
            return error
    return _install(task, new, flags)


def sys_accept(task: Task, fd: int, address: int, length: int, *_: int) -> int:
    return sys_accept4(task, fd, address, length, 0)


def sys_getsockname(task: Task, fd: int, address: int, length: int, *_: int) -> int:
    sock = _socket(task, fd)
    return sock if isinstance(sock, int) else _put_address(task, sock.address, address, length)


def sys_getpeername(task: Task, fd: int, address: int, length: int, *_: int) -> int:
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    if sock.peer is None:
        return -errno.ENOTCONN
    return _put_address(task, sock.peer.address, address, length)


def sys_shutdown(task: Task, fd: int, how: int, *_: int) -> int:
    sock = _socket(task, fd)
    return sock if isinstance(sock, int) else sock.shutdown(s32(how))


# Messages


class _Msghdr:
    """struct msghdr: addresses and lengths."""

    def __init__(self, task: Task, at: int) -> None:
        self.at = at
        word = task.word
        layout = order(task) + ("QI4xQQQQI4x" if word == 8 else "7I")
        self.size = struct.calcsize(layout)
        data = task.access.copy_from_user(at, self.size, "copy_msghdr_from_user")
        self.readable = data is not None
        if data is not None:
            self.name, length, self.iov, self.iovlen, self.control, self.controllen, self.flags = struct.unpack(
                layout, data
            )
            self.namelen = s32(length)
        # Where what comes back goes: msg_namelen, msg_controllen, msg_flags
        self.namelen_at, self.controllen_at, self.flags_at = (
            (at + 8, at + 40, at + 48) if word == 8 else (at + 4, at + 20, at + 24)
        )

    def buffers(self, task: Task) -> iov_iter | int:
        """Its segments; -EMSGSIZE where there are too many."""
        if self.iovlen > 1024:
            return -errno.EMSGSIZE
        segments = import_iovec(task, self.iov, self.iovlen)
        return segments if isinstance(segments, int) else iov_iter(task.access, segments)


def _align(task: Task, size: int) -> int:
    return size + task.word - 1 & -task.word


def _parse_control(task: Task, control: int, length: int) -> tuple[Creds, list[File]] | int:
    """What a program sends beside the bytes: whom it says to be, and files, each with a reference (scm_send)."""
    word, o = task.word, order(task)
    head = 2 * word if word == 8 else 12
    creds, files = current_creds(task), list[File]()
    if length > PAGE_SIZE * 20:
        return -errno.ENOBUFS
    data = task.access.copy_from_user(control, length) if length else b""
    if data is None:
        return -errno.EFAULT
    at = 0
    while at + head <= len(data):
        size, level, kind = struct.unpack_from(o + ("Qii" if word == 8 else "Iii"), data, at)
        if size < head or at + size > len(data):
            return _drop(files, -errno.EINVAL)
        body = data[at + head : at + size]
        at += _align(task, size)
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            count = len(body) // 4
            if len(files) + count > SCM_MAX_FD:
                return _drop(files, -errno.EINVAL)
            for fd in struct.unpack_from(f"{o}{count}i", body):
                file = task.files.get(fd)
                if file is None:
                    return _drop(files, -errno.EBADF)
                file.get()
                files.append(file)
        elif kind == SCM_CREDENTIALS:
            if len(body) != UCRED:
                return _drop(files, -errno.EINVAL)
            pid, uid, gid = struct.unpack(o + "iII", body)
            if not _may_claim(task, pid, uid, gid):
                return _drop(files, -errno.EPERM)
            creds = Creds(pid, uid, gid)
        else:
            return _drop(files, -errno.EINVAL)
    return creds, files


def _may_claim(task: Task, pid: int, uid: int, gid: int) -> bool:
    """scm_check_creds."""
    cred = task.cred
    return (
        (pid == task.tgid or task.capable(CAP_SYS_ADMIN))
        and (uid in (cred.uid, cred.euid, cred.suid) or task.capable(CAP_SETUID))
        and (gid in (cred.gid, cred.egid, cred.sgid) or task.capable(CAP_SETGID))
    )


def _drop(files: list[File], error: int) -> int:
    for file in files:
        file.put()
    return error


def _send(task: Task, sock: UnixSocket, source: iov_iter, flags: int, to: bytes, control: tuple[int, int]) -> int:
    """unix_stream_sendmsg and unix_dgram_sendmsg as far as they look at addresses and control messages."""
    ancillary = _parse_control(task, *control)
    if isinstance(ancillary, int):
        return ancillary
    creds, files = ancillary
    if flags & MSG_OOB and sock.kind == SOCK_DGRAM:
        return _drop(files, -errno.EOPNOTSUPP)
    target: UnixSocket | int | None = None
    if to and sock.kind == SOCK_STREAM:
        target = -errno.EISCONN if sock.state == 1 else -errno.EOPNOTSUPP
    elif to and sock.kind == SOCK_DGRAM:
        name = _name(task, to)
        target = name if isinstance(name, int) else _find(task, name, sock.kind) if name else -errno.EINVAL
        if isinstance(target, UnixSocket) and target.peer is not None and target.peer is not sock:
            target = -errno.EPERM  # it talks to another one only
    if isinstance(target, int):
        return _drop(files, target)
    result = sock.sendmsg(task, source, flags, target, creds, files)
    return _drop(files, result) if result < 0 or (not result and sock.kind == SOCK_STREAM) else result


def sys_sendto(task: Task, fd: int, buffer: int, size: int, flags: int, address: int, length: int) -> int:
    size = min(size, MAX_RW_COUNT)
    if not task.access.access_ok(buffer, size):
        return -errno.EFAULT
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    to = _get_address(task, address, length) if address else b""
    if isinstance(to, int):
        return to
    return _send(task, sock, iov_iter(task.access, [(buffer, size)]), flags & 0xFFFFFFFF, to, (0, 0))


def sys_send(task: Task, fd: int, buffer: int, size: int, flags: int, *_: int) -> int:
    return sys_sendto(task, fd, buffer, size, flags, 0, 0)


def _sendmsg(task: Task, sock: UnixSocket, at: int, flags: int) -> int:
    head = _Msghdr(task, at)
    if not head.readable:
        return -errno.EFAULT
    if head.namelen < 0:
        return -errno.EINVAL
    to = _get_address(task, head.name, min(head.namelen, 128)) if head.name and head.namelen else b""
    if isinstance(to, int):
        return to
    source = head.buffers(task)
    if isinstance(source, int):
        return source
    if head.controllen > 0x7FFFFFFF:
        return -errno.ENOBUFS
    return _send(task, sock, source, flags & 0x7FFFFFFF, to, (head.control, head.controllen))


def sys_sendmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    if flags & MSG_CMSG_COMPAT and task.word == 8:
        return -errno.EINVAL
    sock = _socket(task, fd)
    return sock if isinstance(sock, int) else _sendmsg(task, sock, message, flags)


def sys_sendmmsg(task: Task, fd: int, vector: int, count: int, flags: int, *_: int) -> int:
    """Several messages: how many were sent, or what the first one got."""
    if flags & MSG_CMSG_COMPAT and task.word == 8:
        return -errno.EINVAL
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    step = 64 if task.word == 8 else 32
    count = min(count & 0xFFFFFFFF, 1024)
    for index in range(count):
        at = vector + index * step
        result = _sendmsg(task, sock, at, flags)
        if result >= 0 and not task.access.put_user(at + step - (8 if task.word == 8 else 4), result, 4):
            result = -errno.EFAULT
        if result < 0:
            return index or result
    return count


def _put_control(task: Task, sock: UnixSocket, found: Received, control: int, room: int, flags: int) -> tuple[int, int]:
    """Store who sent it and its files, as much as fits: (bytes used, MSG_CTRUNC or 0) (scm_recv, put_cmsg,
    scm_detach_fds)."""
    word, o = task.word, order(task)
    head = 2 * word if word == 8 else 12
    layout = o + ("Qii" if word == 8 else "Iii")
    used = lost = 0
    if sock.passcred:
        creds = found.creds or Creds()
        body = struct.pack(o + "iII", creds.pid, creds.uid, creds.gid)
        size = head + len(body)
        if room < head:
            lost = MSG_CTRUNC
        else:
            if room < size:
                lost, size = MSG_CTRUNC, room
            data = struct.pack(layout, size, SOL_SOCKET, SCM_CREDENTIALS) + body
            if task.access.copy_to_user(control, data[:size], "put_cmsg"):
                used = min(_align(task, head + len(body)), room)
    fds: list[int] = []
    for file in found.files if room - used > head else ():
        if head + 4 * len(fds) + 4 > room - used:
            break
        file.get()
        fd = _install(task, file, O_CLOEXEC if flags & MSG_CMSG_CLOEXEC else 0)
        if fd < 0:
            break
        fds.append(fd)
    if fds:
        size = head + 4 * len(fds)
        data = struct.pack(layout, size, SOL_SOCKET, SCM_RIGHTS) + struct.pack(f"{o}{len(fds)}i", *fds)
        if task.access.copy_to_user(control + used, data, "scm_detach_fds"):
            used = min(used + _align(task, size), room)
    if len(fds) < len(found.files):
        lost = MSG_CTRUNC
    for file in found.files:
        file.put()
    return used, lost


def _recvmsg(task: Task, sock: UnixSocket, at: int, flags: int) -> int:
    head = _Msghdr(task, at)
    if not head.readable:
        return -errno.EFAULT
    if head.namelen < 0:
        return -errno.EINVAL
    to = head.buffers(task)
    if isinstance(to, int):
        return to
    result, found = sock.recvmsg(task, to, flags & 0xFFFFFFFF)
    if result < 0:
        return _drop(found.files, result)
    used, lost = _put_control(task, sock, found, head.control, head.controllen, flags)
    if head.name:
        error = _put_sender(task, found, head.name, head.namelen_at)
        if error:
            return error
    out = found.flags | lost | flags & MSG_CMSG_CLOEXEC
    if not task.access.put_user(head.flags_at, out, 4):
        return -errno.EFAULT
    return result if task.access.put_user(head.controllen_at, used, task.word) else -errno.EFAULT


def sys_recvmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    if flags & MSG_CMSG_COMPAT and task.word == 8:
        return -errno.EINVAL
    sock = _socket(task, fd)
    return sock if isinstance(sock, int) else _recvmsg(task, sock, message, flags)


def sys_recvfrom(task: Task, fd: int, buffer: int, size: int, flags: int, address: int, length: int) -> int:
    size = min(size, MAX_RW_COUNT)
    if not task.access.access_ok(buffer, size):
        return -errno.EFAULT
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    result, found = sock.recvmsg(task, iov_iter(task.access, [(buffer, size)]), flags & 0xFFFFFFFF)
    _drop(found.files, 0)
    error = _put_sender(task, found, address, length) if result >= 0 and address else 0
    return error or result


def sys_recv(task: Task, fd: int, buffer: int, size: int, flags: int, *_: int) -> int:
    return sys_recvfrom(task, fd, buffer, size, flags, 0, 0)


def _recvmmsg(task: Task, fd: int, vector: int, count: int, flags: int, timeout: int, width: int) -> int:
    """Several messages: how many came, or what the first one got. The timeout is looked at after each."""
    end = None
    if timeout:
        value = get_timespec(task, timeout, width)
        if isinstance(value, int):
            return value
        limit = timespec_ns(value)
        if limit < 0:
            return limit
        end = task.machine.sched.now() + limit
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    step = 64 if task.word == 8 else 32
    count = min(count & 0xFFFFFFFF, 1024)
    for index in range(count):
        at = vector + index * step
        result = _recvmsg(task, sock, at, flags & ~MSG_WAITFORONE)
        if result >= 0 and not task.access.put_user(at + step - (8 if task.word == 8 else 4), result, 4):
            result = -errno.EFAULT
        if result < 0:
            return index or result
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        if end is not None and task.machine.sched.now() >= end:
            return index + 1
    return count


def sys_recvmmsg(task: Task, fd: int, vector: int, count: int, flags: int, timeout: int, *_: int) -> int:
    return _recvmmsg(task, fd, vector, count, flags, timeout, task.word)


def sys_recvmmsg_time64(task: Task, fd: int, vector: int, count: int, flags: int, timeout: int, *_: int) -> int:
    return _recvmmsg(task, fd, vector, count, flags, timeout, 8)


# Options


def _option(task: Task, number: int) -> str | None:
    own = _OWN_POWERPC if is_powerpc(task.arch) else _OWN
    return _OPTIONS.get(number) or own.get(number)


def _timeval(task: Task, number: int) -> str:
    """struct __kernel_sock_timeval or __kernel_old_timeval: two words or two 64-bit values."""
    return order(task) + ("qq" if task.word == 8 or number in (66, 67) else "ii")


def sys_setsockopt(task: Task, fd: int, level: int, number: int, address: int, length: int, *_: int) -> int:
    length, number = s32(length), s32(number)
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    if length < 0:
        return -errno.EINVAL
    if s32(level) != SOL_SOCKET:
        return -errno.EOPNOTSUPP
    name = _option(task, number)
    if length < 4:
        return -errno.EINVAL
    first = task.access.get_user(address, 4, "sk_setsockopt")
    if first is None:
        return -errno.EFAULT
    value = s32(first)
    if name in ("rcvtimeo", "sndtimeo"):
        layout = _timeval(task, number)
        size = struct.calcsize(layout)
        data = task.access.copy_from_user(address, size) if length >= size else None
        if data is None:
            return -errno.EINVAL if length < size else -errno.EFAULT
        seconds, micro = struct.unpack(layout, data)
        if not 0 <= micro < 1_000_000:
            return -errno.EDOM
        ns = seconds * 10**9 + micro * 1000
        setattr(sock, name, 0 if seconds < 0 else ns or None)
    elif name == "sndbuf":
        sock.sndbuf = max(2 * min(value & 0xFFFFFFFF, _MEM_MAX), _SOCK_MIN_SNDBUF)
        sock.wait.wake_up()
    elif name == "rcvbuf":
        sock.rcvbuf = max(2 * min(value & 0xFFFFFFFF, _MEM_MAX), _SOCK_MIN_RCVBUF)
    elif name == "rcvlowat":
        sock.rcvlowat = 0x7FFFFFFF if value < 0 else value or 1
    elif name == "passcred":
        sock.passcred = bool(value)
    elif number == SO_BSDCOMPAT:
        pass  # it is only there to be set
    elif name in _SWITCHES:
        sock.switches[name] = int(bool(value))
    elif name == "linger":
        return 0 if length >= 8 else -errno.EINVAL
    else:
        return -errno.ENOPROTOOPT
    return 0


def sys_getsockopt(task: Task, fd: int, level: int, number: int, address: int, length_at: int, *_: int) -> int:
    number = s32(number)
    sock = _socket(task, fd)
    if isinstance(sock, int):
        return sock
    if s32(level) != SOL_SOCKET:
        task.access.copy_from_user(length_at, 4)  # it is looked at before the level is
        return -errno.EOPNOTSUPP
    told = task.access.get_user(length_at, 4, "sk_getsockopt")
    if told is None:
        return -errno.EFAULT
    room = s32(told)
    if room < 0:
        return -errno.EINVAL
    name = _option(task, number)
    o = order(task)
    if name in ("rcvtimeo", "sndtimeo"):
        seconds, ns = divmod(getattr(sock, name) or 0, 10**9)
        data = struct.pack(_timeval(task, number), seconds, ns // 1000)
    elif name == "peercred":
        data = struct.pack(o + "iII", sock.peer_creds.pid, sock.peer_creds.uid, sock.peer_creds.gid)
    elif name == "linger":
        data = bytes(8)
    else:
        value = {
            "type": sock.kind, "error": 0, "sndbuf": sock.sndbuf, "rcvbuf": sock.rcvbuf, "rcvlowat": sock.rcvlowat,
            "sndlowat": 1, "passcred": int(sock.passcred), "acceptconn": int(sock.state == LISTEN), "protocol": 0,
            "domain": AF_UNIX, **sock.switches,
        }.get(name or "")  # fmt: skip
        if name == "error":
            value = -sock.take_error()
        if value is None and name in _SWITCHES:
            value = 0
        if value is None:
            return -errno.ENOPROTOOPT
        data = struct.pack(o + "i", value)
    data = data[:room]
    if not task.access.copy_to_user(address, data, "sk_getsockopt"):
        return -errno.EFAULT
    return 0 if task.access.put_user(length_at, len(data), 4) else -errno.EFAULT


SYSCALLS: dict[str, Callable[..., int]] = {
    "socket": sys_socket,
    "socketpair": sys_socketpair,
    "bind": sys_bind,
    "connect": sys_connect,
    "listen": sys_listen,
    "accept": sys_accept,
    "accept4": sys_accept4,
    "getsockname": sys_getsockname,
    "getpeername": sys_getpeername,
    "shutdown": sys_shutdown,
    "send": sys_send,
    "sendto": sys_sendto,
    "sendmsg": sys_sendmsg,
    "sendmmsg": sys_sendmmsg,
    "recv": sys_recv,
    "recvfrom": sys_recvfrom,
    "recvmsg": sys_recvmsg,
    "recvmmsg": sys_recvmmsg,
    "recvmmsg_time64": sys_recvmmsg_time64,
    "setsockopt": sys_setsockopt,
    "getsockopt": sys_getsockopt,
}
# The calls of socketcall(2) from 1 on, and how many arguments each has.
_CALLS = (
    ("socket", 3), ("bind", 3), ("connect", 3), ("listen", 2), ("accept", 3), ("getsockname", 3), ("getpeername", 3),
    ("socketpair", 4), ("send", 4), ("recv", 4), ("sendto", 6), ("recvfrom", 6), ("shutdown", 2), ("setsockopt", 5),
    ("getsockopt", 5), ("sendmsg", 3), ("recvmsg", 3), ("accept4", 4), ("recvmmsg", 5), ("sendmmsg", 4),
)  # fmt: skip


def sys_socketcall(task: Task, call: int, address: int, *_: int) -> int:
    """All calls behind one number, on PowerPC."""
    if not 1 <= s32(call) <= len(_CALLS):
        return -errno.EINVAL
    name, count = _CALLS[s32(call) - 1]
    data = task.access.copy_from_user(address, count * task.word)
    if data is None:
        return -errno.EFAULT
    args = struct.unpack(f"{order(task)}{count}{'Q' if task.word == 8 else 'I'}", data)
    function = SYSCALLS[name]
    return function(task, *args, *[0] * (6 - count))


SYSCALLS["socketcall"] = sys_socketcall
