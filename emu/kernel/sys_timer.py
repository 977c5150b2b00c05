# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers: interval timers, POSIX timers, timerfd (kernel/time/itimer.c, posix-timers.c, fs/timerfd.c)."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archs.base import SI_KERNEL, SI_TIMER, SigInfo
from emu.fs.abi import flags_from_guest
from emu.fs.consts import O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE
from emu.fs.timerfd import TimerFile
from emu.kernel.args import NSEC_PER_SEC, get_timespec, order, pack_timespec, pack_timeval, put_struct, s32, timespec_ns
from emu.kernel.cpu_timers import CpuTimer
from emu.kernel.process import Process
from emu.kernel.signal import NSIG, SIGALRM, Pending, TimerSignal, may_queue, send_signal
from emu.kernel.sys_time import (
    CLOCK_MONOTONIC_RAW,
    CLOCKFD,
    COARSE_CLOCKS,
    REALTIME_CLOCKS,
    TIMER_ABSTIME,
    clock_now,
    cpu_clock,
    cpu_sample,
)
from emu.kernel.timers import Timer

if TYPE_CHECKING:
    from emu.kernel.task import Task

CAP_WAKE_ALARM = 35
ALARM_CLOCKS = (8, 9)  # need a clock that runs while the machine is suspended
SIGVTALRM, SIGPROF = 26, 27
ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF = 0, 1, 2
SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID = 0, 1, 2, 4
INT_MAX = (1 << 31) - 1


# Interval timers


def _itimer(task: Task, which: int) -> Timer | CpuTimer | None:
    """The timer of ITIMER_*, made when first asked for; None: there is no such one."""
    timer = task.itimers.get(which)
    if timer is None:
        process = task.signal

        def fire(signo: int) -> None:
            process.leader.send_group_signal(signo, SigInfo(signo, SI_KERNEL))

        if which == ITIMER_REAL:
            timer = real = Timer(lambda _: fire(SIGALRM), restarts=False)
            process.shared_pending.alarm_taken = lambda: task.machine.timers.restart(real)
        elif which == ITIMER_VIRTUAL:
            timer = CpuTimer(process.user_ns, process.cpu_timers, lambda _: fire(SIGVTALRM))
        elif which == ITIMER_PROF:
            timer = CpuTimer(process.cpu_total_ns, process.cpu_timers, lambda _: fire(SIGPROF))
        else:
            return None
        task.itimers[which] = timer
    return timer


def _remaining(task: Task, timer: Timer | CpuTimer) -> int:
    if isinstance(timer, CpuTimer):
        return timer.remaining()
    return 0 if timer.deadline is None else max(1, timer.deadline - task.machine.clock())


def _arm(task: Task, timer: Timer | CpuTimer, value: int, interval: int) -> None:
    if isinstance(timer, CpuTimer):
        timer.arm(timer.sample() + value if value else None, interval)
    elif value:
        task.machine.timers.arm(timer, task.machine.clock() + value, interval)
    else:
        task.machine.timers.arm(timer, None, 0)


def sys_alarm(task: Task, seconds: int, *_: int) -> int:
    timer = _itimer(task, ITIMER_REAL)
    assert timer is not None
    left = _remaining(task, timer)
    _arm(task, timer, (seconds & 0xFFFFFFFF) * NSEC_PER_SEC, 0)
    return max(1, (left + NSEC_PER_SEC // 2) // NSEC_PER_SEC) if left else 0


def _pack_itimerval(task: Task, timer: Timer | CpuTimer) -> bytes:
    return pack_timeval(task, timer.interval) + pack_timeval(task, _remaining(task, timer))


def sys_getitimer(task: Task, which: int, address: int, *_: int) -> int:
    timer = _itimer(task, s32(which))
    if timer is None:
        return -errno.EINVAL
    return put_struct(task, address, _pack_itimerval(task, timer))


def sys_setitimer(task: Task, which: int, new: int, old: int, *_: int) -> int:
    values = (0, 0, 0, 0)
    if new:
        data = task.access.copy_from_user(new, 4 * task.word)
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
    return put_struct(task, old, before) if old else 0


# POSIX timers


@dataclass(frozen=True)
class TimerInfo(TimerSignal):
    """The signal of a POSIX timer (the sigqueue in struct k_itimer)."""

    timer: PosixTimer = field(kw_only=True)

    def collect(self) -> SigInfo | None:
        """With the overrun count of now; the timer goes on (posixtimer_deliver_signal). None: the timer is gone or was
        set anew since."""
        timer = self.timer
        if timer.sent != timer.sequence:
            return None
        if timer.interval:
            timer.rearm()
            timer.overrun_last = timer.overrun
            timer.overrun = -1
        return SigInfo(self.signo, SI_TIMER, pid=self.pid, uid=min(timer.overrun_last, INT_MAX), value=self.value)

    def queued(self) -> None:
        """It does not wait any more."""
        self.timer.forget_ignored()

    def ignored(self) -> None:
        """That of a periodic timer waits until it is not ignored any more (posixtimer_sig_ignore)."""
        timer = self.timer
        timers = timer.process.posix_timers
        if not timer.sent_periodic:
            timer.forget_ignored()
        elif timer not in timers.ignored and timers.get(timer.number) is timer:
            timers.ignored.insert(0, timer)


class PosixTimer:
    """A timer made by timer_create (struct k_itimer). After it fired with an interval it stands still until its signal
    is collected; then it goes on at the next multiple of the interval, and those that were left out are overruns."""

    def __init__(self, task: Task, clock: int, notify: int, signo: int, value: int, number: int, target: Task) -> None:
        self.task = target
        self.process = task.signal
        self.machine = task.machine
        self.clock = clock
        self.notify = notify
        self.number = number
        self.info = TimerInfo(signo, SI_TIMER, pid=number, value=value, timer=self)
        Pending.everywhere += 1
        self.interval = 0
        self.expiry: int | None = None  # when it fires or fired last, on its own clock; None = not armed
        self.requeue_pending = False  # fired, and waits for its signal to be collected
        self.sequence = 0  # how often it was set (it_signal_seq)
        self.sent = 0  # the sequence of which its signal is (it_sigqueue_seq)
        self.sent_periodic = False  # it had an interval when it sent its signal (it_sig_periodic)
        self.overrun = -1
        self.overrun_last = 0
        self.whose = whose = cpu_clock(task, clock)
        self.source: Timer | CpuTimer
        if whose is None:
            self.source = Timer(lambda _: self._expired())
        else:
            self.source = CpuTimer(cpu_sample(whose, clock), whose.cpu_timers, lambda _: self._expired())

    def now(self) -> int:
        """Its clock in ns."""
        if isinstance(self.source, CpuTimer):
            return self.source.sample()
        return self.machine.realtime() if self.clock in REALTIME_CLOCKS else self.machine.clock()

    def _start(self) -> None:
        """Let it fire at `expiry`; one that is only asked for the time needs nothing for that."""
        expiry = self.expiry
        if self.notify == SIGEV_NONE:
            return
        if isinstance(self.source, CpuTimer):
            self.source.arm(expiry, 0)
            return
        if expiry is not None and self.clock in REALTIME_CLOCKS:
            expiry -= self.machine.boot_time
        self.machine.timers.arm(self.source, expiry, 0)

    def _expired(self) -> None:
        """Send its signal (posix_timer_queue_signal); one that is queued already is brought up to date."""
        self.requeue_pending = self.interval != 0
        if not self.interval:
            self.expiry = None
        target = self._target()
        if target is None:
            return
        self.sent, self.sent_periodic = self.sequence, self.requeue_pending
        if self.notify == SIGEV_THREAD_ID:
            target.send_signal(self.info.signo, self.info)
        else:
            target.send_group_signal(self.info.signo, self.info)

    def _target(self) -> Task | None:
        """Whom its signal is for (posixtimer_get_target); None: the thread has ended."""
        if self.notify != SIGEV_THREAD_ID:
            return self.process.leader
        return None if self.task.exiting else self.task

    def unignore(self) -> None:
        """Queue the signal that was ignored, which is as old as it is (posixtimer_sig_unignore)."""
        self.forget_ignored()
        target = self._target()
        if target is not None:
            send_signal(target, self.info, self.notify != SIGEV_THREAD_ID)

    def forget_ignored(self) -> None:
        """Its signal does not wait any more."""
        ignored = self.process.posix_timers.ignored
        if self in ignored:
            ignored.remove(self)

    def _forward(self) -> int:
        """Move `expiry` beyond now: how many intervals that are (hrtimer_forward)."""
        assert self.expiry is not None
        late = self.now() - self.expiry
        if late < 0:
            return 0
        periods = late // self.interval + 1
        self.expiry += periods * self.interval
        return periods

    def rearm(self) -> None:
        """Its signal was collected (posix_timer_rearm)."""
        if self.requeue_pending and self.expiry is not None:
            self.requeue_pending = False
            self.overrun += self._forward()
            self._start()

    def set(self, expiry: int | None, interval: int) -> None:
        """timer_settime: `expiry` on its own clock; a signal that was queued is void."""
        self.sequence += 1
        self.requeue_pending = False
        self.overrun, self.overrun_last = -1, 0
        self.interval = interval if expiry is not None else 0
        if expiry is not None or self.notify != SIGEV_NONE or isinstance(self.source, CpuTimer):
            self.expiry = expiry  # else it still tells how long it would have had to go (common_timer_set)
        self._start()

    def delete(self) -> None:
        """timer_delete: a signal that is queued stays so, and is dropped when its turn comes."""
        self.set(None, 0)
        self.forget_ignored()
        Pending.everywhere -= 1

    def clock_gone(self) -> bool:
        """Has the thread or process ended whose CPU time it counts (cpu_timer_task_rcu)."""
        counted = self.whose.leader if isinstance(self.whose, Process) else self.whose
        return counted is not None and self.machine.pids.get(counted.pid) is not counted

    def get(self) -> tuple[int, int]:
        """(interval, ns to go: 0 = not armed)."""
        if self.clock_gone():
            return 0, 0
        if self.expiry is None:
            return self.interval, 0
        if self.interval and (self.requeue_pending or self.notify == SIGEV_NONE):
            self.overrun += self._forward()
        left = self.expiry - self.now()
        return self.interval, max(left, 0 if self.notify == SIGEV_NONE else 1)


def posixtimer_sig_unignore(task: Task, signo: int) -> None:
    """sigaction has set another action than SIG_IGN: what waited for it is queued."""
    for timer in list(task.posix_timers.ignored):
        if timer.info.signo == signo:
            timer.unignore()


def sys_timer_create(task: Task, clock: int, event: int, address: int, *_: int) -> int:
    number_of_clock = s32(clock)
    data = task.access.copy_from_user(event, 64) if event else b""
    if data is None:
        return -errno.EFAULT
    if number_of_clock in (*COARSE_CLOCKS, CLOCK_MONOTONIC_RAW):
        return -errno.EOPNOTSUPP
    if number_of_clock < 0 and number_of_clock & 7 == CLOCKFD:
        return -errno.EOPNOTSUPP
    if number_of_clock >= 0 and clock_now(task, number_of_clock) < 0:
        return -errno.EINVAL
    if not may_queue(task):  # its signal counts for as long as it exists (posixtimer_init_sigqueue)
        return -errno.EAGAIN
    timers = task.posix_timers
    number = timers.new_number()
    value, signo, notify, target = number, SIGALRM, SIGEV_SIGNAL, task
    if data:
        layout = "Qiii" if task.word == 8 else "Iiii"
        value, signo, notify, tid = struct.unpack_from(order(task) + layout, data)
        if notify == SIGEV_THREAD_ID:
            found = task.machine.pids.get(tid)
            if found is None or found.signal is not task.signal or found.exiting:
                return -errno.EINVAL
            target = found
        elif notify not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD):
            return -errno.EINVAL
        if notify != SIGEV_NONE and not 1 <= signo <= NSIG:
            return -errno.EINVAL
    if not task.access.put_user(address, number, 4, "_copy_to_user"):
        return -errno.EFAULT
    if number_of_clock in ALARM_CLOCKS:
        return -errno.EOPNOTSUPP
    if number_of_clock < 0 and cpu_clock(task, number_of_clock) is None:
        return -errno.EINVAL
    timers[number] = PosixTimer(task, number_of_clock, notify, signo, value, number, target)
    return 0


def _pack_itimerspec(task: Task, times: tuple[int, int], size: int) -> bytes:
    """struct itimerspec of (interval, value) in ns."""
    return pack_timespec(task, times[0], size) + pack_timespec(task, times[1], size)


def _get_itimerspec(task: Task, address: int, size: int) -> tuple[int, int] | int:
    """(interval, value) in ns; -EFAULT, -EINVAL."""
    found = []
    for offset in (0, 2 * size):
        value = get_timespec(task, address + offset, size)
        if isinstance(value, int):
            return value
        found.append(timespec_ns(value))
    return min(found) if min(found) < 0 else (found[0], found[1])


def _timer_settime(task: Task, number: int, flags: int, new: int, old: int, size: int) -> int:
    values = _get_itimerspec(task, new, size) if new else -errno.EINVAL
    if isinstance(values, int):
        return values
    timer = task.posix_timers.get(s32(number))
    if timer is None:
        return -errno.EINVAL
    if timer.clock_gone():
        timer.sequence += 1
        return -errno.ESRCH
    before = _pack_itimerspec(task, timer.get(), size)
    interval, value = values
    if not value:
        timer.set(None, 0)
    else:
        timer.set(value if flags & TIMER_ABSTIME else timer.now() + value, interval)
    return put_struct(task, old, before) if old else 0


def sys_timer_settime(task: Task, number: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timer_settime(task, number, flags, new, old, task.word)


def sys_timer_settime64(task: Task, number: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timer_settime(task, number, flags, new, old, 8)


def _timer_gettime(task: Task, number: int, address: int, size: int) -> int:
    timer = task.posix_timers.get(s32(number))
    if timer is None:
        return -errno.EINVAL
    return put_struct(task, address, _pack_itimerspec(task, timer.get(), size))


def sys_timer_gettime(task: Task, number: int, address: int, *_: int) -> int:
    return _timer_gettime(task, number, address, task.word)


def sys_timer_gettime64(task: Task, number: int, address: int, *_: int) -> int:
    return _timer_gettime(task, number, address, 8)


def sys_timer_getoverrun(task: Task, number: int, *_: int) -> int:
    timer = task.posix_timers.get(s32(number))
    return -errno.EINVAL if timer is None else min(timer.overrun_last, INT_MAX)


def sys_timer_delete(task: Task, number: int, *_: int) -> int:
    timer = task.posix_timers.pop(s32(number), None)
    if timer is None:
        return -errno.EINVAL
    timer.delete()
    return 0


def exit_timers(process: Process) -> None:
    """The process has ended or runs another program: its POSIX timers go (exit_itimers)."""
    for timer in process.posix_timers.values():
        timer.delete()
    process.posix_timers.clear()


# timerfd


def sys_timerfd_create(task: Task, clock: int, flags: int, *_: int) -> int:
    internal = flags_from_guest(task.arch, flags)
    if internal & ~(O_CLOEXEC | O_NONBLOCK) or s32(clock) not in (0, 1, 7, 8, 9):
        return -errno.EINVAL
    if s32(clock) in ALARM_CLOCKS and not task.capable(CAP_WAKE_ALARM):
        return -errno.EPERM
    file = TimerFile(s32(clock), internal & O_NONBLOCK)
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), 0, bool(internal & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def _timerfd(task: Task, fd: int) -> TimerFile | int:
    file = task.files.fdget(fd & 0xFFFFFFFF)
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
    before = _pack_itimerspec(task, (file.timer.interval, _remaining(task, file.timer)), size)
    file.ticks = 0
    file.timer.overrun = 0
    interval, value = values
    deadline: int | None = None
    if value:
        deadline = value if flags & TIMER_ABSTIME else task.machine.clock() + value
        if flags & TIMER_ABSTIME and file.clock in REALTIME_CLOCKS:
            deadline -= task.machine.boot_time
    task.machine.timers.arm(file.timer, deadline, interval)
    return put_struct(task, old, before) if old else 0


def sys_timerfd_settime(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timerfd_settime(task, fd, flags, new, old, task.word)


def sys_timerfd_settime64(task: Task, fd: int, flags: int, new: int, old: int, *_: int) -> int:
    return _timerfd_settime(task, fd, flags, new, old, 8)


def _timerfd_gettime(task: Task, fd: int, address: int, size: int) -> int:
    file = _timerfd(task, fd)
    if isinstance(file, int):
        return file
    timer = file.timer or Timer(lambda _: None)
    data = _pack_itimerspec(task, (timer.interval, _remaining(task, timer)), size)
    return put_struct(task, address, data)


def sys_timerfd_gettime(task: Task, fd: int, address: int, *_: int) -> int:
    return _timerfd_gettime(task, fd, address, task.word)


def sys_timerfd_gettime64(task: Task, fd: int, address: int, *_: int) -> int:
    return _timerfd_gettime(task, fd, address, 8)


SYSCALLS = {
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
