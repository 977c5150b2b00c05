# SPDX-License-Identifier: GPL-2.0-or-later
"""The panes of the dashboard: each turns a model into lines of a given size. All text of a guest is made harmless
here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from os.path import basename
from typing import Any, TypeVar

from emu.trace.escape import printable
from emu.trace.lock_names import SHARED
from emu.tracepoint import Kind, Path, Reason, Served
from emu.ui.top.lines import Cell, Column, Line, bar, count, duration, end_of, fit, sparkline, table
from emu.ui.top.model import TID_OTHERS, VMA_OTHERS, Lock, LockKey, Model, Task, Vma
from emu.ui.top.totals import Filter, Totals

_Item = TypeVar("_Item")

PANES = ("faults", "paths", "locks", "vmas", "cpus", "threads", "output")
SORTS: dict[str, tuple[str, ...]] = {
    "faults": ("faults", "name"),
    "locks": ("wait", "contended", "acquired", "p99", "longest hold"),
    "vmas": ("faults", "address", "waited", "size"),
    "threads": ("faults", "waited", "waits", "tid"),
}
_VM_LOCKED, _VM_GROWSDOWN = 0x2000, 0x100


@dataclass
class View:
    """What the person chose to see."""

    focus: str = "faults"
    selected: dict[str, int] = field(default_factory=dict)  # row of a pane
    sort: dict[str, int] = field(default_factory=dict)  # index in SORTS
    chosen: Filter = field(default_factory=Filter)
    page: tuple[str, object] | None = None  # ("vma", number), ("lock", key), ("output", None)
    panes: tuple[str, ...] = PANES
    output: Sequence[str] = ()  # the guest's last lines, harmless already
    scroll: int = 0


def name_of(enum: type[Kind] | type[Path] | type[Reason] | type[Served], value: int) -> str:
    """The name of a member; its number when there is none."""
    try:
        return enum(value).name.lower()
    except ValueError:
        return str(value)


def kind_name(kind: int, served: int) -> str:
    """What a fault was, and whether the kernel took it."""
    name = name_of(Served, served) if served else "unserved"
    return f"{name} (kernel)" if kind == Kind.PAGE_FAULT_KERNEL else name


def vma_name(vma: Vma) -> str:
    """What /proc/PID/maps has in its last column; an anonymous mapping says so."""
    return printable(vma.name) or "anonymous"


def permissions(flags: int) -> str:
    """rwxp, as in /proc/PID/maps."""
    letters = "".join(letter if flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
    return letters + ("s" if flags & 8 else "p")


def lock_name(key: LockKey, model: Model) -> str:
    """The name of a lock with what it protects."""
    name, number = key
    if name == "vma_lock":
        if number == VMA_OTHERS:
            return "vma_lock of forgotten VMAs"
        vma = model.vmas.get(number)
        return f"vma_lock {vma.start:x} {basename(vma_name(vma))}" if vma is not None else f"vma_lock of VMA {number}"
    lock = model.locks.get(key)
    pid = lock.pid if lock is not None else 0
    whose = f" pid {pid}" if pid else ""
    return f"{printable(name)}{whose}" if name in SHARED and pid else f"{printable(name)} {number:#x}{whose}"


def share(part: float, whole: float) -> str:
    """A percentage in 6 characters."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


# Rows of each pane, in their order


def fault_rows(totals: Totals, view: View) -> list[tuple[int, int]]:
    """Kinds of faults."""
    if sorting("faults", view) == "name":
        return sorted(totals.by_kind, key=lambda key: kind_name(*key))
    return sorted(totals.by_kind, key=lambda key: (-totals.by_kind[key], key))


def lock_rows(model: Model, view: View, limit: int | None = None) -> list[Lock]:
    """Locks, the first `limit` of them; those of the chosen VMA when there is one."""
    locks: list[Lock] = list(model.locks.values())
    if view.chosen.vma is not None:
        vma = model.vmas.get(view.chosen.vma)
        pid = vma.pid if vma is not None else 0
        locks = [
            lock for lock in locks
            if lock.key == ("vma_lock", view.chosen.vma) or (lock.key[0] == "mmap_lock" and lock.pid == pid)
        ]  # fmt: skip
    keys: dict[str, Callable[[Lock], float]] = {
        "wait": lambda lock: lock.waits.total,
        "contended": lambda lock: lock.waits.count,
        "p99": lambda lock: lock.waits.quantile(0.99),
        "acquired": lambda lock: lock.reads + lock.writes,
        "longest hold": lambda lock: lock.longest_hold,
    }
    by = sorting("locks", view)
    key = keys[by]
    found: list[Lock] = []
    if by in ("wait", "contended", "p99"):  # of thousands of locks, few were waited for
        found = sorted(
            (lock for lock in locks if lock.contention is not None),
            key=lambda lock: (-key(lock), -lock.acquired, lock.key),
        )
        locks = [lock for lock in locks if lock.contention is None]
        key = keys["acquired"]
    if limit is None or len(found) < limit:
        found += _smallest(locks, lambda lock: (-key(lock), -lock.acquired, lock.key), limit)
    return found[:limit]


def _smallest(items: list[_Item], key: Callable[[_Item], Any], limit: int | None) -> list[_Item]:
    """The first `limit` items in the order of `key`."""
    return sorted(items, key=key) if limit is None else nsmallest(limit, items, key)


def vma_rows(model: Model, totals: Totals, view: View, limit: int | None = None) -> list[Vma]:
    """VMAs that are there, or that had faults, the first `limit` of them."""
    counts = totals.by_vma
    found = [vma for vma in model.vmas.values() if not vma.removed or vma.id in counts]
    if view.chosen.vma is not None:
        found = [vma for vma in found if vma.id == view.chosen.vma]
    by = sorting("vmas", view)
    if by == "address":
        return _smallest(found, lambda vma: (vma.pid, vma.start, vma.id), limit)
    none = (0, 0)
    keys: dict[str, Callable[[Vma], float]] = {
        "faults": lambda vma: counts.get(vma.id, none)[0],
        "waited": lambda vma: counts.get(vma.id, none)[1],
        "size": lambda vma: vma.size,
    }
    key = keys[by]
    return _smallest(found, lambda vma: (-key(vma), vma.removed > 0, vma.start, vma.id), limit)


def thread_rows(model: Model, totals: Totals, view: View, limit: int | None = None) -> list[Task]:
    """Threads, the first `limit` of them."""
    found = list(model.tasks.values())
    if view.chosen.tid is not None:
        found = [task for task in found if task.tid == view.chosen.tid]
    keys: dict[str, Callable[[Task], float]] = {
        "faults": lambda task: -totals.by_tid.get(task.tid, (0, 0))[0],
        "waited": lambda task: -task.waited,
        "waits": lambda task: -task.waits,
        "tid": lambda task: task.tid,
    }
    key = keys[sorting("threads", view)]
    return _smallest(found, lambda task: (key(task), task.tid), limit)


def sorting(pane: str, view: View) -> str:
    """What a pane is sorted by."""
    names = SORTS[pane]
    return names[view.sort.get(pane, 0) % len(names)]


# Panes


def _placed(view: View, pane: str, rows: int, height: int) -> tuple[int, int]:
    """(first row to show, selected row) so that the selected one can be seen; the selection is kept in bounds."""
    selected = max(0, min(view.selected.get(pane, 0), rows - 1))
    view.selected[pane] = selected
    shown = max(1, height - 1)
    return max(0, selected - shown + 1), selected


def _limit(view: View, pane: str, height: int) -> int:
    """So many rows are needed to show the selected one among those that fit."""
    return view.selected.get(pane, 0) + height


def _draw(
    view: View, pane: str, columns: list[Column], items: Sequence[_Item], row: Callable[[_Item], list[Cell]],
    width: int, height: int,
) -> list[Line]:  # fmt: skip
    """A table of those `items` that fit, of which `row` makes the cells."""
    first, selected = _placed(view, pane, len(items), height)
    rows = [row(item) for item in items[first : first + height - 1]]
    return table(columns, rows, width, height, selected=selected - first, focused=view.focus == pane)


def faults(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """Faults by kind, their rate now, and over time."""
    spark = max(8, width - 18 - 3 * 8 - 1) if width >= 52 else max(6, width - 33)
    columns = [Column("Faults by kind", 18), Column("count", 7 if width >= 52 else 6, True)]
    if width >= 52:
        columns.append(Column("share", 7, True))
    columns.append(Column("/s now", 7 if width >= 52 else 6, True))
    columns += [Column("over time")] if width >= 41 else []

    def row(key: tuple[int, int] | None) -> list[Cell]:
        if key is None:
            label: Cell = "all", "title"
            number, history = totals.faults, totals.history
        else:
            label, number, history = kind_name(*key), totals.by_kind[key], totals.kind_history[key]
        cells: list[Cell] = [label, count(number)]
        if width >= 52:
            cells.append(share(number, totals.faults))
        return [*cells, count(totals.recent(history)), (sparkline(history, spark), "cool")]

    return _draw(view, "faults", columns, [None, *fault_rows(totals, view)], row, width, height)


def paths(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """Which lock served the faults, how many a second and over time, retries, and why the VMA lock did not serve."""
    wide = width >= 45
    columns = [
        Column("Served under", 17), Column("faults", 6, True), Column("share", 6, True),
        Column("/s now", 6, True) if wide else Column("/s", 5, True),
    ]  # fmt: skip
    spark = max(0, width - sum(column.width + 1 for column in columns))
    if spark >= 6:
        columns.append(Column("over time", spark))
    order = sorted(totals.by_path, key=lambda path: -totals.by_path[path])
    known = [int(Path.VMA_LOCK), int(Path.MMAP_LOCK)]
    rows: list[list[Cell]] = []
    for path in [*order, *(path for path in known if path not in totals.by_path)]:
        number, history = totals.by_path.get(path, 0), totals.path_history.get(path, [])
        cell = sparkline(history, spark), "good" if path == Path.VMA_LOCK else "warm"
        name = name_of(Path, path) if path else "no lock"
        rows.append([name, count(number), share(number, totals.faults), count(totals.recent(history)), cell])
    rows.append(["after a retry", count(totals.retries), share(totals.retries, totals.faults), "", ""])
    for reason, number in sorted(totals.by_reason.items(), key=lambda item: (-item[1], item[0])):
        part = number / totals.faults if totals.faults else 0
        label = "- " + name_of(Reason, reason), "warm"
        rows.append([label, count(number), share(number, totals.faults), "", (bar(part, spark)[0], "dim")])
    return _draw(view, "paths", columns, rows, list, width, height)


def locks(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """Locks: how often taken, waited for, how long, and who held one longest."""
    columns = [
        Column("Lock"), Column("acqd", 6, True), Column("cont", 6, True), Column("wait", 7, True),
        Column("mean", 7, True), Column("p99", 7, True), Column("longest", 7, True), Column("held by", 11),
    ]  # fmt: skip
    if width >= 110:
        columns = [
            Column("Lock"), Column("acquired", 8, True), Column("contended", 9, True), Column("refused", 7, True),
            Column("wait total", 10, True), Column("mean", 8, True), Column("p99", 8, True),
            Column("longest hold", 12, True), Column("by thread, in call", 20),
        ]  # fmt: skip

    def row(lock: Lock) -> list[Cell]:
        waits = lock.waits
        some = waits.count > 0
        style = "warm" if some else ""
        cells: list[Cell] = [(lock_name(lock.key, model), style), count(lock.acquired), (count(waits.count), style)]
        if width >= 110:
            cells.append(count(lock.failed))
        cells += [
            (duration(waits.total), style) if some else "-",
            duration(waits.mean) if some else "-",
            duration(waits.quantile(0.99)) if some else "-",
            duration(lock.longest_hold) if lock.longest_hold else "-",
            f"{lock.longest_holder} {printable(lock.longest_call)}" if lock.longest_hold else "-",
        ]
        return cells

    items = lock_rows(model, view, _limit(view, "locks", height))
    return _draw(view, "locks", columns, items, row, width, height)


def vmas(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """The address space like /proc/PID/maps, with the faults of each VMA and a bar of their heat."""
    heat = 8 if width < 100 else 16
    columns = [
        Column("VMA", 25), Column("perm", 4), Column("faults", 6, True), Column("heat", heat), Column("name"),
    ]  # fmt: skip
    wide = width >= 90
    if wide:
        columns[3:3] = [Column("waited", 7, True), Column("size", 7, True)]
    room = width - sum(column.width + 1 for column in columns[:-1])
    items = vma_rows(model, totals, view, _limit(view, "vmas", height))
    highest = max((number for number, _ in totals.by_vma.values()), default=0)
    several = len({vma.pid for vma in model.vmas.values()}) > 1

    def row(vma: Vma) -> list[Cell]:
        number, waited = totals.by_vma.get(vma.id, (0, 0))
        style = "dim" if vma.removed else ""
        cells: list[Cell] = [(f"{vma.start:x}-{vma.start + vma.size:x}", style), permissions(vma.flags), count(number)]
        if wide:
            cells += [duration(waited) if waited else "-", f"{count(vma.size / 1024)}K"]
        before, behind = f"{vma.pid} " if several else "", " (unmapped)" if vma.removed else ""
        name = before + end_of(vma_name(vma), max(8, room - len(before) - len(behind))) + behind
        return [*cells, bar(number / highest if highest else 0, heat), (name, style)]

    return _draw(view, "vmas", columns, items, row, width, height)


def waits_for(task: Task, model: Model) -> str:
    """What a task waits for, and who holds it; "" when it does not wait."""
    if task.waiting is None:
        return ""
    key, write, holder, _ = task.waiting
    vma = model.vmas.get(key[1]) if key[0] == "vma_lock" else None
    name = printable(key[0]) + (f" {vma.start:x}" if vma is not None else "")
    text = f"{name} {'W' if write else 'R'}"
    if holder:
        other = model.tasks.get(holder)
        call = printable(other.call) if other is not None else ""
        text += f" <- {holder} {call}".rstrip()
    return text


def cpus(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """Each CPU: the task that runs, and those that ran there and wait for a lock."""
    waiting: dict[int, list[Task]] = {}
    for task in model.tasks.values():
        if task.waiting is not None:
            waiting.setdefault(task.cpu, []).append(task)
    columns = [Column("CPU", 4), Column("task", 7), Column("in", 14 if width >= 60 else 9), Column("waits for a lock")]

    def row(cpu: int) -> list[Cell]:
        tid = model.cpus[cpu]
        running = model.tasks.get(tid)
        call = printable(running.call) if running is not None else ""
        text = "; ".join(f"{task.tid} {waits_for(task, model)}" for task in waiting.get(cpu, ()))
        return [
            f"{cpu:>3}",
            (str(tid), "") if tid else ("idle", "dim"),
            call or ("user" if tid else ""),
            (text, "warm"),
        ]

    return _draw(view, "cpus", columns, sorted(model.cpus), row, width, height)


def threads(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """Each thread: faults, waits, and what it is doing."""
    columns = [
        Column("Thread", 7), Column("S", 1), Column("faults", 6, True), Column("waits", 5, True),
        Column("waited", 7, True), Column("in"),
    ]  # fmt: skip

    def row(task: Task) -> list[Cell]:
        waiting = waits_for(task, model)
        doing = "ended" if task.state == "X" else waiting or printable(task.call)
        doing = doing or ("sleeps" if task.state == "S" else "user")
        label = "others" if task.tid == TID_OTHERS else str(task.tid)
        return [
            (label, "dim" if task.state == "X" else ""), task.state,
            count(totals.by_tid.get(task.tid, (0, 0))[0]), count(task.waits),
            duration(task.waited) if task.waited else "-", (doing, "warm" if waiting else "dim"),
        ]  # fmt: skip

    items = thread_rows(model, totals, view, _limit(view, "threads", height))
    return _draw(view, "threads", columns, items, row, width, height)


def output(model: Model, totals: Totals, view: View, width: int, height: int) -> list[Line]:
    """The guest's own output, its last lines."""
    head = "focus" if view.focus == "output" else "head"
    last = list(view.output)
    shown = max(1, height - 1)
    view.scroll = max(0, min(view.scroll, len(last) - shown))
    end = len(last) - view.scroll
    lines = [fit([("Output of the guest", head)], width, head)]
    lines += [fit([(text, "")], width) for text in last[max(0, end - shown) : end]]
    while len(lines) < height:
        lines.append(fit([], width))
    return lines[:height]


DRAW: dict[str, Callable[[Model, Totals, View, int, int], list[Line]]] = {
    "faults": faults, "paths": paths, "locks": locks, "vmas": vmas, "cpus": cpus, "threads": threads, "output": output,
}  # fmt: skip
