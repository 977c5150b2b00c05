# SPDX-License-Identifier: GPL-2.0-or-later
"""There are no sockets: no descriptor is one (net/socket.c). Programs ask this of their standard input."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.kernel.args import s32

if TYPE_CHECKING:
    from emu.kernel.task import Task


def not_a_socket(task: Task, fd: int, *_: int) -> int:
    """-ENOTSOCK, -EBADF for what is not open (sockfd_lookup)."""
    return -errno.EBADF if task.files.get(s32(fd)) is None else -errno.ENOTSOCK


SYSCALLS = dict.fromkeys(
    (
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
        "recvfrom", "recvmmsg", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    ),
    not_a_socket,
)  # fmt: skip
