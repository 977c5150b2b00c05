# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: faults by kind, VMA, path and symbol, locks, system calls, signals, as rich tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from signal import Signals
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emu.trace.address_space import Vma
from emu.trace.escape import printable
from emu.trace.grouping import FAULTS
from emu.trace.images import Images
from emu.trace.reader import Trace
from emu.trace.scan import Scan, of_kinds
from emu.trace.tables import add_row, new_table, share
from emu.trace.tally import Follow, Tally
from emu.trace.vma_names import VmaNames
from emu.tracepoint import Kind, Path, Reason, Served

TOP = 12
_COLUMNS = (
    "time", "kind", "pid", "address", "ip", "code", "size", "flags", "vma", "path", "reason", "served", "result",
    "text",
)  # fmt: skip
_VMA_LOCKS = {
    int(Kind.VMA_LOCK_READ): "read", int(Kind.VMA_LOCK_READ_FAILED): "read, failed", int(Kind.VMA_LOCK_WRITE): "write",
}  # fmt: skip


class Summary:
    """What the report tells, counted over a trace in pieces."""

    def __init__(self, trace: Trace, program: str | None = None) -> None:
        """Read the whole trace. `program`: see emu.trace.images.Images."""
        self.images = Images(trace, program)
        self.events = 0
        self.end = 0  # ns
        self.kinds = Tally(["served", "kind"])
        self.paths = Tally(["path", "reason"])
        self.vmas = Tally(["vma"])
        self.places = Tally(["image", "ip", "text"])
        self.mmap_locks = Tally(["code", "result"])
        self.vma_locks = Tally(["kind"])
        self.calls = Tally(["text", "failed"])
        self.signals = Tally(["code", "result"])
        names = VmaNames()
        scan = Scan(trace, (*_COLUMNS, *self.images.vma_columns))
        follow, marks = Follow("pid", ("image",)), self.images.marks()
        for piece in scan.pieces():
            self.events += piece.num_rows
            self.end = max(self.end, pc.max(piece.column("time")).as_py() or 0)
            names.add(piece)
            faults = of_kinds(piece, *FAULTS)
            if self.images.several:
                faults = follow.join(faults, marks)
                marks = marks.slice(0, 0)
            else:
                faults = faults.append_column("image", pc.multiply(faults.column("seq"), 0))
            for tally in (self.kinds, self.paths, self.vmas, self.places):
                tally.add(faults)
            self.mmap_locks.add(of_kinds(piece, int(Kind.MMAP_LOCK_ACQUIRE_RETURNED)))
            self.vma_locks.add(of_kinds(piece, *_VMA_LOCKS))
            calls = of_kinds(piece, int(Kind.SYS_EXIT))
            result = calls.column("result")
            self.calls.add(calls.append_column("failed", pc.and_(pc.less(result, 0), pc.greater(result, -4096))))
            self.signals.add(of_kinds(piece, int(Kind.SIGNAL_GENERATE)))
        self.strings: Sequence[str] = scan.strings
        self.names: dict[int, Vma] = names.get(scan.strings)
        self.images.map_files(self.names.values())
        self.faults = sum(row[-1] for row in self.kinds.rows())


def print_report(trace: Trace, console: Console, program: str | None = None) -> None:
    """Print all that is known about a trace in one screen or two. `program`: a file to take symbols from."""
    print_summary(trace, Summary(trace, program), console)


def print_summary(trace: Trace, found: Summary, console: Console) -> None:
    """Print what was counted."""
    meta = trace.metadata
    console.print(
        Text(
            printable(
                f"{meta.get('program')} on {meta.get('arch')}, --locking {meta.get('locking')}: "
                f"{found.events} events, {found.faults} page faults in {found.end / 1e9:.6f} s of virtual time"
            ),
            style="bold",
        )
    )
    _faults_by_kind(found, console)
    _faults_by_path(found, console)
    _faults_by_vma(found, console)
    _faults_by_symbol(found, console)
    _locks(found, console)
    _calls(found, console)
    _signals(found, console)
    for note in (*found.images.notes(), trace.problem):
        if note:
            console.print(Text(f"note: {note}"))


def _faults_by_kind(found: Summary, console: Console) -> None:
    shown = new_table("Faults by kind", ">faults", ">share", "kind", "mode")
    for served, kind, count in found.kinds.rows():
        mode = "user" if kind == Kind.PAGE_FAULT_USER else "kernel"
        add_row(shown, count, share(count, found.faults), Served(served).name.lower(), mode)
    console.print(shown, "")


def _faults_by_path(found: Summary, console: Console) -> None:
    shown = new_table("Faults by path, and why a faster one did not serve", ">faults", ">share", "path", "reason")
    for path, reason, count in found.paths.rows():
        why = Reason(reason).name.lower() if reason else ""
        add_row(shown, count, share(count, found.faults), Path(path).name.lower(), why)
    console.print(shown, "")


def _faults_by_vma(found: Summary, console: Console) -> None:
    shown = new_table("Faults by VMA", ">faults", ">share", "range", "name")
    rows = found.vmas.rows()
    for number, count in rows[:TOP]:
        vma = found.names.get(number)
        if vma is not None:
            where, name = f"{vma.start:x}-{vma.end:x}", vma.name
        else:
            where, name = "-", "no VMA, or one that is not recorded"
        add_row(shown, count, share(count, found.faults), where, name or "anonymous")
    _rest(shown, rows)
    console.print(shown, "")


def _rest(shown: Table, rows: list[tuple[Any, ...]]) -> None:
    if len(rows) > TOP:
        add_row(shown, sum(row[-1] for row in rows[TOP:]), "", f"({len(rows) - TOP} more)", "")


def _faults_by_symbol(found: Summary, console: Console) -> None:
    counts: Counter[str] = Counter()
    for image, ip, text, count in found.places.rows():
        if not ip:
            counts[f"[kernel] {found.strings[text]}"] += count
            continue
        symbol = found.images.at(image, ip).lookup(ip)
        counts[symbol[0] if symbol is not None else f"{ip:#x}"] += count
    shown = new_table("Faults by symbol", ">faults", ">share", "symbol")
    rows = counts.most_common()
    for name, count in rows[:TOP]:
        add_row(shown, count, share(count, found.faults), name)
    if len(rows) > TOP:
        add_row(shown, sum(count for _, count in rows[TOP:]), "", f"({len(rows) - TOP} more)")
    console.print(shown, "")


def _locks(found: Summary, console: Console) -> None:
    shown = new_table("Locks", ">times", "lock", "")
    for write, success, count in found.mmap_locks.rows():
        add_row(shown, count, "mmap_lock", f"{'write' if write else 'read'}{'' if success else ', refused'}")
    for kind, count in sorted(found.vma_locks.rows()):
        add_row(shown, count, "VMA lock", _VMA_LOCKS[kind])
    console.print(shown, "")


def _calls(found: Summary, console: Console) -> None:
    counts: Counter[int] = Counter()
    errors: Counter[int] = Counter()
    for text, failed, count in found.calls.rows():
        counts[text] += count
        errors[text] += count if failed else 0
    if not counts:
        return
    shown = new_table("System calls", ">calls", ">errors", "name")
    rows = sorted(counts.items(), key=lambda row: (-row[1], found.strings[row[0]]))
    for text, count in rows[:TOP]:
        add_row(shown, count, errors[text] or "", found.strings[text])
    if len(rows) > TOP:
        add_row(shown, sum(count for _, count in rows[TOP:]), "", f"({len(rows) - TOP} more)")
    console.print(shown, "")


def _signals(found: Summary, console: Console) -> None:
    rows = found.signals.rows()
    if not rows:
        return
    shown = new_table("Signals", ">times", "signal", ">si_code")
    for number, code, count in rows:
        try:
            name = Signals(number).name
        except ValueError:
            name = f"signal {number}"
        add_row(shown, count, name, code)
    console.print(shown, "")
