# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a trace once, batch by batch, into numpy columns by subject: only what the pictures need stays in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emu.trace.reader import Trace
from emu.trace.scan import Scan
from emu.tracepoint import Kind

Array = npt.NDArray[Any]
Columns = dict[str, Array]

_PIECES = 64
_PIECE = 1 << 18  # events that are looked at together
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


def collect(trace: Trace) -> Events:
    """Everything that the pictures of a trace need, as far as the file goes."""
    events = Events(trace.metadata)
    parts: dict[str, dict[str, _Parts]] = {
        name: {column: _Parts() for column in (*_WHO, *extra)} for name, (_, extra) in SUBJECTS.items()
    }
    names = list(SUBJECTS)
    subject_of = np.full(256, -1, np.int8)
    for number, (kinds, _) in enumerate(SUBJECTS.values()):
        subject_of[[int(kind) for kind in kinds]] = number
    first, last = None, 0
    scan = Scan(trace, list(_TYPES))
    for piece in scan.pieces(_PIECE):
        if not piece.num_rows:
            continue
        columns = {name: piece.column(name).to_numpy().astype(_TYPES[name], copy=False) for name in scan.columns}
        kind, time = columns["kind"], columns["time"]
        low, high = int(time.min()), int(time.max())
        first = low if first is None else min(first, low)
        subject = subject_of[kind.view(np.uint8)]
        faults = np.flatnonzero(subject == names.index("faults"))
        if len(faults):  # the time of a fault is its begin
            high = max(high, int((time[faults] + columns["duration"][faults]).max()))
        last = max(last, high)
        present = np.bincount(kind.view(np.uint8), minlength=256)
        for value in np.flatnonzero(present).tolist():
            events.kinds[value] += int(present[value])
        _count_vma_locks(events, columns["reason"], kind)
        for number in np.unique(subject).tolist():
            if number >= 0:
                chosen = np.flatnonzero(subject == number)
                for column, found in parts[names[number]].items():
                    found.add(columns[column][chosen])
    events.total = scan.events
    events.problem = trace.problem
    events.first, events.last = first or 0, max(last, first or 0)
    events.texts = scan.strings
    for name, of_subject in parts.items():
        joined = {}
        for column in list(of_subject):  # one by one, so that what was joined is let go
            joined[column] = of_subject.pop(column).join(_TYPES[column])
        if (np.diff(joined["time"]) < 0).any():  # CPUs may be out of order by a little
            order = np.argsort(joined["time"], kind="stable")
            joined = {column: values[order] for column, values in joined.items()}
        events.subjects[name] = joined
    return events


def _count_vma_locks(events: Events, reason: Array, kind: Array) -> None:
    ours = (kind >= Kind.VMA_LOCK_READ) & (kind <= Kind.VMA_LOCK_WRITE) & (kind != Kind.VMA_LOCK_RELEASED)
    counts = np.bincount((kind[ours].astype(np.int64) << 8) | reason[ours])
    for key in np.flatnonzero(counts).tolist():
        events.vma_locks[key >> 8, key & 0xFF] += int(counts[key])
