# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree against a sorted list: whatever is put in, taken out and resized, look-ups and holes are the list's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.mm.vma_tree import LEAF_MAX, VmaTree

SPACE = 400  # addresses in use, each a page's number


class Clock:
    clock = 0


@dataclass(eq=False)
class Area:
    """A VMA as far as the tree knows it."""

    vm_start: int
    vm_end: int


def holes(areas: list[Area], low: int, high: int, size: int) -> list[tuple[int, int]]:
    edges = [low, *(edge for a in areas for edge in (max(a.vm_start, low), min(a.vm_end, high))), high]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= size]


def check(tree: Any, areas: list[Area], address: int, size: int) -> None:
    areas.sort(key=lambda a: a.vm_start)
    assert list(tree) == areas and len(tree) == len(areas)
    assert all(0 < len(leaf.vmas) <= LEAF_MAX for leaf in tree._root.leaves)
    behind = [a for a in areas if a.vm_end > address]
    before = [a for a in areas if a.vm_end <= address]
    assert tree.find(address) is (behind[0] if behind else None)
    assert tree.load(address) is (behind[0] if behind and behind[0].vm_start <= address else None)
    assert tree.prev(address) is (before[-1] if before else None)
    expected = holes(areas, 0, SPACE, size)
    assert [hole[:2] for hole in tree.holes_up(0, SPACE, size)] == expected
    assert [hole[:2] for hole in tree.holes_down(0, SPACE, size)] == expected[::-1]


STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, SPACE - 1), st.integers(1, 12), st.integers(1, 30)),
    min_size=LEAF_MAX,
    max_size=4 * LEAF_MAX,
)


@given(steps=STEPS, filled=st.booleans())
@settings(deadline=None, max_examples=60)
def test_tree_is_a_sorted_list(steps: list[tuple[int, int, int, int]], filled: bool) -> None:
    tree: Any = VmaTree(Clock())
    areas: list[Area] = [Area(2 * i, 2 * i + 1) for i in range(SPACE // 2)] if filled else []  # several leaves
    for area in areas:
        tree.store(area)
    for what, address, length, size in steps:
        hit = next((a for a in areas if a.vm_start <= address < a.vm_end), None)
        changes = tree.changes
        if hit is None:
            limit = min((a.vm_start for a in areas if a.vm_start > address), default=SPACE)
            new = Area(address, min(address + length, limit))
            tree.store(new)
            areas.append(new)
        elif what < 4:
            tree.erase(hit)
            areas.remove(hit)
        elif what < 7 and address > hit.vm_start:  # split
            upper = Area(address, hit.vm_end)
            hit.vm_end = address
            tree.replace((hit,), (hit, upper))
            areas.append(upper)
        else:  # resize at one end, the other one, or both
            hit.vm_end = max(hit.vm_start + 1, min(hit.vm_end, address))
            hit.vm_start = max(hit.vm_start, hit.vm_end - length)
            tree.replace((hit,), (hit,))
        assert tree.changes == changes + 1
        check(tree, areas, address, size)


@pytest.mark.parametrize("count", [1, LEAF_MAX, 3 * LEAF_MAX])
@pytest.mark.parametrize("start, end", [(10, 12), (11, 13), (9, 11), (11, 12), (0, 1000)])
def test_overlap_is_refused(count: int, start: int, end: int) -> None:
    """And leaves the tree as it was."""
    tree: Any = VmaTree(Clock())
    areas = [Area(10 + 4 * i, 13 + 4 * i) for i in range(count)]
    for area in areas:
        tree.store(area)
    with pytest.raises(AssertionError, match="overlaps"):
        tree.store(Area(start, end))
    assert list(tree) == areas


@pytest.mark.parametrize("offset", range(1, 3 * LEAF_MAX))
def test_overlap_is_seen_across_leaves(offset: int) -> None:
    """A VMA that ends in the one behind, wherever that is kept."""
    tree: Any = VmaTree(Clock())
    areas = [Area(4 * i, 4 * i + 3) for i in range(3 * LEAF_MAX)]
    for area in areas:
        tree.store(area)
    with pytest.raises(AssertionError, match="overlaps"):
        tree.store(Area(4 * offset - 1, 4 * offset + 1))
    tree.store(Area(4 * offset - 1, 4 * offset))
    assert len(tree) == len(areas) + 1


def test_reader_keeps_its_snapshot() -> None:
    """Whoever iterates while a writer replaces goes on in the tree that was."""
    tree: Any = VmaTree(Clock())
    areas = [Area(2 * i, 2 * i + 1) for i in range(5)]
    for area in areas:
        tree.store(area)
    reader = iter(tree)
    assert next(reader) is areas[0]
    for area in areas[1:]:
        tree.erase(area)
    assert list(reader) == areas[1:]
    assert list(tree) == areas[:1]
