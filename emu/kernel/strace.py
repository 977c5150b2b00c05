# SPDX-License-Identifier: GPL-2.0-or-later
"""--strace: system calls as text, in the manner of strace."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from emu.kernel.args import s32, s64
from emu.mm.uaccess import Uaccess

if TYPE_CHECKING:
    from emu.kernel.task import Task

_TEXT = 32  # bytes of a buffer that are shown
# A letter for each argument: d int, u unsigned, x hex, s path, b buffer (its length is the next argument), p
# protection,
# f mmap flags, o open flags, D directory descriptor, S signal
SIGNATURES = {
    "read": "dxu", "write": "dbu", "pread64": "dxuu", "pwrite64": "dbuu", "readv": "dxd", "writev": "dxd",
    "open": "sox", "openat": "Dsox", "creat": "sx", "close": "d", "dup": "d", "dup2": "dd", "dup3": "ddx",
    "stat": "sx", "lstat": "sx", "fstat": "dx", "newfstatat": "Dsxx", "statx": "Dsxxx", "access": "sd",
    "faccessat": "Dsd", "readlink": "sxu", "readlinkat": "Dsxu", "lseek": "ddd", "ioctl": "dxx", "fcntl": "ddx",
    "mmap": "xupfdx", "mmap2": "xupfdx", "munmap": "xu", "mprotect": "xup", "mremap": "xuuxx", "brk": "x",
    "madvise": "xud", "mlock": "xu", "munlock": "xu", "msync": "xux", "mincore": "xux",
    "rt_sigaction": "Sxxu", "rt_sigprocmask": "dxxu", "kill": "dS", "tgkill": "ddS", "tkill": "dS",
    "exit": "d", "exit_group": "d", "unlink": "s", "mkdir": "sx", "rmdir": "s", "rename": "ss", "chdir": "s",
    "getcwd": "xu", "getdents64": "dxu", "clock_gettime": "dx", "getrandom": "xux", "memfd_create": "sx",
    "ftruncate": "du", "set_tid_address": "x", "unlinkat": "Dsx", "mkdirat": "Dsx", "getpid": "", "gettid": "",
    "getppid": "", "getuid": "", "geteuid": "", "getgid": "", "getegid": "", "sched_yield": "", "rt_sigreturn": "",
}  # fmt: skip
_PROT = ((1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"))
_MAP = (
    (1, "MAP_SHARED"), (2, "MAP_PRIVATE"), (0x10, "MAP_FIXED"), (0x20, "MAP_ANONYMOUS"), (0x100, "MAP_GROWSDOWN"),
    (0x2000, "MAP_LOCKED"), (0x4000, "MAP_NORESERVE"), (0x8000, "MAP_POPULATE"), (0x100000, "MAP_FIXED_NOREPLACE"),
)  # fmt: skip
_OPEN = ((0o100, "O_CREAT"), (0o200, "O_EXCL"), (0o1000, "O_TRUNC"), (0o2000, "O_APPEND"), (0o2000000, "O_CLOEXEC"))


def _quiet(task: Task) -> Uaccess:
    """Access to the guest's memory that never faults: looking must not change the program."""
    return Uaccess(task.mm, lambda address, syndrome, function: False, task.access.byteorder)


def _quote(data: bytes) -> str:
    return '"' + data.decode("latin-1").encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _flags(value: int, names: tuple[tuple[int, str], ...], none: str) -> str:
    found = [name for bit, name in names if value & bit]
    rest = value & ~sum(bit for bit, _ in names)
    if rest:
        found.append(f"{rest:#x}")
    return "|".join(found) or none


def _argument(task: Task, kind: str, value: int, following: int) -> str:
    if kind == "s":
        text = _quiet(task).strncpy_from_user(value, 256)
        return f"{value:#x}" if text is None else _quote(text)
    if kind == "b":
        data = _quiet(task).copy_from_user_partial(value, min(following, _TEXT))
        if not data and following:
            return f"{value:#x}"
        return _quote(data) + ("..." if following > _TEXT else "")
    if kind == "p":
        return _flags(value, _PROT, "PROT_NONE")
    if kind == "f":
        return _flags(value, _MAP, "0")
    if kind == "o":
        return ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[value & 3] + "".join(
            f"|{name}" for bit, name in _OPEN if value & bit
        )
    if kind == "D" and s32(value) == -100:
        return "AT_FDCWD"
    if kind in "dDS":
        return str(s32(value))
    return str(value) if kind == "u" else "NULL" if value == 0 else f"{value:#x}"


def format_call(task: Task, name: str, args: tuple[int, ...]) -> str:
    """The call with its arguments: `read(3, 0x7ffd10, 512)`."""
    signature = SIGNATURES.get(name, "xxxxxx")
    shown = [_argument(task, kind, args[i], args[i + 1] if i < 5 else 0) for i, kind in enumerate(signature)]
    return f"{name}({', '.join(shown)})"


def format_result(name: str, result: object) -> str:
    """What it returned: a number, an address, or an error by name."""
    if not isinstance(result, int):
        return "?"
    if -4096 < result < 0:
        code = -result
        if code >= 512:
            return {512: "? ERESTARTSYS", 513: "? ERESTARTNOINTR", 514: "? ERESTARTNOHAND"}.get(
                code, "? ERESTART_RESTARTBLOCK"
            )
        return f"-1 {errno.errorcode.get(code, code)} ({os.strerror(code)})"
    if name in ("mmap", "mmap2", "brk", "mremap"):
        return f"{result:#x}"
    return str(s64(result))
