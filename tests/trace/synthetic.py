# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces made by hand: several threads on several CPUs that wait for each other, with figures that a test knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa

from emu.trace.recorder import Recorder
from emu.trace.schema import FORMAT, Encoder
from emu.tracepoint import FIELDS, Kind, Path, Reason, Row, Served, Tracepoints

METADATA: dict[str, Any] = {
    "format": FORMAT, "mmscope": "test", "program": "/nowhere/storm", "sha256": "0", "argv": ["storm"], "env": [],
    "arch": "x86_64", "word": 8, "locking": "6.18", "memory": 1 << 30, "seed": 0, "comm": "storm", "cpus": 4,
}  # fmt: skip
HEAP, STACK, FILE = 7, 8, 9
MAIN = 1000
ROUND_NS = 10_000


def row(kind: Kind, time: int, tid: int = MAIN, cpu: int = 0, **fields: Any) -> Row:
    """One event; fields by name, 0 or None otherwise."""
    values: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {"text": None, "args": None, "stack": None}
    values |= {"kind": int(kind), "time": time, "tid": tid, "cpu": cpu, "pid": MAIN} | fields
    return tuple(values[name] for name in FIELDS)  # type: ignore[return-value]


def fault(time: int, tid: int, cpu: int, address: int, vma: int = HEAP, **fields: Any) -> Row:
    """A page fault; anonymous memory under the VMA lock unless told otherwise."""
    known = {"served": Served.ANON, "path": Path.VMA_LOCK, "code": 6, "duration": 300} | fields
    known = {name: int(value) if isinstance(value, int) else value for name, value in known.items()}
    return row(Kind.PAGE_FAULT_USER, time, tid, cpu, address=address, vma=vma, **known)


def storm(rounds: int = 10, names: tuple[str, str] = ("[heap]", "/lib/libc.so")) -> list[Row]:
    """Each round takes ROUND_NS: thread 1000 on CPU 0 unmaps under mmap_lock for 5000 ns; 1001 to 1003 on CPUs 1 to 3
    fault in the heap under the VMA lock, and 1001 once under mmap_lock, for which it waits 4000 ns."""
    rows = [row(Kind.EXEC, 0, text="/nowhere/storm")]
    for cpu in (1, 2, 3):
        rows.append(row(Kind.SCHED_PROCESS_FORK, 0, code=MAIN + cpu, size=MAIN, flags=0x100))
        rows.append(row(Kind.SCHED_SWITCH, 0, tid=0, cpu=cpu, code=MAIN + cpu))
    rows += [
        row(Kind.VMA_CREATE, 500, address=0x10000, size=0x100000, flags=3, vma=HEAP, text=names[0]),
        row(Kind.VMA_CREATE, 500, address=0x7F0000, size=0x10000, flags=5, vma=FILE, text=names[1]),
        row(Kind.VMA_CREATE, 500, address=0x7FFF0000, size=0x10000, flags=0x103, vma=STACK, text="[stack]"),
    ]
    for number in range(rounds):
        at = 1000 + number * ROUND_NS
        page = 0x10000 + number % 256 * 0x1000
        rows += [
            row(Kind.SYS_ENTER, at, text="munmap", code=11, args=(page, 4096)),
            row(Kind.MMAP_LOCK_ACQUIRE_RETURNED, at + 100, address=1, code=1, result=1),
            row(Kind.CONTENTION_BEGIN, at + 1000, MAIN + 1, 1, address=1, holder=MAIN, text="mmap_lock"),
            fault(at + 1100, MAIN + 2, 2, page),
            fault(at + 1200, MAIN + 3, 3, page + 0x1000),
            row(Kind.VMA_LOCK_READ, at + 1200, MAIN + 3, 3, vma=HEAP),
            row(Kind.MMAP_LOCK_RELEASED, at + 5000, address=1, code=1, duration=4900),
            row(Kind.CONTENTION_END, at + 5000, MAIN + 1, 1, address=1, holder=MAIN, wait=4000, text="mmap_lock"),
            row(Kind.MMAP_LOCK_ACQUIRE_RETURNED, at + 5000, MAIN + 1, 1, address=1, result=1, wait=4000, holder=MAIN),
            fault(at + 5000, MAIN + 1, 1, page, path=Path.MMAP_LOCK, reason=Reason.WRITE_LOCKED, wait=4000,
                  holder=MAIN, duration=4500),
            row(Kind.MMAP_LOCK_RELEASED, at + 5500, MAIN + 1, 1, address=1, duration=500),
            row(Kind.SYS_EXIT, at + 6000, text="munmap", code=11),
        ]  # fmt: skip
    return rows


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """The rows as the recorder encodes them."""
    return Encoder(METADATA).encode(list(rows))


def write(path: FilePath, rows: Sequence[Row], **metadata: Any) -> None:
    """A trace file of these rows."""
    tp = Tracepoints()
    recorder = Recorder(str(path))
    recorder.start(tp, METADATA | metadata)
    tp.rows.extend(rows)
    recorder.close()
