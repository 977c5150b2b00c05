# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums over a trace that comes in pieces: by key, with percentiles, and with what a task was doing at the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LIMIT = 1 << 18  # rows of partial sums that may come together before they are added up
EXACT_BITS = 10  # leading bits of a value that its class keeps: a percentile is right to one part in a thousand


class Tally:
    """Counts, sums and maxima by key. `rows`: (key ..., count, sum ..., maximum ...)."""

    def __init__(self, keys: Sequence[str], sums: Sequence[str] = (), maxima: Sequence[str] = ()) -> None:
        self.keys, self.sums, self.maxima = list(keys), list(sums), list(maxima)
        self._parts: list[pa.Table] = []
        self._waiting = 0

    def add(self, table: pa.Table, count: str | None = None) -> None:
        """Take in the events of a piece. `count`: a column to sum instead of counting each event once."""
        if not table.num_rows:
            return
        first: Any = ([], "count_all") if count is None else (count, "sum")
        found = table.group_by(self.keys).aggregate(
            [first, *((name, "sum") for name in self.sums), *((name, "max") for name in self.maxima)]
        )
        self._take(found.select([*self.keys, *(name for name in found.column_names if name not in self.keys)]))

    def _take(self, found: pa.Table) -> None:
        self._parts.append(
            found.rename_columns(
                [*self.keys, "count", *(f"sum_{name}" for name in self.sums), *(f"max_{name}" for name in self.maxima)]
            )
        )
        self._waiting += found.num_rows
        if self._waiting > _LIMIT:
            self._parts = [self.table()]
            self._waiting = self._parts[0].num_rows // 2

    def table(self) -> pa.Table | None:
        """What came together, one row a key; None when nothing did."""
        if not self._parts:
            return None
        whole = pa.concat_tables(self._parts)
        names = ["count", *(f"sum_{name}" for name in self.sums)]
        found = whole.group_by(self.keys).aggregate(
            [*((name, "sum") for name in names), *((f"max_{name}", "max") for name in self.maxima)]
        )
        found = found.select([*self.keys, *(name for name in found.column_names if name not in self.keys)])
        return found.rename_columns([*self.keys, *names, *(f"max_{name}" for name in self.maxima)])

    def rows(self) -> list[tuple[Any, ...]]:
        """Most frequent first, then by key."""
        found = self.table()
        if found is None:
            return []
        width = len(self.keys)
        return sorted(zip(*(c.to_pylist() for c in found.columns)), key=lambda row: (-row[width], row[:width]))


def size_class(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value with all but its leading EXACT_BITS bits cleared."""
    values = values.cast(pa.int64())
    bits = pc.floor(pc.log2(pc.cast(pc.max_element_wise(values, 1), pa.float64()))).cast(pa.int64())
    shift = pc.max_element_wise(pc.subtract(bits, EXACT_BITS - 1), 0)
    return pc.shift_left(pc.shift_right(values, shift), shift)


class Percentiles:
    """Percentiles by key, right to one part in a thousand."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.width = len(keys)
        self._tally = Tally([*keys, "class"])

    def add(self, table: pa.Table, name: str) -> None:
        """Take in the column `name` of a piece."""
        if table.num_rows:
            self._tally.add(table.append_column("class", size_class(table.column(name))))

    def get(self) -> dict[tuple[Any, ...], list[tuple[int, int]]]:
        """By key: (value, how often) for `percentile`."""
        counts: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
        for row in self._tally.rows():
            counts.setdefault(row[: self.width], []).append((row[self.width], row[self.width + 1]))
        return counts


def percentile(values: list[tuple[int, int]], part: float) -> int:
    """The value that a share of all does not exceed; `values`: (value, how often), in any order."""
    values = sorted(values)
    need = part * sum(count for _, count in values)
    seen = 0
    for value, count in values:
        seen += count
        if seen >= need:
            return value
    return values[-1][0] if values else 0


class Follow:
    """For each event the last mark before it with the same `by` (a task's tid, say): its values, 0 before the first.
    What was last stands over from piece to piece."""

    def __init__(self, by: str, values: Sequence[str]) -> None:
        self.by, self.values = by, list(values)
        self._last: dict[int, tuple[int, ...]] = {}

    def join(self, table: pa.Table, marks: pa.Table) -> pa.Table:
        """`table` with the columns `values` added, in another order. Both have `by` and `seq`; a mark holds for its own
        event too."""
        by = self.by
        tids = sorted(set(pc.unique(table.column(by)).to_pylist()) | set(pc.unique(marks.column(by)).to_pylist()))
        none = (0,) * len(self.values)
        carried = [self._last.get(tid, none) for tid in tids]
        columns = {by: pa.array(tids, table.schema.field(by).type), "seq": pa.array([-1] * len(tids), pa.int64())}
        for index, name in enumerate(self.values):
            columns[name] = pa.array([row[index] for row in carried], pa.int64())
        first = pa.table(columns)
        marks = marks.select([by, "seq", *self.values])
        marks = marks.cast(first.schema)
        source = pa.concat_tables([first, marks])
        count = source.num_rows
        keys = pa.concat_tables([source.select([by, "seq"]), table.select([by, "seq"])])
        keys = keys.append_column("rank", pa.array([0] * count + [1] * table.num_rows, pa.int8()))
        keys = keys.append_column("at", pa.array(np.arange(keys.num_rows)))
        keys = keys.sort_by([(by, "ascending"), ("seq", "ascending"), ("rank", "ascending")])
        at = keys.column("at").combine_chunks()
        marked = pc.less(at, count)
        last = pc.fill_null_forward(pc.if_else(marked, at, pa.scalar(None, pa.int64())))
        events = pc.invert(marked)
        joined = table.take(pc.subtract(at.filter(events), count))
        found = source.take(last.filter(events))
        for name in self.values:
            joined = joined.append_column(name, found.column(name))
        newest = source.group_by(by).aggregate([("seq", "max")])
        ends = source.filter(pc.is_in(source.column("seq"), value_set=newest.column("seq_max"))).sort_by("seq")
        for row in zip(ends.column(by).to_pylist(), *(ends.column(name).to_pylist() for name in self.values)):
            self._last[row[0]] = row[1:]
        return joined
