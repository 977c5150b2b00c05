# SPDX-License-Identifier: GPL-2.0-or-later
"""poll, select, epoll (fs/select.c, fs/eventpoll.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu.fs.abi import epoll_event_size, flags_from_guest
from emu.fs.consts import (
    DEFAULT_POLLMASK,
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    O_CLOEXEC,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
    RLIMIT_NOFILE,
)
from emu.fs.eventpoll import EP_MAX_EVENTS, EPOLL_CTL_DEL, EPOLLEXCLUSIVE, EventPoll
from emu.fs.file import File
from emu.kernel.args import get_timespec, order, pack_timespec, pack_timeval, s32, timespec_ns
from emu.kernel.signal import set_blocked
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.kernel.task import Task

_IN_SET = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR
_OUT_SET = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR
_EX_SET = POLLPRI


def host_fds(file: File) -> list[int]:
    """Descriptors of the host on which it depends whether a file is ready."""
    if isinstance(file, EventPoll):
        return [fd for item in file.items.values() for fd in host_fds(item.file)]
    fd = file.host_fd()
    return [] if fd is None else [fd]


def _queues(files: Sequence[File | None]) -> list[wait_queue_head] | None:
    """The wait queues of files; None where one has none, so that anything may make it ready."""
    queues = [file.wait for file in files if file is not None and file.can_poll()]
    known = [queue for queue in queues if queue is not None]
    return known if len(known) == len(queues) else None


def _names(files: Sequence[File | None]) -> str:
    """What a poll waits for, for reports."""
    names = sorted({file.name for file in files if file is not None})
    if not names:
        return "a signal"
    return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''} to be ready"


def _poll_file(file: File, task: Task) -> int:
    return file.poll(task) if file.can_poll() else DEFAULT_POLLMASK


def set_user_sigmask(task: Task, address: int, size: int) -> int:
    """Block `address`'s mask until the call ends; 0 or -errno (set_user_sigmask)."""
    if not address:
        return 0
    if size != 8:
        return -errno.EINVAL
    mask = task.access.get_user(address, 8, "_copy_from_user")
    if mask is None:
        return -errno.EFAULT
    if task.word == 4 and task.arch.elf.big_endian:
        mask = mask >> 32 | (mask & 0xFFFFFFFF) << 32
    task.signals.saved = task.signals.blocked
    set_blocked(task, mask)
    return 0


def _restore(task: Task, result: int) -> None:
    """The old mask comes back at once, unless a signal interrupted: then after its handler."""
    signals = task.signals
    if signals.saved is not None and result not in (-errno.EINTR, -ERESTARTNOHAND):
        signals.blocked, signals.saved = signals.saved, None


def do_poll(task: Task, fds: int, count: int, timeout: int | None) -> int:
    """poll for at most `timeout` ns: the number of descriptors that are ready, -EINTR on a signal."""
    if count > task.rlimit(RLIMIT_NOFILE):
        return -errno.EINVAL
    access = task.access
    data = access.copy_from_user(fds, 8 * count)
    if data is None:
        return -errno.EFAULT
    layout = order(task) + "iHH"
    watched = [struct.unpack_from(layout, data, 8 * i) for i in range(count)]
    revents = [0] * count

    def look() -> int:
        ready = 0
        for i, (fd, events, _) in enumerate(watched):
            found = 0
            if fd >= 0:
                file = task.files.get(fd)
                if file is None:
                    found = POLLNVAL
                else:
                    found = _poll_file(file, task) & (events | POLLERR | POLLHUP)
            revents[i] = found
            ready += bool(found)
        return ready

    ready = look()
    result = 0
    if not ready and timeout == 0:
        result = -errno.EINTR if task.signal_pending() else 0
    elif not ready:
        opened = [(task.files.get(fd), events) for fd, events, _ in watched if fd >= 0]
        host = [
            (fd, events & (POLLIN | POLLOUT)) for file, events in opened if file is not None for fd in host_fds(file)
        ]
        files = [file for file, _ in opened]
        result = task.wait_event(lambda: look() > 0, timeout, _names(files), host, _queues(files))
        ready = look()
    for i, found in enumerate(revents):
        if not access.put_user(fds + 8 * i + 6, found, 2, "do_sys_poll"):
            return -errno.EFAULT
    if ready:
        return ready
    return -errno.EINTR if result < 0 else 0


def sys_poll(task: Task, fds: int, count: int, timeout: int, *_: int) -> int:
    milliseconds = s32(timeout)
    result = do_poll(task, fds, count & 0xFFFFFFFF, None if milliseconds < 0 else milliseconds * 1_000_000)
    if result == -errno.EINTR:
        end = None if milliseconds < 0 else task.machine.clock() + milliseconds * 1_000_000
        task.restart_block = lambda: _poll_restart(task, fds, count & 0xFFFFFFFF, end)
        return -ERESTART_RESTARTBLOCK
    return result


def _poll_restart(task: Task, fds: int, count: int, end: int | None) -> int:
    left = None if end is None else max(0, end - task.machine.clock())
    result = do_poll(task, fds, count, left)
    return -ERESTART_RESTARTBLOCK if result == -errno.EINTR else result


def _timeout(task: Task, address: int, size: int) -> int | None:
    """A relative timeout in ns, None = none; negative: -errno."""
    if not address:
        return None
    value = get_timespec(task, address, size)
    return value if isinstance(value, int) else timespec_ns(value)


def _left(task: Task, address: int, ns: int | None, end: int | None, size: int) -> None:
    """Tell what is left of a timeout that was not 0 (poll_select_finish); a failure to do so is no error."""
    if address and end is not None and ns:
        task.access.copy_to_user(address, pack_timespec(task, max(0, end - task.machine.clock()), size))


def _ppoll(task: Task, fds: int, count: int, timeout: int, mask: int, mask_size: int, size: int) -> int:
    ns = _timeout(task, timeout, size)
    if ns is not None and ns < 0:
        return ns
    error = set_user_sigmask(task, mask, mask_size)
    if error:
        return error
    end = None if ns is None else task.machine.clock() + ns
    result = do_poll(task, fds, count & 0xFFFFFFFF, ns)
    if result == -errno.EINTR:
        result = -ERESTARTNOHAND
    _restore(task, result)
    _left(task, timeout, ns, end, size)
    return result


def sys_ppoll(task: Task, fds: int, count: int, timeout: int, mask: int, mask_size: int, *_: int) -> int:
    return _ppoll(task, fds, count, timeout, mask, mask_size, task.word)


def sys_ppoll_time64(task: Task, fds: int, count: int, timeout: int, mask: int, mask_size: int, *_: int) -> int:
    return _ppoll(task, fds, count, timeout, mask, mask_size, 8)


def core_sys_select(task: Task, count: int, sets: tuple[int, int, int], timeout: int | None) -> int:
    """select for at most `timeout` ns: the number of bits set, -ERESTARTNOHAND on a signal."""
    count = s32(count)
    if count < 0:
        return -errno.EINVAL
    count = min(count, task.files.max_fds)
    word = task.word
    size = (count + 8 * word - 1) // (8 * word) * word
    access = task.access
    wanted: list[int] = []
    for address in sets:
        if not address:
            wanted.append(0)
            continue
        data = access.copy_from_user(address, size)
        if data is None:
            return -errno.EFAULT
        wanted.append(_bits(task, data))
    below = (1 << count) - 1
    everything = (wanted[0] | wanted[1] | wanted[2]) & below
    watched = []
    for fd in range(count):
        if everything >> fd & 1:
            file = task.files.get(fd)
            if file is None:
                return -errno.EBADF
            watched.append((fd, file))
    found = [0, 0, 0]

    def look() -> int:
        found[:] = [0, 0, 0]
        for fd, file in watched:
            mask = _poll_file(file, task)
            for i, interest in enumerate((_IN_SET, _OUT_SET, _EX_SET)):
                if wanted[i] >> fd & 1 and mask & interest:
                    found[i] |= 1 << fd
        return sum(bits.bit_count() for bits in found)

    ready = look()
    if not ready and timeout == 0 and task.signal_pending():
        return -ERESTARTNOHAND
    if not ready and timeout != 0:
        host = [
            (number, POLLIN * (wanted[0] >> fd & 1) | POLLOUT * (wanted[1] >> fd & 1))
            for fd, file in watched
            for number in host_fds(file)
        ]
        files = [file for _, file in watched]
        result = task.wait_event(lambda: look() > 0, timeout, _names(files), host, _queues(files))
        ready = look()
        if result < 0 and not ready:
            return -ERESTARTNOHAND
    for address, bits in zip(sets, found):
        if address and not access.copy_to_user(address, _unbits(task, bits, size), "core_sys_select"):
            return -errno.EFAULT
    return ready


def _bits(task: Task, data: bytes) -> int:
    """An fd_set as one number."""
    word = task.word
    byteorder = "big" if task.arch.elf.big_endian else "little"
    total = 0
    for i in range(0, len(data), word):
        total |= int.from_bytes(data[i : i + word], byteorder) << 8 * i  # type: ignore[arg-type]
    return total


def _unbits(task: Task, bits: int, size: int) -> bytes:
    word = task.word
    byteorder = "big" if task.arch.elf.big_endian else "little"
    mask = (1 << 8 * word) - 1
    return b"".join((bits >> 8 * i & mask).to_bytes(word, byteorder) for i in range(0, size, word))  # type: ignore[arg-type]


def sys_select(task: Task, count: int, reads: int, writes: int, excepts: int, timeout: int, *_: int) -> int:
    ns: int | None = None
    if timeout:
        value = get_timespec(task, timeout)
        if isinstance(value, int):
            return value
        seconds, micro = value
        if seconds < 0 or micro < 0:
            return -errno.EINVAL
        ns = seconds * 1_000_000_000 + micro * 1000
    end = None if ns is None else task.machine.clock() + ns
    result = core_sys_select(task, count, (reads, writes, excepts), ns)
    if end is not None and ns:  # poll_select_finish leaves a timeout of 0 as it is
        task.access.copy_to_user(timeout, pack_timeval(task, max(0, end - task.machine.clock())))
    return result


def _pselect6(task: Task, count: int, sets: tuple[int, int, int], timeout: int, sig: int, size: int) -> int:
    mask = mask_size = 0
    if sig:
        data = task.access.copy_from_user(sig, 2 * task.word, "get_sigset_argpack")
        if data is None:
            return -errno.EFAULT
        mask, mask_size = struct.unpack(order(task) + ("QQ" if task.word == 8 else "II"), data)
    ns = _timeout(task, timeout, size)
    if ns is not None and ns < 0:
        return ns
    error = set_user_sigmask(task, mask, mask_size)
    if error:
        return error
    end = None if ns is None else task.machine.clock() + ns
    result = core_sys_select(task, count, sets, ns)
    _restore(task, result)
    _left(task, timeout, ns, end, size)
    return result


def sys_pselect6(task: Task, count: int, reads: int, writes: int, excepts: int, timeout: int, sig: int) -> int:
    return _pselect6(task, count, (reads, writes, excepts), timeout, sig, task.word)


def sys_pselect6_time64(task: Task, count: int, reads: int, writes: int, excepts: int, timeout: int, sig: int) -> int:
    return _pselect6(task, count, (reads, writes, excepts), timeout, sig, 8)


# epoll


def sys_epoll_create1(task: Task, flags: int, *_: int) -> int:
    internal = flags_from_guest(task.arch, flags)
    if internal & ~O_CLOEXEC:
        return -errno.EINVAL
    file = EventPoll(0)
    fd = task.files.alloc(file, task.rlimit(RLIMIT_NOFILE), 0, bool(internal))
    if fd < 0:
        file.put()
    return fd


def sys_epoll_create(task: Task, size: int, *_: int) -> int:
    return -errno.EINVAL if s32(size) <= 0 else sys_epoll_create1(task, 0)


def _event_layout(task: Task) -> str:
    return order(task) + ("IQ" if epoll_event_size(task.arch) == 12 else "I4xQ")


def sys_epoll_ctl(task: Task, epfd: int, operation: int, fd: int, event: int, *_: int) -> int:
    events = data = 0
    operation &= 0xFFFFFFFF
    if operation != EPOLL_CTL_DEL:
        text = task.access.copy_from_user(event, epoll_event_size(task.arch))
        if text is None:
            return -errno.EFAULT
        events, data = struct.unpack(_event_layout(task), text)
    ep = task.files.fdget(epfd & 0xFFFFFFFF)
    file = task.files.fdget(fd & 0xFFFFFFFF)
    if ep is None or file is None:
        return -errno.EBADF
    if not file.can_poll():
        return -errno.EPERM
    if ep is file or not isinstance(ep, EventPoll):
        return -errno.EINVAL
    if events & EPOLLEXCLUSIVE and (operation == 3 or isinstance(file, EventPoll)):
        return -errno.EINVAL
    return ep.control(operation, fd & 0xFFFFFFFF, file, events, data)


def do_epoll_wait(task: Task, epfd: int, events: int, limit: int, timeout: int | None) -> int:
    """Wait for at most `timeout` ns; the number of events."""
    ep = task.files.fdget(epfd & 0xFFFFFFFF)
    if ep is None:
        return -errno.EBADF
    limit = s32(limit)
    if limit <= 0 or limit > EP_MAX_EVENTS:
        return -errno.EINVAL
    size = epoll_event_size(task.arch)
    if not task.access.access_ok(events, limit * size):
        return -errno.EFAULT
    if not isinstance(ep, EventPoll):
        return -errno.EINVAL
    found = ep.collect(task, limit)
    if not found and timeout != 0:
        host = [
            (number, item.events & (POLLIN | POLLOUT)) for item in ep.items.values() for number in host_fds(item.file)
        ]
        files = [item.file for item in ep.items.values()]
        queues = _queues(files)
        if queues is not None:
            queues.append(ep.changed)
        result = task.wait_event(lambda: ep.wakes(task), timeout, _names(files), host, queues)
        if result < 0:
            return -errno.EINTR
        found = ep.collect(task, limit) if result else []
    for i, (item, mask) in enumerate(found):
        data = struct.pack(_event_layout(task), mask, item.data)
        if not task.access.copy_to_user(events + i * size, data, "epoll_put_uevent"):
            return i or -errno.EFAULT
        ep.reported(item, mask)
    return len(found)


def _milliseconds(timeout: int) -> int | None:
    value = s32(timeout)
    return None if value < 0 else value * 1_000_000


def sys_epoll_wait(task: Task, epfd: int, events: int, limit: int, timeout: int, *_: int) -> int:
    return do_epoll_wait(task, epfd, events, limit, _milliseconds(timeout))


def sys_epoll_pwait(task: Task, epfd: int, events: int, limit: int, timeout: int, mask: int, size: int) -> int:
    error = set_user_sigmask(task, mask, size)
    if error:
        return error
    result = do_epoll_wait(task, epfd, events, limit, _milliseconds(timeout))
    _restore(task, result)
    return result


def sys_epoll_pwait2(task: Task, epfd: int, events: int, limit: int, timeout: int, mask: int, size: int) -> int:
    ns = _timeout(task, timeout, 8)
    if ns is not None and ns < 0:
        return ns
    error = set_user_sigmask(task, mask, size)
    if error:
        return error
    result = do_epoll_wait(task, epfd, events, limit, ns)
    _restore(task, result)
    return result


SYSCALLS = {
    "poll": sys_poll,
    "ppoll": sys_ppoll,
    "ppoll_time64": sys_ppoll_time64,
    "select": sys_select,
    "_newselect": sys_select,
    "pselect6": sys_pselect6,
    "pselect6_time64": sys_pselect6_time64,
    "epoll_create": sys_epoll_create,
    "epoll_create1": sys_epoll_create1,
    "epoll_ctl": sys_epoll_ctl,
    "epoll_wait": sys_epoll_wait,
    "epoll_pwait": sys_epoll_pwait,
    "epoll_pwait2": sys_epoll_pwait2,
}
