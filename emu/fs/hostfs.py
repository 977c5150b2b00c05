# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's files as the guest sees them: regular files, directories, symbolic links, FIFOs and devices.

Reading and writing goes straight to the host, but where a page of the file is in the page cache (because it is mapped)
the cached page is what counts: it is read instead of the host's bytes, and written together with them. Dirty pages
go to the host with msync, fsync and the last close. Times of what the guest itself changed are the machine's, so that
they repeat; they are not stored on the host unless the guest sets them itself (utimensat).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs import host
from emu.fs.consts import (
    EXT4_SUPER_MAGIC,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    FMODE_READ,
    FMODE_WRITE,
    O_ACCMODE,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_TMPFILE_BIT,
    O_WRONLY,
    RENAME_EXCHANGE,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    SEEK_DATA,
    SEEK_HOLE,
)
from emu.fs.dcache import Dentry, dentry_path, mount_of
from emu.fs.file import MAX_LFS_FILESIZE, MAXBYTES, File, PathFile, generic_write_limit, kiocb
from emu.fs.inode import CAP_FSETID, Inode, Kstat, Kstatfs, Setattr, SuperBlock, capable, mode_without_privs
from emu.fs.iov_iter import iov_iter
from emu.fs.pagecache_write import generic_perform_write
from emu.mm.filemap import address_space, generic_file_vm_ops
from emu.mm.folios import Folios
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, page, vm_area_struct
from emu.mm.readahead import Absent

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.pipe import Pipe
    from emu.mm.memory_manager import MemoryManager

READ_WINDOW = 1 << 20  # bytes taken from the host at once by a large read
ATIME, MTIME, CTIME, BTIME = range(4)
_FILES_BEYOND = 1 << 52
HOST_DEV = 0xFE00  # the device on which the guest sees the host's files


def _error(problem: OSError) -> int:
    return -(problem.errno or errno.EIO)


class HostFs(SuperBlock):
    """The host's file tree. `active` are the inodes with open files: they keep a page cache."""

    def __init__(self, memory: MemoryManager, now: Callable[[], int]) -> None:
        super().__init__("ext4", 0, EXT4_SUPER_MAGIC)
        self.memory = memory
        self.now = now  # ns since 1970, by the machine's clock
        self.active: dict[tuple[int, int], HostInode] = {}
        self.cached: dict[tuple[int, int], tuple[Absent, Folios]] = {}  # of the others: what the guest did to the cache
        self.times: dict[tuple[int, int], list[int | None]] = {}  # of inodes that the guest changed
        self.fifos: dict[tuple[int, int], Pipe] = {}
        self.fifos_made = 0
        self.given: dict[Dentry, int] = {}  # the host's descriptor of files that mmscope itself was started with
        self.numbers: dict[tuple[int, int], int] = {}
        self.last_number = 1
        self.device_open: Callable[[Dentry, int, int, Current], File | int] = lambda *_: -errno.ENXIO

    def number(self, device: int, inode: int) -> int:
        """The inode number that the guest sees: in the order in which it comes upon files, not the host's, which would
        make a run depend on it. Files of all the host's devices are on one device here."""
        found = self.numbers.get((device, inode))
        if found is None:
            self.last_number += 1
            found = self.numbers[device, inode] = self.last_number
        return found

    def forget(self, key: tuple[int, int]) -> None:
        """A file is gone, or new: what is known of its inode is not its own. The host may use the number again."""
        for known in (self.numbers, self.times, self.cached, self.fifos):
            known.pop(key, None)

    def listing(self, fd: int) -> list[tuple[bytes, int, int]]:
        """(name, inode number, type) of the entries of an open directory, by name: the host's order is its own."""
        device = os.fstat(fd).st_dev
        entries = sorted(host.read_directory(fd), key=lambda entry: (entry[0] not in (b".", b".."), entry[0]))
        return [(name, self.number(device, inode), kind) for name, inode, kind in entries]

    def inode(self, st: os.stat_result) -> HostInode:
        """The inode of a file that was just looked up."""
        found = self.active.get((st.st_dev, st.st_ino))
        if found is None:
            return HostInode(self, st)
        found.update(st)
        return found

    def statfs(self, inode: Inode) -> Kstatfs | int:
        assert isinstance(inode, HostInode)
        try:
            found = os.fstatvfs(inode.files[0].fd) if inode.files else os.statvfs(inode.path or "/")
        except OSError as problem:
            return _error(problem)
        return Kstatfs(
            self.s_magic, found.f_bsize, found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
            found.f_fsid, found.f_namemax, found.f_frsize, found.f_flag | 0x20,
        )  # fmt: skip

    def touch(self, key: tuple[int, int], *which: int) -> None:
        """Set times of an inode to now."""
        times = self.times.setdefault(key, [None, None, None, None])
        now = self.now()
        for index in which:
            times[index] = now

    def sync(self) -> int:
        """Write all dirty pages to the host; 0 or the last error."""
        result = 0
        for inode in list(self.active.values()):
            if inode.i_mapping is not None:
                result = inode.i_mapping.writeback(0, None) or result
        for _, folios in self.cached.values():
            folios.dirty.ranges.clear()
        return result


def host_path(dentry: Dentry, name: bytes | None = None) -> bytes:
    """The host's path of a dentry, or of an entry of it."""
    path = dentry_path(dentry)
    if name is None:
        return path
    return path + name if path == b"/" else path + b"/" + name


class _Umask:
    """Create with exactly the mode given: the guest's umask was applied already."""

    def __enter__(self) -> None:
        self.old = os.umask(0)

    def __exit__(self, *_: object) -> None:
        os.umask(self.old)


class HostInode(Inode):
    """A file of the host. `st` is what lstat said when it was last looked up."""

    __slots__ = ("da_alloc_close", "files", "path", "size", "st")
    sb: HostFs

    def __init__(self, sb: HostFs, st: os.stat_result) -> None:
        super().__init__(sb)
        self.st = st
        self.size = st.st_size
        self.files: list[HostFile | HostDirectory] = []
        self.path = b""  # where it was looked up; only a hint for statfs
        self.da_alloc_close = False  # it was emptied: the next close writes what is new (EXT4_STATE_DA_ALLOC_CLOSE)

    def update(self, st: os.stat_result) -> None:
        """Take over what a new lstat says."""
        self.st = st
        if self.i_mapping is None or not self.i_mapping.pages:
            self.size = st.st_size
        else:
            self.size = max(self.size, st.st_size) if st.st_size != self.size else self.size

    @property
    def i_mode(self) -> int:
        return self.st.st_mode

    @property
    def i_ino(self) -> int:
        return self.sb.number(self.st.st_dev, self.st.st_ino)

    @property
    def s_dev(self) -> int:
        return HOST_DEV

    @property
    def i_rdev(self) -> int:
        return self.st.st_rdev

    @property
    def key(self) -> tuple[int, int]:
        return self.st.st_dev, self.st.st_ino

    @property
    def i_size(self) -> int:
        return self.size

    def mapping(self) -> address_space:
        """Its page cache, made when first asked for."""
        if self.i_mapping is None:
            mapping = self.i_mapping = address_space(self, self.sb.memory)
            mapping.absent, mapping.folios = self.sb.cached.pop(self.key, (mapping.absent, mapping.folios))
        return self.i_mapping

    def getattr(self) -> Kstat | int:
        if self.files:
            try:
                self.update(os.fstat(self.files[0].fd))
            except OSError as problem:
                return _error(problem)
        st = self.st
        stat = Kstat(
            HOST_DEV, self.i_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size,
            st.st_blksize, st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
        )  # fmt: skip
        if st.st_mode & S_IFMT == S_IFREG:
            stat.size = self.size
        times = self.sb.times.get(self.key)
        if times is not None:
            stat.atime = stat.atime if times[ATIME] is None else times[ATIME] or 0
            stat.mtime = stat.mtime if times[MTIME] is None else times[MTIME] or 0
            stat.ctime = stat.ctime if times[CTIME] is None else times[CTIME] or 0
            stat.btime = times[BTIME]
        return stat

    def refresh(self, dentry: Dentry) -> None:
        """Look again at a file that was reached without a look-up (a working directory)."""
        if self.files or dentry.unlinked:
            return
        try:
            st = os.lstat(host_path(dentry))
        except OSError:
            return
        if (st.st_dev, st.st_ino) == self.key:
            self.update(st)

    # The page cache's way to the host (emu.mm.filemap.Host)

    def _fd(self, mode: int) -> int | None:
        for file in self.files:
            if file.f_mode & mode:
                return file.fd
        return None

    def read_page(self, index: int) -> bytes | None:
        """A page of the file from the host; None = I/O error."""
        fd = self._fd(FMODE_READ)
        if fd is None:
            return None
        try:
            return os.pread(fd, PAGE_SIZE, index << PAGE_SHIFT)
        except OSError:
            return None

    def write_page(self, index: int, data: bytes) -> int:
        """Write a dirty page to the host; 0 or -errno."""
        fd = self._fd(FMODE_WRITE)
        if fd is None:
            return -errno.EIO
        try:
            os.pwrite(fd, data, index << PAGE_SHIFT)
        except OSError as problem:
            return _error(problem)
        self.sb.touch(self.key, MTIME, CTIME)
        return 0

    def read_bytes(self, fd: int, pos: int, size: int) -> bytes | int:
        """Up to `size` bytes at `pos`: from cached pages where there are any, from the host otherwise; -errno."""
        mapping = self.i_mapping
        try:
            if mapping is None or not mapping.pages:
                return os.pread(fd, size, pos)
            size = min(size, self.size - pos)
            parts = []
            while size > 0:
                start = pos & PAGE_SIZE - 1
                count = min(PAGE_SIZE - start, size)
                cached = mapping.find_get_page(pos >> PAGE_SHIFT)
                if cached is None:
                    data = os.pread(fd, count, pos)
                    data += bytes(count - len(data))
                else:
                    data = self.sb.memory.ram.read((cached.pfn << PAGE_SHIFT) + start, count)
                parts.append(data)
                pos += count
                size -= count
            return b"".join(parts)
        except OSError as problem:
            return _error(problem)

    def write_bytes(self, fd: int, pos: int, data: bytes) -> int:
        """Store bytes on the host and in those pages that are cached; 0 or -errno. No bytes let the file reach up to
        `pos`, and its page be in the cache."""
        try:
            if not data and pos > self.size:
                os.ftruncate(fd, pos)
            done = os.pwrite(fd, data, pos)
            while done < len(data):
                done += os.pwrite(fd, data[done:], pos + done)
        except OSError as problem:
            return _error(problem)
        mapping = self.i_mapping
        if pos > self.size:
            self.mapping().not_cached(self.size, pos & -PAGE_SIZE)
            self.clear_block(self.size)
        if mapping is not None:  # nothing makes a buffer dirty in which it begins (block_commit_write)
            mapping.written(pos, pos + (len(data) or int(pos & PAGE_SIZE - 1 > 0)))
        if mapping is not None and mapping.pages:
            if pos > self.size:
                self._clear_tail(mapping)
            self.size = max(self.size, pos + len(data))
            ram = self.sb.memory.ram
            done = 0
            while done < len(data):
                at = pos + done
                start = at & PAGE_SIZE - 1
                count = min(PAGE_SIZE - start, len(data) - done)
                cached = mapping.find_get_page(at >> PAGE_SHIFT)
                if cached is not None:
                    ram.write((cached.pfn << PAGE_SHIFT) + start, data[done : done + count])
                done += count
        else:
            self.size = max(self.size, pos + len(data))
        return 0

    def _clear_tail(self, mapping: address_space) -> None:
        """Zero what a mapping may have left behind the end of the file in its last page."""
        start = self.size & PAGE_SIZE - 1
        cached = mapping.find_get_page(self.size >> PAGE_SHIFT)
        if start and isinstance(cached, page):
            self.sb.memory.ram.write((cached.pfn << PAGE_SHIFT) + start, bytes(PAGE_SIZE - start))

    def clear_block(self, size: int) -> None:
        """The rest of the block at what was or is the end of the file, or of a range of it, is cleared: that makes its
        page, but where the block is a hole it does not bring it up to date (ext4_block_zero_page_range)."""
        mapping = self.i_mapping
        if size & PAGE_SIZE - 1 and mapping is not None:
            index = size >> PAGE_SHIFT
            if not mapping.in_cache(index):  # behind the end of the file
                mapping.folios.start[index] = 0
                mapping.absent.add(index, index + 1)
            if index in mapping.absent:
                mapping.absent.add_empty(index)
            else:
                mapping.folios.dirty.add(index, index + 1)

    def grown(self, size: int) -> None:
        """The host's file reaches up to `size` now, which is not less than before."""
        old = self.size
        if size == old:
            return
        mapping = self.mapping()
        self._clear_tail(mapping)
        mapping.not_cached(old, size)
        self.clear_block(old)
        self.size = size

    def set_size(self, size: int) -> None:
        """The host's file was truncated to `size`: so are inode and page cache (ext4_setattr, truncate_pagecache)."""
        old = self.size
        self.grown(max(size, old))
        self.size = size
        if self.i_mapping is not None:
            self.i_mapping.truncate_pagecache_range(size, _FILES_BEYOND << PAGE_SHIFT, even_cows=True)
        if size <= old:
            self.clear_block(size)
        self.da_alloc_close |= not size
        self.sb.touch(self.key, MTIME, CTIME)

    def alloc_da_blocks(self) -> None:
        """A file is being replaced: its blocks are allocated, for which its pages are written, so that a crash leaves
        the old content or the new (ext4_alloc_da_blocks)."""
        if self.i_mapping is not None:
            self.i_mapping.writeback(0, None)
        elif self.key in self.sb.cached:
            self.sb.cached[self.key][1].dirty.ranges.clear()

    def file_remove_privs(self, task: Current) -> None:
        """A write by somebody without privileges takes the set-user-ID bits away."""
        mode = self.st.st_mode
        if mode & (S_ISUID | S_ISGID) and not capable(task.cred, CAP_FSETID):
            fd = self._fd(FMODE_WRITE)
            if fd is not None:
                try:
                    os.fchmod(fd, mode_without_privs(mode) & 0o7777)
                    self.st = os.fstat(fd)
                except OSError:
                    pass

    # Directories

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        path = host_path(parent, name)
        try:
            st = os.lstat(path)
        except ValueError:
            return -errno.ENOENT
        except OSError as problem:
            return _error(problem)
        found = self.sb.inode(st)
        found.path = path
        return found

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        try:
            fd = os.open(host_path(dentry), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return self.sb.listing(fd)
            finally:
                os.close(fd)
        except OSError as problem:
            return _error(problem)

    def _created(self, path: bytes, task: Current) -> os.stat_result:
        """After something was made at `path`: its owner is the guest's, its times are the machine's."""
        st = os.lstat(path)
        cred = task.cred
        if st.st_uid != cred.fsuid or (st.st_gid != cred.fsgid and not self.st.st_mode & S_ISGID):
            try:
                os.lchown(path, cred.fsuid, -1 if self.st.st_mode & S_ISGID else cred.fsgid)
            except OSError:
                pass
            else:
                st = os.lstat(path)
        key = st.st_dev, st.st_ino
        self.sb.forget(key)
        self.sb.touch(key, ATIME, MTIME, CTIME, BTIME)
        self.sb.touch(self.key, MTIME, CTIME)
        return st

    def create(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> Inode | int:
        path = host_path(dentry, name)
        try:
            with _Umask():
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode))
            return self.sb.inode(self._created(path, task))
        except OSError as problem:
            return _error(problem)

    def mkdir(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> int:
        path = host_path(dentry, name)
        try:
            with _Umask():
                os.mkdir(path, mode)
            self._created(path, task)
        except OSError as problem:
            return _error(problem)
        return 0

    def mknod(self, dentry: Dentry, name: bytes, mode: int, rdev: int, task: Current) -> int:
        if mode & S_IFMT in (S_IFCHR, S_IFBLK):
            return -errno.EPERM
        path = host_path(dentry, name)
        try:
            with _Umask():
                os.mknod(path, mode)
            self._created(path, task)
        except OSError as problem:
            return _error(problem)
        return 0

    def symlink(self, dentry: Dentry, name: bytes, target: bytes, task: Current) -> int:
        path = host_path(dentry, name)
        try:
            os.symlink(target, path)
            self._created(path, task)
        except OSError as problem:
            return _error(problem)
        return 0

    def link(self, dentry: Dentry, name: bytes, old: Dentry, task: Current) -> int:
        inode = old.inode
        assert isinstance(inode, HostInode)
        path = host_path(dentry, name)
        try:
            if inode.files and old.unlinked:
                os.link(b"/proc/self/fd/%d" % inode.files[0].fd, path, follow_symlinks=True)
            else:
                os.link(host_path(old), path, follow_symlinks=False)
            inode.update(os.lstat(path))
        except OSError as problem:
            return _error(problem)
        self.sb.touch(inode.key, CTIME)
        self.sb.touch(self.key, MTIME, CTIME)
        return 0

    def _removed(self, inode: Inode) -> None:
        assert isinstance(inode, HostInode)
        self.sb.touch(self.key, MTIME, CTIME)
        if inode.st.st_nlink <= 1 or inode.is_dir:
            if not inode.files:
                self.sb.forget(inode.key)
        else:
            self.sb.touch(inode.key, CTIME)

    def unlink(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        try:
            os.unlink(host_path(child))
        except OSError as problem:
            return _error(problem)
        self._removed(child.inode)
        return 0

    def rmdir(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        try:
            os.rmdir(host_path(child))
        except OSError as problem:
            return _error(problem)
        self._removed(child.inode)
        return 0

    def rename(self, old: Dentry, new_dir: Dentry, new_name: bytes, flags: int, task: Current) -> int:
        source, target = host_path(old), host_path(new_dir, new_name)
        victim = None
        if not flags & RENAME_EXCHANGE:
            try:
                victim = self.sb.inode(os.lstat(target))
            except OSError:
                victim = None
        if flags:
            error = host.renameat2(source, target, flags)
            if error:
                return error
        else:
            try:
                os.rename(source, target)
            except OSError as problem:
                return _error(problem)
        assert isinstance(new_dir.inode, HostInode) and isinstance(old.inode, HostInode)
        if victim is not None:
            self._removed(victim)
            old.inode.alloc_da_blocks()
        self.sb.touch(old.inode.key, CTIME)
        for directory in (self, new_dir.inode):
            self.sb.touch(directory.key, MTIME, CTIME)
        return 0

    def tmpfile(self, dentry: Dentry, mode: int, flags: int, task: Current) -> File | int:
        bit = getattr(os, "O_TMPFILE", None)
        if bit is None:
            return -errno.EOPNOTSUPP
        try:
            with _Umask():
                fd = os.open(host_path(dentry), bit | (flags & O_ACCMODE) | os.O_CLOEXEC, mode)
            st = os.fstat(fd)
            if (st.st_uid, st.st_gid) != (task.cred.fsuid, task.cred.fsgid):
                try:
                    os.fchown(fd, task.cred.fsuid, task.cred.fsgid)
                    st = os.fstat(fd)
                except OSError:
                    pass
        except OSError as problem:
            return _error(problem)
        self.sb.forget((st.st_dev, st.st_ino))
        inode = self.sb.inode(st)
        self.sb.touch(inode.key, ATIME, MTIME, CTIME, BTIME)
        place = Dentry(dentry, b"#%d" % inode.i_ino, inode)
        place.unlinked = True
        return HostFile(place, flags & ~O_TMPFILE_BIT, inode, fd)

    # Anything

    def get_link(self, task: Current) -> bytes | Dentry | int:
        if not self.is_link:
            return -errno.EINVAL
        try:
            return os.readlink(self.path)
        except OSError as problem:
            return _error(problem)

    def setattr(self, dentry: Dentry, change: Setattr, task: Current) -> int:
        path: bytes | int = self.files[0].fd if self.files else host_path(dentry)
        follow = not self.is_link
        try:
            if change.uid is not None or change.gid is not None:
                uid = -1 if change.uid is None else change.uid
                gid = -1 if change.gid is None else change.gid
                if isinstance(path, int):
                    os.fchown(path, uid, gid)
                else:
                    os.chown(path, uid, gid, follow_symlinks=follow)
            if change.mode is not None:
                if not follow:
                    return -errno.EOPNOTSUPP
                os.chmod(path, change.mode & 0o7777)
            if change.atime is not None or change.mtime is not None:
                stat = self.getattr()
                if isinstance(stat, int):
                    return stat
                times = (
                    stat.atime if change.atime is None else change.atime,
                    stat.mtime if change.mtime is None else change.mtime,
                )
                if isinstance(path, int):
                    os.utime(path, ns=times)
                else:
                    os.utime(path, ns=times, follow_symlinks=follow)
            self.update(os.fstat(path) if isinstance(path, int) else os.lstat(path))
        except OSError as problem:
            return _error(problem)
        except OverflowError:
            return -errno.EINVAL
        self.sb.touch(self.key, CTIME)
        overlay = self.sb.times[self.key]
        if change.atime is not None:
            overlay[ATIME] = change.atime
        if change.mtime is not None:
            overlay[MTIME] = change.mtime
        return 0

    def truncate(self, dentry: Dentry | None, size: int, task: Current) -> int:
        if size > MAXBYTES:
            return -errno.EFBIG
        fd = self._fd(FMODE_WRITE)
        try:
            if fd is not None:
                os.ftruncate(fd, size)
            elif dentry is not None:
                os.truncate(host_path(dentry), size)
            else:
                return -errno.EINVAL
        except OSError as problem:
            return _error(problem)
        self.set_size(size)
        return 0

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        kind = self.st.st_mode & S_IFMT
        if flags & O_PATH:
            return PathFile(dentry, flags)
        given = self.sb.given.get(dentry)
        path = host_path(dentry) if given is None else b"/proc/self/fd/%d" % given
        if kind == S_IFCHR:
            device = self.sb.device_open(dentry, self.st.st_rdev, flags, task)
            return self._open_stream(dentry, flags, path) if device == -errno.ENXIO and given is not None else device
        if kind == S_IFIFO:
            if given is None and mount_of(dentry).mount_writable:
                return self._open_fifo(dentry, flags, task)
            return self._open_stream(dentry, flags, path)
        if kind not in (S_IFREG, S_IFDIR):
            return -errno.ELOOP if kind == S_IFLNK else -errno.ENXIO
        access = {O_RDONLY: os.O_RDONLY, O_WRONLY: os.O_WRONLY}.get(flags & O_ACCMODE, os.O_RDWR)
        if kind == S_IFDIR:
            access = os.O_RDONLY | os.O_DIRECTORY
        try:
            fd = os.open(path, access | (os.O_NOFOLLOW if given is None else 0) | os.O_CLOEXEC | os.O_NONBLOCK)
            self.update(os.fstat(fd))
        except OSError as problem:
            return -errno.ENFILE if problem.errno == errno.EMFILE else _error(problem)
        if kind == S_IFDIR:
            return HostDirectory(dentry, flags, self, fd)
        return HostFile(dentry, flags, self, fd)

    def _open_fifo(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        """A FIFO of the guest's own."""
        from emu.fs.pipe import Pipe, fifo_open

        pipe = self.sb.fifos.get(self.key)
        if pipe is None:
            self.sb.fifos_made += 1
            pipe = self.sb.fifos[self.key] = Pipe(task.machine.sched, self.sb.fifos_made)
        return fifo_open(dentry, flags, pipe, task)

    def _open_stream(self, dentry: Dentry, flags: int, path: bytes) -> File | int:
        """A pipe or a character device of the host."""
        from emu.fs.host_stream import HostDevice, HostPipe, HostTty

        access = {O_RDONLY: os.O_RDONLY, O_RDWR: os.O_RDWR}.get(flags & O_ACCMODE, os.O_WRONLY)
        if flags & O_NONBLOCK:
            access |= os.O_NONBLOCK
        try:
            fd = os.open(path, access | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as problem:
            return _error(problem)
        kind = HostPipe if self.st.st_mode & S_IFMT == S_IFIFO else HostTty if os.isatty(fd) else HostDevice
        return kind(dentry, flags, self, fd, close=True)

    def release(self, file: File) -> None:
        if not isinstance(file, HostFile | HostDirectory):
            return
        mapping = self.i_mapping
        if self.da_alloc_close:
            self.da_alloc_close = False
            self.alloc_da_blocks()
        if mapping is not None and file.f_mode & FMODE_WRITE:
            mapping.store()
        if self.files and self.files[-1] is file:
            self.files.pop()
        elif file in self.files:
            self.files.remove(file)
        if file.close_host_fd:
            if not self.files:
                with contextlib.suppress(OSError):
                    self.st = os.fstat(file.fd)
            os.close(file.fd)
        if not self.files:
            self.sb.active.pop(self.key, None)
            if mapping is not None:
                mapping.drop()
                known = mapping.absent.ranges or mapping.folios.start or mapping.folios.dirty.ranges
                if self.st.st_nlink and known:
                    self.sb.cached[self.key] = mapping.absent, mapping.folios
            if self.st.st_nlink == 0:
                self.sb.forget(self.key)


class HostFile(File):
    """An open regular file of the host."""

    aligns_huge = True  # as ext4
    seekable = True
    splices = splices_pages = True

    def __init__(
        self, dentry: Dentry, flags: int, inode: HostInode, fd: int, *, close: bool = True, shared_offset: bool = False
    ) -> None:
        self.fd = fd
        self.close_host_fd = close
        self.shared_offset = shared_offset  # the position is the host's: a descriptor that mmscope was started with
        self._pos = 0
        self.inode = inode
        super().__init__(dentry, flags, inode)
        inode.files.append(self)
        inode.sb.active[inode.key] = inode
        if inode.key in inode.sb.cached:
            inode.mapping()

    @property
    def f_pos(self) -> int:
        return os.lseek(self.fd, 0, os.SEEK_CUR) if self.shared_offset else self._pos

    @f_pos.setter
    def f_pos(self, value: int) -> None:
        if not self.shared_offset:
            self._pos = value
        elif hasattr(self, "f_mode"):  # not while the object is made
            os.lseek(self.fd, value, os.SEEK_SET)

    @property
    def f_mapping(self) -> address_space:
        return self.inode.mapping()

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """filemap_read."""
        start = iocb.pos
        result = self._read_iter(iocb, to)
        if iocb.pos != start:
            self.f_ra.prev_page = iocb.pos >> PAGE_SHIFT
        return result

    def _read_iter(self, iocb: kiocb, to: iov_iter) -> int:
        inode = self.inode
        mapping = inode.i_mapping
        total = 0
        while to.count:
            want = min(to.count, READ_WINDOW)
            if mapping is not None and iocb.pos < inode.size:
                want = min(want, mapping.filemap_get_pages(self.f_ra, iocb.pos, to.count) - iocb.pos)
            data = inode.read_bytes(self.fd, iocb.pos, want)
            if isinstance(data, int):
                return total or data
            if not data:
                break
            done = to.copy_page_to_iter(data, iocb.pos)
            iocb.pos += done
            total += done
            if to.splices:  # page by page, not at the end as read(2) (filemap_splice_read)
                self.f_ra.prev_page = iocb.pos >> PAGE_SHIFT
            if done < len(data):
                return total or -errno.EFAULT
            if len(data) < want:
                break
        return total

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """generic_file_write_iter over generic_perform_write."""
        inode = self.inode
        pos = self.write_position(iocb)
        count = generic_write_limit(task, pos, source.count)
        if count < 0:
            return count
        surplus = source.count - count
        source.count = count
        inode.file_remove_privs(task)
        if count:
            inode.sb.touch(inode.key, MTIME, CTIME)
        mapping = inode.mapping()
        result = generic_perform_write(source, pos, mapping, lambda at, data: inode.write_bytes(self.fd, at, data))
        source.count += surplus
        if result > 0:
            iocb.pos = pos + result
        return result

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        if whence in (SEEK_DATA, SEEK_HOLE):
            if self.inode.i_mapping is not None:
                self.inode.i_mapping.store()
            if offset < 0:
                return -errno.ENXIO
            try:
                host_whence = os.SEEK_DATA if whence == SEEK_DATA else os.SEEK_HOLE
                found = os.lseek(self.fd, offset, host_whence)
            except OSError as problem:
                return _error(problem)
            self.f_pos = found
            return found
        return self.seek_within(offset, whence, self.inode.i_size, MAXBYTES)

    def fsync(self, datasync: bool) -> int:
        mapping = self.inode.i_mapping
        return mapping.writeback(0, None) if mapping is not None else 0

    def fallocate(self, task: Current, mode: int, offset: int, length: int) -> int:
        return self._fallocate(mode, offset, length)

    def punch_hole(self, offset: int, length: int) -> int:
        return self._fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)

    def _fallocate(self, mode: int, offset: int, length: int) -> int:
        inode = self.inode
        size = inode.size
        mapping = inode.i_mapping
        moves = mode & ~FALLOC_FL_KEEP_SIZE
        if moves and mapping is not None:
            mapping.store()
        error = host.fallocate(self.fd, mode, offset, length)
        if error:
            return error
        end = offset + length
        if mode & FALLOC_FL_PUNCH_HOLE and end >= size:  # then all of the last page goes
            end = size + PAGE_SIZE - 1 & -PAGE_SIZE
        new = os.fstat(self.fd).st_size
        if mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE):
            if (offset | end) & PAGE_SIZE - 1:  # all its blocks are made before any is cleared (ext4_zero_range)
                inode.grown(max(size, new))
            if offset < end:
                inode.mapping().truncate_pagecache_range(offset, end)
                inode.clear_block(offset)
                inode.clear_block(end)
            inode.grown(max(size, new))
        elif moves:  # what is cached must not hide what was moved
            inode.mapping().truncate_range(offset >> PAGE_SHIFT, _FILES_BEYOND)
            if new != size:
                inode.set_size(new)
        elif new > size:
            inode.grown(new)
            inode.clear_block(new)
        inode.sb.touch(inode.key, MTIME, CTIME)
        return 0

    def mmap(self, vma: vm_area_struct) -> int:
        vma.vm_ops = generic_file_vm_ops
        return 0

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "FIONREAD":
            left = self.inode.i_size - self.f_pos
            return 0 if task.access.put_user(arg, left & 0xFFFFFFFF, 4) else -errno.EFAULT
        return super().ioctl(task, command, arg)


class HostDirectory(File):
    """An open directory of the host. Its position is the index of the next entry."""

    can_read = True
    can_write = False
    seekable = True

    def __init__(self, dentry: Dentry, flags: int, inode: HostInode, fd: int) -> None:
        self.fd = fd
        self.close_host_fd = True
        self.inode = inode
        super().__init__(dentry, flags, inode)
        inode.files.append(self)
        inode.sb.active[inode.key] = inode

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        return -errno.EISDIR

    def readdir(self, task: Current) -> list[tuple[bytes, int, int]] | int:
        if self.f_dentry.unlinked:
            return -errno.ENOENT
        try:
            return self.inode.sb.listing(self.fd)
        except OSError as problem:
            return _error(problem)

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        return self.seek_within(offset, whence, MAX_LFS_FILESIZE, MAX_LFS_FILESIZE)

    def fsync(self, datasync: bool) -> int:
        return 0
