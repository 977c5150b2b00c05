# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the file when a run ends in the middle of something."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from emu.trace.recorder import Recorder
from emu.tracepoint import Kind, Tracepoints
from tests.trace.rows import event


def test_an_event_that_never_ends_hides_none_behind_it(tmp_path: Path) -> None:
    tp = Tracepoints()
    recorder = Recorder(str(tmp_path / "trace"))
    recorder.start(tp, {})
    tp.rows.append(event(Kind.SYS_ENTER, 1))
    tp.reserve()  # a fault that waits for good
    tp.rows.append(event(Kind.SYS_ENTER, 2))
    done = tp.reserve()
    tp.fill(done, event(Kind.PAGE_FAULT_USER, 3))
    recorder.drain()
    recorder.close()
    times = pa.ipc.open_stream(tmp_path / "trace").read_all().column("time").to_pylist()
    assert times == [1, 2, 3]
    assert recorder.events == 3
