# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader/writer semaphore: who gets it when, and what the trace says of who waited for whom."""

from __future__ import annotations

from errno import EINTR

import pytest

from emu.locking.rwsem import (
    MAX_READERS_WAKEUP,
    RWSEM_FLAG_HANDOFF,
    RWSEM_FLAG_WAITERS,
    RWSEM_READER_BIAS,
    RWSEM_WRITER_LOCKED,
    rw_semaphore,
)
from emu.tracepoint import Kind
from tests.locking.threads import Threads

US = 1000
MS = 1_000_000


def reader(box: Threads, sem: rw_semaphore, name: str, at: int, hold: int):
    def body() -> None:
        box.at(at)
        sem.down_read()
        box.note((name, "in"))
        box.work(hold)
        box.sched.sync()
        box.note((name, "out"))
        sem.up_read()

    return body


def writer(box: Threads, sem: rw_semaphore, name: str, at: int, hold: int):
    def body() -> None:
        box.at(at)
        sem.down_write()
        box.note((name, "in"))
        assert sem.count & RWSEM_WRITER_LOCKED
        box.work(hold)
        box.sched.sync()
        box.note((name, "out"))
        sem.up_write()

    return body


def sleeper(box: Threads, sem: rw_semaphore, name: str, at: int, until: int, write: bool = True):
    """Holds it while asleep, so that nobody spins for it."""

    def body() -> None:
        box.at(at)
        (sem.down_write if write else sem.down_read)()
        box.note((name, "in"))
        box.sched.block(deadline=until)
        box.note((name, "out"))
        (sem.up_write if write else sem.up_read)()

    return body


def test_count_word() -> None:
    box = Threads(1)
    sem = rw_semaphore(box.sched, "s")
    sem.down_read()
    sem.down_read()
    assert sem.count == 2 * RWSEM_READER_BIAS and sem.readers == 2
    assert not sem.down_write_trylock()
    assert sem.down_read_trylock()
    for _ in range(3):
        sem.up_read()
    assert sem.count == 0 and not sem.is_locked()
    sem.down_write()
    assert sem.count == RWSEM_WRITER_LOCKED and sem.writer
    assert not sem.down_read_trylock() and not sem.down_write_trylock()
    sem.downgrade_write()
    assert sem.count == RWSEM_READER_BIAS and not sem.writer
    assert sem.down_read_trylock()
    sem.up_read()
    sem.up_read()
    assert sem.count == 0


def test_readers_share_and_a_writer_waits_for_all() -> None:
    box = Threads(4)
    sem = rw_semaphore(box.sched, "s")
    box.start(reader(box, sem, "r1", 5 * US, 40 * US))
    box.start(reader(box, sem, "r2", 6 * US, 80 * US))
    box.start(writer(box, sem, "w", 10 * US, 5 * US))
    box.start(reader(box, sem, "r3", 70 * US, 5 * US))
    log = box.run()
    assert log == [
        ("r1", "in"), ("r2", "in"), ("r1", "out"), ("r2", "out"),
        ("w", "in"), ("w", "out"), ("r3", "in"), ("r3", "out"),
    ]  # fmt: skip
    assert sem.count == 0 and not sem.holders


def test_queue_is_first_come_first_served_and_readers_go_in_one_batch() -> None:
    box = Threads(8)
    sem = rw_semaphore(box.sched, "s")
    box.start(sleeper(box, sem, "s", 5 * US, 300 * US))
    box.start(writer(box, sem, "w1", 20 * US, 5 * US))
    box.start(reader(box, sem, "r1", 30 * US, 5 * US))
    box.start(writer(box, sem, "w2", 40 * US, 5 * US))
    box.start(reader(box, sem, "r2", 50 * US, 5 * US))
    log = [entry for entry in box.run() if entry[1] == "in"]
    # Both readers go in together, before the writer that stood between them.
    assert [name for name, _ in log] == ["s", "w1", "r1", "r2", "w2"]


def test_no_more_than_256_readers_are_woken_at_once() -> None:
    box = Threads(16)
    sem = rw_semaphore(box.sched, "s")
    most = 0

    def many() -> None:
        nonlocal most
        box.at(10 * US)
        sem.down_read()
        most = max(most, sem.readers)
        box.sched.block(deadline=box.sched.clock + 5 * MS)
        sem.up_read()

    box.start(sleeper(box, sem, "s", 5 * US, 3 * MS))
    for _ in range(MAX_READERS_WAKEUP + 20):
        box.start(many)
    box.run()
    assert most == MAX_READERS_WAKEUP
    assert sem.count == 0


def test_reader_steals_only_where_no_crowd_of_readers_is_inside() -> None:
    for inside, stolen in ((0, True), (1, False)):
        box = Threads(8)
        sem = rw_semaphore(box.sched, "s")
        for i in range(inside):
            box.start(sleeper(box, sem, f"r{i}", 5 * US, 300 * US, write=False))
        # A writer sleeps in the queue: of a lock that nobody has, or of one that a reader has.
        box.start(sleeper(box, sem, "s", 4 * US, 50 * US) if not inside else sleeper(box, sem, "w", 20 * US, 400 * US))
        if not inside:
            box.start(writer(box, sem, "w", 20 * US, 5 * US))

        def late(box: Threads = box, sem: rw_semaphore = sem, inside: int = inside) -> None:
            box.at(40 * US)
            while not inside and ("s", "out") not in box.log:
                box.at(box.sched.clock + 50)
            # The writer has been woken, and is not there yet; or sleeps while readers are inside.
            reader(box, sem, "late", box.sched.clock + 100, 5 * US)()

        box.start(late)
        order = [name for name, what in box.run() if what == "in"]
        assert (order.index("late") < order.index("w")) == stolen, order


def test_writer_that_waited_4_ms_gets_the_lock_handed_over() -> None:
    """Without the handoff the thief, who comes again while the woken writer is on its way, would win for ever."""
    box = Threads(4)
    sem = rw_semaphore(box.sched, "s")
    taken_at = 0
    handoff = False

    def thief() -> None:
        nonlocal handoff
        while box.sched.clock < 20 * MS:
            sem.down_write()
            box.sched.block(deadline=box.sched.clock + 100 * US)
            handoff = handoff or bool(sem.count & RWSEM_FLAG_HANDOFF)
            sem.up_write()
            box.work(10)

    def victim() -> None:
        nonlocal taken_at
        box.at(50 * US)
        sem.down_write()
        taken_at = box.sched.clock
        sem.up_write()

    box.start(thief)
    box.start(victim)
    box.run()
    assert handoff
    assert 4 * MS < taken_at < 5 * MS


def test_a_writer_spins_for_a_running_owner_and_sleeps_for_a_sleeping_one() -> None:
    for asleep in (False, True):
        box = Threads(2)
        sem = rw_semaphore(box.sched, "s")
        box.start((sleeper if asleep else writer)(box, sem, "a", 5 * US, 100 * US))
        waiter = box.start(writer(box, sem, "b", 10 * US, 1 * US))
        box.run()
        assert waiter.nvcsw == int(asleep)


def test_a_spinning_writer_goes_to_sleep_when_the_owner_does() -> None:
    box = Threads(2)
    sem = rw_semaphore(box.sched, "s")

    def owner() -> None:
        box.at(5 * US)
        sem.down_write()
        box.at(50 * US)
        box.sched.block(deadline=500 * US)
        sem.up_write()

    box.start(owner)
    waiter = box.start(writer(box, sem, "b", 10 * US, 1 * US))
    box.run()
    assert waiter.nvcsw == 1


def test_a_writer_spins_for_readers_for_a_limited_time_only() -> None:
    for hold, slept in ((8 * US, 0), (60 * US, 1)):
        box = Threads(2)
        sem = rw_semaphore(box.sched, "s")
        box.start(reader(box, sem, "r", 5 * US, hold))
        waiter = box.start(writer(box, sem, "w", 6 * US, US))
        box.run()
        assert waiter.nvcsw == slept


def test_on_one_cpu_nobody_spins() -> None:
    box = Threads(1)
    sem = rw_semaphore(box.sched, "s")
    assert sem.line is None
    box.start(sleeper(box, sem, "a", 5 * US, 100 * US))
    waiter = box.start(writer(box, sem, "b", 6 * US, US))
    box.run()
    assert waiter.nvcsw == 1


@pytest.mark.parametrize("write", [False, True])
def test_a_fatal_signal_ends_a_killable_wait(write: bool) -> None:
    box = Threads(4)
    sem = rw_semaphore(box.sched, "s")
    result = []

    def victim() -> None:
        box.at(10 * US)
        result.append((sem.down_write_killable if write else sem.down_read_killable)())
        assert not sem.holders

    box.start(sleeper(box, sem, "s", 5 * US, 500 * US))
    task = box.start(victim)

    def killer() -> None:
        box.at(100 * US)
        assert sem.count & RWSEM_FLAG_WAITERS
        box.kill(task)
        box.at(200 * US)
        assert not sem.count & RWSEM_FLAG_WAITERS

    box.start(killer)
    box.start(reader(box, sem, "r", 600 * US, US))
    box.run()
    assert result == [-EINTR]
    assert sem.count == 0


def test_one_who_leaves_the_head_of_the_queue_lets_those_behind_in() -> None:
    box = Threads(4)
    sem = rw_semaphore(box.sched, "s")
    box.start(sleeper(box, sem, "first", 5 * US, 900 * US, write=False))

    def victim() -> None:
        box.at(10 * US)
        assert sem.down_write_killable() == -EINTR

    task = box.start(victim)
    box.start(reader(box, sem, "behind", 50 * US, US))

    def killer() -> None:
        box.at(100 * US)
        box.kill(task)

    box.start(killer)
    log = box.run()
    assert log.index(("behind", "in")) < log.index(("first", "out"))


def test_downgrade_lets_waiting_readers_in_and_no_writer() -> None:
    box = Threads(4)
    sem = rw_semaphore(box.sched, "s")

    def owner() -> None:
        box.at(5 * US)
        sem.down_write()
        box.sched.block(deadline=100 * US)
        sem.downgrade_write()
        box.note(("owner", "downgraded"))
        box.sched.block(deadline=300 * US)
        box.note(("owner", "out"))
        sem.up_read()

    box.start(owner)
    box.start(reader(box, sem, "r", 10 * US, US))
    box.start(writer(box, sem, "w", 20 * US, US))
    box.start(reader(box, sem, "behind", 30 * US, US))
    order = [entry for entry in box.run() if entry[1] != "out" or entry[0] == "owner"]
    # All readers of the queue go, the one behind the writer too.
    assert order == [("owner", "downgraded"), ("r", "in"), ("behind", "in"), ("owner", "out"), ("w", "in")]


def test_events_and_accounts_of_a_wait() -> None:
    box = Threads(4, trace=True)
    sem = rw_semaphore(box.sched, "mmap_lock", ident=7)
    holder = box.start(sleeper(box, sem, "a", 5 * US, 100 * US))
    waiter = box.start(reader(box, sem, "b", 20 * US, US))
    box.run()
    begin, end = (row for row in box.rows() if row["kind"] in (Kind.CONTENTION_BEGIN, Kind.CONTENTION_END))
    assert (begin["kind"], begin["tid"], begin["text"], begin["address"], begin["holder"], begin["code"]) == (
        Kind.CONTENTION_BEGIN, waiter.pid, "mmap_lock", 7, holder.pid, 0,
    )  # fmt: skip
    assert (end["tid"], end["holder"], end["result"]) == (waiter.pid, holder.pid, 0)
    assert end["wait"] == end["time"] - begin["time"] == waiter.waits.wait
    assert 80 * US <= waiter.waits.wait < 90 * US
    assert waiter.waits.holder == holder.pid
    assert waiter.waiting_for == ""


@pytest.mark.parametrize("seed", range(12))
def test_never_a_writer_beside_anybody_under_any_schedule(seed: int) -> None:
    box = Threads(5, seed + 1)
    sem = rw_semaphore(box.sched, "s")
    inside: list[tuple[int, bool]] = []

    def body(number: int) -> None:
        state = seed * 977 + number * 131
        for _ in range(60):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            write, sleep, trylock = state >> 8 & 3 == 0, state >> 12 & 7 == 0, state >> 16 & 7 == 0
            if trylock:
                if not (sem.down_write_trylock if write else sem.down_read_trylock)():
                    box.work(500)
                    continue
            else:
                (sem.down_write if write else sem.down_read)()
            assert not any(w for _, w in inside) and not (write and inside), (number, write, inside)
            inside.append((number, write))
            box.work(200 + (state >> 20 & 1023) * 8)
            if sleep:
                box.sched.block(deadline=box.sched.clock + 30 * US)
            else:
                box.sched.sync()
            if write and state >> 5 & 1:
                inside.remove((number, True))
                inside.append((number, False))
                sem.downgrade_write()
                write = False
                box.work(300)
                box.sched.sync()
            inside.remove((number, write))
            (sem.up_write if write else sem.up_read)()
            box.work(state >> 9 & 2047)
        box.note(number)

    for number in range(9):
        box.start(lambda number=number: body(number))
    assert sorted(box.run()) == list(range(9))
    assert sem.count == 0 and not sem.holders and not sem.wait_list and not sem.osq.queue and not sem.spinners
