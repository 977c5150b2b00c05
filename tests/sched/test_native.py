# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods in C give what those in Python give, in the cases that they do themselves and in those that they pass
on."""

from __future__ import annotations

import subprocess
import sys
from array import array
from heapq import heapify
from types import SimpleNamespace

import pytest
from greenlet import greenlet
from hypothesis import given
from hypothesis import strategies as st

from emu.mm.batches import Batches
from emu.mm.pgtable import PteLocks
from emu.mm.schemes.v6_18 import vma_lock
from emu.sched import native
from emu.sched.cacheline import CacheLine
from emu.sched.entity import SchedEntity
from emu.sched.native import NativeBatches, NativePteLocks, NativeSched, NativeSpinlock, NativeVmaLock
from emu.sched.rq import CPU_BITS
from emu.sched.sched import INFINITY, LOOKAHEAD, RUN_AHEAD, Sched
from emu.tracepoint import Tracepoints
from tests.guests import ROOT

METHODS = ["write", "exchange", "exchange_and_store", "read", "prefetchw", "drain"]
USES = st.tuples(st.sampled_from(METHODS), st.integers(0, 130), st.integers(0, 1000))


def test_the_extension_is_there_and_in_use() -> None:
    assert native.adopted
    for method in (
        NativeSched.new_line.write, NativeSched.new_line.exchange, NativeSched._next_turn, NativeSched.sync_for,
        NativeSched.write_line, NativeSched.claim_line, NativeSched.read_line, NativeSched.charge,
        NativeSched.charge_for, NativeSched.read_and_charge, NativeSpinlock.lock, NativeSpinlock.unlock,
        NativeBatches.new_anon, NativeVmaLock.enter, NativeVmaLock.leave, NativePteLocks.lock,
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
            turns = {cpu: (turn.arrives, turn.leaves) for cpu, turn in (line.asked or {}).items()}
            names = [name for name in CacheLine.__slots__ if name != "asked"]
            states.append((sched.clock, turns, *(getattr(line, name) for name in names)))
        seen.append(states)
    assert seen[0] == seen[1]


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=20),
    st.lists(st.integers(0, 60), max_size=30),
    st.sampled_from([INFINITY, 30, 70, 1 << 70]),
    st.sampled_from([INFINITY, 40, 80, 1 << 70]),
    st.integers(0, 1),
    st.sampled_from([0, (1 << 22) - 30, (1 << 52) - 30, 1 << 54, 1 << 60]),
)
def test_the_same_cpu_goes_on(clocks: list[int], work: list[int], due: int, end: int, seed: int, since: int) -> None:
    """`since`: clocks that become longer numbers, some of which C does not do."""
    seen = []
    clocks, due, end = [since + clock for clock in clocks], since + due, since + end
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


@pytest.mark.parametrize("use", ["sync_for", "write_line", "claim_line", "charge_for"])
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
        getattr(sched, use)(*([7] if use == "charge_for" else []), line)
        seen.append((bool(told), sched.clock, *(getattr(line, name) for name in CacheLine.__slots__)))
    assert seen[0] == seen[1]


@given(st.integers(-(10**7), 10**14), st.sampled_from([100, 131, 160]), st.sampled_from([0, 5, 1 << 40, 1 << 70]))
def test_work_takes_the_same(ns: int, rate: int, clock: int) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 2)
        sched.clock, sched.rq.rate = clock, rate
        sched.charge(ns)
        seen.append(sched.clock)
    assert seen[0] == seen[1] == clock + ns * rate // 100


@given(st.lists(st.tuples(st.integers(0, 130), st.integers(0, 130), st.integers(0, 500)), max_size=30))
def test_reading_a_line_costs_the_same(uses: list[tuple[int, int, int]]) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 131)
        line = sched.new_line()
        states = []
        for writer, reader, later in uses:
            sched.clock += later
            sched.rq = sched.rqs[writer]
            line.write(sched)
            for cpu in (reader, reader, writer):
                sched.rq = sched.rqs[cpu]
                if later % 2:
                    sched.read_line(line)
                else:
                    sched.read_and_charge(line if later % 4 else None, later)
                turns = {cpu: (turn.arrives, turn.leaves) for cpu, turn in (line.asked or {}).items()}
            names = [name for name in CacheLine.__slots__ if name != "asked"]
            states.append((sched.clock, turns, *(getattr(line, name) for name in names)))
        seen.append(states)
    assert seen[0] == seen[1]


def cpus_of(kind: type[Sched], count: int) -> Sched:
    """CPUs that each run a task of their own."""
    sched = kind(Tracepoints(), count)
    for rq in sched.rqs:
        rq.curr = SchedEntity(100 + rq.id)
    return sched


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300), st.integers(0, 200), st.booleans()), max_size=30))
def test_a_spinlock_that_is_free_costs_the_same(uses: list[tuple[int, int, int, bool]]) -> None:
    """Also for a CPU that comes by its own clock while another one had it, and for one that is ahead of the others."""
    seen = []
    for kind in (Sched, NativeSched):
        sched = cpus_of(kind, 4)
        locks = sched.kind_of(PteLocks)(sched, SimpleNamespace(entry_size=8, bits=(9, 9)))
        lock = locks.of(700)
        clocks, states = [0] * 4, []
        for cpu, later, work, ahead in uses:
            sched.rq = sched.rqs[cpu]
            sched.current = sched.rq.curr  # type: ignore[assignment]
            sched.clock = clocks[cpu] + later
            sched.horizon = sched.clock - 1 if ahead and lock.line.owner == cpu and not lock.line.copies else INFINITY
            lock.line.settled = 0
            if work % 2:
                assert locks.lock(700 + work % 3) is lock
            else:
                lock.lock()
            sched.charge(work)
            assert lock.queue == [] and lock.owner is sched.current
            lock.unlock()
            clocks[cpu] = sched.clock
            states.append((sched.clock, lock.begun_at, lock.free_at, lock.queue, lock.owner.pid, lock.line.wait))
        with pytest.raises(AssertionError, match="unlocked while nobody holds it"):
            lock.unlock()
        seen.append(states)
    assert seen[0] == seen[1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9000), st.integers(1, 80)), max_size=20))
def test_a_new_page_costs_the_same(uses: list[tuple[int, int, int]]) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = cpus_of(kind, 6)
        batches = sched.kind_of(Batches)(sched)
        batches.memory[0].full = 40
        clocks, states = [0] * 6, []
        for cpu, later, pages in uses:
            sched.rq = sched.rqs[cpu]
            sched.rq.rate = (100, sched.cost.smt_slowdown)[pages % 2]
            sched.clock = clocks[cpu] + later
            for _ in range(pages):
                batches.new_anon()
            clocks[cpu] = sched.clock
            share = batches._shares[cpu]
            states.append((sched.clock, share.ready, share.frames, share.folios, share.stock, dict(share.memory.pages)))
        seen.append(states)
    assert seen[0] == seen[1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=30))
def test_readers_enter_and_leave_a_vma_lock_in_the_same_order(uses: list[tuple[int, int]]) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = cpus_of(kind, 4)
        lock = vma_lock(sched, 1, 2)
        clocks, states = [0] * 4, []
        for cpu, later in uses:
            sched.rq = sched.rqs[cpu]
            sched.current = sched.rq.curr  # type: ignore[assignment]
            sched.clock = clocks[cpu] + later
            if sched.current in lock.readers:
                lock.leave()
            else:
                lock.enter()
            clocks[cpu] = sched.clock
            states.append((sched.clock, [task.pid for task in lock.readers], lock.line.wait, lock.line.owner))
        seen.append(states)
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


# In a process of its own, where no one else has taken the blocks.
BLOCKS = """
from array import array
import emu.sched.native
held = [array("B", bytes(600)) for _ in range(5)]
print(*[values.buffer_info()[0] for values in held])
"""


def test_stacks_that_are_put_aside_have_blocks_of_one_size() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", BLOCKS], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    addresses = [int(word) for word in printed.split()]
    assert all((address - addresses[0]) % 2048 == 0 for address in addresses) and len(set(addresses)) == 5


def test_memory_for_stacks_that_were_put_aside() -> None:
    """More blocks than there are, and some that become larger and smaller: each keeps what is in it."""
    arrays = [array("B", bytes([number & 255]) * (500 + number * 3)) for number in range(900)]
    for number in range(0, 900, 3):
        del arrays[number][600:]
    for number in range(0, 900, 2):
        arrays[number].extend(bytes(3000))
    for number, values in enumerate(arrays):
        size = 500 + number * 3 if number % 3 else min(600, 500 + number * 3)
        assert values[:size].tobytes() == bytes([number & 255]) * size
        assert values[size:].tobytes() == bytes(0 if number % 2 else 3000)
