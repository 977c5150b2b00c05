# SPDX-License-Identifier: GPL-2.0-or-later
"""timerfd: a timer that is read (fs/timerfd.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emu.fs.anon_inodes import anon_dentry
from emu.fs.consts import O_RDWR, POLLIN, POLLRDNORM
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.fs.current import Current


class TimerFile(File):
    """An open timerfd. `ticks`: expirations not yet read."""

    noop_llseek = True
    can_write = False
    stream = True

    def __init__(self, clock: int, flags: int) -> None:
        self.clock = clock
        self.ticks = 0
        self.timer: Any = None  # the kernel's timer, once it was set
        self.disarm: Callable[[], None] = lambda: None
        self.wait: wait_queue_head = wait_queue_head()
        super().__init__(anon_dentry("[timerfd]"), O_RDWR | flags)

    def expired(self, times: int) -> None:
        """The timer fired."""
        self.ticks += times
        self.wait.wake_up()

    def release(self) -> None:
        self.disarm()

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        if to.count < 8:
            return -errno.EINVAL
        if not self.ticks:
            if self.nonblock or iocb.nowait:
                return -errno.EAGAIN
            result = task.wait_event(lambda: self.ticks > 0, what="a timerfd to expire", queues=(self.wait,))
            if result < 0:
                return result
        ticks, self.ticks = self.ticks, 0
        data = ticks.to_bytes(8, "big" if task.arch.elf.big_endian else "little")
        return 8 if to.copy_to_iter(data) == 8 else -errno.EFAULT

    def can_poll(self) -> bool:
        return True

    def poll(self, task: Current) -> int:
        return POLLIN | POLLRDNORM if self.ticks else 0
