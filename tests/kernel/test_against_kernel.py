# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulator's trace of an x86-64 program equals the real kernel's, line by line, as recorded in traces/kernel."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archs.x86.cpu_models import DEFAULT, MODELS
from emu.trace.by_set import Ranges, compare, ranges_of_lines, run_of_trace
from emu.trace.kernel_record import kernel_lines
from emu.trace.reader import Trace
from emu.trace.script import from_entry
from tests.guests import BUILD, ROOT, record

sys.path.insert(0, str(ROOT / "traces"))
from record import CHILDREN, FAULTS_ONLY, THREADS, VVAR, places

RECORDS = sorted((ROOT / "traces" / "kernel").glob("*/*.txt"))
SETS = sorted((ROOT / "traces" / "kernel").glob("*/*.set"))
SCHEDULES: tuple[dict[str, object], ...] = ({"cpus": 1}, {"cpus": 2, "seed": 1}, {"cpus": 4}, {"cpus": 4, "seed": 2})


def read_record(path: Path) -> tuple[Path, str, list[str]]:
    """(program, CPU model, lines) of a record; fails when the program is not the one that was recorded."""
    text = path.read_text().splitlines()
    head = dict(line[2:].split(" ", 1) for line in text if line.startswith("# ") and not line.startswith("# exit"))
    lines = text[len(head) :]
    program = BUILD / head["program"]
    assert program.exists(), f"{program} is missing: make guests"
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    assert digest == head["sha256"], f"{program} is not the program that was recorded: make kernel-traces"
    return program, head.get("cpu", DEFAULT.name), lines


def comparable(lines: list[str]) -> Iterator[str]:
    """Without the function's name in the kernel's own faults, and without faults on vvar and what they lock."""
    skip = False
    for line in lines:
        parts = line.split()
        if parts[0] in "UK":
            skip = int(parts[1], 16) in VVAR
        if skip:
            continue
        yield f"K {parts[1]} {parts[3]}" if parts[0] == "K" else line


def policy(program: Path) -> dict[str, object]:
    """How it was scheduled when it was recorded, as an option of `record`."""
    return {"rt_priority": 10} if program.stem in CHILDREN else {}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_trace_equals_the_kernels(path: Path, tmp_path: Path) -> None:
    program, cpu, expected = read_record(path)
    trace = tmp_path / "trace"
    with places(program) as (place, arguments):
        ran = record(trace, place, *arguments, writable=arguments, cpu=cpu, **policy(program))
    assert ran.out == path.with_suffix(".out").read_bytes(), ran.err
    rows = from_entry(Trace(str(trace)).rows())
    lines = list(kernel_lines(rows, children=program.stem in CHILDREN))
    assert list(comparable(lines)) == list(comparable(expected))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_same_bytes_however_faults_are_served(path: Path, tmp_path: Path) -> None:
    """With and without the C extension, inside the MMU callback or outside of the engine."""
    program, cpu, _ = read_record(path)
    ways: tuple[dict[str, object], ...] = ({}, {"serve_inside": False}, {"pure": True})
    traces = []
    for number, options in enumerate(ways):
        with places(program) as (place, arguments):
            record(tmp_path / str(number), place, *arguments, writable=arguments, cpu=cpu, **policy(program), **options)
        traces.append((tmp_path / str(number)).read_bytes())
    assert traces[0] == traces[1], "served inside or outside"
    assert traces[0] == traces[2], "with and without the C extension"


@pytest.mark.parametrize("path", SETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_threads_fault_where_the_kernels_do(path: Path, tmp_path: Path) -> None:
    """Of what does not depend on the schedule: what all of the kernel's runs had, one of ours has, and the reverse."""
    program, cpu, lines = read_record(path)
    runs = []
    for number, schedule in enumerate(SCHEDULES):
        with places(program) as (place, _):
            ran = record(tmp_path / str(number), place, *THREADS[path.stem], cpu=cpu, **schedule)
        assert ran.out == path.with_suffix(".out").read_bytes(), ran.err
        runs.append(run_of_trace(Trace(str(tmp_path / str(number))), from_entry=True))
    expected, ours = ranges_of_lines(lines, str(path)), Ranges.of(runs)
    if path.stem in FAULTS_ONLY:
        ours.writes = {}
    found = compare(expected, ours)
    assert not found, found


def test_enough_programs_with_threads_are_recorded() -> None:
    assert {path.stem for path in SETS} == set(THREADS)
    assert all(sum("always" in line for line in path.read_text().splitlines()) >= 10 for path in SETS)


def test_enough_programs_are_recorded() -> None:
    assert len({path.stem for path in RECORDS}) >= 15
    assert {path.parent.name for path in RECORDS} == {*MODELS, "any"}


def test_a_signal_frame_is_where_the_cpus_state_puts_it(tmp_path: Path) -> None:
    """The records of a program that takes signals are another one on each model: the comparison needs the right one."""
    ran = {}
    for cpu in MODELS:
        with places(BUILD / "x86_64" / "signals") as (place, _):
            assert (
                record(tmp_path / cpu, place, cpu=cpu).out == (ROOT / f"traces/kernel/{cpu}/signals.out").read_bytes()
            )
        ran[cpu] = list(comparable(list(kernel_lines(from_entry(Trace(str(tmp_path / cpu)).rows())))))
    assert ran["milan"] != ran["emerald-rapids"]
