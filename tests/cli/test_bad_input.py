# SPDX-License-Identifier: GPL-2.0-or-later
"""Every verb that reads a trace, with every kind of trace that it cannot read, and every place it cannot write to."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emu.trace.schema import FORMAT
from emu.tracepoint import Kind as K
from tests.guests import ROOT, Ran, guest, mmscope
from tests.trace.rows import damage_column, event, write_trace

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24
TRACE, GOOD, OUT = "{trace}", "{good}", "{out}"
WRITERS = [
    *(("report", option, OUT, TRACE) for option in ("--html", "--svg", "--flame")),
    *(("export", "--to", to, "-o", OUT, TRACE)
      for to in ("perfetto", "ftrace", "trace.dat", "parquet", "csv", "folded")),
]  # fmt: skip
SYMBOLS = [
    ("report", TRACE), ("report", "--by", "symbol", TRACE), ("report", "--by", "line,vma", TRACE),
    ("report", "--fault", "21", TRACE), ("script", TRACE), ("script", "--format", "perf", TRACE),
    ("report", "--html", OUT, TRACE), ("report", "--svg", OUT, TRACE), ("report", "--flame", OUT, TRACE),
    ("export", "--to", "folded", "-o", OUT, TRACE), ("export", "--to", "perfetto", "-o", OUT, TRACE),
]  # fmt: skip
PRINTERS = [
    ("report", TRACE), *(("report", "--by", by, TRACE) for by in ("symbol", "line,vma", "lock,thread", "syscall")),
    ("report", "--by", "reason,path", TRACE), ("report", "--lock-waits", TRACE),
    ("report", "--lock-waits", "-i", TRACE),
    ("report", "--fault", "21", TRACE), ("script", TRACE),
    *(("script", "--format", form, TRACE) for form in ("json", "perf", "kernel")),
    ("maps", TRACE), ("maps", "--at", "10us", TRACE), ("diff", TRACE, GOOD), ("diff", GOOD, TRACE),
    ("diff", "--by-set", TRACE, GOOD), ("query", TRACE, "select count(*) from events"), ("lock", "contention", TRACE),
    ("top", "--replay", TRACE), ("export", "--to", "csv", "-o", "-", TRACE),
    ("export", "--to", "folded", "-o", "-", TRACE), ("export", "--to", "ftrace", "-o", "-", TRACE),
]  # fmt: skip
VERBS = [*PRINTERS, *WRITERS]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "good"
    assert mmscope("record", "-o", path, guest("faults")).status == 0
    return path


def words(verb: tuple[str, ...], trace: Path, good: Path, out: Path) -> list[str]:
    return [word.format(trace=trace, good=good, out=out) if word in (TRACE, GOOD, OUT) else word for word in verb]


def one_line(ran: Ran, out: Path, *parts: str) -> None:
    """A verb could do nothing: status 2, one line, nothing written."""
    assert ran.status == 2
    assert ran.out == b""
    assert ran.err.startswith("mmscope: ")
    assert ran.err.count("\n") == 1
    for part in parts:
        assert part in ran.err
    assert not [each for each in out.parent.iterdir() if each.name.startswith(out.name)]


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Files that no verb can read, and what is to be said of them."""
    folder = tmp_path_factory.mktemp("unreadable")
    (folder / "empty").touch()
    (folder / "text").write_text("12 page_fault_user 1234\n" * 100)
    (folder / "binary").write_bytes(bytes(range(256)) * 64)
    (folder / "elf").write_bytes(guest("faults").read_bytes()[:4096])
    rows = [event(K.PAGE_FAULT_USER)]
    write_trace(folder / "older", rows, format=FORMAT - 1)
    write_trace(folder / "newer", rows, format=FORMAT + 1)
    whole = write_trace(folder / "whole", rows).read_bytes()
    (folder / "header").write_bytes(whole[:300])
    (folder / "directory").mkdir()
    return {
        "empty": (folder / "empty", "is empty"), "text": (folder / "text", "is not a trace"),
        "binary": (folder / "binary", "is not a trace"), "elf": (folder / "elf", "is not a trace"),
        "older": (folder / "older", f"older format {FORMAT - 1}"),
        "newer": (folder / "newer", f"newer format {FORMAT + 1}"), "header": (folder / "header", "cut off"),
        "directory": (folder / "directory", "is a directory"),
        "missing": (folder / "missing", "No such file or directory"),
    }  # fmt: skip


KINDS = ("empty", "text", "binary", "elf", "older", "newer", "header", "directory", "missing")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_what_is_no_trace(
    verb: tuple[str, ...], good: Path, unreadable: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    for kind in KINDS:
        path, why = unreadable[kind]
        one_line(mmscope(*words(verb, path, good, tmp_path / "out")), tmp_path / "out", str(path), why)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_cut_off(verb: tuple[str, ...], good: Path, tmp_path: Path) -> None:
    """What is whole is shown, with status 1 and one line that tells of the rest."""
    content = good.read_bytes()
    for at in (len(content) - 1, len(content) - 8, len(content) // 2):
        path, out = tmp_path / "cut", tmp_path / "out"
        path.write_bytes(content[:at])
        ran = mmscope(*words(verb, path, good, out))
        text = ran.err + ran.out.decode(errors="replace")
        assert "Traceback" not in text
        assert text.count(f"{path}: cut off") + text.count(f"{path}: damaged or cut off") == 1, text
        assert ran.status in (1, 2)
        assert not [each for each in tmp_path.iterdir() if each not in (path, out)]
        if OUT in verb and ran.status == 1:
            assert out.exists()
            shutil.rmtree(out) if out.is_dir() else out.unlink()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "--by" not in verb], ids=" ".join)
def test_damaged(verb: tuple[str, ...], good: Path, tmp_path: Path) -> None:
    """One column of a batch cannot be read: one line tells of it, and the status. --by may not need that column."""
    path, out = tmp_path / "bad", tmp_path / "out"
    write_trace(path, (event(K.PAGE_FAULT_USER, n) for n in range(1000)))
    ran = mmscope(*words(verb, damage_column(path, "time"), good, out))
    text = ran.err + ran.out.decode(errors="replace")
    assert "Traceback" not in text
    assert text.count(f"{path}: damaged") == 1, text
    assert ran.status in (1, 2)


RUN_ALL = """
import contextlib, io, json, sys
from emu.cli.main import main
results = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    results.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""


def without_privileges() -> None:
    """In a child of root's: permissions hold for what it executes."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def unprivileged(commands: list[list[str]]) -> list[Ran]:
    """Run commands as somebody who may not read everything."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(commands), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=without_privileges, check=True,
    )  # fmt: skip
    return [Ran(status, out.encode(), err) for status, out, err in json.loads(ran.stdout)]


def test_no_permission_to_read(good: Path, tmp_path: Path) -> None:
    trace, out = tmp_path / "secret", tmp_path / "out"
    shutil.copy(good, trace)
    trace.chmod(0)
    for ran in unprivileged([words(verb, trace, good, out) for verb in VERBS]):
        one_line(ran, out, str(trace), "Permission denied")


def test_no_permission_to_write(good: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o555)
    for ran in unprivileged([words(verb, good, good, closed / "out") for verb in WRITERS]):
        one_line(ran, closed / "out", str(closed / "out"), "Permission denied")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system that has no room for a byte of data."""
    place = tmp_path / "full"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with open(place / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("verb", WRITERS, ids=" ".join)
def test_a_full_disk_leaves_no_half_file(verb: tuple[str, ...], good: Path, full: Path) -> None:
    one_line(
        mmscope(*words(verb, good, good, full / "out")), full / "out", str(full / "out"), "No space left on device"
    )


@pytest.mark.parametrize("verb", [each for each in WRITERS if "parquet" not in each], ids=" ".join)
def test_a_full_disk_keeps_the_file_of_before(verb: tuple[str, ...], good: Path, full: Path) -> None:
    os.truncate(full / "filler", 56 << 10)
    (full / "out").write_bytes(bytes(4096))
    with open(full / "more", "wb", buffering=0) as more, pytest.raises(OSError, match="No space"):
        while True:
            more.write(bytes(4096))
    assert mmscope(*words(verb, good, good, full / "out")).status == 2
    assert (full / "out").read_bytes() == bytes(4096)
    assert sorted(each.name for each in full.iterdir()) == ["filler", "more", "out"]


@pytest.mark.parametrize("verb", PRINTERS, ids=" ".join)
def test_standard_output_is_full_or_closed(verb: tuple[str, ...], good: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_trace(other, [event(K.PAGE_FAULT_USER, address=1)])
    command = [sys.executable, "-m", "emu.cli.main", *words(verb, good, other, tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open("/dev/full", "wb") as out:
        ran = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, text=True)
    assert ran.returncode == 2
    assert "No space left on device" in ran.stderr
    assert ran.stderr.count("mmscope: ") == ran.stderr.count("\n")
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment, text=True)
    os.close(write)
    assert ran.returncode in (0, 1)
    assert "roken pipe" not in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("verb", SYMBOLS, ids=" ".join)
def test_the_program_is_gone_or_another(verb: tuple[str, ...], tmp_path: Path) -> None:
    """Addresses stay, and one line says why."""
    program, trace, out = tmp_path / "program", tmp_path / "trace", tmp_path / "out"
    shutil.copy(guest("faults"), program)
    assert mmscope("record", "-o", trace, program).status == 0
    functions, bare = (mmscope(*words(verb, trace, trace, out)), out.read_bytes() if out.exists() else b"")
    whole = functions.out + bare
    assert b"no symbols" not in whole + functions.err.encode()
    assert b"main" in whole or "--svg" in verb  # that picture has no functions
    for change, why in (
        (lambda: shutil.copy(guest("faults", "aarch64"), program), "is for aarch64, the trace is of x86_64"),
        (lambda: program.write_bytes(guest("faults").read_bytes() + b"\0"), "has changed since it was recorded"),
        (lambda: program.write_bytes(b"#!/bin/sh\n"), "has changed since it was recorded"),
        (program.unlink, "No such file or directory"), (program.mkdir, "Is a directory"),
    ):  # fmt: skip
        change()
        ran = mmscope(*words(verb, trace, trace, out))
        assert ran.status == 0
        shown = out.read_bytes() if out.exists() else b""
        told = (ran.out + shown).decode(errors="replace") + ran.err
        assert f"{program}" in told
        assert (ran.err + ran.out.decode()).count(f"{why}: no symbols") + (
            shown.decode(errors="replace").count(f"{why}: no symbols") > 0
        ) >= 1, told[-2000:]
        assert (ran.out.decode() + ran.err).count(f"{why}: no symbols") <= 1
        assert b"main+" not in ran.out + shown
        assert b"Traceback" not in ran.err.encode()
