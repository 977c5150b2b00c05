# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs that read traces: queries, bad input, narrow terminals, hostile names, closed pipes, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest
from rich.progress import Progress

from emu.cli.trace_file import progress
from emu.trace import recorder
from emu.trace.reader import Trace
from emu.trace.schema import FORMAT
from emu.tracepoint import Kind as K
from tests.guests import ROOT, guest, mmscope
from tests.trace.rows import event, write_trace
from tests.trace.synthetic import storm, write

HOSTILE = "\x1b[31mred[bold]\x07\n\u202eevil\x9b2J"
VERBS: list[tuple[str, ...]] = [
    ("report",), ("report", "--by", "vma,symbol"), ("report", "--by", "lock,syscall"), ("report", "--lock-waits"),
    ("report", "--lock-waits", "-i"), ("report", "--fault", "1"), ("maps",), ("script",),
    ("query", "{}", "select text, kind from events"),
]  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def verb_of(verb: tuple[str, ...], trace: Path) -> list[str]:
    words = [str(trace) if word == "{}" else word for word in verb]
    return words if "{}" in verb else [*words, str(trace)]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verbs") / "faults"
    assert mmscope("record", "-o", path, guest("faults")).status == 0
    return path


def on_terminal(columns: int, *arguments: str) -> tuple[int, str]:
    """Status and output of the command on a terminal of a width."""
    main, other = pty.openpty()
    ioctl(other, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("COLUMNS", "LINES")}
    ran = subprocess.Popen(
        [sys.executable, "-m", "emu.cli.main", *arguments], stdin=other, stdout=other, stderr=other,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(other)
    out = b""
    while True:
        try:
            data = os.read(main, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    os.close(main)
    return ran.wait(60), out.decode(errors="replace")


def test_query_formats_tell_the_same(faults: Path) -> None:
    sql = "select kind, count(*) as n, max(duration) as longest from events group by kind order by n desc, kind"
    rows = list(csv.reader(mmscope("query", "--format", "csv", faults, sql).out.decode().splitlines()))
    objects = [json.loads(line) for line in mmscope("query", "--format", "json", faults, sql).out.splitlines()]
    table = mmscope("query", faults, sql).out.decode().splitlines()
    assert rows[0] == ["kind", "n", "longest"]
    assert [[o["kind"], str(o["n"]), str(o["longest"])] for o in objects] == rows[1:]
    assert [line.split() for line in table if line.strip()] == rows
    total = mmscope("script", "--format", "json", faults).out.count(b"\n")
    assert sum(o["n"] for o in objects) == total
    twice = "select count(*) as n from events a join events b on a.address = b.address and a.kind = b.kind"
    assert json.loads(mmscope("query", "--format", "json", faults, twice).out)["n"] >= total
    with_it = "with f as (select * from events) select (select count(*) from f) + (select count(*) from f) as n"
    assert json.loads(mmscope("query", "--format", "json", faults, with_it).out)["n"] == 2 * total


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("selec 1", "syntax error"), ("select nothing from events", "nothing"), ("select 1; select 2", "one statement"),
        ("select * from read_csv('/etc/passwd')", "disabled"),
        ("copy events to '/tmp/out.csv'", "disabled"), ("", "one"),
    ],
)  # fmt: skip
def test_bad_queries_are_one_line(sql: str, reason: str, faults: Path) -> None:
    ran = mmscope("query", faults, sql)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, b"", 1)
    assert reason in ran.err


def test_without_duckdb_a_line_says_how_to_get_it(faults: Path, tmp_path: Path) -> None:
    (tmp_path / "duckdb.py").write_text("raise ImportError('not here')\n")
    ran = subprocess.run(
        [sys.executable, "-m", "emu.cli.main", "query", str(faults), "select 1"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "pip install 'mmscope[query]'" in ran.stderr


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_hostile_names(verb: tuple[str, ...], tmp_path: Path) -> None:
    """Names of the program, of mappings, of system calls and of kernel functions: all of them the file's."""
    rows = [
        event(K.VMA_CREATE, address=0x1000, size=0x1000, flags=0x77, vma=1, text=HOSTILE, args=(1, 0, 0, 5)),
        event(K.EXEC, text=HOSTILE, args=(1,)),
        event(K.SYS_ENTER, 1, text=HOSTILE),
        event(K.PAGE_FAULT_KERNEL, 2, address=0x1000, vma=1, text=HOSTILE, wait=5, holder=2),
        event(K.CONTENTION_BEGIN, 2, text=HOSTILE, address=1, holder=2),
        event(K.CONTENTION_END, 7, text=HOSTILE, address=1, wait=5),
        event(K.SYS_EXIT, 9, text=HOSTILE),
    ]
    path = write_trace(tmp_path / "trace", rows, program=HOSTILE, comm=HOSTILE, arch=HOSTILE, locking=HOSTILE)
    ran = mmscope(*verb_of(verb, path))
    assert ran.status == 0, ran.err
    for text in (ran.out.decode(), ran.err):
        for character in "\x1b\x07\u202e\x9b":
            assert character not in text, repr(text)
        assert "\nevil" not in text
    assert b"[bold]" in ran.out
    status, text = on_terminal(100, *verb_of(verb, path))
    assert status == 0
    assert "\u202e" not in text
    assert "\x9b2J" not in text
    assert "\x1b[31m" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("verb", [*VERBS, ("lock", "report"), ("lock", "contention")], ids=" ".join)
def test_a_terminal_of_20_columns(verb: tuple[str, ...], faults: Path) -> None:
    status, text = on_terminal(20, *verb_of(verb, faults))
    assert status == 0
    assert "Traceback" not in text
    assert text.strip()
    if verb[0] in ("report", "lock") and "--fault" not in verb:
        lines = text.replace("\r", "").split("\n")
        assert max(len(line) for line in lines if "\x1b" not in line) <= 20


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_closed_pipe(verb: tuple[str, ...], faults: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "emu.cli.main", *verb_of(verb, faults)], stdout=write, stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )  # fmt: skip
    os.close(write)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_full_disk(verb: tuple[str, ...], faults: Path) -> None:
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "emu.cli.main", *verb_of(verb, faults)], stdout=full, stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )  # fmt: skip
    assert ran.returncode == 2
    assert b"No space left on device" in ran.stderr
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize(("number", "word"), [(FORMAT - 1, "older"), (FORMAT + 1, "newer"), ("two", "two")])
def test_another_format(verb: tuple[str, ...], number: object, word: str, tmp_path: Path) -> None:
    path = write_trace(tmp_path / "trace", [event(K.PAGE_FAULT_USER)], format=number)
    ran = mmscope(*verb_of(verb, path))
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, b"", 1)
    assert word in ran.err


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_cut_off_and_empty(verb: tuple[str, ...], faults: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    content = faults.read_bytes()
    path.write_bytes(content[:-8])
    ran = mmscope(*verb_of(verb, path))
    assert ran.status in (0, 1)
    assert "cut off" in ran.err + ran.out.decode()
    path.write_bytes(b"")
    ran = mmscope(*verb_of(verb, path))
    assert (ran.status, ran.out, "is empty" in ran.err) == (2, b"", True)
    write_trace(path, [])
    ran = mmscope(*verb_of(verb, path))
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") <= 1


def test_a_missing_program_leaves_addresses_and_one_note(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy(guest("faults"), program)
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, program)
    assert "main" in mmscope("report", "--by", "symbol", trace).out.decode()
    program.rename(tmp_path / "moved")
    for verb in (("report",), ("report", "--by", "symbol"), ("report", "--by", "line")):
        out = mmscope(*verb, trace).out.decode()
        assert out.count("note: ") == 1
        assert "No such file or directory: no symbols" in out
        assert " 0x1003" in out
    found = mmscope("report", "--by", "symbol", "--program", tmp_path / "moved", trace).out.decode()
    assert "main" in found
    assert "note" not in found
    other = mmscope("report", "--by", "symbol", "--program", guest("faults", "aarch64"), trace).out.decode()
    assert "is for aarch64, the trace is of x86_64: no symbols" in other
    assert not any(line.split()[-1:] == ["main"] for line in other.splitlines())


def test_maps_tells_of_other_processes(tmp_path: Path) -> None:
    rows = [
        event(K.VMA_CREATE, pid=pid, tid=pid, vma=pid, address=4096 * pid, size=4096, args=(pid, 0, 0, 0))
        for pid in (1000, 1001, 1002)
    ]
    trace = write_trace(tmp_path / "trace", rows)
    ran = mmscope("maps", trace)
    assert ran.out.startswith(b"003e8000-003e9000 ")
    assert ran.err == "mmscope: this is process 1000 of 1000, 1001, 1002: --pid shows another\n"
    other = mmscope("maps", "--pid", "1002", trace)
    assert (other.out.startswith(b"003ea000-"), other.err) == (True, "")


def test_ctrl_c(tmp_path: Path, faults: Path) -> None:
    """130 and no traceback, in the middle of long work."""
    path = write_trace(tmp_path / "trace", (event(K.PAGE_FAULT_USER, n, address=n, ip=n) for n in range(300_000)))
    ran = subprocess.Popen(
        [sys.executable, "-m", "emu.cli.main", "script", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert ran.stdout is not None
    ran.stdout.read(1000)
    ran.send_signal(signal.SIGINT)
    out, err = ran.communicate(timeout=60)
    assert (ran.returncode, err) == (130, b""), out[-100:]


def test_progress_goes_on_with_the_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BATCH", 10)
    trace = Trace(str(write_trace(tmp_path / "trace", [event(K.PAGE_FAULT_USER, at) for at in range(100)])))
    told: list[float] = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(Progress, "update", lambda _self, _task, completed: told.append(completed))
    with progress(trace):
        assert sum(batch.num_rows for batch in trace.batches()) == 100
    assert len(told) == 10
    assert told == sorted(told)
    assert told[0] < 0.5 and told[-1] > 0.9
    assert trace.progress is None


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "trace", (event(K.PAGE_FAULT_USER, n, address=n, ip=n) for n in range(50_000)))
    status, text = on_terminal(80, "report", str(path))
    assert status == 0
    assert "reading" in text
    assert mmscope("report", path).err == ""


@pytest.mark.parametrize(
    "form", ["report", "report --by vma", "report --lock-waits", "report --fault 1", "report --html O",
             "report --svg O", "report --flame O", "lock report", "lock contention", "script", "maps",
             "export --to csv -o O"]
)  # fmt: skip
def test_what_is_told_of_a_trace_that_was_cut_off_ends_with_status_1(tmp_path: Path, form: str) -> None:
    write(tmp_path / "whole", storm(20))
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-8])
    words = [str(tmp_path / "out") if word == "O" else word for word in form.split()]
    whole, cut = (mmscope(*words, tmp_path / name) for name in ("whole", "cut"))
    assert (whole.status, cut.status) == (0, 1), cut
    told = cut.err + cut.out.decode()
    assert "cut off after 250 events" in told and "Traceback" not in told
