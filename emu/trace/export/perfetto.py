# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace for Perfetto: a stream of TracePacket messages (protos/perfetto/trace/trace_packet.proto and what it names).

Every thread has a track, with system calls, faults and waits for locks as slices and the rest as instants; below it
one track shows how long it held mmap_lock and one for VMA locks. From the release of a lock a flow leads to the waiter
that got it. CPUs are shown by sched_switch events, as from a kernel; where the trace has none for a CPU, by tasks of
its events. Counters: faults by path, bytes mapped by each process, tasks that wait for locks. Times are virtual ns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from emu.trace.escape import printable
from emu.trace.export.names import Comms, lock_address
from emu.trace.export.output import Output
from emu.trace.export.protobuf import SHORT, fixed64, nested, number, string, tag, varint
from emu.trace.export.source import Source
from emu.trace.images import TraceSymbols
from emu.tracepoint import Kind, Path, Reason, Row, Served

# Field numbers.
_PACKET = 1  # Trace
_FTRACE, _TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS, _DESCRIPTOR = 1, 8, 10, 11, 12, 13, 60  # TracePacket
_ANNOTATION, _TYPE, _NAME_IID, _TRACK, _CATEGORY, _VALUE, _FLOW, _FLOW_END = 4, 9, 10, 11, 22, 30, 47, 48  # TrackEvent
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4  # TrackEvent.Type
_A_NAME_IID, _A_UINT, _A_INT, _A_STRING, _A_POINTER = 1, 3, 4, 6, 7  # DebugAnnotation
_UUID, _NAME, _PROCESS, _THREAD, _PARENT, _COUNTER_OF, _MERGE = 1, 2, 3, 4, 5, 8, 15  # TrackDescriptor
_EVENT_NAMES, _ANNOTATION_NAMES = 2, 3  # InternedData
_CLEARED, _NEEDED = 1, 2  # TracePacket.SequenceFlags
_COUNT, _BYTES = 2, 3  # CounterDescriptor.Unit
_SEQUENCE_ID = 1
_PRIO = 120
_TAIL = number(_SEQUENCE, _SEQUENCE_ID) + number(_FLAGS, _NEEDED)  # of every packet but the first
_FRAME_SIZE = len(_TAIL) + 1  # of a packet beside the time and the event
_LARGE = 0x3F00  # bytes of an event from which on the length of its packet is worked out with care
_TAG_PACKET, _TAG_TIME, _TAG_EVENT = tag(_PACKET, 2), tag(_TIMESTAMP, 0), tag(_TRACK_EVENT, 2)
_TAG_ANNOTATION, _TAG_COUNT = tag(_ANNOTATION, 2), tag(_VALUE, 0)
_CACHED = 1 << 16  # encoded parts that are kept, of each kind
_HELD = 1 << 14  # parts of packets that are written at once
_TASK_DEAD = 0x10  # what sched_switch shows as X
_HEX = frozenset(("address", "ip", "error_code", "flags", "start", "pte", "new_pte", "clone_flags", "entry"))
_FAULTS = (int(Kind.PAGE_FAULT_USER), int(Kind.PAGE_FAULT_KERNEL))
_CALLS = (int(Kind.SYS_ENTER), int(Kind.SYS_EXIT))
_CONTENTION = (int(Kind.CONTENTION_BEGIN), int(Kind.CONTENTION_END))
_SCHED = (int(Kind.SCHED_SWITCH), int(Kind.SCHED_WAKEUP))
_SWITCH, _USER = int(Kind.SCHED_SWITCH), int(Kind.PAGE_FAULT_USER)
_VMA_LOCK_READ, _MMAP_ACQUIRED = int(Kind.VMA_LOCK_READ), int(Kind.MMAP_LOCK_ACQUIRE_RETURNED)
_RELEASED = (int(Kind.MMAP_LOCK_RELEASED), int(Kind.VMA_LOCK_RELEASED))
_KIND_NAMES = {int(kind): kind.name.lower() for kind in Kind}
_ENDS_CALL = (int(Kind.SYS_ENTER), int(Kind.PAGE_FAULT_USER), int(Kind.EXIT))

_FAULT_NAMES = [
    {int(served): f"{name}: {served.name.lower()}" for served in Served}
    for name in ("page_fault_kernel", "page_fault_user")
]
_PATH_NAMES = {int(path): f"faults: {path.name.lower()}" for path in Path}


class _Mapped:
    """The VMAs of one process, from the events that change them."""

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[int, int]] = {}
        self.bytes = 0

    def update(self, kind: int, vma: int, start: int, size: int) -> None:
        end = start + size
        if kind in (Kind.VMA_MERGE, Kind.VMA_REMOVE):
            old = self._ranges.pop(vma, (0, 0))
            self.bytes -= old[1] - old[0]
            return
        if kind == Kind.VMA_SPLIT:  # the VMA of which this was a part keeps the rest
            for other, (first, last) in self._ranges.items():
                if first <= start and end <= last:
                    self._ranges[other] = (end, last) if first == start else (first, start)
                    self.bytes -= size
                    break
        old = self._ranges.get(vma, (0, 0))
        self._ranges[vma] = start, end
        self.bytes += size - (old[1] - old[0])


class PerfettoWriter:
    """Turns rows, which come in the order of time, into packets for `write`."""

    def __init__(self, write: Callable[[bytes], None], comm: str, symbols: TraceSymbols) -> None:
        self._write = write
        self._out: list[bytes] = []  # packets to be written
        self._symbols = symbols
        self._comms = Comms(comm)
        self._iids: dict[tuple[int, str], int] = {}
        self._fresh: dict[int, list[bytes]] = {}  # interned strings that the next packet must bring
        self._first = True
        self._tracks: dict[tuple[str, object], int] = {}
        self._locations: dict[tuple[int, int, bool], str] = {}  # by program, address
        # Encoded parts that come again and again: an annotation of a word, how that of a number begins, and an event,
        # what faults of one place have in common.
        self._words: dict[tuple[str, int | str], bytes] = {}
        self._numbers: dict[str, bytes] = {}
        self._heads: dict[tuple[int, int, str, str], bytes] = {}
        self._common: dict[tuple[object, ...], bytes] = {}
        self._ends: dict[int, bytes] = {}  # by track: how a packet goes on that ends a slice
        self._open_calls: dict[int, int] = defaultdict(int)  # by tid
        self._waits: dict[int, int] = defaultdict(int)  # by tid
        self._held: dict[tuple[int, str, int], bool] = {}  # by tid, kind of lock, lock
        self._fault_end: dict[int, int] = defaultdict(int)  # by tid
        self._vma_lock: dict[int, tuple[tuple[int, str, int], int, int]] = {}  # by tid: the one of its fault
        self._released: dict[int, tuple[int, int, int]] = {}  # by lock: pid, tid, time of the last release
        self._counts: dict[int, int] = defaultdict(int)  # faults by path
        self._waiting = 0
        self._mapped: dict[int, _Mapped] = defaultdict(_Mapped)
        self._running: dict[int, int] = {}  # by CPU
        self._flows = 0
        self._handlers: dict[int, Callable[[Row], None]] = {
            **dict.fromkeys(_FAULTS, self._fault),
            **dict.fromkeys(_CALLS, self._syscall),
            **dict.fromkeys(_CONTENTION, self._contention),
            **dict.fromkeys(range(Kind.MMAP_LOCK_START_LOCKING, Kind.VMA_LOCK_WRITE + 1), self._lock),
            **dict.fromkeys(range(Kind.VMA_CREATE, Kind.VMA_REMOVE + 1), self._vma),
            **dict.fromkeys(_SCHED, self._sched),
        }
        self._last = 0
        self._ftrace: dict[int, list[bytes]] = defaultdict(list)  # by CPU

    # Packets

    def _packet(self, body: bytes) -> None:
        tail = _TAIL
        if self._fresh:
            body += nested(_INTERNED, b"".join(part for parts in self._fresh.values() for part in parts))
            self._fresh = {}
        if self._first:
            self._first = False
            tail = number(_SEQUENCE, _SEQUENCE_ID) + number(_FLAGS, _NEEDED | _CLEARED)
        self._out.append(_TAG_PACKET + varint(len(body) + len(tail)) + body + tail)

    def _event(self, time: int, event: bytes) -> None:
        """A packet with a track event."""
        size = len(event)
        rest = _TAG_EVENT + (SHORT[size] if size < 0x4000 else varint(size)) + event
        if self._fresh or self._first or size > _LARGE:
            self._packet(_TAG_TIME + varint(time) + rest)
        else:
            stamp = varint(time)
            self._out += _TAG_PACKET, SHORT[len(stamp) + len(rest) + _FRAME_SIZE], _TAG_TIME, stamp, rest, _TAIL

    def _end(self, time: int, track: int) -> None:
        """The end of a slice, without annotations."""
        if self._fresh or self._first:
            self._event(time, self._head(_END, track, "", ""))
            return
        rest = self._ends.get(track)
        if rest is None:
            event = self._head(_END, track, "", "")
            rest = self._ends[track] = _TAG_EVENT + varint(len(event)) + event + _TAIL
        stamp = varint(time)
        self._out += _TAG_PACKET, SHORT[len(stamp) + len(rest) + 1], _TAG_TIME, stamp, rest

    def _intern(self, table: int, text: str) -> int:
        iid = self._iids.get((table, text))
        if iid is None:
            iid = self._iids[table, text] = len(self._iids) + 1
            self._fresh.setdefault(table, []).append(nested(table, number(1, iid) + string(2, printable(text))))
        return iid

    def _annotation(self, name: str, value: int | str) -> bytes:
        """One that may well come again."""
        known = self._words.get((name, value))
        if known is None:
            if isinstance(value, str):
                iid = number(_A_NAME_IID, self._intern(_ANNOTATION_NAMES, name))
                known = nested(_ANNOTATION, iid + string(_A_STRING, printable(value)))
            else:
                known = self._number(name, value)
            if len(self._words) >= _CACHED:
                self._words.clear()
            self._words[name, value] = known
        return known

    def _number(self, name: str, value: int) -> bytes:
        """An annotation with a number that is likely not to come again."""
        if value < 0:
            iid = number(_A_NAME_IID, self._intern(_ANNOTATION_NAMES, name))
            return nested(_ANNOTATION, iid + number(_A_POINTER if name in _HEX else _A_INT, value))
        head = self._numbers.get(name)
        if head is None:
            head = number(_A_NAME_IID, self._intern(_ANNOTATION_NAMES, name))
            head = self._numbers[name] = head + tag(_A_POINTER if name in _HEX else _A_UINT, 0)
        data = head + (SHORT[value] if value < 0x4000 else varint(value))
        return _TAG_ANNOTATION + SHORT[len(data)] + data

    def _args(self, **args: int | str) -> bytes:
        """Annotations that come together, and may well come again."""
        key = tuple(args.items())
        known = self._common.get(key)
        if known is None:
            known = b"".join([self._annotation(name, value) for name, value in key])
            self._remember(key, known)
        return known

    def _remember(self, key: tuple[object, ...], known: bytes) -> None:
        if len(self._common) >= _CACHED:
            self._common.clear()
        self._common[key] = known

    def _head(self, kind: int, track: int, name: str, category: str) -> bytes:
        """How a track event begins."""
        known = self._heads.get((kind, track, name, category))
        if known is None:
            known = number(_TYPE, kind) + number(_TRACK, track)
            if name:
                known += number(_NAME_IID, self._intern(_EVENT_NAMES, name))
            if category:
                known += string(_CATEGORY, category)
            if len(self._heads) >= _CACHED:
                self._heads.clear()
            self._heads[kind, track, name, category] = known
        return known

    def _put(self, time: int, kind: int, track: int, name: str = "", category: str = "", **args: int | str) -> None:
        """A track event with annotations."""
        annotations = self._args(**args) if args else b""
        self._event(time, self._head(kind, track, name, category) + annotations)

    def _count(self, time: int, track: int, value: int) -> None:
        self._event(time, self._head(_COUNTER, track, "", "") + _TAG_COUNT + varint(value))

    # Tracks

    def _declare(self, key: tuple[str, object], body: bytes) -> int:
        uuid = self._tracks[key] = len(self._tracks) + 1
        self._packet(nested(_DESCRIPTOR, number(_UUID, uuid) + body))
        return uuid

    def _process(self, pid: int) -> int:
        known = self._tracks.get(("process", pid))
        if known is not None:
            return known
        name = self._comms.of(pid)
        return self._declare(("process", pid), nested(_PROCESS, number(1, pid) + string(6, name)))

    def _thread(self, pid: int, tid: int) -> int:
        known = self._tracks.get(("thread", tid))
        if known is not None:
            return known
        self._process(pid)
        body = number(1, pid) + number(2, tid) + string(5, self._comms.of(tid))
        return self._declare(("thread", tid), nested(_THREAD, body))

    def _rename(self, pid: int, tid: int) -> None:
        """A program was loaded: the same tracks, with its name."""
        name = self._comms.of(tid)
        process = number(_UUID, self._process(pid)) + nested(_PROCESS, number(1, pid) + string(6, name))
        thread = number(_UUID, self._thread(pid, tid)) + nested(
            _THREAD, number(1, pid) + number(2, tid) + string(5, name)
        )
        self._packet(nested(_DESCRIPTOR, process))
        self._packet(nested(_DESCRIPTOR, thread))

    def _holds(self, pid: int, tid: int, what: str) -> int:
        known = self._tracks.get((what, tid))
        if known is not None:
            return known
        parent = self._thread(pid, tid)
        return self._declare((what, tid), number(_PARENT, parent) + string(_NAME, f"{what} held"))

    def _counter(self, name: str, unit: int, parent: int = 0) -> int:
        known = self._tracks.get((name, parent))
        if known is not None:
            return known
        body = string(_NAME, name) + nested(_COUNTER_OF, number(3, unit))
        return self._declare((name, parent), body + (number(_PARENT, parent) if parent else b""))

    # Events

    def add(self, row: Row) -> None:
        """Add an event."""
        time, cpu, _, tid, kind = row[:5]
        fault = kind in _FAULTS
        last = time + row[19] if fault else time
        if last > self._last:
            self._last = last
        if kind != _SWITCH and self._running.get(cpu, 0) != tid:
            self._runs(time, cpu, tid, 0)
        if tid in self._vma_lock and (fault or time > self._fault_end[tid]):
            self._end_vma_lock(tid)
        if kind in _ENDS_CALL and self._open_calls[tid]:
            # A call that has no result: rt_sigreturn, exit.
            self._open_calls[tid] = 0
            self._end(time, self._thread(row[2], tid))
        self._handlers.get(kind, self._other)(row)
        if len(self._out) >= _HELD:
            self._flush()

    def _flush(self) -> None:
        self._write(b"".join(self._out))
        self._out.clear()

    def finish(self) -> None:
        """After the last event: the CPUs go idle, and what is held back is written."""
        for tid in list(self._vma_lock):
            self._end_vma_lock(tid)
        for cpu in list(self._running):
            self._runs(self._last, cpu, 0, 0)
        for cpu in list(self._ftrace):
            self._flush_ftrace(cpu)
        self._flush()

    def _end_vma_lock(self, tid: int) -> None:
        """A fault holds its VMA lock to its end; the trace need not tell the release."""
        key, track, begun = self._vma_lock.pop(tid)
        self._held.pop(key, None)
        self._end(max(begun, self._fault_end[tid]), track)

    def _where(self, image: int, ip: int, is_return: bool = False) -> str:
        """function+0x12. A return address belongs to the call before it."""
        known = self._locations.get((image, ip, is_return))
        if known is None:
            found = self._symbols.lookup(image, ip - is_return)
            known = hex(ip) if found is None else f"{printable(found[0])}+{found[1] + is_return:#x}"
            self._locations[image, ip, is_return] = known
        return known

    def _fault(self, row: Row) -> None:
        time, _, pid, tid, kind, address = row[:6]
        path, wait, args, duration = row[11], row[14], row[18], row[19]
        track = self._tracks.get(("thread", tid)) or self._thread(pid, tid)
        end = time + duration
        name = _FAULT_NAMES[kind == _USER][row[13]]
        number_of = self._number
        # The parts are made in the order in which their names are to get numbers.
        parts = [
            number_of("address", address), self._in_common(row), self._annotation("wait", wait),
            self._annotation("duration", duration),
        ]  # fmt: skip
        if args and len(args) > 1:
            parts += number_of("pte", args[0]), number_of("new_pte", args[1])
            if len(args) > 2:
                parts.append(self._annotation("user_regs", ",".join(f"{value:x}" for value in args[2:])))
        self._event(time, b"".join((self._head(_BEGIN, track, name, "fault"), *parts)))
        self._end(end, track)
        self._fault_end[tid] = end
        count = self._counts[path] = self._counts[path] + 1
        self._count(time, self._counter(_PATH_NAMES[path], _COUNT), count)

    def _in_common(self, row: Row) -> bytes:
        """The annotations that many faults share: of the instruction, and of how it was served."""
        ip, code, flags, vma, path, reason, served, _, holder, result, function = row[6:8] + row[9:18]
        image = self._symbols.image(row[2])
        key = image, ip, code, flags, vma, path, reason, served, holder, result, function, row[20]
        known = self._common.get(key)
        if known is not None:
            return known
        args: dict[str, int | str] = {}
        if ip:
            args |= {"ip": ip, "symbol": self._where(image, ip)}
        if function:
            args["function"] = function
        args |= {
            "error_code": code, "path": Path(path).name.lower(), "served": Served(served).name.lower(),
            "reason": Reason(reason).name.lower(), "vma": vma, "flags": flags, "result": result, "holder": holder,
        }  # fmt: skip
        if row[20]:
            args["stack"] = self._stack(image, row[20])
        known = b"".join([self._annotation(name, value) for name, value in args.items()])
        self._remember(key, known)
        return known

    def _stack(self, image: int, stack: tuple[int, ...]) -> str:
        """A call stack, innermost first."""
        return " < ".join(self._where(image, at, index > 0) for index, at in enumerate(stack))

    def _syscall(self, row: Row) -> None:
        time, _, pid, tid, kind, _, ip, code = row[:8]
        track = self._thread(pid, tid)
        if kind == _CALLS[0]:
            shown = ", ".join(f"{value:#x}" for value in row[18] or ())
            self._open_calls[tid] += 1
            self._put(time, _BEGIN, track, f"sys_{row[17] or code}", "syscall", nr=code, args=shown, ip=ip)
        elif self._open_calls[tid]:
            self._open_calls[tid] -= 1
            self._put(time, _END, track, "", "", result=row[16])
        else:
            self._put(time, _INSTANT, track, f"sys_exit {row[17] or code}", "syscall", nr=code, result=row[16])

    def _contention(self, row: Row) -> None:
        time, _, pid, tid, kind = row[:5]
        track = self._thread(pid, tid)
        lock = lock_address(row)
        if kind == _CONTENTION[0]:
            self._waits[tid] += 1
            self._waiting += 1
            args: dict[str, int | str] = {"lock": lock, "holder": row[15], "flags": row[9], "write": row[7]}
            if row[20]:
                args["stack"] = self._stack(self._symbols.image(pid), row[20])
            self._put(time, _BEGIN, track, f"wait for {row[17] or 'lock'}", "lock", **args)
        elif self._waits[tid]:
            self._waits[tid] -= 1
            self._waiting -= 1
            self._put(time, _END, track, "", "", wait=row[14], result=row[16], holder=row[15])
            if row[16] == 0:
                self._flow(row, lock, track)
        else:
            self._put(time, _INSTANT, track, "contention_end", "lock", lock=lock, wait=row[14], result=row[16])
        self._count(time, self._counter("lock waiters", _COUNT), self._waiting)

    def _flow(self, row: Row, lock: int, track: int) -> None:
        """An arrow from the last release of the lock to the waiter that has it now."""
        released = self._released.get(lock)
        if released is None or released[1] == row[3]:
            return
        self._flows += 1
        pid, tid, time = released
        name = row[17] or "lock"
        for when, on, text, field in (
            (time, self._thread(pid, tid), f"release {name}", _FLOW),
            (row[0], track, f"acquire {name}", _FLOW_END),
        ):
            event = number(_TYPE, _INSTANT) + number(_TRACK, on) + string(_CATEGORY, "lock")
            event += number(_NAME_IID, self._intern(_EVENT_NAMES, text)) + fixed64(field, self._flows)
            event += self._annotation("to" if field == _FLOW else "from", row[3] if field == _FLOW else tid)
            self._event(when, event)

    def _lock(self, row: Row) -> None:
        time, _, pid, tid, kind, _, _, write = row[:8]
        vma_lock = kind >= _VMA_LOCK_READ
        lock = lock_address(row)
        what = "VMA lock" if vma_lock else "mmap_lock"
        key = tid, what, lock
        if kind == _VMA_LOCK_READ or (kind == _MMAP_ACQUIRED and row[16]):
            track = self._tracks.get((what, tid)) or self._holds(pid, tid, what)
            if self._held.get(key):  # a downgrade
                self._end(time, track)
                self._released[lock] = pid, tid, time
            self._held[key] = True
            if vma_lock:
                self._vma_lock[tid] = key, track, time
            name = f"{what} {'write' if write and not vma_lock else 'read'}"
            annotations = self._of_lock(row, vma_lock, False)
            self._event(time, self._head(_BEGIN, track, name, "lock") + annotations)
        elif kind in _RELEASED:
            self._released[lock] = pid, tid, time
            if vma_lock:
                self._vma_lock.pop(tid, None)
            if self._held.pop(key, False):
                self._put(time, _END, self._holds(pid, tid, what), "", "", held=row[19])
            else:
                self._lock_instant(row, vma_lock, False)
        else:
            self._lock_instant(row, vma_lock, True)

    def _of_lock(self, row: Row, vma_lock: bool, more: bool) -> bytes:
        """The annotations of an event of a lock; `more`: why and how it was tried as well."""
        key = vma_lock, more, row[10], row[5], row[14], row[15], row[12], row[7]
        known = self._common.get(key)
        if known is None:
            args: dict[str, int | str] = {"vma": row[10], "start": row[5]} if vma_lock else {"mm": row[5]}
            if row[14] or row[15]:
                args |= {"wait": row[14], "holder": row[15]}
            if more and row[12]:
                args["reason"] = Reason(row[12]).name.lower()
            if more and not vma_lock:
                args["write"] = row[7]
            known = b"".join([self._annotation(name, value) for name, value in args.items()])
            self._remember(key, known)
        return known

    def _lock_instant(self, row: Row, vma_lock: bool, more: bool) -> None:
        track = self._tracks.get(("thread", row[3])) or self._thread(row[2], row[3])
        annotations = self._of_lock(row, vma_lock, more)
        self._event(row[0], self._head(_INSTANT, track, _KIND_NAMES[row[4]], "lock") + annotations)

    def _vma(self, row: Row) -> None:
        time, _, pid, tid, kind, start, _, _, size, flags, vma = row[:11]
        args: dict[str, int | str] = {"vma": vma, "start": start, "size": size, "flags": flags}
        if row[17]:
            args["mapping"] = row[17]
        self._put(time, _INSTANT, self._thread(pid, tid), _KIND_NAMES[kind], "vma", **args)
        mapped = self._mapped[pid]
        mapped.update(kind, vma, start, size)
        self._count(time, self._counter("mapped bytes", _BYTES, self._process(pid)), mapped.bytes)

    def _other(self, row: Row) -> None:
        time, _, pid, tid, kind, address, ip, code = row[:8]
        args: dict[str, int | str] = {}
        if kind in (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER):
            args = {"sig": code, "code": row[16], "address": (row[18] or (0,))[0], "ip": ip}
        elif kind == Kind.EXEC:
            self._comms.follow(row)
            self._symbols.follow(row)
            self._rename(pid, tid)
            args = {"filename": row[17] or "", "entry": ip, "load_bias": address}
        elif kind == Kind.EXIT:
            args = {"status": row[16]}
        elif kind == Kind.SCHED_PROCESS_FORK:
            self._comms.follow(row)
            self._symbols.follow(row)
            self._thread(row[8] or code, code)
            args = {"child_tid": code, "child_pid": row[8], "clone_flags": row[9]}
        elif kind == Kind.TLB_FLUSH:
            args = {"pages": row[8]}
        elif row[17]:
            args = {"text": row[17]}
        self._put(time, _INSTANT, self._thread(pid, tid), _KIND_NAMES[kind], "task", **args)

    # Scheduling

    def _sched(self, row: Row) -> None:
        time, cpu, _, tid, kind, _, _, code = row[:8]
        if kind == _SWITCH:
            self._runs(time, cpu, tid, 0)
            self._runs(time, cpu, code, (0, 1, _TASK_DEAD)[row[16] % 3])
            return
        wakeup = string(1, self._comms.of(code)) + number(2, code) + number(3, _PRIO) + number(4, 1)
        self._ftrace_event(cpu, time, tid, 17, wakeup + number(5, row[8]))

    def _runs(self, time: int, cpu: int, tid: int, state: int) -> None:
        """From now on a CPU runs this task (0: none); the one before left in `state`."""
        before = self._running.get(cpu, 0)
        if before == tid:
            return
        self._running[cpu] = tid
        switch = string(1, self._comm_on(cpu, before)) + number(2, before) + number(3, _PRIO) + number(4, state)
        switch += string(5, self._comm_on(cpu, tid)) + number(6, tid) + number(7, _PRIO)
        self._ftrace_event(cpu, time, before, 4, switch)

    def _comm_on(self, cpu: int, tid: int) -> str:
        return self._comms.of(tid) if tid else f"swapper/{cpu}"

    def _ftrace_event(self, cpu: int, time: int, tid: int, field: int, data: bytes) -> None:
        events = self._ftrace[cpu]
        events.append(nested(2, number(1, time) + number(2, tid) + nested(field, data)))
        if len(events) >= 256:
            self._flush_ftrace(cpu)

    def _flush_ftrace(self, cpu: int) -> None:
        self._packet(nested(_FTRACE, number(1, cpu) + b"".join(self._ftrace[cpu])))
        self._ftrace[cpu].clear()


def write_perfetto(source: Source, output: Output) -> str:
    """All events as one Perfetto trace. The result says what could not be told."""
    symbols = source.symbols()
    writer = PerfettoWriter(output.write, source.comm, symbols)
    for row in source.rows():
        writer.add(row)
    writer.finish()
    return symbols.note or ""
