# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs with many threads and processes: on every architecture, with any number of CPUs and any locking scheme they
print and end as the same program does on x86-64 under the real kernel."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from emu.cli.main import LOCKINGS
from emu.kernel.machine import Machine
from emu.kernel.task import Task
from emu.locking.wait import Sleeper
from tests.guests import ROOT, TARGETS, guest, mmscope

SCALING = ("brk1", "malloc1", "mmap1", "page_fault1", "page_fault2", "page_fault3", "pft", "pft_vmas")
# What ends with a report instead of a result, and what the host's CPU, release or limits decide: tested apart.
APART = (
    "call_edges",
    "counters",
    "deadlock",
    "far_locks",
    "fork_bomb",
    "hard_ends",
    "jobs",
    "mdwe",
    "pidfds",
    "proc_others",
    "queued",
    "sigreturns",
    "timer_signals",
)
SOURCES = sorted((ROOT / "guestprogs").glob("*.c"))


def has_tasks(source: Path) -> bool:
    """Does the program make threads or processes: it then includes one of these headers."""
    return any(f'#include "{header}.h"' in source.read_text() for header in ("tasks", "scale"))


PROGRAMS = [s.stem for s in SOURCES if has_tasks(s) and s.stem not in (*SCALING, *APART)]


@lru_cache
def native(name: str, *arguments: str) -> tuple[bytes, int]:
    """What the real kernel makes of it, in two runs alike: a timer may miss the CPU of a host that is busy."""
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 host to compare with")
    command = [str(guest(name)), *arguments]
    results: list[tuple[bytes, int]] = []
    while len(results) < 6:
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, env={})
        assert done.returncode >= 0, done.stderr
        if (done.stdout, done.returncode) in results:
            return done.stdout, done.returncode
        results.append((done.stdout, done.returncode))
    raise AssertionError(f"{name} never ends twice alike: {results}")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_does_what_it_does_on_linux(name: str, target: str) -> None:
    ran = mmscope("run", "--cpus", "4", guest(name, target))
    assert (ran.out, ran.status) == native(name), ran.err


@pytest.mark.parametrize("cpus", ["1", "16"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_whatever_the_number_of_cpus(name: str, cpus: str) -> None:
    ran = mmscope("run", "--cpus", cpus, guest(name))
    assert (ran.out, ran.status) == native(name), ran.err


@pytest.mark.parametrize("locking", LOCKINGS)
@pytest.mark.parametrize("name", ["mm_storm", "thread_storm", "copy_storm", "cow", "exec_self", "wait_status"])
def test_whatever_the_locking(name: str, locking: str) -> None:
    ran = mmscope("run", "--cpus", "4", "--locking", locking, guest(name))
    assert (ran.out, ran.status) == native(name), ran.err


@pytest.mark.parametrize("seed", ["1", "2", "3"])
@pytest.mark.parametrize("name", ["mm_storm", "threads", "cow"])
def test_whatever_the_seed(name: str, seed: str) -> None:
    ran = mmscope("run", "--cpus", "4", "--seed", seed, guest(name))
    assert (ran.out, ran.status) == native(name), ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_64_threads(target: str) -> None:
    ran = mmscope("run", "--cpus", "64", guest("threads", target), "64")
    assert (ran.out, ran.status) == native("threads", "64"), ran.err


@pytest.mark.parametrize("tasks", ["threads", "processes"])
@pytest.mark.parametrize("name", SCALING)
def test_scaling_benchmarks(name: str, tasks: str) -> None:
    ran = mmscope("run", "--cpus", "4", guest(name), tasks, "6", "100")
    assert (ran.out, ran.status) == native(name, tasks, "6", "100"), ran.err


@pytest.mark.parametrize("way", ["mutex", "self", "pipe", "children", "join"])
def test_a_deadlock_ends_with_a_report(way: str) -> None:
    ran = mmscope("run", "--cpus", "2", guest("deadlock"), way)
    assert ran.status == 124
    assert ran.out == way.encode() + b"\n"
    assert "futex" in ran.err or "pipe" in ran.err


def test_a_fork_bomb_meets_its_limit() -> None:
    ran = mmscope("run", "--cpus", "2", guest("fork_bomb"), "20")
    assert ran.out == b"processes 19 EAGAIN 1\nthreads 19 EAGAIN 1\nthen 7\n", ran.err
    assert ran.status == 0


@pytest.mark.parametrize("name", ["call_edges", "jobs", "mdwe", "pidfds", "proc_others", "queued", "timer_signals"])
@pytest.mark.parametrize("options", [["--cpus", "4", "--check"], ["--pure"]])
@pytest.mark.parametrize("target", TARGETS)
def test_results_of_linux_6_18(target: str, options: list[str], name: str) -> None:
    """Every result and error as Linux 6.18 gave them to the same program."""
    ran = mmscope("run", *options, guest(name, target))
    assert ran.status == 0, ran.err
    assert ran.out == Path(__file__).with_name(f"{name}.out").read_bytes()


def test_locks_that_a_structure_of_32_bits_has_no_place_for() -> None:
    """posix_lock_to_flock: EOVERFLOW, and the structure is left as it is."""
    ran = mmscope("run", guest("far_locks", "powerpc"))
    assert ran.out.decode().splitlines() == [
        "near: 0, 1 at 100 for 50",
        "to the end: 0, 1 at 100 for 0",
        "far: 75, 1 at 0 for 0",
        "across: 75, 1 at 0 for 0",
    ], ran.err


def test_sleepers_cost_nothing_to_others() -> None:
    """Tasks that sleep in read, poll, pause and epoll_wait are not looked at when others talk through a pipe."""
    machine = Machine(stdio=(0, os.open(os.devnull, os.O_WRONLY), 2))
    looks = 0
    make = machine.new_sleeper

    def new_sleeper(task: Task, condition: Callable[[], bool]) -> Sleeper:
        def counted() -> bool:
            nonlocal looks
            looks += 1
            return condition()

        return make(task, counted)

    machine.new_sleeper = new_sleeper  # type: ignore[method-assign]
    machine.spawn(str(guest("sleepers")), ["sleepers", "60", "300"], [])
    assert machine.run() == 0
    assert looks < 4 * 300 + 10 * 60
