# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods in C give what those in Python give, in the cases that they do themselves and in those that they pass
on."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from array import array
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import greenlet
from hypothesis import given
from hypothesis import strategies as st

from archs.fault_entry import RecordedFaultEntry
from archs.powerpc import ARCHES as POWERPC
from archs.x86 import ARCHES as X86
from emu.hw.engine import _EngineState
from emu.hw.ram import Ram
from emu.kernel.machine import Machine
from emu.mm.batches import Batches, Section
from emu.mm.fault_event import FaultEvent
from emu.mm.memory import vm_fault
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import page, vm_area_struct
from emu.mm.page_alloc import PageAllocator
from emu.mm.pgtable import PageTableFormat, PteLocks
from emu.mm.schemes.v6_18 import vma_lock
from emu.mm.vma_tree import VmaTree
from emu.sched import native
from emu.sched.cacheline import CacheLine, pair_lines
from emu.sched.entity import SchedEntity
from emu.sched.native import (
    NativeBatches,
    NativeFaultEvent,
    NativePage,
    NativePageAllocator,
    NativePteLocks,
    NativeSched,
    NativeSection,
    NativeSpinlock,
    NativeTracepoints,
    NativeVmaLock,
    NativeVmaTree,
    NativeVmFault,
)
from emu.sched.sched import INFINITY, LOOKAHEAD, RUN_AHEAD, Sched
from emu.sched.turns import Turns
from emu.tracepoint import Kind, Tracepoints
from tests.guests import ROOT

FORMAT = X86[0].format
FORMATS = [FORMAT, *(arch.format for arch in POWERPC)]  # of 8 and 4 bytes, of both byte orders

METHODS = ["write", "exchange", "exchange_and_store", "read", "prefetchw", "drain"]
USES = st.tuples(st.sampled_from(METHODS), st.integers(0, 130), st.integers(0, 1000))


def test_the_extension_is_there_and_in_use() -> None:
    assert native.adopted
    for method in (
        NativeSched.new_line.write, NativeSched.new_line.exchange, NativeSched._next_turn, NativeSched.sync_for,
        NativeSched.write_line, NativeSched.claim_line, NativeSched.read_line, NativeSched.charge,
        NativeSched.charge_for, NativeSched.read_and_charge, NativeSpinlock.lock, NativeSpinlock.unlock,
        NativeBatches.new_anon, NativeVmaLock.enter, NativeVmaLock.leave, NativePteLocks.lock,
        NativeSched.enter_guest, NativeSched.leave_guest, NativeSched.user_deadline, NativeTracepoints.emit,
        NativeFaultEvent.begin, NativeFaultEvent.end, NativePage.__init__, NativeVmFault.__init__, NativeVmaTree.load,
        NativePageAllocator.free_unref_folios, NativeSection.hold,
    ):  # fmt: skip
        assert type(method).__name__ == "method_descriptor"
    line = NativeSched(Tracepoints(), 2).new_line()
    assert type(line) is NativeSched.new_line is not CacheLine and isinstance(line, CacheLine)
    assert type(NativeSched(Tracepoints(), 2)._busy) is NativeSched.new_turns is not Turns


def test_a_machine_uses_them() -> None:
    machine = Machine(memory=1 << 20)
    assert type(machine.tp) is NativeTracepoints and type(machine.sched) is NativeSched
    memory = machine.memory
    assert type(memory.allocator) is NativePageAllocator and memory.vm_fault is NativeVmFault
    mm = memory.new_mm(FORMAT)
    assert type(mm.mm_mt) is NativeVmaTree and type(memory.alloc_page()) is NativePage
    assert type(RecordedFaultEntry(mm, None, lambda _: None).event) is NativeFaultEvent


@given(st.lists(USES, max_size=40), st.booleans())
def test_a_line_costs_the_same(uses: list[tuple[str, int, int]], paired: bool) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 131)
        line = sched.new_line()
        if paired:
            pair_lines(line, sched.new_line())
        clocks = [0] * 131
        states = []
        for use, cpu, later in uses:
            sched.rq = sched.rqs[cpu]
            sched.clock = clocks[cpu] + later
            getattr(line, use)(sched)
            clocks[cpu] = sched.clock
            turns = {cpu: (turn.arrives, turn.leaves) for cpu, turn in (line.asked or {}).items()}
            names = [name for name in CacheLine.__slots__ if name not in ("asked", "pair")]
            states.append((sched.clock, turns, *(getattr(line, name) for name in names)))
        seen.append(states)
    assert seen[0] == seen[1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["push", "pop", "pushpop", "first"]), st.integers(0, 300), st.integers(0, 255),
            st.sampled_from([0, 1 << 40, (1 << 63) - 400]),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_turns_come_in_the_same_order(uses: list[tuple[str, int, int, int]]) -> None:
    seen = []
    for kind in (Turns, NativeSched.new_turns):
        turns = kind()
        told: list[object] = []
        for use, clock, cpu, since in uses:
            try:
                told.append(getattr(turns, use)(*([since + clock, cpu] if "push" in use else [])))
            except IndexError:
                told.append("empty")
            told.append((len(turns), bool(turns)))
        seen.append(told)
    assert seen[0] == seen[1]


def test_turns_that_are_none_are_refused() -> None:
    turns: Any = NativeSched.new_turns()
    for number in range(256):
        turns.push(1 << 70, number)
    assert turns.first() == (1 << 63) - 1
    with pytest.raises(OverflowError):
        turns.push(1, 2)
    for method in (turns.push, turns.pushpop):
        with pytest.raises(TypeError):
            method(1)
        with pytest.raises(TypeError):
            method("a", 2)


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
        for rq in sched.rqs[1:]:
            sched._busy.push(rq.clock, rq.id)
        sched._timer_due, sched.end = due, end
        states = []
        for ns in work:
            sched.clock += ns
            task = sched._next_turn()
            tp = sched.tp
            assert task is None or (task is sched.current is sched.rq.curr and tp.current is task.waits)
            states.append(
                (task and task.pid, sched.clock, sched.horizon, sched.rq.id, [rq.clock for rq in sched.rqs],
                 len(sched._busy), tp.cpu, tp.pid, tp.tid)
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
        sched._busy.push(sched.horizon, 1)
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


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-300, 400), st.integers(1, 200), st.sampled_from([0, 50, 1 << 62])),
        max_size=30,
    ),
    st.sampled_from([5_000, 1 << 40]),
)
def test_a_section_is_held_at_the_same_times(uses: list[tuple[int, int, int, int]], clock: int) -> None:
    """By CPUs whose clocks are not in order, so that some come into gaps."""
    seen = []
    for kind in (Sched, NativeSched):
        sched = cpus_of(kind, 4)
        section = sched.kind_of(Section)()
        now, states = clock, []
        for cpu, later, ns, ahead in uses:
            sched.rq = sched.rqs[cpu]
            now += later
            sched.clock, sched.horizon = now, now - 1000 + ahead
            section.hold(sched, ns)
            states.append((sched.clock, section.owner, section.wait, list(section.begins), list(section.ends)))
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


class Counts(ctypes.Structure):
    """As much of the structure of an engine as is read."""

    _fields_ = (("before", ctypes.c_uint8 * _EngineState.retired.offset), ("retired", ctypes.c_uint64))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000), st.integers(0, 1), st.booleans()), max_size=20),
    st.sampled_from([0, 1 << 40, 1 << 61]),
)
def test_guest_code_takes_the_same(uses: list[tuple[int, int, int, bool]], clock: int) -> None:
    """Also where an interrupt took some time before, where the count is no structure of C, and where it is a smaller
    one than before."""
    seen = []
    for kind in (Sched, NativeSched):
        sched = cpus_of(kind, 4)
        guests = [Counts(), Counts()]
        sched.clock = clock
        states = []
        for cpu, retired, guest, odd in uses:
            sched.rq = sched.rqs[cpu]
            sched.rq.rate, sched.rq.interrupted = 100 + 40 * (retired % 2), 70 * odd
            sched.current = sched.rq.curr  # type: ignore[assignment]
            counts: Any = SimpleNamespace(retired=0) if odd and retired % 3 == 0 else guests[guest]
            sched.enter_guest(counts)
            entered = sched.mark
            counts.retired = max(0, counts.retired - 50) if retired == 7 else counts.retired + retired
            sched.leave_guest()
            states.append((sched.clock, entered, sched.mark, sched.rq.interrupted, sched.current.utime))
        seen.append(states)
    assert seen[0] == seen[1]


@given(
    st.lists(st.integers(0, 90_000), max_size=3),
    st.sampled_from([INFINITY, 70_000, 10_000, 1 << 70]),
    st.sampled_from([INFINITY, 80_000, 1 << 70]),
    st.integers(0, 2),
    st.integers(0, 100_000),
    st.integers(0, 1),
)
def test_guest_code_may_run_as_far(
    others: list[int], due: int, end: int, waiting: int, slice_end: int, seed: int
) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 4, seed)
        sched.clock = 500
        for clock in others:
            sched._busy.push(clock, 1)
        sched._timer_due, sched.end = due, end
        sched.rq.waiting, sched.rq.slice_end = waiting, slice_end
        seen.append((sched.user_deadline(), sched.alone))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("clock", [5_000, 6_000])
def test_a_run_that_is_over_ends_there(clock: int) -> None:
    for kind in (Sched, NativeSched):
        sched = kind(Tracepoints(), 2)
        sched.clock, sched.end = clock, 6_000
        sched._hub = greenlet(lambda: "the run is over")
        assert sched.user_deadline() == 6_000
        assert sched.timed_out == (clock == 6_000)


NUMBERS = st.integers(0, (1 << 64) - 1)
EMIT = ["address", "ip", "code", "size", "flags", "vma", "result", "wait", "holder", "reason", "duration"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Kind.VMA_LOCK_READ, Kind.CONTENTION_BEGIN, 15]),
            st.lists(NUMBERS, max_size=3),
            st.dictionaries(st.sampled_from(EMIT[3:]), NUMBERS),
            st.sampled_from([{}, {"text": "read"}, {"text": None, "args": (1, 2)}, {"args": None, "stack": (7,)}]),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_an_event_is_the_same_row(
    events: list[tuple[int, list[int], dict[str, int], dict[str, Any]]], asks: bool
) -> None:
    seen = []
    for kind in (Sched, NativeSched):
        sched = kind(kind.new_tracepoints(), 2)
        tp = sched.tp
        tp.cpu, tp.pid, tp.tid = 1, 2, 3
        if asks:
            tp.callchain = lambda ip: (ip, 9)
        for number, (what, places, names, others) in enumerate(events):
            sched.clock = number * 1000
            tp.emit(what, *places, **names, **others)
        seen.append(tp.rows)
    assert seen[0] == seen[1]


def test_an_event_that_is_none_is_refused() -> None:
    for kind in (Tracepoints, NativeTracepoints):
        tp: Any = kind()
        for arguments, names in (((), {}), ((1,), {"colour": 2}), ((1, 2), {"address": 2}), ((0,) * 16, {})):
            with pytest.raises(TypeError):
                tp.emit(*arguments, **names)
        assert tp.rows == []
        tp.source = SimpleNamespace(clock=8)
        tp.emit(3)
        assert tp.rows[0][0] == 8


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5000), st.integers(0, 300), st.booleans()), max_size=6),
    st.sampled_from(FORMATS),
    st.booleans(),
    st.booleans(),
)
def test_a_fault_is_the_same_row(
    faults: list[tuple[int, int, int, bool]], format: PageTableFormat, asks: bool, shows: bool
) -> None:
    """Inside and outside of guest code, with and without call stacks and registers, where a table is and where none
    is, with rows before it that are taken while it is under way."""
    seen = []
    for kind in (Sched, NativeSched):
        tp = kind.new_tracepoints()
        sched = kind(tp, 2)
        memory = MemoryManager(Ram(1 << 20), tp, "6.18", sched)
        table = memory.new_mm(format).pgtable
        for place in range(0, 20, 2):
            slot = table.alloc(place << 12 | place << 30)
            assert slot >= 0
            table.set(slot, 0x1234_5001 + place & (1 << 8 * format.entry_size) - 1)
        if asks:
            tp.callchain = lambda ip: (ip, 9)
        if shows:
            tp.registers = lambda: (11, 12)
        event: Any = sched.kind_of(FaultEvent)(sched, table)
        counts = Counts()
        sched.enter_guest(counts)
        taken: list[Any] = []
        for place, retired, wait, odd in faults:
            address = place << 12 | place << 30 | retired
            counts.retired += retired
            if odd:
                tp.emit(Kind.VMA_CREATE, 5)
                taken += tp.drain()
            tp.current.wait, tp.current.holder = 99, 98  # of an event before
            event.begin(address, 0x400 if odd else 0)
            sched.charge(640)
            if wait:
                tp.current.wait, tp.current.holder = wait, 7
            tp.emit(Kind.VMA_LOCK_READ, 6)
            if wait % 2:
                taken += tp.drain()
            if place % 4 == 0:
                table.set(table.alloc(address), 0x77_7001)
            event.end(1, address, 0x400 if odd else 0, 6, 0x254, 17, 1, 0, 1, 0, None if odd else "copy_to_user")
            assert not tp.open
        seen.append((taken + tp.drain(), sched.clock))
    assert seen[0] == seen[1]


def test_an_address_that_is_none_is_looked_at_in_python() -> None:
    """Of 64 bits, and of more."""
    for kind in (Sched, NativeSched):
        tp = kind.new_tracepoints()
        sched = kind(tp, 1)
        mm = MemoryManager(Ram(1 << 20), tp, "6.18", sched).new_mm(FORMAT)
        event: Any = sched.kind_of(FaultEvent)(sched, mm.pgtable)
        sched.enter_guest(Counts())
        for address in ((1 << 64) - 1, 1 << 64, 1 << 63):
            event.begin(address, 0)
            event.end(1, address, 0, 0, 0, 0, 0, 0, 0, 0, None)
        assert [row[18] for row in tp.drain()] == [(0, 0)] * 3  # type: ignore[index]
        with pytest.raises(TypeError):
            event.end(1, 2)
        with pytest.raises(TypeError):
            event.begin(1)


def test_a_new_page_and_a_new_fault_are_the_same() -> None:
    vma = vm_area_struct.__new__(vm_area_struct)
    vma.vm_start, vma.vm_pgoff = 0x7000_1000, 40
    for make, native_kind, arguments in (
        (page, NativePage, (17,)),
        (vm_fault, NativeVmFault, (vma, 0x7000_5678, 0x254)),
        (vm_fault, NativeVmFault, (vma, 0x7000_5678 + (1 << 64), 1)),
        (vm_fault, NativeVmFault, (SimpleNamespace(vm_start=0x1000, vm_pgoff=0), 0x2fff, 1)),
    ):  # fmt: skip
        both: list[Any] = [make(*arguments), native_kind(*arguments)]  # type: ignore[operator]
        a, b = ({name: getattr(each, name) for name in make.__slots__} for each in both)  # type: ignore[attr-defined]
        assert a == b and {name: type(value) for name, value in a.items()} == {n: type(v) for n, v in b.items()}


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 3)), min_size=0, max_size=90), NUMBERS)
def test_the_same_vma_is_found(places: list[tuple[int, int]], odd: int) -> None:
    vmas = []
    at = 0
    for gap, size in places:
        vma = vm_area_struct.__new__(vm_area_struct)
        vma.vm_start, vma.vm_end = (at + gap) << 12, (at + gap + size) << 12
        at += gap + size
        vmas.append(vma)
    trees: list[Any] = [VmaTree(_Clock()), NativeVmaTree(_Clock())]
    for tree in trees:
        tree.replace([], vmas)
    addresses = [odd, odd >> 20, 0, -1, 1 << 70]
    for vma in vmas:
        addresses += [vma.vm_start - 1, vma.vm_start, vma.vm_end - 1, vma.vm_end]
    for address in addresses:
        assert trees[0].load(address) is trees[1].load(address)


class _Clock:
    clock = 0


@given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 3]), st.booleans()), max_size=12))
def test_pages_go_in_the_same_way(orders: list[tuple[int, bool]]) -> None:
    """Single ones and blocks, and such in which code was."""
    seen = []
    for kind in (Sched, NativeSched):
        ram = Ram(1 << 20)
        sched = kind(Tracepoints(), 2)
        told: list[int] = []
        ram.engines.append(SimpleNamespace(invalidate_code=told.append))  # type: ignore[arg-type]
        allocator = sched.kind_of(PageAllocator)(ram, sched)
        pages: list[Any] = [allocator.alloc_pages(order) for order, _ in orders]
        for each, (_, code) in zip(pages, orders):
            each.mapping, each.dirty, each.exclusive, each.mlocked = allocator, True, True, True
            ram.code_map[each.pfn] = code
            each._refcount = 0
        allocator.free_unref_folios(pages)
        left = [[getattr(each, name) for name in page.__slots__] for each in pages]
        lists = [[each.pfn for each in pcp] for pcp in (*allocator.pcp, allocator.free0)]
        seen.append((left, told, lists, allocator._free, allocator.allocated, allocator.freed))
        if pages:
            pages[-1]._refcount = 1
            with pytest.raises(AssertionError, match=f"frame {pages[-1].pfn:#x} freed while in use"):
                allocator.free_unref_folios(pages[-1:])
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
