# SPDX-License-Identifier: GPL-2.0-or-later
"""A pipe that is opened again through /proc/self/fd, as a shell's process substitution has it; how many may be."""

from __future__ import annotations

import errno

from emu.fs.pipe import PipeFile
from emu.kernel.machine import Machine
from emu.kernel.sys_open import sys_pipe2
from emu.kernel.sys_read_write import sys_read, sys_write
from emu.kernel.sys_stat import sys_statfs64
from emu.kernel.task import Task
from tests.guests import guest

O_WRONLY, O_NONBLOCK = 1, 0o4000


def start(target: str) -> tuple[Task, int]:
    """A task, and room on its stack."""
    program = str(guest("hello", target))
    task = Machine(memory=16 << 20).spawn(program, [program], [])
    return task, task.cpu.sp - 2048


def test_no_wait_for_the_other_end() -> None:
    task, room = start("x86_64")
    assert sys_pipe2(task, room, 0) == 0
    read_end, write_end = task.files.fd.copy().keys() - {0, 1, 2}
    assert task.access.copy_to_user(room, b"left behind")
    assert sys_write(task, write_end, room, 11) == 11
    inode = task.files.fd[read_end].f_inode
    task.files.close(write_end)
    again = inode.open(task.files.fd[read_end].f_dentry, 0, task)
    assert isinstance(again, PipeFile)
    number = max(task.files.fd) + 1
    task.files.install(number, again)
    assert sys_read(task, number, room, 100) == 11
    assert sys_read(task, number, room, 100) == 0, "no writer is left: the end, not a wait"
    task.files.close(number)
    writer = inode.open(task.files.fd[read_end].f_dentry, O_WRONLY | O_NONBLOCK, task)
    assert isinstance(writer, PipeFile)


def test_statfs64_asks_for_the_size_of_its_structure() -> None:
    for target, size, other in (("powerpc64le", 120, 88), ("powerpc", 88, 120)):
        task, room = start(target)
        assert task.access.copy_to_user(room, b"/\0")
        assert sys_statfs64(task, room, other, room) == -errno.EINVAL
        assert sys_statfs64(task, room, size, room) == 0


def sizes(task: Task, room: int, count: int) -> list[int]:
    """Slots of new pipes, or errno."""
    found = []
    for _ in range(count):
        before = set(task.files.fd)
        error = sys_pipe2(task, room, 0)
        new = set(task.files.fd) - before
        found.append(error or task.files.fd[min(new)].pipe.max_usage)  # type: ignore[attr-defined]
    return found


def test_a_user_has_so_many_pages_of_pipes() -> None:
    """Root as many as it likes; others small pipes above the soft limit, none above the hard one."""
    task, room = start("x86_64")
    fs = task.machine.vfs.pipefs
    fs.user_pages_soft, fs.user_pages_hard = 40, 45
    assert sizes(task, room, 4) == [16, 16, 16, 16]
    task.cred.uid = task.cred.euid = task.cred.fsuid = 65534
    task.cred.cap_effective = 0
    assert sizes(task, room, 5) == [16, 16, 2, 2, 2]
    assert sizes(task, room, 6) == [2, 2, 2, -errno.ENFILE, -errno.ENFILE, -errno.ENFILE]
    first = task.files.fd[
        min(n for n, f in task.files.fd.items() if isinstance(f, PipeFile) and f.pipe.accounted == (fs, 65534))
    ]
    assert isinstance(first, PipeFile)
    for slots, result in ((32, -errno.EPERM), (8, 8 << 12), (16, -errno.EPERM)):
        assert first.set_size(slots << 12, task.cred) == result
    for number in [n for n, f in task.files.fd.items() if isinstance(f, PipeFile)]:
        task.files.close(number)
    assert fs.user_bufs == {0: 0, 65534: 0}
    fs.max_size = 8 << 12
    assert sizes(task, room, 1) == [8]
    task.cred.cap_effective = 1 << 24
    assert sizes(task, room, 1) == [16]
