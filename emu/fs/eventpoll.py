# SPDX-License-Identifier: GPL-2.0-or-later
"""epoll: a set of files to watch (fs/eventpoll.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.anon_inodes import anon_dentry
from emu.fs.consts import O_RDWR, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM
from emu.fs.file import File
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.fs.current import Current

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLLEXCLUSIVE = 1 << 28
EPOLLWAKEUP = 1 << 29
EPOLLONESHOT = 1 << 30
EPOLLET = 1 << 31
EP_PRIVATE_BITS = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
_COUNTED = POLLIN | POLLOUT | POLLRDHUP  # what File.edges tells apart
EP_MAX_EVENTS = 0x7FFFFFFF // 16
EP_MAX_NESTS = 4


class epitem:
    """One watched file (struct epitem)."""

    __slots__ = ("data", "edges", "ep", "events", "fd", "file", "last")

    def __init__(self, ep: EventPoll, file: File, fd: int, events: int, data: int) -> None:
        self.ep = ep
        self.file = file
        self.fd = fd
        self.events = events
        self.data = data
        self.edges = 0
        self.last = 0  # what was reported, for edge-triggered items

    def remove(self) -> None:
        """The file is closed or was deleted from the set."""
        del self.ep.items[self.fd, id(self.file)]
        if self.file.f_ep is not None:
            self.file.f_ep.remove(self)


class EventPoll(File):
    """An epoll instance. Items are looked at in the order in which they became ready, as far as one task can tell."""

    noop_llseek = True
    can_read = can_write = False
    stream = True

    def __init__(self, flags: int) -> None:
        self.items: dict[tuple[int, int], epitem] = {}
        self.changed = wait_queue_head()  # who waits for events, and must know of a change of the set
        super().__init__(anon_dentry("[eventpoll]"), O_RDWR | flags)

    def release(self) -> None:
        for item in list(self.items.values()):
            item.remove()

    def can_poll(self) -> bool:
        return True

    def poll(self, task: Current) -> int:
        return POLLIN | POLLRDNORM if any(self.ready(item, task) for item in self.items.values()) else 0

    @staticmethod
    def ready(item: epitem, task: Current) -> int:
        """Events of an item that are to be reported now. An edge-triggered one reports a level again only after it was
        gone, or after something happened to the file."""
        found = item.file.poll(task) & item.events & ~EP_PRIVATE_BITS
        if not item.events & EPOLLET:
            return found
        item.last &= found
        if item.file.edges(item.events) != item.edges:
            return found
        return found if found & ~item.last else 0

    def wakes(self, task: Current) -> bool:
        """Is there something for a task that sleeps here? What happened to a file once is for one of the epolls that
        watch it with EPOLLEXCLUSIVE and have a sleeper: for the first that looks (ep_poll_callback)."""
        found = False
        for item in self.items.values():
            events = self.ready(item, task)
            if events and (not item.events & EPOLLEXCLUSIVE or events & (POLLERR | POLLHUP) or _is_its_turn(item)):
                found = True
        return found

    def control(self, operation: int, fd: int, file: File, events: int, data: int) -> int:
        """epoll_ctl on a file that can be polled; 0 or -errno."""
        if operation not in (EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD):
            return -errno.EINVAL
        key = fd, id(file)
        self.changed.wake_up()
        item = self.items.get(key)
        if operation == EPOLL_CTL_ADD:
            if item is not None:
                return -errno.EEXIST
            if isinstance(file, EventPoll):
                depth = file.depth(self, EP_MAX_NESTS)
                if depth < 0 or depth >= EP_MAX_NESTS:
                    return -errno.ELOOP
            item = epitem(self, file, fd, events | POLLERR | POLLHUP, data)
            self.items[key] = item
            if file.f_ep is None:
                file.f_ep = []
            file.f_ep.append(item)
            return 0
        if item is None:
            return -errno.ENOENT
        if operation == EPOLL_CTL_DEL:
            item.remove()
            return 0
        if item.events & EPOLLEXCLUSIVE:
            return -errno.EINVAL
        item.events = events | POLLERR | POLLHUP
        item.data = data
        item.last = 0
        return 0

    def depth(self, top: EventPoll, limit: int) -> int:
        """How deep epolls nest below this one; -1 when `top` is among them or it is too deep (ep_loop_check)."""
        if self is top or limit < 0:
            return -1
        deepest = 0
        for item in self.items.values():
            if isinstance(item.file, EventPoll):
                below = item.file.depth(top, limit - 1)
                if below < 0:
                    return -1
                deepest = max(deepest, below + 1)
        return deepest

    def collect(self, task: Current, limit: int) -> list[tuple[epitem, int]]:
        """Up to `limit` items with something to report."""
        found = []
        for item in list(self.items.values()):
            events = self.ready(item, task)
            if events:
                found.append((item, events))
                if len(found) == limit:
                    break
        return found

    def reported(self, item: epitem, events: int) -> None:
        """The guest has got these events."""
        if item.events & EPOLLONESHOT:
            item.events &= EP_PRIVATE_BITS
        elif item.events & EPOLLET:
            item.last |= events
            item.edges = item.file.edges(item.events)
        else:  # to the end of the ready list
            key = item.fd, id(item.file)
            if key in self.items:
                self.items[key] = self.items.pop(key)

    def fdinfo(self) -> str:
        return "".join(
            f"tfd: {item.fd:8d} events: {item.events:8x} data: {item.data:16x} \n" for item in self.items.values()
        )


def _is_its_turn(item: epitem) -> bool:
    """Is an exclusive item the one that gets what happened last to its file. Files that count nothing wake all."""
    file = item.file
    if type(file).edges is File.edges:
        return True
    key, now = item.events & _COUNTED, file.edges(item.events)
    if file.f_ep_exclusive is None:
        file.f_ep_exclusive = {}
    edges, owner = file.f_ep_exclusive.get(key, (-1, None))
    if edges != now:
        file.f_ep_exclusive[key] = now, item
        return True
    return owner is item
