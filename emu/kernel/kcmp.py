# SPDX-License-Identifier: GPL-2.0-or-later
"""kcmp: do two tasks share something (kernel/kcmp.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from emu.fs.eventpoll import EventPoll
from emu.kernel.args import order, s32

if TYPE_CHECKING:
    from emu.kernel.task import Task

KCMP_FILE, KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND, KCMP_IO, KCMP_SYSVSEM, KCMP_EPOLL_TFD = range(8)


def _order(task: Task, first: object, second: object) -> int:
    """0 = the same, 1 = the first comes before the second, 2 = behind it: in the order in which they were asked for."""
    if first is second:
        return 0
    seen = task.machine.compared
    places = [seen.setdefault(id(each), (len(seen), each))[0] for each in (first, second)]
    return 1 if places[0] < places[1] else 2


def _watched(task: Task, target: Task, address: int) -> object | int:
    """The file that an epoll of `target` watches, by struct kcmp_epoll_slot: efd, tfd, toff."""
    data = task.access.copy_from_user(address, 12)
    if data is None:
        return -errno.EFAULT
    epoll, fd, skip = struct.unpack(order(task) + "III", data)
    file = target.files.get(epoll)
    if file is None:
        return -errno.EBADF
    if not isinstance(file, EventPoll):
        return -errno.EINVAL
    found = [item.file for item in file.items.values() if item.fd == fd]
    return found[skip] if skip < len(found) else -errno.ENOENT


def sys_kcmp(task: Task, pid1: int, pid2: int, what: int, first: int, second: int, *_: int) -> int:
    one, two = (task.machine.pids.get(s32(pid)) for pid in (pid1, pid2))
    if one is None or two is None:
        return -errno.ESRCH
    if not task.ptrace_may_access(one) or not task.ptrace_may_access(two):
        return -errno.EPERM
    what = s32(what)
    if what in (KCMP_FILE, KCMP_EPOLL_TFD):
        mine = one.files.get(first)
        theirs = two.files.get(second) if what == KCMP_FILE else _watched(task, two, second)
        if isinstance(theirs, int):
            return theirs
        if mine is None or theirs is None:
            return -errno.EBADF
        return _order(task, mine, theirs)
    pairs: dict[int, tuple[object, object]] = {
        KCMP_VM: (one.mm, two.mm),
        KCMP_FILES: (one.files, two.files),
        KCMP_FS: (one.fs, two.fs),
        KCMP_SIGHAND: (one.signals.sighand, two.signals.sighand),
        KCMP_IO: (None, None),  # nobody has an I/O context
        KCMP_SYSVSEM: (one.sysvsem, two.sysvsem),
    }
    return _order(task, *pairs[what]) if what in pairs else -errno.EINVAL


SYSCALLS = {"kcmp": sys_kcmp}
