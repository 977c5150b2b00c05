# SPDX-License-Identifier: GPL-2.0-or-later
"""What a cache line costs its users: nothing to its owner, a journey to the next one, a queue to many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emu.sched.cacheline import CacheLine, pair_lines
from emu.sched.cost import ICELAKE, MACHINES, Cost, anon_fault_ns
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints

NEAR, FAR, HOLD = ICELAKE.transfer_socket, ICELAKE.transfer_remote, ICELAKE.transfer_hold


class Cpus:
    """Clocks of CPUs, as much of a Sched as a line uses."""

    def __init__(self, cost: Cost = ICELAKE) -> None:
        self.sched = Sched(Tracepoints(), cpus=128, cost=cost)

    def on(self, cpu: int, use: Any, at: int = 0) -> int:
        """`cpu` uses a line at `at` ns: how long that takes."""
        self.sched.rq = self.sched.rqs[cpu]
        self.sched.clock = at
        use(self.sched)
        return self.sched.clock - at


def test_the_owner_pays_nothing_and_the_next_one_a_journey() -> None:
    line, cpus = CacheLine(), Cpus()
    assert [cpus.on(0, line.write), cpus.on(0, line.write)] == [0, 0]
    assert cpus.on(1, line.write, 1000) == NEAR
    assert cpus.on(1, line.write, 2000) == 0
    assert cpus.on(40, line.write, 3000) == FAR
    assert cpus.on(40 + 64, line.write, 4000) == ICELAKE.transfer_smt
    assert line.transfers == 3
    assert line.wait == NEAR + FAR + ICELAKE.transfer_smt


def test_who_comes_while_it_travels_waits_for_its_turn() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    took = [cpus.on(cpu, line.write, 1000) for cpu in range(1, 6)]
    gap = NEAR * HOLD // 100
    assert took == [NEAR + gap * i for i in range(5)]


def test_copies_are_free_to_read_and_cost_the_next_writer_a_journey() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    assert cpus.on(0, line.read, 500) == 0
    assert cpus.on(1, line.read, 1000) == NEAR
    assert cpus.on(1, line.read, 2000) == 0
    assert cpus.on(33, line.read, 3000) == FAR
    assert cpus.on(0, line.write, 4000) == FAR, "the copy on the other socket must go"
    assert cpus.on(1, line.read, 5000) == NEAR, "and so did the near one"


def test_readers_do_not_queue_for_each_other() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    first = cpus.on(1, line.read, 1000)
    rest = [cpus.on(cpu, line.read, 1000) for cpu in range(2, 20)]
    assert first == NEAR
    assert set(rest) == {NEAR * HOLD // 100 + NEAR}, "all begin when the first copy is out, none waits for another"


def test_a_prefetch_costs_what_is_left_of_the_journey() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    assert cpus.on(40, line.prefetchw, 1000) == 0
    assert cpus.on(40, line.write, 1030) == FAR - 30
    assert cpus.on(0, line.prefetchw, 2000) == 0
    assert cpus.on(0, line.read, 2000 + FAR) == 0
    assert line.transfers == 2


def test_who_asked_ahead_keeps_its_place_in_the_queue() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    cpus.on(1, line.prefetchw, 1000)
    assert cpus.on(2, line.write, 1010) == NEAR * HOLD // 100 - 10 + NEAR, "it queues behind the prefetch"
    assert cpus.on(1, line.write, 1020) == NEAR - 20, "which gets the line all the same"
    assert line.transfers == 2


def test_what_was_asked_ahead_is_lost_when_the_next_journey_is_half_over() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    cpus.on(1, line.prefetchw, 1000)
    cpus.on(2, line.write, 2000)
    assert cpus.on(1, line.read, 2000 + NEAR // 2 - 1) == 0
    assert cpus.on(1, line.write, 2000 + NEAR // 2) > NEAR // 2
    assert line.transfers == 3


def test_who_asks_twice_makes_one_request() -> None:
    line, cpus = CacheLine(), Cpus()
    cpus.on(0, line.write)
    for cpu, clock in ((1, 1000), (2, 1000), (1, 1010), (1, 1000 + NEAR - 1)):
        cpus.on(cpu, line.prefetchw, clock)
    assert line.transfers == 2
    cpus.on(1, line.prefetchw, 1000 + NEAR)
    assert line.transfers == 3, "the line had come and gone"


def test_a_buffered_store_is_waited_for_once() -> None:
    line, cpus = CacheLine(), Cpus()
    assert cpus.on(1, line.drain) == 0
    cpus.on(0, line.write)
    cpus.on(1, line.prefetchw, 1000)
    assert cpus.on(2, line.drain, 1010) == 0
    assert cpus.on(1, line.drain, 1010) == NEAR - 10
    cpus.on(2, line.write, 2000)
    assert cpus.on(1, line.drain, 5000) == 0


LOADED = replace(ICELAKE, exchange_load=59)


@pytest.mark.parametrize("stores", [False, True])
def test_who_loads_before_it_exchanges_and_stores_behind_it_keeps_a_queue_waiting_longer(stores: bool) -> None:
    line, cpus = CacheLine(), Cpus(LOADED)
    use = line.exchange_and_store if stores else line.exchange
    held = NEAR * HOLD // 100
    cpus.on(0, line.write)
    assert cpus.on(1, use, 1000) == NEAR
    assert line.free_at == 1000 + held, "nobody waited"
    assert cpus.on(2, use, 1000) == held + NEAR
    more = LOADED.exchange_load + stores * LOADED.owner_store
    assert line.free_at == 1000 + 2 * held + held * more // 100
    before = line.free_at
    assert cpus.on(2, use, 1000 + held + NEAR) == 0
    assert line.free_at <= max(before, 1000 + held + NEAR)


def test_it_does_so_behind_a_prefetch_as_well() -> None:
    line, cpus = CacheLine(), Cpus(LOADED)
    cpus.on(0, line.write)
    cpus.on(1, line.prefetchw, 1000)
    cpus.on(2, line.prefetchw, 1000)
    before = line.free_at
    cpus.on(2, line.exchange, 1010)
    assert line.free_at == before, "nobody asked since"
    cpus.on(1, line.exchange, 1010)
    assert line.free_at == before + NEAR * HOLD // 100 * LOADED.exchange_load // 100


def pair(cpus: Cpus) -> tuple[CacheLine, CacheLine]:
    """Two halves of 128 bytes, both CPU 0's."""
    one, other = CacheLine(), CacheLine()
    pair_lines(one, other)
    for line in (one, other):
        cpus.on(0, line.write)
    return one, other


@pytest.mark.parametrize("use", ["write", "prefetchw"])
def test_who_takes_one_half_takes_the_other_too(use: str) -> None:
    cpus = Cpus()
    one, other = pair(cpus)
    cpus.on(1, getattr(one, use), 1000)
    assert (one.transfers, other.transfers) == (1, 1)
    assert cpus.on(1, other.read, 1000 + NEAR // 2) == NEAR - NEAR // 2, "what is left of its journey"
    assert cpus.on(0, other.read, 2000) == NEAR, "it is gone from where it was"


def test_who_reads_one_half_gets_a_copy_of_the_other() -> None:
    cpus = Cpus()
    one, other = pair(cpus)
    assert cpus.on(1, one.read, 1000) == NEAR
    assert cpus.on(1, other.read, 1000 + NEAR) == 0
    assert cpus.on(0, other.read, 2000) == 0
    assert cpus.on(1, other.write, 3000) == NEAR, "a copy is not enough to write"


def test_what_is_at_hand_is_no_request_for_the_other_half() -> None:
    cpus = Cpus()
    one, other = pair(cpus)
    for use in (one.write, one.read, one.prefetchw):
        cpus.on(0, use, 1000)
    assert (one.transfers, other.transfers) == (0, 0)
    cpus.on(1, other.prefetchw, 2000)
    cpus.on(1, other.prefetchw, 2010)
    assert (one.transfers, other.transfers) == (1, 1), "nor is a request that is under way"


def test_the_half_that_came_is_lost_while_its_user_waits_for_the_other_one() -> None:
    cpus = Cpus()
    one, other = pair(cpus)
    cpus.on(1, one.prefetchw, 1000)
    cpus.on(2, one.prefetchw, 1000)
    late = 1000 + NEAR * HOLD // 100 + NEAR
    assert cpus.on(1, one.read, late) > 0, "CPU 2 has it now"
    assert one.transfers == other.transfers == 3, "and both halves travel again"


def test_a_copy_is_lost_when_the_next_writers_journey_is_half_over() -> None:
    cpus = Cpus()
    one, _ = pair(cpus)
    cpus.on(1, one.read, 1000)
    cpus.on(2, one.write, 2000)
    assert cpus.on(1, one.read, 2000 + NEAR // 2 - 1) == 0
    assert cpus.on(1, one.read, 3000) == NEAR


def test_who_wrote_what_it_had_a_copy_of_may_write_until_it_is_lost() -> None:
    cpus = Cpus()
    one, _ = pair(cpus)
    cpus.on(1, one.read, 1000)
    assert cpus.on(1, one.write, 2000) == NEAR
    cpus.on(2, one.write, 3000)
    assert cpus.on(1, one.write, 3000 + NEAR // 2 - 1) == 0


def test_a_half_that_is_under_way_is_not_asked_for_again() -> None:
    cpus = Cpus()
    one, other = pair(cpus)
    other.free_at = 3000
    for cpu, clock in ((1, 1000), (2, 1100)):
        cpus.on(cpu, one.prefetchw, clock)
    assert cpus.on(1, one.read, 1300) == NEAR, "one half has come and gone"
    assert other.transfers == 2
    assert cpus.on(1, other.read, 1400) == 3000 + NEAR - 1400, "the other one comes in its turn"


def test_a_line_that_nobody_wrote_is_free() -> None:
    line, cpus = CacheLine(), Cpus()
    assert cpus.on(3, line.read) == 0
    assert line.transfers == 0


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: str(machine.name))
def test_every_figure_has_a_unit_and_a_source(machine: Cost) -> None:
    for name, value, unit, source in machine.entries():
        assert isinstance(value, int) and (value > 0 or (value == 0 and not unit)), name
        assert unit in ("", "ns", "KiB"), name
        assert len(source) > 20, name


@pytest.mark.parametrize(("machine", "rate"), [("icelake", 898_782), ("skylake", 573_600), ("broadwell", 507_566)])
def test_one_fault_adds_up_to_the_published_rate_of_one_thread(machine: str, rate: int) -> None:
    assert 1e9 / anon_fault_ns(MACHINES[machine]) == pytest.approx(rate, rel=0.01)


def test_distances_are_those_of_linux_numbering() -> None:
    assert ICELAKE.transfer(0, 0) == 0
    assert ICELAKE.transfer(0, 31) == ICELAKE.transfer(63, 32) == NEAR
    assert ICELAKE.transfer(31, 32) == ICELAKE.transfer(0, 96) == FAR
    assert ICELAKE.transfer(5, 69) == ICELAKE.transfer_smt
