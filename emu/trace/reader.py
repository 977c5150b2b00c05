# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a trace, as far as it goes: a file that was cut off gives every complete batch and says that it was cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

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
        try:
            if os.path.isdir(path):
                raise TraceError(f"{path}: is a directory")
            self._source = pa.memory_map(path) if os.path.getsize(path) else None
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
        if self._source is None:
            raise TraceError(f"{path}: is empty: nothing was recorded")
        try:
            self._reader = pa.ipc.open_stream(self._source)
            raw = (self._reader.schema.metadata or {}).get(METADATA_KEY)
            self.metadata: dict[str, Any] = json.loads(raw) if raw is not None else {}
        except (pa.ArrowException, OSError, ValueError):
            raise TraceError(f"{path}: is not a trace of mmscope, or was cut off within its header") from None
        if not isinstance(self.metadata, dict) or "format" not in self.metadata:
            raise TraceError(f"{path}: is not a trace of mmscope")
        if self.metadata["format"] != FORMAT:
            raise TraceError(
                f"{path}: has format {self.metadata['format']!r}; this mmscope reads format {FORMAT} "
                f"(recorded by mmscope "
                f"{self.metadata.get('mmscope', '?')})"
            )
        self.schema = self._reader.schema
        if not self.schema.equals(schema({})):
            raise TraceError(f"{path}: its columns are not those of a trace")

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches that are complete, once."""
        events = 0
        while True:
            try:
                batch = self._reader.read_next_batch()
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError, ValueError) as error:
                self.problem = f"{self.path}: damaged or cut off after {events} events ({_short(error)})"
                return
            events += batch.num_rows
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
        return pa.Table.from_batches(batches, self._reader.schema).unify_dictionaries()

    def rows(self) -> Iterator[Row]:
        """All events as rows in the order of emu.tracepoint.FIELDS."""
        for batch in self.batches():
            yield from decode_rows(batch)


def decode_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of one batch, in the order of emu.tracepoint.FIELDS."""
    columns = []
    for name in FIELDS:
        values = batch.column(name).to_pylist()
        codes = _CODE_OF.get(name)
        if codes is not None:
            values = [codes.get(value, 0) for value in values]
        elif name == "text":
            values = [value or None for value in values]
        elif name in LISTS:
            values = [tuple(value) if value else None for value in values]
        columns.append(values)
    return zip(*columns)


def _short(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:100] if text else type(error).__name__
