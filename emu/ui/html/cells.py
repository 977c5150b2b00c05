# SPDX-License-Identifier: GPL-2.0-or-later
"""The faults of a trace as cells of the heat map: one each while there are not too many, else several in one cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from emu.ui.html.collect import Array, Columns

MAX_CELLS = 1 << 20  # a page of that many opens in about a second and has some 5 MB (tests/ui/html/test_page.py)
_WIDE = 1 << 60
_COARSE = 700  # steps of time and of addresses: rather than draw fewer, tell faults apart by less
_SAMPLE = 4
_KEPT = 5  # so many columns, the first ones, are always told apart
_NARROW = 1 << 20  # values from so small a range need no hashing


@dataclass
class Cells:
    """Columns of one length, sorted by time: `time` (ns after the trace's begin), `row` (of the axis of its process),
    `combo` (index into the columns of `combos`), `count` (faults), `wait` and `duration` (ns, sums). `time_step` in ns
    and `row_step` in pages: what times and rows were rounded down to, 1 where they are exact."""

    time: Array
    row: Array
    combo: Array
    count: Array
    wait: Array
    duration: Array
    combos: Columns
    time_step: int = 1
    row_step: int = 1
    dropped: tuple[str, ...] = ()  # columns that are no longer told apart


def encode(column: Array) -> tuple[Array, Array]:
    """(number of its value for each row, the values): hashed, which is faster than sorting."""
    encoded = pa.array(column).dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_numpy()


def combine(columns: list[Array]) -> tuple[Array, Array]:
    """(number of its combination for each row, first row of each combination), in the order of their first rows."""
    key = np.zeros(len(columns[0]), np.int64)
    width = 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if high - low < _NARROW:
            codes, values = column, high - low + 1
        else:
            codes, found = encode(column)
            low, values = 0, len(found)
        if width * values >= _WIDE:
            key, seen = encode(key)
            key, width = key.astype(np.int64), len(seen)
        key *= values
        np.add(key, codes, out=key, casting="unsafe")
        key -= low
        width *= values
    codes, keys = encode(key)
    return codes, first_rows(codes, len(keys))


def first_rows(codes: Array, size: int) -> Array:
    """The first row of each of `size` codes."""
    first = np.empty(size, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of several rows for one code the last one stays
    return first


def make_cells(time: Array, row: Array, wait: Array, duration: Array, about: Columns, limit: int = MAX_CELLS) -> Cells:
    """Cells of faults; `about`: the columns that a combination is made of, what can be spared most last. Above `limit`
    faults, times and rows are rounded and faults that then are alike become one cell, at most `limit` of them."""
    combo, first = combine(list(about.values()))
    if len(time) <= limit:
        combos = {name: values[first] for name, values in about.items()}
        return Cells(time, row, combo, np.ones(len(time), np.int64), wait, duration, combos)
    droppable = list(about)[_KEPT:]
    dropped: list[str] = []
    span, rows = int(time[-1]) + 1, int(row.max()) + 1
    time_step, row_step = max(1, span >> 11), max(1, rows >> 10)
    while True:
        cells: Array | None = None
        if len(first) <= limit or not droppable:
            key = time // time_step * (rows // row_step + 1)
            key += row // row_step
            key *= len(first)
            key += combo
            _, cells = encode(key[::_SAMPLE])  # too many of these are too many in all: that is known with less memory
            coarsest = time_step > span and row_step > rows
            if len(cells) <= limit or coarsest:
                cell_of, cells = encode(key)
                if len(cells) <= limit or coarsest:
                    break
        if droppable and (cells is None or (span // time_step <= _COARSE and rows // row_step <= _COARSE)):
            name = droppable.pop()
            dropped.append(name)
            about = {**about, name: np.zeros_like(about[name])}
            combo, first = combine(list(about.values()))
            continue
        excess = len(first if cells is None else cells)
        for _ in range((-(-excess // limit) - 1).bit_length()):  # that many times half of them are too many
            if droppable and span // time_step <= _COARSE and rows // row_step <= _COARSE:
                break
            if time_step > span or rows // row_step > span // time_step:
                row_step *= 2
            else:
                time_step *= 2
    combos = {name: values[first] for name, values in about.items()}
    size = len(cells)
    first_of = first_rows(cell_of, size)
    order = np.argsort(time[first_of] // time_step, kind="stable")
    first_of = first_of[order]
    return Cells(
        time[first_of] // time_step * time_step,
        row[first_of] // row_step * row_step,
        combo[first_of],
        np.bincount(cell_of, minlength=size)[order],
        np.bincount(cell_of, wait, size).astype(np.int64)[order],
        np.bincount(cell_of, duration, size).astype(np.int64)[order],
        combos,
        time_step,
        row_step,
        tuple(dropped),
    )
