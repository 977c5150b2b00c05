# SPDX-License-Identifier: GPL-2.0-or-later
"""The queue of those who spin for a sleeping lock: only the first looks at the lock (kernel/locking/osq_lock.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.locking.lock import need_resched, next_tick

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched


class optimistic_spin_queue:
    """An MCS queue whose members may leave it."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: list[SchedEntity] = []

    def osq_lock(self, sched: Sched) -> bool:
        """Spin until first in the queue; False when another task is due on this CPU before that."""
        me = sched.current
        queue = self.queue
        queue.append(me)
        while queue[0] is not me:
            if need_resched(sched):
                queue.remove(me)
                return False
            sched.block(deadline=next_tick(sched), spin=True)
        return True

    def osq_unlock(self, sched: Sched) -> None:
        """Leave the head of the queue to the next one."""
        self.queue.pop(0)
        if self.queue:
            sched.wake(self.queue[0])
