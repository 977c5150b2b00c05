# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace in pieces of about a million events, as columns of numbers: what the reports count with.

Names of kinds, paths, reasons and outcomes become the numbers of emu.tracepoint, texts indices of `strings`. So a
piece costs little memory, whatever the length of the trace, and counts of several pieces can be added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.reader import Trace
from emu.trace.schema import DICTIONARIES
from emu.tracepoint import FIELDS, Kind, Path, Reason, Served

PIECE = 1 << 20  # events
_ENUMS: dict[str, type[IntEnum]] = {"kind": Kind, "path": Path, "reason": Reason, "served": Served}


class Scan:
    """The pieces of a trace. `strings`: texts by their number, 0 is none; it grows while `pieces` runs."""

    def __init__(self, trace: Trace, columns: Sequence[str] = FIELDS) -> None:
        self.trace = trace
        self.columns = [name for name in FIELDS if name in columns]
        self.strings: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        self._last: tuple[pa.Array, pa.Array | None] | None = (
            None  # a dictionary of texts, and the numbers of its texts
        )
        self.events = 0

    def pieces(self, size: int = PIECE) -> Iterator[pa.Table]:
        """Tables of `size` events or a few more, with the columns asked for and `seq`, the number of the event in the
        trace, from 0."""
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in self.trace.batches(self.columns):
            waiting.append(self._plain(batch))
            rows += batch.num_rows
            if rows >= size:
                yield pa.Table.from_batches(waiting)
                waiting, rows = [], 0
        if waiting:
            yield pa.Table.from_batches(waiting)

    def _plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays, names = [], []
        for name in self.columns:
            column = batch.column(name)
            if name == "text":
                column = self._texts(column)
            elif name in _ENUMS:
                column = _codes(column, name)
            elif column.null_count and not pa.types.is_list(column.type):
                column = column.fill_null(0)
            arrays.append(column)
            names.append(name)
        seq = pa.array(np.arange(self.events, self.events + batch.num_rows))
        self.events += batch.num_rows
        return pa.RecordBatch.from_arrays([*arrays, seq], names=[*names, "seq"])

    def _texts(self, column: pa.DictionaryArray) -> pa.Array:
        """Numbers of texts. A dictionary that only grew, as those that the recorder writes, needs no translation."""
        dictionary = column.dictionary
        if self._last is None or not self._last[0].equals(dictionary):
            numbers = []
            for text in dictionary.to_pylist():
                text = text or ""
                number = self._numbers.get(text)
                if number is None:
                    number = self._numbers[text] = len(self.strings)
                    self.strings.append(text)
                numbers.append(number)
            same = numbers == list(range(len(numbers)))
            self._last = dictionary, None if same else pa.array(numbers, pa.int32())
        translation = self._last[1]
        indices = column.indices if translation is None else translation.take(column.indices)
        return indices.fill_null(0) if indices.null_count else indices


def _codes(column: pa.DictionaryArray, name: str) -> pa.Array:
    """The numbers of an enum; what it does not know is 0."""
    indices = column.indices
    if not column.dictionary.equals(DICTIONARIES[name]):
        members = {member.name.lower(): int(member) for member in _ENUMS[name]}
        indices = pa.array([members.get(text, 0) for text in column.dictionary.to_pylist()], pa.int8()).take(indices)
    return indices.fill_null(0) if indices.null_count else indices


def of_kinds(table: pa.Table, *kinds: int) -> pa.Table:
    """The events of a piece that are of some kinds."""
    return table.filter(pc.is_in(table.column("kind"), value_set=pa.array(kinds, pa.int8())))
