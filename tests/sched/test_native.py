# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods in C give what those in Python give, in the cases that they do themselves and in those that they pass
on."""

from __future__ import annotations

from heapq import heapify
from types import SimpleNamespace

import pytest
from greenlet import greenlet
from hypothesis import given
from hypothesis import strategies as st

from emu.sched import native
from emu.sched.cacheline import CacheLine
from emu.sched.entity import SchedEntity
from emu.sched.native import NativeBatches, NativePteLocks, NativeSched, NativeSpinlock, NativeVmaLock
from emu.sched.rq import CPU_BITS
from emu.sched.sched import INFINITY, LOOKAHEAD, RUN_AHEAD, Sched
from emu.tracepoint import Tracepoints

USES = st.tuples(
    st.sampled_from(["write", "cmpxchg", "read", "prefetchw"]), st.integers(0, 130), st.integers(0, 1000)
)  # fmt: skip


def test_the_extension_is_there_and_in_use() -> None:
    assert native.adopted
    for method in (
        NativeSched.new_line.write, NativeSched.new_line.cmpxchg, NativeSched._next_turn, NativeSched.sync_for,
        NativeSched.write_line, NativeSched.claim_line, NativeSched.read_line, NativeSched.charge, NativeSpinlock.lock,
        NativeSpinlock.unlock, NativeBatches.new_anon, NativeVmaLock.enter, NativeVmaLock.leave, NativePteLocks.lock,
    ):  # fmt: skip
        assert type(method).__name__ == "method_descriptor"
    line = NativeSched(Tracepoints(), 2).new_line()
    assert type(line) is NativeSched.new_line is not CacheLine and isinstance(line, CacheLine)


@given(st.lists(USES, max_size=40))
def test_a_line_costs_the_same(uses: list[tuple[str, int, int]]) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 131)
        line = sched.new_line()
        clocks = [0] * 131
        states = []
        for use, cpu, later in uses:
            sched.rq = sched.rqs[cpu]
            sched.clock = clocks[cpu] + later
            getattr(line, use)(sched)
            clocks[cpu] = sched.clock
            states.append((sched.clock, *(getattr(line, name) for name in CacheLine.__slots__)))
        seen.append(states)
    assert seen[0] == seen[1]


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=20),
    st.lists(st.integers(0, 60), max_size=30),
    st.sampled_from([INFINITY, 30, 70, 1 << 70]),
    st.sampled_from([INFINITY, 40, 80, 1 << 70]),
    st.integers(0, 1),
)
def test_the_same_cpu_goes_on(clocks: list[int], work: list[int], due: int, end: int, seed: int) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), len(clocks), seed)
        for rq, clock in zip(sched.rqs, clocks):
            rq.clock = clock
            rq.curr = SchedEntity(100 + rq.id)
            rq.curr.tgid = 50
        sched.rq = sched.rqs[0]
        sched.clock, sched.current = clocks[0], sched.rq.curr  # type: ignore[assignment]
        sched._busy = [rq.turn() for rq in sched.rqs[1:]]
        heapify(sched._busy)
        sched._timer_due, sched.end = due, end
        states = []
        for ns in work:
            sched.clock += ns
            task = sched._next_turn()
            tp = sched.tp
            assert task is None or (task is sched.current is sched.rq.curr and tp.current is task.waits)
            states.append(
                (task and task.pid, sched.clock, sched.horizon, sched.rq.id, [rq.clock for rq in sched.rqs],
                 sorted(sched._busy), tp.cpu, tp.pid, tp.tid)
            )  # fmt: skip
        seen.append(states)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("use", ["sync_for", "write_line", "claim_line"])
@pytest.mark.parametrize("owner, copies", [(0, 0), (0, 2), (1, 0), (-1, 0)])
@pytest.mark.parametrize("settled", [0, 60_000])
@pytest.mark.parametrize("ahead", [0, 1, RUN_AHEAD, RUN_AHEAD + 1, LOOKAHEAD, LOOKAHEAD + 1])
def test_a_cpu_waits_for_its_turn_in_the_same_cases(
    use: str, owner: int, copies: int, settled: int, ahead: int
) -> None:
    """Cases where it is not past the horizon are among them, but for sync_for, which is not called then."""
    if use == "sync_for" and not ahead:
        return
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 4)
        line = sched.new_line()
        line.owner, line.copies, line.settled, line.free_at = owner, copies, settled, 10
        sched.rq, sched.clock, sched.horizon = sched.rqs[0], 50_000, 50_000 - ahead
        others = SchedEntity(7)
        others.greenlet = greenlet(lambda: None)  # has not been started: _step_back_slowly is to start it
        sched._busy = [sched.horizon << CPU_BITS | 1]
        sched.rqs[1].curr = others
        told: list[object] = []
        sched._step_back_slowly = told.append  # type: ignore[method-assign]
        getattr(sched, use)(line)
        seen.append((bool(told), *(getattr(line, name) for name in CacheLine.__slots__)))
    assert seen[0] == seen[1]


def test_another_scheduler_is_left_to_python() -> None:
    line = NativeSched.new_line()
    stranger = SimpleNamespace(rq=SimpleNamespace(id=1), clock=5)
    line.write(stranger)  # type: ignore[arg-type]
    assert (line.owner, line.settled) == (1, 20_005)


def test_an_extension_of_other_sources_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMSCOPE_PURE", raising=False)
    monkeypatch.setattr(native, "CacheLine", SchedEntity)  # a class without the slots that it looks for
    assert not native._adopt()
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "does not fit the sources" in told
