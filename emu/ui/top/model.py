# SPDX-License-Identifier: GPL-2.0-or-later
"""What the dashboard knows after so many events: counts by kind, path, reason, lock, VMA, thread and CPU.

`feed` takes batches in the order of the trace. Events that come in masses (faults, uncontended locks) are counted by
Arrow's group_by; only the rare ones, which change a state (waits, calls, VMAs, switches), are looked at one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emu.tracepoint import Kind, Path, Reason, Served
from emu.ui.top.histogram import Histogram

BINS = 128  # of virtual time, at most; they get twice as wide when there would be more
FIRST_BIN_NS = 256
MAX_VMAS = 4096  # removed ones beyond it are added up in VMA_OTHERS
MAX_TASKS = 4096
VMA_OTHERS = -1
TID_OTHERS = -1
LCB_F_WRITE = 4  # of lock:contention_begin
RECENT = 64  # waits of a lock that are kept one by one

_FAULTS = (int(Kind.PAGE_FAULT_USER), int(Kind.PAGE_FAULT_KERNEL))
_VMA_LOCKS = (int(Kind.VMA_LOCK_READ), int(Kind.VMA_LOCK_READ_FAILED), int(Kind.VMA_LOCK_RELEASED),
              int(Kind.VMA_LOCK_WRITE))  # fmt: skip
_LOCKS = (int(Kind.MMAP_LOCK_ACQUIRE_RETURNED), int(Kind.MMAP_LOCK_RELEASED), *_VMA_LOCKS)
_ACQUIRED = (int(Kind.MMAP_LOCK_ACQUIRE_RETURNED), int(Kind.VMA_LOCK_READ), int(Kind.VMA_LOCK_READ_FAILED),
             int(Kind.VMA_LOCK_WRITE))  # fmt: skip
_VMAS = (int(Kind.VMA_CREATE), int(Kind.VMA_SPLIT), int(Kind.VMA_MERGE), int(Kind.VMA_RESIZE), int(Kind.VMA_REMOVE))
_STATES = (*_VMAS, int(Kind.CONTENTION_BEGIN), int(Kind.CONTENTION_END), int(Kind.SCHED_SWITCH),
           int(Kind.SCHED_WAKEUP), int(Kind.SCHED_PROCESS_FORK), int(Kind.EXIT), int(Kind.EXEC))  # fmt: skip
_CALLS = (int(Kind.SYS_ENTER), int(Kind.SYS_EXIT))
_OF_FAULTS = ["time", "kind", "served", "path", "reason", "tid", "pid", "vma", "address", "wait", "duration"]
_OF_LOCKS = ["kind", "code", "result", "reason", "vma", "address", "pid", "tid", "duration", "row", "text"]
_COLUMNS = ("time", "cpu", "pid", "tid", "address", "code", "size", "flags", "vma", "wait", "holder", "result",
            "duration")  # fmt: skip
_CODES: dict[str, dict[str, int]] = {
    name: {member.name.lower(): int(member) for member in enum}
    for name, enum in (("kind", Kind), ("path", Path), ("reason", Reason), ("served", Served))
}

FaultKey = tuple[int, int, int, int, int, int]  # kind, served, path, reason, tid, vma
BinKey = tuple[int, int, int, int, int]  # kind, served, path, tid, vma
LockKey = tuple[str, int]  # name of the lock, serial number of the mm or of the VMA


@dataclass(slots=True)
class Wait:
    """One wait for a lock. Times in ns; `call`, `holder_call`: the system calls of waiter and holder, or ""."""

    time: int
    tid: int
    call: str
    write: bool
    holder: int
    holder_call: str
    wait: int


@dataclass(slots=True)
class Lock:
    """One lock."""

    key: LockKey
    pid: int = 0
    reads: int = 0
    writes: int = 0
    failed: int = 0  # trylocks that did not get it
    waits: Histogram = field(default_factory=Histogram)
    holds: int = 0
    held: int = 0  # ns in all
    longest_hold: int = 0
    longest_holder: int = 0  # tid
    longest_call: str = ""
    holders: dict[tuple[int, str], list[int]] = field(default_factory=dict)  # (tid, call) -> [waits, ns]
    waiters: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    recent: deque[Wait] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def acquired(self) -> int:
        return self.reads + self.writes

    def copy(self) -> Lock:
        """One of the same counts."""
        return replace(
            self,
            waits=self.waits.copy(),
            holders={key: list(value) for key, value in self.holders.items()},
            waiters={key: list(value) for key, value in self.waiters.items()},
            recent=self.recent.copy(),
        )


@dataclass(slots=True)
class Vma:
    """One VMA as it was last seen."""

    id: int
    pid: int
    start: int
    size: int
    flags: int
    name: str
    since: int  # ns
    removed: int = 0  # ns, 0: it is there


@dataclass(slots=True)
class Task:
    """One thread."""

    tid: int
    pid: int
    cpu: int = 0
    state: str = "R"  # R runs or could, S sleeps, D waits for a lock, X has ended
    call: str = ""  # the system call that it is in
    waits: int = 0
    waited: int = 0  # ns
    waiting: tuple[LockKey, bool, int, int] | None = None  # lock, for write, holder, since when


def _member(kind: pa.Array, codes: Iterable[int]) -> pa.Array:
    return pc.is_in(kind, value_set=_value_set(tuple(codes)))


@cache
def _value_set(codes: tuple[int, ...]) -> pa.Array:
    """Made once: pyarrow looks for pandas each time that it makes an array from a list."""
    return pa.array(codes, pa.int8())


class Model:
    """The state after `events` events. Times are virtual ns; `now` is the latest time seen."""

    def __init__(self) -> None:
        self.events = 0
        self.now = 0
        self.bin_ns = FIRST_BIN_NS
        self.faults: dict[FaultKey, list[int]] = {}  # count, ns waited, ns until served
        self.bins: dict[BinKey, dict[int, int]] = {}
        self.locks: dict[LockKey, Lock] = {}
        self.vmas: dict[int, Vma] = {}
        self._begun: dict[int, tuple[int, str]] = {}  # who held the lock that a thread began to wait for, in which call
        self._spaces: dict[int, list[tuple[int, int]]] = {}  # (start, number) of the VMAs that are there, by process
        self.tasks: dict[int, Task] = {}
        self.cpus: dict[int, int] = {}  # the task that runs on a CPU, 0: none
        self.refused: dict[int, int] = {}  # VMA_LOCK_READ_FAILED by reason
        self.last_fault: tuple[int, int, int, int, int, int, int] | None = None  # time, tid, address, vma, served, ...
        self.program = ""

    def copy(self) -> Model:
        """An independent model of the same state."""
        new = Model()
        new.__dict__.update(self.__dict__)
        new.faults = {key: list(value) for key, value in self.faults.items()}
        new.bins = {key: dict(value) for key, value in self.bins.items()}
        new.locks = {key: lock.copy() for key, lock in self.locks.items()}
        new.vmas = {key: replace(vma) for key, vma in self.vmas.items()}
        new._begun = dict(self._begun)
        new._spaces = {key: list(value) for key, value in self._spaces.items()}
        new.tasks = {key: replace(task) for key, task in self.tasks.items()}
        new.cpus = dict(self.cpus)
        new.refused = dict(self.refused)
        return new

    # Counting

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next events of the trace."""
        count = batch.num_rows
        if not count:
            return
        columns: dict[str, pa.Array] = {name: batch.column(name) for name in _COLUMNS}
        for name in ("kind", "path", "reason", "served"):
            columns[name] = _codes(batch.column(name), _CODES[name])
        columns["text"] = batch.column("text")
        columns["row"] = _row_numbers(count)
        table = pa.table(columns)
        self.events += count
        self.now = max(self.now, pc.max(columns["time"]).as_py())
        self._widen()
        present = set(pc.unique(columns["kind"]).to_pylist())
        calls = _Calls(self, table, present)
        if not present.isdisjoint(_FAULTS):
            self._count_faults(table.select(_OF_FAULTS).filter(_member(columns["kind"], _FAULTS)))
        if not present.isdisjoint(_LOCKS):
            self._count_locks(table.select(_OF_LOCKS).filter(_member(columns["kind"], _LOCKS)), calls)
        self._follow_cpus(table)
        rare = _member(columns["kind"], _STATES)
        if not present.isdisjoint(_ACQUIRED):
            waited = pc.and_(pc.greater(columns["wait"], 0), _member(columns["kind"], _ACQUIRED))
            rare = pc.or_(rare, waited)
        rows = table.filter(rare)
        if rows.num_rows:
            self._follow_states(rows, calls)
        calls.finish()
        if len(self.vmas) > MAX_VMAS:
            self._fold_vmas()
        if len(self.tasks) > MAX_TASKS:
            self._fold_tasks()

    def _widen(self) -> None:
        while self.now // self.bin_ns >= BINS:
            self.bin_ns *= 2
            for key, bins in self.bins.items():
                merged: dict[int, int] = {}
                for at, count in bins.items():
                    merged[at >> 1] = merged.get(at >> 1, 0) + count
                self.bins[key] = merged

    def _count_faults(self, table: pa.Table) -> None:
        width = pa.scalar(self.bin_ns, pa.int64())
        table = table.append_column("bin", pc.divide(table.column("time"), width))
        names = ["kind", "served", "path", "reason", "tid", "pid", "vma", "bin"]
        groups = table.group_by(names, use_threads=False).aggregate(
            [([], "count_all"), ("wait", "sum"), ("duration", "sum")]
        )
        columns = [groups.column(name).to_pylist() for name in (*names, "count_all", "wait_sum", "duration_sum")]
        for kind, served, path, reason, tid, pid, vma, at, count, wait, duration in zip(*columns):
            entry = self.faults.get((kind, served, path, reason, tid, vma))
            if entry is None:
                entry = self.faults[kind, served, path, reason, tid, vma] = [0, 0, 0]
            entry[0] += count
            entry[1] += wait
            entry[2] += duration
            bins = self.bins.setdefault((kind, served, path, tid, vma), {})
            bins[at] = bins.get(at, 0) + count
            if tid not in self.tasks:
                self.task(tid, pid)
        last = table.slice(table.num_rows - 1)
        names = ["time", "tid", "address", "vma", "served", "path", "reason"]
        self.last_fault = tuple(last.column(name)[0].as_py() for name in names)

    def _count_locks(self, table: pa.Table, calls: _Calls) -> None:
        kind = table.column("kind")
        of_vma = _member(kind, _VMA_LOCKS)
        identity = pc.if_else(of_vma, table.column("vma").cast(pa.uint64()), table.column("address"))
        table = table.append_column("lock", identity)
        names = ["kind", "code", "result", "reason", "lock", "pid"]
        groups = table.group_by(names, use_threads=False).aggregate(
            [([], "count_all"), ("duration", "sum"), ("duration", "max")]
        )
        columns = [groups.column(name).to_pylist() for name in (*names, "count_all", "duration_sum", "duration_max")]
        for code, write, result, reason, number, pid, count, duration, longest in zip(*columns):
            lock = self.lock(("vma_lock" if code in _VMA_LOCKS else "mmap_lock", number), pid)
            if code in (Kind.MMAP_LOCK_RELEASED, Kind.VMA_LOCK_RELEASED):
                lock.holds += count
                lock.held += duration
                if longest > lock.longest_hold:
                    self._longest(lock, table, code, longest, calls)
            elif code == Kind.VMA_LOCK_READ_FAILED:
                lock.failed += count
                self.refused[reason] = self.refused.get(reason, 0) + count
            elif code == Kind.MMAP_LOCK_ACQUIRE_RETURNED and not result:
                lock.failed += count
            elif code == Kind.VMA_LOCK_WRITE or (code == Kind.MMAP_LOCK_ACQUIRE_RETURNED and write):
                lock.writes += count
            else:
                lock.reads += count

    def _longest(self, lock: Lock, table: pa.Table, code: int, duration: int, calls: _Calls) -> None:
        mask = pc.and_(
            pc.and_(pc.equal(table.column("kind"), code), pc.equal(table.column("lock"), lock.key[1])),
            pc.equal(table.column("duration"), duration),
        )
        row, tid, text = next(_rows(table.filter(mask), ["row", "tid", "text"]))
        lock.longest_hold = duration
        lock.longest_holder = tid
        lock.longest_call = calls.of(tid, row) or text or ""

    def _waited(
        self, key: LockKey, pid: int, row: int, time: int, tid: int, write: bool, holder: int, wait: int, calls: _Calls
    ) -> None:
        lock = self.lock(key, pid)
        lock.waits.add(wait)
        call = calls.of(tid, row)
        begun, holder_call = self._begun.pop(tid, (0, ""))
        if begun != holder:  # another one had it in the end
            holder_call = calls.of(holder, row)
        for entry in (
            lock.waiters.setdefault((tid, call), [0, 0]),
            lock.holders.setdefault((holder, holder_call), [0, 0]),
        ):
            entry[0] += 1
            entry[1] += wait
        lock.recent.append(Wait(time, tid, call, write, holder, holder_call, wait))
        task = self.task(tid, pid)
        task.waits += 1
        task.waited += wait

    def _follow_cpus(self, table: pa.Table) -> None:
        last = table.group_by(["cpu"], use_threads=False).aggregate([("row", "max")])
        rows = table.take(last.column("row_max"))
        for cpu, tid, pid, kind, code in _rows(rows, ["cpu", "tid", "pid", "kind", "code"]):
            switched = kind == Kind.SCHED_SWITCH
            ended = kind == Kind.EXIT
            self.cpus[cpu] = code if switched else 0 if ended else tid
            if not switched and tid:
                self.task(tid, pid).cpu = cpu

    def _follow_states(self, table: pa.Table, calls: _Calls) -> None:
        names = ["kind", "time", "pid", "tid", "cpu", "address", "code", "size", "flags", "vma", "wait", "holder",
                 "result", "text", "row"]  # fmt: skip
        for kind, time, pid, tid, cpu, address, code, size, flags, vma, wait, holder, result, text, row in _rows(
            table, names
        ):
            if kind in _VMAS:
                self._follow_vma(kind, time, pid, address, size, flags, vma, text)
            elif kind == Kind.CONTENTION_BEGIN:
                task = self.task(tid, pid)
                task.state = "D"
                self._begun[tid] = holder, calls.of(holder, row)
                task.waiting = self._lock_key(text, address, vma), bool(code & 1 or flags & LCB_F_WRITE), holder, time
            elif kind == Kind.CONTENTION_END:
                task = self.task(tid, pid)
                waiting, task.waiting = task.waiting, None
                task.state = "R"
                key = self._lock_key(text, address, vma)
                if key[0] not in ("mmap_lock", "vma_lock"):  # those tell of their waits when they are taken
                    lock = self.lock(key, pid)
                    lock.writes += 1
                    if wait:
                        write = bool(code & 1) or (waiting is not None and waiting[1])
                        holder = holder or (waiting[2] if waiting is not None else 0)
                        self._waited(key, pid, row, time, tid, write, holder, wait, calls)
            elif kind in _ACQUIRED:
                write = bool(code) or kind == Kind.VMA_LOCK_WRITE
                key = ("vma_lock", vma) if kind in _VMA_LOCKS else ("mmap_lock", address)
                self._waited(key, pid, row, time, tid, write, holder, wait, calls)
            elif kind == Kind.SCHED_SWITCH:
                if tid:
                    task = self.task(tid, pid)
                    if task.state != "D" or result == 2:
                        task.state = "RSX"[result] if 0 <= result <= 2 else "R"
                if code:
                    self.task(code, 0).cpu = cpu
                    if self.tasks[code].waiting is None:
                        self.tasks[code].state = "R"
            elif kind == Kind.SCHED_WAKEUP:
                task = self.task(code, 0)
                if task.state == "S":
                    task.state = "R"
            elif kind == Kind.SCHED_PROCESS_FORK:
                self.task(code, size)
            elif kind == Kind.EXIT:
                task = self.task(tid, pid)
                task.state, task.waiting = "X", None
            elif kind == Kind.EXEC:
                self.program = text or self.program

    @staticmethod
    def _lock_key(text: str | None, address: int, vma: int) -> LockKey:
        name = text or "lock"
        return (name, vma) if name == "vma_lock" else (name, address)

    def _follow_vma(
        self, kind: int, time: int, pid: int, start: int, size: int, flags: int, number: int, text: str | None
    ) -> None:
        vma = self.vmas.get(number)
        if kind == Kind.VMA_REMOVE:
            if vma is not None:
                self._take_out(vma)
                vma.removed = time or 1
            return
        if vma is None:
            vma = self.vmas[number] = Vma(number, pid, start, size, flags, "", time)
        else:
            self._take_out(vma)
        vma.start, vma.size, vma.flags, vma.name, vma.removed = start, size, flags, text or "", 0
        self._put_in(vma, time)

    def _take_out(self, vma: Vma) -> None:
        space = self._spaces.get(vma.pid, [])
        at = bisect_left(space, (vma.start, vma.id))
        if at < len(space) and space[at] == (vma.start, vma.id):
            del space[at]

    def _put_in(self, vma: Vma, time: int) -> None:
        """A VMA has its range for itself: a split tells the new part only, a merge the one that grew. What others
        had of the range is taken off them."""
        space = self._spaces.setdefault(vma.pid, [])
        end = vma.start + vma.size
        at = bisect_left(space, (vma.start, 0))
        if at and (other := self.vmas[space[at - 1][1]]).start + other.size > vma.start:
            other.size = vma.start - other.start
        while at < len(space) and space[at][0] < end:
            other = self.vmas[space[at][1]]
            del space[at]
            last = other.start + other.size
            if last > end:
                other.start, other.size = end, last - end
                space.insert(at, (end, other.id))
                break
            other.removed = time or 1
        space.insert(at, (vma.start, vma.id))

    def lock(self, key: LockKey, pid: int = 0) -> Lock:
        """The lock of this key, made when it is new."""
        found = self.locks.get(key)
        if found is None:
            found = self.locks[key] = Lock(key, pid)
        return found

    def task(self, tid: int, pid: int) -> Task:
        """The thread of this tid, made when it is new."""
        found = self.tasks.get(tid)
        if found is None:
            found = self.tasks[tid] = Task(tid, pid or tid)
        elif pid and found.pid != pid:
            found.pid = pid
        return found

    # Bounds

    def _fold_vmas(self) -> None:
        """Forget half of the removed VMAs, those with the fewest faults; their faults count for VMA_OTHERS."""
        counts: dict[int, int] = {}
        for fault, (count, _, _) in self.faults.items():
            counts[fault[5]] = counts.get(fault[5], 0) + count
        gone = sorted((v.id for v in self.vmas.values() if v.removed), key=lambda number: counts.get(number, 0))
        drop = set(gone[: max(1, len(gone) // 2)]) if gone else set()
        if not drop:
            return
        for number in drop:
            del self.vmas[number]
        for key in [key for key in self.locks if key[0] == "vma_lock" and key[1] in drop]:
            lock = self.locks.pop(key)
            others = self.lock(("vma_lock", VMA_OTHERS))
            others.reads += lock.reads
            others.writes += lock.writes
            others.failed += lock.failed
        self._fold(lambda tid, vma: (tid, VMA_OTHERS if vma in drop else vma))

    def _fold_tasks(self) -> None:
        """Forget the threads that have ended; their faults count for TID_OTHERS."""
        drop = {task.tid for task in self.tasks.values() if task.state == "X"}
        for tid in drop:
            del self.tasks[tid]
        if drop:
            self._fold(lambda tid, vma: (TID_OTHERS if tid in drop else tid, vma))

    def _fold(self, change: Callable[[int, int], tuple[int, int]]) -> None:
        faults: dict[FaultKey, list[int]] = {}
        for (kind, served, path, reason, tid, vma), entry in self.faults.items():
            total = faults.setdefault((kind, served, path, reason, *change(tid, vma)), [0, 0, 0])
            for index, value in enumerate(entry):
                total[index] += value
        bins: dict[BinKey, dict[int, int]] = {}
        for (kind, served, path, tid, vma), found in self.bins.items():
            into = bins.setdefault((kind, served, path, *change(tid, vma)), {})
            for at, count in found.items():
                into[at] = into.get(at, 0) + count
        self.faults, self.bins = faults, bins


class _Calls:
    """Which system call a thread is in, at any row of the batch that is being fed."""

    def __init__(self, model: Model, table: pa.Table, present: set[int]) -> None:
        self._model = model
        self._table = table
        self._any = not present.isdisjoint(_CALLS)
        self._rows: dict[int, list[tuple[int, str]]] | None = None if self._any else {}

    def _collect(self) -> dict[int, list[tuple[int, str]]]:
        if self._rows is None:
            self._rows = {}
            found = self._table.filter(_member(self._table.column("kind"), _CALLS))
            for row, tid, kind, text in _rows(found, ["row", "tid", "kind", "text"]):
                self._rows.setdefault(tid, []).append((row, text or "" if kind == Kind.SYS_ENTER else ""))
        return self._rows

    def of(self, tid: int, row: int) -> str:
        """The call that `tid` is in at `row`; "" when in none."""
        task = self._model.tasks.get(tid)
        call = task.call if task is not None else ""
        rows = self._collect().get(tid)
        at = bisect_left(rows, (row, "")) if rows else 0
        return rows[at - 1][1] if rows and at else call

    def finish(self) -> None:
        """Note the call that each thread is in at the end of the batch."""
        if not self._any:
            return
        found = self._table.filter(_member(self._table.column("kind"), _CALLS))
        last = found.group_by(["tid"], use_threads=False).aggregate([("row", "max")])
        rows = self._table.take(last.column("row_max"))
        for tid, pid, kind, text in _rows(rows, ["tid", "pid", "kind", "text"]):
            self._model.task(tid, pid).call = text or "" if kind == Kind.SYS_ENTER else ""


_numbers = pa.array(range(1 << 14), pa.int32())
_numbers_of: dict[tuple[int, tuple[str | None, ...]], pa.Array] = {}  # by an entry of _CODES, names in a file
_FEW = 64


def _row_numbers(count: int) -> pa.Array:
    return _numbers.slice(0, count) if count <= len(_numbers) else pa.array(range(count), pa.int32())


def _codes(column: pa.DictionaryArray, codes: dict[str, int]) -> pa.Array:
    """Names of an enumeration as its numbers; 0 for a name that it does not have."""
    names = tuple(column.dictionary.to_pylist())
    numbers = _numbers_of.get((id(codes), names))
    if numbers is None:
        if len(_numbers_of) >= _FEW:  # a file that names them anew in each batch
            _numbers_of.clear()
        numbers = _numbers_of[id(codes), names] = pa.array([codes.get(name, 0) for name in names], pa.int8())
    return pc.take(numbers, column.indices)


def _rows(table: pa.Table, names: list[str]) -> Any:
    return zip(*(table.column(name).to_pylist() for name in names))
