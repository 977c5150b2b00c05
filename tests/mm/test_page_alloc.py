# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, and when the host gives memory to them."""

from __future__ import annotations

import mmap
from typing import Any

import pytest

from emu.hw.ram import PAGE_SIZE, Ram
from emu.mm.mm_types import page
from emu.mm.page_alloc import AHEAD, HIGH, PageAllocator, zone_batchsize
from emu.sched.native import NativeSched
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints


def allocator_of(ram: Ram, cpus: int = 1, kind: type[Sched] = Sched) -> PageAllocator:
    sched = kind(Tracepoints(), cpus)
    return sched.kind_of(PageAllocator)(ram, sched)


def test_the_host_gives_memory_to_many_frames_at_once() -> None:
    ram = Ram(4 * AHEAD * PAGE_SIZE)
    allocator = allocator_of(ram)
    assert ram.resident() == 0
    first = allocator.alloc_page()
    assert first is not None and first.pfn == 1
    assert ram.resident() == AHEAD * PAGE_SIZE
    for _ in range(AHEAD - 1):
        allocator.alloc_page()
    assert ram.resident() == AHEAD * PAGE_SIZE
    allocator.alloc_page()
    assert ram.resident() == 2 * AHEAD * PAGE_SIZE


def test_frames_are_all_there_and_read_as_zero_up_to_the_last_one() -> None:
    ram = Ram(PAGE_SIZE * (AHEAD + 10))
    allocator = allocator_of(ram)
    for number in range(1, ram.npages):
        frame = allocator.alloc_page()
        assert frame is not None and frame.pfn == number
        assert ram.read(number * PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)
    assert allocator.alloc_page() is None


def test_a_host_that_cannot_do_so_gives_memory_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emu.hw.ram._MADV_POPULATE_WRITE", 9999)  # EINVAL, as from before Linux 5.14
    ram = Ram(4 * AHEAD * PAGE_SIZE)
    frame = allocator_of(ram).alloc_page()
    assert frame is not None and ram.resident() == 0
    ram.write(frame.pfn * PAGE_SIZE, b"x")
    assert ram.resident() == mmap.PAGESIZE


def test_a_cpu_takes_as_many_frames_at_a_time_as_in_linux() -> None:
    """Figures of zone_batchsize for 4 KiB pages."""
    gib = 1 << 18
    sizes = [zone_batchsize(pages) for pages in (1, gib >> 6, gib >> 2, gib >> 1, gib, 64 * gib)]
    assert sizes == [1, 1, 15, 31, 63, 63]


def frames(taken: list[page | None]) -> list[int]:
    return [each.pfn for each in taken if each is not None]


@pytest.mark.parametrize("kind", [Sched, NativeSched])
def test_each_cpu_has_frames_of_its_own(kind: type[Sched]) -> None:
    allocator = allocator_of(Ram(64 << 20), 2, kind)
    sched, batch = allocator.sched, allocator.batch
    assert batch == 3
    taken: tuple[list[page | None], list[page | None]] = [], []
    for cpu in (0, 1, 0, 1, 0, 1, 0, 0):
        sched.rq = sched.rqs[cpu]
        taken[cpu].append(allocator.alloc_page())
    assert [frames(each) for each in taken] == [[1, 2, 3, 7, 8], [4, 5, 6]]
    given: Any = taken[0][1]
    given._refcount = 0
    sched.rq = sched.rqs[1]
    allocator.free(given)  # it stays with the CPU that gave it back
    sched.rq = sched.rqs[0]
    assert frames([allocator.alloc_page()]) == [9]
    sched.rq = sched.rqs[1]
    assert allocator.alloc_page() is given and not given.zeroed


@pytest.mark.parametrize("kind", [Sched, NativeSched])
def test_what_a_cpu_has_too_much_of_is_for_all(kind: type[Sched]) -> None:
    allocator = allocator_of(Ram(64 << 20), 2, kind)
    sched, batch = allocator.sched, allocator.batch
    high = HIGH * batch
    pages: Any = [allocator.alloc_page() for _ in range(high + 2 * batch)]
    for each in pages:
        each._refcount = 0
    allocator.free_unref_folios(pages[:high])
    assert allocator.pcp[0] == pages[:high] and allocator.free0 == []
    allocator.free(pages[high])  # those that it has had for the longest time go
    assert allocator.free0 == pages[: batch + 1] and allocator.pcp[0] == pages[batch + 1 : high + 1]
    sched.rq = sched.rqs[1]
    other = allocator.alloc_page()
    assert other is pages[batch] and allocator.pcp[1] == pages[1:batch] and allocator.free0 == pages[:1]


@pytest.mark.parametrize("kind", [Sched, NativeSched])
def test_the_last_frames_come_from_other_cpus(kind: type[Sched]) -> None:
    allocator = allocator_of(Ram(8 << 20), 4, kind)
    sched = allocator.sched
    for cpu in range(4):
        sched.rq = sched.rqs[cpu]
        given: Any = [allocator.alloc_page() for _ in range(5)]
        for each in given:
            each._refcount = 0
        allocator.free_unref_folios(given)
    sched.rq = sched.rqs[2]
    taken = frames([allocator.alloc_page() for _ in range(allocator.npages - 1)])
    assert sorted(taken) == list(range(1, allocator.npages))
    assert allocator.alloc_page() is None
    assert allocator.allocated == allocator.npages - 1


def test_frames_of_a_block_that_was_used_are_cleared() -> None:
    ram = Ram(32 * PAGE_SIZE)
    allocator = allocator_of(ram)
    block: Any = allocator.alloc_pages(3)
    ram.write(block.pfn * PAGE_SIZE, b"x" * 8 * PAGE_SIZE)
    block._refcount = 0
    allocator.free(block)
    taken = frames([allocator.alloc_page() for _ in range(31)])
    assert sorted(taken) == list(range(1, 32)) and block.pfn in taken
    assert ram.read(0, ram.size) == bytes(ram.size)
