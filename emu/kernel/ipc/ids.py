# SPDX-License-Identifier: GPL-2.0-or-later
"""Identifiers of System V objects, their keys and who may use them (ipc/util.c)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from errno import EACCES, EEXIST, EFAULT, EINVAL, ENOENT, ENOSPC, EPERM
from itertools import chain
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from emu.kernel.args import order

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.kernel.task import Task

IPC_PRIVATE = 0
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
IPC_CREAT, IPC_EXCL = 0o1000, 0o2000
IPCMNI = 1 << 15  # indices; the bits above are the sequence number
_MIN_CYCLE = 64  # indices are used in turn up to this many, and half as many again as there are
_SEQ_MAX = 0xFFFF
CAP_IPC_OWNER, CAP_SYS_ADMIN = 15, 21


@dataclass
class Perm:
    """struct kern_ipc_perm: an object's key, owner and rights."""

    key: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    mode: int
    id: int = -1
    seq: int = 0


class IpcObject:
    """What has an identifier."""

    perm: Perm


T = TypeVar("T", bound=IpcObject)


class Stat(NamedTuple):
    """One of the commands that ask for an object's structure."""

    by_index: bool  # the number is an index, not an identifier
    anybody: bool  # no right to read is needed


def stats(stat: int, stat_any: int) -> dict[int, Stat]:
    """These commands: IPC_STAT, and a kind's own two."""
    return {IPC_STAT: Stat(False, False), stat: Stat(True, False), stat_any: Stat(True, True)}


class IpcIds(Generic[T]):
    """The objects of one kind (struct ipc_ids)."""

    def __init__(self, most: int) -> None:
        self.most = most  # objects that there may be
        self.objects: dict[int, T] = {}  # by index
        self._by_key: dict[int, T] = {}  # the last one made with a key; it may have lost that since
        self.next_id = -1  # the identifier that the next object is to get, if its index is free; -1 = any
        self._next = 0
        self._last = -1
        self._seq = 0

    def add(self, new: T) -> int:
        """Give an object its identifier (ipc_addid): that, or -ENOSPC."""
        in_use = len(self.objects)
        if in_use >= self.most:
            return -ENOSPC
        wanted, self.next_id = self.next_id, -1
        if wanted >= 0:
            index = next((i for i in range(wanted & IPCMNI - 1, IPCMNI) if i not in self.objects), -1)
            if index < 0:
                return -ENOSPC
            return self._insert(new, index, wanted >> 15)
        limit = min(max(in_use * 3 // 2, _MIN_CYCLE), IPCMNI)
        start = self._next if self._next < limit else 0
        index = next(i for i in chain(range(start, limit), range(start)) if i not in self.objects)
        self._next = index + 1
        if index <= self._last:
            self._seq = self._seq + 1 if self._seq < _SEQ_MAX else 0
        self._last = index
        return self._insert(new, index, self._seq)

    def _insert(self, new: T, index: int, seq: int) -> int:
        new.perm.seq = seq
        new.perm.id = seq << 15 | index
        self.objects[index] = new
        self._by_key[new.perm.key] = new
        return new.perm.id

    def remove(self, old: T) -> None:
        """Its identifier is free (ipc_rmid)."""
        del self.objects[old.perm.id & IPCMNI - 1]
        if self._by_key.get(old.perm.key) is old:
            del self._by_key[old.perm.key]

    def by_index(self, index: int) -> T | None:
        """The object at an index, whatever the sequence number."""
        return self.objects.get(index & IPCMNI - 1)

    def by_id(self, number: int) -> T | None:
        """ipc_obtain_object_check; None stands for EINVAL."""
        found = self.by_index(number) if number >= 0 else None
        return found if found is not None and found.perm.id == number else None

    def by_key(self, key: int) -> T | None:
        """The object that has a key."""
        found = self._by_key.get(key)
        return found if found is not None and found.perm.key == key else None

    def controlled(self, task: Task, number: int) -> T | int:
        """The object that the task is to remove or to change, or -errno (ipcctl_obtain_check)."""
        found = self.by_id(number)
        if found is None:
            return -EINVAL
        return found if may_control(task, found.perm) else -EPERM

    def stat(self, task: Task, number: int, ask: Stat, buffer: int, pack: Callable[[Task, T], bytes], copy: str) -> int:
        """*_STAT: what `pack` makes of an object to `buffer`, by the kernel function `copy`. 0, or with `ask.by_index`
        the identifier; -errno."""
        found = self.by_index(number) if ask.by_index else self.by_id(number)
        if found is None:
            return -EINVAL
        if not ask.anybody and not ipcperms(task, found.perm, 0o444):
            return -EACCES
        if not task.access.copy_to_user(buffer, pack(task, found), copy):
            return -EFAULT
        return found.perm.id if ask.by_index else 0

    @property
    def highest(self) -> int:
        """The highest index in use, 0 when there is none."""
        return max(self.objects, default=0)

    def get(self, task: Task, key: int, flags: int, make: Callable[[], int], check: Callable[[T], int]) -> int:
        """ipcget: the identifier for a key, the object made where that is asked for. -errno."""
        if key == IPC_PRIVATE:
            return make()
        found = self.by_key(key)
        if found is None:
            return make() if flags & IPC_CREAT else -ENOENT
        if flags & IPC_CREAT and flags & IPC_EXCL:
            return -EEXIST
        error = check(found)
        if error:
            return error
        return found.perm.id if ipcperms(task, found.perm, flags) else -EACCES


def ipcperms(task: Task, perm: Perm, flags: int) -> bool:
    """May the task do what `flags` (permission bits, of any class) ask for (ipcperms)."""
    requested = (flags >> 6 | flags >> 3 | flags) & 7
    cred = task.cred
    granted = perm.mode
    if cred.euid in (perm.cuid, perm.uid):
        granted >>= 6
    elif {perm.cgid, perm.gid} & {cred.egid, *cred.groups}:
        granted >>= 3
    return not requested & ~granted & 7 or task.capable(CAP_IPC_OWNER)


def may_control(task: Task, perm: Perm) -> bool:
    """May the task remove the object or change its rights."""
    return task.cred.euid in (perm.cuid, perm.uid) or task.capable(CAP_SYS_ADMIN)


def new_perm(task: Task, key: int, flags: int) -> Perm:
    """The rights of an object that the task makes."""
    cred = task.cred
    return Perm(key, cred.euid, cred.egid, cred.euid, cred.egid, flags & 0o777)


def update_perm(perm: Perm, uid: int, gid: int, mode: int) -> int:
    """IPC_SET: another owner, other permission bits (ipc_update_perm). 0 or -EINVAL."""
    if uid == 0xFFFFFFFF or gid == 0xFFFFFFFF:
        return -EINVAL
    perm.uid, perm.gid = uid, gid
    perm.mode = perm.mode & ~0o777 | mode & 0o777
    return 0


# How programs see them


def signed_key(perm: Perm) -> int:
    """The key as /proc/sysvipc prints it."""
    return (perm.key & 0xFFFFFFFF ^ 1 << 31) - (1 << 31)


def pack_perm(task: Task, perm: Perm) -> bytes:
    """struct ipc64_perm: 48 bytes; PowerPC's sequence number has 32 bits."""
    head = (perm.key & 0xFFFFFFFF, perm.uid, perm.gid, perm.cuid, perm.cgid, perm.mode)
    layout = "6II20x" if task.arch.name.startswith("powerpc") else "6IH22x"
    return struct.pack(order(task) + layout, *head, perm.seq)


def pack_times(task: Task, *times: int) -> bytes:
    """Times of 64 bits: PowerPC 32 has the upper halves first."""
    if task.word == 8:
        return struct.pack(f"{order(task)}{len(times)}q", *times)
    return struct.pack(f"{order(task)}{2 * len(times)}I", *(half for t in times for half in (t >> 32, t & 0xFFFFFFFF)))


def perm_from_user(task: Task, address: int, size: int) -> tuple[int, int, int] | None:
    """(uid, gid, mode) of a structure of `size` bytes that begins with a struct ipc64_perm; None = EFAULT."""
    data = task.access.copy_from_user(address, size)
    if data is None:
        return None
    uid, gid, mode = struct.unpack_from(order(task) + "4xII8xI", data)
    return uid, gid, mode
