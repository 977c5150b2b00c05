# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets: what strace shows of them, families that are not there. What the guest
program `sockets` prints is held against the real kernel in test_tasks."""

from __future__ import annotations

import errno

from emu.kernel.machine import Machine
from emu.kernel.sys_socket import SYSCALLS
from tests.guests import guest, mmscope


def test_families_that_are_not_there() -> None:
    task = Machine().spawn(str(guest("hello")), ["hello"], [])
    for family in (0, 2, 10, 16, 17, 45, 46, -1 & 0xFFFFFFFF):
        assert SYSCALLS["socket"](task, family, 1, 0) == -errno.EAFNOSUPPORT
    assert SYSCALLS["socket"](task, 2, 15, 0) == -errno.EINVAL
    assert SYSCALLS["socket"](task, 1, 1, 0) == 3


def test_strace_names_them() -> None:
    ran = mmscope("run", "--strace", guest("sockets"))
    assert ran.status == 0
    for line in (
        "socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [3, 4]) = 0",
        'sendto(3, "x", 1, MSG_NOSIGNAL, NULL, 0) = -1 EPIPE (Broken pipe)',
        "shutdown(3, SHUT_WR) = 0",
        "socket(AF_UNIX, SOCK_DGRAM, 0) = 3",
        'sa_family=AF_UNIX, sun_path="@s0',
        "recvmsg(4, ",
        "MSG_CMSG_CLOEXEC",
    ):
        assert line in ran.err, line
