# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that go wrong get from this kernel what they get from Linux, and the host goes unharmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emu.trace.reader import Trace
from emu.tracepoint import Kind
from tests.guests import ROOT, TARGETS, guest, mmscope

EFAULT = 14


@pytest.mark.parametrize("target", TARGETS)
def test_recursion_ends_at_the_stack_limit(target: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    ran = mmscope("record", "-o", trace, guest("misbehave", target), "recurse")
    assert ran.status == 128 + signal.SIGSEGV
    assert "killed by SIGSEGV" in ran.err
    faults = [row for row in Trace(str(trace)).rows() if row[4] == Kind.PAGE_FAULT_USER]
    deepest = min(row[5] for row in faults[-1000:])
    top = max(row[5] for row in faults)
    assert abs(top - deepest - (8 << 20)) < 64 << 10  # RLIMIT_STACK


@pytest.mark.parametrize("target", TARGETS)
def test_a_wild_jump_is_a_segfault(target: str) -> None:
    ran = mmscope("run", guest("misbehave", target), "jump")
    assert ran.status == 128 + signal.SIGSEGV
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_wild_pointers_are_efault(target: str) -> None:
    ran = mmscope("run", guest("misbehave", target), "pointers", stdin=b"input")
    assert ran.status == 0
    assert ran.out.decode().split() == [
        word for name in ("write", "stat", "readv", "mincore", "sigaction") for word in (name, str(EFAULT))
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_eating_all_ram_is_an_oom_kill(target: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    ran = mmscope("record", "-o", trace, "--memory", "24M", guest("misbehave", target), "eat")
    assert ran.status == 128 + signal.SIGKILL
    assert "out of memory: killed misbehave" in ran.err
    assert any(row[4] == Kind.OOM_KILL for row in Trace(str(trace)).rows())
    assert "Traceback" not in ran.err


def test_guest_ram_too_small_to_start() -> None:
    ran = mmscope("run", "--memory", "64K", guest("hello"))
    assert ran.status in (2, 128 + signal.SIGKILL)
    assert "Traceback" not in ran.err
    assert ran.err.startswith("mmscope: ")


def test_a_missing_call_is_named_once() -> None:
    ran = mmscope("run", guest("misbehave"), "missing")
    assert ran.out == b"bpf 38\n" * 3 + b"number 4000 38\n"
    assert ran.err == ("mmscope: system calls that are missing, answered with ENOSYS: bpf (3), syscall 4000 (1)\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_ctrl_c_ends_the_guest_and_closes_the_record(number: signal.Signals, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "emu.cli.main", "record", "-o", str(trace), str(guest("misbehave")), "spin"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"spinning\n"
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert b"Traceback" not in err
    opened = Trace(str(trace))
    kinds = [row[4] for row in opened.rows()]
    assert opened.problem is None
    assert Kind.SIGNAL_GENERATE in kinds
    assert kinds[-2:] == [Kind.EXIT, Kind.SCHED_SWITCH]


def test_the_host_is_written_only_where_it_was_allowed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    link = inside / "link"
    link.symlink_to(outside)

    def attempt(path: Path, *options: str) -> bytes:
        return mmscope("run", *options, guest("misbehave"), "write", path).out

    allowed = ("--writable", str(inside))
    assert attempt(inside / "a") == b"open 30\n"  # EROFS
    assert attempt(inside / "a", *allowed) == b"open 0\nwrite 4\n"
    assert (inside / "a").read_text() == "text"
    assert attempt(outside / "a", *allowed) == b"open 30\n"
    assert attempt(link / "a", *allowed) == b"open 30\n"
    assert attempt(inside / ".." / "outside" / "a", *allowed) == b"open 30\n"
    assert list(outside.iterdir()) == []
    ran = mmscope("run", "--writable", tmp_path / "missing", guest("hello"))
    assert (ran.status, ran.err.count("\n")) == (2, 1)
