# SPDX-License-Identifier: GPL-2.0-or-later
"""A piece of a trace as numpy columns, and the sums of equal rows: what the dashboard counts with.

It may take a twentieth of the time that the machine needs to make the events, a tenth of a microsecond an event. So
rows that come in masses are never looked at one by one: their columns make one number a row, and those are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa

from emu.trace.schema import DICTIONARIES
from emu.tracepoint import Kind, Path, Reason, Served

Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("time", "cpu", "pid", "tid", "kind", "address", "code", "size", "flags", "vma", "path", "reason", "served",
         "wait", "holder", "result", "text", "duration")  # fmt: skip
"""The columns of a trace that the dashboard needs."""
_ENUMS: dict[str, type[IntEnum]] = {"kind": Kind, "path": Path, "reason": Reason, "served": Served}
_DENSE = 1 << 17  # numbers that are counted in an array of so many places


class Columns:
    """The columns of a batch by name, converted when they are first asked for. Nulls are 0; kind, path, reason and
    served are the numbers of emu.tracepoint, 0 for a name that is unknown; text is an index for `string`."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._arrays: dict[str, Array] = {}
        self._strings: dict[int, str] = {-1: ""}
        self.count: int = batch.num_rows

    def __getitem__(self, name: str) -> Array:
        found = self._arrays.get(name)
        if found is None:
            column = self._batch.column(name)
            if isinstance(column, pa.DictionaryArray):
                if name in _ENUMS and not column.dictionary.equals(DICTIONARIES[name]):
                    members = {member.name.lower(): int(member) for member in _ENUMS[name]}
                    codes = pa.array([members.get(text, 0) for text in column.dictionary.to_pylist()], pa.int8())
                    column = codes.take(column.indices)
                else:
                    column = column.indices
            if column.null_count:
                column = column.fill_null(-1 if name == "text" else 0)
            found = self._arrays[name] = column.to_numpy()
        return found

    def string(self, index: int) -> str:
        """The text of an index in the column text."""
        found = self._strings.get(index)
        if found is None:
            found = self._strings[index] = self._batch.column("text").dictionary[index].as_py() or ""
        return found

    def lists(self, names: Sequence[str], rows: Array) -> list[list[Any]]:
        """Some rows of some columns, as Python's numbers."""
        return [self[name][rows].tolist() for name in names]


class Groups:
    """Rows that are equal in all of some columns make a group. `last`: the last row of each, as an index of those
    columns; `counts`: how many rows each has."""

    def __init__(self, columns: Sequence[Array]) -> None:
        """The columns are integers, and there is at least one row."""
        rows = len(columns[0])
        numbers = np.zeros(rows, np.int64)  # of each row: equal where all columns are
        size = 1
        for column in columns:
            low, high = int(column.min()), int(column.max())
            span = high - low + 1
            if span == 1:
                continue
            if size * span <= _DENSE:
                column = (
                    (column - low).astype(np.int64) if column.dtype.itemsize == 8 else column.astype(np.int64) - low
                )
            else:  # number the values that occur
                values, column = np.unique(column, return_inverse=True)
                span = len(values)
                if size * span > _DENSE:
                    values, numbers = np.unique(numbers, return_inverse=True)
                    size = len(values)
            numbers = numbers * span + column
            size *= span
        if size > _DENSE:
            values, numbers = np.unique(numbers, return_inverse=True)
            size = len(values)
        counts = np.bincount(numbers, minlength=size)
        present = np.flatnonzero(counts)
        last = np.empty(size, np.int64)
        last[numbers] = np.arange(rows)
        self.counts: Array = counts[present]
        self.last: Array = last[present]
        self._numbers = numbers
        self._present = present
        self._size = size

    def sums(self, column: Array) -> Array:
        """The sum of a column over each group. Exact up to 2**53."""
        if not column.any():
            return np.zeros(len(self.last), np.int64)
        return np.bincount(self._numbers, column, self._size)[self._present].astype(np.int64)

    def highest(self, column: Array) -> tuple[Array, Array]:
        """(the highest value of a column, the first row that has it) of each group."""
        highest = np.full(self._size, column.min())
        np.maximum.at(highest, self._numbers, column)
        rows = np.flatnonzero(column == highest[self._numbers])[::-1]
        first = np.zeros(self._size, np.int64)
        first[self._numbers[rows]] = rows
        return highest[self._present], first[self._present]

    def lists(self, columns: Sequence[Array]) -> list[list[Any]]:
        """What each group has in some columns by which it was made, as Python's numbers."""
        return [column[self.last].tolist() for column in columns]
