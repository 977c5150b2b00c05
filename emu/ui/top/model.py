# SPDX-License-Identifier: GPL-2.0-or-later
"""What the dashboard knows after so many events: counts by kind, path, reason, lock, VMA, thread and CPU.

`feed` takes batches in the order of the trace. Events that come in masses (faults, uncontended locks) are counted in
groups (emu.ui.top.columns); only those that change a state (waits, VMAs, switches) are looked at one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from emu.tracepoint import Kind
from emu.ui.top.columns import Array, Columns, Groups
from emu.ui.top.histogram import Histogram

BINS = 128  # of virtual time, at most; they get twice as wide when there would be more
FIRST_BIN_NS = 256
MAX_VMAS = 4096  # removed ones beyond it are added up in VMA_OTHERS
MAX_TASKS = 4096
VMA_OTHERS = -1
TID_OTHERS = -1
LCB_F_WRITE = 4  # of lock:contention_begin
RECENT = 64  # waits of a lock that are kept one by one

_NO_HISTORY = (0,) * BINS
_VMA_LOCKS = (Kind.VMA_LOCK_READ, Kind.VMA_LOCK_READ_FAILED, Kind.VMA_LOCK_RELEASED, Kind.VMA_LOCK_WRITE)
_FAULT, _LOCK, _OF_VMA, _VMA, _STATE, _CALL = 1, 2, 4, 8, 16, 32


def _classes() -> Array:
    """What an event is to the model, by its kind."""
    found = np.zeros(256, np.uint8)
    for what, kinds in (
        (_FAULT, (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)),
        (_LOCK, (Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED)),
        (_LOCK | _OF_VMA, _VMA_LOCKS),
        (_VMA, (Kind.VMA_CREATE, Kind.VMA_SPLIT, Kind.VMA_MERGE, Kind.VMA_RESIZE, Kind.VMA_MODIFY, Kind.VMA_REMOVE)),
        (_STATE, (Kind.CONTENTION_BEGIN, Kind.CONTENTION_END, Kind.SCHED_SWITCH, Kind.SCHED_WAKEUP,
                  Kind.SCHED_PROCESS_FORK, Kind.EXIT, Kind.EXEC)),
        (_CALL, (Kind.SYS_ENTER, Kind.SYS_EXIT)),
    ):  # fmt: skip
        found[list(kinds)] = what
    return found


_CLASSES = _classes()

# As plain numbers: looking a member of an enumeration up takes as long as all else that is done for an event.
_CONTENTION_BEGIN = int(Kind.CONTENTION_BEGIN)
_CONTENTION_END = int(Kind.CONTENTION_END)
_EXEC = int(Kind.EXEC)
_EXIT = int(Kind.EXIT)
_MMAP_LOCK_ACQUIRE_RETURNED = int(Kind.MMAP_LOCK_ACQUIRE_RETURNED)
_MMAP_LOCK_RELEASED = int(Kind.MMAP_LOCK_RELEASED)
_SCHED_PROCESS_FORK = int(Kind.SCHED_PROCESS_FORK)
_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
_SCHED_WAKEUP = int(Kind.SCHED_WAKEUP)
_SYS_ENTER = int(Kind.SYS_ENTER)
_VMA_LOCK_READ_FAILED = int(Kind.VMA_LOCK_READ_FAILED)
_VMA_LOCK_RELEASED = int(Kind.VMA_LOCK_RELEASED)
_VMA_LOCK_WRITE = int(Kind.VMA_LOCK_WRITE)
_VMA_REMOVE = int(Kind.VMA_REMOVE)

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
class Contention:
    """The waits for one lock."""

    waits: Histogram = field(default_factory=Histogram)
    holders: dict[tuple[int, str], list[int]] = field(default_factory=dict)  # (tid, call) -> [waits, ns]
    waiters: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    recent: deque[Wait] = field(default_factory=lambda: deque(maxlen=RECENT))

    def copy(self) -> Contention:
        """One of the same counts."""
        return Contention(
            self.waits.copy(),
            {key: list(value) for key, value in self.holders.items()},
            {key: list(value) for key, value in self.waiters.items()},
            self.recent.copy(),
        )


_NO_CONTENTION = Contention()


@dataclass(slots=True)
class Lock:
    """One lock."""

    key: LockKey
    pid: int = 0  # the process that took it last: that of an mm is locked by its parent before it runs
    taken: int = 0  # grows with the trace: when that was
    reads: int = 0
    writes: int = 0
    failed: int = 0  # trylocks that did not get it
    holds: int = 0
    held: int = 0  # ns in all
    longest_hold: int = 0
    longest_holder: int = 0  # tid
    longest_call: str = ""
    contention: Contention | None = None  # None as long as nobody has waited

    @property
    def acquired(self) -> int:
        return self.reads + self.writes

    @property
    def contended(self) -> Contention:
        """The waits, none where there were none; to be read only."""
        return self.contention or _NO_CONTENTION

    @property
    def waits(self) -> Histogram:
        return self.contended.waits

    def copy(self) -> Lock:
        """One of the same counts."""
        contention = self.contention.copy() if self.contention is not None else None
        return Lock(self.key, self.pid, self.taken, self.reads, self.writes, self.failed, self.holds, self.held,
                    self.longest_hold, self.longest_holder, self.longest_call, contention)  # fmt: skip


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

    def copy(self) -> Vma:
        """Another of the same values."""
        return Vma(self.id, self.pid, self.start, self.size, self.flags, self.name, self.since, self.removed)


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

    def copy(self) -> Task:
        """Another of the same values."""
        return Task(self.tid, self.pid, self.cpu, self.state, self.call, self.waits, self.waited, self.waiting)


class Model:
    """The state after `events` events. Times are virtual ns; `now` is the latest time seen."""

    def __init__(self) -> None:
        self.events = 0
        self.now = 0
        self.bin_ns = FIRST_BIN_NS
        self.faults: dict[FaultKey, list[int]] = {}  # count, ns waited, ns until served
        self.bins: dict[BinKey, dict[int, int]] = {}  # faults in each `bin_ns` of virtual time
        self.history: dict[tuple[int, int, int], list[int]] = {}  # the same by kind, served and path
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
        new.history = {key: list(value) for key, value in self.history.items()}
        new.locks = {key: lock.copy() for key, lock in self.locks.items()}
        new.vmas = {key: vma.copy() for key, vma in self.vmas.items()}
        new._begun = dict(self._begun)
        new._spaces = {key: list(value) for key, value in self._spaces.items()}
        new.tasks = {key: task.copy() for key, task in self.tasks.items()}
        new.cpus = dict(self.cpus)
        new.refused = dict(self.refused)
        return new

    # Counting

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next events of the trace."""
        if not batch.num_rows:
            return
        columns = Columns(batch)
        self.events += columns.count
        self.now = max(self.now, int(columns["time"].max()))
        self._widen()
        classes = _CLASSES[columns["kind"]]
        waited = (columns["wait"] > 0) & (classes & _LOCK != 0)
        calls = _Calls(self, columns, np.flatnonzero(classes == _CALL))
        found = np.flatnonzero(classes == _FAULT)
        if len(found):
            self._count_faults(columns, found)
        for of_vma in (False, True):
            found = np.flatnonzero(classes == (_LOCK | _OF_VMA if of_vma else _LOCK))
            if len(found):
                self._count_locks(columns, found, of_vma, calls)
        self._follow_cpus(columns)
        found = np.flatnonzero(classes == _VMA)
        if len(found):
            self._follow_vmas(columns, found)
        found = np.flatnonzero((classes == _STATE) | waited)
        if len(found):
            self._follow_states(columns, found, calls)
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
            for history in self.history.values():
                history[:] = [*map(sum, zip(history[::2], history[1::2])), *_NO_HISTORY[BINS // 2 :]]

    def _count_faults(self, columns: Columns, rows: Array) -> None:
        names = ("kind", "served", "path", "reason", "tid", "pid", "vma")
        keys = [columns[name][rows] for name in names]
        keys.append(np.maximum(columns["time"][rows], 0) // self.bin_ns)
        groups = Groups(keys)
        sums = [groups.sums(columns[name][rows]).tolist() for name in ("wait", "duration")]
        for kind, served, path, reason, tid, pid, vma, at, count, wait, duration in zip(
            *groups.lists(keys), groups.counts.tolist(), *sums
        ):
            entry = self.faults.get((kind, served, path, reason, tid, vma))
            if entry is None:
                entry = self.faults[kind, served, path, reason, tid, vma] = [0, 0, 0]
            entry[0] += count
            entry[1] += wait
            entry[2] += duration
            bins = self.bins.setdefault((kind, served, path, tid, vma), {})
            bins[at] = bins.get(at, 0) + count
            history = self.history.get((kind, served, path))
            if history is None:
                history = self.history[kind, served, path] = list(_NO_HISTORY)
            history[at] += count
            if tid not in self.tasks:
                self.task(tid, pid)
        names = ("time", "tid", "address", "vma", "served", "path", "reason")
        time, tid, address, vma, served, path, reason = (int(columns[name][rows[-1]]) for name in names)
        self.last_fault = time, tid, address, vma, served, path, reason

    def _count_locks(self, columns: Columns, rows: Array, of_vma: bool, calls: _Calls) -> None:
        name, number_of = ("vma_lock", "vma") if of_vma else ("mmap_lock", "address")
        kind = columns["kind"][rows]
        keys = [kind, *(columns[name][rows] for name in ("code", "result", "reason", number_of, "pid"))]
        groups = Groups(keys)
        held = np.flatnonzero((kind == _MMAP_LOCK_RELEASED) | (kind == _VMA_LOCK_RELEASED))
        for code, write, result, reason, number, pid, count, last in zip(
            *groups.lists(keys), groups.counts.tolist(), (groups.last + self.events).tolist()
        ):
            lock = self.lock((name, number), pid)
            if last > lock.taken:
                lock.taken, lock.pid = last, pid
            if code in (_MMAP_LOCK_RELEASED, _VMA_LOCK_RELEASED):
                lock.holds += count
            elif code == _VMA_LOCK_READ_FAILED:
                lock.failed += count
                self.refused[reason] = self.refused.get(reason, 0) + count
            elif code == _MMAP_LOCK_ACQUIRE_RETURNED and not result:
                lock.failed += count
            elif code == _VMA_LOCK_WRITE or (code == _MMAP_LOCK_ACQUIRE_RETURNED and write):
                lock.writes += count
            else:
                lock.reads += count
        if len(held):
            self._count_holds(columns, rows[held], name, number_of, calls)

    def _count_holds(self, columns: Columns, rows: Array, name: str, number_of: str, calls: _Calls) -> None:
        """How long locks were held that were given back."""
        numbers, durations = columns[number_of][rows], columns["duration"][rows]
        groups = Groups([numbers])
        longest, first = groups.highest(durations)
        for number, held, duration, at in zip(
            *groups.lists([numbers]), groups.sums(durations).tolist(), longest.tolist(), rows[first].tolist()
        ):
            lock = self.locks[name, number]
            lock.held += held
            if duration > lock.longest_hold:
                tid = int(columns["tid"][at])
                lock.longest_hold, lock.longest_holder = duration, tid
                lock.longest_call = calls.of(tid, at) or columns.string(int(columns["text"][at]))

    def _waited(
        self, key: LockKey, pid: int, row: int, time: int, tid: int, write: bool, holder: int, wait: int, calls: _Calls
    ) -> None:
        lock = self.lock(key, pid)
        if lock.contention is None:
            lock.contention = Contention()
        found = lock.contention
        found.waits.add(wait)
        call = calls.of(tid, row)
        begun, holder_call = self._begun.pop(tid, (0, ""))
        if begun != holder:  # another one had it in the end
            holder_call = calls.of(holder, row)
        for entry in (
            found.waiters.setdefault((tid, call), [0, 0]),
            found.holders.setdefault((holder, holder_call), [0, 0]),
        ):
            entry[0] += 1
            entry[1] += wait
        found.recent.append(Wait(time, tid, call, write, holder, holder_call, wait))
        task = self.task(tid, pid)
        task.waits += 1
        task.waited += wait

    def _follow_cpus(self, columns: Columns) -> None:
        last = Groups([columns["cpu"]]).last
        for cpu, tid, pid, kind, code in zip(*columns.lists(("cpu", "tid", "pid", "kind", "code"), last)):
            switched = kind == _SCHED_SWITCH
            ended = kind == _EXIT
            self.cpus[cpu] = code if switched else 0 if ended else tid
            if not switched and tid:
                self.task(tid, pid).cpu = cpu

    def _follow_states(self, columns: Columns, rows: Array, calls: _Calls) -> None:
        names = ("kind", "time", "pid", "tid", "cpu", "address", "code", "size", "flags", "vma", "wait", "holder",
                 "result", "text")  # fmt: skip
        for kind, time, pid, tid, cpu, address, code, size, flags, vma, wait, holder, result, text, row in zip(
            *columns.lists(names, rows), rows.tolist()
        ):
            if kind == _CONTENTION_BEGIN:
                task = self.task(tid, pid)
                task.state = "D"
                self._begun[tid] = holder, calls.of(holder, row)
                key = self._lock_key(columns.string(text), address, vma)
                task.waiting = key, bool(code & 1 or flags & LCB_F_WRITE), holder, time
            elif kind == _CONTENTION_END:
                task = self.task(tid, pid)
                waiting, task.waiting = task.waiting, None
                task.state = "R"
                key = self._lock_key(columns.string(text), address, vma)
                if key[0] not in ("mmap_lock", "vma_lock"):  # those tell of their waits when they are taken
                    lock = self.lock(key, pid)
                    lock.writes += 1
                    if wait:
                        write = bool(code & 1) or (waiting is not None and waiting[1])
                        holder = holder or (waiting[2] if waiting is not None else 0)
                        self._waited(key, pid, row, time, tid, write, holder, wait, calls)
            elif kind == _SCHED_SWITCH:
                if tid:
                    task = self.task(tid, pid)
                    if task.state != "D" or result == 2:
                        task.state = "RSX"[result] if 0 <= result <= 2 else "R"
                if code:
                    task = self.task(code, 0)
                    task.cpu = cpu
                    if task.waiting is None:
                        task.state = "R"
            elif kind == _SCHED_WAKEUP:
                task = self.task(code, 0)
                if task.state == "S":
                    task.state = "R"
            elif kind == _SCHED_PROCESS_FORK:
                self.task(code, size)
            elif kind == _EXIT:
                task = self.task(tid, pid)
                task.state, task.waiting = "X", None
            elif kind == _EXEC:
                self.program = columns.string(text) or self.program
            else:  # a lock that was waited for
                of_vma = kind in _VMA_LOCKS
                write = bool(code) or kind == _VMA_LOCK_WRITE
                key = ("vma_lock", vma) if of_vma else ("mmap_lock", address)
                self._waited(key, pid, row, time, tid, write, holder, wait, calls)

    @staticmethod
    def _lock_key(text: str | None, address: int, vma: int) -> LockKey:
        name = text or "lock"
        return (name, vma) if name == "vma_lock" else (name, address)

    def _follow_vmas(self, columns: Columns, rows: Array) -> None:
        names = ("kind", "time", "pid", "address", "size", "flags", "vma", "text")
        for kind, time, pid, start, size, flags, number, text in zip(*columns.lists(names, rows)):
            vma = self.vmas.get(number)
            if kind == _VMA_REMOVE:
                if vma is not None:
                    self._take_out(vma)
                    vma.removed = time or 1
                continue
            if vma is None:
                vma = self.vmas[number] = Vma(number, pid, start, size, flags, "", time)
            else:
                self._take_out(vma)
            vma.start, vma.size, vma.flags, vma.name, vma.removed = start, size, flags, columns.string(text), 0
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
    """Which system call a thread is in, at any row of the batch that is being fed. `rows`: those of SYS_ENTER and
    SYS_EXIT."""

    def __init__(self, model: Model, columns: Columns, rows: Array) -> None:
        self._model = model
        self._columns = columns
        self._rows = rows
        self._sorted: list[int] = []  # rows, those of a thread together
        self._texts: list[str] = []  # the call that the thread is in behind each of them
        self._places: dict[int, tuple[int, int]] | None = None  # where those of a thread are, the first and behind

    def _names(self, rows: Array) -> list[str]:
        string = self._columns.string
        kinds, texts = self._columns.lists(("kind", "text"), rows)
        return [string(text) if kind == _SYS_ENTER else "" for kind, text in zip(kinds, texts)]

    def _sort(self) -> dict[int, tuple[int, int]]:
        if not len(self._rows):
            return {}
        tids = self._columns["tid"][self._rows]
        order = np.argsort(tids, kind="stable")
        rows = self._rows[order]
        self._sorted, self._texts = rows.tolist(), self._names(rows)
        tids = tids[order]
        begins = np.flatnonzero(np.diff(tids, prepend=tids[0] - 1)).tolist()
        return dict(zip(tids[begins].tolist(), zip(begins, [*begins[1:], len(tids)])))

    def of(self, tid: int, row: int) -> str:
        """The call that `tid` is in at `row`; "" when in none."""
        if self._places is None:
            self._places = self._sort()
        first, behind = self._places.get(tid, (0, 0))
        at = bisect_left(self._sorted, row, first, behind)
        if at > first:
            return self._texts[at - 1]
        task = self._model.tasks.get(tid)
        return task.call if task is not None else ""

    def finish(self) -> None:
        """Note the call that each thread is in at the end of the batch."""
        if not len(self._rows):
            return
        last = self._rows[Groups([self._columns["tid"][self._rows]]).last]
        for tid, pid, name in zip(*self._columns.lists(("tid", "pid"), last), self._names(last)):
            self._model.task(tid, pid).call = name
