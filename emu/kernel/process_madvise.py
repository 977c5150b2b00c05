# SPDX-License-Identifier: GPL-2.0-or-later
"""process_madvise: advice about the memory of a process that a pidfd names (mm/madvise.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.kernel.args import s32
from emu.kernel.pidfd import PidFile, pidfd_get_task
from emu.kernel.sys_read_write import import_iovec
from emu.mm.madvise import MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED, vector_madvise

if TYPE_CHECKING:
    from emu.kernel.task import Task

CAP_SYS_NICE = 23


def sys_process_madvise(task: Task, pidfd: int, vector: int, count: int, behavior: int, flags: int, *_: int) -> int:
    """Bytes advised, or the error of the first range."""
    if flags & 0xFFFFFFFF:
        return -errno.EINVAL
    ranges = import_iovec(task, vector, count)
    if isinstance(ranges, int):
        return ranges
    found = pidfd_get_task(task, pidfd)
    if isinstance(found, int):
        return found
    target = found.task() if isinstance(found, PidFile) else found
    if target is None or target.exiting:
        return -errno.ESRCH
    if not task.ptrace_may_access(target):
        return -errno.EACCES
    mm, behavior = target.mm, s32(behavior)
    if mm is not task.mm:
        if behavior not in (MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE):
            return -errno.EINVAL
        if not task.capable(CAP_SYS_NICE):
            return -errno.EPERM
    return vector_madvise(mm, ranges, behavior)


SYSCALLS = {"process_madvise": sys_process_madvise}
