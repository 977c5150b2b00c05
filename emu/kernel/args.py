# SPDX-License-Identifier: GPL-2.0-or-later
"""What system calls take from registers and guest memory: ints of some width, paths, time values, register pairs."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from emu.fs.consts import AT_FDCWD, PATH_MAX
from emu.fs.dcache import Dentry

if TYPE_CHECKING:
    from emu.kernel.task import Task

NSEC_PER_SEC = 1_000_000_000
KTIME_MAX = (1 << 63) - 1


def s32(value: int) -> int:
    """A C int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def s64(value: int) -> int:
    """A C long long."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def slong(task: Task, value: int) -> int:
    """A C long of the guest."""
    return s32(value) if task.word == 4 else s64(value)


def pair(task: Task, first: int, second: int) -> int:
    """A 64-bit argument that a 32-bit guest passes in two registers."""
    high, low = (first, second) if task.arch.elf.big_endian else (second, first)
    return s64(high << 32 | low)


def order(task: Task) -> str:
    """Byte order for the struct module."""
    return ">" if task.arch.elf.big_endian else "<"


def getname(task: Task, address: int) -> bytes | int:
    """A path: -EFAULT, or -ENAMETOOLONG from PATH_MAX bytes on (getname)."""
    name = task.access.strncpy_from_user(address, PATH_MAX)
    if name is None:
        return -errno.EFAULT
    return -errno.ENAMETOOLONG if len(name) >= PATH_MAX else name


def starting_point(task: Task, dfd: int, path: bytes) -> Dentry | int:
    """Where a path of an *at call starts: -EBADF when it needs a descriptor that is not open. What is no directory
    fails in the walk."""
    if path.startswith(b"/"):
        return task.fs.root
    if s32(dfd) == AT_FDCWD:
        return task.fs.pwd
    file = task.files.get(dfd & 0xFFFFFFFF)
    return -errno.EBADF if file is None else file.f_dentry


def get_timespec(task: Task, address: int, size: int | None = None) -> tuple[int, int] | int:
    """(seconds, ns) of a struct timespec of two words (or, with size 8, of two 64-bit values), unchecked; -EFAULT."""
    size = size or task.word
    data = task.access.copy_from_user(address, 2 * size)
    if data is None:
        return -errno.EFAULT
    seconds, ns = struct.unpack(order(task) + ("qq" if size == 8 else "ii"), data)
    if size == 8 and task.word == 4:
        ns &= 0xFFFFFFFF
    return seconds, ns


def timespec_ns(value: tuple[int, int]) -> int:
    """Nanoseconds of a timespec, -EINVAL when it is not a valid one (timespec64_valid)."""
    seconds, ns = value
    if seconds < 0 or not 0 <= ns < NSEC_PER_SEC:
        return -errno.EINVAL
    return min(seconds * NSEC_PER_SEC + ns, KTIME_MAX)


def pack_timespec(task: Task, ns: int, size: int | None = None) -> bytes:
    """struct timespec of two words (or of two 64-bit values with size 8)."""
    size = size or task.word
    seconds, rest = divmod(ns, NSEC_PER_SEC)
    if size == 4:
        seconds = s32(seconds)
    return struct.pack(order(task) + ("qq" if size == 8 else "ii"), seconds, rest)


def pack_timeval(task: Task, ns: int) -> bytes:
    """struct timeval of two words."""
    seconds, rest = divmod(ns, NSEC_PER_SEC)
    if task.word == 4:
        seconds = s32(seconds)
    return struct.pack(order(task) + ("qq" if task.word == 8 else "ii"), seconds, rest // 1000)


def put_struct(task: Task, address: int, data: bytes, function: str = "_copy_to_user") -> int:
    """Write to the guest: 0 or -EFAULT."""
    return 0 if task.access.copy_to_user(address, data, function) else -errno.EFAULT


def copy_struct_from_user(task: Task, address: int, size: int, known: int) -> bytes | int:
    """A struct that later kernels have made longer: its first `known` bytes; -E2BIG where one behind them is set,
    -EFAULT where it cannot be read."""
    if size > known:  # that one is looked for first, word by word (check_zeroed_user)
        before = address + known & task.word - 1
        tail = task.access.copy_from_user(address + known - before, size - known + before, "check_zeroed_user")
        if tail is None:
            return -errno.EFAULT
        if any(tail[before:]):
            return -errno.E2BIG
    data = task.access.copy_from_user(address, min(size, known))
    return -errno.EFAULT if data is None else data.ljust(known, b"\0")
