# SPDX-License-Identifier: GPL-2.0-or-later
"""open, close, dup, fcntl, ioctl, truncate, sync, pipes and other ways to a descriptor (fs/open.c, fs/fcntl.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from emu.fs.abi import flags_from_guest, flags_to_guest, ioctl_name
from emu.fs.consts import (
    AT_FDCWD,
    FMODE_PATH,
    FMODE_READ,
    FMODE_WRITE,
    MAY_WRITE,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_LARGEFILE,
    O_NOATIME,
    O_NONBLOCK,
    O_PATH,
    O_PATH_FLAGS,
    O_TMPFILE,
    O_TMPFILE_BIT,
    O_TRUNC,
    O_WRONLY,
    RLIMIT_FSIZE,
    RLIMIT_NOFILE,
    S_IFBLK,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    SETFL_MASK,
    SIGXFSZ,
    VALID_OPEN_FLAGS,
)
from emu.fs.eventfd import EFD_SEMAPHORE, EventFile
from emu.fs.file import File
from emu.fs.hostfs import HostFile
from emu.fs.locks import (
    F_RDLCK,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_MAND,
    LOCK_NB,
    LOCK_SH,
    LOCK_UN,
    OFFSET_MAX,
    OFFT_MAX,
    context,
    flock,
    flock_conflict,
)
from emu.fs.namei import (
    LOOKUP_BENEATH,
    LOOKUP_FOLLOW,
    LOOKUP_IN_ROOT,
    LOOKUP_NO_MAGICLINKS,
    LOOKUP_NO_SYMLINKS,
    LOOKUP_NO_XDEV,
    do_open,
    inode_permission,
    path_lookup,
)
from emu.fs.pipe import PipeFile, create_pipe_files
from emu.fs.tmpfs import (
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MFD_HUGETLB,
    MFD_NOEXEC_SEAL,
    NAME_LIMIT,
    TmpFile,
    memfd_file,
)
from emu.kernel.args import copy_struct_from_user, getname, order, pair, s32, s64, slong, starting_point

if TYPE_CHECKING:
    from emu.kernel.task import Task

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW = range(8)
F_SETOWN, F_GETOWN, F_SETSIG, F_GETSIG = 8, 9, 10, 11
F_GETLK64, F_SETLK64, F_SETLKW64 = 12, 13, 14
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
F_DUPFD_QUERY, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ = 1027, 1030, 1031, 1032
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
POSIX_FADV_WILLNEED = 3
_PATH_COMMANDS = (F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GETFD, F_SETFD, F_GETFL)
_RESOLVE = {
    1: LOOKUP_NO_XDEV, 2: LOOKUP_NO_MAGICLINKS, 4: LOOKUP_NO_SYMLINKS, 8: LOOKUP_BENEATH, 16: LOOKUP_IN_ROOT, 32: 0,
}  # fmt: skip


def _install(task: Task, file: File | int, cloexec: bool) -> int:
    """Give a new open file a descriptor."""
    if isinstance(file, int):
        return file
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), 0, cloexec)
    if fd < 0:
        file.put()
    return fd


def do_sys_openat(task: Task, dfd: int, name: int, flags: int, mode: int, resolve: int = 0) -> int:
    """do_sys_openat2: `flags` are internal, checked ones."""
    path = getname(task, name)
    if isinstance(path, int):
        return path
    start = starting_point(task, dfd, path)
    if isinstance(start, int):
        return start
    files = task.files
    if files.find_free(0) >= task.rlimit(RLIMIT_NOFILE):
        return -errno.EMFILE
    return _install(task, do_open(task, start, path, flags, mode, resolve), bool(flags & O_CLOEXEC))


def _build_flags(task: Task, flags: int, mode: int) -> tuple[int, int]:
    """build_open_how: what open ignores is taken away; the guest's flags become internal ones."""
    flags = flags_from_guest(task.arch, flags) & (VALID_OPEN_FLAGS | O_LARGEFILE)
    if flags & O_PATH:
        flags &= O_PATH_FLAGS
    if not flags & (O_CREAT | O_TMPFILE_BIT):
        mode = 0
    return flags, mode & 0o7777


def _refused(flags: int) -> int:
    """build_open_flags: combinations that are errors."""
    if flags & O_TMPFILE_BIT:
        if flags & O_TMPFILE != O_TMPFILE or flags & O_CREAT or not flags & O_ACCMODE:
            return -errno.EINVAL
    if flags & O_CREAT and flags & O_DIRECTORY:
        return -errno.EINVAL
    return 0


def sys_openat(task: Task, dfd: int, name: int, flags: int, mode: int, *_: int) -> int:
    if task.word == 8:
        flags |= flags_to_guest(task.arch, O_LARGEFILE)
    internal, mode = _build_flags(task, flags, mode)
    return _refused(internal) or do_sys_openat(task, dfd, name, internal, mode)


def sys_open(task: Task, name: int, flags: int, mode: int, *_: int) -> int:
    return sys_openat(task, AT_FDCWD, name, flags, mode)


def sys_creat(task: Task, name: int, mode: int, *_: int) -> int:
    return sys_openat(task, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode)


def sys_openat2(task: Task, dfd: int, name: int, how: int, size: int, *_: int) -> int:
    """openat2: unknown flags are errors here."""
    if size < 24:
        return -errno.EINVAL
    if size > 4096:
        return -errno.E2BIG
    data = copy_struct_from_user(task, how, size, 24)
    if isinstance(data, int):
        return data
    flags, mode, resolve = struct.unpack(order(task) + "QQQ", data)
    if flags >> 32:
        return -errno.EINVAL
    internal = flags_from_guest(task.arch, flags)
    if internal & ~(VALID_OPEN_FLAGS | O_LARGEFILE) or resolve & ~0x3F or resolve & 24 == 24:
        return -errno.EINVAL
    if internal & (O_CREAT | O_TMPFILE_BIT):
        if mode & ~0o7777:
            return -errno.EINVAL
    elif mode:
        return -errno.EINVAL
    if internal & O_PATH and internal & ~O_PATH_FLAGS:
        return -errno.EINVAL
    if resolve & 32:
        return -errno.EAGAIN  # nothing is cached
    lookup = 0
    for theirs, ours in _RESOLVE.items():
        if resolve & theirs:
            lookup |= ours
    return _refused(internal) or do_sys_openat(task, dfd, name, internal, mode, lookup)


def sys_close(task: Task, fd: int, *_: int) -> int:
    return task.files.close(fd & 0xFFFFFFFF)


CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4


def sys_close_range(task: Task, first: int, last: int, flags: int, *_: int) -> int:
    first, last, flags = first & 0xFFFFFFFF, last & 0xFFFFFFFF, flags & 0xFFFFFFFF
    if flags & ~6 or first > last:
        return -errno.EINVAL
    if flags & CLOSE_RANGE_UNSHARE and task.files.count > 1:
        shared, task.files = task.files, task.files.copy()
        shared.count -= 1
    for fd in sorted(fd for fd in task.files.fd if first <= fd <= last):
        if flags & CLOSE_RANGE_CLOEXEC:
            task.files.close_on_exec.add(fd)
        else:
            task.files.close(fd)
    return 0


def sys_dup(task: Task, fd: int, *_: int) -> int:
    file = task.files.get(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    file.get()
    return _install(task, file, False)


def _dup3(task: Task, old: int, new: int, cloexec: bool) -> int:
    if new >= task.rlimit(RLIMIT_NOFILE):
        return -errno.EBADF
    file = task.files.get(old)
    if file is None:
        return -errno.EBADF
    file.get()
    replaced = task.files.remove(new)
    if replaced is not None:
        replaced.flush(task.files)
        replaced.put()
    task.files.install(new, file, cloexec)
    return new


def sys_dup2(task: Task, old: int, new: int, *_: int) -> int:
    old, new = old & 0xFFFFFFFF, new & 0xFFFFFFFF
    if old == new:
        return -errno.EBADF if task.files.get(old) is None else new
    return _dup3(task, old, new, False)


def sys_dup3(task: Task, old: int, new: int, flags: int, *_: int) -> int:
    old, new = old & 0xFFFFFFFF, new & 0xFFFFFFFF
    internal = flags_from_guest(task.arch, flags)
    if internal & ~O_CLOEXEC or old == new:
        return -errno.EINVAL
    return _dup3(task, old, new, bool(internal & O_CLOEXEC))


# fcntl


def _flock_layout(task: Task, wide: bool) -> tuple[str, int]:
    """Format and size of struct flock: type, whence, start, len, pid."""
    if task.word == 8:
        return order(task) + "hh4xqqi4x", 32
    return (order(task) + "hh4xqqi4x", 32) if wide else (order(task) + "hhiii", 16)


def _record_lock(task: Task, file: File, command: int, arg: int, wide: bool) -> int:
    """F_GETLK, F_SETLK, F_SETLKW and their open-file-description twins."""
    layout, size = _flock_layout(task, wide)
    data = task.access.copy_from_user(arg, size)
    if data is None:
        return -errno.EFAULT
    kind, whence, start, length, pid = struct.unpack(layout, data)
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK) or whence not in (0, 1, 2):
        return -errno.EINVAL
    ofd = command in (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)
    if ofd and pid:
        return -errno.EINVAL
    start += (0, file.f_pos, file.f_inode.i_size)[whence]
    if start < 0:
        return -errno.EINVAL
    if length > 0:
        end = start + length - 1
    elif length < 0:
        end = start - 1
        start += length
        if start < 0:
            return -errno.EINVAL
    else:
        end = OFFSET_MAX
    if end > OFFSET_MAX:
        return -errno.EOVERFLOW
    owner: object = file if ofd else task.files
    locks = context(file.f_inode)
    if command in (F_GETLK, F_GETLK64, F_OFD_GETLK):
        if kind == F_UNLCK:
            return -errno.EINVAL
        found = locks.conflict(owner, kind == F_WRLCK, start, end)
        if found is None:
            kind = F_UNLCK
            reply = struct.pack(layout, kind, *struct.unpack(layout, data)[1:])
        else:
            if size == 16 and (found.start > OFFT_MAX or (found.end != OFFSET_MAX and found.end > OFFT_MAX)):
                return -errno.EOVERFLOW  # posix_lock_to_flock
            length = 0 if found.end == OFFSET_MAX else found.end - found.start + 1
            reply = struct.pack(
                layout, F_WRLCK if found.write else F_RDLCK, 0, found.start, length, found.pid if not ofd else -1
            )
        return 0 if task.access.copy_to_user(arg, reply) else -errno.EFAULT
    if kind == F_UNLCK:
        locks.set(owner, None, start, end, task.tgid)
        return 0
    write = kind == F_WRLCK
    if not file.f_mode & (FMODE_WRITE if write else FMODE_READ):
        return -errno.EBADF
    if locks.conflict(owner, write, start, end) is not None:
        if command not in (F_SETLKW, F_SETLKW64, F_OFD_SETLKW):
            return -errno.EAGAIN
        waited = task.wait_event(
            lambda: locks.conflict(owner, write, start, end) is None, what=f"a record lock on {file.name}"
        )
        if waited < 0:
            return waited
    locks.set(owner, write, start, end, -1 if ofd else task.tgid)
    return 0


def _setfl(task: Task, file: File, arg: int) -> int:
    flags = flags_from_guest(task.arch, arg)
    if flags & O_NOATIME and not file.f_flags & O_NOATIME:
        stat = file.f_inode.getattr()
        if not isinstance(stat, int) and task.cred.fsuid != stat.uid and not task.capable(3):
            return -errno.EPERM
    if flags & O_DIRECT and not file.f_inode.is_reg and not isinstance(file, PipeFile):
        return -errno.EINVAL
    file.f_flags = file.f_flags & ~SETFL_MASK | flags & SETFL_MASK
    return 0


def _owner_exists(task: Task, who: int) -> bool:
    """Is there the process, or where it is negative the process group, that F_SETOWN names (f_setown)."""
    if who > 0:
        return who in task.machine.pids
    return any(process.pgid == -who for process in task.machine.processes())


def do_fcntl(task: Task, fd: int, command: int, arg: int, wide: bool) -> int:
    """fcntl. `wide`: this is fcntl64 of a 32-bit guest, whose locks have 64-bit offsets under numbers of their own."""
    files = task.files
    file = files.get(fd)
    if file is None:
        return -errno.EBADF
    if file.f_mode & FMODE_PATH and command not in _PATH_COMMANDS:
        return -errno.EBADF
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        limit = task.rlimit(RLIMIT_NOFILE)
        arg &= 0xFFFFFFFF
        if arg >= limit:
            return -errno.EINVAL
        file.get()
        new = files.alloc(file, limit, arg, command == F_DUPFD_CLOEXEC)
        if new < 0:
            file.put()
        return new
    if command == F_DUPFD_QUERY:
        return int(files.get(arg & 0xFFFFFFFF) is file)
    if command == F_GETFD:
        return int(fd in files.close_on_exec)
    if command == F_SETFD:
        if arg & 1:
            files.close_on_exec.add(fd)
        else:
            files.close_on_exec.discard(fd)
        return 0
    if command == F_GETFL:
        return flags_to_guest(task.arch, file.f_flags)
    if command == F_SETFL:
        return _setfl(task, file, arg)
    if command in (F_GETLK, F_SETLK, F_SETLKW):
        return _record_lock(task, file, command, arg, False)
    if command in (F_GETLK64, F_SETLK64, F_SETLKW64) and wide and task.word == 4:
        return _record_lock(task, file, command, arg, True)
    if command in (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW):
        return _record_lock(task, file, command, arg, True)
    if command == F_SETOWN and s32(arg) and not _owner_exists(task, s32(arg)):
        return -errno.EINVAL if s32(arg) == -(1 << 31) else -errno.ESRCH
    if command in (F_SETOWN, F_SETSIG):
        return 0 if command == F_SETOWN or arg <= 64 else -errno.EINVAL
    if command in (F_GETOWN, F_GETSIG):
        return 0
    if command in (F_GETPIPE_SZ, F_SETPIPE_SZ):
        if not isinstance(file, PipeFile):
            return -errno.EBADF
        if command == F_GETPIPE_SZ:
            return file.pipe.max_usage << 12
        return file.set_size(arg & 0xFFFFFFFF, task.cred)
    if command == F_GET_SEALS:
        seals = file.seals()
        return -errno.EINVAL if seals is None else seals
    if command == F_ADD_SEALS:
        return file.add_seals(arg & 0xFFFFFFFF) if isinstance(file, TmpFile) else -errno.EINVAL
    return -errno.EINVAL


def sys_fcntl(task: Task, fd: int, command: int, arg: int, *_: int) -> int:
    return do_fcntl(task, fd & 0xFFFFFFFF, command & 0xFFFFFFFF, arg, False)


def sys_fcntl64(task: Task, fd: int, command: int, arg: int, *_: int) -> int:
    return do_fcntl(task, fd & 0xFFFFFFFF, command & 0xFFFFFFFF, arg, True)


def sys_flock(task: Task, fd: int, command: int, *_: int) -> int:
    if command & LOCK_MAND:
        return 0  # since 5.18 it does nothing
    wanted = s32(command) & ~LOCK_NB
    if wanted not in (LOCK_SH, LOCK_EX, LOCK_UN):
        return -errno.EINVAL
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    result = flock(file, wanted)
    if result == -errno.EAGAIN and not command & LOCK_NB:
        waited = task.wait_event(lambda: not flock_conflict(file, wanted == 2), what=f"a lock on {file.name}")
        return waited if waited < 0 else flock(file, wanted)
    return result


def sys_ioctl(task: Task, fd: int, command: int, arg: int, *_: int) -> int:
    fd &= 0xFFFFFFFF
    file = task.files.get(fd)
    if file is None or file.f_mode & FMODE_PATH:
        return -errno.EBADF
    name = ioctl_name(task.arch, command & 0xFFFFFFFF)
    access = task.access
    if name == "FIOCLEX":
        task.files.close_on_exec.add(fd)
        return 0
    if name == "FIONCLEX":
        task.files.close_on_exec.discard(fd)
        return 0
    if name in ("FIONBIO", "FIOASYNC"):
        value = access.get_user(arg, 4)
        if value is None:
            return -errno.EFAULT
        if name == "FIONBIO":
            file.f_flags = file.f_flags | O_NONBLOCK if value else file.f_flags & ~O_NONBLOCK
        return 0
    if name == "FIGETBSZ" or name == "FIOQSIZE":
        if not file.f_inode.is_reg and not file.f_inode.is_dir:
            return -errno.ENOTTY
        if name == "FIOQSIZE":
            return 0 if access.put_user(arg, file.f_inode.i_size, 8, "_copy_to_user") else -errno.EFAULT
        return 0 if access.put_user(arg, 4096, 4) else -errno.EFAULT
    if name is None:
        return file.ioctl_number(task, command & 0xFFFFFFFF, arg)
    return file.ioctl(task, name, arg)


# Sizes and syncing


def _truncate(task: Task, name: int, size: int) -> int:
    if size < 0:
        return -errno.EINVAL
    path = getname(task, name)
    if isinstance(path, int):
        return path
    place = path_lookup(task, task.fs.pwd, path, LOOKUP_FOLLOW)
    if isinstance(place, int):
        return place
    if place.inode.is_dir:
        return -errno.EISDIR
    if not place.inode.is_reg:
        return -errno.EINVAL
    error = inode_permission(place, task, MAY_WRITE) or _size_limit(task, size)
    return error or place.inode.truncate(place, size, task)


def _size_limit(task: Task, size: int) -> int:
    if size > task.rlimit(RLIMIT_FSIZE):
        task.send_signal(SIGXFSZ)
        return -errno.EFBIG
    return 0


def _ftruncate(task: Task, fd: int, size: int, small: bool) -> int:
    if size < 0:
        return -errno.EINVAL
    file = task.files.get(fd & 0xFFFFFFFF)
    if file is None or file.f_mode & FMODE_PATH:
        return -errno.EBADF
    if not file.f_inode.is_reg or not file.f_mode & FMODE_WRITE:
        return -errno.EINVAL
    if small and size > 0x7FFFFFFF:
        return -errno.EINVAL
    return _size_limit(task, size) or file.f_inode.truncate(file.f_dentry, size, task)


def sys_truncate(task: Task, name: int, size: int, *_: int) -> int:
    return _truncate(task, name, slong(task, size))


def sys_ftruncate(task: Task, fd: int, size: int, *_: int) -> int:
    return _ftruncate(task, fd, slong(task, size), task.word == 4)


def sys_truncate64(task: Task, name: int, _: int, first: int, second: int, *__: int) -> int:
    return _truncate(task, name, pair(task, first, second))


def sys_ftruncate64(task: Task, fd: int, _: int, first: int, second: int, *__: int) -> int:
    return _ftruncate(task, fd, pair(task, first, second), False)


def sys_fallocate(task: Task, fd: int, mode: int, a: int, b: int, c: int, d: int) -> int:
    offset, length = (pair(task, a, b), pair(task, c, d)) if task.word == 4 else (s64(a), s64(b))
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    if offset < 0 or length <= 0:
        return -errno.EINVAL
    mode &= 0xFFFFFFFF
    if mode & ~0x7F or mode & 4:
        return -errno.EOPNOTSUPP
    if mode & 2 and not mode & 1:
        return -errno.EOPNOTSUPP
    if not file.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if isinstance(file, PipeFile):
        return -errno.ESPIPE
    if file.f_inode.is_dir:
        return -errno.EISDIR
    if not file.f_inode.is_reg:
        return -errno.ENODEV
    if offset + length > OFFSET_MAX:
        return -errno.EFBIG
    return file.fallocate(task, mode, offset, length)


def sys_fsync(task: Task, fd: int, *_: int) -> int:
    file = task.files.fdget(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.fsync(False)


def sys_fdatasync(task: Task, fd: int, *_: int) -> int:
    file = task.files.fdget(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.fsync(True)


SYNC_FILE_RANGE_FLAGS = 7


def _sync_file_range(task: Task, fd: int, offset: int, length: int, flags: int) -> int:
    """ksys_sync_file_range. It waits for what it writes, also where it need not."""
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    if flags & 0xFFFFFFFF & ~SYNC_FILE_RANGE_FLAGS or offset < 0 or length < 0 or offset + length > OFFSET_MAX:
        return -errno.EINVAL
    if file.f_inode.i_mode & S_IFMT not in (S_IFREG, S_IFBLK, S_IFDIR, S_IFLNK):
        return -errno.ESPIPE
    return file.fsync(True) if isinstance(file, HostFile) and flags & SYNC_FILE_RANGE_FLAGS else 0


def sys_sync_file_range(task: Task, fd: int, a: int, b: int, c: int, d: int, e: int) -> int:
    if task.word == 8:
        return _sync_file_range(task, fd, s64(a), s64(b), c)
    return _sync_file_range(task, fd, pair(task, a, b), pair(task, c, d), e)


def sys_sync_file_range2(task: Task, fd: int, flags: int, a: int, b: int, c: int, d: int) -> int:
    if task.word == 8:
        return _sync_file_range(task, fd, s64(a), s64(b), flags)
    return _sync_file_range(task, fd, pair(task, a, b), pair(task, c, d), flags)


def sys_sync(task: Task, *_: int) -> int:
    task.machine.vfs.hostfs.sync()
    return 0


def sys_syncfs(task: Task, fd: int, *_: int) -> int:
    if task.files.fdget(fd & 0xFFFFFFFF) is None:
        return -errno.EBADF
    return int(task.machine.vfs.hostfs.sync())


def _fadvise(task: Task, fd: int, offset: int, length: int, advice: int) -> int:
    file = task.files.get(fd & 0xFFFFFFFF)
    if file is None or file.f_mode & FMODE_PATH:
        return -errno.EBADF
    if isinstance(file, PipeFile):
        return -errno.ESPIPE
    advice &= 0xFFFFFFFF
    if length < 0 or advice > 5:
        return -errno.EINVAL
    if advice == POSIX_FADV_WILLNEED and isinstance(file, HostFile):
        size = file.inode.i_size
        file.f_mapping.force_page_cache_readahead(offset, min(offset + length, size) if length else size)
    return 0


def sys_fadvise64(task: Task, fd: int, offset: int, length: int, advice: int, *_: int) -> int:
    return _fadvise(task, fd, slong(task, offset), slong(task, length), advice)


def sys_fadvise64_64(task: Task, fd: int, advice: int, a: int, b: int, c: int, d: int) -> int:
    """PowerPC 32 has the advice second, so that the pairs of registers are aligned."""
    return _fadvise(task, fd, pair(task, a, b), pair(task, c, d), advice)


def sys_readahead(task: Task, fd: int, a: int, b: int, c: int, d: int, *_: int) -> int:
    """A 32-bit guest passes the offset as a pair of registers, which is aligned."""
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if file is None or not file.f_mode & FMODE_READ:
        return -errno.EBADF
    if not file.f_inode.is_reg:
        return -errno.EINVAL
    offset, count = (pair(task, b, c), d) if task.word == 4 else (slong(task, a), b)
    return _fadvise(task, fd, offset, min(count, OFFSET_MAX), POSIX_FADV_WILLNEED)


# New kinds of descriptors


def sys_pipe2(task: Task, fds: int, flags: int, *_: int) -> int:
    internal = flags_from_guest(task.arch, flags)
    if internal & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        return -errno.EINVAL
    vfs = task.machine.vfs
    made = create_pipe_files(vfs.pipefs, internal, task, task.machine.realtime())
    if isinstance(made, int):
        return made
    reader, writer = made
    cloexec = bool(internal & O_CLOEXEC)
    first = _install(task, reader, cloexec)
    if first < 0:
        writer.put()
        return first
    second = _install(task, writer, cloexec)
    if second < 0:
        task.files.close(first)
        return second
    if not task.access.copy_to_user(fds, struct.pack(order(task) + "ii", first, second)):
        task.files.close(first)
        task.files.close(second)
        return -errno.EFAULT
    return 0


def sys_pipe(task: Task, fds: int, *_: int) -> int:
    return sys_pipe2(task, fds, 0)


def sys_memfd_create(task: Task, name: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC
    if flags & MFD_HUGETLB:
        return -errno.EINVAL if flags & ~(known | MFD_HUGETLB | 0x3F << 26) else -errno.ENOSYS
    if flags & ~known or (flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL):
        return -errno.EINVAL
    text = task.access.strncpy_from_user(name, NAME_LIMIT + 1)
    if text is None:
        return -errno.EFAULT
    if len(text) > NAME_LIMIT - 1:
        return -errno.EINVAL
    return _install(task, memfd_file(task.machine.vfs.shm_mnt, text, flags, task), bool(flags & MFD_CLOEXEC))


def sys_eventfd2(task: Task, count: int, flags: int, *_: int) -> int:
    internal = flags_from_guest(task.arch, flags & ~EFD_SEMAPHORE)
    if internal & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    file = EventFile(count & 0xFFFFFFFF, bool(flags & EFD_SEMAPHORE), internal & O_NONBLOCK)
    return _install(task, file, bool(internal & O_CLOEXEC))


def sys_eventfd(task: Task, count: int, *_: int) -> int:
    return sys_eventfd2(task, count, 0)


SYSCALLS = {
    "open": sys_open,
    "openat": sys_openat,
    "openat2": sys_openat2,
    "creat": sys_creat,
    "close": sys_close,
    "close_range": sys_close_range,
    "dup": sys_dup,
    "dup2": sys_dup2,
    "dup3": sys_dup3,
    "fcntl": sys_fcntl,
    "fcntl64": sys_fcntl64,
    "flock": sys_flock,
    "ioctl": sys_ioctl,
    "truncate": sys_truncate,
    "ftruncate": sys_ftruncate,
    "truncate64": sys_truncate64,
    "ftruncate64": sys_ftruncate64,
    "fallocate": sys_fallocate,
    "fsync": sys_fsync,
    "fdatasync": sys_fdatasync,
    "sync": sys_sync,
    "syncfs": sys_syncfs,
    "sync_file_range": sys_sync_file_range,
    "sync_file_range2": sys_sync_file_range2,
    "fadvise64": sys_fadvise64,
    "fadvise64_64": sys_fadvise64_64,
    "readahead": sys_readahead,
    "pipe": sys_pipe,
    "pipe2": sys_pipe2,
    "memfd_create": sys_memfd_create,
    "eventfd": sys_eventfd,
    "eventfd2": sys_eventfd2,
}
