# SPDX-License-Identifier: GPL-2.0-or-later
"""report --html and --svg as a person uses them: bad traces, bad places, full disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests import guest, mmscope


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "trace"
    assert mmscope("record", "-o", path, guest("hello")).status == 0
    return path


@pytest.mark.parametrize("option", ["--html", "--svg"])
def test_what_cannot_be_written_is_one_line(trace: Path, tmp_path: Path, option: str) -> None:
    for place, why in (
        ("/dev/full", "No space left on device"),
        (str(tmp_path), "is a directory"),
        (str(trace), "trace itself"),
    ):
        ran = mmscope("report", option, place, trace)
        assert (ran.status, ran.out) == (2, b"")
        assert ran.err.startswith(f"mmscope: {place}: ") and why in ran.err
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--html", "--svg"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, option: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "other").write_bytes(b"no trace at all")
    for name in ("empty", "other", "missing"):
        ran = mmscope("report", option, tmp_path / "out", tmp_path / name)
        assert (ran.status, ran.out) == (2, b"")
        assert ran.err.count("\n") == 1 and name in ran.err
        assert not (tmp_path / "out").exists()


def test_a_trace_that_was_cut_off_is_drawn_and_says_so(trace: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(trace.read_bytes()[:-8])
    for option in ("--html", "--svg"):
        assert mmscope("report", option, tmp_path / "out", cut).status == 1
        assert "did not close it" in (tmp_path / "out").read_text()
