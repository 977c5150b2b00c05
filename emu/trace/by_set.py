# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a trace does not depend on the schedule: which faults happened, by page and kind, and how often mmap_lock was
taken for write, by system call.

Several runs of a program with many tasks differ: two tasks race for a page, and a fault happens twice, or with the page
there already. So a side is a range: what each of its runs had, and what any had. Two sides agree where their ranges
meet. A side is a trace, a text record of kernel-trace --children, or the ranges of several such (`lines`), a file with

    U <page> <error_code> always|sometimes
    K <page> <error_code> always|sometimes
    W <system call> <fewest> <most>
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emu.mm.mm_types import PAGE_MASK
from emu.trace.kernel_record import LINE, first_line, is_record
from emu.trace.reader import Trace, TraceError
from emu.tracepoint import Kind

ANY_CALL = "all calls"
_RANGES = re.compile(r"(?:[UK] [0-9a-f]+ [0-9a-f]+ (?:always|sometimes)|W .+ \d+ \d+)$")
Fault = tuple[str, int, int]
"""("U" or "K", address of the page, error code)."""


@dataclass
class Run:
    """One run: its faults, and how often each system call took mmap_lock for write."""

    faults: set[Fault]
    writes: Counter[str]
    problem: str | None = None


@dataclass
class Ranges:
    """What several runs had in common, and what at least one had."""

    always: set[Fault]
    ever: set[Fault]
    writes: dict[str, tuple[int, int]]
    problem: str | None = None

    @classmethod
    def of(cls, runs: list[Run]) -> Ranges:
        """The ranges of at least one run."""
        calls = {call for run in runs for call in run.writes}
        counts = {call: [run.writes[call] for run in runs] for call in calls}
        return cls(
            set.intersection(*(run.faults for run in runs)),
            set.union(*(run.faults for run in runs)),
            {call: (min(found), max(found)) for call, found in counts.items()},
            next((run.problem for run in runs if run.problem), None),
        )

    def lines(self) -> Iterator[str]:
        """As text, sorted."""
        for mode, page, code in sorted(self.ever):
            steady = "always" if (mode, page, code) in self.always else "sometimes"
            yield f"{mode} {page:x} {code:x} {steady}"
        for call, (fewest, most) in sorted(self.writes.items()):
            yield f"W {call} {fewest} {most}"


def run_of_trace(trace: Trace, from_entry: bool = False) -> Run:
    """All tasks of a trace. `from_entry`: from the first fault of the program on."""
    faults: set[Fault] = set()
    writes: Counter[str] = Counter()
    inside: dict[int, str] = {}
    waiting = from_entry
    kinds = (
        Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.SYS_ENTER, Kind.SYS_EXIT,
    )  # fmt: skip
    for row in trace.rows({int(kind) for kind in kinds}):
        kind, tid = row[4], row[3]
        if kind == Kind.SYS_ENTER:
            inside[tid] = row[17] or "?"
        elif kind == Kind.SYS_EXIT:
            inside.pop(tid, None)
        elif kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED:
            if row[7] and row[16] and not waiting:
                writes[inside.get(tid, "fault")] += 1
        else:
            waiting = waiting and kind != Kind.PAGE_FAULT_USER
            if not waiting:
                faults.add(("U" if kind == Kind.PAGE_FAULT_USER else "K", row[5] & PAGE_MASK, row[7]))
    return Run(faults, writes, trace.problem)


def run_of_lines(lines: Iterable[str], name: str, from_entry: bool = False) -> Run:
    """All tasks of a text record of kernel-trace, which does not tell the system call. TraceError for other text."""
    faults: set[Fault] = set()
    writes: Counter[str] = Counter()
    waiting = from_entry
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.match(line)
        if not found:
            raise TraceError(f"{name}: line {number} is not one of kernel-trace")
        waiting = waiting and line[0] != "U"
        if waiting:
            continue
        user, user_code, kernel, kernel_code, what, how = found.groups()
        if user:
            faults.add(("U", int(user, 16) & PAGE_MASK, int(user_code, 16)))
        elif kernel:
            faults.add(("K", int(kernel, 16) & PAGE_MASK, int(kernel_code, 16)))
        elif what == "got" and how == "w":
            writes[ANY_CALL] += 1
    return Run(faults, writes)


def ranges_of_lines(lines: Iterable[str], name: str) -> Ranges:
    """What Ranges.lines wrote. TraceError for other text."""
    found = Ranges(set(), set(), {})
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not _RANGES.match(line):
            raise TraceError(f"{name}: line {number} is not one of a record by set")
        parts = line.split()
        if parts[0] == "W":
            found.writes[" ".join(parts[1:-2])] = int(parts[-2]), int(parts[-1])
            continue
        fault = parts[0], int(parts[1], 16), int(parts[2], 16)
        found.ever.add(fault)
        if parts[3] == "always":
            found.always.add(fault)
    return found


def read_side(path: str, from_entry: bool = False) -> Ranges:
    """A file of one of the three kinds; TraceError when it cannot be read."""
    ranges = _RANGES.match(first_line(path) or "") is not None
    if not ranges and not is_record(path):
        return Ranges.of([run_of_trace(Trace(path), from_entry)])
    with open(path, encoding="ascii", errors="replace") as file:
        lines = file.read().splitlines()
    return ranges_of_lines(lines, path) if ranges else Ranges.of([run_of_lines(lines, path, from_entry)])


def total(writes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The sum over all calls: what is comparable with a record that does not tell them."""
    return {ANY_CALL: (sum(low for low, _ in writes.values()), sum(high for _, high in writes.values()))}


@dataclass
class Difference:
    """What is in one side alone: faults that each of its runs had and no run of the other; and (call, range here,
    range there) of writes whose ranges do not meet."""

    only_a: list[Fault]
    only_b: list[Fault]
    writes: list[tuple[str, tuple[int, int], tuple[int, int]]]

    def __bool__(self) -> bool:
        return bool(self.only_a or self.only_b or self.writes)


def compare(a: Ranges, b: Ranges) -> Difference:
    """Where the two do not agree."""
    ours, theirs = a.writes, b.writes
    if ANY_CALL in ours or ANY_CALL in theirs:
        ours, theirs = total(ours), total(theirs)
    apart = []
    for call in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(call, (0, 0)), theirs.get(call, (0, 0))
        if here[0] > there[1] or there[0] > here[1]:
            apart.append((call, here, there))
    return Difference(sorted(a.always - b.ever), sorted(b.always - a.ever), apart)
