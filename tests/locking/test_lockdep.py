# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock checker: every rule broken once on purpose, and programs that keep them left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.locking.lockdep import CheckedRcu, CheckedSched, Violation
from emu.locking.mutex import mutex
from emu.locking.rwsem import rw_semaphore
from emu.locking.spinlock import spinlock
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints
from tests.locking.threads import Threads


def found(box: Threads, *bodies: Callable[[], object]) -> list[str]:
    """The report that these threads end with."""
    for number, body in enumerate(bodies):
        box.start(body, f"thread{number}")
    with pytest.raises(Violation) as caught:
        box.run()
    return caught.value.lines


def test_nothing_of_it_is_there_where_it_was_not_asked_for() -> None:
    sched = Sched(Tracepoints(), 2)
    for lock in (rw_semaphore(sched, "a"), mutex(sched, "b"), spinlock(sched, "c")):
        assert type(lock) in (rw_semaphore, mutex, spinlock)
    checked = CheckedSched(Tracepoints(), 2)
    for lock in (rw_semaphore(checked, "a"), mutex(checked, "b"), spinlock(checked, "c")):
        assert type(lock).__module__ == "emu.locking.lockdep"
    assert not Sched.replaced


def test_a_circle_of_orders_is_reported_with_every_chain_though_nothing_blocked() -> None:
    box = Threads(1, check=True)
    a, b, c = mutex(box.sched, "a"), rw_semaphore(box.sched, "b"), mutex(box.sched, "c")

    def first_then_second(first: Callable[[], object], second: Callable[[], object], *unlock: Callable[[], object]):
        def body() -> None:
            first()
            second()
            for release in unlock:
                release()

        return body

    lines = found(
        box,
        first_then_second(a.lock, b.down_read, b.up_read, a.unlock),
        first_then_second(b.down_write, c.lock, c.unlock, b.up_write),
        first_then_second(c.lock, a.lock, a.unlock, c.unlock),
    )
    assert lines[0] == "possible circular locking dependency: c -> a -> b -> c"
    text = "\n".join(lines)
    for part in ("thread2/", "order 1: c, then a (now)", "order 2: a, then b, by thread0/", "order 3: b, then c, by"):
        assert part in text
    assert text.count("    body (") >= 6  # where each of both locks was taken, in each order


def test_a_lock_that_was_only_tried_for_orders_nothing_before_itself() -> None:
    box = Threads(1, check=True)
    a, b = mutex(box.sched, "a"), rw_semaphore(box.sched, "b")

    def forwards() -> None:
        a.lock()
        b.down_read()
        b.up_read()
        a.unlock()

    def backwards() -> None:
        b.down_read()
        assert a.trylock()
        a.unlock()
        b.up_read()

    box.start(forwards)
    box.start(backwards)
    box.run()


def test_a_task_that_locks_two_of_a_class_must_name_their_order() -> None:
    box = Threads(1, check=True)
    one, two = rw_semaphore(box.sched, "mmap_lock", 1), rw_semaphore(box.sched, "mmap_lock", 2)

    def nested() -> None:
        one.down_write()
        two.down_write_nested(1)
        two.up_write()
        one.up_write()

    def plain() -> None:
        one.down_write()
        two.down_write()

    lines = found(box, nested, plain)
    assert "possible recursive locking" in lines[0] and "of mm 1, for write" in "\n".join(lines)


@pytest.mark.parametrize("make", [mutex, rw_semaphore, spinlock])
def test_release_of_what_is_not_held(make: type) -> None:
    for again in (False, True):
        box = Threads(1, check=True)
        lock = make(box.sched, "it")
        take, release = (lock.down_write, lock.up_write) if make is rw_semaphore else (lock.lock, lock.unlock)

        def body(again: bool = again, take: Callable[[], None] = take, release: Callable[[], None] = release) -> None:
            if again:
                take()
                release()
            release()

        assert found(box, body)[0] == "it is released, which nobody holds"


def test_release_by_a_task_that_does_not_hold_it() -> None:
    box = Threads(2, check=True)
    lock = rw_semaphore(box.sched, "it")

    def holder() -> None:
        lock.down_read()
        box.sched.block(deadline=1_000_000)
        lock.up_read()

    def other() -> None:
        box.at(10_000)
        lock.up_read()

    lines = found(box, holder, other)
    assert lines[0] == "it is released by a task that does not hold it"
    assert any("thread0/" in line for line in lines) and any("holder (" in line for line in lines)


def test_read_and_write_are_not_mixed_up() -> None:
    box = Threads(1, check=True)
    lock = rw_semaphore(box.sched, "it")

    def body() -> None:
        lock.down_write()
        lock.downgrade_write()
        lock.up_read()
        lock.down_read()
        lock.up_write()

    assert found(box, body)[0] == "it is released as if held for write"


def test_nobody_goes_back_to_the_guest_with_a_lock() -> None:
    for section in (False, True):
        box = Threads(1, check=True)
        assert isinstance(box.sched, CheckedSched)
        rcu = CheckedRcu(box.sched)
        lock = mutex(box.sched, "it")

        def body(section: bool = section, rcu: CheckedRcu = rcu, lock: mutex = lock) -> None:
            (rcu.rcu_read_lock if section else lock.lock)()
            rcu.quiescent()

        assert found(box, body)[0].startswith("return to user mode")


def test_a_task_may_not_end_with_a_lock() -> None:
    box = Threads(1, check=True)
    lock = mutex(box.sched, "it")
    assert found(box, lock.lock)[0] == "return to user mode with locks held"


@pytest.mark.parametrize("cpus", [1, 2])
def test_sleeping_where_one_may_not(cpus: int) -> None:
    """Even where the lock that could be waited for is free."""
    for section in (False, True):
        for wait in (False, True):
            box = Threads(cpus, check=True)
            assert isinstance(box.sched, CheckedSched)
            rcu, spin, lock = CheckedRcu(box.sched), spinlock(box.sched, "spin"), mutex(box.sched, "it")

            def body(
                section: bool = section, wait: bool = wait, rcu: CheckedRcu = rcu, spin: spinlock = spin,
                lock: mutex = lock, box: Threads = box,
            ) -> None:  # fmt: skip
                (rcu.rcu_read_lock if section else spin.lock)()
                if wait:
                    box.sched.block(deadline=box.sched.clock + 1000)
                else:
                    lock.lock()

            expected = "in a read-side section of RCU" if section else "inside the spinlock spin"
            assert expected in found(box, body)[0]


def test_a_grace_period_that_ends_inside_an_older_section_is_reported() -> None:
    box = Threads(2, check=True)
    assert isinstance(box.sched, CheckedSched)
    rcu = CheckedRcu(box.sched)

    def reader() -> None:
        rcu.rcu_read_lock()
        box.at(50_000)
        rcu.rcu_read_unlock()

    def updater() -> None:
        box.at(10_000)
        rcu.call_rcu(lambda: None)
        rcu.rcu_barrier()  # calls everything at once: no grace period

    lines = found(box, reader, updater)
    assert lines[0] == "a grace period ended while a read-side section that is older goes on"
    assert any("reader (" in line for line in lines) and any("updater (" in line for line in lines)


def test_rcu_read_unlock_has_a_lock() -> None:
    box = Threads(1, check=True)
    assert isinstance(box.sched, CheckedSched)
    assert found(box, CheckedRcu(box.sched).rcu_read_unlock)[0] == "rcu_read_unlock without rcu_read_lock"
