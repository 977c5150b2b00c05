# SPDX-License-Identifier: GPL-2.0-or-later
"""Spinning lock (kernel/locking/qspinlock.c): first come, first served, and whoever waits keeps the CPU busy.

Most sections under a spinlock have no scheduling point. Such a section is run at once, and what is left of it for
others to see is `free_at`, the moment at which it ended: whoever comes earlier by its own clock waits until then. Only
where the CPU that ran the section was ahead of the others (Sched.sync_for) does one go first that comes before it even
began (`begun_at`, else 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.locking.lock import LCB_F_SPIN, Lock

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched


class spinlock(Lock):
    """spinlock_t. On a machine with one CPU it does nothing, as in a kernel without SMP."""

    __slots__ = ("begun_at", "free_at", "owner", "queue")

    def __init__(self, sched: Sched, name: str, ident: int = 0) -> None:
        super().__init__(sched, name, ident)
        self.begun_at = self.free_at = 0
        self.owner: SchedEntity | None = None  # who holds it, or held it last
        self.queue: list[SchedEntity] | None = None  # None: not held; else who spins for it

    def lock(self) -> None:
        """Spin until it is ours (spin_lock)."""
        line = self.line
        if line is None:
            return
        # trylock, spelled out: a call less a fault where many CPUs fault (0.2 us).
        sched = self.sched
        sched.claim_line(line)
        clock = sched.clock
        if self.queue is not None or self.begun_at <= clock < self.free_at:
            self._lock_slowpath()
            return
        self.queue = []
        self.owner = sched.current
        self.begun_at = clock if clock > sched.horizon else 0

    def lock_nested(self, subclass: int) -> None:
        """As lock, while another lock of the class is held (spin_lock_nested)."""
        self.lock()

    def trylock(self) -> bool:
        """Take it if it is free now (spin_trylock): False where somebody holds it, or has held it at our time."""
        line = self.line
        if line is None:
            return True
        sched = self.sched
        sched.claim_line(line)
        if self.queue is not None or self.begun_at <= sched.clock < self.free_at:
            return False
        self.queue = []
        self.owner = sched.current
        self.begun_at = sched.clock if sched.clock > sched.horizon else 0
        return True

    def unlock(self) -> None:
        """Release it (spin_unlock)."""
        if self.line is None:
            return
        queue = self.queue
        assert queue is not None, f"{self.name}: unlocked while nobody holds it"
        sched = self.sched
        self.free_at = sched.clock
        if queue:
            self.owner = queue.pop(0)
            self.begun_at = 0
            sched.wake(self.owner)
        else:
            self.queue = None

    def _lock_slowpath(self) -> None:
        sched = self.sched
        me = sched.current
        holder = self.owner
        begin = self.contention_begin(LCB_F_SPIN, holder)
        if self.queue is None:
            # The section has been run, but by our clock it has not ended.
            self.queue = []
            self.owner = me
            sched.charge(self.free_at - sched.clock)
            self.begun_at = 0
        else:
            self.queue.append(me)
            while self.owner is not me:
                sched.block(spin=True)
        self.contention_end(LCB_F_SPIN, begin, holder.pid if holder is not None else 0)
