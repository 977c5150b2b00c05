# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows and traces made by hand, for tests of what reads traces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from emu.trace.reader import Trace
from emu.trace.recorder import Recorder
from emu.trace.schema import FORMAT
from emu.tracepoint import FIELDS, Kind, Row, Tracepoints

EMPTY: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {"text": None, "args": None, "stack": None, "pid": 1000, "tid": 1000}


def event(kind: Kind, time: int = 0, **fields: Any) -> Row:
    """One row; fields that are not named are empty, the task is 1000."""
    assert fields.keys() <= EMPTY.keys(), fields
    return tuple({**EMPTY, **fields, "kind": int(kind), "time": time}.values())  # type: ignore[return-value]


def write_trace(path: Path, rows: Iterable[Row], **header: Any) -> Path:
    """A trace of these rows, as the recorder writes it. `header`: what differs in its metadata."""
    tp = Tracepoints()
    tp.rows.extend(rows)
    recorder = Recorder(str(path))
    recorder.start(tp, {
        "format": FORMAT, "mmscope": "0", "program": "/no/such/program", "sha256": "", "argv": ["program"], "env": [],
        "arch": "x86_64", "word": 8, "locking": "6.18", "memory": 1 << 30, "seed": 0, "comm": "program", **header,
    })  # fmt: skip
    recorder.close()
    assert recorder.problem is None
    return path


def damage_column(path: Path, name: str) -> Path:
    """Overwrite the head of a zstd frame, so that this column alone of a trace of one batch cannot be read."""
    data = path.read_bytes()
    for found in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), data):
        path.write_bytes(data[: found.start()] + bytes(4) + data[found.end() :])
        trace = Trace(str(path))
        if not list(trace.batches((name,))) and list(trace.batches([other for other in FIELDS if other != name])):
            return path
    raise AssertionError(f"{name} is not compressed")
