# SPDX-License-Identifier: GPL-2.0-or-later
"""SQL over the events of a trace, with DuckDB."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

import pyarrow as pa

from emu.trace.reader import Trace
from emu.trace.schema import schema


class QueryError(Exception):
    """The query cannot be answered; the text says why, in one line."""


class Result:
    """The answer of a query: `columns` and, once, `rows`."""

    def __init__(self, relation: Any) -> None:
        self._relation = relation
        self.columns: list[str] = [column[0] for column in relation.description]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows, in pieces. QueryError when it fails half-way."""
        import duckdb

        try:
            while piece := self._relation.fetchmany(8192):
                yield from piece
        except duckdb.Error as error:
            raise QueryError(_first_line(error)) from None


def query(trace: Trace, sql: str) -> Result:
    """Run one statement over the table `events`, whose columns are those of the trace. The trace is read in pieces, and
    nothing else on the host can be reached. QueryError."""
    try:
        import duckdb
    except ImportError:
        raise QueryError("needs DuckDB, which is not installed: pip install 'mmscope[query]'") from None
    database = duckdb.connect(":memory:")
    try:
        database.execute("SET enable_external_access = false")
        database.execute("SET TimeZone = 'UTC'")
    except duckdb.Error:
        pass
    try:
        statements = database.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(_first_line(error)) from None
    if len(statements) != 1:
        raise QueryError("give one statement")
    batches = (_plain(batch) for batch in trace.batches())
    events = pa.RecordBatchReader.from_batches(_plain_schema(), batches)
    try:
        if len(re.findall(r"\bevents\b", sql, re.IGNORECASE)) == 1 and not re.match(r"\s*with\b", sql, re.IGNORECASE):
            database.register("events", events)
        else:  # a stream can be read once
            database.register("stream_of_events", events)
            database.execute("CREATE TABLE events AS SELECT * FROM stream_of_events")
        relation = database.execute(statements[0])
    except duckdb.Error as error:
        raise QueryError(_first_line(error)) from None
    return Result(relation)


def _plain_schema() -> pa.Schema:
    """The columns with names instead of numbers of names."""
    fields = [
        pa.field(each.name, pa.string() if pa.types.is_dictionary(each.type) else each.type) for each in schema({})
    ]
    return pa.schema(fields)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.cast(_plain_schema())


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def write_csv(result: Result, file: TextIO) -> None:
    """Comma-separated values with a head; an empty field is NULL."""
    out = csv.writer(file, lineterminator="\n")
    out.writerow(result.columns)
    out.writerows(result.rows())


def write_json(result: Result, file: TextIO) -> None:
    """One JSON object a line."""
    for row in result.rows():
        file.write(json.dumps(dict(zip(result.columns, row)), default=str) + "\n")
