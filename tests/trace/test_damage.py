# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace that was cut off or damaged: what was written before is kept, and one line says what happened."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.cli.main import main
from emu.trace.reader import Trace, TraceError
from emu.tracepoint import Row
from tests.guests import guest, record


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace of one batch."""
    path = tmp_path_factory.mktemp("small") / "trace"
    assert record(path, guest("hello")).status == 0
    return path.read_bytes()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace of several batches."""
    path = tmp_path_factory.mktemp("large") / "trace"
    assert record(path, guest("syscalls"), "20000").status == 0
    return path.read_bytes()


def events_of(path: Path) -> tuple[list[Row], str | None]:
    trace = Trace(str(path))
    return list(trace.rows()), trace.problem


def test_cut_off_at_every_byte(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(small)
    whole, problem = events_of(path)
    assert problem is None
    opened = 0
    for size in range(len(small)):
        path.write_bytes(small[:size])
        try:
            rows, problem = events_of(path)
        except TraceError as told:
            assert str(told).startswith(f"{path}: ")
            continue
        opened += 1
        assert problem is not None
        assert "cut off" in problem
        assert rows == whole[: len(rows)]
    assert opened > 0


def test_what_was_written_before_the_cut_is_kept(large: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(large)
    whole, _ = events_of(path)
    kept = []
    for size in range(len(large), 2000, -len(large) // 16):
        path.write_bytes(large[:size])
        rows, _ = events_of(path)
        assert rows == whole[: len(rows)]
        kept.append(len(rows))
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) >= 3


def run_verb(*argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(argv))
    return status, out.getvalue(), err.getvalue()


@pytest.mark.fuzz
@given(data=st.data())
def test_damaged_anywhere(data: st.DataObject, small: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes stand there, every verb ends with a line, not with a traceback."""
    damaged = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[:end])
    for verb in (["report"], ["script"], ["script", "--format", "json"], ["script", "--format", "kernel"]):
        status, _, err = run_verb(*verb, str(path))
        assert status in (0, 1, 2)
        assert err.count("\n") <= 2  # of the trace, and of the program that a damaged header names


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x7fELF" + bytes(100), b"ARROW1\0\0" + bytes(64)])
def test_not_a_trace(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "not"
    path.write_bytes(content)
    for verb in ("report", "script"):
        status, out, err = run_verb(verb, str(path))
        assert (status, out) == (2, "")
        assert err.startswith(f"mmscope: {path}: ")
        assert err.count("\n") == 1


def test_missing_directory_and_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        status, _, err = run_verb("report", str(path))
        assert status == 2
        assert err.startswith(f"mmscope: {path}: ")
