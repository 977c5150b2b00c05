# SPDX-License-Identifier: GPL-2.0-or-later
"""splice, tee and vmsplice: bytes between pipes and files without the guest's memory (fs/splice.c).

Where Linux moves references to pages, the bytes are copied here: what a program changes in memory that it gave to
vmsplice is not seen by the reader of the pipe.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.consts import FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_WRITE, O_APPEND, O_NONBLOCK, SIGPIPE
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.fs.pipe import Pipe, PipeFile
from emu.kernel.args import s64
from emu.kernel.sys_read_write import KernelBuffer, import_iovec
from emu.mm.gup import get_user_pages_fast
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from emu.kernel.task import Task

SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE, SPLICE_F_GIFT = 1, 2, 4, 8
SPLICE_F_ALL = 15
PAGES_AT_ONCE = 16  # of the guest's memory (iter_to_pipe)


def _get_pipe_info(file: File) -> Pipe | None:
    return file.pipe if isinstance(file, PipeFile) else None


def _wait(task: Task, pipe: Pipe, condition: Callable[[], bool]) -> int:
    """Let others use the pipe until the condition holds: 1, or -ERESTARTSYS on a signal. pipe.mutex held."""
    pipe.wait.wake_up()
    pipe.mutex.unlock()
    result = pipe.wait_for(task, condition, "the other end of a pipe (splice)")
    pipe.mutex.lock()
    return result


def _wait_for_data(task: Task, pipe: Pipe, flags: int) -> int:
    """Until there is something to take: 1; 0 where nothing can come any more; -EAGAIN, -ERESTARTSYS (ipipe_prep)."""
    while not pipe.buffers:
        if not pipe.writers:
            return 0
        if flags & SPLICE_F_NONBLOCK:
            return -errno.EAGAIN
        error = _wait(task, pipe, lambda: bool(pipe.buffers) or not pipe.writers)
        if error < 0:
            return error
    return 1


def _wait_for_space(task: Task, pipe: Pipe, flags: int) -> int:
    """Until there is a free slot: 1; -EPIPE (with SIGPIPE), -EAGAIN, -ERESTARTSYS (wait_for_space)."""
    while True:
        if not pipe.readers:
            task.send_signal(SIGPIPE)
            return -errno.EPIPE
        if not pipe.full:
            return 1
        if flags & SPLICE_F_NONBLOCK:
            return -errno.EAGAIN
        error = _wait(task, pipe, lambda: not pipe.full or not pipe.readers)
        if error < 0:
            return error


def _take(pipe: Pipe, size: int) -> None:
    """Remove `size` bytes from the front."""
    while size:
        buffer = pipe.buffers[0]
        count = min(size, len(buffer.data))
        buffer.data = buffer.data[count:]
        size -= count
        if not buffer.data:
            pipe.out_edges += pipe.full
            pipe.buffers.pop(0)


def _put(pipe: Pipe, data: bytes) -> None:
    """Add a slot."""
    pipe.in_edges += 1
    pipe.push(data)


def _file_to_pipe(task: Task, source: File, pos: int, pipe: Pipe, size: int, flags: int) -> int:
    """As much of a file as there are free slots for, one for each page of the file (splice_file_to_pipe)."""
    pipe.mutex.lock()
    try:
        ready = _wait_for_space(task, pipe, flags)
        if ready < 0:
            return ready
        size = min(size, (pipe.max_usage - len(pipe.buffers)) * PAGE_SIZE)
        room = KernelBuffer(task, room=size)
        got = source.read_iter(task, kiocb(pos), room)
        data, at = bytes(room.data), pos
        while data and not pipe.full:
            count = PAGE_SIZE - (0 if source.stream else at & PAGE_SIZE - 1)
            _put(pipe, data[:count])
            at += len(data[:count])
            data = data[count:]
        return got if got <= 0 else at - pos
    finally:
        pipe.wait.wake_up()
        pipe.mutex.unlock()


def _pipe_to_file(task: Task, pipe: Pipe, target: File, pos: int, size: int, flags: int) -> int:
    """What is in a pipe, waiting for the first byte only (iter_file_splice_write)."""
    done = 0
    pipe.mutex.lock()
    try:
        while done < size:
            if done and not pipe.buffers:
                break
            ready = _wait_for_data(task, pipe, flags)
            if ready <= 0:
                return done or ready
            data = b"".join(buffer.data for buffer in pipe.buffers)[: size - done]
            wrote = target.write_iter(task, kiocb(pos + done), KernelBuffer(task, data))
            if wrote <= 0:
                return done or wrote
            _take(pipe, wrote)
            done += wrote
        return done
    finally:
        pipe.wait.wake_up()
        pipe.mutex.unlock()


def _double_lock(first: Pipe, second: Pipe) -> None:
    """Take both mutexes; who has one does not sleep for the other (pipe_double_lock)."""
    while True:
        first.mutex.lock()
        if second.mutex.trylock():
            return
        first.mutex.unlock()
        first, second = second, first


def _double_unlock(*pipes: Pipe) -> None:
    for pipe in pipes:
        pipe.wait.wake_up()
        pipe.mutex.unlock()


def _prepare(task: Task, source: Pipe, target: Pipe, flags: int) -> int:
    """Something in one pipe and room in the other: 1; 0 where nothing comes any more; or -errno."""
    for pipe, wait in ((source, _wait_for_data), (target, _wait_for_space)):
        pipe.mutex.lock()
        ready = wait(task, pipe, flags)
        pipe.mutex.unlock()
        if ready <= 0:
            return ready
    return 1


def _pipe_to_pipe(task: Task, source: Pipe, target: Pipe, size: int, flags: int, consume: bool) -> int:
    """Move or copy buffers (splice_pipe_to_pipe, link_pipe)."""
    while True:
        ready = _prepare(task, source, target, flags)
        if ready <= 0:
            return ready
        _double_lock(source, target)
        done = 0
        error = 0
        number = 0
        while done < size:
            if not target.readers:
                task.send_signal(SIGPIPE)
                error = -errno.EPIPE
                break
            if number >= len(source.buffers) or target.full:
                break
            data = source.buffers[number].data[: size - done]
            _put(target, data)
            done += len(data)
            if consume:
                _take(source, len(data))
            else:
                number += 1
        gone = not source.buffers and not source.writers
        _double_unlock(source, target)
        if done or error or gone:
            return done or error


def _begin(file: File, given: int | None, mode: int) -> int:
    """Where in a file the transfer begins: at its own position unless one is `given`, which needs `mode`. -EINVAL."""
    if given is None:
        return file.f_pos
    return given if file.f_mode & mode else -errno.EINVAL


def _end(file: File, given: int | None, result: int) -> int:
    """Move the file's own position by what was transferred: `result`, bytes or -errno."""
    if result > 0 and given is None and not file.stream:
        file.f_pos += result
    return result


def _do_splice(
    task: Task, source: File, source_pos: int | None, target: File, target_pos: int | None, size: int, flags: int
) -> int:
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    ipipe, opipe = _get_pipe_info(source), _get_pipe_info(target)
    if ipipe is not None and opipe is not None:
        if ipipe is opipe:
            return -errno.EINVAL
        if (source.f_flags | target.f_flags) & O_NONBLOCK:
            flags |= SPLICE_F_NONBLOCK
        return _pipe_to_pipe(task, ipipe, opipe, size, flags, True)
    if ipipe is not None:
        pos = _begin(target, target_pos, FMODE_PWRITE)
        if pos < 0 or target.f_flags & O_APPEND or not target.can_write:
            return -errno.EINVAL
        if source.f_flags & O_NONBLOCK:
            flags |= SPLICE_F_NONBLOCK
        return _end(target, target_pos, _pipe_to_file(task, ipipe, target, pos, size, flags))
    if opipe is not None:
        pos = _begin(source, source_pos, FMODE_PREAD)
        if pos < 0 or source.f_inode.is_dir or not source.can_read:
            return -errno.EINVAL
        if target.f_flags & O_NONBLOCK:
            flags |= SPLICE_F_NONBLOCK
        return _end(source, source_pos, _file_to_pipe(task, source, pos, opipe, size, flags))
    return -errno.EINVAL


def sys_splice(task: Task, fd_in: int, off_in: int, fd_out: int, off_out: int, size: int, flags: int) -> int:
    """Bytes moved, 0 at the end of what there is, or -errno; one of the files is a pipe."""
    flags &= 0xFFFFFFFF
    if not size:
        return 0
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    source, target = task.files.fdget(fd_in & 0xFFFFFFFF), task.files.fdget(fd_out & 0xFFFFFFFF)
    if source is None or target is None:
        return -errno.EBADF
    positions: list[int | None] = []
    for file, pointer in ((target, off_out), (source, off_in)):
        if pointer and _get_pipe_info(file) is not None:
            return -errno.ESPIPE
    for pointer in (off_out, off_in):
        value = task.access.get_user(pointer, 8, "_copy_from_user") if pointer else 0
        if value is None:
            return -errno.EFAULT
        positions.append(s64(value) if pointer else None)
    result = _do_splice(task, source, positions[1], target, positions[0], min(size, 0x7FFFF000), flags)
    if result < 0:
        return result
    for pointer, pos in ((off_out, positions[0]), (off_in, positions[1])):
        if pos is not None and not task.access.put_user(pointer, pos + result, 8, "_copy_to_user"):
            return -errno.EFAULT
    return result


def sys_tee(task: Task, fd_in: int, fd_out: int, size: int, flags: int, *_: int) -> int:
    """Copy what is in one pipe to another: bytes or -errno."""
    flags &= 0xFFFFFFFF
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    if not size:
        return 0
    source, target = task.files.fdget(fd_in & 0xFFFFFFFF), task.files.fdget(fd_out & 0xFFFFFFFF)
    if source is None or target is None or not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    ipipe, opipe = _get_pipe_info(source), _get_pipe_info(target)
    if ipipe is None or opipe is None or ipipe is opipe:
        return -errno.EINVAL
    if (source.f_flags | target.f_flags) & O_NONBLOCK:
        flags |= SPLICE_F_NONBLOCK
    return _pipe_to_pipe(task, ipipe, opipe, size, flags, False)


def _vmsplice_to_pipe(task: Task, pipe: Pipe, data: iov_iter, flags: int) -> int:
    pipe.mutex.lock()
    try:
        ready = _wait_for_space(task, pipe, flags)
        if ready < 0:
            return ready
        done = 0
        ram = task.machine.ram
        while data.count:
            address, size = data.first_segment()
            offset = address & PAGE_SIZE - 1
            pages = min(PAGES_AT_ONCE, offset + size + PAGE_SIZE - 1 >> PAGE_SHIFT)
            found = get_user_pages_fast(task.mm, address, pages, False)  # iov_iter_get_pages2
            if isinstance(found, int):
                return done or found
            for taken in found:
                if pipe.full:
                    return done
                count = min(PAGE_SIZE - offset, size)
                _put(pipe, ram.read((taken.pfn << PAGE_SHIFT) + offset, count))
                data.advance(count)
                done += count
                size -= count
                offset = 0
        return done
    finally:
        pipe.wait.wake_up()
        pipe.mutex.unlock()


def _vmsplice_to_user(task: Task, pipe: Pipe, room: iov_iter, flags: int) -> int:
    done = 0
    pipe.mutex.lock()
    try:
        while room.count:
            if done and not pipe.buffers:
                break
            ready = _wait_for_data(task, pipe, flags)
            if ready <= 0:
                return done or ready
            data = pipe.buffers[0].data[: room.count]
            copied = room.copy_to_iter(data)
            _take(pipe, copied)
            done += copied
            if copied < len(data):
                return done or -errno.EFAULT
        return done
    finally:
        pipe.wait.wake_up()
        pipe.mutex.unlock()


def sys_vmsplice(task: Task, fd: int, vector: int, count: int, flags: int, *_: int) -> int:
    """Guest memory into a pipe, or what is in a pipe into guest memory: bytes or -errno."""
    flags &= 0xFFFFFFFF
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None or not file.f_mode & (FMODE_READ | FMODE_WRITE):
        return -errno.EBADF
    segments = import_iovec(task, vector, count)
    if isinstance(segments, int):
        return segments
    buffers = iov_iter(task.access, [segment for segment in segments if segment[1]])
    if not buffers.count:
        return 0
    pipe = _get_pipe_info(file)
    if pipe is None:
        return -errno.EBADF
    transfer = _vmsplice_to_pipe if file.f_mode & FMODE_WRITE else _vmsplice_to_user
    return transfer(task, pipe, buffers, flags)


SYSCALLS = {"splice": sys_splice, "tee": sys_tee, "vmsplice": sys_vmsplice}
