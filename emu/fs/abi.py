# SPDX-License-Identifier: GPL-2.0-or-later
"""What differs between architectures in the file system calls: open flags, struct stat, statfs, ioctl numbers."""

from __future__ import annotations

import errno
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from emu.fs.consts import O_DIRECT, O_DIRECTORY, O_LARGEFILE, O_NOFOLLOW

if TYPE_CHECKING:
    from archs.base import Arch
    from emu.fs.inode import Kstat, Kstatfs

_ARM = {O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000, O_DIRECT: 0o200000, O_LARGEFILE: 0o400000}
_PPC = {O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000, O_LARGEFILE: 0o200000, O_DIRECT: 0o400000}
_MOVED = O_DIRECTORY | O_NOFOLLOW | O_DIRECT | O_LARGEFILE


def is_powerpc(arch: Arch) -> bool:
    """One of the three PowerPC targets."""
    return arch.name.startswith("powerpc")


def order(arch: Arch) -> str:
    """Byte order for the struct module."""
    return ">" if arch.elf.big_endian else "<"


@lru_cache(maxsize=256)
def _flags(name: str, value: int, to_guest: bool) -> int:
    table = _ARM if name == "aarch64" else _PPC if name.startswith("powerpc") else {}
    if not table:
        return value
    result = value & ~_MOVED
    for ours, theirs in table.items():
        source, target = (ours, theirs) if to_guest else (theirs, ours)
        if value & source:
            result |= target
    return result


def flags_from_guest(arch: Arch, flags: int) -> int:
    """Open flags of the guest as internal ones. A bit that the architecture does not know stays where it is."""
    return _flags(arch.name, flags & 0xFFFFFFFF, False)


def flags_to_guest(arch: Arch, flags: int) -> int:
    """Internal open flags as the guest's."""
    return _flags(arch.name, flags, True)


def _seconds(ns: int) -> tuple[int, int]:
    return divmod(ns, 1_000_000_000)


_STAT_X86 = struct.Struct("<QQQIIIIQqqqQQQQQQ24x")
_STAT_GENERIC = struct.Struct("<QQIIIIQQqiiqqQqQqQ8x")


def pack_stat(arch: Arch, stat: Kstat) -> bytes | int:
    """struct stat of the guest (cp_new_stat); -EOVERFLOW when a value does not fit."""
    atime, mtime, ctime = _seconds(stat.atime), _seconds(stat.mtime), _seconds(stat.ctime)
    try:
        if arch.name == "x86_64":
            return _STAT_X86.pack(
                stat.dev, stat.ino, stat.nlink, stat.mode, stat.uid, stat.gid, 0, stat.rdev, stat.size, stat.blksize,
                stat.blocks, atime[0] & (1 << 64) - 1, atime[1], mtime[0] & (1 << 64) - 1, mtime[1],
                ctime[0] & (1 << 64) - 1, ctime[1],
            )  # fmt: skip
        if not is_powerpc(arch):
            return _STAT_GENERIC.pack(
                stat.dev, stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev, 0, stat.size, stat.blksize, 0,
                stat.blocks, *atime, *mtime, *ctime,
            )  # fmt: skip
        if arch.elf.word == 8:
            return struct.pack(
                order(arch) + "QQQIII4xQqQQqQqQqQ24x",
                stat.dev, stat.ino, stat.nlink, stat.mode, stat.uid, stat.gid, stat.rdev, stat.size, stat.blksize,
                stat.blocks, *atime, *mtime, *ctime,
            )  # fmt: skip
        return struct.pack(
            order(arch) + "IIIHxxIIIiIIiIiIiI8x",
            stat.dev, stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev, stat.size, stat.blksize,
            stat.blocks, *atime, *mtime, *ctime,
        )  # fmt: skip
    except struct.error:
        return -errno.EOVERFLOW


def pack_stat64(arch: Arch, stat: Kstat) -> bytes:
    """struct stat64 of a 32-bit PowerPC (cp_new_stat64). Seconds are cut to 32 bits, as there."""
    times: list[int] = []
    for ns in (stat.atime, stat.mtime, stat.ctime):
        seconds, rest = _seconds(ns)
        times += [seconds & 0xFFFFFFFF, rest]
    return struct.pack(
        order(arch) + "QQIIIIQ8xqi4xq6I8x",
        stat.dev, stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, stat.rdev, stat.size, stat.blksize, stat.blocks,
        *times,
    )  # fmt: skip


STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000


def pack_statx(arch: Arch, stat: Kstat, mount_id: int) -> bytes:
    """struct statx, 256 bytes."""
    mask = STATX_BASIC_STATS | STATX_MNT_ID | (STATX_BTIME if stat.btime is not None else 0)
    o = order(arch)

    def time(ns: int | None) -> bytes:
        return struct.pack(o + "qI4x", *_seconds(ns or 0))

    def device(dev: int) -> bytes:
        return struct.pack(o + "II", dev >> 8 & 0xFFF, dev & 0xFF | dev >> 12 & 0xFFF00)

    return b"".join((
        struct.pack(o + "IIQIIIHxxQQQQ", mask, stat.blksize, 0, stat.nlink, stat.uid, stat.gid, stat.mode, stat.ino,
                    stat.size, stat.blocks, 0),
        time(stat.atime), time(stat.btime), time(stat.ctime), time(stat.mtime), device(stat.rdev), device(stat.dev),
        struct.pack(o + "Q", mount_id), bytes(256 - 152),
    ))  # fmt: skip


def pack_statfs(arch: Arch, found: Kstatfs) -> bytes | int:
    """struct statfs of the guest; -EOVERFLOW on a 32-bit machine whose file system is too large for it."""
    fsid = found.fsid
    head = "qqqqqqq" if arch.elf.word == 8 else "iiIIIII"
    tail = "qqq32x" if arch.elf.word == 8 else "iii16x"
    try:
        return struct.pack(
            order(arch) + head + "II" + tail, found.type, found.bsize, found.blocks, found.bfree, found.bavail,
            found.files, found.ffree, fsid & 0xFFFFFFFF, fsid >> 32 & 0xFFFFFFFF, found.namelen,
            found.frsize, found.flags,
        )  # fmt: skip
    except struct.error:
        return -errno.EOVERFLOW


STATFS64_SIZE = 88  # of a 32-bit machine
STATFS_SIZE = 120  # of a 64-bit machine, statfs64 likewise


def pack_statfs64(arch: Arch, found: Kstatfs) -> bytes:
    """struct statfs64 of a 32-bit machine."""
    fsid = found.fsid
    return struct.pack(
        order(arch) + "IIQQQQQIIIII16x4x", found.type, found.bsize, found.blocks, found.bfree, found.bavail,
        found.files, found.ffree, fsid & 0xFFFFFFFF, fsid >> 32 & 0xFFFFFFFF, found.namelen, found.frsize, found.flags,
    )  # fmt: skip


_IOCTL_GENERIC = {
    0x5401: "TCGETS", 0x5402: "TCSETS", 0x5403: "TCSETSW", 0x5404: "TCSETSF", 0x5409: "TCSBRK", 0x540A: "TCXONC",
    0x540B: "TCFLSH", 0x540F: "TIOCGPGRP", 0x5410: "TIOCSPGRP", 0x5411: "TIOCOUTQ", 0x5413: "TIOCGWINSZ",
    0x5414: "TIOCSWINSZ", 0x541B: "FIONREAD", 0x5421: "FIONBIO", 0x5425: "TCSBRKP", 0x5429: "TIOCGSID",
    0x5450: "FIONCLEX", 0x5451: "FIOCLEX", 0x5452: "FIOASYNC", 0x5460: "FIOQSIZE",
    2: "FIGETBSZ", 0x80045200: "RNDGETENTCNT",
}  # fmt: skip
_IOCTL_PPC = {
    0x402C7413: "TCGETS", 0x802C7414: "TCSETS", 0x802C7415: "TCSETSW", 0x802C7416: "TCSETSF", 0x2000741D: "TCSBRK",
    0x2000741E: "TCXONC", 0x2000741F: "TCFLSH", 0x40047477: "TIOCGPGRP", 0x80047476: "TIOCSPGRP",
    0x40047473: "TIOCOUTQ", 0x40087468: "TIOCGWINSZ", 0x80087467: "TIOCSWINSZ", 0x4004667F: "FIONREAD",
    0x8004667E: "FIONBIO", 0x5425: "TCSBRKP", 0x5429: "TIOCGSID", 0x20006602: "FIONCLEX",
    0x20006601: "FIOCLEX", 0x8004667D: "FIOASYNC",
    0x40086680: "FIOQSIZE",
    0x20000002: "FIGETBSZ", 0x40045200: "RNDGETENTCNT",
}  # fmt: skip


def ioctl_name(arch: Arch, command: int) -> str | None:
    """The name of an ioctl number, None when it is not one that is known here."""
    table = _IOCTL_PPC if is_powerpc(arch) else _IOCTL_GENERIC
    return table.get(command)


def ioctl_parts(arch: Arch, command: int) -> tuple[bool, bool, int, int]:
    """What an ioctl number says: does the guest read, does it write; type and number; size (_IOC_DIR and others)."""
    shift, write, read = (29, 4, 2) if is_powerpc(arch) else (30, 1, 2)
    direction = command >> shift
    return bool(direction & read), bool(direction & write), command & 0xFFFF, command >> 16 & (1 << shift - 16) - 1


def epoll_event_size(arch: Arch) -> int:
    """struct epoll_event is packed on x86-64 only."""
    return 12 if arch.name == "x86_64" else 16


def merge_64(arch: Arch, first: int, second: int) -> int:
    """A 64-bit argument from a pair of registers, in the order in which the ABI passes it."""
    if arch.elf.big_endian:
        return first << 32 | second
    return second << 32 | first


def signed(value: int, bits: int) -> int:
    """A register's value as a signed number of that many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value
