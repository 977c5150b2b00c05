# SPDX-License-Identifier: GPL-2.0-or-later
"""Scheduling policies, priorities and affinity (kernel/sched/syscalls.c, kernel/sys.c, block/ioprio.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from emu.kernel.args import order, pack_timespec, put_struct, s32
from emu.kernel.sys_process import find_task, no_task
from emu.sched.entity import SCHED_FIFO, SCHED_RR
from emu.sched.fair import TICK_NSEC
from emu.sched.rq import RR_TIMESLICE

if TYPE_CHECKING:
    from emu.kernel.task import Task

CAP_SYS_ADMIN, CAP_SYS_NICE = 21, 23
RLIMIT_NICE, RLIMIT_RTPRIO = 13, 14
SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE, SCHED_EXT = 0, 3, 5, 6, 7
SCHED_RESET_ON_FORK = 0x40000000  # in the policy of sched_setscheduler
SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP = 1, 8, 0x10, 0x60
SCHED_FLAG_ALL = 0x7F
SCHED_ATTR_SIZE_VER0, SCHED_ATTR_SIZE = 48, 56
MIN_SLICE, MAX_SLICE = 100_000, 100_000_000  # ns that sched_runtime of a fair task may be (__setparam_fair)


def sys_sched_yield(task: Task, *_: int) -> int:
    task.machine.sched.yield_task()
    return 0


def sys_sched_getaffinity(task: Task, pid: int, size: int, address: int, *_: int) -> int:
    size &= 0xFFFFFFFF
    cpus = task.machine.cpus
    if not size or size % task.word or size * 8 < cpus:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None:
        return -errno.ESRCH
    count = min(size, (cpus + 63) // 64 * 8)
    mask = found.affinity & (1 << cpus) - 1
    byteorder: Any = "big" if task.arch.elf.big_endian else "little"
    word, bits = task.word, (1 << 8 * task.word) - 1
    data = b"".join((mask >> 8 * i & bits).to_bytes(word, byteorder) for i in range(0, count, word))
    return count if task.access.copy_to_user(address, data) else -errno.EFAULT


def sys_sched_setaffinity(task: Task, pid: int, size: int, address: int, *_: int) -> int:
    data = task.access.copy_from_user(address, min(size & 0xFFFFFFFF, 1024))
    if data is None:
        return -errno.EFAULT
    found = find_task(task, pid)
    if found is None:
        return -errno.ESRCH
    if not _same_owner(task, found) and not task.capable(CAP_SYS_NICE):
        return -errno.EPERM
    word = task.word
    byteorder: Any = "big" if task.arch.elf.big_endian else "little"
    mask = 0
    for i in range(0, len(data), word):
        mask |= int.from_bytes(data[i : i + word], byteorder) << 8 * i
    mask &= (1 << task.machine.cpus) - 1
    if not mask:
        return -errno.EINVAL
    task.machine.sched.set_affinity(found, mask)
    return 0


def sys_sched_getscheduler(task: Task, pid: int, *_: int) -> int:
    if s32(pid) < 0:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None:
        return no_task(pid, SCHED_NORMAL)
    return found.policy | (SCHED_RESET_ON_FORK if found.sched_reset_on_fork else 0)


def sys_sched_getparam(task: Task, pid: int, address: int, *_: int) -> int:
    if s32(pid) < 0 or not address:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None and no_task(pid, 0):
        return -errno.ESRCH
    priority = found.rt_priority if found is not None else 0
    return put_struct(task, address, struct.pack(order(task) + "i", priority))


def sys_sched_setscheduler(task: Task, pid: int, policy: int, address: int, *_: int) -> int:
    if s32(policy) < 0 or not address or s32(pid) < 0:
        return -errno.EINVAL
    return _setscheduler(task, pid, s32(policy), address)


def sys_sched_setparam(task: Task, pid: int, address: int, *_: int) -> int:
    return -errno.EINVAL if s32(pid) < 0 or not address else _setscheduler(task, pid, None, address)


def _setscheduler(task: Task, pid: int, policy: int | None, address: int) -> int:
    """do_sched_setscheduler; policy None = as it is."""
    data = task.access.copy_from_user(address, 4)
    if data is None:
        return -errno.EFAULT
    found = find_task(task, pid)
    (priority,) = struct.unpack(order(task) + "i", data)
    if found is None:
        known = no_task(pid, 0) == 0
        wanted = (SCHED_NORMAL if policy is None else policy) & ~SCHED_RESET_ON_FORK
        if known and not _valid(wanted, priority):
            return -errno.EINVAL
        return -errno.EPERM if known and not task.capable(CAP_SYS_NICE) else -errno.ESRCH
    if policy is None:
        return _sched_setscheduler(task, found, found.policy, priority, found.nice, found.sched_reset_on_fork)
    reset = bool(policy & SCHED_RESET_ON_FORK)
    return _sched_setscheduler(task, found, policy & ~SCHED_RESET_ON_FORK, priority, found.nice, reset)


def _same_owner(task: Task, found: Task) -> bool:
    """check_same_owner."""
    return task.cred.euid in (found.cred.uid, found.cred.euid)


def _is_rt(policy: int) -> bool:
    return policy in (SCHED_FIFO, SCHED_RR)


def _can_nice(found: Task, nice: int) -> bool:
    """can_nice, the capability of the caller apart: RLIMIT_NICE counts from 1 for nice 19 to 40 for nice -20."""
    return 20 - nice <= found.rlimit(RLIMIT_NICE)


def _valid(policy: int, priority: int) -> bool:
    if policy not in (SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE):
        return False
    return 0 <= priority <= 99 and _is_rt(policy) == bool(priority)


def _sched_setscheduler(
    task: Task, found: Task, policy: int, priority: int, nice: int, reset: bool, slice_ns: int | None = None
) -> int:
    """Give a task a policy, a real-time priority, a nice value and (None: leave it) the time it asks for at once, 0 for
    the usual one: 0, -EINVAL, -EPERM."""
    if not _valid(policy, priority):
        return -errno.EINVAL
    if not task.capable(CAP_SYS_NICE) and not _may_set(task, found, policy, priority, nice, reset):
        return -errno.EPERM
    found.sched_reset_on_fork = reset
    found.timer_slack_ns = 0 if _is_rt(policy) else found.timer_slack_ns or found.default_timer_slack_ns
    task.machine.sched.set_scheduler(found, policy, priority, found.nice if _is_rt(policy) else nice, slice_ns)
    return 0


def _may_set(task: Task, found: Task, policy: int, priority: int, nice: int, reset: bool) -> bool:
    """user_check_sched_setscheduler for one without CAP_SYS_NICE."""
    if _is_rt(policy):
        limit = found.rlimit(RLIMIT_RTPRIO)
        if (policy != found.policy and not limit) or (priority > found.rt_priority and priority > limit):
            return False
    elif nice < found.nice and not _can_nice(found, nice):
        return False
    if found.policy == SCHED_IDLE and policy != SCHED_IDLE and not _can_nice(found, found.nice):
        return False
    if not _same_owner(task, found):
        return False
    return reset or not found.sched_reset_on_fork


def _copy_attr(task: Task, address: int) -> tuple[int, ...] | int:
    """struct sched_attr (sched_copy_attr): size, policy, flags, nice, priority, runtime, deadline, period, util_min,
    util_max."""
    access = task.access
    size = access.get_user(address, 4)
    if size is None:
        return -errno.EFAULT
    size = size or SCHED_ATTR_SIZE_VER0
    data = b""
    if SCHED_ATTR_SIZE_VER0 <= size <= 4096:
        got = access.copy_from_user(address, size)
        if got is None:
            return -errno.EFAULT
        data = got
    if not data or any(data[SCHED_ATTR_SIZE:]):
        access.put_user(address, SCHED_ATTR_SIZE, 4)
        return -errno.E2BIG
    attr = struct.unpack(order(task) + "IIQiIQQQII", data[:SCHED_ATTR_SIZE].ljust(SCHED_ATTR_SIZE, b"\0"))
    if attr[2] & SCHED_FLAG_UTIL_CLAMP and size < SCHED_ATTR_SIZE:
        return -errno.EINVAL
    return attr


def _set_deadline(task: Task, priority: int, runtime: int, deadline: int, period: int) -> int:
    """SCHED_DEADLINE is checked as Linux does (__checkparam_dl), then refused as where no bandwidth is left for it: no
    CPU runs by deadlines."""
    period = period or deadline
    shortest, longest = 100_000, (1 << 22) * 1000  # sysctls sched_deadline_period_{min,max}_us, in ns
    good = 1 << 10 <= runtime <= deadline <= period and period < 1 << 63 and shortest <= period <= longest
    if priority or not good:
        return -errno.EINVAL
    return -errno.EBUSY if task.capable(CAP_SYS_NICE) else -errno.EPERM


def sys_sched_setattr(task: Task, pid: int, address: int, flags: int, *_: int) -> int:
    """Policies are those of sched_setscheduler; no utilisation clamps."""
    if not address or s32(pid) < 0 or flags & 0xFFFFFFFF:
        return -errno.EINVAL
    attr = _copy_attr(task, address)
    if isinstance(attr, int):
        return attr
    policy, wanted, nice, priority = attr[1:5]
    if s32(policy) < 0:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None:
        return -errno.ESRCH
    if wanted & SCHED_FLAG_KEEP_POLICY:
        policy = found.policy
    if wanted & SCHED_FLAG_KEEP_PARAMS:
        nice, priority = found.nice, found.rt_priority
    if wanted & ~SCHED_FLAG_ALL:
        return -errno.EINVAL
    if wanted & SCHED_FLAG_UTIL_CLAMP:
        return -errno.EOPNOTSUPP
    if policy == SCHED_DEADLINE:
        return _set_deadline(task, priority, *attr[5:8])
    reset = bool(wanted & SCHED_FLAG_RESET_ON_FORK)
    runtime = None if wanted & SCHED_FLAG_KEEP_PARAMS else attr[5] and max(MIN_SLICE, min(MAX_SLICE, attr[5]))
    return _sched_setscheduler(task, found, policy, priority, max(-20, min(19, nice)), reset, runtime)


def sys_sched_getattr(task: Task, pid: int, address: int, size: int, flags: int, *_: int) -> int:
    size &= 0xFFFFFFFF
    if not address or s32(pid) < 0 or not SCHED_ATTR_SIZE_VER0 <= size <= 4096 or flags & 0xFFFFFFFF:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None:
        return -errno.ESRCH
    if size > SCHED_ATTR_SIZE and not task.access.clear_user(address + SCHED_ATTR_SIZE, size - SCHED_ATTR_SIZE):
        return -errno.EFAULT
    size = min(size, SCHED_ATTR_SIZE)
    rt = _is_rt(found.policy)
    data = struct.pack(
        order(task) + "IIQiIQQQII", size, found.policy, int(found.sched_reset_on_fork), 0 if rt else found.nice,
        found.rt_priority, 0 if rt else _slice_of(found), 0, 0, 0, 0,
    )  # fmt: skip
    return put_struct(task, address, data[:size])


def _slice_of(found: Task) -> int:
    return found.custom_slice or found.machine.sched.rq.cfs.base_slice


def _rr_get_interval(task: Task, pid: int, address: int, size: int | None) -> int:
    if s32(pid) < 0:
        return -errno.EINVAL
    found = find_task(task, pid)
    if found is None:
        return -errno.ESRCH
    fair = _slice_of(found) // TICK_NSEC * TICK_NSEC  # whole jiffies (get_rr_interval_fair)
    interval = {SCHED_RR: RR_TIMESLICE, SCHED_FIFO: 0}.get(found.policy, fair)
    return put_struct(task, address, pack_timespec(task, interval, size))


def sys_sched_rr_get_interval(task: Task, pid: int, address: int, *_: int) -> int:
    return _rr_get_interval(task, pid, address, None)


def sys_sched_rr_get_interval_time64(task: Task, pid: int, address: int, *_: int) -> int:
    return _rr_get_interval(task, pid, address, 8)


def sys_sched_get_priority_max(task: Task, policy: int, *_: int) -> int:
    return {0: 0, 1: 99, 2: 99, 3: 0, 5: 0, 6: 0, 7: 0}.get(s32(policy), -errno.EINVAL)


def sys_sched_get_priority_min(task: Task, policy: int, *_: int) -> int:
    return {0: 0, 1: 1, 2: 1, 3: 0, 5: 0, 6: 0, 7: 0}.get(s32(policy), -errno.EINVAL)


def sys_getcpu(task: Task, cpu: int, node: int, *_: int) -> int:
    error = 0
    for address, value in ((cpu, task.machine.sched.rq.id), (node, 0)):
        if address and not task.access.put_user(address, value, 4):
            error = -errno.EFAULT
    return error


PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2


def _prio_targets(task: Task, which: int, who: int) -> list[Task]:
    """The threads that PRIO_* and a number name; 0 is the caller, its group or its user."""
    number = s32(who)
    if which == PRIO_PROCESS:
        found = find_task(task, number)
        return [] if found is None else [found]
    threads = [t for t in task.machine.pids.values() if not t.zombie]
    if which == PRIO_PGRP:
        return [t for t in threads if t.pgid == (number or task.pgid)]
    uid = who & 0xFFFFFFFF or task.cred.uid
    return [t for t in threads if t.cred.uid == uid]


def sys_getpriority(task: Task, which: int, who: int, *_: int) -> int:
    """20 - the lowest nice value of those meant."""
    which &= 0xFFFFFFFF
    if which > PRIO_USER:
        return -errno.EINVAL
    return max((20 - found.nice for found in _prio_targets(task, which, who)), default=-errno.ESRCH)


def sys_setpriority(task: Task, which: int, who: int, nice: int, *_: int) -> int:
    which &= 0xFFFFFFFF
    if which > PRIO_USER:
        return -errno.EINVAL
    value = max(-20, min(19, s32(nice)))
    error = -errno.ESRCH
    for found in _prio_targets(task, which, who):
        if not _same_owner(task, found) and not task.capable(CAP_SYS_NICE):
            error = -errno.EPERM
        elif value < found.nice and not task.capable(CAP_SYS_NICE) and not _can_nice(found, value):
            error = -errno.EACCES
        else:
            error = 0 if error == -errno.ESRCH else error
            task.machine.sched.set_scheduler(found, found.policy, found.rt_priority, value)
    return error


IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE = range(4)
IOPRIO_CLASS_SHIFT = 13
IOPRIO_WHO_PROCESS = 1


def _ioprio_targets(task: Task, which: int, who: int) -> list[Task] | int:
    if not 1 <= which <= 3:
        return -errno.EINVAL
    return _prio_targets(task, which - 1, who)


def sys_ioprio_get(task: Task, which: int, who: int, *_: int) -> int:
    """Of one thread what was set (get_task_raw_ioprio); the highest priority of several: the one that was set, or what
    follows from policy and nice value."""
    targets = _ioprio_targets(task, s32(which), who)
    if isinstance(targets, int):
        return targets
    if s32(which) == IOPRIO_WHO_PROCESS:
        return targets[0].ioprio if targets else -errno.ESRCH
    found = []
    for target in targets:
        if target.ioprio:
            found.append(target.ioprio)
            continue
        kind = IOPRIO_CLASS_IDLE if target.policy == SCHED_IDLE else IOPRIO_CLASS_BE
        kind = IOPRIO_CLASS_RT if _is_rt(target.policy) else kind
        found.append(kind << IOPRIO_CLASS_SHIFT | (target.nice + 20) // 5)
    return min(found, default=-errno.ESRCH)


def sys_ioprio_set(task: Task, which: int, who: int, priority: int, *_: int) -> int:
    """ioprio_check_cap, then set_task_ioprio for each."""
    priority = s32(priority)
    kind, data = priority >> IOPRIO_CLASS_SHIFT, priority & (1 << IOPRIO_CLASS_SHIFT) - 1
    if kind == IOPRIO_CLASS_RT and not (task.capable(CAP_SYS_ADMIN) or task.capable(CAP_SYS_NICE)):
        return -errno.EPERM
    if not 0 <= kind <= IOPRIO_CLASS_IDLE or (kind == IOPRIO_CLASS_NONE and data):
        return -errno.EINVAL
    targets = _ioprio_targets(task, s32(which), who)
    if isinstance(targets, int):
        return targets
    error = -errno.ESRCH
    for target in targets:
        if task.cred.uid not in (target.cred.uid, target.cred.euid) and not task.capable(CAP_SYS_NICE):
            return -errno.EPERM
        target.ioprio = priority
        error = 0
    return error


SYSCALLS = {
    "sched_yield": sys_sched_yield,
    "sched_getaffinity": sys_sched_getaffinity,
    "sched_setaffinity": sys_sched_setaffinity,
    "sched_getscheduler": sys_sched_getscheduler,
    "sched_setscheduler": sys_sched_setscheduler,
    "sched_getparam": sys_sched_getparam,
    "sched_setparam": sys_sched_setparam,
    "sched_get_priority_max": sys_sched_get_priority_max,
    "sched_get_priority_min": sys_sched_get_priority_min,
    "getcpu": sys_getcpu,
    "getpriority": sys_getpriority,
    "setpriority": sys_setpriority,
    "ioprio_get": sys_ioprio_get,
    "sched_setattr": sys_sched_setattr,
    "sched_getattr": sys_sched_getattr,
    "sched_rr_get_interval": sys_sched_rr_get_interval,
    "sched_rr_get_interval_time64": sys_sched_rr_get_interval_time64,
    "ioprio_set": sys_ioprio_set,
}
