# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache line that several CPUs use.

A line belongs to the CPU that wrote it last; others may have copies to read. Who writes takes the line away from all
others, who reads takes a copy from the owner. Either way it travels (Cost.transfer: how far), and a line that many want
travels from one to the next: requests queue in the order in which they were made. The next journey begins when
`transfer_hold` per cent of the last one are over, for requests overlap a little.

A CPU whose clock is past the horizon calls `Sched.sync_for` before it uses a line (`Sched.write_line` does so), or the
queue is not in the order of time. With a line that it alone has used for a while, a CPU may run ahead of others.
Whoever comes to it then with an earlier clock waits until the last use, so that what is under the line happens in one
order for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.sched import Sched


SETTLE = 20_000  # ns for which a line must have stayed with one CPU to count as its own


class CacheLine:
    """`wait` and `transfers`: ns that its users waited for it altogether, and how often it changed hands."""

    __slots__ = ("arrives", "copies", "free_at", "owner", "settled", "transfers", "wait")

    def __init__(self) -> None:
        self.owner = -1  # the CPU that wrote it last
        self.copies = 0  # a bit for each other CPU that has read it since
        self.free_at = 0  # when the journey under way lets the next one begin, or its owner used it last
        self.arrives = 0  # when a prefetch of the owner's is there
        self.settled = 0  # from when on it counts as its owner's alone, if it stays there
        self.wait = 0
        self.transfers = 0

    def write(self, sched: Sched) -> None:
        """The running CPU writes to the line. Its own line costs nothing more than the work that it is part of."""
        cpu = sched.rq.id
        owner = self.owner
        clock = sched.clock
        if owner != cpu:
            self.owner = cpu
            self.copies = 0
            if owner < 0:
                self.settled = clock + SETTLE
                return
            journey = sched.transfer[owner][cpu]
        elif self.copies:
            journey = self._farthest_copy(sched)
            self.copies = 0
        elif self.arrives > clock:
            self._await(sched)
            return
        else:
            if clock > self.free_at:
                self.free_at = clock
            return
        # _travel, which is a call less: two of these a fault where many CPUs fault (0.3 us each).
        self.arrives = 0
        begin = clock if clock > self.free_at else self.free_at
        self.free_at = begin + journey * sched.transfer_hold // 100
        begin += journey
        self.wait += begin - clock
        self.transfers += 1
        self.settled = begin + SETTLE
        sched.clock = begin

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
        journey = sched.transfer[owner][cpu] if owner != cpu else self._farthest_copy(sched)
        self.copies = 0
        begin = max(sched.clock, self.free_at)
        self.free_at = begin + journey * sched.transfer_hold // 100
        self.arrives = begin + journey
        self.settled = self.arrives + SETTLE
        self.transfers += 1

    def read(self, sched: Sched) -> None:
        """The running CPU reads something in the line."""
        cpu = sched.rq.id
        owner = self.owner
        if owner == cpu or owner < 0 or self.copies >> cpu & 1:
            if owner == cpu and self.arrives > sched.clock:
                self._await(sched)
            return
        journey = sched.transfer[owner][cpu]
        if self.copies:  # the owner gave it away to read before: this copy keeps nobody waiting
            clock = sched.clock
            ready = (clock if clock > self.free_at else self.free_at) + journey
            self.wait += ready - clock
            sched.clock = ready
        else:
            self._travel(sched, journey)
        self.copies |= 1 << cpu

    def cmpxchg(self, sched: Sched) -> None:
        """The running CPU loads a word, looks at it, and exchanges it: it takes a copy first, then the line. These
        follow each other within the few ns for which a core that has a line keeps it, so nobody comes between."""
        cpu = sched.rq.id
        owner = self.owner
        if owner == cpu or owner < 0 or self.copies:
            if owner != cpu:
                self.read(sched)
            self.write(sched)
            return
        # Both for a line that its owner alone has, as one: four calls less a fault where many CPUs fault (1 us).
        journey = sched.transfer[owner][cpu]
        clock = sched.clock
        held = journey * sched.transfer_hold // 100
        begin = clock if clock > self.free_at else self.free_at
        free_at = begin + held
        begin += journey
        if free_at > begin:
            begin = free_at
        self.free_at = begin + held
        begin += journey
        self.owner = cpu
        self.arrives = 0
        self.wait += begin - clock
        self.transfers += 2
        self.settled = begin + SETTLE
        sched.clock = begin

    def _farthest_copy(self, sched: Sched) -> int:
        """ns until all copies of the owner's line are gone: as far as the farthest of them."""
        copies = self.copies
        return next(journey for mask, journey in sched.reach[self.owner] if copies & mask)

    def _await(self, sched: Sched) -> None:
        """The owner needs what it has asked for."""
        self.wait += self.arrives - sched.clock
        sched.clock = self.arrives

    def _travel(self, sched: Sched, journey: int) -> None:
        self.arrives = 0
        clock = sched.clock
        begin = clock if clock > self.free_at else self.free_at
        self.free_at = begin + journey * sched.transfer_hold // 100
        begin += journey
        self.wait += begin - clock
        self.transfers += 1
        self.settled = begin + SETTLE
        sched.clock = begin
