# SPDX-License-Identifier: GPL-2.0-or-later
"""Following a trace file: as it grows, from any batch of it, damaged, and the tail that is not in the file yet."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from emu.trace.follow import Follower, TraceDamage
from emu.trace.live import LiveSender, decode_tail, encode_tail
from emu.trace.reader import Trace
from emu.trace.recorder import BATCH, Recorder
from emu.tracepoint import ENOUGH, Kind, Tracepoints
from tests.trace.synthetic import METADATA, batch, row, write


def rows(first: int, count: int) -> list:  # type: ignore[type-arg]
    return [row(Kind.SYS_ENTER, n, text=f"call {n // 5000}") for n in range(first, first + count)]


def test_a_growing_file_is_read_batch_by_batch(tmp_path: Path) -> None:
    tp = Tracepoints()
    recorder = Recorder(str(tmp_path / "t"))
    follower = Follower(str(tmp_path / "t"))
    assert not follower.poll()
    recorder.start(tp, METADATA)
    follower.poll()
    assert (follower.count, follower.ended) == (0, False)
    seen = []
    for number in range(3):
        tp.rows.extend(rows(number * BATCH, BATCH))
        recorder.drain()
        assert follower.poll() and follower.count == number + 1
        seen += follower.batch(number).column("text").to_pylist()
    tp.rows.extend(rows(3 * BATCH, 10))
    recorder.close()
    assert follower.poll() and follower.ended
    seen += follower.batch(3).column("text").to_pylist()
    assert seen == [f"call {n // 5000}" for n in range(3 * BATCH + 10)]


def test_batches_in_any_order(tmp_path: Path) -> None:
    write(tmp_path / "t", rows(0, 6 * BATCH + 1))
    follower = Follower(str(tmp_path / "t"))
    follower.poll()
    for index in (5, 0, 6, 3, 4, 2, 1, 0, 6):
        found = follower.batch(index)
        assert found.column("time")[0].as_py() == index * BATCH
        assert found.column("text")[-1].as_py() == f"call {(index * BATCH + found.num_rows - 1) // 5000}"


def test_a_message_that_is_half_written_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "whole", rows(0, 2 * BATCH))
    whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / "t"
    path.write_bytes(b"")
    follower = Follower(str(path))
    known = 0
    for end in [*range(0, len(whole), 997), len(whole)]:
        path.write_bytes(whole[:end])
        follower.poll()
        assert follower.count >= known
        known = follower.count
        for index in range(known):
            assert follower.batch(index).num_rows == BATCH
    assert (known, follower.ended) == (2, True)


def test_damage_is_told(tmp_path: Path) -> None:
    write(tmp_path / "t", rows(0, 2 * BATCH))
    data = bytearray((tmp_path / "t").read_bytes())
    follower = Follower(str(tmp_path / "t"))
    follower.poll()
    offset, length, _ = follower._batches[1]
    data[offset + length // 2 : offset + length] = b"\xff" * (length - length // 2)
    (tmp_path / "t").write_bytes(data)
    assert follower.batch(0).num_rows == BATCH
    with pytest.raises(TraceDamage):
        follower.batch(1)


def test_the_tail_goes_through_a_datagram() -> None:
    events = batch(rows(5, 3))
    assert decode_tail(encode_tail(7, 8, 5, events))[:3] == (7, 8, 5)
    found = decode_tail(encode_tail(7, 8, 5, events))[3]
    assert found is not None and found.to_pylist() == events.to_pylist()
    assert decode_tail(encode_tail(7, 8, 0, None)) == (7, 8, 0, None)
    with pytest.raises(ValueError):
        decode_tail(b"short")


def test_watching_leaves_the_trace_as_it_is_and_shows_what_waits(tmp_path: Path) -> None:
    """The timer signal comes between any two bytecodes: also while rows are appended and drained."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tp = Tracepoints()
    recorder = Recorder(str(tmp_path / "watched"))
    recorder.start(tp, METADATA)
    gone: list[int] = []
    sender = LiveSender(theirs, recorder, lambda: 42, lambda: gone.append(1))
    sender.period = 0.0002
    sender._spent = -100.0  # it may send as often as it likes
    sender.start()
    try:
        everything = rows(0, 3 * BATCH + 100)
        for at, found in enumerate(everything):
            tp.rows.append(found)
            if at % 10_000 == 9_999:
                recorder.drain()
        deadline = time.monotonic() + 10
        seen: dict[int, str] = {}
        ours.settimeout(0.05)
        while len(everything) - 1 not in seen and time.monotonic() < deadline:
            try:
                data = ours.recv(1 << 20)
            except TimeoutError:
                continue  # the signal came just before it slept: Python runs the handler now
            events, clock, first, tail = decode_tail(data)
            assert clock == 42 and 0 <= events <= len(everything)
            assert tail is None or first + tail.num_rows <= events, "what is sent is among the events that there are"
            for offset, text in enumerate(tail.column("text").to_pylist() if tail is not None else []):
                seen[first + offset] = text
        assert seen[len(everything) - 1] == everything[-1][17] and events == len(everything)
        for number, text in seen.items():
            assert text == everything[number][17]
        ours.close()
        while not gone and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone == [1]
    finally:
        sender.stop()
        recorder.close()
        os.close(theirs.detach())
    write(tmp_path / "plain", everything)
    assert (tmp_path / "watched").read_bytes() == (tmp_path / "plain").read_bytes()


def test_rows_behind_an_open_event_are_asked_for_when_as_many_have_come_again() -> None:
    tp = Tracepoints()
    number = tp.reserve()
    tp.rows += rows(1, 600)
    assert len(tp.rows) > tp.enough and tp.drain() == []
    assert len(tp.rows) == 601 and tp.enough == 601 + ENOUGH
    tp.fill(number, rows(0, 1)[0])
    assert tp.drain() == rows(0, 601) and tp.enough == ENOUGH


def test_a_signal_may_drain_while_events_are_open(tmp_path: Path) -> None:
    """Events take their places, others come, and they end in another order, while a timer signal looks at them."""
    tp = Tracepoints()
    recorder = Recorder(str(tmp_path / "watched"))
    recorder.start(tp, METADATA)
    looks: list[int] = []

    def look(*_: object) -> None:
        batch = recorder.peek(recorder.events, 100)
        looks.append(batch.num_rows if batch is not None else 0)
        signal.setitimer(signal.ITIMER_REAL, 0.0002)

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.0002)
    count = BATCH * 2
    try:
        waiting: list[tuple[int, int]] = []
        for n in range(0, count, 2):
            waiting.append((tp.reserve(), n))
            tp.rows.append(row(Kind.SYS_EXIT, n + 1))
            if len(waiting) == 7:
                for number, time in reversed(waiting):
                    tp.fill(number, row(Kind.PAGE_FAULT_USER, time))
                waiting.clear()
        for number, time in waiting:
            tp.fill(number, row(Kind.PAGE_FAULT_USER, time))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        recorder.close()
    assert len(looks) > 10 and any(looks)
    assert [event[0] for event in Trace(str(tmp_path / "watched")).rows()] == list(range(count))
