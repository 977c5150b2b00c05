# SPDX-License-Identifier: GPL-2.0-or-later
"""prctl: what a task may ask or change about itself (kernel/sys.c, and security/commoncap.c for capabilities)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.kernel.args import put_struct
from emu.kernel.signal import NSIG
from emu.mm.madvise import madvise_set_anon_name
from emu.mm.mm_types import MDWE_NO_INHERIT, MDWE_REFUSE_EXEC_GAIN
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_unlock
from emu.sched.entity import SCHED_FIFO, SCHED_RR

if TYPE_CHECKING:
    from emu.kernel.task import Task

PR_SET_VMA, PR_SET_VMA_ANON_NAME = 0x53564D41, 0
ANON_NAME_MAX = 80
PR_TSC_ENABLE = 1
PR_THP_DISABLE_EXCEPT_ADVISED = 1 << 1
CAP_SETPCAP, CAP_LAST_CAP = 8, 40
SECURE_ALL_BITS, SECURE_ALL_LOCKS = 0x555, 0xAAA
PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_LOWER, PR_CAP_AMBIENT_CLEAR_ALL = 1, 2, 3, 4
COMM_MAX = 15
Arguments = tuple[int, int, int, int]


def _set_pdeathsig(task: Task, args: Arguments) -> int:
    if args[0] > NSIG:
        return -errno.EINVAL
    task.pdeath_signal = args[0]
    return 0


def _put_int(task: Task, address: int, value: int) -> int:
    return 0 if task.access.put_user(address, value, 4) else -errno.EFAULT


def _set_dumpable(task: Task, args: Arguments) -> int:
    if args[0] > 1:
        return -errno.EINVAL
    task.dumpable = args[0]
    return 0


def _set_name(task: Task, args: Arguments) -> int:
    text = task.access.strncpy_from_user(args[0], COMM_MAX)
    if text is None:
        return -errno.EFAULT
    task.comm = text.decode("utf-8", "surrogateescape")
    return 0


def _get_name(task: Task, args: Arguments) -> int:
    name = task.comm.encode("utf-8", "surrogateescape")[:COMM_MAX]
    return put_struct(task, args[0], name.ljust(COMM_MAX + 1, b"\0"))


def _set_timerslack(task: Task, args: Arguments) -> int:
    """0 is what the thread had when it was made. A real-time thread has none."""
    if task.policy not in (SCHED_FIFO, SCHED_RR):
        task.timer_slack_ns = args[0] or task.default_timer_slack_ns
    return 0


def _set_subreaper(task: Task, args: Arguments) -> int:
    task.signal.child_subreaper = int(bool(args[0]))
    return 0


def _get_tid_address(task: Task, args: Arguments) -> int:
    return 0 if task.access.put_user(args[0], task.clear_child_tid, task.word) else -errno.EFAULT


def _set_no_new_privs(task: Task, args: Arguments) -> int:
    if args[0] != 1 or any(args[1:]):
        return -errno.EINVAL
    task.no_new_privs = 1
    return 0


def _get_no_new_privs(task: Task, args: Arguments) -> int:
    return -errno.EINVAL if any(args) else task.no_new_privs


def _set_thp_disable(task: Task, args: Arguments) -> int:
    """prctl_set_thp_disable."""
    disable, flags = args[:2]
    if any(args[2:]) or (flags and not disable) or flags & ~PR_THP_DISABLE_EXCEPT_ADVISED:
        return -errno.EINVAL
    if mmap_write_lock_killable(task.mm):
        return -errno.EINTR
    task.thp_disabled = int(bool(disable)) | flags
    mmap_write_unlock(task.mm)
    return 0


def _get_thp_disable(task: Task, args: Arguments) -> int:
    return -errno.EINVAL if any(args) else task.thp_disabled


def _set_mdwe(task: Task, args: Arguments) -> int:
    """prctl_set_mdwe: what is set stays set."""
    bits = args[0]
    if any(args[1:]) or bits & ~(MDWE_REFUSE_EXEC_GAIN | MDWE_NO_INHERIT) or bits == MDWE_NO_INHERIT:
        return -errno.EINVAL
    if task.mm.mdwe not in (0, bits):
        return -errno.EPERM
    task.mm.mdwe = bits
    return 0


def _get_mdwe(task: Task, args: Arguments) -> int:
    return -errno.EINVAL if any(args) else task.mm.mdwe


def _tsc(task: Task, args: Arguments, to_set: bool) -> int:
    """Only x86 knows of it, and RDTSC cannot be taken away here."""
    if task.arch.name != "x86_64":
        return -errno.EINVAL
    if to_set:
        return 0 if args[0] == PR_TSC_ENABLE else -errno.EINVAL
    return _put_int(task, args[0], PR_TSC_ENABLE)


def _read_bounding(task: Task, args: Arguments) -> int:
    return task.cap_bset >> args[0] & 1 if args[0] <= CAP_LAST_CAP else -errno.EINVAL


def _drop_bounding(task: Task, args: Arguments) -> int:
    """cap_prctl_drop: what an exec cannot give back any more."""
    if not task.capable(CAP_SETPCAP):
        return -errno.EPERM
    if args[0] > CAP_LAST_CAP:
        return -errno.EINVAL
    task.cap_bset &= ~(1 << args[0])
    return 0


def _set_securebits(task: Task, args: Arguments) -> int:
    """None is ever set, so that only 0 changes nothing; the others are not offered."""
    if args[0] & ~(SECURE_ALL_BITS | SECURE_ALL_LOCKS) or not task.capable(CAP_SETPCAP):
        return -errno.EPERM
    return -errno.EINVAL if args[0] else 0


def _cap_ambient(task: Task, args: Arguments) -> int:
    """Ambient capabilities must be inheritable too; nothing is, so there are none."""
    operation, capability = args[:2]
    if operation == PR_CAP_AMBIENT_CLEAR_ALL:
        return -errno.EINVAL if any(args[1:]) else 0
    if capability > CAP_LAST_CAP or any(args[2:]):
        return -errno.EINVAL
    if operation == PR_CAP_AMBIENT_RAISE:
        return -errno.EPERM
    return 0 if operation in (PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_LOWER) else -errno.EINVAL


def _set_vma(task: Task, args: Arguments) -> int:
    """prctl_set_vma: name an anonymous mapping."""
    option, start, length, address = args
    if option != PR_SET_VMA_ANON_NAME:
        return -errno.EINVAL
    name = None
    if address:
        text = task.access.strncpy_from_user(address, ANON_NAME_MAX)
        if text is None:
            return -errno.EFAULT
        if len(text) >= ANON_NAME_MAX or any(not 32 <= c < 127 or c in b"\\`$[]" for c in text):
            return -errno.EINVAL
        name = text.decode()
    return madvise_set_anon_name(task.mm, start, length, name)


_OPTIONS: dict[int, Callable[[Task, Arguments], int]] = {
    1: _set_pdeathsig,
    2: lambda t, args: _put_int(t, args[0], t.pdeath_signal),
    3: lambda t, _: t.dumpable,
    4: _set_dumpable,
    7: lambda _, __: 0,  # PR_GET_KEEPCAPS
    8: lambda _, args: 0 if args[0] <= 1 else -errno.EINVAL,  # PR_SET_KEEPCAPS
    13: lambda _, __: 0,  # PR_GET_TIMING: PR_TIMING_STATISTICAL
    14: lambda _, args: -errno.EINVAL if args[0] else 0,
    15: _set_name,
    16: _get_name,
    21: lambda _, __: 0,  # PR_GET_SECCOMP
    23: _read_bounding,
    24: _drop_bounding,
    25: lambda t, args: _tsc(t, args, False),
    26: lambda t, args: _tsc(t, args, True),
    27: lambda _, __: 0,  # PR_GET_SECUREBITS
    28: _set_securebits,
    29: _set_timerslack,
    30: lambda t, _: t.timer_slack_ns,
    31: lambda _, __: 0,  # PR_TASK_PERF_EVENTS_DISABLE and ENABLE: it has no events
    32: lambda _, __: 0,
    36: _set_subreaper,
    37: lambda t, args: _put_int(t, args[0], t.signal.child_subreaper),
    38: _set_no_new_privs,
    39: _get_no_new_privs,
    40: _get_tid_address,
    41: _set_thp_disable,
    42: _get_thp_disable,
    47: _cap_ambient,
    65: _set_mdwe,
    66: _get_mdwe,
    PR_SET_VMA: _set_vma,
}


def sys_prctl(task: Task, option: int, a: int, b: int, c: int, d: int, *_: int) -> int:
    """The result of an option, -EINVAL where there is no such one."""
    handler = _OPTIONS.get(option & 0xFFFFFFFF)
    return -errno.EINVAL if handler is None else handler(task, (a, b, c, d))


SYSCALLS = {"prctl": sys_prctl}
