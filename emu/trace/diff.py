# SPDX-License-Identifier: GPL-2.0-or-later
"""Two traces side by side: where they first differ, and what is in one and not in the other.

Either may be a text record of kernel-trace (lines U, K and L). Times, CPUs, frames and serial numbers do not count,
since they differ between runs that did the same.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from emu.trace.address_space import VMA_STATE
from emu.trace.kernel_record import LINE, is_record, kernel_line, without_function
from emu.trace.reader import Trace, TraceError
from emu.tracepoint import Kind, Path, Reason, Row, Served

GROUPS: dict[str, tuple[Kind, ...]] = {
    "U": (Kind.PAGE_FAULT_USER,),
    "K": (Kind.PAGE_FAULT_KERNEL,),
    "L": (Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED),
    "V": (Kind.VMA_LOCK_READ, Kind.VMA_LOCK_READ_FAILED, Kind.VMA_LOCK_RELEASED, Kind.VMA_LOCK_WRITE),
    "M": (Kind.VMA_CREATE, Kind.VMA_SPLIT, Kind.VMA_MERGE, Kind.VMA_RESIZE, Kind.VMA_REMOVE, Kind.VMA_MODIFY),
    "S": (Kind.SYS_ENTER, Kind.SYS_EXIT),
    "G": (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER),
    "P": (Kind.EXEC, Kind.EXIT, Kind.OOM_KILL, Kind.SCHED_PROCESS_FORK),
}  # fmt: skip
"""Letters for --events: user faults, kernel faults, mmap_lock, VMA locks, mappings, system calls, signals,
processes."""
IN_RECORD = "UKL"
WINDOW = 4096  # events in which the two are brought together again after a difference
_FAULTS = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)


@dataclass
class Side:
    """One of the two, as numbers of events that are alike, and numbers of labels (kind, VMA, path)."""

    name: str
    events: array[int] = field(default_factory=lambda: array("i"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    problem: str | None = None


@dataclass
class Hunk:
    """Events [a0, a1) of the one stand where [b0, b1) of the other do."""

    a0: int
    a1: int
    b0: int
    b1: int


class Comparison:
    """Reads both sides. `texts` are the events by their number, `labels` (kind, VMA, path) by theirs."""

    def __init__(
        self, a: str, b: str, events: Collection[str] | None = None, from_entry: bool = False, children: bool = False
    ) -> None:
        """`events`: letters of GROUPS; None = all that both sides can have. TraceError when one cannot be read.
        `children`: a record of kernel-trace is of all tasks; else it is of the first, and so is what it is held
        against."""
        self.children = children
        self._numbers: dict[str, int] = {}
        self._labels: dict[tuple[str, str, str], int] = {}
        records = [is_record(path) for path in (a, b)]
        self.plain = any(records)  # what a record of the kernel does not tell is left out
        letters = set(events if events is not None else IN_RECORD if self.plain else GROUPS)
        if self.plain and not letters <= set(IN_RECORD):
            raise TraceError(f"a record of kernel-trace has events {', '.join(IN_RECORD)} only")
        self.from_entry = from_entry
        self.sides = [
            self._record(path, letters) if record else self._trace(path, letters)
            for path, record in zip((a, b), records)
        ]
        self.texts = list(self._numbers)
        self.labels = list(self._labels)
        self.hunks = align(self.sides[0].events, self.sides[1].events)

    def _add(self, side: Side, text: str, label: tuple[str, str, str]) -> None:
        side.events.append(self._numbers.setdefault(text, len(self._numbers)))
        side.labels.append(self._labels.setdefault(label, len(self._labels)))

    def _record(self, path: str, letters: set[str]) -> Side:
        side = Side(path)
        kinds = {"U": "page_fault_user", "K": "page_fault_kernel", "L": "mmap_lock"}
        waiting = self.from_entry
        for number, line in enumerate(_text(path).splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if not LINE.match(line):
                raise TraceError(f"{path}: line {number} is not one of kernel-trace")
            waiting = waiting and line[0] != "U"
            if waiting or line[0] not in letters:
                continue
            self._add(side, without_function(line), (kinds[line[0]], "", ""))
        return side

    def _trace(self, path: str, letters: set[str]) -> Side:
        trace = Trace(path)
        side = Side(path)
        kinds = {int(kind) for letter in letters for kind in GROUPS[letter]}
        wanted = kinds | set(VMA_STATE) | {int(Kind.PAGE_FAULT_USER)}
        vmas: dict[int, str] = {}
        first = 0  # task of the trace
        waiting = self.from_entry
        for row in trace.rows(wanted):
            kind = row[4]
            if kind in VMA_STATE:
                vmas[row[10]] = f"{row[5]:x}-{row[5] + row[8]:x} {row[17] or 'anonymous'}"
            first = first or row[3]
            if self.plain and not self.children and row[3] != first:
                continue
            waiting = waiting and kind != Kind.PAGE_FAULT_USER
            if waiting or kind not in kinds:
                continue
            line = kernel_line(row) if self.plain else None
            text = _full_text(row) if line is None else without_function(line)
            name = "mmap_lock" if self.plain and kind not in _FAULTS else Kind(kind).name.lower()
            vma = "" if self.plain else vmas.get(row[10], "no VMA" if kind in _FAULTS else "")
            way = Path(row[11]).name.lower() if kind in _FAULTS and not self.plain else ""
            self._add(side, text, (name, vma, way))
        side.problem = trace.problem
        return side

    @property
    def same(self) -> bool:
        """Nothing differs."""
        return not self.hunks

    def only(self) -> tuple[Counter[int], Counter[int]]:
        """How many events of each label are in one side alone."""
        found: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        for hunk in self.hunks:
            found[0].update(self.sides[0].labels[hunk.a0 : hunk.a1])
            found[1].update(self.sides[1].labels[hunk.b0 : hunk.b1])
        return found

    def context(self, hunk: Hunk, lines: int) -> Iterator[str]:
        """A hunk in the manner of diff -u, with `lines` events before and after; of long ones, the first."""
        a, b = self.sides
        for index in range(max(0, hunk.a0 - lines), hunk.a0):
            yield f"  {self.texts[a.events[index]]}"
        limit = max(lines, 1) * 3
        for mark, side, first, last in (("-", a, hunk.a0, hunk.a1), ("+", b, hunk.b0, hunk.b1)):
            for index in range(first, min(last, first + limit)):
                yield f"{mark} {self.texts[side.events[index]]}"
            if last - first > limit:
                yield f"{mark} ... {last - first - limit} more"
        for index in range(hunk.a1, min(len(a.events), hunk.a1 + lines)):
            yield f"  {self.texts[a.events[index]]}"


def _full_text(row: Row) -> str:
    kind = row[4]
    name = Kind(kind).name.lower()
    if kind in _FAULTS:
        parts = [f"{name} {row[5]:x}", f"ip={row[6]:x}" if row[6] else row[17] or "?", f"code={row[7]:x}"]
        parts += [Path(row[11]).name.lower(), Served(row[13]).name.lower()]
        parts += [Reason(row[12]).name.lower()] if row[12] else []
        return " ".join(parts)
    if kind in GROUPS["L"]:
        return f"{name} {'write' if row[7] else 'read'}" + (" refused" if kind == 4 and not row[16] else "")
    if kind in GROUPS["V"]:
        return f"{name} {row[5]:x}" + (f" {Reason(row[12]).name.lower()}" if row[12] else "")
    if kind in GROUPS["M"]:
        return f"{name} {row[5]:x}-{row[5] + row[8]:x} flags={row[9]:x} {row[17] or ''}".rstrip()
    if kind == Kind.SYS_ENTER:
        return f"{name} {row[17]}({', '.join(f'{value:x}' for value in row[18] or ())})"
    if kind == Kind.SYS_EXIT:
        return f"{name} {row[17]} = {row[16]}"
    if kind in GROUPS["G"]:
        return f"{name} {row[7]} code={row[16]} addr={row[18][0] if row[18] else 0:x}"
    return f"{name} {row[17] or ''} {row[16]}"


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None


def align(a: array[int], b: array[int]) -> list[Hunk]:
    """Where two sequences differ. After a difference the nearest place is taken from which they go on alike; a few
    events in a row must agree, so that what comes often brings nothing together by accident."""
    hunks: list[Hunk] = []
    i = j = 0
    while True:
        i, j = _alike(a, b, i, j)
        if i == len(a) and j == len(b):
            return hunks
        ni, nj = _together(a, b, i, j)
        hunks.append(Hunk(i, ni, j, nj))
        i, j = ni, nj


def _alike(a: array[int], b: array[int], i: int, j: int) -> tuple[int, int]:
    """The end of what is alike from (i, j) on: by large steps first."""
    step = 1 << 14
    while step:
        while i + step <= len(a) and j + step <= len(b) and a[i : i + step] == b[j : j + step]:
            i += step
            j += step
        step >>= 1
    return i, j


def _together(a: array[int], b: array[int], i: int, j: int) -> tuple[int, int]:
    """The place nearest to (i, j) from which both go on alike, or both ends."""
    window = 64
    while True:
        limit_a, limit_b = min(len(a), i + window), min(len(b), j + window)
        places: dict[int, list[int]] = {}
        for at in range(j, limit_b):
            places.setdefault(b[at], []).append(at)
        best: tuple[int, int, int] | None = None
        for at in range(i, limit_a):
            if best is not None and at - i >= best[0]:
                break
            for other in places.get(a[at], ()):
                distance = at - i + other - j
                if best is not None and distance >= best[0]:
                    break
                run = min(4, len(a) - at, len(b) - other)
                if a[at : at + run] == b[other : other + run]:
                    best = distance, at, other
                    break
        if best is not None:
            return best[1], best[2]
        if limit_a == len(a) and limit_b == len(b):
            return len(a), len(b)
        if window >= WINDOW:
            return limit_a, limit_b  # too far apart: take them for different up to here
        window *= 8


def label_rows(found: Comparison) -> list[tuple[int, int, tuple[str, str, str]]]:
    """(only in A, only in B, label), the largest difference first."""
    a, b = found.only()
    rows: list[Any] = [(a[label], b[label], found.labels[label]) for label in a.keys() | b.keys()]
    rows.sort(key=lambda row: (-abs(row[0] - row[1]), -(row[0] + row[1]), row[2]))
    return rows
