# SPDX-License-Identifier: GPL-2.0-or-later
"""Futex keys, the queue of waiters, and access to the words in guest memory (kernel/futex/core.c).

Kernel code is not interrupted between two scheduling points, so the hash buckets' spinlocks have no counterpart here:
what runs from one `sync` to the next is atomic. An access that faults may sleep. So an operation reads its word with
faults off, and where that fails it faults the page in and begins again.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from emu.mm.gup import fixup_user_fault, get_user_page_fast
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.mm.rmap import anon_vma

if TYPE_CHECKING:
    from emu.kernel.futex.pi import PiState
    from emu.kernel.task import Task

FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK = 0x80000000, 0x40000000, 0x3FFFFFFF
FUTEX_BITSET_MATCH_ANY = 0xFFFFFFFF
READ, WRITE = False, True
Key = tuple[object, ...]
"""Private: (mm, address). Shared: (mm, address, "shared") in anonymous memory, else (address_space, byte offset)."""


class futex_q:
    """A waiter (struct futex_q). `queued`: it is in the queue of `key`, so nobody has woken it."""

    __slots__ = ("bitset", "key", "pi_state", "prio", "queued", "requeue_pi_key", "task", "waits_for_pi")

    def __init__(self, task: Task, key: Key, bitset: int = FUTEX_BITSET_MATCH_ANY) -> None:
        self.task = task
        self.key = key
        self.bitset = bitset
        self.prio = 99 - task.rt_priority if task.rt_priority else 100  # real-time tasks first, all others in turn
        self.queued = False
        self.pi_state: PiState | None = None  # the lock whose owner it waits for, or that it was given
        self.waits_for_pi = False  # sleeps in FUTEX_WAIT_REQUEUE_PI (rt_waiter)
        self.requeue_pi_key: Key | None = None  # where such a one expects to be requeued


class FutexTable:
    """The waiters and the priority-inheriting locks of a machine."""

    def __init__(self) -> None:
        self._queues: dict[Key, list[futex_q]] = {}
        self.pi_states: dict[PiState, None] = {}
        self.exiting: dict[Task, list[Task]] = {}  # tasks in futex_exit_release, and who waits for the end of it

    def waiters(self, key: Key) -> list[futex_q]:
        """Those that wait on a key, the one that is woken first in front (a copy)."""
        return list(self._queues.get(key, ()))

    def top_waiter(self, key: Key) -> futex_q | None:
        """futex_top_waiter."""
        queue = self._queues.get(key)
        return queue[0] if queue else None

    def queue(self, q: futex_q) -> None:
        """Put a waiter into the queue of its key (futex_queue)."""
        queue = self._queues.setdefault(q.key, [])
        place = len(queue)
        while place and queue[place - 1].prio > q.prio:
            place -= 1
        queue.insert(place, q)
        q.queued = True

    def unqueue(self, q: futex_q) -> bool:
        """Take a waiter out; False: it was woken before (futex_unqueue)."""
        if not q.queued:
            return False
        q.queued = False
        queue = self._queues[q.key]
        queue.remove(q)
        if not queue:
            del self._queues[q.key]
        return True

    def requeue(self, q: futex_q, key: Key) -> None:
        """Move a waiter to another key (requeue_futex)."""
        if q.key != key:
            self.unqueue(q)
            q.key = key
            self.queue(q)

    def wake(self, q: futex_q) -> None:
        """Take a waiter out and wake it (futex_wake_mark, wake_up_q)."""
        self.unqueue(q)
        q.task.machine.sched.wake(q.task)


def get_futex_key(task: Task, address: int, shared: bool, write: bool = READ) -> Key | int:
    """What the word at `address` is known by. -EINVAL when it is not aligned, -EFAULT where there is no such memory.

    A shared one is looked up through its page, which may fault it in. `write` says that it must be writable.
    """
    mm = task.mm
    if address & 3:
        return -EINVAL
    if not task.access.access_ok(address, 4):
        return -EFAULT
    if not shared:
        return mm, address
    found = get_user_page_fast(mm, address, True)
    read_only = False
    if found == -EFAULT and not write:
        found = get_user_page_fast(mm, address, False)
        read_only = True
    if isinstance(found, int):
        return found
    mapping = found.mapping
    if mapping is None:  # the zero page, or one that is being truncated
        return -EFAULT
    if isinstance(mapping, anon_vma):
        # A page that nobody may write never changes: nothing can be waited for.
        return -EFAULT if read_only else (mm, address, "shared")
    return mapping, (found.index << PAGE_SHIFT) + (address & PAGE_SIZE - 1)


def futex_get_value(task: Task, address: int) -> int | None:
    """Read a word with faults off; None: its page is not there (futex_get_value_locked)."""
    task.pagefault_disabled += 1
    value = task.access.get_user(address, 4, "futex_get_value_locked")
    task.pagefault_disabled -= 1
    return value


def futex_cmpxchg_value(task: Task, address: int, old: int, new: int) -> int | None:
    """Store `new` where `old` is: what was there, or None: the page is not there or not writable
    (futex_cmpxchg_value_locked). There is no scheduling point between load and store, and so it is atomic."""
    access = task.access
    task.pagefault_disabled += 1
    value = None
    if access.writable(address, "futex_atomic_cmpxchg_inatomic"):
        value = access.get_user(address, 4, "futex_atomic_cmpxchg_inatomic")
        if value == old:
            access.put_user(address, new, 4, "futex_atomic_cmpxchg_inatomic")
    task.pagefault_disabled -= 1
    return value


def fault_in_user_writeable(task: Task, address: int) -> int:
    """Make the page of a word writable: 0, -EFAULT or -ENOMEM."""
    mm = task.mm
    mmap_read_lock(mm)
    error = fixup_user_fault(mm, address, True)
    mmap_read_unlock(mm)
    return error


def get_user(task: Task, address: int) -> int:
    """Fault a word in by reading it: 0 or -EFAULT."""
    return 0 if task.access.get_user(address, 4) is not None else -EFAULT
