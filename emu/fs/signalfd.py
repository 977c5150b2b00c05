# SPDX-License-Identifier: GPL-2.0-or-later
"""signalfd: pending signals that are read (fs/signalfd.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.anon_inodes import anon_dentry
from emu.fs.consts import O_RDWR, POLLIN
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter

if TYPE_CHECKING:
    from emu.fs.current import Current

SIGINFO_SIZE = 128  # struct signalfd_siginfo


class SignalFile(File):
    """An open signalfd. It has no signals of its own: who reads or polls it gets what is pending for him."""

    noop_llseek = True
    can_write = False
    stream = True

    def __init__(self, mask: int, flags: int) -> None:
        self.mask = mask  # of the signals that it takes
        super().__init__(anon_dentry("[signalfd]"), O_RDWR | flags)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """As many signals as fit, the first of them waited for: bytes or -errno (signalfd_read_iter)."""
        if to.count < SIGINFO_SIZE:
            return -errno.EINVAL
        done = 0
        nonblock = self.nonblock or iocb.nowait
        while to.count >= SIGINFO_SIZE:
            data = task.take_signal(self.mask)
            while data is None and not done:
                if nonblock:
                    return -errno.EAGAIN
                result = task.wait_event(lambda: task.has_signal(self.mask), what="a signal in a signalfd")
                if result < 0:
                    return result
                data = task.take_signal(self.mask)
            if data is None:
                break
            if to.copy_to_iter(data) < SIGINFO_SIZE:
                return done or -errno.EFAULT
            done += SIGINFO_SIZE
        return done

    def can_poll(self) -> bool:
        return True

    def poll(self, task: Current) -> int:
        return POLLIN if task.has_signal(self.mask) else 0

    def fdinfo(self) -> str:
        return f"sigmask:\t{self.mask:016x}\n"
