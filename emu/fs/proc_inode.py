# SPDX-License-Identifier: GPL-2.0-or-later
"""What the files of /proc and /sys are made of: directories that a function lists, texts that a function makes."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emu.fs.consts import O_PATH, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from emu.fs.dcache import Dentry, d_path
from emu.fs.file import File, PathFile, kiocb
from emu.fs.inode import Inode, Kstat, StoredInode, SuperBlock, dt_type
from emu.fs.iov_iter import iov_iter
from emu.fs.seq_file import ListRecords, SeqFile, SeqOperations
from emu.fs.tmpfs import MemoryDirectory

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.kernel.machine import Machine

Entries = Callable[[Any], "dict[bytes, ProcInode]"]


def proc_ino(path: str) -> int:
    """The inode number of a file of /proc."""
    return 0xF0000000 | zlib.crc32(path.encode()) & 0xFFFFFFF


class PseudoFs(SuperBlock):
    """A mount whose files are text that is made when it is read."""

    def __init__(self, machine: Machine, kind: str, device: int, magic: int) -> None:
        super().__init__(kind, device, magic)
        self.machine = machine
        self.now = machine.realtime


class ProcInode(StoredInode):
    """A file of /proc. It is made anew at each look-up; its path makes it the same."""

    __slots__ = ("path",)
    sb: PseudoFs

    def __init__(self, sb: PseudoFs, path: str, mode: int) -> None:
        super().__init__(sb)
        self.path = path
        self.mode = mode
        self.ino = proc_ino(path)

    def getattr(self) -> Kstat | int:
        now = self.sb.now()
        links = 2 if self.mode & S_IFMT == S_IFDIR else 1
        return Kstat(self.s_dev, self.ino, self.mode, links, blksize=1024, atime=now, mtime=now, ctime=now)

    def truncate(self, dentry: Dentry | None, size: int, task: Current) -> int:
        """It is permitted and does nothing, so that a shell may write by `>` (proc_setattr, kernfs_iop_setattr)."""
        return 0


class ProcDirectory(ProcInode):
    """A directory whose entries a function lists."""

    __slots__ = ("entries",)

    def __init__(self, sb: PseudoFs, path: str, entries: Entries, mode: int = 0o555) -> None:
        super().__init__(sb, path, S_IFDIR | mode)
        self.entries = entries

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        return self.entries(task).get(name, -errno.ENOENT)

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        up = dentry.parent.inode
        found = [(b".", self.ino, dt_type(S_IFDIR)), (b"..", up.i_ino, dt_type(S_IFDIR))]
        return found + [(name, inode.ino, dt_type(inode.mode)) for name, inode in self.entries(task).items()]

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        return PathFile(dentry, flags) if flags & O_PATH else MemoryDirectory(dentry, flags, self)


class ProcText(ProcInode):
    """A file whose text is made when it is read; `store`, where given, takes what is written."""

    __slots__ = ("make", "store")

    def __init__(
        self,
        sb: PseudoFs,
        path: str,
        make: Callable[[Any], str | bytes],
        store: Callable[[Any, bytes], int] | None = None,
    ) -> None:
        super().__init__(sb, path, S_IFREG | (0o644 if store else 0o444))
        self.make = make
        self.store = store

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        if flags & O_PATH:
            return PathFile(dentry, flags)

        def records() -> list[bytes]:
            text = self.make(task)
            return [text.encode() if isinstance(text, str) else text]

        return ProcFile(dentry, flags, ListRecords(records), self.store)


class ProcFile(SeqFile):
    """An open text file of /proc."""

    can_write = True

    def __init__(
        self, dentry: Dentry, flags: int, operations: SeqOperations, store: Callable[[Any, bytes], int] | None
    ) -> None:
        self.store = store
        super().__init__(dentry, flags, operations)

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        if self.store is None:
            return -errno.EINVAL
        size = source.count
        data = source.copy_from_iter(size)
        if len(data) < size:
            return -errno.EFAULT
        return self.store(task, data) or size


class ProcRecords(ProcInode):
    """A file that is read record by record, or has an open function of its own."""

    __slots__ = ("opened",)

    def __init__(
        self, sb: PseudoFs, path: str, opened: Callable[[Dentry, int, Any], File | int], mode: int = 0o444
    ) -> None:
        super().__init__(sb, path, S_IFREG | mode)
        self.opened = opened

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        return PathFile(dentry, flags) if flags & O_PATH else self.opened(dentry, flags, task)


class ProcLink(ProcInode):
    """A symbolic link: to text, or, as a magic link, to a place."""

    __slots__ = ("target",)

    def __init__(
        self, sb: PseudoFs, path: str, target: Callable[[Any], bytes | Dentry | int], mode: int = 0o777
    ) -> None:
        super().__init__(sb, path, S_IFLNK | mode)
        self.target = target

    def get_link(self, task: Current) -> bytes | Dentry | int:
        return self.target(task)

    def readlink(self, task: Current) -> bytes | int:
        target = self.target(task)
        return d_path(target) if isinstance(target, Dentry) else target
