# SPDX-License-Identifier: GPL-2.0-or-later
"""What CPUs share when they allocate: waits are those of an exact simulation, whatever the order of the calls."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

from emu.mm.batches import WINDOW, Bandwidth, Batches, Section
from emu.sched.cost import ICELAKE
from emu.sched.sched import Sched
from emu.sched.topology import Topology
from emu.tracepoint import Tracepoints

HOLD = 9000


def on(cpu: int, clock: int, last: int = 0) -> Any:
    topology = Topology(128, ICELAKE)
    return SimpleNamespace(
        rq=SimpleNamespace(id=cpu), clock=clock, horizon=last, cost=ICELAKE, transfer=topology.transfer
    )


def test_who_comes_while_it_is_held_waits_and_who_comes_before_does_not() -> None:
    section = Section()
    first, later, before = on(0, 20_000), on(0, 25_000), on(0, 5_000)
    section.hold(first, HOLD)
    section.hold(later, HOLD)
    section.hold(before, HOLD)
    assert first.clock == 20_000 + HOLD
    assert later.clock == 20_000 + 2 * HOLD
    assert before.clock == 5_000 + HOLD, "there was room before the first one"
    assert section.wait == 4_000


def test_a_gap_that_is_too_short_is_not_used() -> None:
    section = Section()
    for begin in (10_000, 22_000):
        section.hold(on(0, begin), HOLD)
    third = on(0, 12_000)
    section.hold(third, HOLD)
    assert third.clock == 22_000 + 2 * HOLD


def test_the_lock_travels() -> None:
    section = Section()
    section.hold(on(0, 0), HOLD)
    far = on(40, 50_000)
    section.hold(far, HOLD)
    assert far.clock == 50_000 + (1 + ICELAKE.list_lines) * ICELAKE.transfer_remote + HOLD, "lock, head of list, page"


def exact(requests: list[tuple[int, int]], hold: int) -> list[int]:
    """When each of (arrival, cpu) gets the lock, first come first served."""
    free, begins = 0, {}
    for arrival, cpu in sorted(requests):
        begins[cpu] = max(arrival, free)
        free = begins[cpu] + hold
    return [begins[cpu] for _, cpu in requests]


def test_requests_a_little_out_of_order_wait_as_long_on_average() -> None:
    random = Random(1)
    ours = theirs = 0
    for _ in range(200):
        requests = [(random.randrange(0, 40_000), cpu) for cpu in range(4)]
        order = sorted(requests, key=lambda request: request[0] + random.randrange(0, 1000))  # within one fault
        section = Section()
        for arrival, _ in order:
            sched = on(0, arrival)
            section.hold(sched, HOLD)
            ours += sched.clock - HOLD - arrival
        theirs += sum(begin - arrival for begin, (arrival, _) in zip(exact(requests, HOLD), requests))
    assert abs(ours / theirs - 1) < 0.05


def test_memory_takes_so_many_pages_in_a_window() -> None:
    memory = Bandwidth(20)
    sched = on(0, 0)
    for _ in range(WINDOW // 20):
        memory.page(sched)
    assert sched.clock == 0
    memory.page(sched)
    assert sched.clock == WINDOW


def test_a_page_takes_on_average_what_it_takes_on_one_cpu() -> None:
    sched = Sched(Tracepoints(), 2)
    batches = Batches(sched)
    count = 63 * 31 * 64
    for _ in range(count):
        batches.alloc()
        batches.clear()
        batches.add_anon()
    cost = ICELAKE
    alone = cost.page_alloc + cost.clear_page + cost.memcg_charge + cost.rmap_lru
    assert abs(sched.clock / count - alone) < 1


def test_a_cpu_that_runs_by_itself_leaves_nothing_behind() -> None:
    sched = Sched(Tracepoints(), 4)
    batches = Batches(sched)
    for _ in range(20_000):
        batches.alloc()
        batches.clear()
        batches.add_anon()
    assert len(batches.memory[0].pages) <= 1001
    assert all(len(lock.begins) <= 2 for lock in (*batches.zones, *batches.lrus, batches.memcg))
