# SPDX-License-Identifier: GPL-2.0-or-later
"""EEVDF: shares, lag, deadlines, who makes room for whom. Times are of a CPU whose ticks come each ms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.sched.entity import SCHED_BATCH, SCHED_IDLE, SchedEntity
from emu.sched.fair import TICK_NSEC, CfsRq, base_slice, reweight

MS = 1_000_000
SLICE = base_slice(8)


def entity(pid: int, nice: int = 0, policy: int = 0) -> SchedEntity:
    se = SchedEntity(pid)
    se.nice, se.policy = nice, policy
    reweight(se)
    return se


def running(cfs: CfsRq, se: SchedEntity, now: int) -> SchedEntity:
    """Enqueue a task and let it run."""
    cfs.enqueue_entity(se, now)
    se.exec_start = now
    cfs.set_next_entity(se)
    return se


def test_the_slice_grows_with_the_machine() -> None:
    assert [base_slice(cpus) // 100_000 for cpus in (1, 2, 3, 4, 7, 8, 64)] == [7, 14, 14, 21, 21, 28, 28]


def test_one_that_slept_before_it_had_its_share_takes_the_cpu_at_once_until_it_had_it() -> None:
    cfs = CfsRq(SLICE)
    hog, sleeper = running(cfs, entity(1), 0), entity(2)
    cfs.enqueue_entity(sleeper, 0)
    assert not cfs.wakeup_preempt(sleeper), "the one that runs is let alone"
    now = SLICE
    assert cfs.slice_end() == 3 * TICK_NSEC
    woken = 0
    cfs.put_prev_entity(now)
    assert hog.need_resched
    hog.need_resched = False
    assert cfs.pick_eevdf() is sleeper
    while True:
        sleeper.exec_start = now
        cfs.set_next_entity(sleeper)
        now += MS // 4
        cfs.dequeue_entity(sleeper, now, sleep=True)
        hog.exec_start = now
        cfs.set_next_entity(hog)
        now += 1000
        if sleeper.sched_delayed:
            break
        cfs.enqueue_entity(sleeper, now)
        assert cfs.wakeup_preempt(sleeper)
        cfs.put_prev_entity(now)
        woken += 1
        assert woken < 100
    assert 8 <= woken <= 11, "each had as much: 2.8 ms in turns of 0.25"


def test_one_that_had_more_than_its_share_waits_until_that_is_over() -> None:
    cfs = CfsRq(SLICE)
    other = entity(2)
    greedy = running(cfs, entity(1), 0)
    cfs.enqueue_entity(other, 0)
    cfs.dequeue_entity(greedy, 2 * MS, sleep=True)
    assert greedy.sched_delayed and greedy in cfs.tasks
    other.exec_start = 2 * MS
    cfs.set_next_entity(other)
    cfs.requeue_delayed_entity(greedy, 3 * MS)  # woken too early: it is still 0.5 ms of V ahead
    assert not greedy.sched_delayed and greedy.vlag == -MS // 2 and not cfs.wakeup_preempt(greedy)
    cfs.dequeue_entity(greedy, 3 * MS, sleep=True)
    assert greedy.sched_delayed
    cfs.requeue_delayed_entity(greedy, 6 * MS)  # long after: all is forgotten, what it is owed too
    assert greedy.vlag == 0 and greedy.vruntime == cfs.avg_vruntime()
    cfs.dequeue_entity(greedy, 6 * MS, sleep=True)
    assert not greedy.sched_delayed and greedy not in cfs.tasks


def test_a_sleeper_that_is_picked_leaves() -> None:
    cfs = CfsRq(SLICE)
    greedy = running(cfs, entity(1), 0)
    last = entity(2)
    cfs.enqueue_entity(last, 0)
    cfs.dequeue_entity(greedy, MS, sleep=True)
    last.exec_start = MS
    cfs.set_next_entity(last)
    cfs.dequeue_entity(last, MS + 10, sleep=True)
    assert cfs.pick_eevdf() is greedy and greedy.sched_delayed
    cfs.finish_delayed_dequeue_entity(greedy, MS + 10)
    assert cfs.pick_eevdf() is None and not cfs.sum_weight and not cfs.sum_w_vruntime


def test_ticks_renew_the_request_of_one_that_is_alone() -> None:
    cfs = CfsRq(SLICE)
    hog = running(cfs, entity(1), 0)
    for now, deadline in (
        (2 * MS, SLICE),
        (3 * MS + 1, 3 * MS + SLICE),  # the tick after 2.8 ms
        (5 * MS + 8 * MS // 10, 5 * MS + 8 * MS // 10 + SLICE),  # met, and no tick saw it: now
        (40 * MS + 10, 39 * MS + SLICE),  # ticks at 9, 12 ... 39
    ):
        cfs.update_curr(now)
        assert hog.deadline == deadline, now
    assert hog.vruntime == hog.sum_exec_runtime == 40 * MS + 10


def test_a_waker_without_lag_waits_for_the_request_of_the_one_that_runs() -> None:
    cfs = CfsRq(SLICE)
    hog = running(cfs, entity(1), 0)
    cfs.update_curr(40 * MS + 10)
    woken = entity(2)
    cfs.enqueue_entity(woken, 40 * MS + 10)
    assert not cfs.wakeup_preempt(woken), "its deadline, at 41.8, is earlier"
    assert cfs.slice_end() == 41 * MS
    cfs.dequeue_entity(woken, 40 * MS + 20, sleep=True)
    assert hog.need_resched
    hog.need_resched = False
    cfs.enqueue_entity(woken, 41 * MS + 9 * MS // 10)
    assert cfs.wakeup_preempt(woken), "the request of the one that runs was met"
    assert hog.deadline > woken.deadline - 10 * MS


@pytest.mark.parametrize(
    ("runs", "wakes", "expected"), [(SCHED_IDLE, 0, True), (0, SCHED_IDLE, False), (0, SCHED_BATCH, False)]
)
def test_policies_at_a_wake_up(runs: int, wakes: int, expected: bool) -> None:
    cfs = CfsRq(SLICE)
    running(cfs, entity(1, policy=runs), 0)
    woken = entity(2, policy=wakes)
    woken.vlag = MS
    cfs.enqueue_entity(woken, MS)
    assert cfs.wakeup_preempt(woken) is expected


def test_a_shorter_request_breaks_the_protection() -> None:
    cfs = CfsRq(SLICE)
    running(cfs, entity(1), 0)
    quick = entity(2)
    quick.custom_slice = MS // 10
    cfs.enqueue_entity(quick, 0)
    assert cfs.wakeup_preempt(quick)


def test_yield_gives_up_the_request() -> None:
    cfs = CfsRq(SLICE)
    first, second = running(cfs, entity(1), 0), entity(2)
    cfs.yield_task(10)
    assert first.vruntime <= 10, "alone it gives up nothing"
    cfs.enqueue_entity(second, 10)
    cfs.yield_task(10)
    assert first.vruntime == SLICE and first.deadline == 2 * SLICE and cfs.pick_eevdf() is second
    cfs.yield_task(20)
    assert first.vruntime == SLICE + 10, "one that has had its share gives up no more"


def test_a_migrated_request_goes_on() -> None:
    one, two = CfsRq(SLICE), CfsRq(SLICE)
    running(one, entity(1), 0)
    running(two, entity(3), 0)
    two.update_curr(50 * MS)
    moved = entity(2)
    one.enqueue_entity(moved, 0)
    one.put_prev_entity(MS)
    moved.exec_start = MS
    one.set_next_entity(moved)
    one.dequeue_entity(moved, 2 * MS, sleep=False)
    two.enqueue_entity(moved, 50 * MS)
    assert moved.deadline - moved.vruntime == SLICE - MS


def test_weights_follow_nice() -> None:
    assert [entity(1, nice).weight for nice in (0, 1, -1, 19)] == [1024, 819, 1280, 15]
    assert entity(1, policy=SCHED_IDLE).weight == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5 * MS), st.integers(-20, 19)), max_size=60))
def test_sums_hold_and_who_is_picked_is_eligible(steps: list[tuple[int, int, int]]) -> None:
    cfs = CfsRq(SLICE)
    now = 0
    away: list[SchedEntity] = []
    for number, (what, ns, nice) in enumerate(steps):
        now += ns
        curr = cfs.curr
        if what == 0:
            cfs.enqueue_entity(entity(number, nice), now, initial=True)
        elif what == 1 and away:
            se = away.pop()
            if se.sched_delayed:
                cfs.requeue_delayed_entity(se, now)
            else:
                cfs.enqueue_entity(se, now)
            cfs.wakeup_preempt(se)
        elif what == 2 and curr is not None:
            cfs.dequeue_entity(curr, now, sleep=True)
            away.append(curr)
        elif what == 3 and curr is not None:
            cfs.yield_task(now)
        if cfs.curr is not None:
            cfs.put_prev_entity(now)
        while (best := cfs.pick_eevdf()) is not None and best.sched_delayed:
            cfs.finish_delayed_dequeue_entity(best, now)
        assert (best is None) == (not cfs.tasks)
        assert cfs.sum_weight == sum(se.weight for se in cfs.tasks)
        assert cfs.sum_w_vruntime == sum(se.weight * se.vruntime for se in cfs.tasks)
        if best is not None:
            assert cfs.entity_eligible(best)
            earlier = [se for se in cfs.tasks if se.deadline < best.deadline]
            assert not any(map(cfs.entity_eligible, earlier))
            best.exec_start = now
            cfs.set_next_entity(best)
            assert best.vruntime <= best.vprot <= best.deadline
        for se in away:
            if not se.sched_delayed:
                assert abs(se.vlag) <= max(2 * se.slice, TICK_NSEC) * 1024 // se.weight


def test_the_shortest_request_of_all_ends_the_protection() -> None:
    cfs = CfsRq(SLICE)
    quick = entity(2)
    quick.custom_slice = MS // 2
    cfs.enqueue_entity(quick, 0)
    cfs.enqueue_entity(hog := entity(1), 0)
    cfs.set_next_entity(hog)
    assert hog.vprot == MS // 2 and hog.deadline == SLICE
    cfs = CfsRq(SLICE)
    hog = running(cfs, entity(1), 0)
    assert hog.vprot == SLICE
    quick.vlag, quick.custom_slice = -4 * MS, MS // 2
    cfs.enqueue_entity(entity(3), 0)
    cfs.enqueue_entity(quick, 0)
    assert not cfs.wakeup_preempt(quick), "it is not eligible"
    assert hog.vprot == MS // 2, "but what it asks for is short"


def test_a_new_task_asks_for_half_at_first() -> None:
    cfs = CfsRq(SLICE)
    cfs.enqueue_entity(new := entity(1), 0, initial=True)
    cfs.enqueue_entity(woken := entity(2), 0)
    assert new.deadline - new.vruntime == SLICE // 2 and woken.deadline - woken.vruntime == SLICE


def test_lag_has_a_limit() -> None:
    cfs = CfsRq(SLICE)
    running(cfs, entity(1), 0)
    waits = entity(2)
    cfs.enqueue_entity(waits, 0)
    cfs.dequeue_entity(waits, 100 * MS, sleep=False)
    assert waits.vlag == 2 * SLICE
    waits.vlag = 0
    cfs.enqueue_entity(waits, 100 * MS)
    cfs.curr, hog = None, cfs.curr
    assert hog is not None
    hog.vruntime = -100 * MS
    cfs.enqueue_entity(hog, 100 * MS)
    hog.vruntime, cfs.sum_w_vruntime = -100 * MS, 1024 * (waits.vruntime - 100 * MS)
    cfs.dequeue_entity(waits, 100 * MS, sleep=False)
    assert waits.vlag == -2 * SLICE


def test_a_sleeper_that_leaves_late_is_owed_nothing() -> None:
    cfs = CfsRq(SLICE)
    greedy = running(cfs, entity(1), 0)
    other = entity(2)
    cfs.enqueue_entity(other, 0)
    cfs.dequeue_entity(greedy, 2 * MS, sleep=True)
    other.exec_start = 2 * MS
    cfs.set_next_entity(other)
    cfs.finish_delayed_dequeue_entity(greedy, 6 * MS)
    assert greedy.vlag == 0 and not greedy.sched_delayed
    cfs.enqueue_entity(greedy, 6 * MS)
    cfs.put_prev_entity(6 * MS)
    cfs.set_next_entity(greedy)
    greedy.exec_start = 6 * MS
    cfs.dequeue_entity(greedy, 9 * MS, sleep=True)
    other.exec_start = 9 * MS
    cfs.set_next_entity(other)
    cfs.finish_delayed_dequeue_entity(greedy, 9 * MS + 10)
    assert greedy.vlag < 0, "what it had too much is kept"


def test_an_idle_task_makes_room_whatever_it_was_owed() -> None:
    cfs = CfsRq(SLICE)
    idler = running(cfs, entity(1, policy=SCHED_IDLE), 0)
    woken = entity(2)
    woken.vlag = -MS
    cfs.enqueue_entity(woken, 1)
    assert cfs.wakeup_preempt(woken)
    idler.need_resched = True
    assert not cfs.wakeup_preempt(woken), "once is enough"


def test_who_gets_another_weight_keeps_its_lag_in_time() -> None:
    se = entity(1)
    se.vlag, se.deadline, se.rel_deadline = MS, 2 * MS, True
    se.nice = -5
    reweight(se)
    assert se.weight == 3125 and se.vlag == MS * 1024 // 3125 and se.deadline == 2 * MS * 1024 // 3125
    se.vlag, se.rel_deadline = -MS, False
    deadline = se.deadline
    se.nice = 0
    reweight(se)
    assert se.vlag == -(MS * 3125 // 1024) and se.deadline == deadline
