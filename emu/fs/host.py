# SPDX-License-Identifier: GPL-2.0-or-later
"""The few calls of the host that Python's os module lacks: getdents64 with the file system's own order, renameat2,
fallocate."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from typing import Any

_DIRENT64 = struct.Struct("=QqHB")
AT_FDCWD = -100


def _libc_function(name: str, *argtypes: Any) -> Any:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None
    function.argtypes = argtypes
    function.restype = ctypes.c_long
    return function


_getdents64 = _libc_function("getdents64", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_renameat2 = _libc_function("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_fallocate = _libc_function("fallocate64", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def read_directory(fd: int) -> list[tuple[bytes, int, int]]:
    """All entries of the directory open as `fd`, . and .. too, in the file system's order: (name, inode number, DT_*
    type).
    OSError when the host refuses."""
    os.lseek(fd, 0, os.SEEK_SET)
    if _getdents64 is None:
        return _read_directory_portably(fd)
    entries: list[tuple[bytes, int, int]] = []
    buffer = ctypes.create_string_buffer(1 << 16)
    while True:
        size = _getdents64(fd, buffer, len(buffer))
        if size < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        if size == 0:
            return entries
        data = buffer.raw[:size]
        at = 0
        while at < size:
            ino, _, reclen, kind = _DIRENT64.unpack_from(data, at)
            start = at + _DIRENT64.size
            entries.append((data[start : data.index(0, start)], ino, kind))
            at += reclen


def _read_directory_portably(fd: int) -> list[tuple[bytes, int, int]]:
    st = os.fstat(fd)
    entries = [(b".", st.st_ino, stat.S_IFDIR >> 12)]
    try:
        entries.append((b"..", os.stat("..", dir_fd=fd).st_ino, stat.S_IFDIR >> 12))
    except OSError:
        entries.append((b"..", st.st_ino, stat.S_IFDIR >> 12))
    for name in os.listdir(fd):
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue
        entries.append((os.fsencode(name), found.st_ino, found.st_mode >> 12))
    return entries


def renameat2(old: bytes, new: bytes, flags: int) -> int:
    """rename with flags (RENAME_NOREPLACE, RENAME_EXCHANGE): 0 or -errno; -EINVAL where the host has no such call."""
    if _renameat2 is None:
        return -errno.EINVAL
    if _renameat2(AT_FDCWD, old, AT_FDCWD, new, flags) < 0:
        return -ctypes.get_errno()
    return 0


def fallocate(fd: int, mode: int, offset: int, length: int) -> int:
    """fallocate(2): 0 or -errno; -EOPNOTSUPP where the host has no such call."""
    if _fallocate is None:
        return -errno.EOPNOTSUPP
    if _fallocate(fd, mode, offset, length) < 0:
        return -ctypes.get_errno()
    return 0
