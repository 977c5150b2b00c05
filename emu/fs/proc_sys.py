# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/sys: constants of the system, and those of its limits that may be written (fs/proc/proc_sysctl.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.fs.proc_inode import ProcDirectory, ProcInode, ProcText, PseudoFs

if TYPE_CHECKING:
    from emu.kernel.machine import Machine

INT_MAX = (1 << 31) - 1
HOST_NAME_MAX = 64


class Number(NamedTuple):
    """A number from `low` to `high`, kept as attribute `name` of a part of the machine (proc_dointvec_minmax)."""

    part: Callable[[Any], Any]
    name: str
    low: int
    high: int


class Name(NamedTuple):
    """A text that is an attribute of the machine (proc_dostring)."""

    name: str


def _memory(name: str, low: int, high: int) -> Number:
    return Number(lambda machine: machine.memory, name, low, high)


def _pipes(name: str, low: int) -> Number:
    return Number(lambda machine: machine.vfs.pipefs, name, low, INT_MAX)


# What is text never changes. A vector of numbers is one line.
_SYSCTLS: dict[str, dict[str, str | Name | tuple[Number, ...]]] = {
    "vm": {
        "overcommit_memory": (_memory("overcommit_memory", 0, 2),),
        "overcommit_ratio": (_memory("overcommit_ratio", 0, INT_MAX),),
        "max_map_count": (_memory("max_map_count", 0, INT_MAX),),
        "mmap_min_addr": (_memory("mmap_min_addr", 0, 1 << 47),),
        "legacy_va_layout": "0", "nr_hugepages": "0", "swappiness": "60",
    },
    "kernel": {
        "osrelease": "6.18.0", "ostype": "Linux", "version": "#1 SMP",
        "hostname": Name("hostname"), "domainname": Name("domainname"),
        "pid_max": (Number(lambda machine: machine, "pid_max", 301, 1 << 22),),
        "randomize_va_space": "0", "ngroups_max": "65536", "tainted": "0",
        "shmmax": "18446744073692774399", "shmall": "18446744073692774399",
        "shmmni": (Number(lambda machine: machine.shm.ids, "most", 0, 1 << 15),),
        "shm_next_id": (Number(lambda machine: machine.shm.ids, "next_id", 0, INT_MAX),),
        "msgmni": (Number(lambda machine: machine.msg.ids, "most", 0, 1 << 15),),
        "msg_next_id": (Number(lambda machine: machine.msg.ids, "next_id", 0, INT_MAX),),
        "msgmax": "8192", "msgmnb": "16384",
        "sem": (
            Number(lambda machine: machine.sem, "semmsl", 0, INT_MAX),
            Number(lambda machine: machine.sem, "semmns", 0, INT_MAX),
            Number(lambda machine: machine.sem, "semopm", 0, INT_MAX),
            Number(lambda machine: machine.sem.ids, "most", 0, 1 << 15),
        ),
        "sem_next_id": (Number(lambda machine: machine.sem.ids, "next_id", 0, INT_MAX),),
        "cap_last_cap": "40", "threads-max": "192730", "overflowuid": "65534", "overflowgid": "65534",
    },
    "fs": {
        "nr_open": "1048576", "file-max": "9223372036854775807",
        "pipe-max-size": (_pipes("max_size", 4096),),
        "pipe-user-pages-soft": (_pipes("user_pages_soft", 0),),
        "pipe-user-pages-hard": (_pipes("user_pages_hard", 0),),
    },
}  # fmt: skip


def sys_directory(fs: PseudoFs) -> ProcDirectory:
    """/proc/sys."""

    def directories(_: Any) -> dict[bytes, ProcInode]:
        return {name.encode(): ProcDirectory(fs, f"/sys/{name}", partial(files, name)) for name in _SYSCTLS}

    def files(directory: str, _: Any) -> dict[bytes, ProcInode]:
        entries = _SYSCTLS[directory].items()
        return {name.encode(): _file(fs, f"/sys/{directory}/{name}", kind) for name, kind in entries}

    return ProcDirectory(fs, "/sys", directories)


def _file(fs: PseudoFs, path: str, kind: str | Name | tuple[Number, ...]) -> ProcText:
    machine = fs.machine
    if isinstance(kind, str):
        return ProcText(fs, path, lambda _: f"{kind}\n")
    if isinstance(kind, Name):
        return ProcText(fs, path, lambda _: f"{getattr(machine, kind.name)}\n", partial(_set_name, machine, kind))
    return ProcText(fs, path, partial(_show, machine, kind), partial(_set_numbers, machine, kind))


def _show(machine: Machine, numbers: tuple[Number, ...], _: Any) -> str:
    return "\t".join(str(getattr(n.part(machine), n.name)) for n in numbers) + "\n"


def _set_name(machine: Machine, kind: Name, _: Any, data: bytes) -> int:
    text = re.split(rb"[\n\0]", data, maxsplit=1)[0][:HOST_NAME_MAX]
    setattr(machine, kind.name, text.decode("utf-8", "surrogateescape"))
    return 0


def _number(word: bytes) -> int | None:
    """Decimal, with 0x hexadecimal, with 0 octal (strtoul_lenient)."""
    found = re.fullmatch(rb"(-?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))", word)
    if found is None:
        return None
    sign, hexadecimal, octal, decimal = found.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -value if sign else value


def _set_numbers(machine: Machine, numbers: tuple[Number, ...], _: Any, data: bytes) -> int:
    """As many as are written; those before one that is no good are set."""
    words = data.split(b"\0")[0].split()
    if not words:
        return -errno.EINVAL
    for number, word in zip(numbers, words):
        value = _number(word)
        if value is None or not number.low <= value <= number.high:
            return -errno.EINVAL
        setattr(number.part(machine), number.name, value)
    return 0
