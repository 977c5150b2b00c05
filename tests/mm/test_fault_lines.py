# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cache lines a page fault takes from other CPUs, in each scheme and on each machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emu.sched.cost import ICELAKE, Cost
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints
from tests.locking.threads import Threads
from tests.support import Box, make_box

BASE, PAGES, TASKS = 0x10_0000_0000, 40, 4


def fault_all(locking: str, cost: Cost) -> tuple[Box, int]:
    """Threads on CPUs of their own touch their parts of one VMA: the address space, and the time of the last one."""
    cpu = Threads(TASKS)
    cpu.sched = Sched(Tracepoints(), TASKS, cost=cost)
    box = make_box(locking, 32 << 20, cpu.sched)
    box.mm.mm_users = TASKS
    box.map(BASE, TASKS * PAGES << 12, flags=0x32)
    box.touch(BASE)  # its anon_vma, and the page table
    ends = []

    def thread(number: int) -> None:
        view = box.thread()
        for index in range(number * PAGES, (number + 1) * PAGES):
            view.touch(BASE + (index << 12))
        ends.append(cpu.sched.clock)

    for number in range(TASKS):
        cpu.start(lambda number=number: thread(number))  # type: ignore[misc]
    cpu.run()
    return box, max(ends)


def mmap_line(locking: str, cost: Cost = ICELAKE) -> int:
    """How often the line of mmap_lock changed hands."""
    line = fault_all(locking, cost)[0].mm.mmap_lock.line
    assert line is not None
    return line.transfers


@pytest.mark.parametrize("locking", ["spf", "rfc", "6.4"])
def test_the_prefetch_takes_mmap_locks_line_though_the_fault_needs_no_mmap_lock(locking: str) -> None:
    assert mmap_line(locking) > PAGES * TASKS // 2


def test_from_6_16_on_there_is_no_prefetch() -> None:
    assert mmap_line("6.18") < 10
    assert mmap_line("6.18", replace(ICELAKE, prefetch_always=1)) > PAGES * TASKS // 2


def test_the_prefetch_costs_those_who_find_pgd_in_the_line() -> None:
    together = fault_all("6.4", ICELAKE)[1]
    apart = fault_all("6.4", replace(ICELAKE, pgd_beside_lock=0))[1]
    assert together > apart + PAGES * ICELAKE.transfer_socket // 4


def test_a_lock_among_the_fields_of_the_vma_costs_more_than_one_beside_it() -> None:
    apart = replace(ICELAKE, pgd_beside_lock=0)
    assert fault_all("rfc", apart)[1] > fault_all("6.4", apart)[1] + PAGES * ICELAKE.transfer_socket


def test_a_trylock_that_loads_first_asks_for_the_line_twice() -> None:
    apart = replace(ICELAKE, pgd_beside_lock=0)
    loads, exchanges = fault_all("6.4", apart)[0], fault_all("6.4", replace(apart, trylock_loads=0))[0]
    lines = [next(iter(box.mm.mm_mt)).vm_lock.line for box in (loads, exchanges)]
    assert lines[0].transfers > 1.3 * lines[1].transfers
