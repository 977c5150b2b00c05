# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/sys: what is written holds, for the calls that it limits; what is no good is refused."""

from __future__ import annotations

import shutil
from errno import EINVAL, ENOSPC, EPERM
from typing import Any

import pytest

from emu.fs.proc import ProcFs
from emu.fs.proc_sys import sys_directory
from emu.kernel.ipc.msg import msgget
from emu.kernel.ipc.sem import semget
from emu.kernel.ipc.shm import shmget
from emu.kernel.machine import Machine
from emu.kernel.sys_process import SYSCALLS
from emu.kernel.task import Task
from tests.guests import guest, mmscope


@pytest.fixture
def task() -> Task:
    program = str(guest("hello"))
    return Machine(memory=32 << 20).spawn(program, [program], [])


def sysctl(task: Task, name: str, value: str | None = None) -> Any:
    """Read one, or write it: 0 or -errno."""
    inode: Any = sys_directory(ProcFs(task.machine))
    for part in name.split("/"):
        inode = inode.entries(task)[part.encode()]
    return inode.make(task) if value is None else inode.store(task, value.encode())


@pytest.mark.parametrize(
    "name, value, result, after",
    [
        ("vm/overcommit_memory", "1\n", 0, "1\n"),
        ("vm/overcommit_memory", "3", -EINVAL, "0\n"),
        ("vm/overcommit_memory", "1x", -EINVAL, "0\n"),
        ("vm/overcommit_memory", "", -EINVAL, "0\n"),
        ("vm/max_map_count", " 0x10 ", 0, "16\n"),
        ("vm/max_map_count", "010", 0, "8\n"),
        ("vm/max_map_count", "1_0", -EINVAL, "65530\n"),
        ("vm/max_map_count", "-1", -EINVAL, "65530\n"),
        ("kernel/pid_max", "300", -EINVAL, "4194304\n"),
        ("kernel/sem", "250 32000", 0, "250\t32000\t500\t32000\n"),
        ("kernel/sem", "250 -1 3", -EINVAL, "250\t1024000000\t500\t32000\n"),
        ("kernel/hostname", "here\nand there", 0, "here\n"),
        ("fs/pipe-user-pages-soft", "7", 0, "7\n"),
    ],
)
def test_what_is_written_is_read(task: Task, name: str, value: str, result: int, after: str) -> None:
    assert sysctl(task, name, value) == result
    assert sysctl(task, name) == after


def test_names_are_those_of_uname(task: Task) -> None:
    room = task.cpu.sp - 1024
    assert task.access.copy_to_user(room, b"example.org")
    assert SYSCALLS["setdomainname"](task, room, 11) == 0
    assert sysctl(task, "kernel/domainname") == "example.org\n"
    assert sysctl(task, "kernel/domainname", "example.net\n") == 0
    assert SYSCALLS["uname"](task, room) == 0
    assert (task.access.copy_from_user(room + 5 * 65, 65) or b"").rstrip(b"\0") == b"example.net"
    assert SYSCALLS["setdomainname"](task, room, 65) == -EINVAL
    task.cred.cap_effective = 0
    assert SYSCALLS["setdomainname"](task, room, 3) == -EPERM


def test_process_ids_stay_below_their_limit(task: Task) -> None:
    assert sysctl(task, "kernel/pid_max", "1003") == 0
    assert [task.machine.alloc_pid() for _ in range(4)] == [1001, 1002, 300, 301]


def _msgget(task: Task, key: int, _: int, flags: int) -> int:
    return msgget(task, key, flags)


@pytest.mark.parametrize("kind, get", [("shm", shmget), ("sem", semget), ("msg", _msgget)])
def test_the_next_identifier(task: Task, kind: str, get: Any) -> None:
    """Once, then they come in turn; a taken index gives way to the next free one."""
    assert get(task, 0, 1, 0o600) == 0
    wanted = 5 << 15 | 7
    assert sysctl(task, f"kernel/{kind}_next_id", str(wanted)) == 0
    assert get(task, 0, 1, 0o600) == wanted
    assert sysctl(task, f"kernel/{kind}_next_id") == "-1\n"
    assert get(task, 0, 1, 0o600) == 1
    assert sysctl(task, f"kernel/{kind}_next_id", str(9 << 15 | 7)) == 0
    assert get(task, 0, 1, 0o600) == 9 << 15 | 8


def test_limits_of_ipc(task: Task) -> None:
    for name in ("shmmni", "msgmni"):
        assert sysctl(task, f"kernel/{name}", "1") == 0
    assert sysctl(task, "kernel/sem", "2 3 4 2") == 0
    assert (shmget(task, 0, 1, 0), shmget(task, 0, 1, 0)) == (0, -ENOSPC)
    assert (msgget(task, 0, 0), msgget(task, 0, 0)) == (0, -ENOSPC)
    assert semget(task, 0, 3, 0) == -EINVAL
    assert (semget(task, 0, 2, 0), semget(task, 0, 2, 0)) == (0, -ENOSPC)
    assert (semget(task, 0, 1, 0), semget(task, 0, 1, 0)) == (1, -ENOSPC)


def test_a_shell_writes_them() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    script = "cd /proc/sys/vm; echo 1 >overcommit_memory && read x <overcommit_memory; echo $x"
    ran = mmscope("run", bash, "-c", script)
    assert (ran.out, ran.status) == (b"1\n", 0), ran.err
