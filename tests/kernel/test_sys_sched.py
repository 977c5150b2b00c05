# SPDX-License-Identifier: GPL-2.0-or-later
"""sched_setattr with SCHED_DEADLINE: its checks, in the kernel's order; what is asked about process 1."""

from __future__ import annotations

import struct
from errno import EBUSY, EINVAL, EPERM, ESRCH

import pytest

from emu.kernel.machine import Machine
from emu.kernel.sys_process import SYSCALLS as PROCESS
from emu.kernel.sys_sched import SYSCALLS
from tests.guests import guest

MS = 1_000_000


@pytest.mark.parametrize(
    "runtime, deadline, period, priority, result",
    [
        (10 * MS, 30 * MS, 30 * MS, 0, -EBUSY),
        (10 * MS, 30 * MS, 0, 0, -EBUSY),
        (10 * MS, 30 * MS, 20 * MS, 0, -EINVAL),
        (40 * MS, 30 * MS, 30 * MS, 0, -EINVAL),
        (1023, 30 * MS, 30 * MS, 0, -EINVAL),
        (1024, 30 * MS, 30 * MS, 0, -EBUSY),
        (0, 0, 0, 0, -EINVAL),
        (1024, 99_999, 99_999, 0, -EINVAL),
        (1024, 100_000, 100_000, 0, -EBUSY),
        (10 * MS, 30 * MS, 1 << 63, 0, -EINVAL),
        (10 * MS, 30 * MS, 5_000_000 * 1000, 0, -EINVAL),
        (10 * MS, 30 * MS, 30 * MS, 5, -EINVAL),
    ],
)
def test_deadlines(runtime: int, deadline: int, period: int, priority: int, result: int) -> None:
    program = str(guest("hello"))
    task = Machine(memory=16 << 20).spawn(program, [program], [])
    attr = struct.pack("<IIQiIQQQII", 56, 6, 0, 0, priority, runtime, deadline, period, 0, 0)
    assert task.access.copy_to_user(task.cpu.sp - 256, attr)
    assert SYSCALLS["sched_setattr"](task, 0, task.cpu.sp - 256, 0) == result
    if result == -EBUSY:
        task.cred.cap_effective = 0
        assert SYSCALLS["sched_setattr"](task, 0, task.cpu.sp - 256, 0) == -EPERM


def test_process_1_is_known() -> None:
    """It is outside of the machine, and the parent of what is in it; of others nothing is known."""
    program = str(guest("hello"))
    task = Machine(memory=16 << 20).spawn(program, [program], [])
    at = task.cpu.sp - 256
    assert PROCESS["getppid"](task) == 1
    for pid, expected in ((1, [1, 1, 0, 0]), (77, [-ESRCH] * 4)):
        found = [PROCESS[name](task, pid) for name in ("getpgid", "getsid")]
        found += [SYSCALLS["sched_getscheduler"](task, pid), SYSCALLS["sched_getparam"](task, pid, at)]
        assert found == expected
    assert SYSCALLS["sched_setscheduler"](task, 1, 0, at) == -ESRCH
    for pid, expected in ((1, -EINVAL), (77, -ESRCH)):
        assert SYSCALLS["sched_setscheduler"](task, pid, 99, at) == expected
    assert [PROCESS["get_robust_list"](task, pid, at, at + 8) for pid in (1, 77)] == [0, -ESRCH]
    assert task.access.get_user(at, 8) == 0
    task.cred.cap_effective = 0
    assert SYSCALLS["sched_setscheduler"](task, 1, 0, at) == -EPERM
    assert [PROCESS["get_robust_list"](task, pid, at, at + 8) for pid in (1, 77)] == [-EPERM, -ESRCH]
