# SPDX-License-Identifier: GPL-2.0-or-later
"""What the file layer needs of the task that runs: the part of emu.kernel.task.Task that it may use.

The file layer lies below the kernel package, so it names what it uses instead of importing it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from archs.base import Arch
    from emu.fs.files import files_struct
    from emu.fs.fs_struct import fs_struct
    from emu.locking.wait import wait_queue_head
    from emu.mm.mm_types import mm_struct
    from emu.mm.uaccess import Uaccess


class Cred(Protocol):
    """Who the task is (struct cred), for permission checks and new files."""

    uid: int
    gid: int
    euid: int
    egid: int
    fsuid: int
    fsgid: int
    groups: list[int]
    cap_effective: int  # a bit for each CAP_*


class Current(Protocol):
    """The running task, as the file layer sees it."""

    pid: int  # of the thread
    tgid: int
    comm: str
    access: Uaccess
    arch: Arch
    mm: mm_struct
    files: files_struct
    fs: fs_struct
    machine: Any

    @property
    def cred(self) -> Cred:
        """Who the task is."""
        ...

    def rlimit(self, resource: int) -> int:
        """Soft limit RLIMIT_*, 2**64 - 1 = none."""
        ...

    def send_signal(self, signo: int) -> int:
        """Make a signal pending for this task, from itself (SIGPIPE, SIGXFSZ): 0 or -EAGAIN."""
        ...

    def signal_pending(self) -> bool:
        """Is there a signal that a wait must end for."""
        ...

    def has_signal(self, mask: int) -> bool:
        """Is one of `mask` pending, blocked or not."""
        ...

    def take_signal(self, mask: int) -> bytes | None:
        """Take the next pending signal of `mask`: a struct signalfd_siginfo."""
        ...

    def wait_event(
        self,
        condition: Callable[[], bool],
        timeout_ns: int | None = None,
        what: str = "",
        host: Sequence[tuple[int, int]] = (),
        queues: Sequence[wait_queue_head] | None = None,
    ) -> int:
        """Sleep until the condition holds: 1; 0 when `timeout_ns` of virtual time passed first; -ERESTARTSYS on a
        signal. `what` tells people what it waits for; `host`: descriptors of the host, with poll events, that may make
        it hold; `queues`: of the objects that may make it hold, None = anything may."""
        ...
