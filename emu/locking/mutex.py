# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleeping lock with one owner (kernel/locking/mutex.c): fast path, optimistic spinning, and a queue whose head has the
lock handed over once it was woken in vain."""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING

from emu.locking.lock import LCB_F_MUTEX, Lock, need_resched, next_tick, owner_on_cpu
from emu.locking.osq import optimistic_spin_queue
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched


class mutex(Lock):
    """struct mutex. `pickup`: the owner was chosen by a handoff and has not taken the lock yet (MUTEX_FLAG_PICKUP)."""

    __slots__ = ("handoff", "last_holder", "osq", "owner", "pickup", "spinners", "wait_list")

    def __init__(self, sched: Sched, name: str, ident: int = 0) -> None:
        super().__init__(sched, name, ident)
        self.owner: SchedEntity | None = None
        self.handoff = False  # MUTEX_FLAG_HANDOFF: unlock must give it to the head of the queue
        self.pickup = False
        self.wait_list: list[SchedEntity] = []  # MUTEX_FLAG_WAITERS: not empty
        self.osq = optimistic_spin_queue()
        self.spinners: list[SchedEntity] = []
        self.last_holder = 0

    def is_locked(self) -> bool:
        """mutex_is_locked."""
        return self.owner is not None

    def lock(self) -> None:
        """Take it, waiting as needed (mutex_lock)."""
        self._lock(State.UNINTERRUPTIBLE)

    def lock_interruptible(self) -> int:
        """As lock; -EINTR, without the lock, when a signal ends the wait."""
        return self._lock(State.INTERRUPTIBLE)

    def lock_killable(self) -> int:
        """As lock; -EINTR, without the lock, when a fatal signal ends the wait."""
        return self._lock(State.KILLABLE)

    def trylock(self) -> bool:
        """Take it if it is free."""
        self._access()
        return self._trylock()

    def unlock(self) -> None:
        """Release it; with the handoff flag set, to the head of the queue."""
        self._access()
        sched = self.sched
        assert self.owner is sched.current and not self.pickup, f"{self.name}: unlocked by one who does not hold it"
        self.last_holder = sched.current.pid
        self.owner = None
        if self.wait_list:
            first = self.wait_list[0]
            if self.handoff:
                self.owner = first
                self.handoff = False
                self.pickup = True
            sched.wake(first)
        for task in self.spinners:
            sched.wake(task)

    def _access(self) -> None:
        sched = self.sched
        if sched.clock > sched.horizon:
            sched.sync()
        if self.line is not None:
            self.line.write(sched)

    def _trylock(self) -> bool:
        """__mutex_trylock: free, or handed to the running task."""
        me = self.sched.current
        if self.owner is None:
            self.owner = me
            return True
        if self.pickup and self.owner is me:
            self.pickup = False
            return True
        return False

    def _lock(self, state: State) -> int:
        self._access()
        if self.owner is None and not self.handoff:
            self.owner = self.sched.current
            return 0
        return self._lock_slowpath(state)

    def _lock_slowpath(self, state: State) -> int:
        """__mutex_lock_common."""
        sched = self.sched
        me = sched.current
        begin = self.contention_begin(LCB_F_MUTEX, self.owner)
        if self._trylock() or self._optimistic_spin(None):
            self.contention_end(LCB_F_MUTEX, begin, self.last_holder)
            return 0
        self.wait_list.append(me)
        result = 0
        while not self._trylock():
            result = sched.block(state)
            if self.line is not None:
                self.line.write(sched)
            if self._trylock():
                result = 0
                break
            if result == -EINTR:
                break
            if self.wait_list[0] is me:  # woken in vain: the next unlock is for us
                self.handoff = True
                if self._optimistic_spin(me):
                    break
        if result != -EINTR:
            result = 0
        self.wait_list.remove(me)
        if not self.wait_list:
            self.handoff = False
        self.contention_end(LCB_F_MUTEX, begin, self.last_holder, result)
        return result

    def _optimistic_spin(self, waiter: SchedEntity | None) -> bool:
        """mutex_optimistic_spin: as long as the owner runs. A `waiter` is the head of the queue and needs no turn."""
        sched = self.sched
        if self.line is None:
            return False
        if waiter is None:
            if need_resched(sched) or (self.owner is not None and not owner_on_cpu(self.owner)):
                return False
            if not self.osq.osq_lock(sched):
                return False
        me = sched.current
        taken = False
        while True:
            owner = self.owner
            if self._may_take(waiter):
                self.line.write(sched)
                if self._may_take(waiter):
                    taken = self._trylock()
                    break
                continue
            if owner is None or need_resched(sched) or not owner_on_cpu(owner):
                break
            self.spinners.append(me)
            owner.spinners.append(me)
            sched.block(deadline=next_tick(sched), spin=True)
            owner.spinners.remove(me)
            self.spinners.remove(me)
        if waiter is None:
            self.osq.osq_unlock(sched)
        return taken

    def _may_take(self, waiter: SchedEntity | None) -> bool:
        """Free, or handed to the running task."""
        return self.owner is None or (self.pickup and self.owner is self.sched.current)
