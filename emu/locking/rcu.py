# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-copy-update (kernel/rcu/tree.c of a kernel without preemption, kernel/rcu/tiny.c on a machine with one CPU).

A read-side section may not sleep, so a CPU that switches tasks, idles or goes back to the guest has left all of its
sections: that is a quiescent state. A grace period ends when every CPU that was busy when it began has passed one.
Callbacks that came before it are then called, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.sched import Sched

BLIMIT = 10  # callbacks that are called in a row (rcutree.blimit)
QHIMARK = 10_000  # with more than these waiting, all are (rcutree.qhimark)
JIFFIES_TILL_FQS = 3_000_000  # ns between two looks at CPUs that do not report by themselves


class Rcu:
    """One RCU domain. `pending`: callbacks wait, so that quiescent states matter. `checked`: they do all the time."""

    checked = False

    __slots__ = (
        "_done", "_limit", "_mask", "_next", "_next_fqs", "_switches", "_tiny", "_wait", "gp_seq", "pending", "sched",
    )  # fmt: skip

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.pending = False
        self.gp_seq = 0  # grace periods that have begun
        self._next: list[Callable[[], None]] = []  # wait for a grace period to begin
        self._wait: list[Callable[[], None]] = []  # wait for the end of the present one
        self._done: list[Callable[[], None]] = []  # may be called
        self._mask = 0  # CPUs that the present grace period still waits for
        self._switches: dict[int, int] = {}  # of these: their count of context switches when it began
        self._next_fqs = 0
        self._tiny = len(sched.rqs) == 1
        self._limit = 1 << 62 if self._tiny else BLIMIT

    def rcu_read_lock(self) -> None:
        """Enter a read-side section: nothing, without preemption. (The lock checker counts.)"""

    def rcu_read_unlock(self) -> None:
        """Leave it."""

    def call_rcu(self, function: Callable[[], None]) -> None:
        """Call `function`, which must not sleep, after a grace period."""
        self.pending = True
        if self._tiny:  # the next quiescent state of the one CPU ends a grace period
            self._done.append(function)
            return
        self._next.append(function)
        if not self._wait:
            self._begin()

    def quiescent(self) -> None:
        """The running CPU is in no read-side section: it goes back to the guest, or says so (rcu_qs)."""
        if self.pending:
            self._report()

    def synchronize_rcu(self) -> None:
        """Sleep for a grace period. With one CPU this is one, as the caller is in no section."""
        sched = self.sched
        if self._tiny:
            return
        task = sched.current
        over = False

        def wake() -> None:
            nonlocal over
            over = True
            sched.wake(task)

        self.call_rcu(wake)
        while not over:
            # A CPU that has nothing to do reports nothing.
            sched.block(deadline=sched.clock + JIFFIES_TILL_FQS)
            if not over:
                self._force()
                self._advance(QHIMARK + 1)

    def rcu_barrier(self) -> None:
        """Call all callbacks, those included that the called ones add; for when no task is left."""
        while self._next or self._wait or self._done:
            ready = self._done + self._wait + self._next
            self._done, self._wait, self._next = [], [], []
            self._mask = 0
            for function in ready:
                function()
        self.pending = False

    def _begin(self) -> None:
        """Begin a grace period for what has come so far (rcu_gp_init)."""
        sched = self.sched
        self.gp_seq += 1
        self._wait, self._next = self._next, []
        self._mask = 0
        self._switches.clear()
        for rq in sched.rqs:
            if rq.curr is not None:
                self._mask |= 1 << rq.id
                self._switches[rq.id] = rq.nr_switches
        self._next_fqs = sched.clock + JIFFIES_TILL_FQS

    def _report(self) -> None:
        sched = self.sched
        mask = self._mask & ~(1 << sched.rq.id)
        due = sched.clock >= self._next_fqs
        if mask and mask == self._mask and not due and not self._done:
            return  # it has reported, and others have not
        self._mask = mask
        if mask and due:
            self._force()
        self._advance(self._limit)

    def _force(self) -> None:
        """Look at the CPUs that have not reported: did they idle or switch (rcu_gp_fqs)."""
        rqs = self.sched.rqs
        self._next_fqs = self.sched.clock + JIFFIES_TILL_FQS
        for number, switches in self._switches.items():
            if rqs[number].curr is None or rqs[number].nr_switches != switches:
                self._mask &= ~(1 << number)

    def _advance(self, limit: int) -> None:
        """End the grace period if nothing holds it up, and call a batch of callbacks (rcu_do_batch)."""
        if not self._mask and self._wait:
            self._done += self._wait
            self._wait = []
            if self._next:
                self._begin()
        done = self._done
        if done:
            batch = done if len(done) > QHIMARK else done[:limit]
            self._done = done[len(batch) :]
            for function in batch:
                function()
        self.pending = bool(self._next or self._wait or self._done)
