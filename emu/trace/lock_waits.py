# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waited for whom: waits for locks, what waiter and holder were doing, and chains of holders that waited
themselves.

Waits are told by contention_begin and contention_end. Where a lock has only the wait noted with its taking
(mmap_lock_acquire_returned, vma_lock_write), that is used.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.grouping import FAULTS
from emu.trace.lock_names import lock_mode, lock_name
from emu.trace.reader import Trace
from emu.trace.scan import Scan, of_kinds
from emu.trace.tally import Follow
from emu.tracepoint import Kind

SORT_KEYS = ("contended", "wait_total", "wait_max", "wait_min", "avg_wait")
DEPTH = 16  # links of a chain at most
_BEGIN, _END = int(Kind.CONTENTION_BEGIN), int(Kind.CONTENTION_END)
_ENTER, _EXIT = int(Kind.SYS_ENTER), int(Kind.SYS_EXIT)
_TAKEN = {int(Kind.MMAP_LOCK_ACQUIRE_RETURNED): "mmap_lock", int(Kind.VMA_LOCK_WRITE): "vma_lock"}
_COLUMNS = ("time", "tid", "kind", "address", "code", "vma", "wait", "holder", "result", "text", "duration")


@dataclass(slots=True)
class Wait:
    """One wait. Times in ns."""

    tid: int
    begin: int
    wait: int
    lock: str  # mmap_lock, vma_lock ...
    id: int  # of the VMA, the mm, the page table
    write: bool
    holder: int  # tid, 0 = not known
    call: str  # what the waiter was in: a system call, "page fault", or "(no call)"
    holder_call: str
    ended: bool = True
    fault: int = 0  # number of the fault in which the waiter was, 0 = in none

    @property
    def name(self) -> str:
        """The lock, with what tells it from others of its class, and how it was to be taken."""
        mode = lock_mode(self.lock, self.write)
        return lock_name(self.lock, self.id) + (f", {mode}" if mode else "")


@dataclass(slots=True)
class Contention:
    """Waits that have the same label."""

    label: tuple[str, ...]
    contended: int = 0
    wait_total: int = 0
    wait_max: int = 0
    wait_min: int = 1 << 63

    @property
    def avg_wait(self) -> float:
        return self.wait_total / self.contended

    def add(self, wait: int) -> None:
        self.contended += 1
        self.wait_total += wait
        self.wait_max = max(self.wait_max, wait)
        self.wait_min = min(self.wait_min, wait)


def find_waits(trace: Trace) -> list[Wait]:
    """All waits of a trace, in the order in which they ended; those that never did come last."""
    scan = Scan(trace, _COLUMNS)
    pair = Follow("tid", ("begin", "b_holder", "b_code", "b_address", "b_vma", "b_text", "b_seq"))
    doing = [_Doing(""), _Doing("h_")]
    raw: list[dict[str, Any]] = []
    ended: dict[int, int] = {}  # tid -> event of the begin of its last wait that ended
    last_time = 0
    for piece in scan.pieces():
        last_time = max(last_time, pc.max(piece.column("time")).as_py() or 0)
        marks, ends = _begins(piece), of_kinds(piece, _END)
        waits = pair.join(ends, marks) if ends.num_rows or marks.num_rows else None
        found = [] if waits is None else [_of_contention(waits)]
        found.append(_of_taking(piece))
        rows = pa.concat_tables(found)
        rows = doing[0].join(rows, piece, "tid", by_time=False)
        rows = doing[1].join(rows, piece, "holder", by_time=True)
        raw += rows.sort_by("seq").to_pylist()
        if waits is not None:
            for tid, seq in zip(waits.column("tid").to_pylist(), waits.column("b_seq").to_pylist()):
                ended[tid] = max(seq, ended.get(tid, 0))
    strings = scan.strings
    known = {strings[row["text"]] for row in raw if row["text"] > 0}
    waits_found = [
        _wait(row, strings) for row in raw if row["text"] > 0 or _TAKEN[-row["text"]] not in known
    ]  # fmt: skip
    for tid, (begin, holder, code, address, vma, text, seq) in sorted(pair._last.items()):
        if text and seq > ended.get(tid, -1):
            row = {
                "tid": tid, "begin": begin, "wait": max(0, last_time - begin), "text": text, "id": vma or address,
                "code": code, "holder": holder, "call": 0, "inside": 0, "h_call": 0, "h_inside": 0, "number": 0,
            }  # fmt: skip
            row["call"], row["inside"], row["number"] = doing[0].last(tid, begin)
            row["h_call"], row["h_inside"], _ = doing[1].last(holder, begin)
            waits_found.append(_wait(row, strings, ended=False))
    return waits_found


def _wait(row: dict[str, Any], strings: list[str], ended: bool = True) -> Wait:
    def call(name: int, inside: bool) -> str:
        return strings[name] if name else "page fault" if inside else "(no call)"

    lock = strings[row["text"]] if row["text"] > 0 else _TAKEN[-row["text"]]
    return Wait(
        row["tid"], row["begin"], row["wait"], lock or "lock", row["id"], bool(row["code"] & 1), row["holder"],
        call(row["call"], row["inside"]), call(row["h_call"], row["h_inside"]) if row["holder"] else "?", ended,
        row["number"] if row["inside"] else 0,
    )  # fmt: skip


_WAIT_SCHEMA = pa.schema([
    (name, pa.int64()) for name in ("tid", "seq", "begin", "wait", "text", "id", "code", "holder")
])  # fmt: skip


def _begins(piece: pa.Table) -> pa.Table:
    begins = of_kinds(piece, _BEGIN)
    names = {"begin": "time", "b_holder": "holder", "b_code": "code", "b_address": "address", "b_vma": "vma",
             "b_text": "text", "b_seq": "seq"}  # fmt: skip
    columns = {"tid": begins.column("tid"), "seq": begins.column("seq")}
    for name, source in names.items():
        columns[name] = begins.column(source).cast(pa.int64(), safe=False)
    return pa.table(columns)


def _of_contention(ends: pa.Table) -> pa.Table:
    """One row a wait that ended, from the end with what its begin told."""
    is_vma = pc.not_equal(ends.column("b_vma"), 0)
    wait = ends.column("wait")
    columns = {
        "tid": ends.column("tid"), "seq": ends.column("seq"), "begin": pc.subtract(ends.column("time"), wait),
        "wait": wait, "text": pc.if_else(pc.equal(ends.column("b_text"), 0), ends.column("text"),
        ends.column("b_text")),
        "id": pc.if_else(is_vma, ends.column("b_vma"), ends.column("b_address")), "code": ends.column("b_code"),
        "holder": pc.if_else(pc.equal(ends.column("b_holder"), 0), ends.column("holder"), ends.column("b_holder")),
    }  # fmt: skip
    return pa.table(columns).cast(_WAIT_SCHEMA)


def _of_taking(piece: pa.Table) -> pa.Table:
    """One row a wait that the taking of a lock tells. Its text is minus the number of the kind."""
    taken = of_kinds(piece, *_TAKEN)
    taken = taken.filter(pc.greater(taken.column("wait"), 0))
    kind = taken.column("kind").cast(pa.int64())
    is_vma = pc.equal(kind, int(Kind.VMA_LOCK_WRITE))
    address = taken.column("address").cast(pa.int64(), safe=False)
    columns = {
        "tid": taken.column("tid"), "seq": taken.column("seq"),
        "begin": pc.subtract(taken.column("time"), taken.column("wait")), "wait": taken.column("wait"),
        "text": pc.negate(kind), "id": pc.if_else(is_vma, taken.column("vma").cast(pa.int64()), address),
        "code": pc.if_else(is_vma, 1, taken.column("code").cast(pa.int64(), safe=False)), "holder":
        taken.column("holder"),
    }  # fmt: skip
    return pa.table(columns).cast(_WAIT_SCHEMA)


class _Doing:
    """What a task was in at a moment: a system call, or a fault that was not over."""

    def __init__(self, prefix: str) -> None:
        """`prefix`: of the names of the columns that `join` adds."""
        self.call, self.inside, self.number = f"{prefix}call", f"{prefix}inside", f"{prefix}number"
        self._calls = Follow("key", (self.call,))
        self._faults = Follow("key", ("until", self.number))
        self._total = 0  # faults so far

    def join(self, rows: pa.Table, piece: pa.Table, task: str, by_time: bool) -> pa.Table:
        """`rows` with call (number of a text), inside (a fault) and number (of the last fault), for the task in
        the column `task`."""
        order = "time" if by_time else "seq"
        own = rows.append_column("own", rows.column("seq"))
        if by_time:
            own = own.set_column(own.column_names.index("seq"), "seq", own.column("begin"))
        own = own.append_column("key", rows.column(task))
        calls, faults = of_kinds(piece, _ENTER, _EXIT), of_kinds(piece, *FAULTS)
        enters = pc.equal(calls.column("kind"), pa.scalar(_ENTER, pa.int8()))
        own = self._calls.join(own, pa.table({
            "key": calls.column("tid"), "seq": calls.column(order),
            self.call: pc.if_else(enters, calls.column("text").cast(pa.int64()), 0),
        }))  # fmt: skip
        own = self._faults.join(own, pa.table({
            "key": faults.column("tid"), "seq": faults.column(order),
            "until": pc.add(pc.add(faults.column("time"), faults.column("duration")), 1),
            self.number: pa.array(range(self._total + 1, self._total + faults.num_rows + 1), pa.int64()),
        }))  # fmt: skip
        self._total += faults.num_rows
        inside = pc.less(own.column("begin"), own.column("until"))
        own = own.append_column(self.inside, inside)
        own = own.set_column(own.column_names.index("seq"), "seq", own.column("own"))
        return own.drop_columns(["own", "key", "until"])

    def last(self, tid: int, time: int) -> tuple[int, bool, int]:
        """(call, inside a fault, number of the fault) of a task at the end of the trace."""
        until, number, *_ = self._faults._last.get(tid, (0, 0))
        return self._calls._last.get(tid, (0,))[0], time < until, number


class Chains:
    """Finds whom a holder was waiting for itself."""

    def __init__(self, waits: Iterable[Wait]) -> None:
        self._of: dict[int, list[Wait]] = {}
        for wait in waits:
            self._of.setdefault(wait.tid, []).append(wait)
        self._begins: dict[int, list[int]] = {}
        for tid, own in self._of.items():
            own.sort(key=lambda each: each.begin)
            self._begins[tid] = [each.begin for each in own]

    def chain(self, wait: Wait) -> list[Wait]:
        """The wait, then the wait of its holder that overlaps with it, if any, and so on. A circle ends the chain.

        A wait that ended and was for somebody further up is left out: what it was for had been given up before the
        one further up began to wait, only the waking took its time."""
        found = [wait]
        seen = {wait.tid}
        begin, end = wait.begin, wait.begin + wait.wait
        while len(found) < DEPTH:
            holder = found[-1].holder
            if holder in seen or holder not in self._of:
                break
            own = self._of[holder]
            index = bisect_right(self._begins[holder], begin) - 1
            # The holder's wait that was under way at the begin, else the first one that began meanwhile. It is for
            # another lock: who waits for the same one does not hold it (any more).
            if index < 0 or own[index].begin + own[index].wait <= begin:
                index += 1
            if index >= len(own) or own[index].begin >= end:
                break
            last = found[-1]
            if (own[index].lock, own[index].id) == (last.lock, last.id):
                break
            if own[index].ended and own[index].holder in seen | {holder}:
                break
            seen.add(holder)
            found.append(own[index])
            begin = max(begin, own[index].begin)
        return found


def chain_label(chain: list[Wait]) -> str:
    """1003 page fault <- 1001 munmap <- 1002 mprotect."""
    parts = [f"{chain[0].tid} {chain[0].call}"]
    parts += [f"{each.holder or '?'} {each.holder_call}" for each in chain]
    closed = len(chain) > 1 and chain[-1].holder in {each.tid for each in chain}
    return " <- ".join(parts) + (" (a circle)" if closed else "")


def contention(waits: list[Wait], per: str) -> list[Contention]:
    """Sums by `per`: chain (lock and chain), lock, thread (the waiter), owner (the holder), or call (both sides')."""
    chains = Chains(waits) if per == "chain" else None
    labels: dict[str, Callable[[Wait], tuple[str, ...]]] = {
        "lock": lambda w: (w.name,),
        "thread": lambda w: (str(w.tid),),
        "owner": lambda w: (str(w.holder or "?"), w.holder_call),
        "call": lambda w: (w.lock, w.call, w.holder_call),
        "chain": lambda w: (w.name, chain_label(chains.chain(w)) if chains is not None else ""),
    }
    label = labels[per]
    found: dict[tuple[str, ...], Contention] = {}
    for wait in waits:
        key = label(wait)
        if key not in found:
            found[key] = Contention(key)
        found[key].add(wait.wait)
    return list(found.values())
