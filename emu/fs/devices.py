# SPDX-License-Identifier: GPL-2.0-or-later
"""Character devices: null, zero, full, random, urandom and tty (drivers/char/mem.c, random.c)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from emu.fs.consts import O_ACCMODE, O_RDONLY, O_WRONLY, S_IFCHR, S_IFDIR, S_IFLNK
from emu.fs.dcache import Dentry
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.mm.filemap import address_space
from emu.mm.mm_types import PAGE_SIZE, VM_SHARED, vm_area_struct
from emu.mm.shmem import shmem_zero_setup

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.random import RandomPool
    from emu.fs.tmpfs import TmpFs


def makedev(major: int, minor: int) -> int:
    """A device number as stat gives it (new_encode_dev)."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


class NullFile(File):
    """/dev/null: reads end at once, writes vanish without a look at the buffer."""

    seekable = True
    splices = True

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        return 0

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        count = source.count
        source.advance(count)
        return count

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        self.f_pos = 0
        return 0


class NoContent:
    """What a device's page cache would hold: nothing."""

    i_size = 0

    def read_page(self, index: int) -> bytes | None:
        return None

    def write_page(self, index: int, data: bytes) -> int:
        return -errno.EIO


class ZeroFile(NullFile):
    """/dev/zero."""

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        total = 0
        while to.count:
            want = min(to.count, PAGE_SIZE)
            done = to.zero(want, "read_zero")
            total += done
            if done < want:
                return total or -errno.EFAULT
            if task.signal_pending():
                break
        return total

    def mmap(self, vma: vm_area_struct) -> int:
        """Private: anonymous memory that keeps its file's name. Shared: a shmem object."""
        if vma.vm_flags & VM_SHARED:
            return shmem_zero_setup(vma)
        if self.f_inode.i_mapping is None:
            self.f_inode.i_mapping = address_space(NoContent(), vma.vm_mm.memory)
        return 0


class FullFile(ZeroFile):
    """/dev/full: nothing can be written."""

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        return -errno.ENOSPC

    def mmap(self, vma: vm_area_struct) -> int:
        return -errno.ENODEV


class RandomFile(File):
    """/dev/random and /dev/urandom: one pool, seeded when the machine starts."""

    seekable = True

    def __init__(self, dentry: Dentry, flags: int, pool: RandomPool) -> None:
        self.pool = pool
        super().__init__(dentry, flags)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        return get_random_bytes_user(self.pool, to)

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """Bytes to mix in: they are read and change nothing, as the stream must repeat."""
        total = 0
        while source.count:
            done = len(source.copy_from_iter(64))
            total += done
            if done < 64 and source.count:
                return total or -errno.EFAULT
        return total

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        self.f_pos = 0
        return 0

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "RNDGETENTCNT":
            return 0 if task.access.put_user(arg, 256, 4) else -errno.EFAULT
        return super().ioctl(task, command, arg)


def get_random_bytes_user(pool: RandomPool, to: iov_iter) -> int:
    """Fill the buffer; how many bytes, or -EFAULT when none could be stored."""
    total = 0
    while to.count:
        want = min(to.count, 1 << 16)
        done = to.copy_to_iter(pool.get_random_bytes(want))
        total += done
        if done < want:
            return total or -errno.EFAULT
    return total


class Devices:
    """The devices by number, whether their node is in /dev or elsewhere."""

    def __init__(self, pool: RandomPool) -> None:
        self.pool = pool

    def open(self, dentry: Dentry, rdev: int, flags: int, task: Current) -> File | int:
        """Open character device `rdev`; -ENXIO when there is none, or no terminal for /dev/tty."""
        if rdev == makedev(1, 3):
            return NullFile(dentry, flags)
        if rdev == makedev(1, 5):
            return ZeroFile(dentry, flags)
        if rdev == makedev(1, 7):
            return FullFile(dentry, flags)
        if rdev in (makedev(1, 8), makedev(1, 9)):
            return RandomFile(dentry, flags, self.pool)
        if rdev == makedev(5, 0):
            from emu.fs.host_stream import HostTty

            access = {O_RDONLY: os.O_RDONLY, O_WRONLY: os.O_WRONLY}.get(flags & O_ACCMODE, os.O_RDWR)
            try:
                fd = os.open("/dev/tty", access | os.O_CLOEXEC | os.O_NOCTTY)
            except OSError:
                return -errno.ENXIO
            return HostTty(dentry, flags, dentry.inode, fd, close=True)
        return -errno.ENXIO


def populate_dev(fs: TmpFs) -> tuple[Dentry, Dentry]:
    """Make the tree of /dev: its root dentry and the empty directory /dev/shm to mount on."""
    from emu.fs.tmpfs import TmpInode

    root = TmpInode(fs, S_IFDIR | 0o755, 0, 0)
    nodes: list[tuple[bytes, int, int, bytes]] = [
        (b"null", S_IFCHR | 0o666, makedev(1, 3), b""),
        (b"zero", S_IFCHR | 0o666, makedev(1, 5), b""),
        (b"full", S_IFCHR | 0o666, makedev(1, 7), b""),
        (b"random", S_IFCHR | 0o666, makedev(1, 8), b""),
        (b"urandom", S_IFCHR | 0o666, makedev(1, 9), b""),
        (b"tty", S_IFCHR | 0o666, makedev(5, 0), b""),
        (b"fd", S_IFLNK | 0o777, 0, b"/proc/self/fd"),
        (b"stdin", S_IFLNK | 0o777, 0, b"/proc/self/fd/0"),
        (b"stdout", S_IFLNK | 0o777, 0, b"/proc/self/fd/1"),
        (b"stderr", S_IFLNK | 0o777, 0, b"/proc/self/fd/2"),
        (b"shm", S_IFDIR | 0o1777, 0, b""),
    ]
    for name, mode, rdev, target in nodes:
        inode = TmpInode(fs, mode, 0, 0, rdev, target)
        inode.parent = root
        root.entries[name] = inode
    root.nlink += 1
    place = Dentry(None, b"dev", root)
    return place, Dentry(place, b"shm", root.entries[b"shm"])
