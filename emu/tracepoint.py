# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracepoints: what every layer may emit, and the row that an event is.

Any layer may import this leaf module. An emitter asks `tp.on` first, so that a tracepoint costs one
attribute test while nobody listens. A row is a plain tuple in the order of `FIELDS`. An event whose
outcome is known only later (a page fault) takes its place with `reserve()` when it begins and fills it in when it
ends, so that rows stand in the order in which events began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

ENOUGH = 512  # rows that are worth a look at whether they can be taken


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
    CONTENTION_BEGIN = 22  # a task begins to wait for a lock (lock:contention_begin)
    CONTENTION_END = 23
    SCHED_SWITCH = 24  # the task of this row leaves its CPU to another one
    SCHED_WAKEUP = 25
    SCHED_PROCESS_FORK = 26
    TLB_FLUSH = 27
    VMA_MODIFY = 28  # the flags or the name of a VMA changed, its range did not


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
    SEQUENCE = 16  # spf: mmap_lock was taken for write meanwhile
    NO_PAGE_TABLE = 17  # spf: a page table would have to be made
    PAGE_TABLE_LOCKED = 18  # spf: somebody else has the page-table lock


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
    "address",  # fault: the address; mmap_lock, contention: the mm's serial number; VMA: vm_start; syscall: 0
    "ip",  # guest instruction pointer (0 where there is none)
    "code",  # fault: the syndrome (error_code, ESR, trap<<32|DSISR); syscall, signal: its number; lock and
    # contention: 1 = write; sched_switch: tid that runs next (0 = idle); wakeup, fork: the tid woken or made;
    # vma_remove: 1 = the whole address space goes
    "size",  # VMA events: length in bytes; tlb_flush: pages (0 = all); wakeup: the CPU; fork: the new task's pid
    "flags",  # fault: FAULT_FLAG_*; VMA events: vm_flags; contention: LCB_F_*; fork: CLONE_*
    "vma",  # serial number of the VMA, 0 = none
    "path",
    "reason",
    "served",
    "wait",  # nanoseconds waited for locks
    "holder",  # tid that was waited for (the last of several), 0 = none
    "result",  # fault: vm_fault_t; syscall: return value; lock acquired: 1 success, 0 failure; signal: si_code;
    # contention_end: 0 or -errno; sched_switch: 0 = still runnable, 1 = sleeps, 2 = has ended
    "text",  # str or None: kernel function of a kernel fault, name of a mapping, name of a syscall ...
    "args",  # tuple of ints or None: syscall arguments; signal: (si_addr,); fault: (entry before, entry after) and
    # behind them, where they are recorded, the user registers that the header names in user_regs;
    # VMA events: (mm, offset in the file in bytes, device, inode); exec, fork: (mm of the task from then on,)
    "duration",  # ns from the begin of the event to its end: fault, sys_exit; lock released: how long it was held
    "stack",  # tuple of return addresses, innermost first, or None; only where call stacks are recorded
)
Row = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, str | None,
            tuple[int, ...] | None, int, tuple[int, ...] | None]  # fmt: skip


class Waits:
    """What a task waited for since its current event began: the fault entries clear it and read it."""

    __slots__ = ("holder", "wait")

    def __init__(self) -> None:
        self.wait = 0  # ns
        self.holder = 0  # tid of the last holder


class Clock(Protocol):
    """Has the virtual time: `clock`, in ns since the machine started."""

    @property
    def clock(self) -> int: ...


class _Stopped:
    clock = 0


class Tracepoints:
    """Where events go. One for each machine; `on` is False until a listener attaches."""

    __slots__ = (
        "callchain", "cpu", "current", "enough", "first", "on", "open", "pid", "registers", "rows", "source", "tid",
    )  # fmt: skip

    def __init__(self) -> None:
        self.on = False
        self.rows: list[Row | None] = []  # None: an event whose outcome is not known yet
        self.enough = ENOUGH  # with more rows than these it is worth while to call `drain`
        self.first = 0  # number of the event that `rows` begins with
        self.open: dict[int, None] = {}  # numbers of the events whose outcome is not known yet, in order
        self.source: Clock = _Stopped()  # of the time of events
        # The guest's call stack where it is recorded, given the ip of a fault in user mode, or 0 in a system call.
        self.callchain: Callable[[int], tuple[int, ...]] | None = None
        # The user registers at a fault in user mode, where they are recorded, in the order of the header's user_regs.
        self.registers: Callable[[], Sequence[int]] | None = None
        self.cpu = 0
        self.pid = 0
        self.tid = 0
        self.current = Waits()  # of the task that runs

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
        args: tuple[int, ...] | None = (),
        wait: int = 0,
        holder: int = 0,
        reason: int = 0,
        duration: int = 0,
        stack: tuple[int, ...] | None = (),
    ) -> None:
        """Append one finished event. Call it only when `on` is true."""
        if self.callchain is not None and kind == Kind.CONTENTION_BEGIN:
            stack = self.callchain(0)
        self.rows.append(
            (
                self.source.clock,
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
                duration,
                stack,
            )
        )

    def clock(self) -> int:
        """The time that an event has which is emitted now, in ns."""
        return self.source.clock

    def reserve(self) -> int:
        """Take the next place for an event that begins now: its number, for `fill` once the rest is known."""
        rows = self.rows
        number = self.first + len(rows)
        self.open[number] = None
        rows.append(None)
        return number

    def fill(self, number: int, row: Row) -> None:
        """The event that took its place with `reserve` has ended."""
        # In one statement without a call: a signal handler of the host may drain, but not within it.
        self.rows[number - self.first] = row
        del self.open[number]

    def end(self) -> None:
        """The run is over: an event that is still open has no outcome, and leaves no row."""
        self.rows[:] = [row for row in self.rows if row is not None]
        self.open.clear()

    def drain(self) -> list[Row]:
        """Take all rows before the first event that is still open."""
        count = next(iter(self.open)) - self.first if self.open else len(self.rows)
        taken = self.rows[:count]
        del self.rows[:count]
        self.first += count
        self.enough = len(self.rows) + ENOUGH  # what an open event keeps here is not asked for at each look
        return taken  # type: ignore[return-value]
