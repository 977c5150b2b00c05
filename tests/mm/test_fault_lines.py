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
# Nothing that a fault reads is in the other half of mmap_lock's 128 bytes.
ALONE = replace(ICELAKE, lookup_beside_lock=0)
TABLE = 2 << 20  # bytes that a page table maps


def fault_all(locking: str, cost: Cost, tasks: int = TASKS) -> tuple[Box, int]:
    """Threads on CPUs of their own touch their parts of one VMA, with page tables of their own: the address space, and
    the time of the last one."""
    cpu = Threads(tasks)
    cpu.sched = Sched(Tracepoints(), tasks, cost=cost)
    box = make_box(locking, 128 << 20, cpu.sched)
    box.mm.mm_users = tasks
    box.map(BASE, tasks * TABLE, flags=0x32)
    box.touch(BASE)  # its anon_vma
    ends = []

    def thread(number: int) -> None:
        view = box.thread()
        for index in range(PAGES):
            view.touch(BASE + number * TABLE + (index << 12))
        ends.append(cpu.sched.clock)

    for number in range(tasks):
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
    together = fault_all("6.4", ALONE)[1]
    apart = fault_all("6.4", replace(ALONE, pgd_beside_lock=0))[1]
    assert together > apart + PAGES * ICELAKE.transfer_socket // 4


@pytest.mark.parametrize("locking", ["mmap_lock", "spf", "rfc", "6.4", "6.18"])
def test_what_a_look_up_reads_beside_mmap_lock_travels_with_it(locking: str) -> None:
    cost = replace(ICELAKE, prefetch_always=1)
    line = fault_all(locking, cost, 12)[0].mm.lookup_line
    assert line is not None
    assert line.transfers > PAGES * 12 // 2
    assert line.wait > PAGES * 12 * ICELAKE.transfer_socket // 5, "and each look-up waits for it"
    assert fault_all(locking, replace(cost, lookup_beside_lock=0))[0].mm.lookup_line is None
    assert fault_all("6.18", ICELAKE)[0].mm.lookup_line is None, "nor where nobody prefetches"


def test_a_lock_among_the_fields_of_the_vma_costs_more_than_one_beside_it() -> None:
    apart = replace(ICELAKE, pgd_beside_lock=0)
    assert fault_all("rfc", apart)[1] > fault_all("6.4", apart)[1] + PAGES * ICELAKE.transfer_socket


def test_speculative_faults_pay_for_a_sequence_count_beside_mmap_lock() -> None:
    apart = replace(ALONE, pgd_beside_lock=0)
    beside = replace(apart, seq_beside_lock=1)
    assert fault_all("spf", beside)[1] > fault_all("spf", apart)[1] + PAGES * ICELAKE.transfer_socket
    assert fault_all("6.4", beside)[1] == fault_all("6.4", apart)[1]


def test_the_owner_word_of_a_rwsem_costs_what_a_reference_count_saves() -> None:
    with_owner = replace(ICELAKE, pgd_beside_lock=0, prefetch_always=1, zone_page=1)
    without = replace(with_owner, owner_store=0)
    assert fault_all("6.4", with_owner, 24)[1] > 1.03 * fault_all("6.4", without, 24)[1]
    assert fault_all("6.18", with_owner, 24)[1] == fault_all("6.18", without, 24)[1]
