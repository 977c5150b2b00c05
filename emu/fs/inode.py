# SPDX-License-Identifier: GPL-2.0-or-later
"""Inodes and file systems: what every kind of file has in common (struct inode, struct super_block, struct kstat)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.fs.consts import (
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    S_ISVTX,
)

if TYPE_CHECKING:
    from emu.fs.current import Cred, Current
    from emu.fs.dcache import Dentry
    from emu.fs.file import File
    from emu.mm.filemap import address_space

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_FOWNER = 3
CAP_FSETID = 4


@dataclass
class Kstat:
    """What stat and statx tell. Times in nanoseconds since 1970; sizes in bytes; blocks of 512 bytes."""

    dev: int
    ino: int
    mode: int
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    blksize: int = 4096
    blocks: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int | None = None


@dataclass
class Kstatfs:
    """What statfs tells. Counts are in blocks of `bsize`."""

    type: int
    bsize: int = 4096
    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    fsid: int = 0
    namelen: int = 255
    frsize: int = 4096
    flags: int = 0x20  # ST_VALID


@dataclass
class Setattr:
    """Which attributes notify_change is to set; None leaves one alone. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime: int | None = None
    mtime: int | None = None


class SuperBlock:
    """A file system (struct super_block)."""

    def __init__(self, name: str, s_dev: int, s_magic: int) -> None:
        self.name = name
        self.s_dev = s_dev
        self.s_magic = s_magic

    def statfs(self, inode: Inode) -> Kstatfs | int:
        """Figures of the file system, or -errno."""
        return Kstatfs(self.s_magic)


class Inode:
    """A file of any kind (struct inode). Directory operations return -ENOTDIR, -EPERM ... unless a kind implements
    them."""

    __slots__ = ("__weakref__", "flocks", "i_count", "i_mapping", "sb")

    def __init__(self, sb: SuperBlock) -> None:
        self.sb = sb
        self.i_mapping: address_space | None = None
        self.i_count = 0  # open files
        self.flocks: object = None  # emu.fs.locks.LockContext once somebody locked it

    @property
    def i_mode(self) -> int:
        raise NotImplementedError

    @property
    def i_ino(self) -> int:
        raise NotImplementedError

    @property
    def i_rdev(self) -> int:
        return 0

    @property
    def i_size(self) -> int:
        return 0

    @property
    def s_dev(self) -> int:
        """Number of the device it is on."""
        return self.sb.s_dev

    @property
    def key(self) -> tuple[int, int]:
        """What makes it the same file as another inode object."""
        return self.s_dev, self.i_ino

    @property
    def is_dir(self) -> bool:
        return self.i_mode & S_IFMT == S_IFDIR

    @property
    def is_link(self) -> bool:
        return self.i_mode & S_IFMT == S_IFLNK

    @property
    def is_reg(self) -> bool:
        return self.i_mode & S_IFMT == S_IFREG

    def getattr(self) -> Kstat | int:
        """All that stat wants to know, or -errno."""
        raise NotImplementedError

    def permission(self, cred: Cred, mask: int) -> int:
        """0, or -EACCES when `cred` may not MAY_READ, MAY_WRITE, MAY_EXEC it (generic_permission)."""
        stat = self.getattr()
        if isinstance(stat, int):
            return stat
        return generic_permission(stat, cred, mask)

    # Directories

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        """The inode called `name`, or -ENOENT. `parent` is the dentry through which this directory was reached."""
        return -errno.ENOTDIR

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        """(name, inode number, DT_* type) of all entries, . and .. among them."""
        return -errno.ENOTDIR

    def create(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> Inode | int:
        """Make a regular file."""
        return -errno.EACCES

    def mkdir(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> int:
        return -errno.EPERM

    def mknod(self, dentry: Dentry, name: bytes, mode: int, rdev: int, task: Current) -> int:
        return -errno.EPERM

    def symlink(self, dentry: Dentry, name: bytes, target: bytes, task: Current) -> int:
        return -errno.EPERM

    def link(self, dentry: Dentry, name: bytes, old: Dentry, task: Current) -> int:
        """Give `old` a second name here."""
        return -errno.EPERM

    def unlink(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        return -errno.EPERM

    def rmdir(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        return -errno.EPERM

    def rename(self, old: Dentry, new_dir: Dentry, new_name: bytes, flags: int, task: Current) -> int:
        """Move `old`, an entry of this directory, over `new_name` of new_dir (same file system)."""
        return -errno.EPERM

    def tmpfile(self, dentry: Dentry, mode: int, flags: int, task: Current) -> File | int:
        """An open file without a name (O_TMPFILE)."""
        return -errno.EOPNOTSUPP

    # Anything

    def get_link(self, task: Current) -> bytes | Dentry | int:
        """Where a symbolic link points: text, or, for a magic link, the place itself."""
        return -errno.EINVAL

    def readlink(self, task: Current) -> bytes | int:
        """The text that readlink gives."""
        target = self.get_link(task)
        return target if isinstance(target, bytes | int) else -errno.EINVAL

    def setattr_prepare(self, stat: Kstat, change: Setattr, cred: Cred, touch: bool) -> int:
        """Whether attributes, which are `stat` now, may be changed: 0 or -errno."""
        return setattr_prepare(stat, change, cred, touch)

    def setattr(self, dentry: Dentry, change: Setattr, task: Current) -> int:
        """Store attributes whose change is permitted already (notify_change)."""
        return -errno.EPERM

    def truncate(self, dentry: Dentry | None, size: int, task: Current) -> int:
        """Set the size of a regular file."""
        return -errno.EINVAL

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        """A new open file. `flags` are internal O_* flags; permission was checked."""
        return -errno.ENXIO

    def release(self, file: File) -> None:
        """An open file of this inode was closed for good."""


class StoredInode(Inode):
    """An inode that holds its number and its mode itself."""

    __slots__ = ("ino", "mode")
    ino: int
    mode: int

    @property
    def i_mode(self) -> int:
        return self.mode

    @property
    def i_ino(self) -> int:
        return self.ino


class NamelessFs(SuperBlock):
    """Where inodes live that no directory holds: those of pipes, of sockets."""

    def __init__(self, name: str, s_dev: int, s_magic: int) -> None:
        super().__init__(name, s_dev, s_magic)
        self._ino = 0

    def next_ino(self) -> int:
        self._ino += 1
        return self._ino


class NamelessInode(StoredInode):
    """An inode in such a file system."""

    __slots__ = ("gid", "stamp", "uid")

    def __init__(self, sb: NamelessFs, mode: int, uid: int, gid: int, now: int) -> None:
        super().__init__(sb)
        self.ino = sb.next_ino()
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.stamp = now

    def getattr(self) -> Kstat | int:
        now = self.stamp
        return Kstat(self.s_dev, self.ino, self.mode, 1, self.uid, self.gid, atime=now, mtime=now, ctime=now)

    def setattr(self, dentry: Dentry, change: Setattr, task: Current) -> int:
        if change.mode is not None:
            self.mode = self.mode & S_IFMT | change.mode & 0o7777
        self.uid = self.uid if change.uid is None else change.uid
        self.gid = self.gid if change.gid is None else change.gid
        return 0


def capable(cred: Cred, capability: int) -> bool:
    """Has it CAP_*."""
    return bool(cred.cap_effective >> capability & 1)


def in_group(cred: Cred, gid: int) -> bool:
    """Is `gid` its file-system group or one of its supplementary ones (in_group_p)."""
    return gid == cred.fsgid or gid in cred.groups


def generic_permission(stat: Kstat, cred: Cred, mask: int) -> int:
    """Owner, group and other bits, then capabilities (generic_permission): 0 or -EACCES."""
    mode = stat.mode
    if cred.fsuid == stat.uid:
        granted = mode >> 6 & 7
    elif in_group(cred, stat.gid):
        granted = mode >> 3 & 7
    else:
        granted = mode & 7
    if not mask & ~granted & 7:
        return 0
    if mode & S_IFMT == S_IFDIR:
        if not mask & MAY_WRITE and capable(cred, CAP_DAC_READ_SEARCH):
            return 0
        return 0 if capable(cred, CAP_DAC_OVERRIDE) else -errno.EACCES
    if mask & (MAY_READ | MAY_WRITE | MAY_EXEC) == MAY_READ and capable(cred, CAP_DAC_READ_SEARCH):
        return 0
    if not mask & MAY_EXEC or mode & 0o111:
        if capable(cred, CAP_DAC_OVERRIDE):
            return 0
    return -errno.EACCES


def check_sticky(directory: Kstat, victim: Kstat, cred: Cred) -> bool:
    """Must a removal be refused because of the directory's sticky bit (check_sticky)."""
    if not directory.mode & S_ISVTX or cred.fsuid in (victim.uid, directory.uid):
        return False
    return not capable(cred, CAP_FOWNER)


def setattr_prepare(stat: Kstat, change: Setattr, cred: Cred, touch: bool) -> int:
    """May `cred` make this change: 0 or -EPERM, -EACCES (setattr_prepare). `touch`: both times are set to now.

    Clears the set-group-ID bit of the new mode where the caller is not in the group, as chmod does.
    """
    owner = cred.fsuid == stat.uid
    if change.uid is not None and not (owner and change.uid == stat.uid) and not capable(cred, CAP_CHOWN):
        return -errno.EPERM
    if change.gid is not None and not capable(cred, CAP_CHOWN):
        if not owner or not (change.gid == stat.gid or in_group(cred, change.gid)):
            return -errno.EPERM
    if change.mode is not None:
        if not owner and not capable(cred, CAP_FOWNER):
            return -errno.EPERM
        gid = stat.gid if change.gid is None else change.gid
        if not in_group(cred, gid) and not capable(cred, CAP_FSETID):
            change.mode &= ~S_ISGID
    if (change.atime is not None or change.mtime is not None) and not owner and not capable(cred, CAP_FOWNER):
        if not touch:
            return -errno.EPERM
        return -errno.EACCES if generic_permission(stat, cred, MAY_WRITE) else 0
    return 0


def mode_without_privs(mode: int) -> int:
    """The mode after a write or a chown by somebody without privileges (should_remove_suid)."""
    drop = S_ISUID
    if mode & 0o010:
        drop |= S_ISGID
    return mode & ~drop


def dt_type(mode: int) -> int:
    """DT_* of a directory entry for a mode."""
    return mode >> 12 & 15


def special_file(mode: int) -> bool:
    """A device, FIFO or socket: no write to it touches the file system."""
    return mode & S_IFMT not in (S_IFREG, S_IFDIR, S_IFLNK)


def is_device(mode: int) -> bool:
    """A character or block device."""
    return mode & S_IFMT in (S_IFCHR, S_IFBLK)
