# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler: which CPU goes on, which task it runs, when sleepers wake, and that all of it repeats."""

from __future__ import annotations

from errno import EINTR, ETIMEDOUT

import pytest

from emu.sched.entity import SCHED_FIFO, SCHED_RR, State
from emu.sched.fair import TICK_NSEC, base_slice
from emu.sched.rq import RR_TIMESLICE
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints
from tests.locking.threads import KThread, Threads

US = 1000
SLICE = base_slice(1)


def test_the_cpu_with_the_smallest_clock_goes_on() -> None:
    box = Threads(3)

    def steps(name: str, ns: int) -> None:
        for _ in range(4):
            box.work(ns)
            box.sched.sync()
            box.note((box.sched.clock, name))

    for name, ns in (("a", 100), ("b", 250), ("c", 70)):
        box.start(lambda name=name, ns=ns: steps(name, ns))
    log = box.run()
    assert log == sorted(log)  # type: ignore[type-var]
    assert [who for _, who in log][:3] == ["c", "a", "c"]  # type: ignore[misc]


def test_ticks_take_time_where_a_cpu_is_busy() -> None:
    box = Threads(1)
    sched = box.sched

    def sleeper() -> None:
        box.work(3 * TICK_NSEC + 5)
        before = sched.clock
        sched.tick()
        box.note(sched.clock - before)
        box.note(sched.rq.tick_due)
        sched.block(deadline=50 * TICK_NSEC + 7)  # an idle CPU has no ticks
        box.note(sched.rq.tick_due)

    box.start(sleeper)
    assert box.run() == [3 * sched.cost.tick, 4 * TICK_NSEC, 51 * TICK_NSEC]


def test_nothing_is_switched_below_the_horizon() -> None:
    box = Threads(2)

    def short() -> None:
        for _ in range(5):
            box.work(1)
            box.sched.sync()
            box.note("short")

    def long() -> None:
        box.work(10 * US)
        box.sched.sync()
        box.note("long")

    box.start(long)
    box.start(short)
    assert box.run() == ["short"] * 5 + ["long"]


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_sleep_ends_by_its_deadline_a_wake_up_or_a_signal(cpus: int) -> None:
    box = Threads(cpus)
    results: dict[str, int] = {}
    sleepers: dict[str, KThread] = {}

    def sleep(name: str, state: State, deadline: int | None) -> None:
        results[name] = box.sched.block(state, deadline)
        results[name + " at"] = box.sched.clock

    def disturb() -> None:
        box.at(50 * US)
        box.sched.wake(sleepers["woken"], 7)
        box.kill(sleepers["killed"])
        assert not box.sched.wake(sleepers["woken"]), "it is awake"

    for name, state, deadline in (
        ("late", State.UNINTERRUPTIBLE, 200 * US),
        ("woken", State.UNINTERRUPTIBLE, None),
        ("killed", State.KILLABLE, None),
    ):
        sleepers[name] = box.start(lambda n=name, s=state, d=deadline: sleep(n, s, d))
    box.start(disturb)
    box.run()
    assert (results["late"], results["woken"], results["killed"]) == (-ETIMEDOUT, 7, -EINTR)
    assert 200 * US <= results["late at"] <= 210 * US
    assert 50 * US <= results["woken at"] <= 60 * US


def test_a_deadline_that_has_passed_does_not_sleep() -> None:
    box = Threads(1)
    box.start(lambda: box.note(box.sched.block(deadline=box.sched.clock)))
    assert box.run() == [-ETIMEDOUT]


def test_tasks_of_one_cpu_take_turns_of_a_slice() -> None:
    box = Threads(1)

    def spin(name: str) -> None:
        for _ in range(8):
            box.work(TICK_NSEC // 2 + 1)
            if box.sched.rq.waiting and box.sched.clock >= box.sched.rq.slice_end:
                box.sched.resched()
            box.note(name)

    box.start(lambda: spin("a"))
    box.start(lambda: spin("b"))
    log = box.run()
    turns = [name for at, name in enumerate(log) if at == 0 or log[at - 1] != name]
    assert len(turns) >= 6, log
    assert log.count("a") == log.count("b") == 8


def test_a_nicer_task_gets_less_of_the_cpu() -> None:
    box = Threads(1)
    ran = {0: 0, 5: 0}

    def spin(nice: int) -> None:
        sched = box.sched
        sched.set_scheduler(sched.current, 0, 0, nice)
        while sched.clock < 2000 * TICK_NSEC:
            box.work(TICK_NSEC // 4)
            ran[nice] += TICK_NSEC // 4
            if sched.current.need_resched or (sched.rq.waiting and sched.clock >= sched.rq.slice_end):
                sched.resched()

    for nice in ran:
        box.start(lambda nice=nice: spin(nice))
    box.run()
    assert ran[0] / ran[5] == pytest.approx(1.25**5, rel=0.02)


def test_a_real_time_task_runs_first() -> None:
    box = Threads(1)
    box.start(lambda: box.work(US))
    for name, priority in (("low", 0), ("ten", 10), ("twenty", 20)):
        task = box.start(lambda name=name: box.note(name))
        if priority:
            box.sched.set_scheduler(task, SCHED_FIFO, priority, 0)
    assert box.run() == ["twenty", "ten", "low"]


def test_a_round_robin_task_goes_on_where_only_lesser_ones_wait() -> None:
    box = Threads(1)

    def turns() -> None:
        sched = box.sched
        sched.set_scheduler(sched.current, SCHED_RR, 5, 0)
        for _ in range(3):
            box.work(RR_TIMESLICE + 1)
            assert sched.rq.waiting and sched.clock >= sched.rq.slice_end
            sched.resched()
            assert sched.rq.slice_end == sched.clock + RR_TIMESLICE
        box.note("first")

    box.start(turns)
    box.start(lambda: box.note("second"))
    assert box.run() == ["first", "second"]
    assert box.threads[0].sum_exec_runtime >= 3 * RR_TIMESLICE


def test_a_woken_task_goes_to_an_idle_cpu_that_it_may_use() -> None:
    box = Threads(4)
    seen: list[int] = []

    def where() -> None:
        seen.append(box.sched.rq.id)
        box.work(100 * US)
        box.sched.sync()

    for mask in (0b1000, 0b1000, -1):
        task = KThread(200 + len(box.threads))
        task.affinity = mask
        box.adopt(task, where)
    box.run()
    assert seen.count(3) == 2 and len(seen) == 3


def test_an_idle_cpu_takes_waiting_tasks_from_a_busy_one() -> None:
    box = Threads(2)
    ran: list[int] = []

    def work() -> None:
        box.work(2 * SLICE)
        box.sched.sync()
        ran.append(box.sched.rq.id)

    for _ in range(4):
        box.start(work)
    box.run()
    assert sorted(ran) == [0, 0, 1, 1]


def test_a_task_that_may_not_stay_moves_at_once() -> None:
    box = Threads(2)

    def move() -> None:
        first = box.sched.rq.id
        box.sched.set_affinity(box.sched.current, 1 << 1 - first)
        box.note((first, box.sched.rq.id))

    box.start(move)
    ((first, second),) = box.run()  # type: ignore[misc]
    assert second == 1 - first


def test_timers_fire_in_order_and_can_be_cancelled() -> None:
    box = Threads(1)
    fired: list[tuple[str, int]] = []

    def arm() -> None:
        sched = box.sched
        for name, at in (("b", 30 * US), ("a", 20 * US), ("gone", 25 * US)):
            timer = sched.add_timer(at, lambda name=name: fired.append((name, sched.clock)))
            if name == "gone":
                timer.function = None
        sched.block(deadline=100 * US)

    box.start(arm)
    box.run()
    assert fired == [("a", 20 * US), ("b", 30 * US)]


def test_a_run_ends_at_its_end() -> None:
    sched = Sched(Tracepoints(), 1)
    box = Threads(1)
    box.sched.end = 50 * US
    box.start(lambda: box.sched.block(deadline=10**12))
    box.sched.run()
    assert box.sched.timed_out and box.sched.tasks == 1
    assert not sched.timed_out


def test_who_waits_for_nothing_is_left() -> None:
    box = Threads(2)
    box.start(lambda: box.sched.block())
    box.sched.run()
    assert box.sched.tasks == 1 and not box.sched.timed_out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_seed_gives_the_same_run_and_others_another(seed: int) -> None:
    def run(seed: int) -> list[object]:
        box = Threads(4, seed)

        def steps(name: int) -> None:
            for _ in range(20):
                box.work(100 + name)
                box.sched.sync()
                box.note((name, box.sched.clock))

        for name in range(4):
            box.start(lambda name=name: steps(name))
        return box.run()

    assert run(seed) == run(seed)
    assert run(seed) != run(seed + 1)


def test_cpu_time_is_neither_sleep_nor_waiting() -> None:
    box = Threads(1)
    used: list[int] = []

    def work() -> None:
        box.work(30 * US)
        box.sched.block(deadline=box.sched.clock + 500 * US)
        box.work(20 * US)
        used.append(box.sched.cpu_ns(box.sched.current))

    box.start(work)
    box.start(lambda: box.work(200 * US))
    box.run()
    assert 50 * US <= used[0] <= 55 * US


def test_signal_interrupts_the_cpu_that_runs_its_task() -> None:
    """Once: who has a signal already needs no second interrupt. A sender on the same CPU sends none."""
    box = Threads(3)
    cost = box.sched.cost
    spent: list[int] = []

    def busy() -> None:
        box.work(100 * US)
        box.sched.sync()

    def send() -> None:
        for target in (busy_one, busy_one, box.sched.current):
            before = box.sched.clock
            box.sched.signal_wake(target, False)
            spent.append(box.sched.clock - before)
        rq = busy_one.rq
        assert rq is not None
        spent.append(rq.interrupted)

    busy_one = box.start(busy)
    box.start(send)
    box.run()
    assert spent == [cost.ipi, 0, 0, cost.ipi_receive]
