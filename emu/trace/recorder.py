# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the trace while the guest runs.

Rows are taken from the tracepoints whenever enough have come together, and written in batches. When the host refuses
a write (a full disk), recording ends, what was written stays, and the guest goes on.
"""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from emu.trace.schema import Encoder
from emu.tracepoint import Row, Tracepoints

BATCH = 16384  # rows
PIECE = 512  # rows that are packed together


class RecordError(Exception):
    """A trace cannot be begun; the text says why."""


class _Sink:
    """The file as pyarrow wants it, counting what was written."""

    closed = False

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.written = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += os.write(self.fd, view[done:])
        self.written += done
        return done

    def flush(self) -> None:
        """Nothing is held back."""

    def tell(self) -> int:
        return self.written

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """The recorder closes the file."""


class Recorder:
    """Records to one file from `start` to `close`. `events` counts what was written, `problem` says why it ended
    early."""

    def __init__(self, path: str) -> None:
        """Opens the file, so that a bad name is known before the guest starts. RecordError."""
        self.path = path
        self.events = 0
        self.problem: str | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror}") from None
        self._sink = _Sink(self._fd)
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._tp: Tracepoints | None = None
        self._rows: list[Row] = []  # not yet packed
        self._encoder: Encoder | None = None
        self._busy = False  # within drain or close: no place for peek

    @property
    def bytes_written(self) -> int:
        """Size of the file so far."""
        return self._sink.written

    @property
    def emitted(self) -> int:
        """Events so far, those that wait to be written among them; from within drain only those that are written."""
        if self._busy:
            return self.events
        packed = self._encoder.pending if self._encoder is not None else 0
        return self.events + packed + len(self._rows) + (len(self._tp.rows) if self._tp is not None else 0)

    def start(self, tp: Tracepoints, metadata: dict[str, Any]) -> None:
        """Write the header; from now on `drain` takes rows of `tp`."""
        self._tp = tp
        self._encoder = Encoder(metadata)
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=3), emit_dictionary_deltas=True)
        try:
            self._writer = pa.ipc.new_stream(self._sink, self._encoder.schema, options=options)
        except OSError as error:
            self._failed(error)

    def drain(self) -> None:
        """Take the rows that wait, unless an event is still open, and write them in batches of BATCH rows: what stands
        in the file does not depend on when this is called."""
        self._take(PIECE)

    def peek(self, first: int, limit: int) -> pa.RecordBatch | None:
        """At most `limit` events from number `first` on that wait to be written; None when there are none. It may be
        called from a signal handler, and does not change what will stand in the file."""
        if self._busy or self._tp is None or self._encoder is None or self._writer is None:
            return None
        self._take(1)
        begin = first - self.events
        if not 0 <= begin < self._encoder.pending:
            return None
        return self._encoder.look().slice(begin, limit)

    def _take(self, least: int) -> None:
        """Take the rows that wait, pack them, `least` or more at a time, and write the batches that are full."""
        encoder = self._encoder
        assert self._tp is not None and encoder is not None
        self._busy = True
        self._rows += self._tp.drain()
        while len(self._rows) >= least and self._writer is not None:
            count = min(PIECE, BATCH - encoder.pending)
            encoder.add(self._rows[:count])
            del self._rows[:count]
            if encoder.pending == BATCH:
                self._write()
        self._busy = False

    def _write(self) -> None:
        assert self._writer is not None and self._encoder is not None
        batch = self._encoder.take()
        try:
            self._writer.write_batch(batch)
        except OSError as error:
            self._failed(error)
        else:
            self.events += batch.num_rows

    def discard(self) -> None:
        """Nothing was recorded: leave no file behind."""
        os.close(self._fd)
        try:
            if os.path.isfile(self.path):
                os.unlink(self.path)
        except OSError:
            pass

    def _failed(self, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        self.problem = f"{self.path}: recording ended after {self.events} events: {reason}"
        self._writer = None
        self._rows = []
        if self._tp is not None:
            self._tp.on = False

    def close(self) -> None:
        """Write what is left and the end mark."""
        if self._tp is not None:
            self._tp.end()
            self._take(1)
        self._busy = True
        if self._writer is not None and self._encoder is not None and self._encoder.pending:
            self._write()
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._failed(error)
        self._writer = None
        os.close(self._fd)
