# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system in guest RAM: /dev/shm, and memfd files without a name (mm/shmem.c, mm/memfd.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.consts import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    O_PATH,
    O_RDWR,
    O_TMPFILE_BIT,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    SEEK_DATA,
    SEEK_HOLE,
    TMPFS_MAGIC,
)
from emu.fs.dcache import Dentry
from emu.fs.file import MAX_LFS_FILESIZE, File, PathFile, generic_write_limit, kiocb
from emu.fs.inode import (
    CAP_FSETID,
    Inode,
    Kstat,
    Kstatfs,
    Setattr,
    StoredInode,
    SuperBlock,
    capable,
    dt_type,
    mode_without_privs,
)
from emu.fs.iov_iter import iov_iter
from emu.fs.pagecache_write import generic_perform_write
from emu.mm.filemap import address_space
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, VM_MAYWRITE, VM_SHARED, VM_WRITE, vm_area_struct
from emu.mm.shmem import shmem_vm_ops

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.pipe import Pipe
    from emu.mm.memory_manager import MemoryManager

F_SEAL_SEAL = 0x1
F_SEAL_SHRINK = 0x2
F_SEAL_GROW = 0x4
F_SEAL_WRITE = 0x8
F_SEAL_FUTURE_WRITE = 0x10
F_SEAL_EXEC = 0x20
F_ALL_SEALS = 0x3F
MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC = 1, 2, 4, 8, 16
NAME_LIMIT = 255 - len("memfd:")  # longest name of a memfd
SHM_DEV = 1  # the kernel's own mount, where memfd and shared anonymous memory live
_BEYOND = 1 << 52


class TmpFs(SuperBlock):
    """One mount of tmpfs."""

    def __init__(
        self, memory: MemoryManager, now: Callable[[], int], s_dev: int, device_open: Callable[..., File | int]
    ) -> None:
        super().__init__("tmpfs", s_dev, TMPFS_MAGIC)
        self.memory = memory
        self.now = now
        self.device_open = device_open
        self._ino = 0

    def next_ino(self) -> int:
        """A fresh inode number."""
        self._ino += 1
        return self._ino

    def make_root(self, mode: int) -> TmpInode:
        """The root directory of a new mount."""
        return TmpInode(self, S_IFDIR | mode, 0, 0)

    def statfs(self, inode: Inode) -> Kstatfs | int:
        half = self.memory.totalram // 2
        free = min(half, self.memory.totalram - self.memory.allocator.allocated)
        return Kstatfs(self.s_magic, blocks=half, bfree=free, bavail=free, files=half, ffree=half)


class TmpInode(StoredInode):
    """A file, directory, link, FIFO or device node of tmpfs."""

    __slots__ = (
        "atime", "btime", "ctime", "entries", "gid", "mtime", "nlink", "parent", "pipe", "rdev",
        "seal_bits", "size", "target", "uid",
    )  # fmt: skip
    sb: TmpFs

    def __init__(self, sb: TmpFs, mode: int, uid: int, gid: int, rdev: int = 0, target: bytes = b"") -> None:
        super().__init__(sb)
        self.ino = sb.next_ino()
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.target = target
        self.size = len(target)
        self.nlink = 2 if mode & S_IFMT == S_IFDIR else 1
        self.atime = self.mtime = self.ctime = self.btime = sb.now()
        self.entries: dict[bytes, TmpInode] = {}
        self.parent: TmpInode = self
        self.pipe: Pipe | None = None
        self.seal_bits = F_SEAL_SEAL
        if mode & S_IFMT == S_IFREG:
            self.i_mapping = address_space(self, sb.memory, shmem=True)

    @property
    def i_rdev(self) -> int:
        return self.rdev

    @property
    def i_size(self) -> int:
        return self.size

    def read_page(self, index: int) -> bytes | None:
        """There is nothing behind the page cache: a new page is empty."""
        return b""

    def write_page(self, index: int, data: bytes) -> int:
        """There is nowhere to write to."""
        return 0

    def getattr(self) -> Kstat | int:
        size = self.size
        if self.is_dir:
            size = 20 * (len(self.entries) + 2)
        blocks = self.i_mapping.nrpages * 8 if self.i_mapping is not None else 0
        return Kstat(
            self.s_dev, self.ino, self.mode, self.nlink, self.uid, self.gid, self.rdev, size, PAGE_SIZE, blocks,
            self.atime, self.mtime, self.ctime, self.btime,
        )  # fmt: skip

    def touch(self) -> None:
        """The content changed now."""
        self.mtime = self.ctime = self.sb.now()

    # Directories

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        return self.entries.get(name, -errno.ENOENT)

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        up = self.ino if self.parent is self else self.parent.ino
        found = [(b".", self.ino, dt_type(S_IFDIR)), (b"..", up, dt_type(S_IFDIR))]
        found += [(name, inode.ino, dt_type(inode.mode)) for name, inode in reversed(self.entries.items())]
        return found

    def _add(self, name: bytes, mode: int, task: Current, rdev: int = 0, target: bytes = b"") -> TmpInode:
        gid = task.cred.fsgid
        if self.mode & S_ISGID:
            gid = self.gid
            if mode & S_IFMT == S_IFDIR:
                mode |= S_ISGID
        new = TmpInode(self.sb, mode, task.cred.fsuid, gid, rdev, target)
        new.parent = self
        self.entries[name] = new
        self.touch()
        return new

    def create(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> Inode | int:
        return self._add(name, S_IFREG | mode, task)

    def mkdir(self, dentry: Dentry, name: bytes, mode: int, task: Current) -> int:
        self._add(name, S_IFDIR | mode, task)
        self.nlink += 1
        return 0

    def mknod(self, dentry: Dentry, name: bytes, mode: int, rdev: int, task: Current) -> int:
        self._add(name, mode, task, rdev)
        return 0

    def symlink(self, dentry: Dentry, name: bytes, target: bytes, task: Current) -> int:
        self._add(name, S_IFLNK | 0o777, task, 0, target)
        return 0

    def link(self, dentry: Dentry, name: bytes, old: Dentry, task: Current) -> int:
        inode = old.inode
        assert isinstance(inode, TmpInode)
        inode.nlink += 1
        inode.ctime = self.sb.now()
        self.entries[name] = inode
        self.touch()
        return 0

    def _drop(self, victim: TmpInode) -> None:
        victim.nlink = 0 if victim.is_dir else victim.nlink - 1
        victim.ctime = self.sb.now()
        if victim.nlink == 0 and victim.i_count == 0 and victim.i_mapping is not None:
            victim.i_mapping.drop()

    def unlink(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        self._drop(self.entries.pop(child.name))
        self.touch()
        return 0

    def rmdir(self, dentry: Dentry, child: Dentry, task: Current) -> int:
        victim = self.entries[child.name]
        if victim.entries:
            return -errno.ENOTEMPTY
        del self.entries[child.name]
        self._drop(victim)
        self.nlink -= 1
        self.touch()
        return 0

    def rename(self, old: Dentry, new_dir: Dentry, new_name: bytes, flags: int, task: Current) -> int:
        to = new_dir.inode
        assert isinstance(to, TmpInode)
        moved = self.entries[old.name]
        victim = to.entries.get(new_name)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE):
            return -errno.EINVAL
        if flags & RENAME_EXCHANGE:
            assert victim is not None
            self.entries[old.name] = victim
            to.entries[new_name] = moved
            moved.parent, victim.parent = to, self
        else:
            if victim is not None:
                if victim.entries:
                    return -errno.ENOTEMPTY
                self._drop(victim)
                to.nlink -= victim.is_dir
            del self.entries[old.name]
            to.entries.pop(new_name, None)
            to.entries[new_name] = moved
            moved.parent = to
        if moved.is_dir and (victim is None or not flags):
            self.nlink -= 1
            to.nlink += 1
        moved.ctime = self.sb.now()
        self.touch()
        to.touch()
        return 0

    def tmpfile(self, dentry: Dentry, mode: int, flags: int, task: Current) -> File | int:
        inode = TmpInode(self.sb, S_IFREG | mode, task.cred.fsuid, task.cred.fsgid)
        inode.nlink = 0
        place = Dentry(dentry, b"#%d" % inode.ino, inode)
        place.unlinked = True
        return TmpFile(place, flags & ~O_TMPFILE_BIT, inode)

    # Anything

    def get_link(self, task: Current) -> bytes | Dentry | int:
        return self.target if self.is_link else -errno.EINVAL

    def setattr(self, dentry: Dentry, change: Setattr, task: Current) -> int:
        if change.mode is not None:
            if self.seal_bits & F_SEAL_EXEC and (change.mode ^ self.mode) & 0o111:
                return -errno.EPERM
            self.mode = self.mode & S_IFMT | change.mode & 0o7777
        if change.uid is not None:
            self.uid = change.uid
        if change.gid is not None:
            self.gid = change.gid
        if change.atime is not None:
            self.atime = change.atime
        if change.mtime is not None:
            self.mtime = change.mtime
        self.ctime = self.sb.now()
        return 0

    def truncate(self, dentry: Dentry | None, size: int, task: Current) -> int:
        old = self.size
        if (size < old and self.seal_bits & F_SEAL_SHRINK) or (size > old and self.seal_bits & F_SEAL_GROW):
            return -errno.EPERM
        if size > MAX_LFS_FILESIZE:
            return -errno.EFBIG
        self.size = size
        mapping = self.i_mapping
        assert mapping is not None
        if size < old:
            mapping.truncate_range(size + PAGE_SIZE - 1 >> PAGE_SHIFT, _BEYOND)
            self.clear(size, (size + PAGE_SIZE - 1 & -PAGE_SIZE) - size)
        if size != old:
            self.touch()
        return 0

    def clear(self, offset: int, length: int) -> None:
        """Zero bytes of one page, if there is such a page."""
        assert self.i_mapping is not None
        cached = self.i_mapping.find_get_page(offset >> PAGE_SHIFT)
        if length and cached is not None:
            self.sb.memory.ram.write((cached.pfn << PAGE_SHIFT) + (offset & PAGE_SIZE - 1), bytes(length))

    def punch(self, offset: int, length: int) -> None:
        """Make a hole: whole pages are dropped, parts of pages zeroed."""
        assert self.i_mapping is not None
        end = offset + length
        first, last = offset + PAGE_SIZE - 1 >> PAGE_SHIFT, (end >> PAGE_SHIFT) - 1
        if last >= first:
            self.i_mapping.truncate_range(first, last, even_cows=False)
        if offset >> PAGE_SHIFT == end >> PAGE_SHIFT:
            self.clear(offset, length)
        else:
            self.clear(offset, -offset & PAGE_SIZE - 1)
            self.clear(end & -PAGE_SIZE, end & PAGE_SIZE - 1)

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        if flags & O_PATH:
            return PathFile(dentry, flags)
        kind = self.mode & S_IFMT
        if kind == S_IFREG:
            return TmpFile(dentry, flags, self)
        if kind == S_IFDIR:
            return MemoryDirectory(dentry, flags, self)
        if kind == S_IFIFO:
            from emu.fs.pipe import Pipe, fifo_open

            if self.pipe is None:
                self.pipe = Pipe(task.machine.sched, self.ino)
            return fifo_open(dentry, flags, self.pipe, task)
        if kind == S_IFCHR:
            return self.sb.device_open(dentry, self.rdev, flags, task)
        return -errno.ENXIO

    def release(self, file: File) -> None:
        if self.i_count == 0 and self.nlink == 0 and self.i_mapping is not None:
            self.i_mapping.drop()


class TmpFile(File):
    """An open regular file of tmpfs, or a memfd."""

    seekable = True
    splices = splices_pages = True

    def __init__(self, dentry: Dentry, flags: int, inode: TmpInode) -> None:
        self.inode = inode
        super().__init__(dentry, flags, inode)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """shmem_file_read_iter."""
        total = 0
        mapping = self.f_mapping
        while to.count:
            data = mapping.read(iocb.pos, min(to.count, 1 << 20))
            if isinstance(data, int):
                return total or data
            if not data:
                break
            done = to.copy_page_to_iter(data, iocb.pos)
            iocb.pos += done
            total += done
            if done < len(data):
                return total or -errno.EFAULT
        return total

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        """shmem_file_write_iter: page by page."""
        inode = self.inode
        pos = self.write_position(iocb)
        count = generic_write_limit(task, pos, source.count, MAX_LFS_FILESIZE)
        if count < 0:
            return count
        if inode.mode & 0o6000 and not capable(task.cred, CAP_FSETID):
            inode.mode = mode_without_privs(inode.mode)
        surplus = source.count - count
        source.count = count
        if count:
            inode.touch()
        result = generic_perform_write(source, pos, self.f_mapping, self._write_end, self._write_begin)
        source.count += surplus
        if result > 0:
            iocb.pos = pos + result
        return result

    def _write_begin(self, pos: int, size: int) -> int:
        """What the seals allow (shmem_write_begin)."""
        inode = self.inode
        if inode.seal_bits & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -errno.EPERM
        if inode.seal_bits & F_SEAL_GROW and pos + size > inode.size:
            return -errno.EPERM
        return 0

    def _write_end(self, pos: int, data: bytes) -> int:
        """Store a piece; an empty one makes its page and lets the file reach up to it (shmem_write_end)."""
        inode = self.inode
        done = self.f_mapping.write(pos, data)
        if done < 0:
            return done
        inode.size = max(inode.size, pos + done)
        return 0 if done == len(data) else -errno.ENOMEM

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        if whence in (SEEK_DATA, SEEK_HOLE):
            found = self._seek_data(offset, whence == SEEK_DATA)
            if found >= 0:
                self.f_pos = found
            return found
        return self.seek_within(offset, whence, self.inode.size, MAX_LFS_FILESIZE)

    def _seek_data(self, offset: int, data: bool) -> int:
        size = self.inode.size
        if not 0 <= offset < size:
            return -errno.ENXIO
        pages = {index for index, cached in self.f_mapping.pages.items() if cached.uptodate}
        index = offset >> PAGE_SHIFT
        last = size - 1 >> PAGE_SHIFT
        if data:
            following = [i for i in pages if index <= i <= last]
            if not following:
                return -errno.ENXIO
            return max(offset, min(following) << PAGE_SHIFT)
        while index <= last and index in pages:
            index += 1
        return min(size, max(offset, index << PAGE_SHIFT))

    def fsync(self, datasync: bool) -> int:
        return 0

    def fallocate(self, task: Current, mode: int, offset: int, length: int) -> int:
        """shmem_fallocate: allocate, or punch a hole."""
        inode = self.inode
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            return -errno.EOPNOTSUPP
        if mode & FALLOC_FL_PUNCH_HOLE:
            return self.punch_hole(offset, length)
        end = offset + length
        if end > inode.size and not mode & FALLOC_FL_KEEP_SIZE:
            if end > task.rlimit(1):
                task.send_signal(25)
                return -errno.EFBIG
            if inode.seal_bits & F_SEAL_GROW:
                return -errno.EPERM
        first, last = offset >> PAGE_SHIFT, end - 1 >> PAGE_SHIFT
        if last - first + 1 > inode.sb.memory.totalram:
            return -errno.ENOSPC
        made: list[int] = []
        for index in range(first, last + 1):
            new = self.f_mapping.find_get_page(index) is None
            cached = self.f_mapping.read_cache_page(index)
            if isinstance(cached, int):
                for one in made:
                    self.f_mapping.truncate_range(one, one)
                return -errno.ENOMEM
            if new:
                cached.uptodate = False  # allocated, and a hole for whoever looks until it is used
                made.append(index)
            else:
                cached.uptodate = True  # what an earlier call allocated is cleared now
        if end > inode.size and not mode & FALLOC_FL_KEEP_SIZE:
            inode.size = end
        inode.ctime = inode.sb.now()
        return 0

    def punch_hole(self, offset: int, length: int) -> int:
        if self.inode.seal_bits & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -errno.EPERM
        self.inode.punch(offset, length)
        return 0

    def mmap(self, vma: vm_area_struct) -> int:
        """shmem_mmap, and what the seals allow (seal_check_write)."""
        if self.inode.seal_bits & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) and vma.vm_flags & VM_SHARED:
            if vma.vm_flags & VM_WRITE:
                return -errno.EPERM
            vma.vm_flags &= ~VM_MAYWRITE
        vma.vm_ops = shmem_vm_ops
        return 0

    def seals(self) -> int | None:
        return self.inode.seal_bits

    def add_seals(self, seals: int) -> int:
        """memfd_add_seals."""
        inode = self.inode
        if not self.f_mode & 2:
            return -errno.EPERM
        if seals & ~F_ALL_SEALS:
            return -errno.EINVAL
        if inode.seal_bits & F_SEAL_SEAL:
            return -errno.EPERM
        if seals & F_SEAL_WRITE and not inode.seal_bits & F_SEAL_WRITE:
            shared = VM_SHARED | VM_MAYWRITE
            if any(vma.vm_flags & shared == shared for vma in self.f_mapping.i_mmap):
                return -errno.EBUSY
        if seals & F_SEAL_EXEC and inode.mode & 0o111:
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
        inode.seal_bits |= seals
        return 0

    def ioctl(self, task: Current, command: str, arg: int) -> int:
        if command == "FIONREAD":
            left = self.inode.size - self.f_pos
            return 0 if task.access.put_user(arg, left & 0xFFFFFFFF, 4) else -errno.EFAULT
        return super().ioctl(task, command, arg)


class MemoryDirectory(File):
    """An open directory of a file system that is not the host's."""

    can_write = False
    seekable = True

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        return -errno.EISDIR

    def readdir(self, task: Current) -> list[tuple[bytes, int, int]] | int:
        if self.f_dentry.unlinked:
            return -errno.ENOENT
        return self.f_inode.readdir(self.f_dentry, task)

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        return self.seek_within(offset, whence, MAX_LFS_FILESIZE, MAX_LFS_FILESIZE)

    def fsync(self, datasync: bool) -> int:
        return 0


def memfd_file(fs: TmpFs, name: bytes, flags: int, task: Current) -> TmpFile:
    """An open memfd called `name`; `flags` are MFD_*."""
    mode = 0o666 if flags & MFD_NOEXEC_SEAL else 0o777
    inode = TmpInode(fs, S_IFREG | mode, task.cred.fsuid, task.cred.fsgid)
    inode.nlink = 0
    if flags & MFD_NOEXEC_SEAL:
        inode.seal_bits = F_SEAL_EXEC
    elif flags & MFD_ALLOW_SEALING:
        inode.seal_bits = 0
    place = Dentry(None, b"/memfd:" + name, inode)
    place.unlinked = True
    place.mount_writable = True
    file = TmpFile(place, O_RDWR, inode)
    file.write_access = False
    return file
