# SPDX-License-Identifier: GPL-2.0-or-later
"""What lasts: waits for locks, holds of mmap_lock, and which task ran on which CPU."""

from __future__ import annotations

import numpy as np

from emu.tracepoint import Kind
from emu.ui.html.collect import Array, Columns, Events

PAGE_FAULT = 0  # index of the text that stands for "in no system call"


class Calls:
    """The system call that a task was in, at any time: that of its open sys_enter."""

    def __init__(self, calls: Columns) -> None:
        order = np.argsort(calls["tid"], kind="stable")  # by time within each tid
        self._time = calls["time"][order]
        self._text = np.where(calls["kind"][order] == Kind.SYS_ENTER, calls["text"][order], PAGE_FAULT)
        self._tids, self._first = np.unique(calls["tid"][order], return_index=True)
        self._end = np.append(self._first[1:], len(order))

    def at(self, tids: Array, times: Array) -> Array:
        """Text numbers of the calls, PAGE_FAULT where the task was in none."""
        found = np.full(len(tids), PAGE_FAULT, np.int32)
        for tid in np.unique(tids).tolist():
            group = int(np.searchsorted(self._tids, tid))
            if group == len(self._tids) or self._tids[group] != tid:
                continue
            low, high = int(self._first[group]), int(self._end[group])
            ours = np.flatnonzero(tids == tid)
            index = np.searchsorted(self._time[low:high], times[ours], "right") - 1
            inside = index >= 0
            found[ours[inside]] = self._text[low + index[inside]]
        return found


def waits(events: Events, calls: Calls) -> Columns:
    """Every wait for a lock: `since`, `duration` ns, `tid`, `pid`, `cpu`, `holder` (0 unknown), `lock` (text),
    `address` (mm), `vma`, `write`, `result`, `call` and `holder_call` (texts), `open` (true where the trace ended
    before the wait).

    From contention_begin and contention_end. A trace that has none tells waits by what the lock events waited.
    """
    columns = events.contention
    found = _pairs(columns, events.last) if len(columns["time"]) else _from_locks(events)
    found["call"] = calls.at(found["tid"], found["since"])
    found["holder_call"] = np.where(found["holder"] > 0, calls.at(found["holder"], found["since"]), PAGE_FAULT)
    order = np.argsort(found["since"], kind="stable")
    return {name: values[order] for name, values in found.items()}


def _pairs(columns: Columns, last: int) -> Columns:
    """A task waits for one lock at a time: each begin belongs to the next event of its tid."""
    order = np.argsort(columns["tid"], kind="stable")
    sorted_columns = {name: values[order] for name, values in columns.items()}
    kind, tid = sorted_columns["kind"], sorted_columns["tid"]
    begins = np.flatnonzero(kind == Kind.CONTENTION_BEGIN)
    after = np.minimum(begins + 1, len(kind) - 1)
    closed = (after > begins) & (tid[after] == tid[begins]) & (kind[after] == Kind.CONTENTION_END)
    since = sorted_columns["time"][begins]
    until = np.where(closed, sorted_columns["time"][after], last)
    holder = sorted_columns["holder"][begins]
    return {
        "since": since,
        "duration": np.maximum(until - since, 0),
        "tid": tid[begins],
        "pid": sorted_columns["pid"][begins],
        "cpu": sorted_columns["cpu"][begins],
        "holder": np.where(holder == 0, np.where(closed, sorted_columns["holder"][after], 0), holder),
        "lock": sorted_columns["text"][begins],
        "address": sorted_columns["address"][begins],
        "vma": sorted_columns["vma"][begins],
        "write": (sorted_columns["code"][begins] & 1).astype(np.int8),
        "result": np.where(closed, sorted_columns["result"][after], 0),
        "open": ~closed,
    }


def _from_locks(events: Events) -> Columns:
    columns = events.acquired
    chosen = np.flatnonzero(columns["wait"] > 0)
    kind = columns["kind"][chosen]
    names = []
    for name in ("mmap_lock", "vma_lock"):
        if name not in events.texts:
            events.texts.append(name)
        names.append(events.texts.index(name))
    mmap_lock = kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED
    return {
        "since": columns["time"][chosen] - columns["wait"][chosen],
        "duration": columns["wait"][chosen],
        "tid": columns["tid"][chosen],
        "pid": columns["pid"][chosen],
        "cpu": columns["cpu"][chosen],
        "holder": columns["holder"][chosen],
        "lock": np.where(mmap_lock, names[0], names[1]).astype(np.int32),
        "address": np.where(mmap_lock, columns["address"][chosen], 0),
        "vma": columns["vma"][chosen],
        "write": np.where(mmap_lock, columns["code"][chosen] & 1, 1).astype(np.int8),
        "result": np.where(mmap_lock & (columns["result"][chosen] == 0), -4, 0),
        "open": np.zeros(len(chosen), bool),
    }


def holds(events: Events, calls: Calls) -> Columns:
    """Every hold of mmap_lock whose length the trace tells: `since`, `duration` ns, `tid`, `address` (mm), `write`,
    `call` (text)."""
    columns = events.released
    chosen = np.flatnonzero(columns["duration"] > 0)
    since = columns["time"][chosen] - columns["duration"][chosen]
    order = np.argsort(since, kind="stable")
    chosen = chosen[order]
    return {
        "since": since[order],
        "duration": columns["duration"][chosen],
        "tid": columns["tid"][chosen],
        "address": columns["address"][chosen],
        "write": (columns["code"][chosen] & 1).astype(np.int8),
        "call": calls.at(columns["tid"][chosen], since[order]),
    }


def runs(events: Events) -> Columns:
    """Which task ran where: `since`, `duration` ns, `cpu`, `tid`. Idle times are left out.

    From sched_switch: the task that leaves a CPU came with the switch before; where that one left the CPU idle it came
    when it was woken or made. Without any switch all is one task on one CPU.
    """
    columns = events.sched
    starts = _Starts(events.starts)
    parts: list[tuple[Array, Array, Array, Array]] = []  # since, until, cpu, tid
    for cpu in np.unique(columns["cpu"]).tolist():
        ours = np.flatnonzero(columns["cpu"] == cpu)
        leaves, comes = columns["tid"][ours], columns["code"][ours].astype(np.int32)
        since = np.concatenate([[events.first], columns["time"][ours]])
        until = np.concatenate([columns["time"][ours], [events.last]])
        after = np.concatenate([[0], comes])  # who runs after the switch before; 0 before the first one: not known
        tid = np.where(np.concatenate([leaves, [0]]) != 0, np.concatenate([leaves, [0]]), after)
        told = np.flatnonzero((after != tid) & (tid != 0))
        woken = starts.last(tid[told], until[told])
        begun = np.where(told > 0, until[told], since[told])  # where nothing woke it
        since[told] = np.where(woken >= since[told], woken, begun)
        parts.append((since, until, np.full(len(tid), cpu, np.int32), tid))
    if not parts:
        seen = {
            pair
            for found in events.subjects.values()
            for pair in np.unique((found["cpu"].astype(np.int64) << 32) + found["tid"]).tolist()
        }
        if len(seen) == 1:
            cpu, task = divmod(int(seen.pop()), 1 << 32)
            parts.append((np.array([events.first]), np.array([events.last]), np.array([cpu]), np.array([task])))
    if not parts:
        return {name: np.zeros(0, np.int64) for name in ("since", "duration", "cpu", "tid")}
    since, until, cpus, tids = (np.concatenate(column) for column in zip(*parts))
    real = np.flatnonzero((tids != 0) & (until > since))
    real = real[np.argsort(since[real], kind="stable")]
    return {
        "since": since[real],
        "duration": until[real] - since[real],
        "cpu": cpus[real].astype(np.int32),
        "tid": tids[real].astype(np.int32),
    }


class _Starts:
    """When tasks became runnable."""

    def __init__(self, columns: Columns) -> None:
        order = np.argsort(columns["code"], kind="stable")
        self._times = columns["time"][order]
        tids, first = np.unique(columns["code"][order], return_index=True)
        ends = np.append(first[1:], len(order))
        self._range = {int(tid): (int(low), int(high)) for tid, low, high in zip(tids, first, ends)}

    def last(self, tids: Array, times: Array) -> Array:
        """The last time up to each of `times` that a task was woken or made; -1: never."""
        found = np.full(len(tids), -1, np.int64)
        for tid in np.unique(tids).tolist():
            low, high = self._range.get(tid, (0, 0))
            ours = np.flatnonzero(tids == tid)
            at = np.searchsorted(self._times[low:high], times[ours], "right") - 1
            found[ours[at >= 0]] = self._times[low:high][at[at >= 0]]
        return found
