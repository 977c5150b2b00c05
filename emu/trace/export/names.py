# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of tasks and locks, as exports need them while they go through the events in order."""

from __future__ import annotations

import os

from emu.trace.escape import printable
from emu.tracepoint import Kind, Row

TASK_COMM_LEN = 16
_CONTENTION = (Kind.CONTENTION_BEGIN, Kind.CONTENTION_END)
VMA_LOCKS = 1 << 32  # what lock_address adds to the number of a VMA
OTHER_LOCKS = 1 << 40  # what it adds to the number of a lock that is neither in a VMA nor mmap_lock


def lock_address(row: Row) -> int:
    """One number for each lock: the mm's for its mmap_lock, the VMA's beyond 2^32 for a VMA lock, and beyond 2^40 the
    address of a page table for its lock."""
    if row[10]:
        return VMA_LOCKS + row[10]
    other = row[4] in _CONTENTION and row[17] != "mmap_lock"
    return OTHER_LOCKS + row[5] if other else row[5]


class Comms:
    """task_struct.comm of every task, from the events that change it: no control characters, up to 15 characters."""

    def __init__(self, first: str) -> None:
        self._first = _comm(first)
        self._of: dict[int, str] = {}

    def of(self, tid: int) -> str:
        """The name; an unknown task has the first program's."""
        return self._of.get(tid, self._first)

    def follow(self, row: Row) -> None:
        """Take in an event, of which execs and forks change names."""
        if row[4] == Kind.EXEC:
            self.exec(row[3], row[17] or "")
        elif row[4] == Kind.SCHED_PROCESS_FORK:
            self.fork(row[3], row[7])

    def exec(self, tid: int, path: str) -> None:
        """A task runs another program."""
        self._of[tid] = _comm(os.path.basename(path))

    def fork(self, parent: int, child: int) -> None:
        """A task has its parent's name."""
        self._of[child] = self.of(parent)


def _comm(text: str) -> str:
    return printable(text[: TASK_COMM_LEN - 1]) or "?"
