# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache line that several CPUs use.

A line belongs to the CPU that wrote it last; others may have copies to read. Who writes takes the line away from all
others, who reads takes a copy from the owner. Either way it travels (Cost.transfer: how far), and a line that many want
travels from one to the next: requests queue in the order in which they were made, and who asked ahead (`prefetchw`)
has its place there while it works on. The next journey begins when `transfer_hold` per cent of the last one are over:
less than 100 where requests overlap, more where a line that is fought for takes longer than one that is not.

A processor that fetches one half of 128 bytes fetches the other half too (`pair_lines`; Intel 64 and IA-32
Architectures Optimization Reference Manual, "Data Prefetch to the L2 and Last Level Cache", Spatial Prefetcher): each
request of a CPU for a line of a pair is one for both, to the same end, and it waits for neither before it uses it.

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


class Turn:
    """When a line that a CPU asked for ahead arrives there, and until when it is there at least. `copy`: to be read."""

    __slots__ = ("arrives", "copy", "leaves")

    def __init__(self, arrives: int, copy: bool = False) -> None:
        self.arrives = arrives
        self.copy = copy
        self.leaves = 1 << 62  # nobody has asked since


class CacheLine:
    """`wait` and `transfers`: ns that its users waited for it altogether, and how often it changed hands."""

    __slots__ = ("asked", "copies", "free_at", "owner", "pair", "settled", "transfers", "wait")

    def __init__(self) -> None:
        self.owner = -1  # the CPU that wrote it last
        self.copies = 0  # a bit for each other CPU that has read it since
        self.free_at = 0  # when the journey under way lets the next one begin, or its owner used it last
        self.asked: dict[int, Turn] | None = None  # the turns of CPUs that asked for it ahead, as soon as one does
        self.pair: CacheLine | None = None  # the other half of 128 bytes, where others use that too
        self.settled = 0  # from when on it counts as its owner's alone, if it stays there
        self.wait = 0
        self.transfers = 0

    def write(self, sched: Sched) -> None:
        """The running CPU writes to the line. Its own line costs nothing more than the work that it is part of."""
        if self.asked is not None and self._came(sched, True):
            return
        cpu = sched.rq.id
        clock = sched.clock
        if self.owner < 0:
            self.owner = cpu
            self.settled = clock + SETTLE
            return
        if self.owner == cpu and not self.copies:
            if clock > self.free_at:
                self.free_at = clock
            return
        if self.pair is not None:
            self.pair._ask(sched)
        arrives = self._take(sched)
        if self.asked is not None and cpu in self.asked:
            self.asked[cpu] = Turn(arrives)
        self.wait += arrives - clock
        sched.clock = arrives

    def prefetchw(self, sched: Sched) -> None:
        """The running CPU asks for the line to write to it later, and goes on; so does a store, which waits in a
        buffer. The line comes in its turn and stays until the journey to the next one that asked is half over; who uses
        it before waits for it. One that asks again meanwhile makes no second request."""
        if self._ask(sched) and self.pair is not None:
            self.pair._ask(sched)

    def read(self, sched: Sched) -> None:
        """The running CPU reads something in the line."""
        cpu = sched.rq.id
        if self.asked is not None and self._came(sched, False):
            return
        owner = self.owner
        if owner == cpu or owner < 0 or self.copies >> cpu & 1:
            return
        if self.pair is not None:
            self.pair._ask_for_copy(sched)
        ready = self._copy(sched)
        self.wait += ready - sched.clock
        sched.clock = ready

    def exchange(self, sched: Sched) -> None:
        """The running CPU loads a word of the line, looks at it, and exchanges it. Where others queue for the line, one
        of them gets it in between now and then: `exchange_load` per cent of a journey more, for which they wait."""
        self._exchange(sched, 0)

    def exchange_and_store(self, sched: Sched) -> None:
        """As `exchange`, and a plain store to another word of the line behind it."""
        self._exchange(sched, sched.cost.owner_store)

    def drain(self, sched: Sched) -> None:
        """The running CPU waits for a line that it stores to: its next atomic instruction does that."""
        if self.asked is not None:
            self._came(sched, True)

    def _exchange(self, sched: Sched, more: int) -> None:
        cpu, clock, owner, free_at = sched.rq.id, sched.clock, self.owner, self.free_at
        self.write(sched)
        if free_at > clock and owner != cpu:
            more += sched.exchange_load
            self.free_at += sched.transfer[owner][cpu] * sched.transfer_hold // 100 * more // 100

    def _ask(self, sched: Sched) -> bool:
        """A request to write to the line later, where one is needed: was it?"""
        cpu = sched.rq.id
        owner = self.owner
        if owner == cpu and not self.copies:
            return False
        if self.asked is None:
            self.asked = {}
        turn = self.asked.get(cpu)
        if turn is not None and not turn.copy and turn.arrives > sched.clock:
            return False
        if owner < 0:
            self.owner = cpu
            return False
        self.asked[cpu] = Turn(self._take(sched))
        return True

    def _ask_for_copy(self, sched: Sched) -> None:
        """A request to read the line later, where one is needed."""
        cpu = sched.rq.id
        if self.owner == cpu or self.owner < 0 or self.copies >> cpu & 1:
            return
        assert self.asked is not None
        turn = self.asked.get(cpu)
        if turn is None or turn.arrives <= sched.clock >= turn.leaves:
            self._copy(sched)

    def _take(self, sched: Sched) -> int:
        """A request to take the line from its owner and all that have copies: when it is there."""
        cpu, owner = sched.rq.id, self.owner
        journey = sched.transfer[owner][cpu] if owner != cpu else self._farthest_copy(sched)
        begin = max(sched.clock, self.free_at)
        if self.asked is not None:
            self._leaves(begin + journey // 2)
        self.owner = cpu
        self.copies = 0
        self.free_at = begin + journey * sched.transfer_hold // 100
        self.settled = begin + journey + SETTLE
        self.transfers += 1
        return begin + journey

    def _copy(self, sched: Sched) -> int:
        """A request for a copy to read: when it is there."""
        cpu, clock = sched.rq.id, sched.clock
        journey = sched.transfer[self.owner][cpu]
        begin = max(clock, self.free_at)
        ready = begin + journey
        if not self.copies:  # else the owner gave it away to read before: this copy keeps nobody waiting
            self.free_at = begin + journey * sched.transfer_hold // 100
            self.transfers += 1
            self.settled = ready + SETTLE
        self.copies |= 1 << cpu
        if self.asked is not None:
            self.asked[cpu] = Turn(ready, copy=True)
        return ready

    def _leaves(self, clock: int) -> None:
        """The owner has the line no longer than until then, and others that have copies have them no longer."""
        assert self.asked is not None
        holders = self.copies | 1 << self.owner
        while holders:
            last = holders.bit_length() - 1
            turn = self.asked.get(last)
            if turn is not None:
                turn.leaves = clock
            holders ^= 1 << last

    def _came(self, sched: Sched, to_write: bool) -> bool:
        """Has the running CPU asked for the line, and not lost it again; it waits for its turn if need be. A copy will
        do, unless it is `to_write`."""
        assert self.asked is not None
        turn = self.asked.get(sched.rq.id)
        if turn is None:
            return False
        clock = sched.clock
        if turn.arrives > clock:
            self.wait += turn.arrives - clock
            sched.clock = turn.arrives
        elif clock >= turn.leaves or self.owner == sched.rq.id:
            return False
        return not (turn.copy and to_write)

    def _farthest_copy(self, sched: Sched) -> int:
        """ns until all copies of the owner's line are gone: as far as the farthest of them."""
        copies = self.copies
        return next(journey for mask, journey in sched.reach[self.owner] if copies & mask)


def pair_lines(one: CacheLine, other: CacheLine) -> None:
    """The two are halves of the same 128 bytes."""
    one.pair, other.pair = other, one
    for line in (one, other):
        if line.asked is None:
            line.asked = {}
