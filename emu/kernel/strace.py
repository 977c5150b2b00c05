# SPDX-License-Identifier: GPL-2.0-or-later
"""--strace: system calls as text, in the manner of strace: arguments by name, what the call reads from memory as it was
before it, what it writes there as it is afterwards."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.fs.abi import flags_from_guest, is_powerpc
from emu.kernel import strace_names as names
from emu.kernel.args import order, s32, s64
from emu.mm.uaccess import Uaccess

if TYPE_CHECKING:
    from emu.kernel.task import Task

_TEXT = 32  # bytes of a buffer that are shown
_WORDS = 16  # arguments of an exec, parts of a vector that are shown
# The kinds of the arguments. A kind with ">" is what the call writes, shown when it has succeeded.
SIGNATURES = {
    "read": "fd >buf size", "pread64": "fd >buf size off", "write": "fd buf size", "pwrite64": "fd buf size off",
    "readv": "fd iov d", "writev": "fd iov d", "preadv": "fd iov d off", "pwritev": "fd iov d off",
    "open": "path open mode", "openat": "dirfd path open mode", "creat": "path mode", "close": "fd",
    "dup": "fd", "dup2": "fd fd", "dup3": "fd fd open", "pipe": ">pipe", "pipe2": ">pipe open",
    "stat": "path >stat", "lstat": "path >stat", "fstat": "fd >stat", "newfstatat": "dirfd path >stat at",
    "statx": "dirfd path at x x", "access": "path access", "faccessat": "dirfd path access",
    "faccessat2": "dirfd path access at", "readlink": "path >buf size", "readlinkat": "dirfd path >buf size",
    "lseek": "fd d whence", "ioctl": "fd x x", "fcntl": "fd fcntl x", "fcntl64": "fd fcntl x", "flock": "fd d",
    "mmap": "x size prot map fd hex", "mmap2": "x size prot map fd hex", "munmap": "x size", "mprotect": "x size prot",
    "mremap": "x size size mremap x", "brk": "x", "madvise": "x size madv", "mlock": "x size", "munlock": "x size",
    "mlock2": "x size mlock", "mlockall": "mcl", "munlockall": "", "msync": "x size ms", "mincore": "x size x",
    "rt_sigaction": "sig sigaction >sigaction size", "rt_sigprocmask": "how sigset >sigset size",
    "rt_sigpending": ">sigset size", "rt_sigsuspend": "sigset size", "rt_sigtimedwait": "sigset x timespec size",
    "sigaltstack": "stack >stack", "rt_sigreturn": "", "kill": "d sig", "tkill": "d sig", "tgkill": "d d sig",
    "exit": "d", "exit_group": "d", "unlink": "path", "unlinkat": "dirfd path at", "mkdir": "path mode",
    "mkdirat": "dirfd path mode", "rmdir": "path", "rename": "path path", "renameat": "dirfd path dirfd path",
    "renameat2": "dirfd path dirfd path x", "link": "path path", "symlink": "path path", "chdir": "path",
    "fchdir": "fd", "chmod": "path mode", "fchmod": "fd mode", "fchmodat": "dirfd path mode", "umask": "mode",
    "truncate": "path d", "ftruncate": "fd d", "getcwd": ">buf size", "getdents64": "fd x size",
    "clock_gettime": "clock >timespec", "clock_getres": "clock >timespec", "nanosleep": "timespec x",
    "clock_nanosleep": "clock d timespec x", "getrandom": "x size grnd", "memfd_create": "path mfd",
    "clone": "clone x x x x", "fork": "", "vfork": "", "unshare": "clone", "execve": "path strings vars",
    "execveat": "dirfd path strings vars at", "wait4": "d >status wait x", "waitpid": "d >status wait",
    "futex": "x futex d x x x", "set_tid_address": "x", "set_robust_list": "x size",
    "getrlimit": "rlimit >limit", "setrlimit": "rlimit limit", "prlimit64": "d rlimit limit64 >limit64",
    "arch_prctl": "arch_prctl x", "getpid": "", "gettid": "", "getppid": "", "getuid": "", "geteuid": "",
    "getgid": "", "getegid": "", "getpgrp": "", "sched_yield": "", "pause": "", "sync": "", "setsid": "",
    "fsync": "fd", "fdatasync": "fd", "sendfile": "fd fd x size", "eventfd2": "u x", "epoll_create1": "open",
    "sched_getaffinity": "d size x", "uname": "x", "sysinfo": "x", "getpgid": "d", "setpgid": "d d", "alarm": "u",
    "signalfd": "fd sigset size", "signalfd4": "fd sigset size sockflags", "kcmp": "d d kcmp hex hex",
    "process_madvise": "fd iov d madv hex", "setxattr": "path path buf size xattr",
    "lsetxattr": "path path buf size xattr", "fsetxattr": "fd path buf size xattr",
    "removexattr": "path path", "lremovexattr": "path path", "fremovexattr": "fd path",
    "getxattr": "path path x size", "lgetxattr": "path path x size",
    "fgetxattr": "fd path x size",
    "semget": "key d ipcget", "semop": "d x size", "semtimedop": "d x size timespec", "semctl": "d d d x",
    "msgget": "key ipcget", "msgsnd": "d x size d", "msgrcv": "d x size d d", "msgctl": "d ipc x",
    "shmget": "key size ipcget", "shmat": "d x x", "shmdt": "x", "shmctl": "d ipc x",
    "socket": "family socktype d", "socketpair": "family socktype d >pipe", "bind": "fd sockaddr d",
    "connect": "fd sockaddr d", "listen": "fd d", "accept": "fd x x", "accept4": "fd x x sockflags",
    "getsockname": "fd x x", "getpeername": "fd x x", "shutdown": "fd shut", "send": "fd buf size msg",
    "sendto": "fd buf size msg sockaddr d", "recv": "fd >buf size msg", "recvfrom": "fd >buf size msg x x",
    "sendmsg": "fd x msg", "recvmsg": "fd x msg", "sendmmsg": "fd x u msg", "recvmmsg": "fd x u msg x",
    "setsockopt": "fd d d x d", "getsockopt": "fd d d x x",
    "poll": "x u d", "select": "d x x x x", "membarrier": "d x d", "rseq": "x u x x", "clone3": "x size",
}  # fmt: skip


def _quiet(task: Task) -> Uaccess:
    """Access to the guest's memory that never faults: looking must not change the program."""
    return Uaccess(task.mm, lambda address, syndrome, function: False, task.access.byteorder)


def _quote(data: bytes) -> str:
    """A C string; whatever is not printable ASCII is escaped."""
    shown = data.decode("latin-1").encode("unicode_escape").decode()
    return '"' + shown.replace('"', '\\"') + '"'


def _pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def _unpack(task: Task, address: int, layout: str) -> tuple[int, ...] | None:
    shape = struct.Struct(order(task) + layout)
    data = _quiet(task).copy_from_user(address, shape.size)
    return None if data is None else shape.unpack(data)


def _word(task: Task) -> str:
    return "Q" if task.word == 8 else "I"


def _string(task: Task, address: int) -> str:
    text = _quiet(task).strncpy_from_user(address, 256)
    return _pointer(address) if text is None else _quote(text)


def _buffer(task: Task, address: int, size: int) -> str:
    data = _quiet(task).copy_from_user_partial(address, min(size, _TEXT))
    if not data and size:
        return _pointer(address)
    return _quote(data) + ("..." if size > _TEXT else "")


def _pointers(task: Task, address: int) -> list[int] | None:
    """A list of addresses that ends with 0: None where it cannot be read, at most _WORDS and one."""
    found: list[int] = []
    while len(found) <= _WORDS:
        word = _unpack(task, address + len(found) * task.word, _word(task))
        if word is None:
            return None
        if not word[0]:
            break
        found.append(word[0])
    return found


def _strings(task: Task, address: int) -> str:
    found = _pointers(task, address)
    if found is None:
        return _pointer(address)
    shown = [_string(task, at) for at in found[:_WORDS]]
    return "[" + ", ".join(shown) + (", ..." if len(found) > _WORDS else "") + "]"


def _vars(task: Task, address: int) -> str:
    found = _pointers(task, address)
    if found is None:
        return _pointer(address)
    count = f"more than {_WORDS}" if len(found) > _WORDS else str(len(found))
    return f"{_pointer(address)} /* {count} vars */"


def _vector(task: Task, address: int, count: int) -> str:
    parts = []
    for i in range(min(count, _WORDS)):
        part = _unpack(task, address + i * 2 * task.word, _word(task) * 2)
        if part is None:
            return _pointer(address)
        parts.append(f"{{iov_base={_buffer(task, *part)}, iov_len={part[1]}}}")
    return "[" + ", ".join(parts) + (", ..." if count > _WORDS else "") + "]"


def _set(mask: int) -> str:
    full = mask.bit_count() > 32
    shown = [names.signal_name(n + 1).removeprefix("SIG") for n in range(64) if bool(mask >> n & 1) != full]
    return ("~" if full else "") + "[" + " ".join(shown) + "]"


def _sigset(task: Task, address: int) -> str:
    found = _unpack(task, address, "Q" if task.word == 8 else "II")
    if found is None:
        return _pointer(address)
    return _set(found[0] | (found[1] << 32 if len(found) > 1 else 0))


def _sigaction(task: Task, address: int) -> str:
    word = _word(task)
    found = _unpack(task, address, f"{word * 3}{'Q' if task.word == 8 else 'II'}")
    if found is None:
        return _pointer(address)
    handler, flags, _, mask = found[:4]
    mask |= found[4] << 32 if len(found) > 4 else 0
    name = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, f"{handler:#x}")
    return f"{{sa_handler={name}, sa_mask={_set(mask)}, sa_flags={names.flag_names(flags, names.SA)}}}"


def _timespec(task: Task, address: int) -> str:
    found = _unpack(task, address, "qq" if task.word == 8 else "ii")
    return _pointer(address) if found is None else f"{{tv_sec={found[0]}, tv_nsec={found[1]}}}"


def _limit(task: Task, address: int, wide: bool = False) -> str:
    found = _unpack(task, address, "QQ" if wide else _word(task) * 2)
    if found is None:
        return _pointer(address)
    infinite = (1 << (64 if wide else task.word * 8)) - 1
    soft, hard = ("RLIM_INFINITY" if value == infinite else str(value) for value in found)
    return f"{{rlim_cur={soft}, rlim_max={hard}}}"


def _stack(task: Task, address: int) -> str:
    found = _unpack(task, address, "Qi4xQ" if task.word == 8 else "IiI")
    if found is None:
        return _pointer(address)
    flags = names.flag_names(found[1] & 0xFFFFFFFF, names.SS)
    return f"{{ss_sp={_pointer(found[0])}, ss_flags={flags}, ss_size={found[2]}}}"


def _status(task: Task, address: int) -> str:
    found = _unpack(task, address, "I")
    if found is None:
        return _pointer(address)
    status = found[0]
    if status == 0xFFFF:
        return "[{WIFCONTINUED(s)}]"
    if status & 0x7F == 0:
        return f"[{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}]"
    if status & 0xFF == 0x7F:
        return f"[{{WIFSTOPPED(s) && WSTOPSIG(s) == {names.signal_name(status >> 8 & 0xFF)}}}]"
    dumped = " && WCOREDUMP(s)" if status & 0x80 else ""
    return f"[{{WIFSIGNALED(s) && WTERMSIG(s) == {names.signal_name(status & 0x7F)}{dumped}}}]"


def _sockaddr(task: Task, address: int) -> str:
    found = _unpack(task, address, "H")
    if found is None:
        return _pointer(address)
    if found[0] != 1:
        return f"{{sa_family={names.FAMILY.get(found[0], str(found[0]))}}}"
    path = _quiet(task).copy_from_user_partial(address + 2, 108)
    shown = "@" + _quote(path[1:].split(b"\0")[0])[1:-1] if path[:1] == b"\0" else _quote(path.split(b"\0")[0])[1:-1]
    return f'{{sa_family=AF_UNIX, sun_path="{shown}"}}'


def _ipc_get(task: Task, value: int) -> str:
    flags = names.flag_names(value & 0o7000, names.IPC_GET, "")
    mode = f"{value & 0o777:03o}" if value & 0o777 else "000"
    return f"{flags}|0{mode.lstrip('0')}" if flags and value & 0o777 else flags or f"0{mode.lstrip('0')}"


def _socket_type(task: Task, value: int) -> str:
    kind = names.SOCKET.get(value & 0xF, str(value & 0xF))
    flags = names.flag_names(value & 0xFFFFFFF0, names.SOCKET_FLAGS, "")
    return kind + (f"|{flags}" if flags else "")


def _pipe(task: Task, address: int) -> str:
    found = _unpack(task, address, "ii")
    return _pointer(address) if found is None else f"[{found[0]}, {found[1]}]"


def _open(task: Task, value: int) -> str:
    flags = flags_from_guest(task.arch, value)
    mode = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[flags & 3]
    rest = names.flag_names(flags & ~3, names.OPEN, "")
    return mode + (f"|{rest}" if rest else "")


def _map(task: Task, value: int) -> str:
    return names.flag_names(value, names.MAP_POWERPC if is_powerpc(task.arch) else names.MAP)


def _mcl(task: Task, value: int) -> str:
    return names.flag_names(value, names.MCL_POWERPC if is_powerpc(task.arch) else names.MCL)


def _futex(task: Task, value: int) -> str:
    flags = names.flag_names(value & 0x180, names.FUTEX_FLAGS, "")
    operation = names.FUTEX.get(value & 0x7F, f"{value & 0x7F:#x}")
    return operation + (f"|{flags}".replace("|FUTEX_PRIVATE_FLAG", "_PRIVATE") if flags else "")


def _clone(task: Task, value: int) -> str:
    signal = value & 0xFF
    flags = names.flag_names(value & ~0xFF, names.CLONE, "")
    return "|".join(part for part in (flags, names.signal_name(signal) if signal else "") if part) or "0"


def _flags(table: names.Names, none: str = "0") -> Callable[[Task, int], str]:
    return lambda task, value: names.flag_names(value & 0xFFFFFFFF, table, none)


def _of(table: dict[int, str]) -> Callable[[Task, int], str]:
    return lambda task, value: table.get(s32(value), str(s32(value)))


_KINDS: dict[str, Callable[[Task, int], str]] = {
    "x": lambda task, value: _pointer(value),
    "d": lambda task, value: str(s32(value) if value >> 32 in (0, 0xFFFFFFFF) else s64(value)),
    "u": lambda task, value: str(value & 0xFFFFFFFF),
    "size": lambda task, value: str(value),
    "off": lambda task, value: str(s64(value)),
    "fd": lambda task, value: str(s32(value)),
    "dirfd": lambda task, value: "AT_FDCWD" if s32(value) == -100 else str(s32(value)),
    "mode": lambda task, value: f"{value & 0xFFFFFFFF:#05o}".replace("0o", "0") if value else "000",
    "path": _string,
    "strings": _strings,
    "vars": _vars,
    "open": _open,
    "hex": lambda task, value: f"{value:#x}" if value else "0",
    "map": _map,
    "mcl": _mcl,
    "prot": _flags(names.PROT, "PROT_NONE"),
    "mremap": _flags(names.MREMAP),
    "mlock": _flags(names.MLOCK),
    "ms": _flags(names.MS),
    "at": _flags(names.AT),
    "key": lambda task, value: f"{value & 0xFFFFFFFF:#x}" if value & 0xFFFFFFFF else "IPC_PRIVATE",
    "ipc": _of(names.IPC),
    "ipcget": _ipc_get,
    "kcmp": _of(names.KCMP),
    "xattr": _flags(names.XATTR),
    "family": _of(names.FAMILY),
    "socktype": _socket_type,
    "sockflags": _flags(names.SOCKET_FLAGS),
    "sockaddr": _sockaddr,
    "msg": _flags(names.MSG),
    "shut": _of(names.SHUT),
    "access": _flags(names.ACCESS, "F_OK"),
    "wait": _flags(names.WAIT),
    "mfd": _flags(names.MFD),
    "grnd": _flags(names.GRND),
    "madv": _of(names.MADV),
    "whence": _of(names.WHENCE),
    "how": _of(names.SIG_HOW),
    "clock": _of(names.CLOCK),
    "fcntl": _of(names.FCNTL),
    "rlimit": _of(names.RLIMIT),
    "arch_prctl": _of(names.ARCH_PRCTL),
    "futex": _futex,
    "clone": _clone,
    "sig": lambda task, value: names.signal_name(s32(value)),
    "sigset": _sigset,
    "sigaction": _sigaction,
    "timespec": _timespec,
    "limit": _limit,
    "limit64": lambda task, value: _limit(task, value, wide=True),
    "stack": _stack,
    "status": _status,
    "pipe": _pipe,
    "stat": lambda task, value: _pointer(value),
}


class Call:
    """One call: made before it runs, `text` afterwards."""

    def __init__(self, task: Task, name: str, args: tuple[int, ...]) -> None:
        self.name = name
        self.args = args
        self.kinds = SIGNATURES.get(name, "x x x x x x").split()
        self._shown = [
            None if kind[0] == ">" else self._argument(task, kind, index) for index, kind in enumerate(self.kinds)
        ]
        if name in ("open", "openat") and not flags_from_guest(task.arch, args[len(self.kinds) - 2]) & 0o20000100:
            self._shown.pop()  # a mode without O_CREAT

    def _argument(self, task: Task, kind: str, index: int, length: int | None = None) -> str:
        value = self.args[index]
        if kind == "buf":
            return _buffer(task, value, self.args[index + 1] if length is None else length)
        if kind == "iov":
            return _vector(task, value, self.args[index + 1])
        return _KINDS[kind](task, value)

    def text(self, task: Task, result: object) -> str:
        """The call with its arguments and its result: `read(3, "text", 512) = 4`."""
        good = isinstance(result, int) and not -4096 < result < 0
        shown = []
        for index, before in enumerate(self._shown):
            if before is not None:
                shown.append(before)
            elif good and isinstance(result, int) and self.args[index]:
                shown.append(self._argument(task, self.kinds[index][1:], index, result))
            else:
                shown.append(_pointer(self.args[index]))
        return f"{self.name}({', '.join(shown)}) = {format_result(self.name, result)}"


_INTERNAL = {
    512: "? ERESTARTSYS (To be restarted)",
    513: "? ERESTARTNOINTR (To be restarted)",
    514: "? ERESTARTNOHAND (To be restarted if no handler)",
    516: "? ERESTART_RESTARTBLOCK (Interrupted by signal)",
}


def format_result(name: str, result: object) -> str:
    """What it returned: a number, an address, or an error by name."""
    if not isinstance(result, int):
        return "?"
    if -4096 < result < 0:
        code = -result
        return _INTERNAL.get(code) or f"-1 {errno.errorcode.get(code, code)} ({os.strerror(code)})"
    if name in ("mmap", "mmap2", "brk", "mremap", "shmat"):
        return f"{result:#x}"
    return str(s64(result))
