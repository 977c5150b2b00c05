# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces made of rows: what no guest program does on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from emu.trace.schema import FORMAT, Encoder
from emu.tracepoint import FIELDS, Kind, Row


def row(time: int, kind: Kind, tid: int = 1000, **columns: Any) -> Row:
    """An event of a thread of process 1000 on CPU `tid - 1000`."""
    values: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {"text": None, "args": None, "stack": None}
    values |= {"time": time, "cpu": tid - 1000, "pid": 1000, "tid": tid, "kind": int(kind)}
    return tuple((values | columns).values())  # type: ignore[return-value]


def write(path: Path, rows: list[Row], batch: int = 1 << 14, **header: Any) -> Path:
    """A trace file of these rows."""
    metadata = {"format": FORMAT, "program": "/no/such/program", "sha256": "", "arch": "x86_64", "comm": "program"}
    encoder = Encoder(metadata | {"locking": "6.18", "word": 8} | header)
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, encoder.schema, options=options) as writer:
        for at in range(0, len(rows), batch):
            writer.write_batch(encoder.encode(rows[at : at + batch]))
    return path


def contention() -> list[Row]:
    """Thread 1000 unmaps with mmap_lock held for write, and thread 1001's fault waits for it from 150 to 400."""
    fault = {"address": 0x7000, "ip": 0x401000, "code": 6, "vma": 3}
    return [
        row(100, Kind.SYS_ENTER, code=11, text="munmap", args=(0x1000, 0x2000)),
        row(110, Kind.MMAP_LOCK_START_LOCKING, address=1, code=1),
        row(110, Kind.MMAP_LOCK_ACQUIRE_RETURNED, address=1, code=1, result=1),
        row(140, Kind.PAGE_FAULT_USER, 1001, **fault, path=2, served=1, reason=8, wait=250, holder=1000, duration=300),
        row(145, Kind.MMAP_LOCK_START_LOCKING, 1001, address=1),
        row(150, Kind.CONTENTION_BEGIN, 1001, address=1, flags=2, text="mmap_lock", holder=1000, stack=(0x401000,)),
        row(400, Kind.MMAP_LOCK_RELEASED, address=1, code=1, duration=290),
        row(400, Kind.CONTENTION_END, 1001, address=1, text="mmap_lock", wait=250),
        row(400, Kind.MMAP_LOCK_ACQUIRE_RETURNED, 1001, address=1, result=1, wait=250, holder=1000),
        row(405, Kind.SYS_EXIT, code=11, text="munmap", duration=305),
        row(430, Kind.MMAP_LOCK_RELEASED, 1001, address=1, duration=30),
        row(500, Kind.CONTENTION_BEGIN, address=1, flags=4, code=1, text="mmap_lock", holder=1001, stack=(0x401100, 5)),
        row(520, Kind.CONTENTION_END, address=1, code=1, text="mmap_lock", wait=20),
        row(530, Kind.EXIT, 1001),
        row(540, Kind.EXIT),
    ]
