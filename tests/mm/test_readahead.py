# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are not in the page cache: which, and what comes in with one that is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archs.x86.mm.pgtable import X86PageTableFormat
from emu.mm.filemap import address_space
from emu.mm.folios import EXT4_MAX_ORDER, Folios
from emu.mm.memory_manager import SCHEMES
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, VM_EXEC, VM_RAND_READ, VM_SEQ_READ, vm_area_struct
from emu.mm.readahead import (
    RA_PAGES,
    Absent,
    do_sync_mmap_readahead,
    file_ra_state,
    page_cache_async_ra,
    page_cache_ra_order,
    page_cache_sync_ra,
)
from emu.mm.shmem import shmem_inode
from emu.mm.vma_init import vm_area_alloc
from tests.guests import guest, mmscope
from tests.support import make_box

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 20)))


@given(changes=CHANGES)
def test_ranges_are_a_set(changes: list[tuple[bool, int, int]]) -> None:
    absent, expected = Absent(), set[int]()
    for adds, first, count in changes:
        pages = set(range(first, first + count))
        if adds:
            absent.add(first, first + count)
            expected |= pages
        else:
            assert absent.remove(first, first + count) == len(pages & expected)
            expected -= pages
        assert {index for first, end in absent.ranges for index in range(first, end)} == expected
        assert all(a[1] < b[0] for a, b in zip(absent.ranges, absent.ranges[1:], strict=False))
        assert [index for index in range(90) if index in absent] == sorted(expected)


@pytest.mark.parametrize(
    "index, count, left",
    [(0, 1, 4), (0, 3, 16), (0, 100, 256), (0, 2000, 2048), (7, 3, None)],
)
def test_start_of_a_file_is_read_further(index: int, count: int, left: int | None) -> None:
    mapping = sparse(4000)
    page_cache_sync_ra(mapping, file_ra_state(), index, count)
    assert mapping.absent.ranges == ([(left, 4000)] if left is not None else [(0, index), (index + count, 4000)])


def sparse(pages: int) -> address_space:
    """A file of that many pages, none of which is in the cache."""
    mapping = address_space(shmem_inode(pages * PAGE_SIZE), make_box().memory)
    mapping.folios = Folios(EXT4_MAX_ORDER)
    mapping.absent.add(0, pages)
    return mapping


@pytest.mark.parametrize(
    "pgoff, flags, left, marks",
    [
        (10, 0, [(RA_PAGES, 9000)], {1536}),
        (5000, 0, [(0, 3976), (6024, 9000)], {3976 + 1536}),
        (5000, VM_RAND_READ, [(0, 5000), (5001, 9000)], set()),
        (0, VM_SEQ_READ, [(RA_PAGES, 9000)], {1024}),
        (5000, VM_SEQ_READ, [(0, 5000), (5000 + RA_PAGES, 9000)], set()),
        (8999, 0, [(0, 7975)], set()),
        (5000, VM_EXEC, [(0, 5000), (5000 + RA_PAGES, 9000)], set()),
        (8000, VM_EXEC, [(0, 8000), (8900, 9000)], set()),
    ],
)
def test_fault_brings_in_what_is_around_it(
    pgoff: int, flags: int, left: list[tuple[int, int]], marks: set[int]
) -> None:
    mapping = sparse(9000)
    came = do_sync_mmap_readahead(mapping, file_ra_state(), pgoff, mapped(mapping, flags))
    assert mapping.absent.ranges == left and mapping.absent.marks == marks
    assert came == 9000 - sum(end - first for first, end in left)
    assert not mapping.folios.large


def test_who_comes_to_a_mark_reads_the_next_window_in_larger_folios() -> None:
    mapping, ra = sparse(12288), file_ra_state()
    do_sync_mmap_readahead(mapping, ra, 0, mapped(mapping))
    sizes = []
    mark = 1536
    while mark in mapping.absent.marks:
        head, order = mapping.folios.find(mark) or (mark, 0)
        came = page_cache_async_ra(mapping, ra, head, 1 << order)
        sizes.append((ra.start, came, ra.order))
        mark = ra.start
    assert sizes == [(2048, 2048, 2), (4096, 2048, 4), (6144, 2048, 6), (8192, 2048, 8), (10240, 2048, 9),
                     (12288, 0, 9)]  # fmt: skip
    assert [mapping.folios.find(page) for page in (2047, 2049, 4100, 10241)] == [
        None, (2048, 2), (4096, 4), (10240, 9)]  # fmt: skip
    assert not mapping.absent.ranges and not mapping.absent.marks


def test_the_mark_is_counted_from_a_page_that_is_there() -> None:
    mapping = sparse(5)
    mapping.absent.remove(1, 2)
    assert page_cache_sync_ra(mapping, file_ra_state(), 0, 3) == 4
    assert not mapping.absent.ranges and not mapping.absent.marks, "the file is too short for one"
    mapping = sparse(40)
    mapping.absent.remove(1, 2)
    assert page_cache_sync_ra(mapping, file_ra_state(), 0, 3) == 15
    assert mapping.absent.ranges == [(16, 40)] and mapping.absent.marks == {3}
    mapping = sparse(15)
    mapping.absent.remove(1, 2)
    page_cache_sync_ra(mapping, file_ra_state(), 0, 3)
    assert not mapping.absent.ranges and mapping.absent.marks == {2}


def test_folios_end_where_the_file_does_and_begin_aligned() -> None:
    mapping, ra = sparse(2048 + 21), file_ra_state()
    mapping.absent.remove(0, 2048)
    ra.start, ra.size, ra.order, ra.async_size = 2046, 2048, 4, 2048
    mapping.absent.add(2046, 2048)
    assert page_cache_ra_order(mapping, ra) == 23
    assert mapping.folios.start == {2046: 1, 2048: 4, 2064: 2}
    assert mapping.absent.marks == {2046}


def test_where_a_page_is_there_the_rest_comes_one_by_one() -> None:
    mapping, ra = sparse(4096), file_ra_state()
    mapping.absent.remove(1000, 1001)
    ra.start, ra.size, ra.order, ra.async_size = 0, 2048, 4, 512
    assert page_cache_ra_order(mapping, ra) == 2047
    assert max(mapping.folios.start) == 976 and mapping.absent.marks == {1536}


def test_a_mark_of_another_window_reads_behind_what_is_there() -> None:
    mapping, ra = sparse(9000), file_ra_state()
    do_sync_mmap_readahead(mapping, file_ra_state(), 1024, mapped(mapping))
    assert page_cache_async_ra(mapping, ra, 1536, 1) == RA_PAGES
    assert (ra.start, ra.size, ra.order) == (2048, RA_PAGES, 2)
    again = file_ra_state()
    mapping.absent.marks.add(4096 - RA_PAGES - 1)
    assert page_cache_async_ra(mapping, again, 4096 - RA_PAGES - 1, 1) == 0, "that is too far away"


def test_a_mark_goes_with_its_page() -> None:
    absent = Absent()
    absent.marks = {5, 9}
    absent.add(4, 7)
    assert absent.marks == {9}


def test_of_memory_that_is_asked_back_clean_pages_go_and_dirty_ones_are_marked() -> None:
    mapping = sparse(8)
    mapping.absent.remove(0, 8)
    for index in range(6):
        assert not isinstance(mapping.read_cache_page(index), int)
    mapping.pages[1].dirty = True
    mapping.folios.dirty.add(2, 3)
    mapping.pages[3]._refcount += 1
    mapping.pages[4]._mapcount += 1
    mapping.pages[5].uptodate = False
    for index in range(8):
        mapping.reclaim(index)
    assert sorted(mapping.pages) == [1, 2, 3, 4, 5]
    assert mapping.absent.ranges == [(0, 1)]
    assert mapping.absent.marks == {1, 2, 5}
    assert mapping.writeback(0, None) == 0
    assert mapping.absent.marks == {2, 5}, "what was written back is marked no more"


def test_of_shmem_only_clean_pages_go() -> None:
    mapping = address_space(shmem_inode(2 * PAGE_SIZE), make_box().memory, shmem=True)
    for index in range(2):
        page = mapping.read_cache_page(index)
        assert not isinstance(page, int)
        page.dirty = index == 1
        mapping.reclaim(index)
    assert sorted(mapping.pages) == [1]
    assert not mapping.absent.marks and not mapping.absent.ranges


def mapped(mapping: address_space, flags: int = 0) -> vm_area_struct:
    """A mapping of the pages 0 .. 8899 of a file."""
    return vm_area_alloc(
        mapping.memory.new_mm(X86PageTableFormat()), 0x100000, 0x100000 + (8900 << PAGE_SHIFT), flags, 0
    )


def test_a_page_without_content_is_passed_over() -> None:
    mapping = sparse(100)
    mapping.absent.add_empty(50)
    do_sync_mmap_readahead(mapping, file_ra_state(), 10, mapped(mapping))
    assert mapping.absent.ranges == [(50, 51)] and mapping.absent.empty == {50}
    assert mapping.absent.remove(50, 51) == 1 and not mapping.absent.empty


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cpus", [1, 3])
def test_locks_are_right_in_every_scheme(scheme: str, cpus: int, tmp_path: Path) -> None:
    """The lock goes while the page is read, whichever it is, and no check of locks or invariants fails."""
    options = ["--check", "--cpus", str(cpus), "--locking", scheme, "--writable", tmp_path]
    ran = mmscope("run", *options, guest("holes"), tmp_path)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, b"private 116"), ran.err


@pytest.mark.parametrize("scheme", SCHEMES)
def test_reading_ahead_in_every_scheme(scheme: str, tmp_path: Path) -> None:
    options = ["--cpus", "2", "--locking", scheme, "--writable", tmp_path]
    ran = mmscope("run", *options, guest("sparse"), tmp_path)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, b"random 301"), ran.err
