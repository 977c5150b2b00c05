# SPDX-License-Identifier: GPL-2.0-or-later
"""The mutex: one owner, spinning for a running one, handoff to the one who was woken in vain."""

from __future__ import annotations

from errno import EINTR

import pytest

from emu.locking.mutex import mutex
from emu.tracepoint import Kind
from tests.locking.threads import Threads

US = 1000


def test_unlock_by_another_task_is_refused() -> None:
    box = Threads(2)
    m = mutex(box.sched, "m")

    def owner() -> None:
        m.lock()
        box.sched.block(deadline=50 * US)
        m.unlock()

    def other() -> None:
        box.at(20 * US)
        assert m.is_locked() and not m.trylock()
        with pytest.raises(AssertionError, match="does not hold it"):
            m.unlock()

    box.start(owner)
    box.start(other)
    box.run()
    assert m.trylock() or m.owner is None


@pytest.mark.parametrize("asleep", [False, True])
def test_spins_for_a_running_owner_only(asleep: bool) -> None:
    box = Threads(2)
    m = mutex(box.sched, "m")

    def owner() -> None:
        box.at(5 * US)
        m.lock()
        if asleep:
            box.sched.block(deadline=60 * US)
        else:
            box.work(50 * US)
        m.unlock()

    def waiter() -> None:
        box.at(10 * US)
        m.lock()
        assert box.sched.clock >= 55 * US
        m.unlock()

    box.start(owner)
    task = box.start(waiter)
    box.run()
    assert task.nvcsw == int(asleep)


def test_who_was_woken_in_vain_gets_it_handed_over() -> None:
    box = Threads(2)
    m = mutex(box.sched, "m")
    got = 0
    handed = False

    def thief() -> None:
        nonlocal handed
        for _ in range(50):
            m.lock()
            box.sched.block(deadline=box.sched.clock + 30 * US)
            handed = handed or m.handoff
            m.unlock()
            box.work(10)

    def victim() -> None:
        nonlocal got
        box.at(10 * US)
        m.lock()
        got = box.sched.clock
        m.unlock()

    box.start(thief)
    box.start(victim)
    box.run()
    assert handed and 30 * US < got < 150 * US


@pytest.mark.parametrize("interruptible", [False, True])
def test_signal_ends_the_wait(interruptible: bool) -> None:
    box = Threads(3, trace=True)
    m = mutex(box.sched, "m")
    results = []

    def owner() -> None:
        m.lock()
        box.sched.block(deadline=300 * US)
        m.unlock()

    def victim() -> None:
        box.at(10 * US)
        results.append((m.lock_interruptible if interruptible else m.lock_killable)())

    box.start(owner)
    task = box.start(victim)

    def killer() -> None:
        box.at(50 * US)
        box.kill(task)

    box.start(killer)
    box.run()
    assert results == [-EINTR] and not m.wait_list and not m.handoff
    end = [row for row in box.rows() if row["kind"] == Kind.CONTENTION_END]
    assert [(row["tid"], row["result"]) for row in end] == [(task.pid, -EINTR)]


@pytest.mark.parametrize("seed", range(10))
def test_never_two_owners_under_any_schedule(seed: int) -> None:
    box = Threads(4, seed + 1)
    m = mutex(box.sched, "m")
    inside: list[int] = []

    def body(number: int) -> None:
        state = seed * 7919 + number
        for _ in range(80):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            m.lock()
            assert not inside
            inside.append(number)
            box.work(300 + (state >> 12 & 4095))
            if state >> 8 & 7 == 0:
                box.sched.block(deadline=box.sched.clock + 40 * US)
            box.sched.sync()
            inside.remove(number)
            m.unlock()
            box.work(state >> 20 & 1023)
        box.note(number)

    for number in range(7):
        box.start(lambda number=number: body(number))
    assert sorted(box.run()) == list(range(7))
    assert m.owner is None and not m.wait_list and not m.spinners and not m.osq.queue
