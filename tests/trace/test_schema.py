# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows become columns in C as they do in Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.trace import schema
from emu.trace.schema import Encoder
from emu.tracepoint import FIELDS, Kind

RANGES = {
    "b": (-(1 << 7), (1 << 7) - 1), "H": (0, (1 << 16) - 1), "i": (-(1 << 31), (1 << 31) - 1),
    "I": (0, (1 << 32) - 1), "q": (-(1 << 63), (1 << 63) - 1), "Q": (0, (1 << 64) - 1),
}  # fmt: skip
ANY = st.integers(-(1 << 70), 1 << 70)


def item(name: str) -> st.SearchStrategy[Any]:
    if name == "text":
        return st.sampled_from([None, "", "read", "write", "\udcff name", "naïve"])
    if name in schema.LISTS:
        return st.one_of(st.none(), st.lists(ANY, max_size=4).map(tuple))
    low, high = RANGES[schema._CODES[name]]
    return st.one_of(st.integers(low, high), st.sampled_from([low, high]), st.sampled_from([0, 1, True]))


ROWS = st.lists(st.tuples(*(item(name) for name in FIELDS)), min_size=1, max_size=6)


def test_the_extension_is_there() -> None:
    assert type(schema._pack).__name__ == "builtin_function_or_method"


@given(st.lists(ROWS, max_size=3))
def test_columns_are_the_same(pieces: list[list[Any]]) -> None:
    a, b = Encoder({}), Encoder({})
    for rows in pieces:
        a.add(rows)
        assert [part[-1] for part in a._parts] == b._columns(rows)
    assert (a.numbers, a.strings) == (b.numbers, b.strings)
    assert a.pending == sum(map(len, pieces))


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "text"])
@pytest.mark.parametrize("odd", [-1, 1, "no number", 1.5])
def test_what_does_not_fit_is_refused(name: str, odd: Any) -> None:
    """One less than the least number or one more than the largest, or no number: nothing of the rows is added."""
    row: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {"kind": Kind.EXIT, "text": "a", "args": (1,), "stack": ()}
    good = tuple(row.values())
    if name in schema.LISTS:
        if isinstance(odd, int):
            return
        row[name] = (2, odd) if name == "args" else odd
    else:
        low, high = RANGES[schema._CODES[name]]
        row[name] = odd if not isinstance(odd, int) else low - 1 if odd < 0 else high + 1
    encoder = Encoder({})
    encoder.add([good])
    before = [list(pieces) for pieces in encoder._parts]
    with pytest.raises((OverflowError, TypeError)):
        encoder.add([good, tuple(row.values())])
    assert encoder._parts == before and encoder.pending == 1
    encoder.add([good])
    assert encoder.take().num_rows == 2


def test_other_rows_are_refused() -> None:
    good = tuple([0] * len(schema._LAYOUT))
    for rows, layout in (
        ([(1, 2)], schema._LAYOUT),
        ([list(good)], schema._LAYOUT),
        ([], "q" * 40),
        ((), "q"),
        ([], "x"),
    ):
        with pytest.raises(TypeError):
            schema._pack(rows, layout, {}, str)
