# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a trace, as far as it goes: a file that was cut off gives every complete batch and says that it was cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.schema import FORMAT, LISTS, METADATA_KEY, schema
from emu.tracepoint import FIELDS, Kind, Path, Reason, Row, Served

_CODE_OF = {
    "kind": {member.name.lower(): int(member) for member in Kind},
    "path": {member.name.lower(): int(member) for member in Path},
    "reason": {member.name.lower(): int(member) for member in Reason},
    "served": {member.name.lower(): int(member) for member in Served},
}


class TraceError(Exception):
    """The file is no trace that can be read; the text says why."""


class Trace:
    """An open trace. `metadata`: the header (emu.trace.schema.header). `problem`: set once the batches have been read,
    None when the file is whole."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        self.progress: Callable[[float], None] | None = None  # told how much of the file has been read, 0 to 1
        try:
            if os.path.isdir(path):
                raise TraceError(f"{path}: is a directory")
            self._source: Any = pa.memory_map(path) if os.path.getsize(path) else None
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
        if self._source is None:
            raise TraceError(f"{path}: is empty: nothing was recorded")
        try:
            found = pa.ipc.open_stream(self._source).schema
            raw = (found.metadata or {}).get(METADATA_KEY)
            self.metadata: dict[str, Any] = json.loads(raw) if raw is not None else {}
        except (pa.ArrowException, OSError, ValueError):
            raise TraceError(f"{path}: is not a trace of mmscope, or was cut off within its header") from None
        if not isinstance(self.metadata, dict) or "format" not in self.metadata:
            raise TraceError(f"{path}: is not a trace of mmscope")
        if self.metadata["format"] != FORMAT:
            raise TraceError(f"{path}: {_other_format(self.metadata)}")
        self.schema: pa.Schema = found
        if not found.equals(schema({})):
            raise TraceError(f"{path}: its columns are not those of a trace")

    def batches(self, columns: Sequence[str] = FIELDS) -> Iterator[pa.RecordBatch]:
        """The batches that are complete, from the first one on. Columns that are not asked for are not unpacked; those
        that are stand in the order of FIELDS."""
        events = 0
        self.problem = None
        size = os.path.getsize(self.path)
        wanted = [index for index, name in enumerate(FIELDS) if name in columns]
        try:
            self._source.seek(0)
            reader = pa.ipc.open_stream(self._source, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        except (pa.ArrowException, OSError, ValueError) as error:
            self.problem = f"{self.path}: damaged or cut off after 0 events ({_short(error)})"
            return
        while True:
            try:
                batch = reader.read_next_batch()
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError, ValueError) as error:
                self.problem = f"{self.path}: damaged or cut off after {events} events ({_short(error)})"
                return
            events += batch.num_rows
            if self.progress is not None:
                self.progress(self._source.tell() / size)
            yield batch
        if not self._ended():
            self.problem = f"{self.path}: cut off after {events} events: the recorder did not close it"

    def _ended(self) -> bool:
        """Is there the end mark: a continuation marker and a length of zero."""
        size = os.path.getsize(self.path)
        with open(self.path, "rb") as file:
            file.seek(max(0, size - 8))
            return file.read() == b"\xff\xff\xff\xff\0\0\0\0"

    def table(self) -> pa.Table:
        """All events as one table."""
        batches = list(self.batches())
        return pa.Table.from_batches(batches, schema({})).unify_dictionaries()

    def rows(self, kinds: Collection[int] | None = None) -> Iterator[Row]:
        """All events as rows in the order of emu.tracepoint.FIELDS, or only those of some kinds."""
        for batch in self.batches():
            yield from rows_of(batch if kinds is None else _of_kinds(batch, kinds))


def _of_kinds(batch: pa.RecordBatch, kinds: Collection[int]) -> pa.RecordBatch:
    """The events of a batch that are of some kinds."""
    column = batch.column("kind")
    names = column.dictionary.to_pylist()
    wanted = [index for index, name in enumerate(names) if _CODE_OF["kind"].get(name) in kinds]
    return batch.filter(pc.is_in(column.indices, value_set=pa.array(wanted, column.indices.type)))


def rows_of(batch: pa.RecordBatch) -> Iterator[Row]:
    """The events of a batch with all columns, as rows."""
    return zip(*(_values(name, batch.column(name)) for name in FIELDS))


def _values(name: str, column: pa.Array) -> list[Any]:
    """A column as Python has it. By way of numpy, which makes a list of numbers many times faster than Arrow does."""
    if name in LISTS:
        offsets = column.offsets.to_numpy().tolist()
        if offsets[0] == offsets[-1]:
            return [None] * len(column)
        values = column.values.to_numpy(zero_copy_only=False).tolist()
        return [tuple(values[first:last]) if first != last else None for first, last in pairwise(offsets)]
    if not isinstance(column, pa.DictionaryArray):
        column = column.fill_null(0) if column.null_count else column
        found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return found
    codes = _CODE_OF.get(name)
    meanings: list[Any] = [
        (value or None) if codes is None else codes.get(value, 0) for value in column.dictionary.to_pylist()
    ]
    meanings.append(None if codes is None else 0)  # of an index that is null
    indices = column.indices
    indices = indices.fill_null(-1) if indices.null_count else indices
    return [meanings[index] for index in indices.to_numpy(zero_copy_only=False).tolist()]


def _other_format(metadata: dict[str, Any]) -> str:
    """What to tell of a trace of another format."""
    number = metadata["format"]
    by = f"mmscope {metadata.get('mmscope', '?')}"
    if isinstance(number, int) and number < FORMAT:
        return (
            f"has the older format {number}, this mmscope reads format {FORMAT}: record it again, or read it with {by}"
        )
    if isinstance(number, int):
        return f"has the newer format {number}, this mmscope reads format {FORMAT}: read it with {by} or later"
    return f"has format {number!r}, this mmscope reads format {FORMAT} (recorded by {by})"


def _short(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:100] if text else type(error).__name__
