# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with many tasks that go wrong end as they would on Linux, or with a report; none takes the host with it."""

from __future__ import annotations

import signal

import pytest

from emu.cli.main import LOCKINGS
from tests.guests import Ran, guest, mmscope

TARGETS = ("x86_64", "powerpc64")  # and one whose bytes are the other way round
SECONDS = 60  # after which a run counts as hung


def hard_ends(target: str, *arguments: str, options: tuple[str, ...] = ("--cpus", "8")) -> Ran:
    ran = mmscope("run", *options, guest("hard_ends", target), *arguments, timeout=SECONDS)
    assert "Traceback" not in ran.err
    return ran


@pytest.mark.parametrize("target", TARGETS)
def test_a_fork_bomb_meets_rlimit_nproc(target: str) -> None:
    ran = mmscope("run", "--cpus", "2", guest("fork_bomb", target), "20", timeout=SECONDS)
    assert ran.out == b"processes 19 EAGAIN 1\nthreads 19 EAGAIN 1\nthen 7\n", ran.err
    assert ran.status == 0


@pytest.mark.parametrize("target", TARGETS)
def test_root_meets_the_number_of_threads_that_ram_allows(target: str) -> None:
    ran = hard_ends(target, "threads", options=("--memory", "16M"))
    assert (ran.out, ran.status) == (b"made 127 EAGAIN 1\n", 3), ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_a_deadlock_is_reported(target: str) -> None:
    ran = mmscope("run", "--cpus", "2", guest("deadlock", target), "mutex", timeout=SECONDS)
    assert (ran.out, ran.status) == (b"mutex\n", 124)
    lines = ran.err.splitlines()
    assert lines[0] == "mmscope: deadlock: every task waits for what cannot happen any more"
    assert [line.split()[1:4] for line in lines[1:]] == [
        [f"deadlock/{n}", "(process", "1000):"] for n in range(1000, 1003)
    ]
    assert all("waits for futex" in line for line in lines[1:])
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("cpus", ["1", "4"])
def test_a_time_limit_ends_a_run_the_same_way(target: str, cpus: str) -> None:
    options = ("run", "--cpus", cpus, "--timeout", "0.02")
    ran = mmscope(*options, guest("misbehave", target), "spin", timeout=SECONDS)
    assert (ran.out, ran.status) == (b"spinning\n", 124)
    assert "ended after 0.02 s of virtual time" in ran.err
    assert "misbehave/1000 (process 1000): runs" in ran.err


def test_a_time_limit_tells_of_each_thread() -> None:
    ran = hard_ends("x86_64", "exec-thread", "6", options=("--cpus", "2", "--timeout", "0.0001"))
    assert ran.status == 124
    assert ran.err.count("(process 1000)") > 1


@pytest.mark.parametrize("target", TARGETS)
def test_the_owner_of_a_robust_futex_dies(target: str) -> None:
    ran = mmscope("run", "--cpus", "4", guest("robust", target), timeout=SECONDS)
    assert ran.status == 0
    told = ran.out.decode().splitlines()
    assert told[0] == "thread ended: EOWNERDEAD consistent 0 unlock 0 again 0"
    assert told[1] == "not repaired: EOWNERDEAD then ENOTRECOVERABLE"
    assert told[3] == "killed with waiters: EOWNERDEAD 1, 0 2"


@pytest.mark.parametrize("target", TARGETS)
def test_a_storm_of_signals(target: str) -> None:
    ran = hard_ends(target, "storm")
    assert (ran.out, ran.status) == (b"storm over: child 0, queued ones all came 1\n", 0), ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_queued_signals_meet_rlimit_sigpending(target: str) -> None:
    ran = hard_ends(target, "flood")
    assert (ran.out, ran.status) == (b"queued 50 EAGAIN 1 taken 50\n", 0), ran.err


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("who", "threads"), [("leader", "64"), ("thread", "64"), ("faulting", "12")])
def test_exec_among_many_threads(who: str, threads: str, target: str) -> None:
    ran = hard_ends(target, f"exec-{who}", threads, options=("--cpus", "16"))
    assert (ran.out, ran.status) == (b"same pid 1, tid is pid 1\n", 7), ran.err


@pytest.mark.parametrize("locking", LOCKINGS)
@pytest.mark.parametrize("seed", ["0", "5"])
def test_exit_while_other_threads_fault(seed: str, locking: str) -> None:
    ran = hard_ends("x86_64", "exit-faulting", "12", options=("--cpus", "16", "--seed", seed, "--locking", locking))
    assert (ran.out, ran.status) == (b"", 9), ran.err


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", ["0", "3"])
def test_one_threads_fault_ends_all_while_they_fault(seed: str, target: str) -> None:
    ran = hard_ends(target, "killed-faulting", "8", options=("--cpus", "12", "--seed", seed))
    assert (ran.out, ran.status) == (f"signal {int(signal.SIGSEGV)}\n".encode(), 0), ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_memory_ends_in_the_middle_of_fork(target: str) -> None:
    """No page of the parent is lost, and once children have gone the next fork works."""
    ran = hard_ends(target, "eat-fork", "3400", options=("--memory", "16M", "--cpus", "2"))
    assert (ran.out, ran.status) == (b"ended by ENOMEM; own memory kept 1\nthen exit 7\n", 0), ran.err


@pytest.mark.parametrize("target", TARGETS)
def test_memory_ends_in_copies(target: str) -> None:
    """Whoever is killed for it, the run ends."""
    ran = hard_ends(target, "eat-copy", "500", options=("--memory", "16M", "--cpus", "2"))
    assert ran.status == 128 + signal.SIGKILL or b"own memory kept 1\nthen exit 7\n" in ran.out


@pytest.mark.parametrize("target", TARGETS)
def test_one_of_several_processes_is_killed_for_memory(target: str) -> None:
    ran = hard_ends(target, "eat-child", options=("--memory", "16M", "--cpus", "2"))
    assert (ran.out, ran.status) == (b"eater signal 9\nsister exit 5\n", 0), ran.err
    assert ran.err.count("out of memory: killed hard_ends (1002)") == 1
