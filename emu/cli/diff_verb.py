# SPDX-License-Identifier: GPL-2.0-or-later
"""diff: two traces, or a trace and a record of the kernel, side by side."""

from __future__ import annotations

import argparse
import sys

from emu.cli.failure import Failure, tell
from emu.cli.trace_file import stdout_console
from emu.trace.by_set import Ranges, compare, read_side
from emu.trace.diff import GROUPS, Comparison, label_rows
from emu.trace.escape import printable
from emu.trace.reader import TraceError
from emu.trace.tables import add_row, is_narrow, new_table

TOP = 40


def parse_events(text: str) -> tuple[str, ...]:
    """Letters of GROUPS; ValueError for others."""
    for letter in text:
        if letter not in GROUPS:
            raise ValueError(f"{letter!r} is not one of {' '.join(GROUPS)}")
    return tuple(text)


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs. 0: nothing does, 1: something does, 2: nothing as far as a trace that was cut off goes; other
    trouble is a Failure, status 2."""
    if arguments.by_set:
        return _diff_by_set(arguments)
    try:
        found = Comparison(arguments.a, arguments.b, arguments.events, arguments.from_entry, arguments.children)
    except TraceError as problem:
        raise Failure(str(problem)) from None
    a, b = found.sides
    for side in found.sides:
        if side.problem:
            tell(side.problem)
    if found.same:
        return 2 if a.problem or b.problem else 0
    only_a = sum(hunk.a1 - hunk.a0 for hunk in found.hunks)
    only_b = sum(hunk.b1 - hunk.b0 for hunk in found.hunks)
    write = sys.stdout.write
    write(f"--- {printable(a.name)}: {len(a.events)} events, {only_a} only here\n")
    write(f"+++ {printable(b.name)}: {len(b.events)} events, {only_b} only here\n")
    write(f"{len(a.events) - only_a} events are alike, {len(found.hunks)} places differ\n\n")
    first = found.hunks[0]
    write(f"The first place: event {first.a0 + 1} of the one, {first.b0 + 1} of the other\n")
    for line in found.context(first, arguments.context):
        write(printable(line) + "\n")
    write("\n")
    sys.stdout.flush()
    console = stdout_console()
    narrow = is_narrow(console)
    names = ("kind",) if narrow else ("kind", "VMA", "path")
    shown = new_table("What is in one alone", ">only in -", ">only in +", *names)
    rows = label_rows(found)
    for in_a, in_b, label in rows[:TOP]:
        add_row(shown, in_a or "", in_b or "", *label[: len(names)])
    if len(rows) > TOP:
        add_row(shown, "", "", f"({len(rows) - TOP} more)", *[""] * (len(names) - 1))
    console.print(shown, "")
    return 1


def _diff_by_set(arguments: argparse.Namespace) -> int:
    if arguments.events is not None:
        raise Failure("--by-set compares faults and mmap_lock: it takes no --events")
    names = arguments.a, arguments.b
    try:
        sides = [read_side(name, arguments.from_entry) for name in names]
    except TraceError as problem:
        raise Failure(str(problem)) from None
    for side in sides:
        if side.problem:
            tell(side.problem)
    found = compare(*sides)
    if not found:
        return 2 if any(side.problem for side in sides) else 0
    write = sys.stdout.write
    for mark, name, side, only in zip("-+", names, sides, (found.only_a, found.only_b)):
        write(f"{mark * 3} {printable(name)}: {_size(side)}, {len(only)} only here\n")
    sys.stdout.flush()
    console = stdout_console()
    faults = new_table("Faults of one alone", "in", "mode", ">page", ">error code")
    rows = [(mark, *fault) for mark, only in zip("-+", (found.only_a, found.only_b)) for fault in only]
    rows.sort(key=lambda row: (row[2], row[0]))
    for mark, mode, page, code in rows[:TOP]:
        add_row(faults, mark, "user" if mode == "U" else "kernel", f"{page:x}", f"{code:x}")
    if len(rows) > TOP:
        add_row(faults, "", f"({len(rows) - TOP} more)", "", "")
    if rows:
        console.print(faults, "")
    writes = new_table("mmap_lock taken for write", ">times in -", ">times in +", "in")
    for call, here, there in found.writes:
        add_row(writes, _times(here), _times(there), printable(call))
    if found.writes:
        console.print(writes, "")
    return 1


def _size(side: Ranges) -> str:
    return f"{len(side.ever)} kinds of fault"


def _times(counts: tuple[int, int]) -> str:
    low, high = counts
    return str(low) if low == high else f"{low} to {high}"
