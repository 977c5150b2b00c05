# SPDX-License-Identifier: GPL-2.0-or-later
"""CSV and Parquet: every column of every event."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from emu.trace.escape import printable
from emu.trace.export.output import Output, OutputDirectory
from emu.trace.export.source import Source
from emu.trace.schema import LISTS

ROW_GROUP = 1 << 16  # rows that are held for one file before they are written
FILE_ROWS = 1 << 20  # rows of one file of a partition by time


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _escaped(column: pa.Array) -> pa.Array:
    """A dictionary of texts without control characters."""
    values = pa.array([printable(value) for value in column.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, values).cast(pa.string())


def write_csv(source: Source, output: Output) -> None:
    """All columns, one event a line, in the order of the file. Numbers are decimal; `args` and `stack` are numbers with
    spaces between; control characters in `text` are escapes (\\x1b), a backslash is two."""
    writer = None
    for batch in source.batches():
        columns = []
        for field, column in zip(batch.schema, batch.columns):
            if field.name in LISTS:
                column = pc.binary_join(column.cast(pa.list_(pa.string())), " ")
            elif field.name == "text":
                column = _escaped(column)
            columns.append(_plain(column))
        plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        if writer is None:
            output.write((",".join(batch.schema.names) + "\n").encode())
            writer = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(plain, sink, writer)
        output.write(sink.getvalue().to_pybytes())
    if writer is None:
        output.write((",".join(source.trace.schema.names) + "\n").encode())


class _Part:
    """One Parquet file, whose rows are written in groups of a good size."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._rows = 0
        self.total = 0

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._rows += table.num_rows
        self.total += table.num_rows
        if self._rows >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=ROW_GROUP)
            self._held.clear()
            self._rows = 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


def write_parquet(source: Source, directory: OutputDirectory, partition: str) -> None:
    """A directory of Parquet files: `kind=NAME/part-0.parquet` (Hive's layout, which DuckDB, pyarrow and Spark know) by
    kind, or `part-00000.parquet` and on, each up to 2^20 events, by time. A column `row` is the event's place in the
    trace; the header is each file's metadata `mmscope`."""
    by_kind = partition == "kind"
    parts: dict[str, _Part] = {}
    first = 0
    try:
        for batch in source.batches():
            names = batch.schema.names
            table = pa.table([_plain(column) for column in batch.columns], names=names)
            table = table.add_column(0, "row", pa.array(range(first, first + table.num_rows), pa.uint64()))
            table = table.replace_schema_metadata(source.trace.schema.metadata)
            if by_kind:
                kinds = table.column("kind")
                pieces = [
                    (kind, table.filter(pc.equal(kinds, kind)).drop_columns("kind"))
                    for kind in pc.unique(kinds).to_pylist()
                ]
            else:
                pieces = [(f"{first // FILE_ROWS:05d}", table)]
            for key, piece in pieces:
                if key not in parts:
                    if not by_kind:
                        _close_all(parts)
                    name = f"kind={key}/part-0.parquet" if by_kind else f"part-{key}.parquet"
                    parts[key] = _Part(os.path.join(directory.path, name), piece.schema)
                parts[key].add(piece)
            first += batch.num_rows
    finally:
        _close_all(parts)


def _close_all(parts: dict[str, _Part]) -> None:
    while parts:
        parts.popitem()[1].close()
