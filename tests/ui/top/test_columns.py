# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns of a batch as numbers, and sums over equal rows, against Python's own counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from emu.tracepoint import Kind, Served
from emu.ui.top.columns import Columns, Groups
from tests.trace.synthetic import batch, fault, row


@pytest.mark.parametrize("spans", [(1, 1), (2, 100), (100_000, 100_000), (2**40, 3), (2**40, 2**40)])
def test_groups_are_those_of_equal_rows(spans: tuple[int, int]) -> None:
    source = np.random.default_rng(1)
    rows = 5000
    keys = [source.integers(-span // 2, span // 2 + 1, rows) // 7 for span in spans]
    keys += [source.integers(0, 3, rows).astype(np.int8) - 1, source.integers(0, 2, rows).astype(np.uint64) + 2**63]
    weights = source.integers(0, 2**40, rows)
    groups = Groups(keys)
    expected: Counter[tuple[int, ...]] = Counter()
    sums: Counter[tuple[int, ...]] = Counter()
    highest: dict[tuple[int, ...], tuple[int, int]] = {}
    last: dict[tuple[int, ...], int] = {}
    for at, (key, weight) in enumerate(zip(zip(*(column.tolist() for column in keys)), weights.tolist())):
        expected[key] += 1
        sums[key] += weight
        last[key] = at
        if key not in highest or weight > highest[key][0]:
            highest[key] = weight, at
    found = list(zip(*groups.lists(keys)))
    assert len(found) == len(expected)
    assert dict(zip(found, groups.counts.tolist())) == expected
    assert dict(zip(found, groups.sums(weights).tolist())) == sums
    assert dict(zip(found, groups.last.tolist())) == last
    assert dict(zip(found, zip(*(each.tolist() for each in groups.highest(weights))))) == highest
    assert not groups.sums(np.zeros(rows, np.int64)).any()


def test_columns_are_numbers_and_texts() -> None:
    columns = Columns(batch([fault(1, 2, 3, 4), row(Kind.EXEC, 5, text="/bin/x"), row(Kind.EXIT, 6)]))
    assert columns.count == 3
    assert columns["kind"].tolist() == [Kind.PAGE_FAULT_USER, Kind.EXEC, Kind.EXIT]
    assert columns["served"].tolist() == [Served.ANON, 0, 0]
    assert [columns.string(text) for text in columns["text"].tolist()] == ["", "/bin/x", ""]
    assert columns.lists(("time", "cpu"), np.array([2, 0])) == [[6, 1], [0, 3]]


def test_names_that_are_numbered_otherwise_and_nulls() -> None:
    """As another program may write them."""
    names = pa.DictionaryArray.from_arrays(
        pa.array([1, None, 2, 0], pa.int8()), pa.array(["exit", "exec", "no kind at all"])
    )
    texts = pa.DictionaryArray.from_arrays(pa.array([None, 0, 1, 0], pa.int32()), pa.array(["a", None]))
    found = pa.record_batch({"kind": names, "text": texts, "time": pa.array([4, None, 6, 7], pa.int64())})
    columns = Columns(found)
    assert columns["kind"].tolist() == [Kind.EXEC, 0, 0, Kind.EXIT]
    assert [columns.string(text) for text in columns["text"].tolist()] == ["", "a", "", "a"]
    assert columns["time"].tolist() == [4, 0, 6, 7]
