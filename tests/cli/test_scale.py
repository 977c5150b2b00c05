# SPDX-License-Identifier: GPL-2.0-or-later
"""mmscope scale as a person uses it: the table, the files, the options of runs, what goes wrong, and Ctrl-C."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_trace_verbs import on_terminal
from tests.guests import ROOT, guest, mmscope


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_all_schemes_in_table_plot_and_files(tmp_path: Path) -> None:
    figures, picture = tmp_path / "out.csv", tmp_path / "out.svg"
    ran = mmscope(
        "scale", "--cpus", "1,3", "--locking", "all", "-o", picture, "--csv", figures, guest("pft"), "threads", "{n}",
        "20",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    found = rows(figures)
    assert [(row["locking"], row["cpus"], row["operations"]) for row in found] == [
        (locking, cpus, str(20 * int(cpus)))
        for locking in ("mmap_lock", "spf", "rfc", "6.4", "6.18")
        for cpus in ("1", "3")
    ]
    assert all(int(row["operations_ns"]) > 0 for row in found)
    assert picture.read_text().startswith("<svg")
    assert "speedup" in ran.out.decode() and "CPUs" in ran.out.decode()


def test_the_cpu_model_reaches_the_guest(tmp_path: Path) -> None:
    for model in ("milan", "emerald-rapids"):
        assert mmscope("scale", "--cpus", "1", "--cpu", model, guest("hello")).status == 0
    ran = mmscope("scale", "--cpus", "1,2", "--cpu", "abacus", guest("hello"))
    assert ran.status == 1
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("mmscope: all runs: no CPU model 'abacus'")


@pytest.mark.parametrize("option", ["--check", "--pure"])
def test_runs_that_check_or_do_without_the_extension_give_the_same_figures(option: str, tmp_path: Path) -> None:
    for name, more in (("a", ()), ("b", (option,))):
        ran = mmscope(
            "scale", "--cpus", "2", *more, "--csv", tmp_path / name, guest("page_fault1"), "threads", "2", "10"
        )
        assert ran.status == 0, ran.err
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("/nonexistent",), 2, "No such file"),
        (("/etc/passwd",), 1, "all runs: /etc/passwd"),
        (("-o", "plot.gif", "PROGRAM"), 2, ".svg or .png"),
        (("--csv", "/no/such/place/x.csv", "PROGRAM"), 2, "no directory"),
        (("--csv", "/tmp", "--cpus", "256", "--timeout", "1000", "PROGRAM"), 2, "is a directory"),
        (("--cpus", "0", "PROGRAM"), 2, "0"),
        (("--locking", "none", "PROGRAM"), 2, "'none' is none of"),
    ],
)
def test_what_cannot_be_run_or_written_is_one_line(arguments: tuple[str, ...], status: int, reason: str) -> None:
    ran = mmscope("scale", *(str(guest("hello")) if word == "PROGRAM" else word for word in arguments))
    assert ran.status == status
    assert reason in ran.err
    assert ran.err.count("\n") == 1


def test_a_guest_that_hangs_is_told_and_the_others_are_shown() -> None:
    ran = mmscope("scale", "--cpus", "1,2", guest("deadlock"))
    assert ran.status == 1
    assert "deadlock" in ran.err


def test_a_guest_that_outlives_virtual_time(tmp_path: Path) -> None:
    ran = mmscope("scale", "--cpus", "1,2", "--csv", tmp_path / "out.csv", "/bin/sleep", "8000000000")
    assert (ran.status, ran.err.count("\n")) == (1, 1)
    assert re.fullmatch(r"mmscope: all runs: exit status 124: ended after [\d.e+]+ s of virtual time\n", ran.err)
    assert all(row["problem"].startswith("exit status 124: ended after") for row in rows(tmp_path / "out.csv"))


@pytest.mark.parametrize(("stdout", "status"), [("| true", 0), (">&-", 2), (">/dev/full", 2)])
def test_figures_are_kept_whatever_becomes_of_standard_output(stdout: str, status: int, tmp_path: Path) -> None:
    command = (
        f"{sys.executable} -m emu.cli.main scale --cpus 1,2 --csv {tmp_path}/out.csv -o {tmp_path}/out.svg "
        f"{guest('misbehave')} missing {stdout}; exit ${{PIPESTATUS[0]}}"
    )
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == status
    assert len(rows(tmp_path / "out.csv")) == 2 and (tmp_path / "out.svg").read_text().startswith("<svg")
    assert "system calls that are missing" in ran.stderr and "Traceback" not in ran.stderr


def test_a_file_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    ran = mmscope("scale", "--cpus", "1", "--csv", "/dev/full", "-o", picture, guest("misbehave"), "missing")
    assert ran.status == 2
    assert "system calls that are missing" in ran.err
    assert ran.err.endswith("mmscope: /dev/full: cannot write it: No space left on device\n")
    assert picture.read_text().startswith("<svg") and b"faults/s" in ran.out


def test_a_name_that_is_no_utf_8_reaches_the_figures(tmp_path: Path) -> None:
    program = os.fsencode(tmp_path) + b"/e\xff"
    shutil.copy(guest("hello"), program)
    os.chmod(program, 0o644)
    words = ("scale", "--cpus", "1", "--csv", str(tmp_path / "out.csv"), program)
    command = [sys.executable, "-m", "emu.cli.main", *words]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert ran.returncode == 1 and b"Traceback" not in ran.stderr
    assert "e\\udcff: permission denied" in rows(tmp_path / "out.csv")[0]["problem"]


@pytest.mark.parametrize("columns", [40, 80, 0], ids=["narrow", "wide", "no terminal"])
def test_a_table_has_all_its_digits(columns: int) -> None:
    words = ("scale", "--cpus", "1,4", "--locking", "all", str(guest("page_fault1")), "threads", "{n}", "50")
    text = on_terminal(columns, *words)[1] if columns else mmscope(*words).out.decode()
    cells = [line.split("│")[1:-1] for line in text.splitlines() if re.match("│.*│", line)]
    assert len(cells) == 10 and {len(row) for row in cells} == {11}
    assert "…" not in text
    assert all(re.fullmatch(r"[\d,]{7,}", row[4].strip()) and row[10].strip().endswith("%") for row in cells)


def test_a_program_without_an_end_is_measured_for_as_long_as_is_asked(tmp_path: Path) -> None:
    ran = mmscope(
        "scale", "--cpus", "1,2", "--locking", "mmap_lock", "--timeout", "0.002", "--csv", tmp_path / "out.csv",
        guest("page_fault1"), "threads", "2", "1000000",
    )  # fmt: skip
    assert ran.status == 0
    assert ran.err == (
        "mmscope: all runs ended after 0.002 s of virtual time: their figures are of what was done by then\n"
    )
    one, two = rows(tmp_path / "out.csv")
    assert int(one["faults"]) > 1000 and int(two["faults"]) > 1.5 * int(one["faults"])
    assert not one["problem"] and "faults/s" in ran.out.decode()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_is_done(number: signal.Signals, status: int, tmp_path: Path) -> None:
    figures = tmp_path / "out.csv"
    command = [
        sys.executable, "-m", "emu.cli.main", "scale", "--cpus", "1,64", "-j", "2", "--csv", str(figures),
        str(guest("brk1")), "threads", "{n}", "20000",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
    time.sleep(8)  # enough for one thread, by far not for 64
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "interrupted: 1 of 2 runs were not finished" in err
    assert [(row["cpus"], row["problem"]) for row in rows(figures)] == [("1", ""), ("64", "stopped")]
    assert "stopped" in out
    assert "Traceback" not in err + out
