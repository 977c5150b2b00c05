# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/mem: the memory of a task as a file (fs/proc/base.c, __access_remote_vm)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from emu.fs.consts import SEEK_CUR, SEEK_SET
from emu.fs.file import File
from emu.mm.gup import get_user_page_remote
from emu.mm.mm_types import PAGE_SIZE, mm_struct
from emu.mm.mmap_lock import expand_stack, mmap_read_lock_killable, mmap_read_unlock

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.dcache import Dentry
    from emu.fs.file import kiocb
    from emu.fs.iov_iter import iov_iter

_OFFSET_MASK = (1 << 64) - 1  # positions are addresses: no sign


def access_remote_vm(mm: mm_struct, address: int, size: int, data: bytes | None = None, force: bool = False) -> bytes:
    """Read up to `size` bytes of an address space, or write `data` into it: what was read or written, up to the first
    page that cannot be had. `force`: against the protection of the mapping, as a debugger does."""
    done = b""
    if mmap_read_lock_killable(mm):
        return done
    if mm.mm_mt.load(address) is None and expand_stack(mm, address) is None:
        return done
    while len(done) < size:
        at = address + len(done)
        count = min(size - len(done), PAGE_SIZE - (at & PAGE_SIZE - 1))
        found = get_user_page_remote(mm, at, data is not None, force)
        if isinstance(found, int):
            if mm.mm_mt.load(at) is not None:
                break
            if expand_stack(mm, at) is None:
                return done
            continue
        place = (found.pfn << 12) + (at & PAGE_SIZE - 1)
        if data is None:
            done += mm.memory.ram.read(place, count)
        else:
            piece = data[len(done) : len(done) + count]
            mm.memory.ram.write(place, piece)
            found.dirty = True
            done += piece
    mmap_read_unlock(mm)
    return done


class MemFile(File):
    """An open mem. It is of the address space that the task had when it was opened. `using` gives that as long as
    somebody uses it."""

    seekable = True

    def __init__(
        self, dentry: Dentry, flags: int, using: Callable[[], AbstractContextManager[mm_struct | None]]
    ) -> None:
        self.using = using
        super().__init__(dentry, flags)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """mem_rw: a page's worth at a time. -EIO where nothing is mapped."""
        done = 0
        with self.using() as mm:
            if mm is None:
                return 0
            while to.count:
                data = access_remote_vm(mm, iocb.pos + done, min(to.count, PAGE_SIZE), force=True)
                if not data:
                    done = done or -errno.EIO
                    break
                if to.copy_to_iter(data, "_copy_to_user") < len(data):
                    done = -errno.EFAULT
                    break
                done += len(data)
        iocb.pos += max(done, 0)
        return done

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        done = 0
        with self.using() as mm:
            if mm is None:
                return 0
            while source.count:
                wanted = min(source.count, PAGE_SIZE)
                data = source.copy_from_iter(wanted, "_copy_from_user")
                if len(data) < wanted:
                    done = -errno.EFAULT
                    break
                written = access_remote_vm(mm, iocb.pos + done, len(data), data, force=True)
                if not written:
                    done = done or -errno.EIO
                    break
                done += len(written)
                source.revert(len(data) - len(written))
        iocb.pos += max(done, 0)
        return done

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        """mem_lseek: from the beginning or from here, anywhere."""
        if whence == SEEK_CUR:
            offset += self.f_pos
        elif whence != SEEK_SET:
            return -errno.EINVAL
        self.f_pos = offset & _OFFSET_MASK
        return self.f_pos
