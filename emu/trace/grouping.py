# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults and locks by what a person asks for: VMA, symbol, line, reason, path, lock, thread, system call, or two of
these.

Faults are counted with the time that they waited and took. Where `lock` is among the keys, the takings of locks are
counted
instead, with waits and the times for which they were held; symbol, line, path and reason are then those of the
fault or call in which the lock was taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.address_space import Vma
from emu.trace.images import Images, place
from emu.trace.lock_names import lock_mode, lock_name
from emu.trace.reader import Trace
from emu.trace.scan import Scan, of_kinds
from emu.trace.tally import Follow, Percentiles, Tally, percentile
from emu.trace.vma_names import VmaNames
from emu.tracepoint import Kind, Path, Reason

KEYS = ("vma", "symbol", "line", "reason", "path", "lock", "thread", "syscall")
FAULTS = (int(Kind.PAGE_FAULT_USER), int(Kind.PAGE_FAULT_KERNEL))
_COLUMNS = {
    "vma": ("vma",), "symbol": ("image", "ip", "text"), "line": ("image", "ip", "text"), "reason": ("reason",),
    "path": ("path",), "lock": ("lock", "id", "write"), "thread": ("pid", "tid"), "syscall": ("call",),
}  # fmt: skip
_ACQUIRED, _RELEASED = int(Kind.MMAP_LOCK_ACQUIRE_RETURNED), int(Kind.MMAP_LOCK_RELEASED)
_VMA_READ, _VMA_FAILED, _VMA_RELEASED, _VMA_WRITE = (
    int(Kind.VMA_LOCK_READ), int(Kind.VMA_LOCK_READ_FAILED), int(Kind.VMA_LOCK_RELEASED), int(Kind.VMA_LOCK_WRITE),
)  # fmt: skip
_CONTENDED = int(Kind.CONTENTION_END)
_LOCK_KINDS = (_ACQUIRED, _RELEASED, _VMA_READ, _VMA_FAILED, _VMA_RELEASED, _VMA_WRITE, _CONTENDED)
_ENTER, _EXIT = int(Kind.SYS_ENTER), int(Kind.SYS_EXIT)
IN_FAULT = -1  # in the place of a call
MMAP_LOCK, VMA_LOCK = -1, -2  # numbers of locks; others have the number of their name


@dataclass
class Group:
    """One line of the table. Times in ns; `mean`, `p99` and `longest` are over those that waited."""

    keys: tuple[str, ...]
    count: int
    share: float
    waited: int  # how many had to wait
    wait: int
    mean: float
    p99: int
    longest: int
    duration: int  # faults: time until served, locks: time held; the sum
    refused: int  # locks: attempts that did not get it


@dataclass
class Grouping:
    """What `group` found: faults, the most frequent first, or locks, those first that were waited for longest."""

    keys: tuple[str, ...]
    locks: bool  # takings of locks are counted, not faults
    groups: list[Group]
    total: int
    notes: list[str]


def group(trace: Trace, keys: Sequence[str], program: str | None = None) -> Grouping:
    """Read the whole trace and group it by one or two of KEYS. `program`: see Images."""
    locks = "lock" in keys
    images = Images(trace, program)
    columns = list(dict.fromkeys(name for key in keys for name in _COLUMNS[key]))
    needs_vmas = locks or "vma" in keys or (_places(keys) and images.dynamic)
    scan = Scan(trace, _needed(keys, locks, images))
    tally = Tally(columns, ("waited", "wait", "duration", "refused"), ("wait",))
    high = Percentiles(columns)
    names = VmaNames()
    rows = _Rows(keys, locks, images)
    for piece in scan.pieces():
        if needs_vmas:
            names.add(piece)
        events = rows.of(piece)
        tally.add(events, "one")
        high.add(events.filter(pc.greater(events.column("wait"), 0)), "wait")
    return _finish(keys, locks, tally, high, names.get(scan.strings), scan.strings, images)


def _needed(keys: Sequence[str], locks: bool, images: Images) -> list[str]:
    needed = ["kind", "wait", "duration", "pid", "tid", "vma", "ip", "text", "path", "reason"]
    if locks:
        needed += ["code", "result", "time"]
    if locks or "vma" in keys:
        needed += VmaNames.COLUMNS
    if _places(keys):
        needed += images.vma_columns
    return needed


class _Rows:
    """Turns pieces into the events that are counted, with the columns of the keys."""

    def __init__(self, keys: Sequence[str], locks: bool, images: Images) -> None:
        self.locks = locks
        self.calls = Follow("tid", ("call", "call_ip")) if "syscall" in keys or (locks and _places(keys)) else None
        self.faults = Follow("tid", ("f_ip", "f_text", "f_path", "f_reason", "f_end"))
        self.inside_faults = locks and any(key in keys for key in ("symbol", "line", "path", "reason", "syscall"))
        self.programs = Follow("pid", ("image",)) if images.several and _places(keys) else None
        self.marks = images.marks()

    def of(self, piece: pa.Table) -> pa.Table:
        events = of_kinds(piece, *(_LOCK_KINDS if self.locks else FAULTS))
        if self.locks:
            events = _locks(events)
        else:
            zero = pa.array([0] * events.num_rows, pa.int64())
            events = events.append_column("refused", zero).append_column("one", pc.add(zero, 1))
        events = events.append_column("waited", pc.greater(events.column("wait"), 0).cast(pa.int64()))
        if self.inside_faults:
            events = self.faults.join(events, _fault_marks(piece))
        if self.calls is not None:
            events = self.calls.join(events, _call_marks(piece))
        if self.locks:
            events = self._context(events)
        if self.programs is not None:
            events = self.programs.join(events, self.marks)
            self.marks = self.marks.slice(0, 0)
        elif "image" not in events.column_names:
            events = events.append_column("image", pa.array([0] * events.num_rows, pa.int64()))
        return events

    def _context(self, events: pa.Table) -> pa.Table:
        """Where a lock was taken: in the fault that is not over yet, else in the open system call."""
        if self.inside_faults:
            inside = pc.and_(
                pc.less_equal(events.column("time"), events.column("f_end")), pc.greater(events.column("f_end"), 0)
            )
            call_ip = events.column("call_ip") if self.calls is not None else 0
            for name, other in (("ip", call_ip), ("text", 0), ("path", 0), ("reason", 0)):
                value = pc.if_else(inside, events.column(f"f_{name}"), other)
                events = events.set_column(events.column_names.index(name), name, value)
            if self.calls is not None:
                call = pc.if_else(pc.and_(inside, pc.equal(events.column("call"), 0)), IN_FAULT, events.column("call"))
                events = events.set_column(events.column_names.index("call"), "call", call)
        return events


def _places(keys: Sequence[str]) -> bool:
    return "symbol" in keys or "line" in keys


def _call_marks(piece: pa.Table) -> pa.Table:
    calls = of_kinds(piece, _ENTER, _EXIT)
    enters = pc.equal(calls.column("kind"), pa.scalar(_ENTER, pa.int8()))
    return pa.table({
        "tid": calls.column("tid"), "seq": calls.column("seq"),
        "call": pc.if_else(enters, calls.column("text").cast(pa.int64()), 0),
        "call_ip": pc.if_else(enters, calls.column("ip").cast(pa.int64(), safe=False), 0),
    })  # fmt: skip


def _fault_marks(piece: pa.Table) -> pa.Table:
    faults = of_kinds(piece, *FAULTS)
    return pa.table({
        "tid": faults.column("tid"), "seq": faults.column("seq"),
        "f_ip": faults.column("ip").cast(pa.int64(), safe=False), "f_text": faults.column("text").cast(pa.int64()),
        "f_path": faults.column("path").cast(pa.int64()), "f_reason": faults.column("reason").cast(pa.int64()),
        "f_end": pc.add(faults.column("time"), faults.column("duration")),
    })  # fmt: skip


def _locks(events: pa.Table) -> pa.Table:
    """Locks taken, refused and released, with lock, id and write."""
    kind = events.column("kind")

    def is_(*kinds: int) -> Any:
        return pc.is_in(kind, value_set=pa.array(kinds, pa.int8()))

    mmap, vma, ended = (
        is_(_ACQUIRED, _RELEASED),
        is_(_VMA_READ, _VMA_FAILED, _VMA_RELEASED, _VMA_WRITE),
        is_(_CONTENDED),
    )
    released = is_(_RELEASED, _VMA_RELEASED)
    refused = pc.or_(is_(_VMA_FAILED), pc.and_(is_(_ACQUIRED), pc.equal(events.column("result"), 0)))
    code = pc.min_element_wise(events.column("code"), 1).cast(pa.int64())
    events = events.append_column("write", pc.if_else(vma, is_(_VMA_WRITE).cast(pa.int64()), code))
    text = events.column("text").cast(pa.int64())
    events = events.append_column("lock", pc.if_else(mmap, MMAP_LOCK, pc.if_else(vma, VMA_LOCK, text)))
    number = pc.if_else(
        vma, events.column("vma").cast(pa.int64()), events.column("address").cast(pa.int64(), safe=False)
    )
    events = events.append_column("id", number)
    events = events.append_column("refused", refused.cast(pa.int64()))
    events = events.append_column("one", pc.invert(pc.or_(released, refused)).cast(pa.int64()))
    held = pc.if_else(released, events.column("duration"), 0)
    events = events.set_column(events.column_names.index("duration"), "duration", held)
    wait = pc.if_else(released, 0, events.column("wait"))
    return events.set_column(events.column_names.index("wait"), "wait", wait).filter(pc.or_(pc.or_(mmap, vma), ended))


def drop_doubles(names: Sequence[str]) -> set[int]:
    """Numbers of the names under which the end of contention tells a wait that another event tells too."""
    return {number for number, name in enumerate(names) if name in ("mmap_lock", "vma_lock")}


def _finish(
    keys: Sequence[str], locks: bool, tally: Tally, high: Percentiles, vmas: dict[int, Vma], strings: Sequence[str],
    images: Images,
) -> Grouping:  # fmt: skip
    """Numbers become names; what has the same name is one group."""
    images.map_files(vmas.values())
    values = high.get()
    doubles = drop_doubles(strings)
    place_of = _Labels(keys, vmas, strings, images)
    width = len(tally.keys)
    merged: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for row in tally.rows():
        fields = dict(zip(tally.keys, row))
        if locks and fields["lock"] in doubles:
            continue
        merged.setdefault(place_of(fields), []).append(row)
    total = 0
    found = []
    for names, rows in merged.items():
        sums = [sum(row[width + index] for row in rows) for index in range(5)]
        count, waited, wait, duration, refused = sums
        total += count
        p99 = percentile([each for row in rows for each in values.get(row[:width], ())], 0.99)
        longest = max(row[width + 5] for row in rows)
        mean = wait / waited if waited else 0.0
        found.append(Group(names, count, 0.0, waited, wait, mean, min(p99, longest), longest, duration, refused))
    for each in found:
        each.share = each.count / total if total else 0.0
    if locks:  # the contended ones are not to be buried among thousands of VMA locks
        found.sort(key=lambda each: (-each.wait, -each.count, each.keys))
    else:
        found.sort(key=lambda each: (-each.count, -each.wait, each.keys))
    return Grouping(tuple(keys), locks, found, total, images.notes())


class _Labels:
    """The names of a group's keys."""

    def __init__(self, keys: Sequence[str], vmas: dict[int, Vma], strings: Sequence[str], images: Images) -> None:
        self.keys, self.vmas, self.strings, self.images = keys, vmas, strings, images

    def __call__(self, fields: dict[str, Any]) -> tuple[str, ...]:
        return tuple(getattr(self, key)(fields) for key in self.keys)

    def vma(self, fields: dict[str, Any]) -> str:
        found = self.vmas.get(fields["vma"])
        if found is None:
            return "no VMA" if not fields["vma"] else f"VMA {fields['vma']}"
        return f"{found.start:x}-{found.end:x} {found.permissions} {found.name or 'anonymous'}"

    def symbol(self, fields: dict[str, Any]) -> str:
        ip = fields["ip"] & (1 << 64) - 1
        if not ip:
            return f"[kernel] {self.strings[fields['text']]}".rstrip()
        found = self.images.at(fields["image"], ip).lookup(ip)
        return found[0] if found is not None else f"{ip:#x}"

    def line(self, fields: dict[str, Any]) -> str:
        ip = fields["ip"] & (1 << 64) - 1
        if not ip:
            return self.symbol(fields)
        symbols = self.images.at(fields["image"], ip)
        return place(symbols, ip) or symbols.describe(ip) or f"{ip:#x}"

    def reason(self, fields: dict[str, Any]) -> str:
        return Reason(fields["reason"]).name.lower() if fields["reason"] else "-"

    def path(self, fields: dict[str, Any]) -> str:
        return Path(fields["path"]).name.lower()

    def thread(self, fields: dict[str, Any]) -> str:
        pid, tid = fields["pid"], fields["tid"]
        return f"{pid}/{tid}"

    def syscall(self, fields: dict[str, Any]) -> str:
        call = fields["call"]
        return "page fault" if call == IN_FAULT else self.strings[call] or "(no call)"

    def lock(self, fields: dict[str, Any]) -> str:
        number = fields["id"]
        if fields["lock"] >= 0:
            name = self.strings[fields["lock"]]
            mode = lock_mode(name, fields["write"])
            return lock_name(name, number) + (f", {mode}" if mode else "")
        mode = "write" if fields["write"] else "read"
        if fields["lock"] == MMAP_LOCK:
            return f"{lock_name('mmap_lock', number)}, {mode}"
        vma = self.vmas.get(number)
        where = "" if vma is None else f" {vma.start:x} {vma.name or 'anonymous'}"
        return f"VMA lock {number}{where}, {mode}"


def pairs(text: str) -> tuple[str, ...]:
    """The keys of "vma,reason"; ValueError says what is wrong with them."""
    keys = tuple(part.strip() for part in text.split(","))
    for key in keys:
        if key not in KEYS:
            raise ValueError(f"{key!r} is not one of {', '.join(KEYS)}")
    if len(keys) > 2 or len(set(keys)) != len(keys):
        raise ValueError(f"{text!r}: give one or two different keys")
    return keys


def columns_of(grouping: Grouping) -> Iterator[str]:
    """The heads of the columns of numbers."""
    yield "acquired" if grouping.locks else "faults"
    yield from ("share", "waited", "wait total", "mean", "p99", "max", "held" if grouping.locks else "duration")
    if grouping.locks:
        yield "refused"
