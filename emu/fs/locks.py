# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks on files: flock, POSIX record locks and open file description locks (fs/locks.c)."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from emu.fs.file import File
from emu.fs.inode import Inode

F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN, LOCK_MAND = 1, 2, 4, 8, 32
OFFSET_MAX = (1 << 63) - 1
OFFT_MAX = (1 << 31) - 1  # of a 32-bit off_t


@dataclass
class RecordLock:
    """A lock of a byte range, both ends included."""

    owner: object
    write: bool
    start: int
    end: int
    pid: int


class LockContext:
    """All locks on one inode."""

    def __init__(self) -> None:
        self.flock: dict[int, bool] = {}  # id(File) -> exclusive
        self.records: list[RecordLock] = []

    def conflict(self, owner: object, write: bool, start: int, end: int) -> RecordLock | None:
        """The first lock of somebody else that stands in the way."""
        for lock in self.records:
            if lock.owner is not owner and (write or lock.write) and lock.start <= end and start <= lock.end:
                return lock
        return None

    def set(self, owner: object, write: bool | None, start: int, end: int, pid: int) -> None:
        """Replace what `owner` holds in the range; write None only removes. Neighbours of the same kind join."""
        kept = []
        for lock in self.records:
            if lock.owner is not owner or lock.end < start or lock.start > end:
                kept.append(lock)
                continue
            if lock.start < start:
                kept.append(RecordLock(owner, lock.write, lock.start, start - 1, lock.pid))
            if lock.end > end:
                kept.append(RecordLock(owner, lock.write, end + 1, lock.end, lock.pid))
        if write is not None:
            for lock in [k for k in kept if k.owner is owner and k.write == write]:
                if lock.end + 1 == start or lock.start == end + 1:
                    start, end = min(start, lock.start), max(end, lock.end)
                    kept.remove(lock)
            kept.append(RecordLock(owner, write, start, end, pid))
        self.records = sorted(kept, key=lambda lock: (lock.start, lock.end))


def context(inode: Inode) -> LockContext:
    """The locks of an inode."""
    if not isinstance(inode.flocks, LockContext):
        inode.flocks = LockContext()
    return inode.flocks


def locks_remove_posix(file: File, owner: object) -> None:
    """Closing any descriptor of a file drops the process's record locks on it."""
    if isinstance(file.f_inode.flocks, LockContext):
        records = file.f_inode.flocks
        records.records = [lock for lock in records.records if lock.owner is not owner]


def locks_remove_file(file: File) -> None:
    """The open file goes away, and its flock and description locks with it."""
    found = file.f_inode.flocks
    if isinstance(found, LockContext):
        found.flock.pop(id(file), None)
        found.records = [lock for lock in found.records if lock.owner is not file]


def flock_conflict(file: File, exclusive: bool) -> bool:
    """Does another open file's flock stand in the way."""
    others = [e for key, e in context(file.f_inode).flock.items() if key != id(file)]
    return bool(others) and (exclusive or any(others))


def flock(file: File, command: int) -> int:
    """LOCK_SH, LOCK_EX or LOCK_UN without waiting: 0, -EINVAL, or -EAGAIN when it is taken."""
    locks = context(file.f_inode)
    if command == LOCK_UN:
        locks.flock.pop(id(file), None)
        return 0
    if command not in (LOCK_SH, LOCK_EX):
        return -errno.EINVAL
    exclusive = command == LOCK_EX
    locks.flock.pop(id(file), None)  # a conversion is not atomic
    if flock_conflict(file, exclusive):
        return -errno.EAGAIN
    locks.flock[id(file)] = exclusive
    return 0
