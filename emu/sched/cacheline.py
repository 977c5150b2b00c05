# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache line that several CPUs use.

A line belongs to the CPU that wrote it last; others may have copies to read. Who writes takes the line away from all
others, who reads takes a copy from the owner. Either way it travels (Cost.transfer: how far), and a line that many want
travels from one to the next: requests queue in the order in which they were made. The next journey begins when
`transfer_hold` per cent of the last one are over, for requests overlap a little.

Call `Sched.sync` before `write` or `read`, or the queue is not in the order of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.sched import Sched


class CacheLine:
    """`wait` and `transfers`: ns that its users waited for it altogether, and how often it changed hands."""

    __slots__ = ("arrives", "copies", "free_at", "owner", "transfers", "wait")

    def __init__(self) -> None:
        self.owner = -1  # the CPU that wrote it last
        self.copies = 0  # a bit for each other CPU that has read it since
        self.free_at = 0  # when the journey under way lets the next one begin
        self.arrives = 0  # when a prefetch of the owner's is there
        self.wait = 0
        self.transfers = 0

    def write(self, sched: Sched) -> None:
        """The running CPU writes to the line. Its own line costs nothing more than the work that it is part of."""
        cpu, cost = sched.rq.id, sched.cost
        owner = self.owner
        if owner == cpu and not self.copies:
            if self.arrives > sched.clock:
                self._await(sched)
            return
        if owner < 0:
            self.owner = cpu
            return
        journey = cost.transfer(owner, cpu) if owner != cpu else self._farthest_copy(sched)
        self.owner = cpu
        self.copies = 0
        self._travel(sched, journey)

    def prefetchw(self, sched: Sched) -> None:
        """The running CPU asks for the line to write to it later, and goes on: it waits for what is left of the journey
        when it uses the line, unless another CPU has taken it away by then."""
        cpu = sched.rq.id
        owner = self.owner
        if owner == cpu and not self.copies:
            return
        self.owner = cpu
        if owner < 0:
            return
        journey = sched.cost.transfer(owner, cpu) if owner != cpu else self._farthest_copy(sched)
        self.copies = 0
        begin = max(sched.clock, self.free_at)
        self.free_at = begin + journey * sched.cost.transfer_hold // 100
        self.arrives = begin + journey
        self.transfers += 1

    def read(self, sched: Sched) -> None:
        """The running CPU reads something in the line."""
        cpu = sched.rq.id
        owner = self.owner
        if owner == cpu or owner < 0 or self.copies >> cpu & 1:
            if owner == cpu and self.arrives > sched.clock:
                self._await(sched)
            return
        journey = sched.cost.transfer(owner, cpu)
        if self.copies:  # the owner gave it away to read before: this copy keeps nobody waiting
            begin = max(sched.clock, self.free_at)
            self.wait += begin + journey - sched.clock
            sched.clock = begin + journey
        else:
            self._travel(sched, journey)
        self.copies |= 1 << cpu

    def cmpxchg(self, sched: Sched) -> None:
        """The running CPU loads a word, looks at it, and exchanges it: it takes a copy first, then the line. These
        follow each other within the few ns for which a core that has a line keeps it, so nobody comes between."""
        self.read(sched)
        self.write(sched)

    def _farthest_copy(self, sched: Sched) -> int:
        """ns until all copies of the owner's line are gone: as far as the farthest of them."""
        cpu, copies, journey = self.owner, self.copies, 0
        while copies:
            low = copies & -copies
            copies ^= low
            journey = max(journey, sched.cost.transfer(cpu, low.bit_length() - 1))
        return journey

    def _await(self, sched: Sched) -> None:
        """The owner needs what it has asked for."""
        self.wait += self.arrives - sched.clock
        sched.clock = self.arrives

    def _travel(self, sched: Sched, journey: int) -> None:
        self.arrives = 0
        begin = max(sched.clock, self.free_at)
        self.free_at = begin + journey * sched.cost.transfer_hold // 100
        self.wait += begin + journey - sched.clock
        self.transfers += 1
        sched.clock = begin + journey
