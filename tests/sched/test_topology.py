# SPDX-License-Identifier: GPL-2.0-or-later
"""Where tasks go: over sockets first, then over cores, and on second threads of cores last."""

from __future__ import annotations

import pytest

from emu.sched.cost import ICELAKE
from emu.sched.topology import Topology

ALL = -1
MACHINE = Topology(128, ICELAKE)


def place(count: int, parent: int = 0, allowed: int = ALL) -> list[int]:
    """The CPUs of `count` new tasks on an idle machine but for the parent."""
    idle = (1 << 128) - 1 & ~(1 << parent)
    found = []
    for _ in range(count):
        cpu = MACHINE.for_new(idle, allowed, parent)
        found.append(cpu)
        if cpu >= 0:
            idle &= ~(1 << cpu)
    return found


def test_sockets_are_levelled_and_whole_cores_come_first() -> None:
    cpus = place(60)
    assert len(set(cpus)) == 60
    cores = {cpu % 64 for cpu in cpus}
    assert len(cores) == 60 and 0 not in cores, "nobody shares a core while another one is idle"
    near = sum(MACHINE.socket_of[cpu] == 0 for cpu in cpus)
    assert abs(near + 1 - (60 - near)) <= 3


def test_then_second_threads() -> None:
    cpus = place(127)
    assert sorted(cpus) == list(range(1, 128))
    assert min(cpus[66:]) >= 64


def test_a_pair_stays_near() -> None:
    assert [MACHINE.socket_of[cpu] for cpu in place(2)] == [0, 0]
    assert [MACHINE.socket_of[cpu] for cpu in place(2, parent=40)] == [1, 1]


def test_affinity_holds() -> None:
    assert place(1, allowed=1 << 77) == [77]
    assert place(1, allowed=1 << 0) == [-1], "the only one that it may use is busy"


def test_who_wakes_goes_back_where_it_ran() -> None:
    idle = (1 << 128) - 1
    assert MACHINE.for_woken(idle, ALL, 99) == 99
    assert MACHINE.for_woken(idle & ~(1 << 99), ALL, 99) == 32, "else to an idle core of its socket"
    assert MACHINE.for_woken(0, ALL, 99) == -1


def test_one_cpu() -> None:
    machine = Topology(1, ICELAKE)
    assert machine.for_new(1, ALL, 0) == 0
    assert machine.for_new(0, ALL, 0) == -1
    assert machine.sibling_of == [-1]


@pytest.mark.parametrize("cpus", [1, 5, 64, 130])
def test_the_tables_for_cache_lines_say_what_the_costs_say(cpus: int) -> None:
    topology = Topology(cpus, ICELAKE)
    assert topology.transfer == [[ICELAKE.transfer(a, b) for b in range(cpus)] for a in range(cpus)]
    for cpu, reach in enumerate(topology.reach):
        for other in set(range(cpus)) - {cpu}:
            assert next(ns for mask, ns in reach if mask >> other & 1) == ICELAKE.transfer(cpu, other)
