# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat, the file of trace-cmd and KernelShark (trace-cmd.dat(5), version 6): the events of ftrace text in binary.

The file describes its own events. Those that the kernel has have its fields and way of printing; all others hold one
text. Each CPU's events are pages of a ring buffer, which wait in temporary files until it is known how many there are.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Iterator
from typing import IO

from emu.trace.export.ftrace import LEFT_OUT, FtraceEvents, Placed
from emu.trace.export.output import Output
from emu.trace.export.source import Source

_PAGE, _HEAD = 4096, 16  # of a page of the ring buffer: its time, and how much of it is used
_LONGEST_TEXT = 3800
_FIRST_ID = 300
_KERNEL = 0xFFFF_FFFF_8100_0000  # where functions of the kernel are said to be
_TIME_EXTEND = 30
_COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
)
_HEADER_PAGE = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
)
_HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)
_C_TYPES = {"unsigned long": "Q", "long": "q", "int": "i", "unsigned int": "I", "void *": "Q", "bool": "?"}
_FLAGS = (
    '__print_flags(REC->flags, "|", {1, "SPIN"}, {2, "READ"}, {4, "WRITE"}, {8, "RT"}, {16, "PERCPU"}, {32, "MUTEX"})'
)
_FLAG_BITS = {"SPIN": 1, "READ": 2, "WRITE": 4, "RT": 8, "PERCPU": 16, "MUTEX": 32}
_STATES = '__print_flags(REC->prev_state, "|", {1, "S"}, {16, "X"})'
_STATE_BITS = {"R": 0, "S": 1, "X": 16}
_MM = (("void *", "mm"), ("unsigned long", "memcg_id"), ("bool", "write"))
_FAULT = (("unsigned long", "address"), ("unsigned long", "ip"), ("unsigned long", "error_code"))
_FAULT_FORMAT = '"address=%ps ip=%ps error_code=0x%lx", (void *)REC->address, (void *)REC->ip, REC->error_code'
_TRUE = '? "true" : "false"'
_MM_FORMAT = f'"mm=%p memcg_id=%llu write=%s", REC->mm, REC->memcg_id, REC->write {_TRUE}'
_SWITCH_FORMAT = (
    '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s ==> next_comm=%s next_pid=%d next_prio=%d", REC->prev_comm, '
    f'REC->prev_pid, REC->prev_prio, REC->prev_state ? {_STATES} : "R", REC->next_comm, REC->next_pid, REC->next_prio'
)

Fields = tuple[tuple[str, str], ...]
# name -> system, fields (C type, name), how it is printed, what of the text are the fields
_KNOWN: dict[str, tuple[str, Fields, str, str]] = {
    "page_fault_user": ("exceptions", _FAULT, _FAULT_FORMAT, r"address=(\S+) ip=(\S+) error_code=(\S+)"),
    "page_fault_kernel": ("exceptions", _FAULT, _FAULT_FORMAT, r"address=(\S+) ip=(\S+) error_code=(\S+)"),
    "mmap_lock_start_locking": ("mmap_lock", _MM, _MM_FORMAT, r"mm=(\S+) memcg_id=(\S+) write=(\S+)"),
    "mmap_lock_released": ("mmap_lock", _MM, _MM_FORMAT, r"mm=(\S+) memcg_id=(\S+) write=(\S+)"),
    "mmap_lock_acquire_returned": (
        "mmap_lock", (*_MM, ("bool", "success")),
        f'"mm=%p memcg_id=%llu write=%s success=%s", REC->mm, REC->memcg_id, REC->write {_TRUE}, REC->success {_TRUE}',
        r"mm=(\S+) memcg_id=(\S+) write=(\S+) success=(\S+)",
    ),
    "contention_begin": (
        "lock", (("void *", "lock_addr"), ("unsigned int", "flags")),
        f'"%p (flags=%s)", REC->lock_addr, {_FLAGS}', r"(\S+) \(flags=(\S*)\)",
    ),
    "contention_end": (
        "lock", (("void *", "lock_addr"), ("int", "ret")), '"%p (ret=%d)", REC->lock_addr, REC->ret',
        r"(\S+) \(ret=(\S+)\)",
    ),
    "sched_switch": (
        "sched",
        (("char[16]", "prev_comm"), ("int", "prev_pid"), ("int", "prev_prio"), ("long", "prev_state"),
         ("char[16]", "next_comm"), ("int", "next_pid"), ("int", "next_prio")),
        _SWITCH_FORMAT,
        r"prev_comm=(.*) prev_pid=(\d+) prev_prio=(\d+) prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) "
        r"next_prio=(\d+)",
    ),
    "sched_wakeup": (
        "sched", (("char[16]", "comm"), ("int", "pid"), ("int", "prio"), ("int", "target_cpu")),
        '"comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu',
        r"comm=(.*) pid=(\d+) prio=(\d+) target_cpu=(\d+)",
    ),
    "sys_enter": (
        "raw_syscalls", (("long", "id"), ("unsigned long[6]", "args")),
        '"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)", REC->id, ' + ", ".join(f"REC->args[{i}]" for i in range(6)),
        r"NR (-?\d+) \((\w+), (\w+), (\w+), (\w+), (\w+), (\w+)\)",
    ),
    "sys_exit": (
        "raw_syscalls", (("long", "id"), ("long", "ret")), '"NR %ld = %ld", REC->id, REC->ret', r"NR (-?\d+) = (-?\d+)"
    ),
}  # fmt: skip
_HEX_FIELDS = frozenset(("mm", "lock_addr", "args"))
_NAMED = {"sched_process_fork": "sched", "sched_process_exec": "sched", "sched_process_exit": "sched"} | {
    "task_newtask": "task", "signal_generate": "signal", "signal_deliver": "signal", "tlb_flush": "tlb",
    "mark_victim": "oom",
}  # fmt: skip
_TEXT: Fields = (("__data_loc char[]", "text"),)


class _Event:
    """One kind of event: its number, its description, and how a text of it is packed."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.system, self.fields, print_format, pattern = _KNOWN.get(
            name, (_NAMED.get(name, "mmscope"), _TEXT, '"%s", __get_str(text)', "")
        )
        self.pattern = re.compile(pattern) if pattern else None
        layout, lines, at = "<", [], 8
        for c_type, field in self.fields:
            base, _, count = c_type.partition("[")
            if base == "char":
                code, size = f"{int(count[:-1])}s", int(count[:-1])
                declared = f"char {field}[{count}"
            elif base.startswith("__data_loc"):
                code, size, declared = "I", 4, f"__data_loc char[] {field}"
            else:
                code = _C_TYPES[base]
                size = struct.calcsize("<" + code)
                if at % size:
                    layout += f"{size - at % size}x"
                    at += size - at % size
                declared = f"{base} {field}"
                if count:
                    repeat = int(count[:-1])
                    code, size, declared = f"{repeat}{code}", size * repeat, f"{declared}[{count}"
            signed = int(base in ("int", "long"))
            lines.append(f"\tfield:{declared};\toffset:{at};\tsize:{size};\tsigned:{signed};\n")
            layout += code
            at += size
        self.layout = struct.Struct(layout)
        self.format = f"name: {name}\nID: {number}\nformat:\n{_COMMON}{''.join(lines)}\nprint fmt: {print_format}\n"

    def pack(self, text: str, symbol: dict[str, int]) -> bytes:
        """The fields behind the common ones; `symbol` numbers the functions of the kernel."""
        found = self.pattern.fullmatch(text) if self.pattern is not None else None
        if found is None:
            data = text.encode()
            if len(data) > _LONGEST_TEXT:
                data = data[: _LONGEST_TEXT - 2] + b".."
            return struct.pack("<I", len(data) + 1 << 16 | 12) + data + b"\0"
        kinds = [c_type for c_type, _ in self.fields]
        names = [field for _, field in self.fields]
        if kinds[-1].endswith("[6]"):
            kinds, names = kinds[:-1] + ["unsigned long"] * 6, names[:-1] + ["args"] * 6
        return self.layout.pack(
            *(_value(kind, name, value, symbol) for kind, name, value in zip(kinds, names, found.groups(), strict=True))
        )


def _value(c_type: str, field: str, text: str, symbol: dict[str, int]) -> int | bytes | bool:
    if c_type.startswith("char"):
        return text.encode()[:15]
    if c_type == "bool":
        return text == "true"
    if field == "prev_state":
        return _STATE_BITS[text]
    if field == "flags":
        return sum(_FLAG_BITS[name] if name in _FLAG_BITS else int(name, 16) for name in text.split("|") if name)
    if field in _HEX_FIELDS:
        return int(text, 16)
    try:
        return int(text, 0) if text.startswith("0x") else int(text)
    except ValueError:
        return symbol.setdefault(text, _KERNEL + 16 * len(symbol))


class _Cpu:
    """The ring buffer of one CPU."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by TraceDat.close)
        self._page = bytearray()
        self._time = self._last = 0

    def add(self, when: int, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        head = b"" if len(data) <= 112 else struct.pack("<I", len(data) + 4)
        room = 4 + len(head) + len(data)
        if not self._page or len(self._page) + room + 8 > _PAGE - _HEAD:
            self.flush()
            self._time = self._last = when
        delta = when - self._last
        if delta >> 27:
            self._page += struct.pack("<II", _TIME_EXTEND | (delta & (1 << 27) - 1) << 5, delta >> 27)
            delta = 0
        self._page += struct.pack("<I", (0 if head else len(data) // 4) | delta << 5) + head + data
        self._last = when

    def flush(self) -> None:
        if self._page:
            page = struct.pack("<QQ", self._time, len(self._page)) + self._page
            self.file.write(page + bytes(_PAGE - len(page)))
            self._page.clear()


class TraceDat:
    """Collects events; `parts` is the file."""

    def __init__(self, cpus: int) -> None:
        self._cpus = [_Cpu() for _ in range(cpus)]
        self._events: dict[str, _Event] = {}
        self._symbols: dict[str, int] = {}
        self._comms: dict[int, str] = {}

    def add(self, placed: Placed, comm: str) -> None:
        """Add an event of a task."""
        when, cpu, tid, (flags, name, text) = placed
        self._comms.setdefault(tid, comm)
        event = self._events.get(name)
        if event is None:
            event = self._events[name] = _Event(_FIRST_ID + len(self._events), name)
        common = struct.pack(
            "<HBBi", event.number, int(flags[0] == "d"), int(flags[3]) if flags[3].isdigit() else 0, tid
        )
        self._cpus[cpu].add(when, common + event.pack(text, self._symbols))

    def parts(self) -> Iterator[bytes]:
        """The file, piece by piece."""
        head = b"\x17\x08\x44tracing6\0" + struct.pack("<BBI", 0, 8, _PAGE)
        for name, text in (("header_page", _HEADER_PAGE), ("header_event", _HEADER_EVENT)):
            head += name.encode() + b"\0" + _sized("<Q", text)
        systems: dict[str, list[_Event]] = {}
        for event in self._events.values():
            systems.setdefault(event.system, []).append(event)
        head += struct.pack("<II", 0, len(systems))
        for name, events in systems.items():
            head += name.encode() + b"\0" + struct.pack("<I", len(events))
            head += b"".join(_sized("<Q", event.format) for event in events)
        head += _sized("<I", "".join(f"{at:016x} T {name}\n" for name, at in self._symbols.items()))
        head += _sized("<I", "")  # formats of trace_printk
        head += _sized("<Q", "".join(f"{tid} {comm}\n" for tid, comm in self._comms.items() if tid))
        head += struct.pack("<I", len(self._cpus)) + b"flyrecord\0"
        at = len(head) + 16 * len(self._cpus)
        at += -at % _PAGE
        begin = at
        for cpu in self._cpus:
            cpu.flush()
            size = cpu.file.tell()
            head += struct.pack("<QQ", at, size)
            at += size
        yield head + bytes(begin - len(head))
        for cpu in self._cpus:
            cpu.file.seek(0)
            while data := cpu.file.read(1 << 20):
                yield data

    def close(self) -> None:
        """The temporary files go."""
        for cpu in self._cpus:
            cpu.file.close()


def _sized(layout: str, text: str) -> bytes:
    data = text.encode()
    return struct.pack(layout, len(data)) + data


def write_tracedat(source: Source, output: Output) -> str:
    """All events as a trace.dat. The result says what of them has no place in it."""
    events = FtraceEvents(source.comm)
    file = TraceDat(source.cpus)
    try:
        for row in source.rows():
            for placed in events.events(row):
                file.add(placed, events.comms.of(placed[2]))
        for placed in events.rest():
            file.add(placed, events.comms.of(placed[2]))
        for part in file.parts():
            output.write(part)
    finally:
        file.close()
    return LEFT_OUT
