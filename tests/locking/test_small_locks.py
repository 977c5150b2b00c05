# SPDX-License-Identifier: GPL-2.0-or-later
"""Spinlock, sequence counter, reference count and rcuwait."""

from __future__ import annotations

from errno import EINTR
from itertools import groupby, pairwise

import pytest

from emu.locking.rcuwait import rcuwait
from emu.locking.refcount import REFCOUNT_MAX, REFCOUNT_SATURATED, refcount_t
from emu.locking.seqlock import seqcount_t
from emu.locking.spinlock import spinlock
from emu.sched.entity import State
from emu.sched.sched import LOOKAHEAD
from emu.tracepoint import Kind
from tests.locking.threads import Threads

US = 1000


def test_spinlock_sections_do_not_overlap_in_virtual_time() -> None:
    box = Threads(6, trace=True)
    lock = spinlock(box.sched, "ptl")
    sections = []

    def body(number: int) -> None:
        box.at(5 * US + number * 100)
        for _ in range(5):
            lock.lock()
            begin = box.sched.clock
            box.work(700)
            if number == 3:
                box.sched.sync()  # a section with a scheduling point in it
            sections.append((begin, box.sched.clock))
            lock.unlock()
            box.work(50)

    for number in range(6):
        box.start(lambda number=number: body(number))
    box.run()
    sections.sort()
    assert len(sections) == 30
    assert all(a[1] <= b[0] for a, b in pairwise(sections))
    rows = box.rows()
    waits = [row for row in rows if row["kind"] == Kind.CONTENTION_END]
    assert len(waits) >= 20 and all(row["holder"] for row in waits)
    assert sum(row["wait"] for row in waits) == sum(thread.waits.wait for thread in box.threads)


def test_spin_trylock_fails_until_the_section_has_ended_by_our_clock() -> None:
    box = Threads(2)
    lock = spinlock(box.sched, "ptl")
    seen = []

    def owner() -> None:
        box.at(5 * US)
        lock.lock()
        box.work(10 * US)
        lock.unlock()

    def other() -> None:
        for moment in (8, 14, 16):
            box.at(moment * US)
            seen.append(lock.trylock())
        lock.unlock()

    box.start(owner)
    box.start(other)
    box.run()
    assert seen == [False, False, True]


def test_spinlock_does_nothing_on_one_cpu() -> None:
    box = Threads(1)
    lock = spinlock(box.sched, "ptl")
    lock.lock()
    assert lock.trylock()
    lock.unlock()


def test_seqcount_tells_a_reader_that_a_writer_was_there() -> None:
    box = Threads(2)
    seq = seqcount_t(box.sched)
    seen = []

    def writer() -> None:
        box.at(10 * US)
        seq.write_seqcount_begin()
        box.work(10 * US)
        seq.write_seqcount_end()

    def reader() -> None:
        box.at(5 * US)
        start = seq.raw_seqcount_try_begin()
        box.work(US)
        seen.append(seq.read_seqcount_retry(start))
        box.at(12 * US)
        seen.append((seq.read_seqcount_retry(start), seq.raw_seqcount_try_begin()))
        box.at(30 * US)
        start2 = seq.raw_seqcount_try_begin()
        seen.append((seq.read_seqcount_retry(start), seq.read_seqcount_retry(start2), start2 - start))

    box.start(writer)
    box.start(reader)
    box.run()
    assert seen == [False, (True, -1), (True, False, 2)]


def test_refcount_limits_and_saturation() -> None:
    ref = refcount_t(1)
    assert ref.inc_not_zero_limited_acquire(3) == 1 and ref.refs == 2
    assert ref.inc_not_zero_limited_acquire(3) == 2 and ref.refs == 3
    assert ref.inc_not_zero_limited_acquire(3) == 3 and ref.refs == 3
    assert ref.add_not_zero(0x40000000) and ref.refs == 0x40000003
    assert not ref.sub_and_test(0x40000000)
    assert not ref.dec_and_test() and not ref.dec_and_test() and ref.dec_and_test()
    assert ref.inc_not_zero_limited_acquire(3) == 0 and ref.refs == 0 and not ref.add_not_zero(5)
    assert ref.warning == ""
    ref.inc()
    assert ref.refs == REFCOUNT_SATURATED and "addition on 0" in ref.warning
    assert ref.inc_not_zero_limited_acquire(3) < 0 and ref.refs == REFCOUNT_SATURATED
    low = refcount_t(1)
    assert not low.sub_and_test(2) and low.refs == REFCOUNT_SATURATED and "underflow" in low.warning
    high = refcount_t(REFCOUNT_MAX)
    high.inc()
    assert high.refs == REFCOUNT_SATURATED and "leaking" in high.warning


def test_rcuwait_wakes_its_one_task_and_lets_a_fatal_signal_through() -> None:
    box = Threads(2)
    wait = rcuwait(box.sched)
    ready = False
    results = []

    def waiter() -> None:
        results.append(wait.wait_event(lambda: ready))
        results.append(box.sched.clock >= 50 * US)
        results.append(wait.wait_event(lambda: False, State.KILLABLE))

    task = box.start(waiter)

    def other() -> None:
        nonlocal ready
        box.at(20 * US)
        wait.wake_up()  # in vain
        box.at(50 * US)
        ready = True
        wait.wake_up()
        box.at(90 * US)
        box.kill(task)

    box.start(other)
    box.run()
    assert results == [0, True, -EINTR]
    assert wait.task is None
    wait.wake_up()


def test_what_one_cpu_alone_uses_needs_no_turn_but_only_for_a_while() -> None:
    box = Threads(2)
    lock = spinlock(box.sched, "ptl")
    order: list[tuple[str, int]] = []

    def owner() -> None:
        lock.lock()
        lock.unlock()
        box.at(50 * US)  # long after the line has settled here
        for _ in range(40):
            lock.lock()
            order.append(("owner", box.sched.clock))
            box.work(1 * US)
            lock.unlock()

    def other() -> None:
        box.at(50 * US)
        for _ in range(40):
            box.work(1 * US)
            box.sched.sync()
            order.append(("other", box.sched.clock))

    box.start(owner)
    box.start(other)
    box.run()
    turns = [name for name, _ in groupby(order, key=lambda entry: entry[0])]
    assert 2 <= len(turns) <= 12, "the owner goes on by itself, and gives way in the end"
    ahead = max(
        clock - min(later for other, later in order[i:] if other == "other")
        for i, (name, clock) in enumerate(order)
        if name == "owner" and any(other == "other" for other, _ in order[i:])
    )
    assert 2 * US < ahead <= LOOKAHEAD + 2 * US


@pytest.mark.parametrize(("at", "first", "last"), [(51 * US, 51 * US, 52 * US), (56 * US, 57 * US, 58 * US)])
def test_who_comes_before_a_section_that_ran_ahead_goes_first_and_who_comes_into_it_waits(
    at: int, first: int, last: int
) -> None:
    box = Threads(2)
    lock = spinlock(box.sched, "ptl")
    seen: list[int] = []

    def owner() -> None:
        lock.lock()
        lock.unlock()
        box.at(50 * US)
        box.work(5 * US)
        lock.lock()  # no turn is taken: the other one is at 50 us
        assert box.sched.clock > box.sched.horizon
        box.work(2 * US)
        lock.unlock()
        box.at(90 * US)

    def other() -> None:
        box.at(50 * US + 1)
        box.work(at - box.sched.clock)
        lock.lock()
        seen.append(box.sched.clock)
        lock.unlock()

    box.start(owner)
    box.start(other)
    box.run()
    assert first <= seen[0] < last
