# SPDX-License-Identifier: GPL-2.0-or-later
"""What all locks share: a name for reports, the events of a wait, and the account of who waited how long for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from emu.sched.fair import tick_after
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched

# Flags of contention_begin (LCB_F_*).
LCB_F_SPIN, LCB_F_READ, LCB_F_WRITE, LCB_F_RT, LCB_F_PERCPU, LCB_F_MUTEX = 1, 2, 4, 8, 16, 32


class Lock:
    """Base of the locks. `name`: the class of the lock, as reports show it; `ident`: which one it is (the serial number
    of its mm); `vma`: serial number of its VMA. `line`: the cache line of its word, None on a machine with one CPU."""

    __slots__ = ("ident", "line", "name", "sched", "vma")

    def __new__(cls, sched: Sched, *_: object, **__: object) -> Self:
        """Of the class itself, or of the one that the machine has in its place."""
        return object.__new__(sched.kind_of(cls))

    def __init__(self, sched: Sched, name: str, ident: int = 0, vma: int = 0) -> None:
        self.sched = sched
        self.name = name
        self.ident = ident
        self.vma = vma
        self.line = sched.new_line() if len(sched.rqs) > 1 else None

    def contention_begin(self, flags: int, holder: SchedEntity | None) -> int:
        """The running task begins to wait: an event, and a note of what it waits for. Returns the time, in ns."""
        sched = self.sched
        pid = holder.pid if holder is not None else 0
        tp = sched.tp
        if tp.on:
            tp.emit(
                Kind.CONTENTION_BEGIN, self.ident, code=int(not flags & LCB_F_READ), flags=flags, vma=self.vma,
                text=self.name, holder=pid,
            )  # fmt: skip
        sched.current.waiting_for = f"{self.name}, held by {pid}" if pid else self.name
        return sched.clock

    def contention_end(self, flags: int, begin: int, holder: int, result: int = 0) -> None:
        """The wait that began at `begin` is over: the task's account of waits, and an event. `holder`: tid that ended
        it, `result`: 0 or -errno."""
        sched = self.sched
        wait = sched.clock - begin
        tp = sched.tp
        waits = tp.current
        waits.wait += wait
        if holder:
            waits.holder = holder
        sched.current.waiting_for = ""
        if tp.on:
            tp.emit(
                Kind.CONTENTION_END, self.ident, code=int(not flags & LCB_F_READ), flags=flags, vma=self.vma,
                text=self.name, wait=wait, holder=holder, result=result,
            )  # fmt: skip


def need_resched(sched: Sched) -> bool:
    """Is another task due on this CPU."""
    return sched.current.need_resched or (sched.rq.waiting > 0 and sched.clock >= sched.rq.slice_end)


def next_tick(sched: Sched) -> int:
    """The moment of this CPU's next timer interrupt, in ns: when a spinning task learns that another one is due."""
    return tick_after(sched.clock + 1)


def owner_on_cpu(owner: SchedEntity) -> bool:
    """Does the owner of a lock run now, so that it pays to spin until it lets go."""
    rq = owner.rq
    return rq is not None and rq.curr is owner
