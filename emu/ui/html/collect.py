# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a trace once, batch by batch, into numpy columns by subject: only what the pictures need stays in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from emu.trace.reader import Trace
from emu.tracepoint import Kind, Path, Reason, Served

Array = npt.NDArray[Any]
Columns = dict[str, Array]

_ENUMS = {"kind": Kind, "path": Path, "reason": Reason, "served": Served}
_CODE_OF = {name: {member.name.lower(): int(member) for member in enum} for name, enum in _ENUMS.items()}
_PIECES = 64
_WHO = ("time", "cpu", "pid", "tid", "kind")

# subject: (kinds of event, columns besides _WHO)
SUBJECTS: dict[str, tuple[tuple[Kind, ...], tuple[str, ...]]] = {
    "faults": (
        (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL),
        ("address", "ip", "flags", "vma", "path", "reason", "served", "wait", "text", "duration"),
    ),
    "vmas": (
        tuple(kind for kind in Kind if kind.name.startswith("VMA_") and not kind.name.startswith("VMA_LOCK")),
        ("address", "size", "flags", "vma", "text"),
    ),
    "acquired": (
        (Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.VMA_LOCK_WRITE),
        ("address", "code", "vma", "wait", "holder", "result"),
    ),
    "released": ((Kind.MMAP_LOCK_RELEASED,), ("address", "code", "duration")),
    "contention": (
        (Kind.CONTENTION_BEGIN, Kind.CONTENTION_END),
        ("address", "vma", "code", "holder", "wait", "result", "text"),
    ),
    "calls": ((Kind.SYS_ENTER, Kind.SYS_EXIT), ("text", "result", "duration")),
    "sched": ((Kind.SCHED_SWITCH,), ("code", "result")),
    "starts": ((Kind.SCHED_WAKEUP, Kind.SCHED_PROCESS_FORK), ("code",)),
    "tasks": ((Kind.EXEC, Kind.EXIT), ("address",)),
    "signals": ((Kind.SIGNAL_GENERATE,), ("code", "result")),
}
_TYPES = {
    "time": np.int64, "cpu": np.int32, "pid": np.int32, "tid": np.int32, "kind": np.int8, "address": np.uint64,
    "ip": np.uint64, "code": np.uint64, "size": np.uint64, "flags": np.uint32, "vma": np.uint32, "path": np.int8,
    "reason": np.int8, "served": np.int8, "wait": np.int64, "holder": np.int32, "result": np.int64,
    "duration": np.int64, "text": np.int32,
}  # fmt: skip


@dataclass
class Events:
    """What a trace holds, by subject. Each subject's columns are sorted by time (stably). `texts`: the strings that the
    column `text` counts in; 0 is none."""

    metadata: dict[str, Any]
    problem: str | None = None  # set where the trace was cut off
    total: int = 0
    first: int = 0  # ns, the earliest event
    last: int = 0  # ns, the end of the latest one
    kinds: Counter[int] = field(default_factory=Counter)
    vma_locks: Counter[tuple[int, int]] = field(default_factory=Counter)  # (kind, reason)
    texts: list[str] = field(default_factory=lambda: [""])
    subjects: dict[str, Columns] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Columns:
        try:
            return self.__dict__["subjects"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None


def _plain(column: Any, dtype: Any) -> Array:
    """An Arrow column of numbers as numpy; nulls are 0."""
    if column.null_count:
        column = column.fill_null(0)
    return column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)  # type: ignore[no-any-return]


class _Parts:
    """One column in pieces. Small ones are joined early: many small arrays leave memory that cannot be given back."""

    def __init__(self) -> None:
        self._small: list[Array] = []
        self._large: list[Array] = []

    def add(self, values: Array) -> None:
        self._small.append(values)
        if len(self._small) == _PIECES:
            self._large.append(np.concatenate(self._small))
            self._small.clear()

    def join(self, dtype: Any) -> Array:
        """All of it; the pieces are let go."""
        pieces = [*self._large, *self._small]
        self._large, self._small = [], []
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype)


class _Reader:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {"": 0}
        self.texts = [""]

    def enum(self, name: str, column: Any) -> Array:
        """A dictionary column as the values of its enum; a name that is none of its members is 0."""
        codes = _CODE_OF[name]
        names = column.dictionary.to_pylist()
        table = np.array([codes.get(found, 0) for found in names] or [0], np.int8)
        return table[_plain(column.indices, np.int64)]

    def text(self, column: Any, chosen: Array) -> Array:
        """The texts of the chosen rows, as indices into `texts`."""
        codes = _plain(column.indices, np.int64)[chosen]
        used, inverse = np.unique(codes, return_inverse=True)
        numbers = []
        dictionary = column.dictionary
        for code in used.tolist():
            found = dictionary[code].as_py() if 0 <= code < len(dictionary) else None
            found = found or ""
            number = self.numbers.get(found)
            if number is None:
                number = self.numbers[found] = len(self.texts)
                self.texts.append(found)
            numbers.append(number)
        return np.array(numbers, np.int32)[inverse] if numbers else np.zeros(0, np.int32)


def collect(trace: Trace) -> Events:
    """Everything that the pictures of a trace need, as far as the file goes."""
    events = Events(trace.metadata)
    reader = _Reader()
    parts: dict[str, dict[str, _Parts]] = {
        name: {column: _Parts() for column in (*_WHO, *extra)} for name, (_, extra) in SUBJECTS.items()
    }
    subject_of = {int(kind): name for name, (kinds, _) in SUBJECTS.items() for kind in kinds}
    first, last = None, 0
    for batch in trace.batches():
        if not batch.num_rows:
            continue
        kind = reader.enum("kind", batch.column("kind"))
        time = _plain(batch.column("time"), np.int64)
        duration = _plain(batch.column("duration"), np.int64)
        events.total += batch.num_rows
        low, high = int(time.min()), int(time.max())
        first = low if first is None else min(first, low)
        faults = (kind == Kind.PAGE_FAULT_USER) | (kind == Kind.PAGE_FAULT_KERNEL)
        if faults.any():  # the time of a fault is its begin
            high = max(high, int((time[faults] + duration[faults]).max()))
        last = max(last, high)
        present = np.bincount(kind.astype(np.int64) & 0xFF, minlength=256)
        for value in np.flatnonzero(present).tolist():
            events.kinds[value] += int(present[value])
        _count_vma_locks(events, reader, batch, kind)
        for name in {subject_of[value] for value in np.flatnonzero(present).tolist() if value in subject_of}:
            chosen = np.flatnonzero(np.isin(kind, np.array(SUBJECTS[name][0], np.int8)))
            for column, found in parts[name].items():
                found.add(_column(reader, batch, column, chosen, kind))
    events.problem = trace.problem
    events.first, events.last = first or 0, max(last, first or 0)
    events.texts = reader.texts
    for name, columns in parts.items():
        joined = {}
        for column in list(columns):  # one by one, so that what was joined is let go
            joined[column] = columns.pop(column).join(_TYPES[column])
        if (np.diff(joined["time"]) < 0).any():  # CPUs may be out of order by a little
            order = np.argsort(joined["time"], kind="stable")
            joined = {column: values[order] for column, values in joined.items()}
        events.subjects[name] = joined
    return events


def _column(reader: _Reader, batch: pa.RecordBatch, name: str, chosen: Array, kind: Array) -> Array:
    if name == "kind":
        return kind[chosen]
    column = batch.column(name)
    if name == "text":
        return reader.text(column, chosen)
    if name in _CODE_OF:
        return reader.enum(name, column)[chosen]
    return _plain(column, _TYPES[name])[chosen]


def _count_vma_locks(events: Events, reader: _Reader, batch: pa.RecordBatch, kind: Array) -> None:
    ours = np.isin(kind, np.array([Kind.VMA_LOCK_READ, Kind.VMA_LOCK_READ_FAILED, Kind.VMA_LOCK_WRITE], np.int8))
    if not ours.any():
        return
    reason = reader.enum("reason", batch.column("reason"))[ours].astype(np.int64)
    keys, counts = np.unique((kind[ours].astype(np.int64) << 8) | reason, return_counts=True)
    for key, count in zip(keys.tolist(), counts.tolist()):
        events.vma_locks[key >> 8, key & 0xFF] += count
