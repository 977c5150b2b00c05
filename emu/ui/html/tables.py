# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of the page: what the text report counts, in full, with what a row of them selects in the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from signal import Signals
from typing import Any

import numpy as np

from emu.trace.lock_names import lock_mode, lock_name
from emu.tracepoint import Kind, Path, Reason, Served
from emu.ui.html.cells import combine
from emu.ui.html.collect import Array, Columns, Events
from emu.ui.html.units import permissions

MAX_ROWS = 2000
MAX_WAITS = 500
Cell = int | str
Select = dict[str, int | str]


@dataclass
class Table:
    """One table. `columns`: (title, type), type one of count, share, time, address, text. `select`: for each row what
    it picks in the pictures: {dimension: value}. `more`: how many rows are not in it, and what they add up to in
    column 0."""

    name: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]]
    select: list[Select]
    more: tuple[int, int] = (0, 0)
    about: str = ""


def _finish(table: Table, limit: int = MAX_ROWS) -> Table:
    """Sorted by the first column, largest first, then by the others; no longer than `limit`."""
    order = sorted(
        range(len(table.rows)), key=lambda i: (-int(table.rows[i][0]), [str(cell) for cell in table.rows[i]])
    )
    rest = order[limit:]
    table.more = len(rest), sum(int(table.rows[index][0]) for index in rest)
    kept = order[:limit]
    table.rows = [table.rows[index] for index in kept]
    table.select = [table.select[index] for index in kept] if table.select else []
    return table


def _groups(*columns: Array, values: tuple[Array, ...] = ()) -> list[tuple[Any, ...]]:
    """(key ..., count, sum of each of `values`) for each combination."""
    if not len(columns[0]):
        return []
    group, first = combine(list(columns))
    size = len(first)
    sums = [np.bincount(group, weights, size).astype(np.int64).tolist() for weights in values]
    return list(
        zip(*(column[first].tolist() for column in columns), np.bincount(group, minlength=size).tolist(), *sums)
    )


def make_tables(
    events: Events, texts: list[str], symbols: list[str], symbol: Array, waits: Columns, holds: Columns, runs: Columns
) -> list[Table]:
    """All tables that have something to say. `symbol`: for each fault, into `symbols`."""
    tables = [
        _kinds(events),
        _paths(events),
        _vmas(events, texts),
        _symbols(events, symbols, symbol),
        _who_for_whom(texts, waits),
        _waits(events, texts, waits),
        _locks(events, texts, waits, holds),
        _calls(events, texts, waits),
        _tasks(events, waits, runs),
        _signals(events),
    ]
    return [table for table in tables if table.rows]


def _kinds(events: Events) -> Table:
    faults = events.faults
    total = len(faults["time"])
    table = Table(
        "kinds", "Faults by kind",
        [("faults", "count"), ("share", "share"), ("kind", "text"), ("mode", "text"), ("mean", "time"),
         ("total", "time")],
        [], [],
    )  # fmt: skip
    for served, kind, number, spent in _groups(faults["served"], faults["kind"], values=(faults["duration"],)):
        mode = int(kind == Kind.PAGE_FAULT_KERNEL)
        table.rows.append(
            [
                number,
                number * 10000 // total,
                Served(served).name.lower(),
                ("user", "kernel")[mode],
                spent // number,
                spent,
            ]
        )
        table.select.append({"served": served, "mode": mode})
    return _finish(table)


def _paths(events: Events) -> Table:
    faults = events.faults
    total = len(faults["time"])
    table = Table(
        "paths", "Faults by path, and why a faster one did not serve",
        [("faults", "count"), ("share", "share"), ("path", "text"), ("reason", "text"), ("mean", "time"),
         ("waited", "time")],
        [], [],
    )  # fmt: skip
    values = (faults["duration"], faults["wait"])
    for path, reason, number, spent, waited in _groups(faults["path"], faults["reason"], values=values):
        why = Reason(reason).name.lower() if reason else ""
        table.rows.append([number, number * 10000 // total, Path(path).name.lower(), why, spent // number, waited])
        table.select.append({"path": path, "reason": reason})
    return _finish(table)


def _vmas(events: Events, texts: list[str]) -> Table:
    faults, vmas = events.faults, events.vmas
    total = len(faults["time"])
    last = {vma: index for index, vma in enumerate(vmas["vma"].tolist())}  # where it was seen last
    kept = np.flatnonzero(vmas["kind"] != Kind.VMA_REMOVE)
    last.update(zip(vmas["vma"][kept].tolist(), kept.tolist()))
    table = Table(
        "vmas", "Faults by VMA",
        [("faults", "count"), ("share", "share"), ("from", "address"), ("to", "address"), ("flags", "text"),
         ("name", "text"), ("pid", "count"), ("VMA", "count"), ("waited", "time")],
        [], [], about="Ranges, flags and names are the last ones that were recorded.",
    )  # fmt: skip
    for vma, pid, number, waited in _groups(faults["vma"], faults["pid"], values=(faults["wait"],)):
        index = last.get(vma)
        if index is None:
            where: list[Cell] = ["", "", "", "no VMA" if not vma else "not recorded"]
        else:
            start = int(vmas["address"][index])
            name = texts[vmas["text"][index]] or "anonymous"
            where = [
                f"{start:x}",
                f"{start + int(vmas['size'][index]):x}",
                permissions(int(vmas["flags"][index])),
                name,
            ]
        table.rows.append([number, number * 10000 // total, *where, pid, vma, waited])
        table.select.append({"vma": vma, "pid": pid})
    return _finish(table)


def _symbols(events: Events, symbols: list[str], symbol: Array) -> Table:
    faults = events.faults
    total = len(faults["time"])
    table = Table(
        "symbols", "Faults by symbol",
        [("faults", "count"), ("share", "share"), ("symbol", "text"), ("mean", "time"), ("waited", "time")], [], [],
    )  # fmt: skip
    for number_of, number, spent, waited in _groups(symbol, values=(faults["duration"], faults["wait"])):
        table.rows.append([number, number * 10000 // total, symbols[number_of], spent // number, waited])
        table.select.append({"symbol": number_of})
    return _finish(table)


def _call(texts: list[str], number: int) -> str:
    return texts[number] if number else "page fault"


def _who_for_whom(texts: list[str], waits: Columns) -> Table:
    """Waits by lock and by the calls of both sides, in the manner of perf lock contention."""
    table = Table(
        "contention", "Who waited for whom",
        [("total", "time"), ("waits", "count"), ("mean", "time"), ("p99", "time"), ("longest", "time"),
         ("waiter in", "text"), ("for", "text"), ("lock", "text"), ("holder in", "text"), ("failed", "count")],
        [], [],
    )  # fmt: skip
    if not len(waits["since"]):
        return table
    known = (waits["holder"] > 0).astype(np.int8)
    group, first = combine([waits["call"], waits["write"], waits["lock"], waits["holder_call"], known])
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(len(first) + 1))
    for number, at in enumerate(first.tolist()):
        chosen = order[edges[number] : edges[number + 1]]
        durations = np.sort(waits["duration"][chosen])
        total = int(durations.sum())
        holder = _call(texts, int(waits["holder_call"][at])) if known[at] else "unknown"
        name, mode = texts[waits["lock"][at]], int(waits["write"][at])
        table.rows.append(
            [total, len(chosen), total // len(chosen), int(durations[(len(chosen) * 99 - 1) // 100]),
             int(durations[-1]), _call(texts, int(waits["call"][at])), lock_mode(name, mode), name, holder,
             int((waits["result"][chosen] < 0).sum())]
        )  # fmt: skip
    return _finish(table)


def _waits(events: Events, texts: list[str], waits: Columns) -> Table:
    table = Table(
        "waits", "Longest waits",
        [("waited", "time"), ("at", "time"), ("task", "count"), ("in", "text"), ("lock", "text"), ("for", "text"),
         ("held by", "count"), ("in", "text"), ("CPU", "count")],
        [], [],
    )  # fmt: skip
    order = np.argsort(-waits["duration"], kind="stable")
    for index in order[:MAX_WAITS].tolist():
        since = int(waits["since"][index]) - events.first
        holder = int(waits["holder"][index])
        name = texts[waits["lock"][index]]
        table.rows.append(
            [int(waits["duration"][index]), since, int(waits["tid"][index]), _call(texts, int(waits["call"][index])),
             lock_name(name, int(waits["address"][index]), int(waits["vma"][index])),
             lock_mode(name, int(waits["write"][index])), holder or "",
             _call(texts, int(waits["holder_call"][index])) if holder else "", int(waits["cpu"][index])]
        )  # fmt: skip
        table.select.append({"from": since, "to": since + int(waits["duration"][index])})
    table.more = max(0, len(order) - MAX_WAITS), int(waits["duration"][order[MAX_WAITS:]].sum())
    return table


def _locks(events: Events, texts: list[str], waits: Columns, holds: Columns) -> Table:
    table = Table(
        "locks", "Locks",
        [("times", "count"), ("lock", "text"), ("for", "text"), ("waits", "count"), ("waited", "time"),
         ("longest wait", "time"), ("mean hold", "time"), ("longest hold", "time")],
        [], [],
    )  # fmt: skip

    def waited(word: str, write: int) -> list[Cell]:
        names = [number for number, text in enumerate(texts) if word in text]
        chosen = np.isin(waits["lock"], names) & (waits["write"] == write)
        durations = waits["duration"][chosen]
        return [int(chosen.sum()), int(durations.sum()), int(durations.max(initial=0))]

    acquired = events.acquired
    ours = acquired["kind"] == Kind.MMAP_LOCK_ACQUIRE_RETURNED
    success = (acquired["result"][ours] != 0).astype(np.int8)
    for write, taken, number in _groups((acquired["code"][ours] & 1).astype(np.int8), success):
        held = holds["duration"][holds["write"] == write]
        longest: list[Cell] = [int(held.mean()) if len(held) else "", int(held.max()) if len(held) else ""]
        if taken:
            table.rows.append(
                [number, "mmap_lock", lock_mode("mmap_lock", write), *waited("mmap_lock", write), *longest]
            )
        else:
            table.rows.append([number, "mmap_lock", f"{lock_mode('mmap_lock', write)}, refused", "", "", "", "", ""])
    kinds = {Kind.VMA_LOCK_READ: "read", Kind.VMA_LOCK_READ_FAILED: "read, refused", Kind.VMA_LOCK_WRITE: "write"}
    for (kind, reason), number in events.vma_locks.items():
        mode = kinds[Kind(kind)] + (f": {Reason(reason).name.lower()}" if reason else "")
        waiting = waited("vma_lock", int(kind == Kind.VMA_LOCK_WRITE))
        table.rows.append([number, "VMA lock", mode, *(["", "", ""] if "refused" in mode else waiting), "", ""])
    return _finish(table)


def _calls(events: Events, texts: list[str], waits: Columns) -> Table:
    calls = events.calls
    table = Table(
        "calls", "System calls",
        [("calls", "count"), ("errors", "count"), ("name", "text"), ("mean", "time"), ("total", "time"),
         ("waited in it", "time")],
        [], [],
    )  # fmt: skip
    exits = calls["kind"] == Kind.SYS_EXIT
    result = calls["result"][exits]
    failed = ((result < 0) & (result > -4096)).astype(np.int64)
    waited = {call: total for call, _, total in _groups(waits["call"], values=(waits["duration"],))}
    values = (failed, calls["duration"][exits])
    for name, number, errors, spent in _groups(calls["text"][exits], values=values):
        table.rows.append([number, errors, texts[name], spent // number, spent, waited.get(name, 0)])
    return _finish(table)


def _tasks(events: Events, waits: Columns, runs: Columns) -> Table:
    faults = events.faults
    table = Table(
        "tasks", "Tasks",
        [("faults", "count"), ("tid", "count"), ("pid", "count"), ("waits", "count"), ("waited", "time"),
         ("longest wait", "time"), ("made others wait", "time"), ("ran", "time"), ("system calls", "count")],
        [], [],
    )  # fmt: skip
    pid_of: dict[int, int] = {}
    for columns in events.subjects.values():
        tids, first = np.unique(columns["tid"], return_index=True)
        pid_of.update(zip(tids.tolist(), columns["pid"][first].tolist()))
    number_of = dict(_groups(faults["tid"]))
    waited = {tid: (number, total) for tid, number, total in _groups(waits["tid"], values=(waits["duration"],))}
    caused = {tid: total for tid, _, total in _groups(waits["holder"], values=(waits["duration"],))}
    ran = {tid: total for tid, _, total in _groups(runs["tid"], values=(runs["duration"],))}
    calls = dict(_groups(events.calls["tid"][events.calls["kind"] == Kind.SYS_ENTER]))
    longest: dict[int, int] = {}
    for tid in waited:
        longest[tid] = int(waits["duration"][waits["tid"] == tid].max())
    for tid in sorted(pid_of):
        if tid:
            number, total = waited.get(tid, (0, 0))
            table.rows.append(
                [number_of.get(tid, 0), tid, pid_of[tid], number, total, longest.get(tid, 0), caused.get(tid, 0),
                 ran.get(tid, 0), calls.get(tid, 0)]
            )  # fmt: skip
            table.select.append({"tid": tid})
    return _finish(table)


def _signals(events: Events) -> Table:
    signals = events.signals
    table = Table("signals", "Signals", [("times", "count"), ("signal", "text"), ("si_code", "count")], [], [])
    for number, code, times in _groups(signals["code"], signals["result"]):
        try:
            name = Signals(number).name
        except ValueError:
            name = f"signal {number}"
        table.rows.append([times, name, code])
    return _finish(table)
