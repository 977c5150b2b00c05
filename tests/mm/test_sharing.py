# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared pages that are written, paged out and moved: locks that are given away meanwhile, several mappings at once."""

from __future__ import annotations

import pytest

from emu.mm.madvise import MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, MADV_POPULATE_WRITE, do_madvise
from emu.mm.mm_types import VM_FAULT_COMPLETED
from emu.mm.mmap import ksys_munmap
from emu.mm.mremap import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, sys_mremap
from emu.tracepoint import Kind
from tests.support import Box, check_frames, make_box

FIXED, SHARED_FIXED = 0x32, 0x31
BASE, OTHER = 0x10_0000_0000, 0x20_0000_0000


@pytest.fixture(params=["mmap_lock", "spf", "rfc", "6.4", "6.18"])
def box(request: pytest.FixtureRequest) -> Box:
    return make_box(request.param)


def test_the_first_write_gives_the_lock_away_and_the_next_does_not(box: Box) -> None:
    start = box.map(BASE, 0x2000, flags=SHARED_FIXED)
    box.touch(start)
    assert box.entry.result & VM_FAULT_COMPLETED  # clean until now
    assert do_madvise(box.mm, start, 0x2000, MADV_DONTNEED) == 0
    box.touch(start)
    assert not box.entry.result & VM_FAULT_COMPLETED  # the object's page is dirty
    assert ksys_munmap(box.mm, start, 0x2000) == 0  # nobody has mmap_lock or the VMA's
    check_frames(box.memory, [box.mm])


def test_populating_shared_pages_takes_the_lock_again_for_each(box: Box) -> None:
    start = box.map(BASE, 0x4000, flags=SHARED_FIXED)
    box.memory.tp.on = True
    assert do_madvise(box.mm, start, 0x4000, MADV_POPULATE_WRITE) == 0
    rows = box.memory.tp.drain()
    assert sum(row[4] == Kind.MMAP_LOCK_ACQUIRE_RETURNED for row in rows) == 1 + 4 + 1
    assert all(box.page_at(start + at) for at in range(0, 0x4000, 0x1000))


def test_paging_out_unmaps_pages_of_files_only(box: Box) -> None:
    shared, own = box.map(BASE, 0x1000, flags=SHARED_FIXED), box.map(OTHER, 0x1000, flags=FIXED)
    for at in (shared, own):
        box.touch(at)
        assert do_madvise(box.mm, at, 0x1000, MADV_PAGEOUT) == 0
    assert box.page_at(shared) is None
    assert box.page_at(own) is not None
    check_frames(box.memory, [box.mm])


def test_pages_that_were_freed_lazily_are_dropped_unless_they_were_written_since(box: Box) -> None:
    start = box.map(BASE, 0x4000, flags=FIXED)
    for at in range(0, 0x4000, 0x1000):
        box.touch(start + at)
    assert do_madvise(box.mm, start, 0x2000, MADV_FREE) == 0
    box.touch(start)  # dirty again: from now on a page as any
    for _ in range(2):
        assert do_madvise(box.mm, start, 0x4000, MADV_PAGEOUT) == 0
        there = [box.page_at(start + at) is not None for at in range(0, 0x4000, 0x1000)]
        assert there == [True, False, True, True]
    assert box.memory.vmstat["pglazyfree"] == 2
    assert box.memory.vmstat["pglazyfreed"] == 1
    check_frames(box.memory, [box.mm])


def test_a_page_that_somebody_holds_is_not_dropped(box: Box) -> None:
    start = box.map(BASE, 0x1000, flags=FIXED)
    box.touch(start)
    held = box.page_at(start)
    assert held is not None
    held._refcount += 1
    assert do_madvise(box.mm, start, 0x1000, MADV_FREE) == do_madvise(box.mm, start, 0x1000, MADV_PAGEOUT) == 0
    assert box.page_at(start) is held
    box.memory.put_page(held)
    assert do_madvise(box.mm, start, 0x1000, MADV_PAGEOUT) == 0
    assert box.page_at(start) is None
    check_frames(box.memory, [box.mm])


def test_several_mappings_move_and_leave_theirs_behind(box: Box) -> None:
    start = box.map(BASE, 0x5000, flags=FIXED)
    box.touch(start)
    assert ksys_munmap(box.mm, start + 0x2000, 0x1000) == 0
    flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP
    assert sys_mremap(box.mm, start, 0x5000, 0x5000, flags, OTHER) == OTHER
    spans = [(vma.vm_start, vma.vm_end) for vma in box.mm.mm_mt.iterate(BASE, OTHER + 0x5000)]
    parts = [(0, 0x2000), (0x3000, 0x5000)]
    assert spans == [(base + a, base + b) for base in (BASE, OTHER) for a, b in parts]
    assert box.page_at(start) is None
    assert box.page_at(OTHER) is not None
    check_frames(box.memory, [box.mm])
