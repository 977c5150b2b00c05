# SPDX-License-Identifier: GPL-2.0-or-later
"""Clocks, sleeps and timers, all in virtual time (kernel/time)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from archs.base import SI_TIMER, SigInfo
from emu.fs.abi import flags_from_guest
from emu.fs.consts import O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE
from emu.fs.timerfd import TimerFile
from emu.kernel.args import (
    NSEC_PER_SEC,
    get_timespec,
    order,
    pack_timespec,
    pack_timeval,
    put_struct,
    s32,
    timespec_ns,
)
from emu.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTNOHAND, NSIG, SIGALRM
from emu.kernel.timers import Timer

if TYPE_CHECKING:
    from emu.kernel.task import Task

CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID = 0, 1, 2, 3
REALTIME_CLOCKS = (0, 5, 8, 11)  # REALTIME, REALTIME_COARSE, REALTIME_ALARM, TAI
COARSE_CLOCKS = (5, 6)
COARSE_NS = 4_000_000
MONOTONIC_CLOCKS = (1, 2, 3, 4, 6, 7, 9)
TIMER_ABSTIME = 1
CAP_SYS_TIME = 25
SIGVTALRM, SIGPROF = 26, 27
SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD_ID = 0, 1, 4


def clock_now(task: Task, clock: int) -> int:
    """A clock in ns; -EINVAL when there is no such one. Negative numbers are CPU clocks of this process."""
    if clock in REALTIME_CLOCKS:
        now = task.machine.realtime()
    elif clock in MONOTONIC_CLOCKS or (clock < 0 and clock & 7 in (2, 6)):
        if clock < 0 and ~(clock >> 3) not in (0, task.pid):
            return -errno.EINVAL
        now = task.machine.clock()
    else:
        return -errno.EINVAL
    return now // COARSE_NS * COARSE_NS if clock in COARSE_CLOCKS else now


def _clock_gettime(task: Task, clock: int, address: int, size: int) -> int:
    now = clock_now(task, s32(clock))
    return now if now < 0 else put_struct(task, address, pack_timespec(task, now, size), "put_timespec64")


def sys_clock_gettime(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_gettime(task, clock, address, task.word)


def sys_clock_gettime64(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_gettime(task, clock, address, 8)


def _clock_getres(task: Task, clock: int, address: int, size: int) -> int:
    number = s32(clock)
    now = clock_now(task, number)
    if now < 0:
        return now
    resolution = COARSE_NS if number in COARSE_CLOCKS else 1
    return put_struct(task, address, pack_timespec(task, resolution, size), "put_timespec64") if address else 0


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
    if s32(clock) != CLOCK_REALTIME:
        return -errno.EINVAL
    value = get_timespec(task, address, size)
    return value if isinstance(value, int) else _set_realtime(task, timespec_ns(value))


def sys_clock_settime(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_settime(task, clock, address, task.word)


def sys_clock_settime64(task: Task, clock: int, address: int, *_: int) -> int:
    return _clock_settime(task, clock, address, 8)


def sys_gettimeofday(task: Task, tv: int, tz: int, *_: int) -> int:
    if tv:
        error = put_struct(task, tv, pack_timeval(task, task.machine.realtime()), "__do_sys_gettimeofday")
        if error:
            return error
    return put_struct(task, tz, bytes(8), "__do_sys_gettimeofday") if tz else 0


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
    if address and not task.access.put_user(address, seconds, task.word, "__do_sys_time"):
        return -errno.EFAULT
    return seconds


# Sleeping


def _sleep(task: Task, end: int, left: int, size: int) -> int:
    """Sleep until virtual time `end`; when a signal interrupts, tell what is left and make it restartable."""
    machine = task.machine
    if task.wait_event(lambda: False, max(0, end - machine.clock())) >= 0:
        return 0
    if left:
        remaining = pack_timespec(task, max(0, end - machine.clock()), size)
        if not task.access.copy_to_user(left, remaining, "nanosleep_copyout"):
            return -errno.EFAULT
    task.restart_block = lambda: _sleep(task, end, left, size)
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
    if number == CLOCK_THREAD_CPUTIME_ID or number in COARSE_CLOCKS or clock_now(task, number) < 0:
        return -errno.EOPNOTSUPP if number in (*COARSE_CLOCKS, 4) else -errno.EINVAL
    value = get_timespec(task, request, size)
    if isinstance(value, int):
        return value
    ns = timespec_ns(value)
    if ns < 0:
        return ns
    machine = task.machine
    if not flags & TIMER_ABSTIME:
        return _sleep(task, machine.clock() + ns, left, size)
    end = ns - (machine.boot_time if number in REALTIME_CLOCKS else 0)
    return 0 if task.wait_event(lambda: False, max(0, end - machine.clock())) >= 0 else -ERESTARTNOHAND


def sys_clock_nanosleep(task: Task, clock: int, flags: int, request: int, left: int, *_: int) -> int:
    return _clock_nanosleep(task, clock, flags, request, left, task.word)


def sys_clock_nanosleep_time64(task: Task, clock: int, flags: int, request: int, left: int, *_: int) -> int:
    return _clock_nanosleep(task, clock, flags, request, left, 8)


# Interval timers


def _itimer(task: Task, which: int) -> Timer | None:
    """The timer of ITIMER_REAL, ITIMER_VIRTUAL or ITIMER_PROF, made when first asked for."""
    signo = {0: SIGALRM, 1: SIGVTALRM, 2: SIGPROF}.get(which)
    if signo is None:
        return None
    timer = task.itimers.get(which)
    if timer is None:
        process = task.signal
        timer = task.itimers[which] = Timer(lambda _: process.leader.send_group_signal(signo, SigInfo(signo, 0x80)))
    return timer


def _remaining(task: Task, timer: Timer) -> int:
    return 0 if timer.deadline is None else max(1, timer.deadline - task.machine.clock())


def _arm(task: Task, timer: Timer, value: int, interval: int) -> None:
    task.machine.timers.arm(timer, task.machine.clock() + value if value else None, interval)


def sys_alarm(task: Task, seconds: int, *_: int) -> int:
    timer = _itimer(task, 0)
    assert timer is not None
    left = _remaining(task, timer)
    _arm(task, timer, (seconds & 0xFFFFFFFF) * NSEC_PER_SEC, 0)
    return max(1, (left + NSEC_PER_SEC // 2) // NSEC_PER_SEC) if left else 0


def _pack_itimerval(task: Task, timer: Timer) -> bytes:
    left = _remaining(task, timer)
    return pack_timeval(task, timer.interval if left else 0) + pack_timeval(task, left)


def sys_getitimer(task: Task, which: int, address: int, *_: int) -> int:
    timer = _itimer(task, s32(which))
    if timer is None:
        return -errno.EINVAL
    return put_struct(task, address, _pack_itimerval(task, timer), "put_itimerval")


def sys_setitimer(task: Task, which: int, new: int, old: int, *_: int) -> int:
    values = (0, 0, 0, 0)
    if new:
        data = task.access.copy_from_user(new, 4 * task.word, "get_itimerval")
        if data is None:
            return -errno.EFAULT
        values = struct.unpack(order(task) + ("4q" if task.word == 8 else "4i"), data)
        if any(v < 0 for v in values) or values[1] >= 1_000_000 or values[3] >= 1_000_000:
            return -errno.EINVAL
    timer = _itimer(task, s32(which))
    if timer is None:
        return -errno.EINVAL
    before = _pack_itimerval(task, timer)
    seconds, micro, first, first_micro = values
    _arm(task, timer, first * NSEC_PER_SEC + first_micro * 1000, seconds * NSEC_PER_SEC + micro * 1000)
    return put_struct(task, old, before, "put_itimerval") if old else 0


# POSIX timers


class PosixTimer(Timer):
    """A timer made by timer_create."""

    __slots__ = ("clock", "signalled", "signo", "value")

    def __init__(self, task: Task, clock: int, notify: int, signo: int, value: int, number: int) -> None:
        super().__init__(self._expired)
        self.clock = clock
        self.signo = signo if notify != SIGEV_NONE else 0
        self.value = value
        self.signalled: Callable[[], object] = lambda: task.send_signal(
            signo, SigInfo(signo, SI_TIMER, pid=number, value=value)
        )

    def _expired(self, _: Timer) -> None:
        if self.signo:
            self.signalled()


def sys_timer_create(task: Task, clock: int, event: int, address: int, *_: int) -> int:
    if clock_now(task, s32(clock)) < 0:
        return -errno.EINVAL
    if s32(clock) in COARSE_CLOCKS or s32(clock) == 4:
        return -errno.EOPNOTSUPP
    number = next(n for n in range(1 << 20) if n not in task.posix_timers)
    value, signo, notify = number, SIGALRM, SIGEV_SIGNAL
    if event:
        data = task.access.copy_from_user(event, 64, "__do_sys_timer_create")
        if data is None:
            return -errno.EFAULT
        value, signo, notify = struct.unpack_from(order(task) + ("Qii" if task.word == 8 else "Iii"), data)
        if notify not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD_ID):
            return -errno.EINVAL
        if notify != SIGEV_NONE and not 1 <= signo <= NSIG:
            return -errno.EINVAL
    if not task.access.put_user(address, number, 4, "do_timer_create"):
        return -errno.EFAULT
    task.posix_timers[number] = PosixTimer(task, s32(clock), notify, signo, value, number)
    return 0


def _pack_itimerspec(task: Task, timer: Timer, size: int) -> bytes:
    left = _remaining(task, timer)
    return pack_timespec(task, timer.interval, size) + pack_timespec(task, left, size)


def _get_itimerspec(task: Task, address: int, size: int) -> tuple[int, int] | int:
    """(interval, value) in ns; -EFAULT, -EINVAL."""
    found = []
    for offset in (0, 2 * size):
        value = get_timespec(task, address + offset, size)
        if isinstance(value, int):
            return value
        ns = timespec_ns(value)
        if ns < 0:
            return ns
        found.append(ns)
    return found[0], found[1]


def _settime(task: Task, timer: Timer, clock: int, absolute: bool, new: tuple[int, int]) -> None:
    interval, value = new
    deadline: int | None = None
    if value:
        deadline = value if absolute else task.machine.clock() + value
        if absolute and clock in REALTIME_CLOCKS:
            deadline -= task.machine.boot_time
    task.machine.timers.arm(timer, deadline, interval)


def _timer_settime(task: Task, number: int, flags: int, new: int, old: int, size: int) -> int:
    values = _get_itimerspec(task, new, size) if new else -errno.EINVAL
    if isinstance(values, int):
        return values
    timer = task.posix_timers.get(s32(number))
    if timer is None:
        return -errno.EINVAL
    before = _pack_itimerspec(task, timer, size)
    _settime(task, timer, timer.clock, bool(flags & TIMER_ABSTIME), values)
    return put_struct(task, old, before, "put_itimerspec64") if old else 0


def sys_timer_settime(task: Task, number: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timer_settime(task, number, flags, new, old, task.word)


def sys_timer_settime64(task: Task, number: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timer_settime(task, number, flags, new, old, 8)


def _timer_gettime(task: Task, number: int, address: int, size: int) -> int:
    timer = task.posix_timers.get(s32(number))
    if timer is None:
        return -errno.EINVAL
    return put_struct(task, address, _pack_itimerspec(task, timer, size), "put_itimerspec64")


def sys_timer_gettime(task: Task, number: int, address: int, *_: int) -> int:
    return _timer_gettime(task, number, address, task.word)


def sys_timer_gettime64(task: Task, number: int, address: int, *_: int) -> int:
    return _timer_gettime(task, number, address, 8)


def sys_timer_getoverrun(task: Task, number: int, *_: int) -> int:
    timer = task.posix_timers.get(s32(number))
    return -errno.EINVAL if timer is None else timer.overrun


def sys_timer_delete(task: Task, number: int, *_: int) -> int:
    timer = task.posix_timers.pop(s32(number), None)
    if timer is None:
        return -errno.EINVAL
    task.machine.timers.arm(timer, None, 0)
    return 0


# timerfd


def sys_timerfd_create(task: Task, clock: int, flags: int, *_: int) -> int:
    internal = flags_from_guest(task.arch, flags)
    if internal & ~(O_CLOEXEC | O_NONBLOCK) or s32(clock) not in (0, 1, 7, 8, 9):
        return -errno.EINVAL
    file = TimerFile(s32(clock), internal & O_NONBLOCK)
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), 0, bool(internal & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def _timerfd(task: Task, fd: int) -> TimerFile | int:
    file = task.files.get(fd & 0xFFFFFFFF)
    if file is None:
        return -errno.EBADF
    return file if isinstance(file, TimerFile) else -errno.EINVAL


def _timerfd_settime(task: Task, fd: int, flags: int, new: int, old: int, size: int) -> int:
    values = _get_itimerspec(task, new, size)
    if isinstance(values, int):
        return values
    if flags & ~3:
        return -errno.EINVAL
    file = _timerfd(task, fd)
    if isinstance(file, int):
        return file
    if file.timer is None:
        file.timer = Timer(lambda timer: file.expired(1 + timer.overrun))
        file.disarm = lambda: task.machine.timers.arm(file.timer, None, 0)
    before = _pack_itimerspec(task, file.timer, size)
    file.ticks = 0
    file.timer.overrun = 0
    _settime(task, file.timer, file.clock, bool(flags & TIMER_ABSTIME), values)
    return put_struct(task, old, before, "put_itimerspec64") if old else 0


def sys_timerfd_settime(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timerfd_settime(task, fd, flags, new, old, task.word)


def sys_timerfd_settime64(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timerfd_settime(task, fd, flags, new, old, 8)


def _timerfd_gettime(task: Task, fd: int, address: int, size: int) -> int:
    file = _timerfd(task, fd)
    if isinstance(file, int):
        return file
    timer = file.timer or Timer(lambda _: None)
    return put_struct(task, address, _pack_itimerspec(task, timer, size), "put_itimerspec64")


def sys_timerfd_gettime(task: Task, fd: int, address: int, *_: int) -> int:
    return _timerfd_gettime(task, fd, address, task.word)


def sys_timerfd_gettime64(task: Task, fd: int, address: int, *_: int) -> int:
    return _timerfd_gettime(task, fd, address, 8)


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
    "alarm": sys_alarm,
    "getitimer": sys_getitimer,
    "setitimer": sys_setitimer,
    "timer_create": sys_timer_create,
    "timer_settime": sys_timer_settime,
    "timer_settime64": sys_timer_settime64,
    "timer_gettime": sys_timer_gettime,
    "timer_gettime64": sys_timer_gettime64,
    "timer_getoverrun": sys_timer_getoverrun,
    "timer_delete": sys_timer_delete,
    "timerfd_create": sys_timerfd_create,
    "timerfd_settime": sys_timerfd_settime,
    "timerfd_settime64": sys_timerfd_settime64,
    "timerfd_gettime": sys_timerfd_gettime,
    "timerfd_gettime64": sys_timerfd_gettime64,
}
