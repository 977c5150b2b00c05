# SPDX-License-Identifier: GPL-2.0-or-later
"""read, write and their like, lseek, sendfile (fs/read_write.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.consts import (
    FMODE_CAN_READ,
    FMODE_CAN_WRITE,
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_WRITE,
    MAX_RW_COUNT,
    O_APPEND,
    UIO_MAXIOV,
)
from emu.fs.file import MAX_LFS_FILESIZE, MAXBYTES, File, kiocb
from emu.fs.hostfs import HostFile
from emu.fs.iov_iter import iov_iter
from emu.fs.pipe import PIPE_DEF_BUFFERS
from emu.kernel.args import order, pair, s64, slong
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.kernel.task import Task

RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, RWF_NOAPPEND = 1, 2, 4, 8, 16, 32
Operation = Callable[[File, "Task", kiocb, iov_iter], int]


def _read(file: File, task: Task, iocb: kiocb, to: iov_iter) -> int:
    return file.read_iter(task, iocb, to)


def _write(file: File, task: Task, iocb: kiocb, source: iov_iter) -> int:
    return file.write_iter(task, iocb, source)


def _check(file: File, write: bool) -> int:
    """vfs_read's and vfs_write's first checks."""
    mode = file.f_mode
    if not mode & (FMODE_WRITE if write else FMODE_READ):
        return -errno.EBADF
    if not mode & (FMODE_CAN_WRITE if write else FMODE_CAN_READ):
        return -errno.EINVAL
    return 0


def _transfer(
    task: Task, file: File, segments: list[tuple[int, int]], pos: int | None, write: bool, flags: int = 0
) -> int:
    """Move bytes at the file position, or at `pos`, which leaves the position alone."""
    iocb = kiocb(file.f_pos if pos is None else pos, bool(flags & RWF_APPEND), bool(flags & RWF_NOWAIT))
    buffers = iov_iter(task.access, segments)
    result = _write(file, task, iocb, buffers) if write else _read(file, task, iocb, buffers)
    if pos is None and result > 0 and not file.stream:
        file.f_pos = iocb.pos
    return result


def _one(task: Task, fd: int, buffer: int, count: int, pos: int | None, write: bool) -> int:
    if pos is not None and pos < 0:
        return -errno.EINVAL
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    if pos is not None and not file.f_mode & (FMODE_PWRITE if write else FMODE_PREAD):
        return -errno.ESPIPE
    error = _check(file, write)
    if error:
        return error
    if slong(task, count) < 0:
        return -errno.EINVAL
    if not task.access.access_ok(buffer, count):
        return -errno.EFAULT
    return _transfer(task, file, [(buffer, min(count, MAX_RW_COUNT))], pos, write)


def sys_read(task: Task, fd: int, buffer: int, count: int, *_: int) -> int:
    return _one(task, fd, buffer, count, None, False)


def sys_write(task: Task, fd: int, buffer: int, count: int, *_: int) -> int:
    return _one(task, fd, buffer, count, None, True)


def sys_pread64(task: Task, fd: int, buffer: int, count: int, pos: int, high: int, low: int) -> int:
    return _one(task, fd, buffer, count, pair(task, high, low) if task.word == 4 else s64(pos), False)


def sys_pwrite64(task: Task, fd: int, buffer: int, count: int, pos: int, high: int, low: int) -> int:
    return _one(task, fd, buffer, count, pair(task, high, low) if task.word == 4 else s64(pos), True)


def iovec_from_user(task: Task, vector: int, count: int, limit: int = UIO_MAXIOV) -> list[tuple[int, int]] | int:
    """The elements of a struct iovec array as they are; -EINVAL, -EFAULT (iovec_from_user)."""
    if count > limit:
        return -errno.EINVAL
    word = task.word
    if not count:
        return []
    access = task.access
    data = b""
    where, left = vector, 2 * word * count
    if not access.access_ok(vector, left):
        return -errno.EFAULT
    while left:  # the length of each element is read before its address
        if access.get_user(where + word, word, "copy_iovec_from_user") is None:
            return -errno.EFAULT
        piece = access.copy_from_user(
            where, min(left, max(2 * word, PAGE_SIZE - (where & PAGE_SIZE - 1))), "copy_iovec_from_user"
        )
        if piece is None:
            return -errno.EFAULT
        piece = piece[: len(piece) // (2 * word) * 2 * word]
        data += piece
        where += len(piece)
        left -= len(piece)
    values = struct.unpack(f"{order(task)}{2 * count}{'Q' if word == 8 else 'I'}", data)
    if any(slong(task, length) < 0 for length in values[1::2]):
        return -errno.EINVAL
    return list(zip(values[::2], values[1::2], strict=True))


def import_iovec(task: Task, vector: int, count: int, limit: int = UIO_MAXIOV) -> list[tuple[int, int]] | int:
    """The segments of a struct iovec array, of the caller's own memory and no more of them than a call may move;
    -EINVAL, -EFAULT (import_iovec)."""
    elements = iovec_from_user(task, vector, count, limit)
    if isinstance(elements, int):
        return elements
    segments = []
    left = MAX_RW_COUNT
    for base, length in elements:
        if not task.access.access_ok(base, min(length, MAX_RW_COUNT) if count == 1 else length):
            return -errno.EFAULT
        length = min(length, left)
        left -= length
        segments.append((base, length))
    return segments


def _vector(task: Task, fd: int, vector: int, count: int, pos: int | None, flags: int, write: bool) -> int:
    if pos is not None and pos < 0:
        return -errno.EINVAL
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    if pos is not None:
        if pos < 0:
            return -errno.EINVAL
        if not file.f_mode & (FMODE_PWRITE if write else FMODE_PREAD):
            return -errno.ESPIPE
    error = _check(file, write)
    if error:
        return error
    segments = import_iovec(task, vector, count)
    if isinstance(segments, int):
        return segments
    if flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND):
        return -errno.EOPNOTSUPP
    if flags & RWF_APPEND and (flags & RWF_NOAPPEND or not write):
        return -errno.EINVAL
    if not sum(length for _, length in segments):
        return 0
    saved = file.f_flags
    if flags & RWF_NOAPPEND:
        file.f_flags &= ~O_APPEND
    try:
        return _transfer(task, file, segments, pos, write, flags)
    finally:
        if flags & RWF_NOAPPEND:
            file.f_flags = saved


def sys_readv(task: Task, fd: int, vector: int, count: int, *_: int) -> int:
    return _vector(task, fd, vector, count, None, 0, False)


def sys_writev(task: Task, fd: int, vector: int, count: int, *_: int) -> int:
    return _vector(task, fd, vector, count, None, 0, True)


def _position(low: int, high: int, task: Task) -> int:
    """preadv and pwritev take the low word first, on every architecture (pos_from_hilo)."""
    return s64(high << 32 | low) if task.word == 4 else s64(low)


def sys_preadv(task: Task, fd: int, vector: int, count: int, low: int, high: int, *_: int) -> int:
    return _vector(task, fd, vector, count, _position(low, high, task), 0, False)


def sys_pwritev(task: Task, fd: int, vector: int, count: int, low: int, high: int, *_: int) -> int:
    return _vector(task, fd, vector, count, _position(low, high, task), 0, True)


def sys_preadv2(task: Task, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    pos = _position(low, high, task)
    return _vector(task, fd, vector, count, None if pos == -1 else pos, flags & 0xFFFFFFFF, False)


def sys_pwritev2(task: Task, fd: int, vector: int, count: int, low: int, high: int, flags: int) -> int:
    pos = _position(low, high, task)
    return _vector(task, fd, vector, count, None if pos == -1 else pos, flags & 0xFFFFFFFF, True)


def _llseek(task: Task, fd: int, offset: int, whence: int) -> int:
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    whence &= 0xFFFFFFFF
    if whence > 4:
        return -errno.EINVAL
    if not file.f_mode & FMODE_LSEEK:
        return -errno.ESPIPE
    return file.llseek(offset, whence, task)


def sys_lseek(task: Task, fd: int, offset: int, whence: int, *_: int) -> int:
    result = _llseek(task, fd, slong(task, offset), whence)
    return -errno.EOVERFLOW if task.word == 4 and result > 0x7FFFFFFF else result


def sys_llseek(task: Task, fd: int, high: int, low: int, result: int, whence: int, *_: int) -> int:
    """_llseek of a 32-bit guest: the position goes to memory."""
    pos = _llseek(task, fd, s64(high << 32 | low), whence)
    if pos < 0:
        return pos
    return 0 if task.access.put_user(result, pos, 8, "_copy_to_user") else -errno.EFAULT


def _sendfile(task: Task, out_fd: int, in_fd: int, offset_ptr: int, count: int, size: int) -> int:
    """sendfile, through a buffer of the kernel; `size` of the offset in bytes."""
    pos: int | None = None
    if offset_ptr:
        value = task.access.get_user(offset_ptr, size, "_copy_from_user")
        if value is None:
            return -errno.EFAULT
        pos = s64(value) if size == 8 else slong(task, value)
    result = _do_sendfile(task, out_fd, in_fd, pos, count)
    if pos is not None and not task.access.put_user(offset_ptr, pos + max(result, 0), size):
        return -errno.EFAULT  # it is stored after an error as well
    return result


def _do_sendfile(task: Task, out_fd: int, in_fd: int, pos: int | None, count: int) -> int:
    source = task.files.fdget(in_fd & 0xFFFFFFFF)
    target = task.files.fdget(out_fd & 0xFFFFFFFF)
    if source is None or not source.f_mode & FMODE_READ:
        return -errno.EBADF
    if pos is not None and not source.f_mode & FMODE_PREAD:
        return -errno.ESPIPE
    if pos is not None and pos < 0:
        return -errno.EINVAL
    if target is None or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if target.f_flags & O_APPEND:
        return -errno.EINVAL
    start = source.f_pos if pos is None else pos
    most = MAXBYTES if isinstance(source, HostFile) or isinstance(target, HostFile) else MAX_LFS_FILESIZE
    if count and start >= most:
        return -errno.EOVERFLOW
    result = _copy(task, source, start, target, target.f_pos, count)
    if result > 0:
        if not target.stream:
            target.f_pos += result
        if pos is None:
            source.f_pos += result
    return result


class KernelBuffer(iov_iter):
    """Bytes of the kernel where a file expects guest memory."""

    splices = True

    def __init__(self, task: Task, data: bytes = b"", room: int = 0) -> None:
        super().__init__(task.access, [(0, room or len(data))])
        self.data = bytearray(data)
        self.filling = bool(room)

    def copy_to_iter(self, data: bytes, function: str = "") -> int:
        data = data[: self.count]
        self.data += data
        self.count -= len(data)
        return len(data)

    def zero(self, size: int, function: str = "") -> int:
        return self.copy_to_iter(bytes(min(size, self.count)))

    def copy_from_iter(self, size: int, function: str = "") -> bytes:
        data = bytes(self.data[:size])
        del self.data[: len(data)]
        self.count -= len(data)
        return data

    def revert(self, size: int) -> None:
        raise NotImplementedError("bytes of the kernel are never taken back")

    def fault_in_readable(self, size: int) -> int:
        return 0


def _copy(task: Task, source: File, source_pos: int, target: File, target_pos: int, count: int) -> int:
    """Move bytes between files: count or -errno, what was moved first. They go by way of a pipe, of which each slot
    holds no more than a page, or the part of one where the transfer begins (splice_direct_to_actor)."""
    if not source.splices:
        return -errno.EINVAL
    done = 0
    count = min(count, MAX_RW_COUNT)
    while done < count:
        most = PIPE_DEF_BUFFERS * PAGE_SIZE
        if source.splices_pages:
            most -= source_pos + done & PAGE_SIZE - 1
        room = KernelBuffer(task, room=min(count - done, most))
        got = source.read_iter(task, kiocb(source_pos + done), room)
        if got <= 0:
            return done or got
        iocb = kiocb(target_pos + done)
        wrote = _write(target, task, iocb, KernelBuffer(task, bytes(room.data)))
        if wrote <= 0:
            return done or wrote
        done += wrote
        if wrote < got:
            break
    return done


def sys_sendfile(task: Task, out_fd: int, in_fd: int, offset: int, count: int, *_: int) -> int:
    return _sendfile(task, out_fd, in_fd, offset, count, task.word)


def sys_sendfile64(task: Task, out_fd: int, in_fd: int, offset: int, count: int, *_: int) -> int:
    return _sendfile(task, out_fd, in_fd, offset, count, 8)


def sys_copy_file_range(task: Task, in_fd: int, in_off: int, out_fd: int, out_off: int, count: int, flags: int) -> int:
    """copy_file_range between regular files."""
    source = task.files.fdget(in_fd & 0xFFFFFFFF)
    target = task.files.fdget(out_fd & 0xFFFFFFFF)
    if source is None or target is None:
        return -errno.EBADF
    positions = []
    for file, pointer in ((source, in_off), (target, out_off)):
        if pointer:
            value = task.access.get_user(pointer, 8, "_copy_from_user")
            if value is None:
                return -errno.EFAULT
            positions.append(s64(value))
        else:
            positions.append(file.f_pos)
    if flags & 0xFFFFFFFF:
        return -errno.EINVAL
    if source.f_inode.is_dir or target.f_inode.is_dir:
        return -errno.EISDIR
    if not source.f_inode.is_reg or not target.f_inode.is_reg:
        return -errno.EINVAL
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE or target.f_flags & O_APPEND:
        return -errno.EBADF
    if source.f_inode.sb is not target.f_inode.sb:
        return -errno.EXDEV
    start, end = positions
    if start < 0 or end < 0:
        return -errno.EINVAL
    count = min(count, max(0, source.f_inode.i_size - start))
    if source.f_inode.key == target.f_inode.key and start < end + count and end < start + count:
        return -errno.EINVAL
    result = _copy(task, source, start, target, end, count)
    if result > 0:
        for file, pointer, pos in ((source, in_off, start), (target, out_off, end)):
            if not pointer:
                file.f_pos = pos + result
            elif not task.access.put_user(pointer, pos + result, 8, "_copy_to_user"):
                return -errno.EFAULT
    return result


SYSCALLS = {
    "read": sys_read,
    "write": sys_write,
    "pread64": sys_pread64,
    "pwrite64": sys_pwrite64,
    "readv": sys_readv,
    "writev": sys_writev,
    "preadv": sys_preadv,
    "pwritev": sys_pwritev,
    "preadv2": sys_preadv2,
    "pwritev2": sys_pwritev2,
    "lseek": sys_lseek,
    "_llseek": sys_llseek,
    "sendfile": sys_sendfile,
    "sendfile64": sys_sendfile64,
    "copy_file_range": sys_copy_file_range,
}
