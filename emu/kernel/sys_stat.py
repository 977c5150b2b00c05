# SPDX-License-Identifier: GPL-2.0-or-later
"""stat, statx, statfs, readlink, access, getdents, getcwd: what files are (fs/stat.c, fs/readdir.c)."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from emu.fs.abi import STATFS64_SIZE, STATFS_SIZE, pack_stat, pack_stat64, pack_statfs, pack_statfs64, pack_statx
from emu.fs.consts import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
    FMODE_PATH,
    FMODE_READ,
    MAY_EXEC,
    MAY_WRITE,
    PATH_MAX,
)
from emu.fs.dcache import Dentry, d_path, d_unlinked
from emu.fs.inode import Inode, Kstat, special_file
from emu.fs.namei import LOOKUP_FOLLOW, is_writable, path_lookup
from emu.kernel.args import getname, put_struct, s32, starting_point

if TYPE_CHECKING:
    from emu.kernel.task import Task


def find(task: Task, dfd: int, name: int, flags: int, empty_ok: bool = False) -> Dentry | int:
    """The place that (dfd, path) means; with `empty_ok` an empty path is the descriptor itself."""
    path = getname(task, name) if name or not empty_ok else b""
    if isinstance(path, int):
        return path
    if not path:
        if not empty_ok:
            return -errno.ENOENT
        if s32(dfd) == AT_FDCWD:
            return task.fs.pwd
        file = task.files.get(dfd & 0xFFFFFFFF)
        return -errno.EBADF if file is None else file.f_dentry
    start = starting_point(task, dfd, path)
    return start if isinstance(start, int) else path_lookup(task, start, path, flags)


def _stat_at(task: Task, dfd: int, name: int, flags: int) -> Kstat | int:
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        getname(task, name)
        return -errno.EINVAL
    if flags & AT_EMPTY_PATH and s32(dfd) >= 0:
        first = task.access.get_user(name, 1) if name else 0
        if first == 0:
            file = task.files.get(dfd & 0xFFFFFFFF)
            return -errno.EBADF if file is None else file.f_inode.getattr()
    place = find(task, dfd, name, 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW, bool(flags & AT_EMPTY_PATH))
    return place if isinstance(place, int) else place.inode.getattr()


def _put_stat(task: Task, found: Kstat | int, address: int) -> int:
    if isinstance(found, int):
        return found
    data = pack_stat(task.arch, found)
    return data if isinstance(data, int) else put_struct(task, address, data)


def _put_stat64(task: Task, found: Kstat | int, address: int) -> int:
    if isinstance(found, int):
        return found
    return put_struct(task, address, pack_stat64(task.arch, found))


def _stat_fd(task: Task, fd: int) -> Kstat | int:
    file = task.files.get(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.f_inode.getattr()


def sys_stat(task: Task, name: int, address: int, *_: int) -> int:
    return _put_stat(task, _stat_at(task, AT_FDCWD, name, 0), address)


def sys_lstat(task: Task, name: int, address: int, *_: int) -> int:
    return _put_stat(task, _stat_at(task, AT_FDCWD, name, AT_SYMLINK_NOFOLLOW), address)


def sys_fstat(task: Task, fd: int, address: int, *_: int) -> int:
    return _put_stat(task, _stat_fd(task, fd), address)


def sys_newfstatat(task: Task, dfd: int, name: int, address: int, flags: int, *_: int) -> int:
    return _put_stat(task, _stat_at(task, dfd, name, flags & 0xFFFFFFFF), address)


def sys_stat64(task: Task, name: int, address: int, *_: int) -> int:
    return _put_stat64(task, _stat_at(task, AT_FDCWD, name, 0), address)


def sys_lstat64(task: Task, name: int, address: int, *_: int) -> int:
    return _put_stat64(task, _stat_at(task, AT_FDCWD, name, AT_SYMLINK_NOFOLLOW), address)


def sys_fstat64(task: Task, fd: int, address: int, *_: int) -> int:
    return _put_stat64(task, _stat_fd(task, fd), address)


def sys_fstatat64(task: Task, dfd: int, name: int, address: int, flags: int, *_: int) -> int:
    return _put_stat64(task, _stat_at(task, dfd, name, flags & 0xFFFFFFFF), address)


def sys_statx(task: Task, dfd: int, name: int, flags: int, mask: int, address: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if mask & 0x80000000 or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        getname(task, name)  # it is read before anything is looked at
        return -errno.EINVAL
    found = _stat_at(task, dfd, name, flags)
    if isinstance(found, int):
        return found
    return put_struct(task, address, pack_statx(task.arch, found, 1))


# File systems


def _statfs(task: Task, place: Inode | int, address: int, wide: bool) -> int:
    if isinstance(place, int):
        return place
    found = place.sb.statfs(place)
    if isinstance(found, int):
        return found
    data = pack_statfs64(task.arch, found) if wide else pack_statfs(task.arch, found)
    return data if isinstance(data, int) else put_struct(task, address, data)


def _place(task: Task, name: int) -> Inode | int:
    found = find(task, AT_FDCWD, name, LOOKUP_FOLLOW)
    return found if isinstance(found, int) else found.inode


def _of_fd(task: Task, fd: int) -> Inode | int:
    file = task.files.get(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.f_inode


def sys_statfs(task: Task, name: int, address: int, *_: int) -> int:
    return _statfs(task, _place(task, name), address, False)


def sys_fstatfs(task: Task, fd: int, address: int, *_: int) -> int:
    return _statfs(task, _of_fd(task, fd), address, False)


def _statfs64(task: Task, place: Inode | int, size: int, address: int) -> int:
    """statfs64: on a 64-bit machine its structure is that of statfs."""
    wide = task.word == 4
    return -errno.EINVAL if size != (STATFS64_SIZE if wide else STATFS_SIZE) else _statfs(task, place, address, wide)


def sys_statfs64(task: Task, name: int, size: int, address: int, *_: int) -> int:
    return _statfs64(task, _place(task, name), size, address)


def sys_fstatfs64(task: Task, fd: int, size: int, address: int, *_: int) -> int:
    return _statfs64(task, _of_fd(task, fd), size, address)


# Links, access


def sys_readlinkat(task: Task, dfd: int, name: int, buffer: int, size: int, *_: int) -> int:
    size = s32(size)
    if size <= 0:
        return -errno.EINVAL
    path = getname(task, name)
    if isinstance(path, int):
        return path
    if path:
        place = find(task, dfd, name, 0)
    else:
        file = task.files.get(dfd & 0xFFFFFFFF)
        if file is None:
            return -errno.ENOENT if s32(dfd) == AT_FDCWD else -errno.EBADF
        place = file.f_dentry
    if isinstance(place, int):
        return place
    if not place.inode.is_link:
        return -errno.EINVAL if path else -errno.ENOENT
    text = place.inode.readlink(task)
    if isinstance(text, int):
        return text
    text = text[:size]
    return len(text) if task.access.copy_to_user(buffer, text) else -errno.EFAULT


def sys_readlink(task: Task, name: int, buffer: int, size: int, *_: int) -> int:
    return sys_readlinkat(task, AT_FDCWD, name, buffer, size)


def do_faccessat(task: Task, dfd: int, name: int, mode: int, flags: int) -> int:
    """May the real (or, with AT_EACCESS, the effective) user do this."""
    mode &= 0xFFFFFFFF
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    cred = task.cred
    if not flags & AT_EACCESS:
        cred = replace(cred, fsuid=cred.uid, fsgid=cred.gid)
        if cred.uid and cred.euid == 0:
            cred.cap_effective = 0
    place = find(task, dfd, name, 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW, bool(flags & AT_EMPTY_PATH))
    if isinstance(place, int):
        return place
    inode = place.inode
    if mode & MAY_EXEC and inode.is_reg:
        stat = inode.getattr()
        if isinstance(stat, int):
            return stat
        if not stat.mode & 0o111:
            return -errno.EACCES
    error = inode.permission(cred, mode) if mode else 0
    if not error and mode & MAY_WRITE and not special_file(inode.i_mode) and not is_writable(place):
        return -errno.EROFS
    return error


def sys_access(task: Task, name: int, mode: int, *_: int) -> int:
    return do_faccessat(task, AT_FDCWD, name, mode, 0)


def sys_faccessat(task: Task, dfd: int, name: int, mode: int, *_: int) -> int:
    return do_faccessat(task, dfd, name, mode, 0)


def sys_faccessat2(task: Task, dfd: int, name: int, mode: int, flags: int, *_: int) -> int:
    return do_faccessat(task, dfd, name, mode, flags & 0xFFFFFFFF)


# Directories


def _getdents(task: Task, fd: int, buffer: int, size: int, wide: bool) -> int:
    """getdents64, and getdents with its words and the type in the last byte.

    The kernel writes the offset of an entry when it comes to the next one, so the first store goes to d_off.
    """
    file = task.files.get(fd & 0xFFFFFFFF)
    if file is None or file.f_mode & FMODE_PATH:
        return -errno.EBADF
    if not file.f_inode.is_dir:
        return -errno.ENOTDIR
    if not file.f_mode & FMODE_READ:
        return -errno.EBADF
    entries = file.list_entries(task)
    if isinstance(entries, int):
        return entries
    size &= 0xFFFFFFFF
    access = task.access
    word = 8 if wide else task.word
    head = 19 if wide else 2 * word + 2
    where, last = buffer, 0
    index = file.f_pos
    for entry in entries[index:]:
        if entry is None:
            index += 1
            continue
        name, ino, kind = entry
        length = head + len(name) + (1 if wide else 2)
        length = length + word - 1 & -word
        if where + length > buffer + size:
            if not last:
                return -errno.EINVAL
            break
        previous = last or where
        ok = access.put_user(previous + word, index, word, "filldir64") and access.put_user(
            where, ino, word, "filldir64"
        )
        ok = ok and access.put_user(where + 2 * word, length, 2, "filldir64")
        if wide:
            ok = ok and access.put_user(where + 18, kind, 1, "filldir64")
        else:
            ok = ok and access.put_user(where + length - 1, kind, 1, "filldir")
        if not ok or not access.copy_to_user(where + head, name + b"\0", "filldir64"):
            if not last:
                return -errno.EFAULT
            break
        last = where
        where += length
        index += 1
    file.f_pos = index
    if not last:
        return 0
    if not access.put_user(last + word, index, word):
        return -errno.EFAULT
    return where - buffer


def sys_getdents64(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    return _getdents(task, fd, buffer, size, True)


def sys_getdents(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    return _getdents(task, fd, buffer, size, False)


def sys_getcwd(task: Task, buffer: int, size: int, *_: int) -> int:
    place = task.fs.pwd
    if d_unlinked(place):
        return -errno.ENOENT
    path = d_path(place)
    if len(path) + 1 > PATH_MAX:
        return -errno.ENAMETOOLONG
    if len(path) + 1 > size:
        return -errno.ERANGE
    return len(path) + 1 if task.access.copy_to_user(buffer, path + b"\0") else -errno.EFAULT


# Extended attributes: no file has any

XATTR_SIZE_MAX = 65536


_NAMESPACES = (b"security.", b"system.", b"trusted.", b"user.")


def _no_attribute(text: bytes, place: Dentry | int) -> int:
    if isinstance(place, int):
        return place
    return -errno.ENODATA if text.startswith(_NAMESPACES) else -errno.EOPNOTSUPP


def _fd_place(task: Task, fd: int) -> Dentry | int:
    file = task.files.get(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.f_dentry


def sys_getxattr(task: Task, path: int, name: int, *_: int) -> int:
    text = _import_name(task, name)
    return text if isinstance(text, int) else _no_attribute(text, find(task, AT_FDCWD, path, LOOKUP_FOLLOW))


def sys_lgetxattr(task: Task, path: int, name: int, *_: int) -> int:
    text = _import_name(task, name)
    return text if isinstance(text, int) else _no_attribute(text, find(task, AT_FDCWD, path, 0))


def sys_fgetxattr(task: Task, fd: int, name: int, *_: int) -> int:
    text = _import_name(task, name)
    return text if isinstance(text, int) else _no_attribute(text, _fd_place(task, fd))


def _zero_or_error(place: Dentry | int) -> int:
    return place if isinstance(place, int) else 0


def sys_listxattr(task: Task, path: int, *_: int) -> int:
    return _zero_or_error(find(task, AT_FDCWD, path, LOOKUP_FOLLOW))


def sys_llistxattr(task: Task, path: int, *_: int) -> int:
    return _zero_or_error(find(task, AT_FDCWD, path, 0))


def sys_flistxattr(task: Task, fd: int, *_: int) -> int:
    return _zero_or_error(_fd_place(task, fd))


def _import_name(task: Task, name: int) -> bytes | int:
    """The name of an attribute, -EFAULT, or -ERANGE for one that is empty or too long (import_xattr_name)."""
    text = task.access.strncpy_from_user(name, 256)
    if text is None:
        return -errno.EFAULT
    return -errno.ERANGE if not text or len(text) > 255 else text


def _attribute_name(task: Task, name: int) -> int:
    text = _import_name(task, name)
    return text if isinstance(text, int) else 0


def _check_attribute(task: Task, name: int, value: int, size: int, flags: int) -> int:
    """What setxattr looks at before the file: 0 or -errno (setxattr_copy)."""
    if flags & 0xFFFFFFFF & ~3:
        return -errno.EINVAL
    error = _attribute_name(task, name)
    if error:
        return error
    if size > XATTR_SIZE_MAX:
        return -errno.E2BIG
    return -errno.EFAULT if size and task.access.copy_from_user(value, size) is None else 0


def _refused(place: Dentry | int) -> int:
    """No file takes an attribute, and those of a read-only mount not even the question."""
    if isinstance(place, int):
        return place
    return -errno.EOPNOTSUPP if is_writable(place) else -errno.EROFS


def sys_setxattr(task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    return _check_attribute(task, name, value, size, flags) or _refused(find(task, AT_FDCWD, path, LOOKUP_FOLLOW))


def sys_lsetxattr(task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    return _check_attribute(task, name, value, size, flags) or _refused(find(task, AT_FDCWD, path, 0))


def sys_fsetxattr(task: Task, fd: int, name: int, value: int, size: int, flags: int, *_: int) -> int:
    return _check_attribute(task, name, value, size, flags) or _refused(_fd_place(task, fd))


def sys_removexattr(task: Task, path: int, name: int, *_: int) -> int:
    return _attribute_name(task, name) or _refused(find(task, AT_FDCWD, path, LOOKUP_FOLLOW))


def sys_lremovexattr(task: Task, path: int, name: int, *_: int) -> int:
    return _attribute_name(task, name) or _refused(find(task, AT_FDCWD, path, 0))


def sys_fremovexattr(task: Task, fd: int, name: int, *_: int) -> int:
    return _attribute_name(task, name) or _refused(_fd_place(task, fd))


SYSCALLS = {
    "stat": sys_stat,
    "lstat": sys_lstat,
    "fstat": sys_fstat,
    "newfstatat": sys_newfstatat,
    "fstatat64": sys_fstatat64,
    "stat64": sys_stat64,
    "lstat64": sys_lstat64,
    "fstat64": sys_fstat64,
    "statx": sys_statx,
    "statfs": sys_statfs,
    "fstatfs": sys_fstatfs,
    "statfs64": sys_statfs64,
    "fstatfs64": sys_fstatfs64,
    "readlink": sys_readlink,
    "readlinkat": sys_readlinkat,
    "access": sys_access,
    "faccessat": sys_faccessat,
    "faccessat2": sys_faccessat2,
    "getdents": sys_getdents,
    "getdents64": sys_getdents64,
    "getcwd": sys_getcwd,
    "getxattr": sys_getxattr,
    "lgetxattr": sys_lgetxattr,
    "fgetxattr": sys_fgetxattr,
    "listxattr": sys_listxattr,
    "llistxattr": sys_llistxattr,
    "flistxattr": sys_flistxattr,
    "setxattr": sys_setxattr,
    "lsetxattr": sys_lsetxattr,
    "fsetxattr": sys_fsetxattr,
    "removexattr": sys_removexattr,
    "lremovexattr": sys_lremovexattr,
    "fremovexattr": sys_fremovexattr,
}
