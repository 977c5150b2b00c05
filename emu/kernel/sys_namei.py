# SPDX-License-Identifier: GPL-2.0-or-later
"""Making, removing, renaming files and changing what they are: mkdir, unlink, rename, chmod, chown, utimensat,
chdir."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from emu.fs.consts import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    FMODE_PATH,
    MAY_EXEC,
    PATH_MAX,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    S_ISGID,
    S_ISUID,
)
from emu.fs.dcache import Dentry
from emu.fs.inode import Setattr
from emu.fs.namei import (
    LOOKUP_DIRECTORY,
    LOOKUP_FOLLOW,
    do_link,
    do_mkdir,
    do_mknod,
    do_rename,
    do_rmdir,
    do_symlink,
    do_unlink,
    may_mknod,
    mnt_want_write,
)
from emu.kernel.args import NSEC_PER_SEC, getname, order, s32, starting_point
from emu.kernel.sys_stat import find
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.kernel.task import Task

UMOUNT_NOFOLLOW, UMOUNT_FLAGS = 8, 15
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def _name_and_start(task: Task, dfd: int, name: int) -> tuple[bytes, Dentry] | int:
    return _with_start(task, dfd, getname(task, name))


def _with_start(task: Task, dfd: int, path: bytes | int) -> tuple[bytes, Dentry] | int:
    """What getname gave, and where it starts. Calls with two names get the second one first, as GCC orders them."""
    if isinstance(path, int):
        return path
    start = starting_point(task, dfd, path)
    return start if isinstance(start, int) else (path, start)


def sys_mkdirat(task: Task, dfd: int, name: int, mode: int, *_: int) -> int:
    found = _name_and_start(task, dfd, name)
    return found if isinstance(found, int) else do_mkdir(task, found[1], found[0], mode)


def sys_mkdir(task: Task, name: int, mode: int, *_: int) -> int:
    return sys_mkdirat(task, AT_FDCWD, name, mode)


def sys_mknodat(task: Task, dfd: int, name: int, mode: int, dev: int, *_: int) -> int:
    path = getname(task, name)
    error = may_mknod(mode)
    if error:
        return error
    found = _with_start(task, dfd, path)
    return found if isinstance(found, int) else do_mknod(task, found[1], found[0], mode & 0xFFFF, dev & 0xFFFFFFFF)


def sys_mknod(task: Task, name: int, mode: int, dev: int, *_: int) -> int:
    return sys_mknodat(task, AT_FDCWD, name, mode, dev)


def sys_unlinkat(task: Task, dfd: int, name: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if flags & ~AT_REMOVEDIR:
        return -errno.EINVAL
    found = _name_and_start(task, dfd, name)
    if isinstance(found, int):
        return found
    remove = do_rmdir if flags & AT_REMOVEDIR else do_unlink
    return remove(task, found[1], found[0])


def sys_unlink(task: Task, name: int, *_: int) -> int:
    return sys_unlinkat(task, AT_FDCWD, name, 0)


def sys_rmdir(task: Task, name: int, *_: int) -> int:
    return sys_unlinkat(task, AT_FDCWD, name, AT_REMOVEDIR)


def sys_symlinkat(task: Task, target: int, dfd: int, name: int, *_: int) -> int:
    path = getname(task, name)
    text = getname(task, target)
    if isinstance(text, int):
        return text
    if not text:
        return -errno.ENOENT
    found = _with_start(task, dfd, path)
    return found if isinstance(found, int) else do_symlink(task, text, found[1], found[0])


def sys_symlink(task: Task, target: int, name: int, *_: int) -> int:
    return sys_symlinkat(task, target, AT_FDCWD, name)


def sys_linkat(task: Task, old_dfd: int, old: int, new_dfd: int, new: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    path = getname(task, new)
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        getname(task, old)
        return -errno.EINVAL
    place = find(task, old_dfd, old, LOOKUP_FOLLOW if flags & AT_SYMLINK_FOLLOW else 0, bool(flags & AT_EMPTY_PATH))
    if isinstance(place, int):
        return place
    found = _with_start(task, new_dfd, path)
    return found if isinstance(found, int) else do_link(task, place, found[1], found[0])


def sys_link(task: Task, old: int, new: int, *_: int) -> int:
    return sys_linkat(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def sys_renameat2(task: Task, old_dfd: int, old: int, new_dfd: int, new: int, flags: int, *_: int) -> int:
    path = getname(task, new)
    begin = getname(task, old)
    flags &= 0xFFFFFFFF
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) or (
        flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)
    ):
        return -errno.EINVAL
    source = _with_start(task, old_dfd, begin)
    if isinstance(source, int):
        return source
    target = _with_start(task, new_dfd, path)
    if isinstance(target, int):
        return target
    return do_rename(task, source[1], source[0], target[1], target[0], flags)


def sys_renameat(task: Task, old_dfd: int, old: int, new_dfd: int, new: int, *_: int) -> int:
    return sys_renameat2(task, old_dfd, old, new_dfd, new, 0)


def sys_rename(task: Task, old: int, new: int, *_: int) -> int:
    return sys_renameat2(task, AT_FDCWD, old, AT_FDCWD, new, 0)


# Mounts: nobody may change them


def sys_mount(task: Task, device: int, directory: int, kind: int, flags: int, data: int, *_: int) -> int:
    """What mount looks at before it asks whether the task may: its strings, its page of options, the directory."""
    for string in (kind, device):
        if string:
            text = task.access.strnlen_user(string, PATH_MAX)
            if text is None:
                return -errno.EFAULT
            if len(text) >= PATH_MAX:
                return -errno.EINVAL
    if data:
        options = task.access.copy_from_user_partial(data, PAGE_SIZE)
        if len(options) < PAGE_SIZE:  # byte by byte from where it stopped (copy_mount_options)
            task.access.get_user(data + len(options), 1)
        if not options:
            return -errno.EFAULT
    place = find(task, AT_FDCWD, directory, LOOKUP_FOLLOW)
    return place if isinstance(place, int) else -errno.EPERM


def sys_umount2(task: Task, directory: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~UMOUNT_FLAGS:
        return -errno.EINVAL
    place = find(task, AT_FDCWD, directory, 0 if flags & UMOUNT_NOFOLLOW else LOOKUP_FOLLOW)
    return place if isinstance(place, int) else -errno.EPERM


# Attributes


def _notify_change(task: Task, place: Dentry | int, change: Setattr, touch: bool = False) -> int:
    if isinstance(place, int):
        return place
    error = mnt_want_write(place)
    if error:
        return error
    stat = place.inode.getattr()
    if isinstance(stat, int):
        return stat
    error = place.inode.setattr_prepare(stat, change, task.cred, touch)
    return error or place.inode.setattr(place, change, task)


def _fd_place(task: Task, fd: int) -> Dentry | int:
    file = task.files.get(fd & 0xFFFFFFFF)
    return -errno.EBADF if file is None or file.f_mode & FMODE_PATH else file.f_dentry


def sys_fchmod(task: Task, fd: int, mode: int, *_: int) -> int:
    return _notify_change(task, _fd_place(task, fd), Setattr(mode=mode & 0o7777))


def sys_fchmodat2(task: Task, dfd: int, name: int, mode: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    follow = 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
    place = find(task, dfd, name, follow, bool(flags & AT_EMPTY_PATH))
    if isinstance(place, Dentry) and place.inode.is_link:
        return -errno.EOPNOTSUPP
    return _notify_change(task, place, Setattr(mode=mode & 0o7777))


def sys_fchmodat(task: Task, dfd: int, name: int, mode: int, *_: int) -> int:
    return sys_fchmodat2(task, dfd, name, mode, 0)


def sys_chmod(task: Task, name: int, mode: int, *_: int) -> int:
    return sys_fchmodat2(task, AT_FDCWD, name, mode, 0)


def _chown(task: Task, place: Dentry | int, uid: int, gid: int) -> int:
    if isinstance(place, int):
        return place
    uid, gid = uid & 0xFFFFFFFF, gid & 0xFFFFFFFF
    change = Setattr(uid=None if uid == 0xFFFFFFFF else uid, gid=None if gid == 0xFFFFFFFF else gid)
    mode = place.inode.i_mode
    if not place.inode.is_dir and mode & (S_ISUID | S_ISGID):
        drop = S_ISUID | (S_ISGID if mode & 0o010 else 0)
        owner_check = Setattr(uid=change.uid, gid=change.gid)
        stat = place.inode.getattr()
        if not isinstance(stat, int) and not place.inode.setattr_prepare(stat, owner_check, task.cred, False):
            change.mode = mode & 0o7777 & ~drop
    return _notify_change(task, place, change)


def sys_fchownat(task: Task, dfd: int, name: int, uid: int, gid: int, flags: int, *_: int) -> int:
    flags &= 0xFFFFFFFF
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    follow = 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
    return _chown(task, find(task, dfd, name, follow, bool(flags & AT_EMPTY_PATH)), uid, gid)


def sys_chown(task: Task, name: int, uid: int, gid: int, *_: int) -> int:
    return sys_fchownat(task, AT_FDCWD, name, uid, gid, 0)


def sys_lchown(task: Task, name: int, uid: int, gid: int, *_: int) -> int:
    return sys_fchownat(task, AT_FDCWD, name, uid, gid, AT_SYMLINK_NOFOLLOW)


def sys_fchown(task: Task, fd: int, uid: int, gid: int, *_: int) -> int:
    return _chown(task, _fd_place(task, fd), uid, gid)


def do_utimes(task: Task, dfd: int, name: int, times: tuple[int, int] | None, flags: int) -> int:
    """Set access and modification time in ns (UTIME_OMIT as -1, now as -2, no time at all as -3); None = both to
    now."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    if not name and s32(dfd) != AT_FDCWD:
        if flags:
            return -errno.EINVAL
        place = _fd_place(task, dfd)
    else:
        follow = 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
        place = find(task, dfd, name, follow, bool(flags & AT_EMPTY_PATH))
    now = task.machine.realtime()
    touch = times is None or times == (-2, -2)
    values = [now, now] if times is None else [now if t == -2 else t for t in times]
    if not isinstance(place, int) and times is not None and -3 in times:
        return -errno.EINVAL
    change = Setattr(
        atime=None if times is not None and times[0] == -1 else values[0],
        mtime=None if times is not None and times[1] == -1 else values[1],
    )
    return _notify_change(task, place, change, touch)


def _utimens(task: Task, address: int, size: int) -> tuple[int, int] | int | None:
    if not address:
        return None
    data = task.access.copy_from_user(address, 4 * size)
    if data is None:
        return -errno.EFAULT
    values = struct.unpack(order(task) + ("4q" if size == 8 else "4i"), data)
    found = []
    for seconds, ns in (values[:2], values[2:]):
        if ns == UTIME_NOW:
            found.append(-2)
        elif ns == UTIME_OMIT:
            found.append(-1)
        elif not 0 <= ns < NSEC_PER_SEC:
            found.append(-3)
        else:
            found.append(seconds * NSEC_PER_SEC + ns)
    return found[0], found[1]


def _utimensat(task: Task, dfd: int, name: int, times: int, flags: int, word: int) -> int:
    values = _utimens(task, times, word)
    if values == (-1, -1):
        return 0  # not even the path is looked at
    return values if isinstance(values, int) else do_utimes(task, dfd, name, values, flags & 0xFFFFFFFF)


def sys_utimensat(task: Task, dfd: int, name: int, times: int, flags: int, *_: int) -> int:
    return _utimensat(task, dfd, name, times, flags, task.word)


def sys_utimensat_time64(task: Task, dfd: int, name: int, times: int, flags: int, *_: int) -> int:
    return _utimensat(task, dfd, name, times, flags, 8)


def _timevals(task: Task, address: int) -> tuple[int, int] | int | None:
    if not address:
        return None
    size = task.word
    data = task.access.copy_from_user(address, 4 * size)
    if data is None:
        return -errno.EFAULT
    a, b, c, d = struct.unpack(order(task) + ("4q" if size == 8 else "4i"), data)
    if not 0 <= b < 1_000_000 or not 0 <= d < 1_000_000:
        return -errno.EINVAL
    return a * NSEC_PER_SEC + b * 1000, c * NSEC_PER_SEC + d * 1000


def sys_futimesat(task: Task, dfd: int, name: int, times: int, *_: int) -> int:
    values = _timevals(task, times)
    return values if isinstance(values, int) else do_utimes(task, dfd, name, values, 0)


def sys_utimes(task: Task, name: int, times: int, *_: int) -> int:
    return sys_futimesat(task, AT_FDCWD, name, times)


def sys_utime(task: Task, name: int, times: int, *_: int) -> int:
    if not times:
        return do_utimes(task, AT_FDCWD, name, None, 0)
    data = task.access.copy_from_user(times, 2 * task.word, f"__get_user_{task.word}")
    if data is None:
        return -errno.EFAULT
    actime, modtime = struct.unpack(order(task) + ("qq" if task.word == 8 else "ii"), data)
    return do_utimes(task, AT_FDCWD, name, (actime * NSEC_PER_SEC, modtime * NSEC_PER_SEC), 0)


# Working directory


def _set_pwd(task: Task, place: Dentry | int) -> int:
    if isinstance(place, int):
        return place
    if not place.inode.is_dir:
        return -errno.ENOTDIR
    error = place.inode.permission(task.cred, MAY_EXEC)
    if not error:
        task.fs.pwd = place
    return error


def sys_chdir(task: Task, name: int, *_: int) -> int:
    return _set_pwd(task, find(task, AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY))


def sys_fchdir(task: Task, fd: int, *_: int) -> int:
    file = task.files.get(fd & 0xFFFFFFFF)
    return _set_pwd(task, -errno.EBADF if file is None else file.f_dentry)


def sys_chroot(task: Task, name: int, *_: int) -> int:
    place = find(task, AT_FDCWD, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
    if isinstance(place, int):
        return place
    error = place.inode.permission(task.cred, MAY_EXEC)
    if error:
        return error
    if not task.capable(18):  # CAP_SYS_CHROOT
        return -errno.EPERM
    task.fs.root = place
    return 0


def sys_umask(task: Task, mask: int, *_: int) -> int:
    old = task.fs.umask
    task.fs.umask = mask & 0o777
    return old


SYSCALLS = {
    "mount": sys_mount,
    "umount2": sys_umount2,
    "mkdir": sys_mkdir,
    "mkdirat": sys_mkdirat,
    "mknod": sys_mknod,
    "mknodat": sys_mknodat,
    "unlink": sys_unlink,
    "unlinkat": sys_unlinkat,
    "rmdir": sys_rmdir,
    "symlink": sys_symlink,
    "symlinkat": sys_symlinkat,
    "link": sys_link,
    "linkat": sys_linkat,
    "rename": sys_rename,
    "renameat": sys_renameat,
    "renameat2": sys_renameat2,
    "chmod": sys_chmod,
    "fchmod": sys_fchmod,
    "fchmodat": sys_fchmodat,
    "fchmodat2": sys_fchmodat2,
    "chown": sys_chown,
    "lchown": sys_lchown,
    "fchown": sys_fchown,
    "fchownat": sys_fchownat,
    "utime": sys_utime,
    "utimes": sys_utimes,
    "futimesat": sys_futimesat,
    "utimensat": sys_utimensat,
    "utimensat_time64": sys_utimensat_time64,
    "chdir": sys_chdir,
    "fchdir": sys_fchdir,
    "chroot": sys_chroot,
    "umask": sys_umask,
}
