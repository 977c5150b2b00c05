# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, and when the host gives memory to them."""

from __future__ import annotations

import mmap

import pytest

from emu.hw.ram import PAGE_SIZE, Ram
from emu.mm.page_alloc import AHEAD, PageAllocator


def test_the_host_gives_memory_to_many_frames_at_once() -> None:
    ram = Ram(4 * AHEAD * PAGE_SIZE)
    allocator = PageAllocator(ram)
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
    allocator = PageAllocator(ram)
    for number in range(1, ram.npages):
        frame = allocator.alloc_page()
        assert frame is not None and frame.pfn == number
        assert ram.read(number * PAGE_SIZE, PAGE_SIZE) == bytes(PAGE_SIZE)
    assert allocator.alloc_page() is None


def test_a_host_that_cannot_do_so_gives_memory_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emu.hw.ram._MADV_POPULATE_WRITE", 9999)  # EINVAL, as from before Linux 5.14
    ram = Ram(4 * AHEAD * PAGE_SIZE)
    frame = PageAllocator(ram).alloc_page()
    assert frame is not None and ram.resident() == 0
    ram.write(frame.pfn * PAGE_SIZE, b"x")
    assert ram.resident() == mmap.PAGESIZE
