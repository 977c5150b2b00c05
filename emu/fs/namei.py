# SPDX-License-Identifier: GPL-2.0-or-later
"""From a path to a file: the walk with its symbolic links, and everything that changes names (fs/namei.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.consts import (
    MAXSYMLINKS,
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    NAME_MAX,
    O_ACCMODE,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOATIME,
    O_NOFOLLOW,
    O_PATH,
    O_TMPFILE_BIT,
    O_TRUNC,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_ISVTX,
)
from emu.fs.dcache import (
    Dentry,
    d_child,
    d_exchange,
    d_find,
    d_move,
    d_unlink,
    d_unlinked,
    is_subdir,
    mount_of,
)
from emu.fs.file import File
from emu.fs.inode import CAP_FOWNER, Inode, capable, check_sticky, special_file

if TYPE_CHECKING:
    from emu.fs.current import Current

LOOKUP_FOLLOW = 1
LOOKUP_DIRECTORY = 2
LOOKUP_NO_SYMLINKS = 4
LOOKUP_NO_MAGICLINKS = 8
LOOKUP_NO_XDEV = 16
LOOKUP_BENEATH = 32
LOOKUP_IN_ROOT = 64

LAST_NORM, LAST_ROOT, LAST_DOT, LAST_DOTDOT = range(4)


class Walk:
    """A path walk: where it stands, and how many links it followed (struct nameidata)."""

    def __init__(self, task: Current, start: Dentry, flags: int) -> None:
        self.task = task
        self.flags = flags
        self.root = start if flags & LOOKUP_IN_ROOT else task.fs.root
        self.top = start  # of LOOKUP_BENEATH
        self.place = start
        self.links = 0
        self.last = b""
        self.last_type = LAST_NORM
        self.must_be_directory = False  # a slash at the end
        self.at_last = False  # of walk_parent

    def may_lookup(self) -> int:
        """The current place must be a directory that may be searched."""
        inode = self.place.inode
        if not inode.is_dir:
            return -errno.ENOTDIR
        return inode.permission(self.task.cred, MAY_EXEC)

    def jump_to_root(self) -> int:
        if self.flags & LOOKUP_BENEATH:
            return -errno.EXDEV
        if self.flags & LOOKUP_NO_XDEV and mount_of(self.place) is not mount_of(self.root):
            return -errno.EXDEV
        self.place = self.root
        return 0

    def dotdot(self) -> int:
        """Go to the parent, staying at the root (handle_dots)."""
        if self.place is self.root:
            return -errno.EXDEV if self.flags & LOOKUP_BENEATH else 0
        if self.flags & LOOKUP_BENEATH and self.place is self.top:
            return -errno.EXDEV
        parent = self.place.parent
        if self.flags & LOOKUP_NO_XDEV and mount_of(parent) is not mount_of(self.place):
            return -errno.EXDEV
        self.place = parent
        return 0

    def step(self, name: bytes) -> Dentry | int:
        """The dentry called `name` in the current place, links not followed; -ENOENT."""
        if len(name) > NAME_MAX:
            return -errno.ENAMETOOLONG
        found = lookup_one(self.place, name, self.task)
        if isinstance(found, Dentry) and self.flags & LOOKUP_NO_XDEV and mount_of(found) is not mount_of(self.place):
            return -errno.EXDEV
        return found

    def follow(self, link: Inode) -> list[bytes] | int:
        """Take a link: the names of its text, last one first; [] for a magic link, which moves the place itself."""
        self.links += 1
        if self.links > MAXSYMLINKS or self.flags & LOOKUP_NO_SYMLINKS:
            return -errno.ELOOP
        target = link.get_link(self.task)
        if isinstance(target, int):
            return target
        if isinstance(target, Dentry):
            if self.flags & LOOKUP_NO_MAGICLINKS:
                return -errno.ELOOP
            if self.flags & (LOOKUP_BENEATH | LOOKUP_IN_ROOT | LOOKUP_NO_XDEV):
                return -errno.EXDEV
            self.place = target
            return []
        if not target:
            return -errno.ENOENT
        if target.startswith(b"/"):
            error = self.jump_to_root()
            if error:
                return error
        return self.split(target)

    def split(self, path: bytes) -> list[bytes]:
        """Names of a path, last one first. Notes a slash at the end."""
        self.must_be_directory = path.endswith(b"/")
        names = [name for name in path.split(b"/") if name]
        names.reverse()
        return names

    def walk(self, path: bytes, follow_last: bool, parent: bool) -> int:
        """Walk `path`. With `parent`, stop before the last name, which goes to `last` and `last_type`. 0 or -errno."""
        if path.startswith(b"/"):
            error = self.jump_to_root()
            if error:
                return error
        pending = self.split(path)
        if not pending:
            self.last_type = LAST_ROOT
            return 0
        outer_slash = False
        while pending:
            error = self.may_lookup()
            if error:
                return error
            name = pending.pop()
            if not pending and parent:
                self.last = name
                self.last_type = LAST_DOT if name == b"." else LAST_DOTDOT if name == b".." else LAST_NORM
                return 0
            if name == b".":
                continue
            if name == b"..":
                error = self.dotdot()
                if error:
                    return error
                continue
            found = self.step(name)
            if isinstance(found, int):
                return found
            if found.inode.is_link and (pending or follow_last or self.must_be_directory):
                outer_slash = self.must_be_directory
                names = self.follow(found.inode)
                if isinstance(names, int):
                    return names
                if pending:
                    self.must_be_directory = outer_slash
                elif outer_slash:
                    self.must_be_directory = True
                pending += names
                continue
            self.place = found
        if (self.must_be_directory or self.flags & LOOKUP_DIRECTORY) and not self.place.inode.is_dir:
            return -errno.ENOTDIR
        refresh(self.place)
        return 0


def refresh(place: Dentry) -> None:
    """Bring the attributes of a place up to date that no look-up may have touched."""
    update = getattr(place.inode, "refresh", None)
    if update is not None:
        update(place)


def lookup_one(parent: Dentry, name: bytes, task: Current) -> Dentry | int:
    """The dentry of one name in a directory; -errno."""
    known = d_find(parent, name)
    if known is not None and known.mounted:
        return known
    inode = parent.inode.lookup(parent, name, task)
    if isinstance(inode, int):
        if known is not None and inode == -errno.ENOENT:
            d_unlink(known)
        return inode
    return d_child(parent, name, inode)


def path_lookup(task: Current, start: Dentry, path: bytes, flags: int) -> Dentry | int:
    """The place that a path leads to (path_lookupat). An empty path is -ENOENT."""
    if not path:
        return -errno.ENOENT
    walk = Walk(task, start, flags)
    error = walk.walk(path, bool(flags & LOOKUP_FOLLOW), False)
    return error or walk.place


def path_parent(task: Current, start: Dentry, path: bytes) -> Walk | int:
    """Walk to the directory of the last name (filename_parentat): see `place`, `last`, `last_type`."""
    if not path:
        return -errno.ENOENT
    walk = Walk(task, start, 0)
    error = walk.walk(path, False, True)
    if error:
        return error
    if walk.last_type != LAST_ROOT and len(walk.last) > NAME_MAX:
        return -errno.ENAMETOOLONG
    return walk


def is_writable(place: Dentry) -> bool:
    """May the guest change what is here: is the mount that it is on writable."""
    return bool(mount_of(place).mount_writable)


def mnt_want_write(place: Dentry) -> int:
    """0, or -EROFS."""
    return 0 if is_writable(place) else -errno.EROFS


def inode_permission(place: Dentry, task: Current, mask: int) -> int:
    """May the task read, write, execute it: 0, -EACCES, or -EROFS for a write to a read-only mount."""
    if mask & MAY_WRITE and not special_file(place.inode.i_mode) and not is_writable(place):
        return -errno.EROFS
    return place.inode.permission(task.cred, mask)


def may_create(directory: Dentry, task: Current) -> int:
    """May names be added to the directory."""
    if d_unlinked(directory):
        return -errno.ENOENT
    return directory.inode.permission(task.cred, MAY_WRITE | MAY_EXEC)


def may_delete(directory: Dentry, victim: Dentry, task: Current, want_directory: bool) -> int:
    """May the name be removed from the directory (may_delete)."""
    error = directory.inode.permission(task.cred, MAY_WRITE | MAY_EXEC)
    if error:
        return error
    if directory.inode.i_mode & S_ISVTX and not capable(task.cred, CAP_FOWNER):
        one, other = directory.inode.getattr(), victim.inode.getattr()
        if isinstance(one, int) or isinstance(other, int) or check_sticky(one, other, task.cred):
            return -errno.EPERM
    if want_directory:
        if not victim.inode.is_dir:
            return -errno.ENOTDIR
        if victim.parent is victim or victim.mounted or victim.mount_writable is not None:
            return -errno.EBUSY
    elif victim.inode.is_dir:
        return -errno.EISDIR
    return 0


# Creating


def filename_create(task: Current, start: Dentry, path: bytes, directory: bool) -> Walk | int:
    """The place for a new name, which must not be there (filename_create)."""
    walk = path_parent(task, start, path)
    if isinstance(walk, int):
        return walk
    if walk.last_type != LAST_NORM:
        return -errno.EEXIST
    read_only = mnt_want_write(walk.place)
    found = lookup_one(walk.place, walk.last, task)
    if isinstance(found, Dentry):
        return -errno.EEXIST
    if found != -errno.ENOENT:
        return found
    if walk.must_be_directory and not directory:
        return -errno.ENOENT
    return read_only or may_create(walk.place, task) or walk


def do_mkdir(task: Current, start: Dentry, path: bytes, mode: int) -> int:
    """mkdirat."""
    walk = filename_create(task, start, path, True)
    if isinstance(walk, int):
        return walk
    mode &= 0o1777 & ~task.fs.umask
    return walk.place.inode.mkdir(walk.place, walk.last, mode, task)


def may_mknod(mode: int) -> int:
    """Can a file of this type be made by mknod: 0, -EPERM, -EINVAL."""
    kind = mode & S_IFMT
    if kind in (0, S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        return 0
    return -errno.EPERM if kind == S_IFDIR else -errno.EINVAL


def do_mknod(task: Current, start: Dentry, path: bytes, mode: int, rdev: int) -> int:
    """mknodat, of a mode that may_mknod allows."""
    kind = mode & S_IFMT or S_IFREG
    walk = filename_create(task, start, path, False)
    if isinstance(walk, int):
        return walk
    if kind in (0o020000, 0o060000) and not capable(task.cred, 27):  # CAP_MKNOD
        return -errno.EPERM
    return walk.place.inode.mknod(walk.place, walk.last, kind | mode & 0o7777 & ~task.fs.umask, rdev, task)


def do_symlink(task: Current, target: bytes, start: Dentry, path: bytes) -> int:
    """symlinkat."""
    if not target:
        return -errno.ENOENT
    walk = filename_create(task, start, path, False)
    if isinstance(walk, int):
        return walk
    return walk.place.inode.symlink(walk.place, walk.last, target, task)


def do_link(task: Current, old: Dentry, start: Dentry, path: bytes) -> int:
    """linkat, once the old file is found."""
    walk = filename_create(task, start, path, False)
    if isinstance(walk, int):
        return walk
    if old.inode.is_dir:
        return -errno.EPERM
    if old.inode.sb is not walk.place.inode.sb or mount_of(old) is not mount_of(walk.place):
        return -errno.EXDEV
    return walk.place.inode.link(walk.place, walk.last, old, task)


# Removing


def do_unlink(task: Current, start: Dentry, path: bytes) -> int:
    """unlinkat without AT_REMOVEDIR."""
    walk = path_parent(task, start, path)
    if isinstance(walk, int):
        return walk
    if walk.last_type != LAST_NORM:
        return -errno.EISDIR
    error = mnt_want_write(walk.place)
    if error:
        return error
    found = lookup_one(walk.place, walk.last, task)
    if isinstance(found, int):
        return found
    if walk.must_be_directory:
        return -errno.EISDIR if found.inode.is_dir else -errno.ENOTDIR
    error = may_delete(walk.place, found, task, False) or walk.place.inode.unlink(walk.place, found, task)
    if not error:
        d_unlink(found)
    return error


def do_rmdir(task: Current, start: Dentry, path: bytes) -> int:
    """rmdir, and unlinkat with AT_REMOVEDIR."""
    walk = path_parent(task, start, path)
    if isinstance(walk, int):
        return walk
    if walk.last_type != LAST_NORM:
        return {LAST_DOTDOT: -errno.ENOTEMPTY, LAST_DOT: -errno.EINVAL}.get(walk.last_type, -errno.EBUSY)
    error = mnt_want_write(walk.place)
    if error:
        return error
    found = lookup_one(walk.place, walk.last, task)
    if isinstance(found, int):
        return found
    error = may_delete(walk.place, found, task, True) or walk.place.inode.rmdir(walk.place, found, task)
    if not error:
        d_unlink(found)
    return error


def do_rename(task: Current, old_start: Dentry, old: bytes, new_start: Dentry, new: bytes, flags: int) -> int:
    """renameat2."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE):
        return -errno.EINVAL
    if flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
        return -errno.EINVAL
    source_walk = path_parent(task, old_start, old)
    if isinstance(source_walk, int):
        return source_walk
    target_walk = path_parent(task, new_start, new)
    if isinstance(target_walk, int):
        return target_walk
    from_dir, to_dir = source_walk.place, target_walk.place
    if from_dir.inode.sb is not to_dir.inode.sb or mount_of(from_dir) is not mount_of(to_dir):
        return -errno.EXDEV
    if source_walk.last_type != LAST_NORM:
        return -errno.EBUSY
    if target_walk.last_type != LAST_NORM:
        return -errno.EEXIST if flags & RENAME_NOREPLACE else -errno.EBUSY
    error = mnt_want_write(from_dir)
    if error:
        return error
    source = lookup_one(from_dir, source_walk.last, task)
    if isinstance(source, int):
        return source
    target = lookup_one(to_dir, target_walk.last, task)
    if isinstance(target, int) and target != -errno.ENOENT:
        return target
    exists = target if isinstance(target, Dentry) else None
    if exists is not None and flags & RENAME_NOREPLACE:
        return -errno.EEXIST
    if flags & RENAME_EXCHANGE:
        if exists is None:
            return -errno.ENOENT
        if not exists.inode.is_dir and target_walk.must_be_directory:
            return -errno.ENOTDIR
    if not source.inode.is_dir:
        if source_walk.must_be_directory:
            return -errno.ENOTDIR
        if not flags & RENAME_EXCHANGE and target_walk.must_be_directory:
            return -errno.ENOTDIR
    if is_subdir(to_dir, source):
        return -errno.EINVAL
    if exists is not None and is_subdir(from_dir, exists):
        return -errno.EINVAL if flags & RENAME_EXCHANGE else -errno.ENOTEMPTY
    # vfs_rename
    if exists is not None and exists.inode.key == source.inode.key:
        return 0
    error = may_delete(from_dir, source, task, source.inode.is_dir)
    if error:
        return error
    if exists is None:
        error = may_create(to_dir, task)
    elif flags & RENAME_EXCHANGE:
        error = may_delete(to_dir, exists, task, exists.inode.is_dir)
    else:
        error = may_delete(to_dir, exists, task, source.inode.is_dir)
    if error:
        return error
    if source.inode.is_dir and from_dir is not to_dir:
        error = source.inode.permission(task.cred, MAY_WRITE)
        if error:
            return error
    error = from_dir.inode.rename(source, to_dir, target_walk.last, flags, task)
    if error:
        return error
    if flags & RENAME_EXCHANGE:
        assert exists is not None
        d_exchange(source, exists)
    else:
        d_move(source, to_dir, target_walk.last)
    return 0


# Opening


def access_mask(flags: int) -> int:
    """MAY_* that an open asks for."""
    return {0: MAY_READ, 1: MAY_WRITE, 2: MAY_READ | MAY_WRITE, 3: MAY_READ | MAY_WRITE}[flags & O_ACCMODE]


def do_open(task: Current, start: Dentry, path: bytes, flags: int, mode: int, resolve: int = 0) -> File | int:
    """Open or create a file by path. `flags` are internal O_* flags that build_open_flags has checked (path_openat)."""
    if not path:
        return -errno.ENOENT
    if flags & O_TMPFILE_BIT:
        return _open_tmpfile(task, start, path, flags, mode, resolve)
    if not flags & O_CREAT or flags & O_PATH:
        lookup = (
            resolve | (0 if flags & O_NOFOLLOW else LOOKUP_FOLLOW) | (LOOKUP_DIRECTORY if flags & O_DIRECTORY else 0)
        )
        walk = Walk(task, start, lookup)
        error = walk.walk(path, bool(lookup & LOOKUP_FOLLOW), False)
        if error:
            if error == -errno.ENOTDIR and flags & O_DIRECTORY and flags & O_NOFOLLOW and walk.place.inode.is_link:
                return -errno.ENOTDIR
            return error
        return _open_found(task, walk.place, flags, False)
    walk = Walk(task, start, resolve)
    while True:
        error = walk.walk(path, False, True)
        if error:
            return error
        if walk.last_type != LAST_NORM or walk.must_be_directory:
            return -errno.EISDIR
        error = walk.may_lookup()
        if error:
            return error
        found = walk.step(walk.last)
        if isinstance(found, int):
            if found != -errno.ENOENT:
                return found
            error = mnt_want_write(walk.place) or may_create(walk.place, task)
            if error:
                return error
            made = walk.place.inode.create(walk.place, walk.last, mode & 0o7777 & ~task.fs.umask, task)
            if isinstance(made, int):
                return made
            return _open_found(task, d_child(walk.place, walk.last, made), flags & ~O_TRUNC, True)
        if flags & O_EXCL:
            return -errno.EEXIST
        if found.inode.is_link and not flags & O_NOFOLLOW:
            # Walk on from here with the link's text, as far as its last name.
            walk.links += 1
            if walk.links > MAXSYMLINKS or resolve & LOOKUP_NO_SYMLINKS:
                return -errno.ELOOP
            target = found.inode.get_link(task)
            if isinstance(target, int):
                return target
            if isinstance(target, Dentry):
                if resolve & (LOOKUP_NO_MAGICLINKS | LOOKUP_BENEATH | LOOKUP_IN_ROOT):
                    return -errno.ELOOP
                return _open_found(task, target, flags, False)
            if not target:
                return -errno.ENOENT
            path = target
            continue
        if found.inode.is_dir:
            return -errno.EISDIR
        return _open_found(task, found, flags, False)


def _open_found(task: Current, place: Dentry, flags: int, created: bool) -> File | int:
    """do_open, may_open and vfs_open for a file that is there."""
    inode = place.inode
    if flags & O_PATH:
        return inode.open(place, flags, task)
    kind = inode.i_mode & S_IFMT
    if kind == S_IFLNK:
        return -errno.ELOOP
    if flags & O_DIRECTORY and not inode.is_dir:
        return -errno.ENOTDIR
    mask = access_mask(flags)
    if flags & O_TRUNC:
        mask |= MAY_WRITE
    if not created:
        if inode.is_dir and mask & MAY_WRITE:
            return -errno.EISDIR
        error = inode_permission(place, task, mask)
        if error:
            return error
        stat = inode.getattr()
        if flags & O_NOATIME and not isinstance(stat, int):
            if task.cred.fsuid != stat.uid and not capable(task.cred, CAP_FOWNER):
                return -errno.EPERM
    if kind == S_IFREG and mask & MAY_WRITE and _is_running(task, inode):
        return -errno.ETXTBSY
    file = inode.open(place, flags, task)
    if isinstance(file, File) and flags & O_TRUNC and kind == S_IFREG:
        error = inode.truncate(place, 0, task)
        if error:
            file.put()
            return error
    return file


def _is_running(task: Current, inode: Inode) -> bool:
    """Is it the program of any process (deny_write_access of exec)."""
    programs = {id(exe): exe for other in task.machine.pids.values() if (exe := other.mm.exe_file) is not None}
    return any(isinstance(exe, File) and exe.f_inode.key == inode.key for exe in programs.values())


def _open_tmpfile(task: Current, start: Dentry, path: bytes, flags: int, mode: int, resolve: int) -> File | int:
    place = path_lookup(task, start, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY | resolve)
    if isinstance(place, int):
        return place
    error = mnt_want_write(place) or place.inode.permission(task.cred, MAY_WRITE | MAY_EXEC)
    if error:
        return error
    return place.inode.tmpfile(place, mode & 0o7777 & ~task.fs.umask, flags, task)
