# SPDX-License-Identifier: GPL-2.0-or-later
"""Fair scheduling, EEVDF (kernel/sched/fair.c of 6.18): of the tasks that have not had more than their share of a CPU,
the one whose request must be met first.

A task's `vruntime` is the time that it ran, in ns, divided by its weight (nice 0: 1). V, the average of all that
compete for a CPU by their weights, is what each should have had: one at or below V is eligible. A request is for
`slice` ns; its `deadline` is where vruntime will be when it is met. A task that leaves keeps its lag, V - vruntime, and
comes back with it: one that slept before it had its share finds the one that runs ineligible, and takes its place at
once; one that had more than its share sleeps on in the queue until V has come up to it (`sched_delayed`).

Features are as 6.18 has them by default: PLACE_LAG, PLACE_DEADLINE_INITIAL, PLACE_REL_DEADLINE, RUN_TO_PARITY,
PREEMPT_SHORT, DELAY_DEQUEUE, DELAY_ZERO, WAKEUP_PREEMPTION; no NEXT_BUDDY. Integers do not overflow here, so sums of
vruntime need no zero to count from. The queue is a list: what is picked is looked for, not kept in order.
"""

from __future__ import annotations

from emu.sched.entity import NICE_0_LOAD, SCHED_BATCH, SCHED_IDLE, SchedEntity

TICK_NSEC = 1_000_000  # between two timer interrupts of a CPU (CONFIG_HZ=1000)


def base_slice(cpus: int) -> int:
    """What a task asks for at a time, in ns (sysctl_sched_base_slice, SCHED_TUNABLESCALING_LOG)."""
    return 700_000 * min(cpus, 8).bit_length()


def calc_delta_fair(delta: int, se: SchedEntity) -> int:
    """What `delta` ns of a task are in virtual time."""
    return delta if se.weight == NICE_0_LOAD else delta * NICE_0_LOAD // se.weight


def _calc_delta_mine(delta: int, se: SchedEntity) -> int:
    """The other way round, rounded up."""
    return -(-delta * se.weight // NICE_0_LOAD)


def tick_after(now: int) -> int:
    """The first timer interrupt at or after `now`."""
    return -(-now // TICK_NSEC) * TICK_NSEC


def reweight(se: SchedEntity) -> None:
    """Policy or nice of a task that is on no CPU changed: its lag and what is left of its request stay the same in time
    (reweight_entity)."""
    weight = se.prio_weight()
    se.vlag = _div(se.vlag * se.weight, weight)
    if se.rel_deadline:
        se.deadline = _div(se.deadline * se.weight, weight)
    se.weight = weight


def _div(a: int, b: int) -> int:
    """a / b, towards zero as C does."""
    return a // b if a >= 0 else -(-a // b)


class CfsRq:
    """The fair tasks of a CPU (struct cfs_rq). `now` is the clock of that CPU in ns."""

    __slots__ = ("base_slice", "curr", "sum_w_vruntime", "sum_weight", "tasks", "zero_vruntime")

    def __init__(self, slice_ns: int) -> None:
        self.base_slice = slice_ns
        self.curr: SchedEntity | None = None  # runs, and is not in `tasks` nor in the sums
        self.tasks: list[SchedEntity] = []  # compete for the CPU: runnable or sched_delayed
        self.sum_weight = 0
        self.sum_w_vruntime = 0
        self.zero_vruntime = 0  # V, when somebody asked last

    def _sums(self) -> tuple[int, int]:
        """Of weights, and of vruntimes by weight, the running task among them."""
        curr = self.curr
        if curr is None:
            return self.sum_weight, self.sum_w_vruntime
        return self.sum_weight + curr.weight, self.sum_w_vruntime + curr.weight * curr.vruntime

    def avg_vruntime(self) -> int:
        """V; where nobody competes the last one."""
        weight, total = self._sums()
        if weight:
            self.zero_vruntime = total // weight
        return self.zero_vruntime

    def entity_eligible(self, se: SchedEntity) -> bool:
        """Has a task of this CPU had no more than its share."""
        weight, total = self._sums()
        return total >= se.vruntime * weight

    def _add(self, se: SchedEntity) -> None:
        self.tasks.append(se)
        self.sum_weight += se.weight
        self.sum_w_vruntime += se.weight * se.vruntime

    def _remove(self, se: SchedEntity) -> None:
        self.tasks.remove(se)
        self.sum_weight -= se.weight
        self.sum_w_vruntime -= se.weight * se.vruntime

    # The running task

    def update_curr(self, now: int) -> None:
        """Give the running task the time that it ran, and a new request where the last one is met. A timer interrupt
        does that too; here it is caught up with."""
        curr = self.curr
        if curr is None or now <= curr.exec_start:
            return
        start, before = curr.exec_start, curr.vruntime
        curr.sum_exec_runtime += now - start
        curr.exec_start = now
        curr.vruntime += calc_delta_fair(now - start, curr)
        if curr.vruntime >= curr.deadline:
            self._update_deadline(curr, start, before, now)
        if self.tasks and curr.vruntime >= curr.vprot:
            curr.need_resched = True

    def _update_deadline(self, curr: SchedEntity, start: int, before: int, now: int) -> None:
        """A new request at the timer interrupt after the last one was met; and now, where that is met too. `start`,
        `before`: when the running task began to run, with which vruntime."""
        curr.slice = curr.custom_slice or self.base_slice
        tick = tick_after(start + _calc_delta_mine(max(0, curr.deadline - before), curr))
        if tick < now:
            tick += (now - 1 - tick) // (period := tick_after(curr.slice)) * period
            curr.deadline = before + calc_delta_fair(tick - start + curr.slice, curr)
        if curr.vruntime >= curr.deadline:
            curr.deadline = curr.vruntime + calc_delta_fair(curr.slice, curr)

    def slice_end(self) -> int:
        """When a timer interrupt will find that the running task should make room for the others, as things are since
        the last `update_curr`."""
        curr = self.curr
        assert curr is not None
        return tick_after(curr.exec_start + max(1, _calc_delta_mine(curr.vprot - curr.vruntime, curr)))

    def _min_slice(self) -> int:
        slices = [se.slice for se in self.tasks]
        if self.curr is not None:
            slices.append(self.curr.slice)
        return min(slices)

    def set_next_entity(self, se: SchedEntity) -> None:
        """A task of `tasks` runs from now on: it may for the shortest request of all that compete
        (set_protect_slice)."""
        se.vprot = se.deadline
        if len(self.tasks) > 1:
            shortest = self._min_slice()
            if shortest < se.slice:
                se.vprot = min(se.vprot, se.vruntime + calc_delta_fair(shortest, se))
        self._remove(se)
        self.curr = se

    def put_prev_entity(self, now: int) -> None:
        """The running task makes room, and goes on to compete."""
        curr = self.curr
        assert curr is not None
        self.update_curr(now)
        self.curr = None
        self._add(curr)

    def yield_task(self, now: int) -> None:
        """The running task gives up what is left of its request (yield_task_fair)."""
        curr = self.curr
        if curr is None or not self.tasks:
            return
        self.update_curr(now)
        if self.entity_eligible(curr):
            curr.vruntime = curr.deadline
            curr.deadline += calc_delta_fair(curr.slice, curr)

    # Coming and going

    def enqueue_entity(self, se: SchedEntity, now: int, initial: bool = False) -> None:
        """A task begins to compete; `initial`: for the first time."""
        self.update_curr(now)
        self._place_entity(se, initial)
        self._add(se)

    def _place_entity(self, se: SchedEntity, initial: bool = False) -> None:
        """Its lag is made larger by what it takes from V by coming."""
        vruntime = self.avg_vruntime()
        se.slice = se.custom_slice or self.base_slice
        lag = 0
        weight, _ = self._sums()
        if se.vlag and weight:
            lag = _div(se.vlag * (weight + se.weight), weight)
        se.vruntime = vruntime - lag
        if se.rel_deadline:
            se.rel_deadline = False
            se.deadline += se.vruntime
            return
        vslice = calc_delta_fair(se.slice, se)
        se.deadline = se.vruntime + (vslice // 2 if initial else vslice)

    def _update_entity_lag(self, se: SchedEntity) -> None:
        limit = calc_delta_fair(max(2 * se.slice, TICK_NSEC), se)
        se.vlag = max(-limit, min(limit, self.avg_vruntime() - se.vruntime))

    def dequeue_entity(self, se: SchedEntity, now: int, sleep: bool, special: bool = False) -> None:
        """A task stops to compete. One that goes to sleep but had more than its share competes on, unless that is
        `special` (it ends)."""
        self.update_curr(now)
        if sleep and not special and not self.entity_eligible(se):
            se.sched_delayed = True
            if se is self.curr:
                self.curr = None
                self._add(se)
            return
        self._update_entity_lag(se)
        if not sleep:
            se.deadline -= se.vruntime
            se.rel_deadline = True
        if se is self.curr:
            self.curr = None
        else:
            self._remove(se)

    def finish_delayed_dequeue_entity(self, se: SchedEntity, now: int) -> None:
        """A sleeping task stops to compete."""
        self.dequeue_entity(se, now, sleep=True, special=True)
        se.sched_delayed = False
        se.vlag = min(0, se.vlag)

    def requeue_delayed_entity(self, se: SchedEntity, now: int) -> None:
        """A sleeping task that still competes is woken."""
        self.update_curr(now)
        self._update_entity_lag(se)
        if se.vlag > 0:
            self._remove(se)
            se.vlag = 0
            self._place_entity(se)
            self._add(se)
        se.sched_delayed = False

    # Who runs

    def pick_eevdf(self, protect: bool = True) -> SchedEntity | None:
        """Who should run; it may be sched_delayed. `protect`: the running task is left alone for a while."""
        curr = self.curr
        if not self.tasks:
            return curr
        if curr is not None and not self.entity_eligible(curr):
            curr = None
        if curr is not None and protect and curr.vruntime < curr.vprot:
            return curr
        weight, total = self._sums()
        best: SchedEntity | None = None
        for se in self.tasks:
            if (best is None or se.deadline < best.deadline) and total >= se.vruntime * weight:
                best = se
        return curr if best is None or (curr is not None and curr.deadline < best.deadline) else best

    def wakeup_preempt(self, se: SchedEntity) -> bool:
        """Must the running task make room for one that began to compete just now (check_preempt_wakeup_fair)."""
        curr = self.curr
        if curr is None or curr.need_resched:
            return False
        if (curr.policy == SCHED_IDLE) != (se.policy == SCHED_IDLE):
            return curr.policy == SCHED_IDLE
        if se.policy in (SCHED_BATCH, SCHED_IDLE):
            return False
        short = se.slice < curr.slice
        if self.pick_eevdf(protect=not short) is se:
            return True
        curr.vprot = min(curr.vprot, curr.vruntime + calc_delta_fair(self._min_slice(), curr))
        return False
