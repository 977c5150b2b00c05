# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracepoints: what every layer may emit, and the row that an event is.

Any layer may import this leaf module. An emitter asks `tp.on` first, so that a tracepoint costs one
attribute test while nobody listens. A row is a plain tuple in the order of `FIELDS`. An event whose
outcome is known only later (a page fault) takes its place with `reserve()` when it begins and is filled in with
`fill()` when it ends, so that rows stand in the order in which events began.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Kind(IntEnum):
    """What happened. Names follow the kernel's tracepoints where it has one."""

    PAGE_FAULT_USER = 1
    PAGE_FAULT_KERNEL = 2
    MMAP_LOCK_START_LOCKING = 3
    MMAP_LOCK_ACQUIRE_RETURNED = 4
    MMAP_LOCK_RELEASED = 5
    VMA_LOCK_READ = 6
    VMA_LOCK_READ_FAILED = 7
    VMA_LOCK_RELEASED = 8
    VMA_LOCK_WRITE = 9
    VMA_CREATE = 10
    VMA_SPLIT = 11
    VMA_MERGE = 12
    VMA_RESIZE = 13
    VMA_REMOVE = 14
    SYS_ENTER = 15
    SYS_EXIT = 16
    SIGNAL_GENERATE = 17
    SIGNAL_DELIVER = 18
    EXEC = 19
    EXIT = 20
    OOM_KILL = 21


class Path(IntEnum):
    """Which lock protected the handling of a fault at its end."""

    NONE = 0  # decided before any lock (no mm, bad address), or no lock taken
    VMA_LOCK = 1
    MMAP_LOCK = 2
    MMAP_LOCK_WRITE = 3  # mmap_lock taken for write to grow a stack, then downgraded
    SPECULATIVE = 4


class Reason(IntEnum):
    """Why a faster path did not serve a fault (0: it did, or the scheme has no faster one)."""

    NONE = 0
    SCHEME = 1  # --locking mmap_lock has no VMA lock
    KERNEL_MODE = 2  # not FAULT_FLAG_USER
    SINGLE_USER = 3  # rfc: mm_users == 1
    NO_VMA = 4  # nothing found at the address
    OUTSIDE = 5  # a VMA above the address (stack growth) or one that moved away
    NOT_ANONYMOUS = 6
    NO_ANON_VMA = 7
    WRITE_LOCKED = 8  # a writer holds the VMA
    DETACHED = 9
    ACCESS_ERROR = 10
    RETRY = 11  # the handler gave VM_FAULT_RETRY under the VMA lock
    SWAP = 12
    USERFAULTFD = 13
    NO_MAP_PAGES = 14  # vm_ops->fault without map_pages
    OVERFLOW = 15  # reference count limit


class Served(IntEnum):
    """What a fault turned out to be."""

    NONE = 0
    ANON = 1  # a new zeroed page
    ZERO_PAGE = 2  # the shared zero page, for a read
    COW = 3  # copy on write of a present page
    REUSE = 4  # write fault on a page that is ours alone
    FILE_READ = 5  # page cache, read (with fault-around)
    FILE_COW = 6  # private file page, written first
    FILE_SHARED = 7  # shared file or shmem page, written
    MKWRITE = 8  # shared page made writable
    SPURIOUS = 9  # the entry was good already
    YOUNG = 10  # only accessed or dirty had to be set
    STACK = 11  # a stack grew, then a new page
    SIGNAL = 12  # the task got a signal
    FIXUP = 13  # a kernel access failed: EFAULT
    OOM = 14


FIELDS = (
    "time",  # virtual nanoseconds since the machine started
    "cpu",
    "pid",
    "tid",
    "kind",
    "address",  # fault: the address; lock: the mm's or VMA's serial number; VMA: vm_start; syscall: 0
    "ip",  # guest instruction pointer (0 where there is none)
    "code",  # fault: the syndrome (error_code, ESR, trap<<32|DSISR); syscall, signal: its number; lock: 1 = write
    "size",  # VMA events: length in bytes
    "flags",  # fault: FAULT_FLAG_*; VMA events: vm_flags
    "vma",  # serial number of the VMA, 0 = none
    "path",
    "reason",
    "served",
    "wait",  # nanoseconds waited
    "holder",  # tid that was waited for, 0 = none
    "result",  # fault: vm_fault_t; syscall: return value; lock acquired: 1 success, 0 failure; signal: si_code
    "text",  # str or None: kernel function of a kernel fault, name of a mapping, name of a syscall ...
    "args",  # tuple of ints or None: syscall arguments; signal: (si_addr,)
)
Row = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, str | None,
            tuple[int, ...] | None]  # fmt: skip


class Tracepoints:
    """Where events go. One for each machine; `on` is False until a listener attaches."""

    __slots__ = ("clock", "cpu", "on", "open", "pid", "rows", "tid")

    def __init__(self) -> None:
        self.on = False
        self.rows: list[Row | None] = []
        self.open = 0  # events begun and not yet filled in
        self.clock: Callable[[], int] = lambda: 0  # virtual time in ns
        self.cpu = 0
        self.pid = 0
        self.tid = 0

    def emit(
        self,
        kind: int,
        address: int = 0,
        ip: int = 0,
        code: int = 0,
        size: int = 0,
        flags: int = 0,
        vma: int = 0,
        result: int = 0,
        text: str | None = None,
        args: tuple[int, ...] | None = None,
        wait: int = 0,
        holder: int = 0,
        reason: int = 0,
    ) -> None:
        """Append one finished event. Call it only when `on` is true."""
        self.rows.append(
            (
                self.clock(),
                self.cpu,
                self.pid,
                self.tid,
                kind,
                address,
                ip,
                code,
                size,
                flags,
                vma,
                0,
                reason,
                0,
                wait,
                holder,
                result,
                text,
                args,
            )
        )

    def reserve(self) -> int:
        """Take the next place for an event that begins now; give the index to `fill`."""
        self.open += 1
        self.rows.append(None)
        return len(self.rows) - 1

    def fill(self, index: int, row: Row) -> None:
        """Fill in the event that `reserve` gave `index` to."""
        self.rows[index] = row
        self.open -= 1

    def drain(self) -> list[Row]:
        """Take all rows, when no event is open (else none: the place of an open event must not move)."""
        if self.open:
            return []
        rows, self.rows = self.rows, []
        return rows  # type: ignore[return-value]
