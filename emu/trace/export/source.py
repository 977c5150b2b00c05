# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as exports read it: batch by batch, or row by row in the order of time."""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.images import TraceSymbols
from emu.trace.reader import Trace, rows_of
from emu.tracepoint import FIELDS, Row

_TIME = itemgetter(0)
_DRAW_EVERY = 0.1  # seconds


class Source:
    """One trace for one export. `events`: how many there are; `cpus`: how many the header or the events name.

    Raises TraceError as Trace does. Progress is drawn on stderr where that is a terminal.
    """

    def __init__(self, path: str) -> None:
        self.trace = Trace(path)
        self.metadata: dict[str, Any] = self.trace.metadata
        self.comm = str(self.metadata.get("comm", "")) or "?"
        self.events = 0
        self.cpus = int(self.metadata.get("cpus", 1))
        self._earliest: list[int] = []  # of each batch
        self._look_ahead()
        self._progress = sys.stderr.isatty()
        self._drawn = 0.0

    def _look_ahead(self) -> None:
        """Count the events, and find the earliest time of each batch, from two columns alone."""
        wanted = [FIELDS.index("time"), FIELDS.index("cpu")]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        try:
            reader = pa.ipc.open_stream(pa.memory_map(self.trace.path), options=options)
            for batch in reader:
                if batch.num_rows:
                    self.events += batch.num_rows
                    self._earliest.append(pc.min(batch.column("time")).as_py())
                    self.cpus = max(self.cpus, pc.max(batch.column("cpu")).as_py() + 1)
        except (pa.ArrowException, OSError, ValueError):
            pass  # reading the batches themselves will say so

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches in the order of the file."""
        done = 0
        try:
            for batch in self.trace.batches():
                yield batch
                done += batch.num_rows
                self._draw(done)
        finally:
            self._erase()

    def rows(self) -> Iterator[Row]:
        """The events sorted stably by time. No more of them are held than lie out of order."""
        latest_start = list(self._earliest)
        for index in range(len(latest_start) - 2, -1, -1):
            latest_start[index] = min(latest_start[index], latest_start[index + 1])
        held: list[Row] = []
        number = 0
        for batch in self.batches():
            if not batch.num_rows:
                continue
            held.extend(rows_of(batch))
            held.sort(key=_TIME)
            number += 1
            if number >= len(latest_start):
                continue
            safe = bisect_right(held, latest_start[number], key=_TIME)
            yield from held[:safe]
            del held[:safe]
        yield from held

    def symbols(self, program: str | None = None) -> TraceSymbols:
        """Those of the program that ran, or of the file `program`, and of its libraries."""
        return TraceSymbols(self.trace.path, program)

    def _draw(self, done: int) -> None:
        now = time.monotonic()
        if self._progress and now - self._drawn >= _DRAW_EVERY:
            self._drawn = now
            share = f"{100 * done // self.events} %" if self.events else ""
            sys.stderr.write(f"\r{done} of {self.events} events {share} ")
            sys.stderr.flush()

    def _erase(self) -> None:
        if self._progress and self._drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
