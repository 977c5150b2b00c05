# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU: when a grace period ends, and how callbacks are called."""

from __future__ import annotations

from emu.locking.rcu import BLIMIT, QHIMARK, Rcu
from tests.locking.threads import Threads

US = 1000
MS = 1_000_000


def test_a_grace_period_lasts_until_every_busy_cpu_passed_a_quiescent_state() -> None:
    box = Threads(3)
    rcu = Rcu(box.sched)

    def reader() -> None:
        box.at(10 * US)
        rcu.rcu_read_lock()
        for moment in range(20, 200, 20):
            box.at(moment * US)
        box.note("section ends")
        rcu.rcu_read_unlock()
        rcu.quiescent()

    def updater() -> None:
        box.at(30 * US)
        rcu.call_rcu(lambda: box.note("freed"))
        for moment in range(40, 400, 20):
            box.at(moment * US)
            rcu.quiescent()

    box.start(reader)
    box.start(updater)
    assert box.run() == ["section ends", "freed"]
    assert not rcu.pending


def test_a_cpu_that_switched_or_idles_is_not_waited_for() -> None:
    box = Threads(3)
    rcu = Rcu(box.sched)

    def blocker() -> None:
        box.at(10 * US)
        box.at(35 * US)
        box.sched.block(deadline=90 * MS)
        box.note("woken")

    def updater() -> None:
        box.at(30 * US)
        rcu.call_rcu(lambda: box.note("freed"))
        while rcu.pending:
            box.at(box.sched.clock + 100 * US)
            rcu.quiescent()
        assert box.sched.clock < 5 * MS

    box.start(blocker)
    box.start(updater)
    assert box.run() == ["freed", "woken"]


def test_batches_go_on_while_a_grace_period_waits_for_others() -> None:
    """A CPU that has reported still calls what may be called."""
    box = Threads(2)
    rcu = Rcu(box.sched)
    called: list[int] = []

    def reader() -> None:
        for moment in (10, 50, 70):
            box.at(moment * US)
            rcu.quiescent()
        box.at(500 * US)  # in a section until then
        rcu.quiescent()

    def updater() -> None:
        box.at(30 * US)
        for number in range(1 + 4 * BLIMIT):
            rcu.call_rcu(lambda number=number: called.append(number))  # type: ignore[misc]
        for moment in (40, 60, 65, 80):
            box.at(moment * US)
            rcu.quiescent()
        assert len(called) == 1 + 2 * BLIMIT
        rcu.call_rcu(lambda: box.note("freed"))  # a grace period begins, which waits for the reader
        for count in (3, 4):
            rcu.quiescent()
            assert called == list(range(1 + count * BLIMIT))
        box.note("all called")

    box.start(reader)
    box.start(updater)
    assert box.run() == ["all called", "freed"]


def test_what_comes_during_a_grace_period_waits_for_the_next() -> None:
    box = Threads(2)
    rcu = Rcu(box.sched)

    def late_reader() -> None:
        box.at(30 * US)  # begins after the first call_rcu and before the second
        box.at(50 * US)
        rcu.quiescent()  # ends the first grace period
        box.note("reader in")
        box.at(200 * US)
        box.note("reader out")
        rcu.quiescent()

    def updater() -> None:
        box.at(20 * US)
        rcu.call_rcu(lambda: box.note("first"))
        box.at(40 * US)
        rcu.call_rcu(lambda: box.note("second"))
        for moment in range(60, 300, 10):
            box.at(moment * US)
            rcu.quiescent()

    box.start(late_reader)
    box.start(updater)
    assert box.run() == ["reader in", "first", "reader out", "second"]
    assert rcu.gp_seq == 2


def test_callbacks_are_called_in_batches_unless_too_many_wait() -> None:
    for count, first in ((25, BLIMIT), (QHIMARK + 2, QHIMARK + 1)):
        box = Threads(2)
        rcu = Rcu(box.sched)
        called = []
        after = []

        def body(count: int = count, rcu: Rcu = rcu, called: list[int] = called, after: list[int] = after) -> None:
            for i in range(count):
                rcu.call_rcu(lambda i=i: called.append(i))
            while rcu.pending:
                rcu.quiescent()
                after.append(len(called))

        box.start(body)
        box.run()
        assert called == list(range(count))
        # The first callback began a grace period of its own.
        assert after[0] == 1 and after[1] == 1 + min(first, count - 1)


def test_one_cpu_needs_one_quiescent_state() -> None:
    box = Threads(1)
    rcu = Rcu(box.sched)
    for i in range(3):
        rcu.call_rcu(lambda i=i: box.note(i))
    assert box.log == []
    rcu.quiescent()
    assert box.log == [0, 1, 2] and not rcu.pending
    rcu.synchronize_rcu()


def test_synchronize_rcu_waits_for_readers_and_for_cpus_that_say_nothing() -> None:
    box = Threads(3)
    rcu = Rcu(box.sched)

    def reader() -> None:
        box.at(10 * US)
        box.at(200 * US)
        box.note("reader out")
        rcu.quiescent()

    def silent() -> None:
        box.at(10 * US)
        box.sched.block(deadline=50 * MS)

    def updater() -> None:
        box.at(50 * US)
        rcu.synchronize_rcu()
        box.note("synchronized")
        assert box.sched.clock < 20 * MS

    box.start(reader)
    box.start(silent)
    box.start(updater)
    assert box.run() == ["reader out", "synchronized"]


def test_barrier_calls_everything() -> None:
    box = Threads(4)
    rcu = Rcu(box.sched)

    def body() -> None:
        for i in range(3):
            rcu.call_rcu(lambda i=i: rcu.call_rcu(lambda: box.note(i)))

    box.start(body)
    box.run()
    rcu.rcu_barrier()
    assert sorted(box.log) == [0, 1, 2] and not rcu.pending
