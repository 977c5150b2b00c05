# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows a recording to another process while it is made, without holding up the guest and without changing the trace.

The other process follows the file. The events that wait for their batch to fill are sent as datagrams a few times a
second, when batches come too seldom for a picture that moves; what does not fit into the socket is sent later.
"""

from __future__ import annotations

import io
import signal
import socket
import struct
import time
from collections.abc import Callable
from types import FrameType

import pyarrow as pa

from emu.trace.recorder import Recorder

PERIOD = 0.1  # seconds between two looks
PATIENCE = 0.3  # seconds after a batch in which nothing else is sent
SHARE = 0.02  # of the run's time that sending may take
ROWS = 2048  # in one datagram
SEND_BUFFER = 1 << 20
HEAD = struct.Struct("=qqq")  # events that there are, virtual ns, number of the first event that follows


def encode_tail(events: int, clock: int, first: int, batch: pa.RecordBatch | None) -> bytes:
    """A datagram: HEAD and the batch, if any, as an Arrow stream."""
    out = io.BytesIO()
    out.write(HEAD.pack(events, clock, first))
    if batch is not None:
        with pa.ipc.new_stream(out, batch.schema) as writer:
            writer.write_batch(batch)
    return out.getvalue()


def decode_tail(data: bytes) -> tuple[int, int, int, pa.RecordBatch | None]:
    """What encode_tail was given; ValueError when it is something else."""
    if len(data) < HEAD.size:
        raise ValueError("a datagram that is too short")
    events, clock, first = HEAD.unpack_from(data)
    batch = None
    if len(data) > HEAD.size:
        batch = pa.ipc.open_stream(pa.py_buffer(data).slice(HEAD.size)).read_next_batch()
    return events, clock, first, batch


class LiveSender:
    """Sends the tail of a recording through a SOCK_SEQPACKET socket from a timer signal, between two bytecodes of the
    machine. `gone` is called once when nobody listens any longer."""

    def __init__(self, sock: socket.socket, recorder: Recorder, clock: Callable[[], int], gone: Callable[[], None]):
        self._socket = sock
        self._recorder = recorder
        self._clock = clock
        self._gone = gone
        self._sent = 0  # events that went into the file or the socket
        self._written = 0
        self._written_at = self._begun = time.monotonic()
        self._spent = 0.0
        self._stopped = False
        self.period = PERIOD
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def start(self) -> None:
        """Send from now on; the first datagram, without events, says that the file is there."""
        self._send(None, 0)
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._arm()

    def _arm(self) -> None:
        """One signal, which asks for the next when it is done: so that none comes within another."""
        if not self._stopped:
            signal.setitimer(signal.ITIMER_REAL, self.period)

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._recorder.events != self._written:
            self._written, self._written_at = self._recorder.events, now
        if self._spent <= SHARE * (now - self._begun):
            batch, first = None, 0
            if now - self._written_at >= PATIENCE:
                first = max(self._sent, self._written)
                batch = self._recorder.peek(first, ROWS)
            self._send(batch, first)
            self._spent += time.monotonic() - now
        self._arm()

    def _send(self, batch: pa.RecordBatch | None, first: int) -> None:
        try:
            self._socket.send(encode_tail(self._recorder.emitted, self._clock(), first, batch))
        except OSError as error:
            if isinstance(error, (BrokenPipeError, ConnectionError)):
                self.stop()
                self._gone()
            return  # the socket is full, or the datagram too large: the events come with their batch
        if batch is not None:
            self._sent = first + batch.num_rows
