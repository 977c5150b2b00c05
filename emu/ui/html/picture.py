# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the pictures of a trace show: cells, bands, axes, intervals, tables and what was left out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emu.mm.mm_types import FAULT_FLAG_INSTRUCTION, FAULT_FLAG_WRITE
from emu.trace.escape import printable
from emu.trace.images import Images
from emu.trace.reader import Trace
from emu.tracepoint import Kind, Path, Reason
from emu.ui.html.axis import Axis, make_axis
from emu.ui.html.bands import PAGE_SHIFT, Band, bands
from emu.ui.html.cells import MAX_CELLS, Cells, encode, make_cells
from emu.ui.html.collect import Array, Columns, Events, collect
from emu.ui.html.intervals import Calls, holds, runs, waits
from emu.ui.html.tables import Table, make_tables
from emu.ui.html.units import count, span

MAX_BANDS = 20_000
MAX_INTERVALS = 150_000  # of each: waits, holds, runs
MAX_PROCESSES = 64
MAX_THREADS = 256


@dataclass
class Process:
    """One process that has an address space in the picture."""

    pid: int
    faults: int
    axis: Axis
    bands: list[Band]


@dataclass
class Picture:
    """A trace, ready to be drawn. Times of `cells` and of the intervals are ns after `events.first`; task, symbol and
    text columns count in `tids`, `symbols` and `texts`, which are safe to print."""

    events: Events
    texts: list[str]
    symbols: list[str]
    tids: list[int]  # every task that did something, ascending
    cpus: list[int]
    processes: list[Process]  # the one with most faults first
    cells: Cells
    waits: Columns
    holds: Columns
    runs: Columns
    lanes: list[int]  # tids that get a timeline
    tables: list[Table]
    lead: list[str]  # what one should know first, in sentences
    notes: list[str] = field(default_factory=list)  # what was left out or rounded


def make_picture(trace: Trace, limit: int = MAX_CELLS, program: str | None = None) -> Picture:
    """Read a trace and work out everything; `limit`: the most cells of the heat map; `program`: see Images."""
    images = Images(trace, program)
    images.map_libraries(trace)
    events = collect(trace)
    notes: list[str] = []
    faults = events.faults
    names, symbol = _symbols(events, images)
    calls = Calls(events.calls)
    all_waits, all_holds, all_runs = waits(events, calls), holds(events, calls), runs(events)
    texts = [printable(text) for text in events.texts]
    tids = sorted({int(tid) for tid in np.unique(np.concatenate(
        [columns["tid"] for columns in (*events.subjects.values(), all_waits, all_runs)]
    ))} - {0})  # fmt: skip
    cpus = sorted({int(cpu) for columns in events.subjects.values() for cpu in np.unique(columns["cpu"])})
    processes, process, row = _processes(events, notes)
    shown: Any = process >= 0
    if shown.all():
        shown = slice(None)  # no copies
    for spent in ("address", "ip"):  # a long trace has much of them, and nothing below asks for them
        del faults[spent]
    mode = (faults["kind"] == Kind.PAGE_FAULT_KERNEL).astype(np.int8)
    access = np.where(faults["flags"] & FAULT_FLAG_WRITE, 1, np.where(faults["flags"] & FAULT_FLAG_INSTRUCTION, 2, 0))
    about = {
        "served": faults["served"], "mode": mode, "path": faults["path"], "reason": faults["reason"],
        "process": process, "task": np.searchsorted(tids, faults["tid"]).astype(np.int32),
        "access": access.astype(np.int8), "cpu": faults["cpu"], "vma": faults["vma"], "symbol": symbol,
    }  # fmt: skip
    cells = make_cells(
        faults["time"][shown] - events.first, row[shown], faults["wait"][shown], faults["duration"][shown],
        {name: column[shown] for name, column in about.items()}, limit,
    )  # fmt: skip
    _tell_rounding(cells, int(cells.count.sum()), notes)
    lanes = _lanes(tids, faults, all_waits, notes)
    tables = make_tables(events, texts, names, symbol, all_waits, all_holds, all_runs)
    picture = Picture(
        events, texts, names, tids, cpus, processes, cells,
        _longest(all_waits, "waits", events.first, notes),
        _longest(all_holds, "holds of mmap_lock", events.first, notes),
        _longest(all_runs, "times that a task ran", events.first, notes), lanes, tables, [], notes,
    )  # fmt: skip
    picture.lead = _lead(picture, all_waits)
    notes += images.notes()
    notes += [printable(events.problem)] if events.problem else []
    return picture


def _symbols(events: Events, images: Images) -> tuple[list[str], Array]:
    """Names of what faulted, and for each fault which one it is: a function, an address, or the kernel's function."""
    faults = events.faults
    in_kernel = faults["ip"] == 0
    ran = images.images_at(faults["pid"], faults["time"])
    names: dict[str, int] = {}
    found = np.zeros(len(in_kernel), np.int32)
    parts = [(np.flatnonzero(~in_kernel & (ran == image)), "ip", image) for image in np.unique(ran).tolist()]
    for chosen, column, image in (*parts, (np.flatnonzero(in_kernel), "text", 0)):
        inverse, values = encode(faults[column][chosen])
        numbers = []
        for value in values.tolist():
            if column == "ip":
                known = images.at(image, value).lookup(value)
                name = printable(known[0]) if known else f"{value:#x}"
            else:
                name = f"[kernel] {printable(events.texts[value])}"
            numbers.append(names.setdefault(name, len(names)))
        found[chosen] = np.array(numbers, np.int32)[inverse] if numbers else 0
    return list(names), found


def _processes(events: Events, notes: list[str]) -> tuple[list[Process], Array, Array]:
    """The processes with their axes; for each fault its process (-1: not in the picture) and its row there."""
    faults = events.faults
    page = (faults["address"] >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    process = np.full(len(page), -1, np.int16)
    row = np.zeros(len(page), np.int64)
    by_pid: dict[int, list[Band]] = {}
    for band in bands(events):
        by_pid.setdefault(band.pid, []).append(band)
    pids, counts = np.unique(faults["pid"], return_counts=True)
    ranked = sorted(zip(pids.tolist(), counts.tolist()), key=lambda item: (-item[1], item[0]))
    ranked += [(pid, 0) for pid in sorted(by_pid) if pid not in set(pids.tolist())]
    if len(ranked) > MAX_PROCESSES:
        notes.append(
            f"The heat map has the {MAX_PROCESSES} processes with most faults; {len(ranked) - MAX_PROCESSES} others "
            f"with {count(sum(n for _, n in ranked[MAX_PROCESSES:]))} faults are in the tables only."
        )
    found: list[Process] = []
    left_out = 0
    for pid, faults_of in ranked[:MAX_PROCESSES]:
        ours: Any = slice(None) if len(pids) == 1 else np.flatnonzero(faults["pid"] == pid)
        mine = by_pid.get(pid, [])
        starts = np.array([band.start for band in mine], np.int64)
        ends = np.array([band.end for band in mine], np.int64)
        axis = make_axis(starts, ends, np.sort(encode(page[ours])[1]))
        process[ours] = len(found)
        if faults_of:
            row[ours] = axis.rows(page[ours])
        if len(mine) > MAX_BANDS:
            left_out += len(mine) - MAX_BANDS
            mine.sort(key=lambda band: -(band.until - band.since) * (band.end - band.start))
            mine = sorted(mine[:MAX_BANDS], key=lambda band: band.since)
        if axis.coarse > 1:
            notes.append(f"Edges of the address axis of process {pid} are rounded to {axis.coarse} pages.")
        found.append(Process(pid, faults_of, axis, mine))
    if left_out:
        notes.append(f"{count(left_out)} short-lived or small VMAs are not drawn as bands.")
    return found, process, row


def _tell_rounding(cells: Cells, faults: int, notes: list[str]) -> None:
    if cells.time_step == cells.row_step == 1 and not cells.dropped:
        return
    note = (
        f"The heat map shows {count(faults)} faults as {count(len(cells.time))} cells: times are rounded to "
        f"{span(cells.time_step)}, addresses to {cells.row_step * 4} KiB"
    )
    if cells.dropped:
        names = {"vma": "VMA", "cpu": "CPU"}
        note += ", and it does not tell faults apart by " + ", ".join(names.get(name, name) for name in cells.dropped)
    notes.append(note + ". The tables count every fault.")


def _lanes(tids: list[int], faults: Columns, waiting: Columns, notes: list[str]) -> list[int]:
    if len(tids) <= MAX_THREADS:
        return tids
    score = np.zeros(len(tids), np.float64)
    for tid, weight in ((faults["tid"], np.ones(len(faults["tid"]))), (waiting["tid"], waiting["duration"] / 100.0)):
        np.add.at(score, np.searchsorted(tids, tid), weight)
    best = np.argsort(-score, kind="stable")[:MAX_THREADS]
    notes.append(
        f"Timelines are drawn for the {MAX_THREADS} tasks that waited and faulted most, of {count(len(tids))}."
    )
    return [tids[index] for index in sorted(best.tolist())]


def _longest(columns: Columns, what: str, first: int, notes: list[str]) -> Columns:
    size = len(columns["since"])
    found = dict(columns)
    if size > MAX_INTERVALS:
        kept = np.sort(np.argsort(-columns["duration"], kind="stable")[:MAX_INTERVALS])
        found = {name: values[kept] for name, values in columns.items()}
        notes.append(f"The timelines draw the {count(MAX_INTERVALS)} longest {what} of {count(size)}.")
    found["since"] = np.maximum(found["since"] - first, 0)
    return found


def _lead(picture: Picture, waiting: Columns) -> list[str]:
    """Three sentences: how many faults under which lock, why not all, and who waited longest for whom."""
    events, faults = picture.events, picture.events.faults
    total = len(faults["time"])
    if not total:
        return ["No page fault was recorded."]
    paths = np.bincount(np.maximum(faults["path"], 0).astype(np.int64), minlength=8)
    under = int(paths[Path.VMA_LOCK] + paths[Path.SPECULATIVE])
    lead = [f"{count(total, 'page fault')} in {span(events.last - events.first)} of virtual time."]
    slow = int(paths[Path.MMAP_LOCK] + paths[Path.MMAP_LOCK_WRITE])
    if under:
        lead.append(f"{share(under, total)} were served without mmap_lock.")
    reasons = np.bincount(np.maximum(faults["reason"], 0).astype(np.int64), minlength=32)
    reasons[Reason.NONE] = 0
    if slow:
        why = int(reasons.argmax())
        because = f", {count(int(reasons[why]))} of them because of {Reason(why).name.lower()}" if reasons[why] else ""
        lead.append(f"{count(slow)} took mmap_lock{because}.")
    durations = waiting["duration"]
    if not len(durations):
        waited = int(faults["wait"].sum())
        lead.append(f"Faults waited {span(waited)} in all for locks." if waited else "Nobody waited for a lock.")
        return lead
    at = int(durations.argmax())

    def call(number: int) -> str:
        return picture.texts[number] if number else "a page fault"

    lock = picture.texts[waiting["lock"][at]] or "a lock"
    lead.append(f"Tasks waited {count(len(durations), 'time')} for locks, {span(int(durations.sum()))} in all.")
    longest = span(int(durations[at]))
    sentence = f"Task {waiting['tid'][at]} waited longest: {longest} in {call(waiting['call'][at])} for {lock}"
    if waiting["holder"][at]:
        sentence += f", which task {waiting['holder'][at]} held in {call(waiting['holder_call'][at])}"
    lead.append(sentence + ".")
    return lead


def share(part: int, whole: int) -> str:
    """A percentage, never rounded to 100 or 0 where it is not."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(99.9, max(0.1, percent))
    return f"{percent:.1f} %"
