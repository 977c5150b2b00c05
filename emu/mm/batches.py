# SPDX-License-Identifier: GPL-2.0-or-later
"""What CPUs share when they take and return pages, and its price: zone->lock and lru_lock of a node, the memory
controller's counter, and the memory of a socket.

Each CPU takes frames and adds folios in batches, so that it needs the shared lock only now and then: a refill holds
zone->lock for as long as it takes to unlink pcp_batch cold pages. None of this has a scheduling point, and it may run
inside the MMU callback. A lock here is therefore a list of the times at which it is or will be held: who comes by its
own clock into a gap that is long enough takes the lock there, although others asked before it in the order of the
simulation.

On a machine with one CPU nothing waits, and the average is part of the other entries of the table of costs.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.cost import Cost
    from emu.sched.sched import Sched


WINDOW = 10_000  # ns over which the use of a socket's memory is averaged


class Section:
    """A spinlock whose sections take a time that is known when they begin. `wait`: ns that all CPUs spun for it."""

    __slots__ = ("begins", "ends", "owner", "wait")

    def __init__(self) -> None:
        self.begins: list[int] = []  # of the sections that some CPU may still run into, in order
        self.ends: list[int] = []
        self.owner = -1
        self.wait = 0

    def hold(self, sched: Sched, ns: int) -> None:
        """The running CPU takes it, holds it for `ns` (1 or more), and releases it."""
        clock, cpu = sched.clock, sched.rq.id
        begins, ends = self.begins, self.ends
        past = bisect_right(ends, min(clock, sched.horizon))  # no CPU is further back
        if past:
            del begins[:past], ends[:past]
        begin = clock
        if self.owner != cpu:
            if self.owner >= 0:
                journey = sched.transfer[self.owner][cpu]
                begin += journey  # of the lock, and while it is held of the list that it protects
                ns += journey * sched.cost.list_lines
            self.owner = cpu
        place = bisect_right(ends, begin)
        while place < len(begins) and begins[place] < begin + ns:
            begin = ends[place]
            place += 1
        begins.insert(place, begin)
        ends.insert(place, begin + ns)
        self.wait += begin - clock
        sched.clock = begin + ns


class Bandwidth:
    """The memory of a socket: how many pages it can take in each window of time."""

    __slots__ = ("full", "pages")

    def __init__(self, page_ns: int) -> None:
        self.full = WINDOW // page_ns
        self.pages: dict[int, int] = {}  # by number of the window

    def page(self, sched: Sched) -> None:
        """The running CPU writes a page: it waits for a window that has room."""
        pages = self.pages
        window = sched.clock // WINDOW
        used = pages.get(window, 0)
        while used >= self.full:
            window += 1
            sched.clock = window * WINDOW
            used = pages.get(window, 0)
        if not used and len(pages) > 1000:
            now = min(sched.clock, sched.horizon) // WINDOW
            for old in [number for number in pages if number < now]:
                del pages[old]
        pages[window] = used + 1


class Share:
    """What one CPU has of its own. `ready`: for how many anonymous faults that will do; those that took place since
    `grant` are not yet in the other numbers."""

    __slots__ = ("_granted", "folios", "frames", "lru", "memory", "ready", "stock", "zone")

    def __init__(self, zone: Section, lru: Section, memory: Bandwidth) -> None:
        self.zone, self.lru, self.memory = zone, lru, memory  # of its node
        self.frames = 0  # free ones (struct per_cpu_pages)
        self.folios = 0  # not yet added to the LRU list (struct folio_batch)
        self.stock = 0  # pages charged in advance (struct memcg_stock_pcp)
        self.ready = self._granted = 0

    def settle(self) -> None:
        """Bring the numbers up to date; `grant` follows."""
        used = self._granted - self.ready
        self.frames -= used
        self.stock -= used
        self.folios += used

    def grant(self, lru_batch: int) -> None:
        """The numbers have changed."""
        self.ready = self._granted = min(self.frames, self.stock, lru_batch - 1 - self.folios)


class Batches:
    """The allocator's and the LRU's shares of a fault on a machine with many CPUs."""

    __slots__ = (  # what _batches.c reads; all else is in __dict__
        "__dict__", "_in_stock", "_numbers", "_shares", "memcg", "sched",
    )  # fmt: skip

    def __init__(self, sched: Sched) -> None:
        cost: Cost = sched.cost
        self.sched = sched
        self.cost = cost
        new_section = sched.kind_of(Section)
        self.zones = [new_section() for _ in range(cost.sockets)]
        self.lrus = [new_section() for _ in range(cost.sockets)]
        self.memory = [Bandwidth(cost.memory_page) for _ in range(cost.sockets)]
        self.memcg = new_section()
        nodes = [sched.topology.socket_of[rq.id] for rq in sched.rqs]
        self._shares = [Share(self.zones[node], self.lrus[node], self.memory[node]) for node in nodes]
        self._refill = cost.pcp_batch * cost.zone_page
        self._drain = cost.lru_batch * cost.lru_page
        self._alloc = cost.page_alloc - cost.zone_page
        self._add = cost.memcg_charge + cost.rmap_lru - cost.lru_page
        self._numbers = (  # for _batches.c
            self._refill, cost.pcp_batch, self._alloc, cost.clear_page, cost.atomic, cost.memcg_batch, cost.lru_batch,
            self._drain, self._add, cost.anon_fault,
        )  # fmt: skip
        # By Rq.rate: what `alloc` charges a CPU that has frames, and what it is until it waits no more for anything.
        self._in_stock = {
            rate: (
                self._alloc * rate // 100,
                sum(ns * rate // 100 for ns in (cost.clear_page, self._add, cost.anon_fault)),
            )
            for rate in (100, cost.smt_slowdown)
        }

    def new_anon(self) -> None:
        """A zeroed page of the running task's own, charged and on the LRU (alloc_anon_folio and what follows)."""
        # `alloc`, `clear`, `add_anon` and the work of do_anonymous_page at once, where the running CPU has all of its
        # own that they need: seven calls less a fault where many CPUs fault (2 us).
        sched = self.sched
        rq = sched.rq
        share = self._shares[rq.id]
        if share.ready:
            alloc, rest = self._in_stock[rq.rate]
            memory = share.memory
            pages = memory.pages
            clock = sched.clock + alloc
            window = clock // WINDOW
            used = pages.get(window)
            if used is not None and used < memory.full:
                pages[window] = used + 1
                share.ready -= 1
                sched.clock = clock + rest
                return
        share.settle()
        self._take_frame(share)
        self.clear()
        self._add_folio(share)
        share.grant(self.cost.lru_batch)
        sched.charge(self.cost.anon_fault)

    def alloc(self) -> None:
        """One frame for the running CPU, from its own list or, when that is empty, from the zone (rmqueue_pcplist)."""
        share = self._shares[self.sched.rq.id]
        share.settle()
        self._take_frame(share)
        share.grant(self.cost.lru_batch)

    def _take_frame(self, share: Share) -> None:
        sched = self.sched
        if not share.frames:
            share.zone.hold(sched, self._refill)
            share.frames = self.cost.pcp_batch
        share.frames -= 1
        sched.charge(self._alloc)

    def clear(self) -> None:
        """Write to the whole of a page, when the memory has room for that (clear_page)."""
        sched = self.sched
        self._shares[sched.rq.id].memory.page(sched)
        sched.charge(self.cost.clear_page)

    def add_anon(self) -> None:
        """Charge a new anonymous page to its group and put it on the LRU list."""
        share = self._shares[self.sched.rq.id]
        share.settle()
        self._add_folio(share)
        share.grant(self.cost.lru_batch)

    def _add_folio(self, share: Share) -> None:
        sched = self.sched
        cost = self.cost
        if not share.stock:
            self.memcg.hold(sched, cost.atomic)
            share.stock = cost.memcg_batch
        share.stock -= 1
        share.folios += 1
        if share.folios == cost.lru_batch:
            share.folios = 0
            share.lru.hold(sched, self._drain)
        sched.charge(self._add)

    def free(self, pages: int) -> None:
        """Give frames back: what is more than two batches goes to the zone (free_unref_page_commit)."""
        sched = self.sched
        share = self._shares[sched.rq.id]
        batch = self.cost.pcp_batch
        share.settle()
        share.frames += pages
        over = share.frames - 2 * batch
        while over > 0:
            share.zone.hold(sched, min(over, batch) * self.cost.zone_free)
            over -= batch
        share.frames = min(share.frames, 2 * batch)
        share.grant(self.cost.lru_batch)
