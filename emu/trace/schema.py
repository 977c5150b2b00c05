# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace file: an Arrow IPC stream, zstd-compressed, one row an event.

Any Arrow reader can open it. The columns are `emu.tracepoint.FIELDS`; kind, path, reason and served are
dictionary-encoded
with their names. The schema's metadata holds, under `mmscope`, a JSON object that says what ran (see `header`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from array import array
from enum import IntEnum
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa

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
    """Turns rows into record batches. Strings get numbers in the order in which they first appear."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.schema = schema(metadata)
        self.strings = [""]
        self.numbers: dict[str | None, int] = {None: 0, "": 0}

    def encode(self, rows: list[Row]) -> pa.RecordBatch:
        """One batch of all `rows`, which must not be empty."""
        count = len(rows)
        columns = list(zip(*rows))
        arrays = []
        for index, name in enumerate(FIELDS):
            column = columns[index]
            if name == "text":
                arrays.append(self._texts(column))
            elif name in LISTS:
                arrays.append(_lists(column))
            else:
                code = _CODES[name]
                data = struct.pack(f"{count}{code}", *column)  # 9 ns an item, where array.array takes 12 to 37
                plain = pa.Array.from_buffers(_ARROW[code], count, [None, pa.py_buffer(data)])
                names = DICTIONARIES.get(name)
                arrays.append(plain if names is None else pa.DictionaryArray.from_arrays(plain, names))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _texts(self, column: tuple[str | None, ...]) -> pa.Array:
        numbers = self.numbers
        for text in dict.fromkeys(column):
            if text not in numbers:
                assert text is not None
                numbers[text] = len(self.strings)
                self.strings.append(text.encode("utf-8", "backslashreplace").decode())
        codes = struct.pack(f"{len(column)}i", *map(numbers.__getitem__, column))
        plain = pa.Array.from_buffers(pa.int32(), len(column), [None, pa.py_buffer(codes)])
        return pa.DictionaryArray.from_arrays(plain, pa.array(self.strings, pa.string()))


def _lists(column: tuple[tuple[int, ...] | None, ...]) -> pa.Array:
    lists: Any = column
    try:
        offsets = array("i", accumulate(map(len, lists), initial=0))
    except TypeError:  # a None
        lists = [args or () for args in column]
        offsets = array("i", accumulate(map(len, lists), initial=0))
    try:
        values = array("Q", chain.from_iterable(lists))
    except OverflowError:  # a negative number, or one of more than 64 bits
        values = array("Q", [value & _MASK for args in lists for value in args])
    return pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(offsets), [None, pa.py_buffer(offsets)]),
        pa.Array.from_buffers(pa.uint64(), len(values), [None, pa.py_buffer(values)]),
    )
