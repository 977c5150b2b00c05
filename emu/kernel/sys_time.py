# SPDX-License-Identifier: GPL-2.0-or-later
"""Clocks and sleeps, all in virtual time (kernel/time)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.kernel.args import (
    NSEC_PER_SEC,
    get_timespec,
    pack_timespec,
    put_struct,
    s32,
    timespec_ns,
)
from emu.kernel.cpu_timers import CpuTimer
from emu.kernel.process import Process
from emu.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTNOHAND

if TYPE_CHECKING:
    from emu.kernel.task import Task

CLOCK_MONOTONIC_RAW = 4
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID = 0, 1, 2, 3
REALTIME_CLOCKS = (0, 5, 8, 11)  # REALTIME, REALTIME_COARSE, REALTIME_ALARM, TAI
COARSE_CLOCKS = (5, 6)
TICK_NS = 4_000_000
MONOTONIC_CLOCKS = (1, 4, 6, 7, 9)
CPUCLOCK_SCHED = 2  # in the low bits of a CPU clock: all time, as the scheduler counts it
CLOCKFD = 3  # in a clock's number: it is that of a device
TIMER_ABSTIME = 1
CAP_SYS_TIME = 25


def cpu_clock(task: Task, clock: int, gettime: bool = False) -> Task | Process | None:
    """Whose time a CPU clock counts: that of a thread or of a process (pid_for_clock). None: no such clock, or not for
    the caller to use. `gettime`: only to be read."""
    if clock >= 0:
        if clock == CLOCK_PROCESS_CPUTIME_ID:
            return task.signal
        return task if clock == CLOCK_THREAD_CPUTIME_ID else None
    if clock & 3 == 3:
        return None
    pid, of_thread = ~(clock >> 3), clock & 4
    if pid == 0:
        return task if of_thread else task.signal
    found = task.machine.pids.get(pid)
    if found is None:
        return None
    if of_thread:
        return found if found.signal is task.signal else None
    return found.signal if found is found.signal.leader or (gettime and found is task) else None


def cpu_sample(whose: Task | Process, clock: int) -> Callable[[], int]:
    """The function that reads a CPU clock: all time, or (CPUCLOCK_VIRT) user time only."""
    virtual = clock < 0 and clock & 3 == 1
    if isinstance(whose, Process):
        return whose.user_ns if virtual else whose.cpu_total_ns
    thread = whose
    return (lambda: thread.utime) if virtual else thread.cpu_ns


def clock_now(task: Task, clock: int) -> int:
    """A clock in ns; -EINVAL when there is no such one."""
    if clock in REALTIME_CLOCKS:
        now = task.machine.realtime()
    elif clock in MONOTONIC_CLOCKS:
        now = task.machine.clock()
    else:
        whose = cpu_clock(task, clock, gettime=True)
        return -errno.EINVAL if whose is None else cpu_sample(whose, clock)()
    return now // TICK_NS * TICK_NS if clock in COARSE_CLOCKS else now


def _clock_gettime(task: Task, clock: int, address: int, size: int) -> int:
    now = clock_now(task, s32(clock))
    return now if now < 0 else put_struct(task, address, pack_timespec(task, now, size))


def sys_clock_gettime(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_gettime(task, clock, address, task.word)


def sys_clock_gettime64(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_gettime(task, clock, address, 8)


def _clock_getres(task: Task, clock: int, address: int, size: int) -> int:
    number = s32(clock)
    if number < 0:  # posix_cpu_clock_getres
        if cpu_clock(task, number) is None:
            return -errno.EINVAL
        resolution = 1 if number & 3 == CPUCLOCK_SCHED else TICK_NS
    elif clock_now(task, number) < 0:
        return -errno.EINVAL
    else:
        resolution = TICK_NS if number in COARSE_CLOCKS else 1
    return put_struct(task, address, pack_timespec(task, resolution, size)) if address else 0


def sys_clock_getres(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_getres(task, clock, address, task.word)


def sys_clock_getres_time64(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_getres(task, clock, address, 8)


def _set_realtime(task: Task, ns: int) -> int:
    if ns < 0:
        return -errno.EINVAL
    if not task.capable(CAP_SYS_TIME):
        return -errno.EPERM
    task.machine.boot_time = ns - task.machine.clock()
    return 0


def _clock_settime(task: Task, clock: int, address: int, size: int) -> int:
    number = s32(clock)
    if number > 0:
        return -errno.EINVAL
    value = get_timespec(task, address, size)
    if isinstance(value, int):
        return value
    if number < 0:  # posix_cpu_clock_set
        return -errno.EINVAL if cpu_clock(task, number) is None else -errno.EPERM
    return _set_realtime(task, timespec_ns(value))


def sys_clock_settime(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_settime(task, clock, address, task.word)


def sys_clock_settime64(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_settime(task, clock, address, 8)


def sys_gettimeofday(task: Task, tv: int, tz: int, *_: int) -> int:
    if tv:
        seconds, ns = divmod(task.machine.realtime(), NSEC_PER_SEC)
        put, word = task.access.put_user, task.word
        if not put(tv, seconds, word) or not put(tv + word, ns // 1000, word):
            return -errno.EFAULT
    return put_struct(task, tz, bytes(8)) if tz else 0


def sys_settimeofday(task: Task, tv: int, tz: int, *_: int) -> int:
    if not tv:
        return 0
    value = get_timespec(task, tv)
    if isinstance(value, int):
        return value
    seconds, micro = value
    if not 0 <= micro <= 1_000_000:
        return -errno.EINVAL
    return _set_realtime(task, seconds * NSEC_PER_SEC + micro * 1000)


def sys_time(task: Task, address: int, *_: int) -> int:
    seconds = task.machine.realtime() // NSEC_PER_SEC
    if address and not task.access.put_user(address, seconds, task.word):
        return -errno.EFAULT
    return seconds


# Sleeping


def _sleep(task: Task, end: int, left: int, size: int) -> int:
    """Sleep until virtual time `end`; when a signal interrupts, tell what is left and make it restartable."""
    machine = task.machine
    if task.wait_event(lambda: False, max(0, end - machine.clock()), "time to pass", queues=()) >= 0:
        return 0
    if left:
        remaining = pack_timespec(task, max(0, end - machine.clock()), size)
        if not task.access.copy_to_user(left, remaining):
            return -errno.EFAULT
    task.restart_block = lambda: _sleep(task, end, left, size)
    return -ERESTART_RESTARTBLOCK


def _cpu_sleep(task: Task, whose: Task | Process, clock: int, flags: int, ns: int, left: int, size: int) -> int:
    """Sleep until a CPU clock has gone on (posix_cpu_nsleep)."""
    sample = cpu_sample(whose, clock)
    end = ns if flags & TIMER_ABSTIME else sample() + ns
    timer = CpuTimer(sample, whose.cpu_timers, lambda _: task.machine.wake_sleepers())
    timer.arm(end, 0)
    result = task.wait_event(lambda: sample() >= end, what="CPU time to pass")
    timer.arm(None, 0)
    if result >= 0:
        return 0
    if flags & TIMER_ABSTIME:
        return -ERESTARTNOHAND
    if left:
        remaining = pack_timespec(task, max(0, end - sample()), size)
        if not task.access.copy_to_user(left, remaining):
            return -errno.EFAULT
    task.restart_block = lambda: _cpu_sleep(task, whose, clock, TIMER_ABSTIME, end, left, size)
    return -ERESTART_RESTARTBLOCK


def _nanosleep(task: Task, request: int, left: int, size: int) -> int:
    value = get_timespec(task, request, size)
    if isinstance(value, int):
        return value
    ns = timespec_ns(value)
    return ns if ns < 0 else _sleep(task, task.machine.clock() + ns, left, size)


def sys_nanosleep(task: Task, request: int, left: int, *_: int) -> int:
    return _nanosleep(task, request, left, task.word)


def _clock_nanosleep(task: Task, clock: int, flags: int, request: int, left: int, size: int) -> int:
    number = s32(clock)
    if number in (*COARSE_CLOCKS, CLOCK_MONOTONIC_RAW, CLOCK_THREAD_CPUTIME_ID):
        return -errno.EOPNOTSUPP
    whose = cpu_clock(task, number)
    if whose is None and (number < 0 or clock_now(task, number) < 0):
        return -errno.EINVAL
    value = get_timespec(task, request, size)
    if isinstance(value, int):
        return value
    ns = timespec_ns(value)
    if ns < 0:
        return ns
    machine = task.machine
    if whose is not None:
        return -errno.EINVAL if whose is task else _cpu_sleep(task, whose, number, flags, ns, left, size)
    if not flags & TIMER_ABSTIME:
        return _sleep(task, machine.clock() + ns, left, size)
    end = ns - (machine.boot_time if number in REALTIME_CLOCKS else 0)
    result = task.wait_event(lambda: False, max(0, end - machine.clock()), "time to pass", queues=())
    return 0 if result >= 0 else -ERESTARTNOHAND


def sys_clock_nanosleep(task: Task, clock: int, flags: int, request: int, left: int, *_: int) -> int:
    return _clock_nanosleep(task, clock, flags, request, left, task.word)


def sys_clock_nanosleep_time64(task: Task, clock: int, flags: int, request: int, left: int, *_: int) -> int:
    return _clock_nanosleep(task, clock, flags, request, left, 8)


SYSCALLS = {
    "clock_gettime": sys_clock_gettime,
    "clock_gettime64": sys_clock_gettime64,
    "clock_getres": sys_clock_getres,
    "clock_getres_time64": sys_clock_getres_time64,
    "clock_settime": sys_clock_settime,
    "clock_settime64": sys_clock_settime64,
    "gettimeofday": sys_gettimeofday,
    "settimeofday": sys_settimeofday,
    "time": sys_time,
    "nanosleep": sys_nanosleep,
    "clock_nanosleep": sys_clock_nanosleep,
    "clock_nanosleep_time64": sys_clock_nanosleep_time64,
}
