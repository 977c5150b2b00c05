# SPDX-License-Identifier: GPL-2.0-or-later
"""The event of a page fault, from its begin to its end. The fault entries ask for it only while somebody listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu.tracepoint import Row

if TYPE_CHECKING:
    from emu.mm.pgtable import PageTable
    from emu.sched.sched import Sched


class FaultEvent:
    """Of one task at a time: a fault of it ends before the next one begins. What must be known from the begin of a
    fault is kept here until its end, and nothing of it means anything afterwards."""

    __slots__ = ("_before", "_begun", "_number", "_registers", "_stack", "sched", "table")

    def __init__(self, sched: Sched, table: PageTable) -> None:
        self.sched = sched
        self.table = table  # of the address space that the faults are in
        self._number = 0  # of the event
        self._begun = 0  # ns
        self._before = 0  # entry of the page table
        self._stack: tuple[int, ...] = ()
        self._registers: Sequence[int] = ()

    def begin(self, address: int, ip: int) -> None:
        """A fault at `address` begins; `ip` is 0 where the kernel itself faults. The event has its place from now
        on."""
        sched = self.sched
        tp = sched.tp
        if sched.guest.retired >> 2 != sched.mark:  # inside the engine
            sched.leave_guest()
        self._begun = sched.clock
        self._number = tp.reserve()
        self._stack = tp.callchain(ip) if tp.callchain is not None else ()
        self._registers = tp.registers() if tp.registers is not None and ip else ()
        waits = tp.current
        waits.wait = waits.holder = 0
        self._before = self.table.peek(address)

    def end(
        self, kind: int, address: int, ip: int, syndrome: int, flags: int, vma: int, path: int, reason: int,
        served: int, result: int, function: str | None,
    ) -> None:  # fmt: skip
        """It ends: fill in the event."""
        sched = self.sched
        tp = sched.tp
        waits = tp.current
        row: Row = (
            self._begun, tp.cpu, tp.pid, tp.tid, kind, address, ip, syndrome, 0, flags, vma, path, reason, served,
            waits.wait, waits.holder, result, function, (self._before, self.table.peek(address), *self._registers),
            sched.clock - self._begun, self._stack,
        )  # fmt: skip
        tp.fill(self._number, row)
