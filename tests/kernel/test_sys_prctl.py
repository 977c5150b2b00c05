# SPDX-License-Identifier: GPL-2.0-or-later
"""prctl options that the memory manager hears of, and mmap of a descriptor that only stands for a place."""

from __future__ import annotations

from errno import EBADF, EINVAL

from emu.fs.consts import O_PATH
from emu.kernel.machine import Machine
from emu.kernel.sys_mm import ksys_mmap_pgoff
from emu.kernel.sys_open import do_sys_openat
from emu.kernel.sys_prctl import sys_prctl
from emu.kernel.task import Task
from emu.mm.mmap import MAP_PRIVATE
from emu.tracepoint import Kind
from tests.guests import guest

SET, GET, EXCEPT_ADVISED = 41, 42, 2


def spawn() -> Task:
    program = str(guest("hello"))
    return Machine(memory=16 << 20).spawn(program, [program], [])


def test_huge_pages_are_refused_under_mmap_lock() -> None:
    task = spawn()
    tp = task.machine.tp
    tp.on = True
    tp.drain()
    assert sys_prctl(task, SET, 1, 0, 0, 0) == 0
    assert [row[4] for row in tp.drain() if row[7] == 1] == [
        Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED,
    ]  # fmt: skip
    assert sys_prctl(task, GET, 0, 0, 0, 0) == 1
    assert sys_prctl(task, SET, 1, EXCEPT_ADVISED, 0, 0) == 0 and sys_prctl(task, GET, 0, 0, 0, 0) == 3
    for wrong in ((0, EXCEPT_ADVISED, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)):
        assert sys_prctl(task, SET, *wrong) == -EINVAL
    assert sys_prctl(task, SET, 0, 0, 0, 0) == 0 and sys_prctl(task, GET, 0, 0, 0, 0) == 0


def test_a_place_cannot_be_mapped() -> None:
    task = spawn()
    task.access.copy_to_user(task.cpu.sp - 256, str(guest("hello")).encode() + b"\0")
    fd = do_sys_openat(task, -100, task.cpu.sp - 256, O_PATH, 0)
    assert fd >= 0 and ksys_mmap_pgoff(task, 0, 4096, 1, MAP_PRIVATE, fd, 0) == -EBADF
