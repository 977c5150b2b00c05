# SPDX-License-Identifier: GPL-2.0-or-later
"""The command as a person uses it: streams, statuses, options, full disks, hostile names."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emu.mm.memory_manager import SCHEMES
from emu.trace.reader import Trace
from emu.tracepoint import Kind
from tests.guests import ROOT, guest, mmscope

HOSTILE = "\x1b[31mred[bold]\x07\n\u202eevil\x9b2J"


def test_streams_and_status_are_the_guests(tmp_path: Path) -> None:
    assert mmscope("run", guest("hello")).err == ""
    ran = mmscope("stat", guest("hello"))
    assert ran.status == mmscope("run", guest("hello")).status
    assert "vma_lock_success" in ran.err


@pytest.mark.parametrize("locking", SCHEMES)
def test_counters_are_those_that_the_scheme_has(locking: str) -> None:
    ran = mmscope("stat", "--locking", locking, guest("threads"), "2")
    words = {line.split()[1] for line in ran.err.splitlines() if len(line.split()) >= 2}
    counters = {word for word in words if word.startswith(("vma_lock", "spf"))}
    if locking == "mmap_lock":
        assert not counters
    elif locking == "spf":
        assert {"spf_attempt", "spf_abort", "spf_abort_anon_vma", "spf_attempt_anon"} <= counters
        assert not any(word.startswith("vma_lock") for word in counters)
    else:
        assert counters == {"vma_lock_success", "vma_lock_abort", "vma_lock_retry", "vma_lock_miss"}


@pytest.mark.parametrize("locking", SCHEMES)
def test_stat_counts_each_fault_once(locking: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = ("--cpus", "4", "--locking", locking, str(guest("page_fault1")), "threads", "4", "50")
    mmscope("record", "-o", trace, *words)
    faults = sum(1 for _ in Trace(str(trace)).rows((Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)))
    told = re.findall(r"^ +(\d+) +(page-faults|pgfault) ", mmscope("stat", *words).err, re.M)
    counted = {name: int(value) for value, name in told}
    assert counted["page-faults"] == faults > 200
    assert counted["pgfault"] > faults, "a retried one counts twice, and exec has one that is no exception"


@pytest.mark.parametrize("cpus", ["1", "4"])
def test_stat_of_a_run_that_is_cut_is_of_the_time_until_then(cpus: str) -> None:
    ran = mmscope(
        "stat", "--cpus", cpus, "--timeout", "0.002", guest("page_fault1"), "threads", "2", "1000000", timeout=60
    )
    assert ran.status == 124
    assert "0.002000000 seconds virtual time" in ran.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--locking", "none"), "invalid choice"),
        (("--memory", "lots"), "memory"),
        (("--memory", "-1"), "memory"),
        (("--env", "novalue"), "NAME=VALUE"),
        (("--unknown",), "unknown"),
    ],
)
def test_bad_options_are_one_line(options: tuple[str, ...], reason: str) -> None:
    ran = mmscope("run", *options, guest("hello"))
    assert ran.status == 2
    assert reason in ran.err
    assert ran.err.startswith("mmscope: ")
    assert ran.err.count("\n") == 1


def test_a_full_disk_ends_the_record_not_the_guest() -> None:
    expected = mmscope("run", guest("faults")).out
    ran = mmscope("record", "-o", "/dev/full", guest("faults"))
    assert ran.out == expected
    assert ran.status == 1, "the guest's is 0"
    assert "recording ended after 0 events: No space left on device" in ran.err
    assert "Traceback" not in ran.err


def test_a_disk_that_fills_up_keeps_what_was_written(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a disk that fills up in the middle."""
    trace = tmp_path / "trace"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000));"
        "from emu.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "record", "-o", str(trace), str(guest("syscalls")), "60000"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == 1, "the guest's is 0"
    assert "recording ended after" in ran.stderr
    opened = Trace(str(trace))
    count = sum(1 for _ in opened.rows())
    assert count > 0
    assert opened.problem is not None
    assert f"recording ended after {count} events" in ran.stderr


def test_the_status_of_a_guest_that_fails_stays_where_the_disk_is_full() -> None:
    ran = mmscope("record", "-o", "/dev/full", "/bin/sh", "-c", "exit 3")
    assert ran.status == 3 and "recording ended after 0 events" in ran.err


@pytest.mark.parametrize(("number", "cpus"), [(signal.SIGINT, "1"), (signal.SIGTERM, "4")])
def test_the_third_request_to_end_is_not_the_guests(number: signal.Signals, cpus: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    script = "trap 'echo got it' INT TERM; echo ready; while :; do :; done"
    command = [sys.executable, "-m", "emu.cli.main", "record", "--cpus", cpus, "-o", trace, "/bin/sh", "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        for line in ("ready\n", "got it\n", "got it\n"):
            assert child.stdout.readline() == line
            child.send_signal(number)
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert (child.returncode, out) == (128 + number, "")
    told, summary = err.splitlines()
    assert re.fullmatch(rf"mmscope: ended by {number.name} after [\d.e-]+ s of virtual time, with tasks left", told)
    opened = Trace(str(trace))
    assert summary.startswith(f"[ mmscope record: {sum(1 for _ in opened.rows())} events")
    assert opened.problem is None


def test_record_into_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "where"):
        ran = mmscope("record", "-o", place, guest("hello"))
        assert (ran.status, ran.out) == (2, b"")
        assert ran.err.startswith(f"mmscope: {place}: cannot be written")


def test_script_formats_tell_the_same_events(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("faults"))
    text = mmscope("script", trace).out.decode().splitlines()
    objects = [json.loads(line) for line in mmscope("script", "--format", "json", trace).out.splitlines()]
    kernel = mmscope("script", "--format", "kernel", trace).out.decode().splitlines()
    assert len(text) == len(objects) == sum(1 for _ in Trace(str(trace)).rows())
    assert [line.split(": ")[1] for line in text] == [event["kind"] for event in objects]
    faults = [event for event in objects if event["kind"] == "page_fault_user"]
    assert [f"U {e['address']:x} {e['ip']:x} {e.get('code', 0):x}" for e in faults] == [
        line for line in kernel if line.startswith("U")
    ]
    assert kernel[-1] == "# exit 0"


def test_report_counts_what_the_trace_holds(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("faults"))
    report = mmscope("report", trace).out.decode()
    rows = list(Trace(str(trace)).rows())
    faults = sum(1 for row in rows if row[4] in (1, 2))
    assert f"{len(rows)} events, {faults} page faults" in report
    for word in ("anon", "cow", "zero_page", "vma_lock", "mmap_lock", "[stack]", "main"):
        assert word in report, word


def test_hostile_names_reach_no_terminal(tmp_path: Path) -> None:
    program = tmp_path / HOSTILE
    shutil.copy(guest("hello"), program)
    trace = tmp_path / "trace"
    assert mmscope("record", "-o", trace, program).status == 0
    for verb in (("report",), ("script",), ("script", "--format", "json"), ("script", "--format", "kernel")):
        shown = mmscope(*verb, trace).out.decode()
        for character in "\x1b\x07\u202e\x9b":
            assert character not in shown, f"{verb}: {character!r}"
        assert shown.count("\nevil") == 0
    refused = mmscope("run", tmp_path / f"{HOSTILE}missing")
    assert refused.err.count("\n") == 1
    for character in "\x1b\x07\u202e\x9b":
        assert character not in refused.err


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("syscalls"), "5000")
    command = f"{sys.executable} -m emu.cli.main script {trace} | head -n 1"
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "closed", "status", "told"),
    [
        (("run", "{hello}"), "1>&-", 0, ""),
        (("run", "{hello}"), "2>&- <&-", 0, ""),
        (("stat", "{hello}"), "2>&-", 0, ""),
        (("record", "-o", "{trace}", "{hello}"), "1>&- 2>&- <&-", 0, ""),
        (("report", "{trace}"), "1>&-", 2, "mmscope: standard output: Bad file descriptor\n"),
        (("script", "{trace}"), "1>&-", 2, "mmscope: standard output: Bad file descriptor\n"),
        (("script", "{trace}"), "<&- 2>&-", 0, ""),
        (("run", "{trace}"), "2>&-", 2, ""),
    ],
)
def test_closed_streams(arguments: tuple[str, ...], closed: str, status: int, told: str, tmp_path: Path) -> None:
    """A stream that is closed stays closed: nothing else gets its number, and there is no traceback."""
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("hello"))
    words = " ".join(word.format(hello=guest("hello"), trace=trace) for word in arguments)
    ran = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m emu.cli.main {words} {closed}"], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (status, told)
    assert not Trace(str(trace)).problem


def test_a_file_system_that_fills_up_keeps_what_was_written(tmp_path: Path) -> None:
    """As above, with a real file system of 200 KiB, where the host lets us make one."""
    script = (
        'mount -t tmpfs -o size=200k none "$1" && touch "$1/ok" || { echo "cannot mount" >&2; exit 77; }\n'
        'code="import sys; from emu.cli.main import main; sys.exit(main(sys.argv[1:]))"\n'
        '"$2" -c "$code" record -o "$1/trace" "$3" 500; echo "status $?"\n'
        '"$2" -c "$code" script "$1/trace" | tail -n 1; stat -c "size %s" "$1/trace"\n'
    )
    inside = ["sh", "-c", script, "sh", str(tmp_path), sys.executable, str(guest("touch"))]
    ran = subprocess.run(["unshare", "--mount", *inside], capture_output=True, text=True, timeout=120)
    if "status" not in ran.stdout:
        pytest.skip("the host does not let us mount a small file system")
    assert "status 1" in ran.stdout, "the guest's is 0"
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("No space left on device") == 1
    written = int(re.findall(r"recording ended after (\d+) events: No space left on device", ran.stderr)[0])
    assert written > 10000
    assert f"damaged or cut off after {written} events" in ran.stderr
    assert ran.stdout.count("touch   1000") == 1, "the last of them can be read"
    assert int(ran.stdout.split("size ")[1]) > 150_000


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a shell that is built for x86-64")
@pytest.mark.parametrize("streams", ["<in >out 2>err", "<in >>out 2>>err", "<in >out 2>&1", "pipes", "terminal"])
def test_standard_streams_can_be_opened_again(streams: str, tmp_path: Path) -> None:
    """/dev/stdin, /dev/stdout and /dev/stderr are the guest's, whatever they are: a shell does with them what it does
    natively. By its name a file of the host cannot be written."""
    script = tmp_path / "script"
    script.write_text(
        "echo x > /dev/stderr; echo y >> /dev/stdout; echo z > /dev/fd/1; read -r a < /dev/stdin; echo in $a\n"
        "cat /dev/stdin; echo q | tee /dev/stderr; test -w /dev/stdout && echo may write\n"
    )
    results = []
    for shell in (f"/bin/sh {script}", f"{sys.executable} -m emu.cli.main run /bin/sh {script}"):
        (tmp_path / "in").write_text("1\n2\n3\n")
        for name in ("out", "err"):
            (tmp_path / name).write_text("before\n")
        command = f"{shell} {streams}"
        if streams == "pipes":
            command = f"cat in | {shell} 2>&1 | cat >out"
        elif streams == "terminal":
            command = f"script -qec '{shell} <in' /dev/null >out"
        ran = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        results.append([(tmp_path / name).read_text() for name in ("out", "err")])
    assert results[0] == results[1]
    assert "may write" in results[0][0]


def test_a_redirected_file_cannot_be_written_by_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f'{sys.executable} -m emu.cli.main run /bin/sh -c "echo 1; echo 2 >{out}; rm {out}" >{out}'
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ran.stderr.count("Read-only file system") == 2
    assert out.read_text() == "1\n"
