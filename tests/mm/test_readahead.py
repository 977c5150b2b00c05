# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are not in the page cache: which, and what comes in with one that is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.mm.memory_manager import SCHEMES
from emu.mm.mm_types import VM_RAND_READ
from emu.mm.readahead import RA_PAGES, Absent, do_sync_mmap_readahead, page_cache_sync_ra
from tests.guests import guest, mmscope

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
    absent = Absent()
    absent.add(0, 4000)
    page_cache_sync_ra(absent, index, count)
    assert absent.ranges == ([(left, 4000)] if left is not None else [(0, index), (index + count, 4000)])


@pytest.mark.parametrize(
    "pgoff, flags, left",
    [
        (10, 0, [(RA_PAGES, 9000)]),
        (5000, 0, [(0, 5000 - RA_PAGES // 2), (5000 + RA_PAGES // 2, 9000)]),
        (5000, VM_RAND_READ, [(0, 5000), (5001, 9000)]),
    ],
)
def test_fault_brings_in_what_is_around_it(pgoff: int, flags: int, left: list[tuple[int, int]]) -> None:
    absent = Absent()
    absent.add(0, 9000)
    do_sync_mmap_readahead(absent, pgoff, flags)
    assert absent.ranges == left


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("cpus", [1, 3])
def test_locks_are_right_in_every_scheme(scheme: str, cpus: int, tmp_path: Path) -> None:
    """The lock goes while the page is read, whichever it is, and no check of locks or invariants fails."""
    options = ["--check", "--cpus", str(cpus), "--locking", scheme, "--writable", tmp_path]
    ran = mmscope("run", *options, guest("holes"), tmp_path)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, b"private 116"), ran.err
