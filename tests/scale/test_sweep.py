# SPDX-License-Identifier: GPL-2.0-or-later
"""Sweeps with a worker that stands for the machine: results, failures of single runs, interruption."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from emu.scale.result import Job, Result
from emu.scale.sweep import Sweep
from emu.scale.worker import Account
from emu.tracepoint import Kind, Tracepoints
from tests.trace.rows import event

# Does what its first guest argument says; the number of CPUs is the second one.
WORKER = """
import os, sys, time
from emu.scale.result import Job, Result
job = Job.from_json(sys.argv[1])
what, cpus = job.argv()[1:3]
if what == "count":
    print(f"{100 * int(cpus)} operations in 1000 ns")
    result = Result(ns=2000, faults=int(cpus), paths={"vma_lock": int(cpus)}, waits={"mmap_lock": 7})
elif what == "status":
    print("it said this\\nand that")
    result = Result(status=3)
elif what == "timeout":
    result = Result(status=124, ns=2000, timed_out=True)
elif what == "signal":
    result = Result(status=-11)
elif what == "refused":
    result = Result(problem="no such program")
elif what == "traceback":
    raise ValueError("something broke")
elif what == "die":
    os.kill(os.getpid(), 9)
elif what == "stay":
    open(job.env[0] + "." + cpus, "w").write(str(os.getpid()))
    time.sleep(600)
open(sys.argv[2], "w").write(result.to_json())
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return [sys.executable, str(path)]


def job(what: str, cpus: int = 1, **more: tuple[str, ...]) -> Job:
    return Job("program", (what, "{n}"), "6.18", cpus, **more)  # type: ignore[arg-type]


def test_every_job_has_its_result_and_arguments_have_the_number_of_cpus(worker: list[str]) -> None:
    found: dict[int, Result] = {}
    Sweep(worker).run([job("count", n) for n in (1, 2, 8)], 2, lambda j, r: found.update({j.cpus: r}))
    assert {n: (r.operations, r.operations_ns, r.faults, r.problem) for n, r in found.items()} == {
        n: (100 * n, 1000, n, "") for n in (1, 2, 8)
    }
    assert found[8].operation_rate == 8e8
    assert found[8].fault_rate == 4e6
    assert found[8].waits == {"mmap_lock": 7}


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("status", "exit status 3: and that"),
        ("signal", "killed by signal 11"),
        ("refused", "no such program"),
        ("traceback", "the run ended with status 1: ValueError: something broke"),
        ("die", "the run was killed by SIGKILL"),
    ],
)
def test_a_run_that_fails_says_why_in_one_line(worker: list[str], what: str, problem: str) -> None:
    assert Sweep(worker).run_one(job(what)).problem == problem


def test_one_failure_does_not_touch_the_others(worker: list[str]) -> None:
    found: dict[str, str] = {}
    jobs = [job(what, n) for n, what in enumerate(("traceback", "count", "die", "count"), 1)]
    Sweep(worker).run(jobs, 2, lambda j, r: found.update({f"{j.args[0]}{j.cpus}": r.problem}))
    assert {name for name, problem in found.items() if not problem} == {"count2", "count4"}
    assert len(found) == 4


def test_an_interruption_ends_all_processes(worker: list[str], tmp_path: Path) -> None:
    def interrupt(_job: Job, _result: Result) -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid.2").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        raise KeyboardInterrupt

    jobs = [job("count", 1), job("stay", 2, env=(str(tmp_path / "pid"),)), job("stay", 3, env=(str(tmp_path / "pid"),))]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Sweep(worker).run(jobs, 2, interrupt)
    assert time.monotonic() - begun < 60
    for path in tmp_path.glob("pid.*"):
        if text := path.read_text():
            with pytest.raises(ProcessLookupError):
                os.kill(int(text), 0)


def test_a_run_that_its_timeout_ends_has_figures(worker: list[str]) -> None:
    assert Sweep(worker).run_one(job("timeout")).problem == ""


def test_a_task_that_still_waits_at_the_end_has_waited_until_then() -> None:
    tp = Tracepoints()
    account = Account(tp)
    tp.rows.append(event(Kind.CONTENTION_BEGIN, 100, tid=1001, text="mmap_lock"))
    tp.rows.append(event(Kind.CONTENTION_BEGIN, 150, tid=1002, text="mmap_lock"))
    tp.reserve()
    tp.rows.append(event(Kind.CONTENTION_END, 170, tid=1002, text="mmap_lock", wait=20))
    account.end(300)
    assert account.waits == {"mmap_lock": 220}


def test_what_will_it_scale_prints_is_a_rate() -> None:
    result = Result()
    result.read_output("warmup\nmin:1 max:2 total:3\nmeasurement\nmin:4 max:4 total:4\naverage:250000\n")
    assert result.operation_rate == 250_000


def test_a_program_that_tells_nothing_has_no_rate_of_operations() -> None:
    result = Result(ns=1000, faults=5)
    result.read_output("hello\n10 operations in a way\n")
    assert result.operation_rate is None
    assert result.fault_rate == 5e6
