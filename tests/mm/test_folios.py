# SPDX-License-Identifier: GPL-2.0-or-later
"""Folios of a file are split where their buffers are clean, and know which of those are dirty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emu.mm.folios import Folios, Pages


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 12))), st.integers(0, 45), st.integers(1, 9)
)
def test_pages_are_a_set(changes: list[tuple[bool, int, int]], first: int, count: int) -> None:
    pages, expected = Pages(), set[int]()
    for adds, start, size in changes:
        if adds:
            pages.add(start, start + size)
            expected |= set(range(start, start + size))
        else:
            pages.remove(start, start + size)
            expected -= set(range(start, start + size))
    assert pages.any(first, first + count) == bool(expected & set(range(first, first + count)))
    assert {index for index in range(60) if index in pages} == expected
    assert all(one[1] < two[0] for one, two in zip(pages.ranges, pages.ranges[1:], strict=False))


def test_a_split_halves_until_the_page_is_alone() -> None:
    folios = Folios(11)
    folios.start[16] = 3
    assert folios.split(21)
    assert folios.start == {16: 2, 20: 0, 21: 0, 22: 1}
    assert folios.split(21) and folios.split(40), "nothing to do"


def test_a_folio_with_dirty_buffers_stays_whole() -> None:
    folios = Folios(11)
    folios.start[0] = 2
    folios.dirty.add(3, 4)
    assert not folios.split(1)
    folios.drop(3, 4)
    assert folios.start == {0: 2}, "it reaches further"
    assert folios.split(1)
