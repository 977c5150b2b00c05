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


class Batches:
    """The allocator's and the LRU's shares of a fault on a machine with many CPUs."""

    def __init__(self, sched: Sched) -> None:
        cost: Cost = sched.cost
        self.sched = sched
        self.cost = cost
        cpus = len(sched.rqs)
        self.zones = [Section() for _ in range(cost.sockets)]
        self.lrus = [Section() for _ in range(cost.sockets)]
        self.memory = [Bandwidth(cost.memory_page) for _ in range(cost.sockets)]
        self.memcg = Section()
        self._node = sched.topology.socket_of
        self._pcp = [0] * cpus  # free frames that a CPU has (struct per_cpu_pages)
        self._lru = [0] * cpus  # folios that it has not added yet
        self._stock = [0] * cpus  # pages charged in advance (struct memcg_stock_pcp)
        self._lru_batch = cost.lru_batch
        self._refill = cost.pcp_batch * cost.zone_page
        self._drain = cost.lru_batch * cost.lru_page
        self._alloc = cost.page_alloc - cost.zone_page
        self._add = cost.memcg_charge + cost.rmap_lru - cost.lru_page
        # By Rq.rate: what `alloc` charges a CPU that has frames, and what it is until it waits no more for anything.
        self._in_stock = {
            rate: (
                self._alloc * rate // 100,
                sum(ns * rate // 100 for ns in (cost.clear_page, self._add, cost.anon_fault)),
            )
            for rate in (100, cost.smt_slowdown)
        }

    def anon_in_stock(self) -> bool:
        """`alloc`, `clear`, `add_anon` and the work of do_anonymous_page at once, where the running CPU has all of its
        own that they need; else False, and nothing has been done. Seven calls less a fault where many CPUs fault
        (2 us)."""
        sched = self.sched
        rq = sched.rq
        cpu = rq.id
        added = self._lru[cpu] + 1
        if not self._pcp[cpu] or not self._stock[cpu] or added == self._lru_batch:
            return False
        alloc, rest = self._in_stock[rq.rate]
        memory = self.memory[self._node[cpu]]
        clock = sched.clock + alloc
        window = clock // WINDOW
        used = memory.pages.get(window)
        if used is None or used >= memory.full:
            return False
        memory.pages[window] = used + 1
        self._pcp[cpu] -= 1
        self._stock[cpu] -= 1
        self._lru[cpu] = added
        sched.clock = clock + rest
        return True

    def alloc(self) -> None:
        """One frame for the running CPU, from its own list or, when that is empty, from the zone (rmqueue_pcplist)."""
        sched = self.sched
        cpu = sched.rq.id
        left = self._pcp[cpu]
        if not left:
            self.zones[self._node[cpu]].hold(sched, self._refill)
            left = self.cost.pcp_batch
        self._pcp[cpu] = left - 1
        sched.charge(self._alloc)

    def clear(self) -> None:
        """Write to the whole of a page, when the memory has room for that (clear_page)."""
        sched = self.sched
        self.memory[self._node[sched.rq.id]].page(sched)
        sched.charge(self.cost.clear_page)

    def add_anon(self) -> None:
        """Charge a new anonymous page to its group and put it on the LRU list."""
        sched = self.sched
        cost = self.cost
        cpu = sched.rq.id
        if not self._stock[cpu]:
            self.memcg.hold(sched, cost.atomic)
            self._stock[cpu] = cost.memcg_batch
        self._stock[cpu] -= 1
        self._lru[cpu] += 1
        if self._lru[cpu] == cost.lru_batch:
            self._lru[cpu] = 0
            self.lrus[self._node[cpu]].hold(sched, self._drain)
        sched.charge(self._add)

    def free(self, pages: int) -> None:
        """Give frames back: what is more than two batches goes to the zone (free_unref_page_commit)."""
        sched = self.sched
        cpu = sched.rq.id
        batch = self.cost.pcp_batch
        self._pcp[cpu] += pages
        over = self._pcp[cpu] - 2 * batch
        while over > 0:
            self.zones[self._node[cpu]].hold(sched, min(over, batch) * self.cost.zone_free)
            over -= batch
        if self._pcp[cpu] > 2 * batch:
            self._pcp[cpu] = 2 * batch
