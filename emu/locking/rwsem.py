# SPDX-License-Identifier: GPL-2.0-or-later
"""Reader/writer semaphore (kernel/locking/rwsem.c). There is one task so far: a lock that would block is a deadlock."""

from __future__ import annotations


class rw_semaphore:
    """`readers` tasks hold it for reading, or one for writing. `read_count` and `write_count`: how often it was
    taken."""

    __slots__ = ("name", "read_count", "readers", "write_count", "writer")

    def __init__(self, name: str) -> None:
        self.name = name
        self.readers = 0
        self.writer = False
        self.read_count = self.write_count = 0

    def down_read(self) -> None:
        if self.writer:
            raise RuntimeError(f"{self.name}: down_read would wait for a writer that never comes")
        self.readers += 1
        self.read_count += 1

    def down_read_trylock(self) -> bool:
        if self.writer:
            return False
        self.readers += 1
        self.read_count += 1
        return True

    def up_read(self) -> None:
        assert self.readers > 0, f"{self.name}: up_read without a reader"
        self.readers -= 1

    def down_write(self) -> None:
        if self.writer or self.readers:
            raise RuntimeError(f"{self.name}: down_write would wait for a holder that never leaves")
        self.writer = True
        self.write_count += 1

    def up_write(self) -> None:
        assert self.writer, f"{self.name}: up_write without a writer"
        self.writer = False

    def downgrade_write(self) -> None:
        assert self.writer, f"{self.name}: downgrade_write without a writer"
        self.writer = False
        self.readers = 1

    def is_locked(self) -> bool:
        return self.writer or self.readers > 0
