# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace file: an Arrow IPC stream, zstd-compressed, one row an event.

Any Arrow reader can open it. The columns are `emu.tracepoint.FIELDS`; kind, path, reason and served are
dictionary-encoded
with their names. The schema's metadata holds, under `mmscope`, a JSON object that says what ran (see `header`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import struct
from array import array
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from emu.hw.native import wants_pure
from emu.tracepoint import FIELDS, Kind, Path, Reason, Row, Served

FORMAT = 2
METADATA_KEY = b"mmscope"
_CODES = {
    "time": "q", "cpu": "H", "pid": "i", "tid": "i", "kind": "b", "address": "Q", "ip": "Q", "code": "Q", "size": "Q",
    "flags": "Q", "vma": "I", "path": "b", "reason": "b", "served": "b", "wait": "q", "holder": "i", "result": "q",
    "duration": "q",
}  # fmt: skip
_ARROW = {
    "q": pa.int64(), "H": pa.uint16(), "i": pa.int32(), "b": pa.int8(), "Q": pa.uint64(), "I": pa.uint32(),
}  # fmt: skip


def _names(enum: type[IntEnum]) -> pa.Array:
    """Names by value; a value that no member has gets its number."""
    members = {int(member): member.name.lower() for member in enum}
    return pa.array([members.get(value, str(value)) for value in range(max(members) + 1)])


DICTIONARIES = {"kind": _names(Kind), "path": _names(Path), "reason": _names(Reason), "served": _names(Served)}
_MASK = (1 << 64) - 1
LISTS = ("args", "stack")
_LAYOUT = "".join("t" if name == "text" else "l" if name in LISTS else _CODES[name] for name in FIELDS)

_pack: Any = None  # rows as bytes of each column (_pack.c); None where it was not built
if not wants_pure():
    with contextlib.suppress(ImportError):
        _pack = importlib.import_module("emu.trace._pack").pack


def schema(metadata: dict[str, Any]) -> pa.Schema:
    """The columns, with `metadata` as the header."""
    fields = []
    for name in FIELDS:
        if name == "text":
            kind = pa.dictionary(pa.int32(), pa.string())
        elif name in LISTS:
            kind = pa.list_(pa.uint64())
        elif name in DICTIONARIES:
            kind = pa.dictionary(pa.int8(), pa.string())
        else:
            kind = _ARROW[_CODES[name]]
        fields.append(pa.field(name, kind))
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})


def header(machine: Any, path: str, argv: list[str], env: list[str], version: str) -> dict[str, Any]:
    """What ran, on what: the header of a trace of `machine`, whose task was just spawned."""
    task = machine.task
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format": FORMAT,
        "mmscope": version,
        "program": task.exe,
        "sha256": digest,
        "argv": argv,
        "env": env,
        "arch": task.arch.name,
        "cpu": task.arch.cpu_model,
        "word": task.word,
        "locking": machine.locking,
        "memory": machine.ram.size,
        "seed": machine.seed,
        "cpus": machine.cpus,
        "comm": task.comm,
    }


class Encoder:
    """Turns rows into record batches. Strings get numbers in the order in which they first appear.

    Rows are packed when they come and not when there is a batch of them: 16,384 rows are 9 MB of Python objects, which
    a small piece of them keeps in the host's cache. Figures: 175 misses of a 512 KiB cache for each fault that is
    recorded, two thirds of them of rows, that is some 2 of 30 us.
    """

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.schema = schema(metadata)
        self.strings = [""]
        self.numbers: dict[str | None, int] = {None: 0, "": 0}
        self.pending = 0  # rows that wait for `take`
        self._parts = _new_parts()

    def add(self, rows: list[Row]) -> None:
        """Pack rows, which must not be none."""
        packed = self._columns(rows) if _pack is None else _pack(rows, _LAYOUT, self.numbers, self._new_text)
        for pieces, piece in zip(self._parts, packed):
            pieces.append(piece)
        self.pending += len(rows)

    def _columns(self, rows: list[Row]) -> list[bytes]:
        """The twin of pack in _pack.c."""
        count = len(rows)
        packed = []
        for name, column in zip(FIELDS, zip(*rows)):
            if name == "text":
                packed.append(struct.pack(f"{count}i", *self._number(column)))
            elif name in LISTS:
                packed += [part.tobytes() for part in _lists(column)]
            else:
                # 9 ns an item, where array.array takes 12 to 37
                packed.append(struct.pack(f"{count}{_CODES[name]}", *column))
        return packed

    def take(self) -> pa.RecordBatch:
        """All rows that wait, one or more, as one batch."""
        batch = self.look()
        self._parts = _new_parts()
        self.pending = 0
        return batch

    def look(self) -> pa.RecordBatch:
        """As `take`, but they go on waiting."""
        return self._batch(iter([b"".join(pieces) for pieces in self._parts]))

    def encode(self, rows: list[Row]) -> pa.RecordBatch:
        """One batch of `rows`, where none wait."""
        self.add(rows)
        return self.take()

    def _batch(self, parts: Iterator[bytes]) -> pa.RecordBatch:
        count = self.pending
        arrays = []
        for name in FIELDS:
            data = next(parts)
            if name == "text":
                plain = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(data)])
                arrays.append(pa.DictionaryArray.from_arrays(plain, pa.array(self.strings, pa.string())))
            elif name in LISTS:
                offsets = np.zeros(count + 1, np.int32)
                np.cumsum(np.frombuffer(data, np.int32), out=offsets[1:])
                items = next(parts)
                values = pa.Array.from_buffers(pa.uint64(), len(items) // 8, [None, pa.py_buffer(items)])
                arrays.append(pa.ListArray.from_arrays(pa.array(offsets), values))
            else:
                plain = pa.Array.from_buffers(_ARROW[_CODES[name]], count, [None, pa.py_buffer(data)])
                names = DICTIONARIES.get(name)
                arrays.append(plain if names is None else pa.DictionaryArray.from_arrays(plain, names))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _number(self, texts: tuple[str | None, ...]) -> Iterable[int]:
        numbers = self.numbers
        for text in dict.fromkeys(texts):
            if text not in numbers:
                assert text is not None
                self._new_text(text)
        return map(numbers.__getitem__, texts)

    def _new_text(self, text: str) -> int:
        """The number that a text gets, which had none."""
        number = self.numbers[text] = len(self.strings)
        self.strings.append(text.encode("utf-8", "backslashreplace").decode())
        return number


def _new_parts() -> list[list[bytes]]:
    """The pieces of each column, of a list first those of the lengths and then those of the items."""
    return [[] for _ in range(len(FIELDS) + len(LISTS))]


def _lists(column: tuple[tuple[int, ...] | None, ...]) -> tuple[array[int], array[int]]:
    """Lengths and items."""
    lists: Any = column
    try:
        lengths = array("i", map(len, lists))
    except TypeError:  # a None
        lists = [args or () for args in column]
        lengths = array("i", map(len, lists))
    try:
        return lengths, array("Q", chain.from_iterable(lists))
    except OverflowError:  # a negative number, or one of more than 64 bits
        return lengths, array("Q", [value & _MASK for args in lists for value in args])
