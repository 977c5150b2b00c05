# SPDX-License-Identifier: GPL-2.0-or-later
"""eventfd: a counter that can be waited for (fs/eventfd.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.anon_inodes import anon_dentry
from emu.fs.consts import O_RDWR, POLLERR, POLLIN, POLLOUT
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.fs.current import Current

EFD_SEMAPHORE = 1
ULLONG_MAX = (1 << 64) - 1


class EventFile(File):
    """An eventfd."""

    noop_llseek = True
    stream = True
    wait: wait_queue_head

    def __init__(self, count: int, semaphore: bool, flags: int) -> None:
        self.count = count
        self.wait = wait_queue_head()
        self.reads = self.writes = 0
        self.semaphore = semaphore
        super().__init__(anon_dentry("[eventfd]"), O_RDWR | flags)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        if to.count < 8:
            return -errno.EINVAL
        if not self.count:
            if self.nonblock or iocb.nowait:
                return -errno.EAGAIN
            error = task.wait_event(lambda: self.count > 0, what="a write to an eventfd", queues=(self.wait,))
            if error < 0:
                return error
        value = 1 if self.semaphore else self.count
        self.count -= value
        self.reads += 1
        self.wait.wake_up()
        data = value.to_bytes(8, "big" if task.arch.elf.big_endian else "little")
        return 8 if to.copy_to_iter(data) == 8 else -errno.EFAULT

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        if source.count != 8:
            return -errno.EINVAL
        data = source.copy_from_iter(8, "_copy_from_user")
        if len(data) < 8:
            return -errno.EFAULT
        value = int.from_bytes(data, "big" if task.arch.elf.big_endian else "little")
        if value == ULLONG_MAX:
            return -errno.EINVAL
        if ULLONG_MAX - self.count <= value:
            if self.nonblock or iocb.nowait:
                return -errno.EAGAIN
            error = task.wait_event(
                lambda: ULLONG_MAX - self.count > value, what="a read of an eventfd", queues=(self.wait,)
            )
            if error < 0:
                return error
        self.count += value
        self.writes += 1
        self.wait.wake_up()
        return 8

    def edges(self, events: int) -> int:
        return (self.writes if events & POLLIN else 0) + (self.reads if events & POLLOUT else 0)

    def can_poll(self) -> bool:
        return True

    def poll(self, task: Current) -> int:
        mask = 0
        if self.count > 0:
            mask |= POLLIN
        if self.count == ULLONG_MAX:
            mask |= POLLERR
        if self.count < ULLONG_MAX - 1:
            mask |= POLLOUT
        return mask

    def fdinfo(self) -> str:
        return f"eventfd-count: {self.count:16x}\neventfd-id: 0\neventfd-semaphore: {int(self.semaphore)}\n"
