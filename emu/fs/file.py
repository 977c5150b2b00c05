# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files: what read, write, lseek, poll and mmap work on (struct file, struct kiocb)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.consts import (
    DEFAULT_POLLMASK,
    FMODE_CAN_READ,
    FMODE_CAN_WRITE,
    FMODE_LSEEK,
    FMODE_PATH,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_WRITE,
    O_ACCMODE,
    O_APPEND,
    O_CREAT,
    O_EXCL,
    O_NOCTTY,
    O_NONBLOCK,
    O_PATH,
    O_TRUNC,
    S_IFREG,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from emu.fs.dcache import Dentry, d_path
from emu.fs.inode import Inode
from emu.locking.wait import wait_queue_head
from emu.mm.readahead import file_ra_state

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.eventpoll import epitem
    from emu.fs.iov_iter import iov_iter
    from emu.mm.filemap import address_space
    from emu.mm.mm_types import vm_area_struct

MAX_LFS_FILESIZE = (1 << 63) - 1
MAXBYTES = 0xFFFFFFFF000  # s_maxbytes of ext4 with 4 KiB blocks


class kiocb:
    """One read or write in progress: where, and how (struct kiocb). `pos` moves along."""

    __slots__ = ("append", "nowait", "pos")

    def __init__(self, pos: int, append: bool = False, nowait: bool = False) -> None:
        self.pos = pos
        self.append = append
        self.nowait = nowait


class File:
    """An open file description. It lives until the last descriptor, mapping or running call drops it."""

    can_read = True  # implements read_iter
    can_write = True
    aligns_huge = False  # large mappings are placed at huge-page boundaries (thp_get_unmapped_area)
    seekable = False  # FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE
    splices = False  # it can be the source of sendfile (splice_read)
    splices_pages = False  # those of the page cache (filemap_splice_read), not what is read (copy_splice_read)
    noop_llseek = False  # FMODE_LSEEK, and a seek leaves the position where it is
    write_access = True  # when open for writing, keeps others from running it (get_write_access)
    wait: wait_queue_head | None = None  # who sleeps for this kind of file; None: it does not know
    stream = False  # has no position, not even one that stays 0

    def __init__(self, dentry: Dentry, flags: int, inode: Inode | None = None) -> None:
        self.f_dentry = dentry
        self.f_inode = dentry.inode if inode is None else inode
        self.f_flags = flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)
        self.f_pos = 0
        self.f_count = 1
        self.listed: list[tuple[bytes, int, int]] = []  # a directory: its entries, by their positions
        self.f_ra = file_ra_state()
        self.f_ep: list[epitem] | None = None
        self.f_ep_exclusive: dict[int, tuple[int, epitem | None]] | None = None  # edges, and the item that got the last
        if flags & O_PATH:
            self.f_mode = FMODE_PATH
        else:
            self.f_mode = (flags & O_ACCMODE) + 1 & O_ACCMODE
            if self.f_mode & FMODE_READ and self.can_read:
                self.f_mode |= FMODE_CAN_READ
            if self.f_mode & FMODE_WRITE and self.can_write:
                self.f_mode |= FMODE_CAN_WRITE
            if self.seekable:
                self.f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE
            elif self.noop_llseek:
                self.f_mode |= FMODE_LSEEK
        self.f_inode.i_count += 1

    @property
    def f_mapping(self) -> address_space:
        """The page cache of its inode."""
        mapping = self.f_inode.i_mapping
        assert mapping is not None, "this kind of file has no page cache"
        return mapping

    @property
    def name(self) -> str:
        """As /proc/PID/maps shows it."""
        return d_path(self.f_dentry).decode("utf-8", "backslashreplace")

    def get(self) -> None:
        """One more user."""
        self.f_count += 1

    def put(self) -> None:
        """One user less; the last one closes it (fput)."""
        from emu.fs.locks import locks_remove_file

        self.f_count -= 1
        if self.f_count == 0:
            if self.f_ep:
                for item in list(self.f_ep):
                    item.remove()
            locks_remove_file(self)
            self.release()
            self.f_inode.i_count -= 1
            self.f_inode.release(self)

    def release(self) -> None:
        """Free what this kind of file holds (f_op->release)."""

    def flush(self, owner: object) -> None:
        """A descriptor of it is closed (filp_close): drop the POSIX locks of that process."""
        from emu.fs.locks import locks_remove_posix

        locks_remove_posix(self, owner)

    @property
    def nonblock(self) -> bool:
        return bool(self.f_flags & O_NONBLOCK)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """Read at iocb.pos, advancing it; bytes or -errno."""
        return -errno.EINVAL

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """Write at iocb.pos, advancing it; bytes or -errno."""
        return -errno.EINVAL

    def list_entries(self, task: Current) -> list[tuple[bytes, int, int] | None] | int:
        """The entries of a directory by position, as `readdir` has them; None for one that is gone. They keep their
        positions until the directory is read from its begin again, so that who removes what it reads misses nothing."""
        found = self.readdir(task)
        if isinstance(found, int):
            return found
        if self.f_pos == 0 or not self.listed:
            self.listed = found
            return list(found)
        known = {entry[0] for entry in self.listed}
        self.listed = self.listed + [entry for entry in found if entry[0] not in known]
        present = {entry[0]: entry for entry in found}
        return [present.get(entry[0]) for entry in self.listed]

    def readdir(self, task: Current) -> list[tuple[bytes, int, int]] | int:
        """All entries of a directory: (name, inode number, DT_*)."""
        return -errno.ENOTDIR

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        """Move the file position; the new one or -errno."""
        if not self.f_mode & FMODE_LSEEK:
            return -errno.ESPIPE
        if self.noop_llseek:
            return self.f_pos
        return self.seek_within(offset, whence, self.f_inode.i_size, MAX_LFS_FILESIZE)

    def seek_within(self, offset: int, whence: int, eof: int, maximum: int) -> int:
        """generic_file_llseek_size for a file that ends at `eof` and may be no longer than `maximum`."""
        if whence == SEEK_END:
            offset += eof
        elif whence == SEEK_CUR:
            if offset == 0:
                return self.f_pos
            offset += self.f_pos
        elif whence == SEEK_DATA:
            if not 0 <= offset < eof:
                return -errno.ENXIO
        elif whence == SEEK_HOLE:
            if not 0 <= offset < eof:
                return -errno.ENXIO
            offset = eof
        elif whence != SEEK_SET:
            return -errno.EINVAL
        if not 0 <= offset <= maximum:
            return -errno.EINVAL
        self.f_pos = offset
        return offset

    def poll(self, task: Current) -> int:
        """POLL* bits that are true now."""
        return DEFAULT_POLLMASK

    def edges(self, events: int) -> int:
        """How often something happened to it that lets an edge-triggered epoll for POLL* look again."""
        return 0

    def can_poll(self) -> bool:
        """Does it have a poll operation: what has none cannot be watched by epoll."""
        return False

    def host_fd(self) -> int | None:
        """A descriptor of the host on which poll can wait, for files that live there."""
        return None

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        """An ioctl of this kind of file by its name (FIONREAD, TCGETS ...); -ENOTTY for what it does not know."""
        return -errno.ENOTTY

    def ioctl_number(self, task: Current, command: int, arg: int) -> int:
        """Likewise one that has no name: its number may hold any size of a structure that later kernels make longer."""
        return -errno.ENOTTY

    def fsync(self, datasync: bool) -> int:
        """Write what is dirty to the host."""
        return -errno.EINVAL

    def fallocate(self, task: Current, mode: int, offset: int, length: int) -> int:
        """Allocate, punch or zero a range."""
        return -errno.ENODEV if self.f_inode.i_mode & 0o170000 != S_IFREG else -errno.EOPNOTSUPP

    def punch_hole(self, offset: int, length: int) -> int:
        """Drop the content of a range (madvise with MADV_REMOVE): 0 or -errno."""
        return -errno.EOPNOTSUPP

    def mmap(self, vma: vm_area_struct) -> int:
        """Prepare a mapping (f_op->mmap)."""
        return -errno.ENODEV

    def seals(self) -> int | None:
        """F_SEAL_* of a memfd; None for what cannot be sealed."""
        return None

    def fdinfo(self) -> str:
        """What this kind of file adds to /proc/self/fdinfo."""
        return ""

    def write_position(self, iocb: kiocb) -> int:
        """Where a write begins: the end of the file under O_APPEND."""
        if iocb.append or self.f_flags & O_APPEND:
            iocb.pos = self.f_inode.i_size
        return iocb.pos


class PathFile(File):
    """What O_PATH opens: a place and nothing else."""

    can_read = can_write = False

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        return -errno.EBADF


def generic_write_limit(task: Current, pos: int, count: int, maximum: int = MAXBYTES) -> int:
    """How many of `count` bytes may be written at `pos`, by RLIMIT_FSIZE (with SIGXFSZ) and the file system's limit;
    or -EFBIG."""
    from emu.fs.consts import RLIMIT_FSIZE, SIGXFSZ

    if not count:
        return 0
    limit = task.rlimit(RLIMIT_FSIZE)
    if limit < 1 << 63:
        if pos >= limit:
            task.send_signal(SIGXFSZ)
            return -errno.EFBIG
        count = min(count, limit - pos)
    if pos >= maximum:
        return -errno.EFBIG
    return min(count, maximum - pos)
