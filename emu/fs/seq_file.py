# SPDX-License-Identifier: GPL-2.0-or-later
"""Files whose text is made when it is read, record by record (fs/seq_file.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.consts import SEEK_CUR, SEEK_SET
from emu.fs.dcache import Dentry
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.fs.current import Current


class SeqOperations:
    """Where the records come from. A position is whatever `start` and `next` make of it; 0 is the beginning, None the
    end."""

    def start(self) -> None:
        """A read begins (take locks)."""

    def stop(self) -> None:
        """It ends."""

    def show(self, position: int) -> tuple[bytes, int] | None:
        """The record at `position` and the position of the next one; None at the end."""
        raise NotImplementedError

    def at_end(self, position: int) -> bool:
        """Is it known without a look, and so without locks, that nothing follows."""
        return False


class ListRecords(SeqOperations):
    """Records that are made all at once when a read starts at the beginning."""

    def __init__(self, make: Callable[[], list[bytes]]) -> None:
        self.make = make
        self.records: list[bytes] = []

    def show(self, position: int) -> tuple[bytes, int] | None:
        if position == 0:
            self.records = self.make()
        if position >= len(self.records):
            return None
        return self.records[position], position + 1


class SeqFile(File):
    """An open file of this kind. It takes part in no page cache; writing is for subclasses."""

    can_write = False
    seekable = True
    splices = True

    def __init__(self, dentry: Dentry, flags: int, operations: SeqOperations) -> None:
        self.op = operations
        self.index = 0
        self.buffer = b""  # text made but not delivered yet
        self.size = PAGE_SIZE
        self.read_pos = 0
        super().__init__(dentry, flags)

    def _traverse(self, offset: int) -> None:
        """Go to a byte offset: make text from the beginning and throw it away."""
        self.index = 0
        self.buffer = b""
        pos = 0
        self.op.start()
        while pos < offset:
            found = self.op.show(self.index)
            if found is None:
                break
            text, self.index = found
            if pos + len(text) > offset:
                self.buffer = text[offset - pos :]
                break
            pos += len(text)
        self.op.stop()
        self.read_pos = offset

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """seq_read_iter: as many whole records as fit a buffer of a page, which grows for a larger record."""
        if not to.count:
            return 0
        if iocb.pos == 0:
            self.index = 0
            self.buffer = b""
        if iocb.pos != self.read_pos:
            self._traverse(iocb.pos)
        copied = 0
        if self.buffer:
            copied = to.copy_to_iter(self.buffer)
            self.buffer = self.buffer[copied:]
            if self.buffer:
                return self._done(iocb, copied)
        if self.op.at_end(self.index):
            return self._done(iocb, copied)
        self.op.start()
        text = b""
        while True:
            found = self.op.show(self.index)
            if found is None:
                break
            record, following = found
            if not text:
                while len(record) >= self.size:  # a full buffer counts as overflowed
                    self.op.stop()
                    self.size *= 2
                    self.op.start()
            elif len(text) + len(record) >= self.size:
                break
            text += record
            self.index = following
            if len(text) >= to.count:
                break
        self.op.stop()
        done = to.copy_to_iter(text)
        self.buffer = text[done:]
        return self._done(iocb, copied + done)

    def _done(self, iocb: kiocb, copied: int) -> int:
        if not copied:
            return -errno.EFAULT if self.buffer else 0
        iocb.pos += copied
        self.read_pos += copied
        return copied

    def llseek(self, offset: int, whence: int, task: Current) -> int:
        if whence == SEEK_CUR:
            offset += self.f_pos
        elif whence != SEEK_SET:
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        if offset != self.read_pos:
            self._traverse(offset)
        self.f_pos = offset
        return offset
