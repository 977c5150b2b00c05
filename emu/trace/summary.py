# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: faults by kind, VMA, path and symbol, locks, system calls, signals, as rich tables."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emu.trace.escape import printable
from emu.trace.reader import Trace
from emu.trace.symbols import Symbols

TOP = 12
_FAULT_KINDS = pa.array(["page_fault_user", "page_fault_kernel"])
_VMA_KINDS = pa.array(["vma_create", "vma_split", "vma_merge", "vma_resize"])


def _count(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """(value ..., count) by the columns, most frequent first, then by value."""
    grouped = table.group_by(list(names)).aggregate([([], "count_all")])
    columns = [grouped.column(name).to_pylist() for name in (*names, "count_all")]
    return sorted(zip(*columns), key=lambda row: (-row[-1], row[:-1]))


def _plain(table: pa.Table) -> pa.Table:
    """Dictionary columns as plain strings."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold", header_style="dim")
    for column in columns:
        numeric = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if numeric else "left", overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(Text(printable(str(cell))) for cell in cells))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def load_bias(table: pa.Table) -> int:
    """The load bias of the program, from its exec event; 0 when there is none."""
    execs = table.filter(pc.equal(table.column("kind"), "exec"))
    return int(execs.column("address")[0].as_py()) if execs.num_rows else 0


def print_report(trace: Trace, console: Console) -> None:
    """Print all that is known about a trace in one screen or two."""
    table = _plain(trace.table())
    meta = trace.metadata
    kind = table.column("kind")
    faults = table.filter(pc.is_in(kind, value_set=_FAULT_KINDS))
    times = table.column("time")
    seconds = (pc.max(times).as_py() or 0) / 1e9 if table.num_rows else 0.0
    console.print(
        Text(
            printable(
                f"{meta.get('program')} on {meta.get('arch')}, --locking {meta.get('locking')}: "
                f"{table.num_rows} events, "
                f"{faults.num_rows} page faults in {seconds:.6f} s of virtual time"
            ),
            style="bold",
        )
    )
    symbols = Symbols.of_trace(meta, load_bias(table))
    _faults_by_kind(faults, console)
    _faults_by_path(faults, console)
    _faults_by_vma(faults, table, console)
    _faults_by_symbol(faults, symbols, console)
    _locks(table, console)
    _calls(table, console)
    _signals(table, console)
    for note in (symbols.note, trace.problem):
        if note:
            console.print(Text(f"note: {note}"))


def _faults_by_kind(faults: pa.Table, console: Console) -> None:
    shown = _table("Faults by kind", ">faults", ">share", "kind", "mode")
    for served, kind, count in _count(faults, "served", "kind"):
        mode = "user" if kind == "page_fault_user" else "kernel"
        _add(shown, count, _share(count, faults.num_rows), served, mode)
    console.print(shown, "")


def _faults_by_path(faults: pa.Table, console: Console) -> None:
    shown = _table("Faults by path, and why a faster one did not serve", ">faults", ">share", "path", "reason")
    for path, reason, count in _count(faults, "path", "reason"):
        _add(shown, count, _share(count, faults.num_rows), path, "" if reason == "none" else reason)
    console.print(shown, "")


def _vma_names(table: pa.Table) -> dict[int, tuple[int, int, str]]:
    """Start, length and name of each VMA, as last seen."""
    events = table.filter(pc.is_in(table.column("kind"), value_set=_VMA_KINDS))
    found: dict[int, tuple[int, int, str]] = {}
    for vma, start, size, text in zip(*(events.column(n).to_pylist() for n in ("vma", "address", "size", "text"))):
        found[vma] = start, size, text or ""
    return found


def _faults_by_vma(faults: pa.Table, table: pa.Table, console: Console) -> None:
    names = _vma_names(table)
    shown = _table("Faults by VMA", ">faults", ">share", "range", "name")
    rows = _count(faults, "vma")
    for vma, count in rows[:TOP]:
        if vma in names:
            start, size, name = names[vma]
            where = f"{start:x}-{start + size:x}"
        else:
            where, name = "-", "no VMA, or one that is not recorded"
        _add(shown, count, _share(count, faults.num_rows), where, name or "anonymous")
    _rest(shown, rows)
    console.print(shown, "")


def _rest(shown: Table, rows: list[tuple[Any, ...]]) -> None:
    if len(rows) > TOP:
        _add(shown, sum(row[-1] for row in rows[TOP:]), "", f"({len(rows) - TOP} more)", "")


def _faults_by_symbol(faults: pa.Table, symbols: Symbols, console: Console) -> None:
    counts: Counter[str] = Counter()
    for ip, text, count in _count(faults, "ip", "text"):
        found = symbols.lookup(ip) if ip else None
        counts[found[0] if found else f"[kernel] {text}" if not ip else f"{ip:#x}"] += count
    shown = _table("Faults by symbol", ">faults", ">share", "symbol")
    rows = counts.most_common()
    for name, count in rows[:TOP]:
        _add(shown, count, _share(count, faults.num_rows), name)
    if len(rows) > TOP:
        _add(shown, sum(count for _, count in rows[TOP:]), "", f"({len(rows) - TOP} more)")
    console.print(shown, "")


def _locks(table: pa.Table, console: Console) -> None:
    acquired = table.filter(pc.equal(table.column("kind"), "mmap_lock_acquire_returned"))
    shown = _table("Locks", ">times", "lock", "")
    for write, success, count in _count(acquired, "code", "result"):
        _add(shown, count, "mmap_lock", f"{'write' if write else 'read'}{'' if success else ', refused'}")
    for kind in ("vma_lock_read", "vma_lock_read_failed", "vma_lock_write"):
        count = pc.sum(pc.equal(table.column("kind"), kind)).as_py() or 0
        if count:
            _add(shown, count, "VMA lock", kind.removeprefix("vma_lock_").replace("_", ", "))
    console.print(shown, "")


def _calls(table: pa.Table, console: Console) -> None:
    calls = table.filter(pc.equal(table.column("kind"), "sys_exit"))
    if not calls.num_rows:
        return
    failed = pc.and_(pc.less(calls.column("result"), 0), pc.greater(calls.column("result"), -4096))
    errors = {row[0]: row[1] for row in _count(calls.filter(failed), "text")}
    shown = _table("System calls", ">calls", ">errors", "name")
    rows = _count(calls, "text")
    for name, count in rows[:TOP]:
        _add(shown, count, errors.get(name, "") or "", name)
    if len(rows) > TOP:
        _add(shown, sum(count for _, count in rows[TOP:]), "", f"({len(rows) - TOP} more)")
    console.print(shown, "")


def _signals(table: pa.Table, console: Console) -> None:
    signals = table.filter(pc.equal(table.column("kind"), "signal_generate"))
    if not signals.num_rows:
        return
    from signal import Signals

    shown = _table("Signals", ">times", "signal", ">si_code")
    for number, code, count in _count(signals, "code", "result"):
        try:
            name = Signals(number).name
        except ValueError:
            name = f"signal {number}"
        _add(shown, count, name, code)
    console.print(shown, "")
