# SPDX-License-Identifier: GPL-2.0-or-later
"""Reader/writer semaphore (kernel/locking/rwsem.c, as it is since 5.11).

The count holds the writer's bit, the number of readers, and whether tasks wait. A task that finds the lock taken first
spins if it is a writer whose predecessor runs, and else queues. The queue is fair: first come, first served, but for
two ways to steal: a reader may join where only the waiters' bit is set and no crowd of readers is inside, and a writer
may take a lock that is free at the moment. Who has waited 4 ms demands a handoff, which ends the stealing.
"""

from __future__ import annotations

from errno import EINTR
from typing import TYPE_CHECKING

from emu.locking.lock import LCB_F_READ, LCB_F_WRITE, Lock, need_resched, next_tick, owner_on_cpu
from emu.locking.osq import optimistic_spin_queue
from emu.sched.entity import SCHED_FIFO, SCHED_RR, State

if TYPE_CHECKING:
    from emu.sched.entity import SchedEntity
    from emu.sched.sched import Sched

# The count. (The kernel's RWSEM_FLAG_READFAIL guards against 2**55 readers: there is no such number of tasks here.)
RWSEM_WRITER_LOCKED = 1 << 0
RWSEM_FLAG_WAITERS = 1 << 1
RWSEM_FLAG_HANDOFF = 1 << 2
RWSEM_READER_SHIFT = 8
RWSEM_READER_BIAS = 1 << RWSEM_READER_SHIFT
RWSEM_READER_MASK = -RWSEM_READER_BIAS
RWSEM_LOCK_MASK = RWSEM_WRITER_LOCKED | RWSEM_READER_MASK
RWSEM_READ_FAILED_MASK = RWSEM_WRITER_LOCKED | RWSEM_FLAG_WAITERS | RWSEM_FLAG_HANDOFF

RWSEM_WAIT_TIMEOUT = 4_000_000  # ns in the queue after which a waiter demands the lock
MAX_READERS_WAKEUP = 0x100

# What to wake (enum rwsem_wake_type).
RWSEM_WAKE_ANY, RWSEM_WAKE_READERS, RWSEM_WAKE_READ_OWNED = range(3)
# Who owns the lock, for those who spin (enum owner_state).
OWNER_NULL, OWNER_WRITER, OWNER_READER, OWNER_NONSPINNABLE = range(4)

_READER_BIAS = RWSEM_READER_BIAS
_READ_FAILED_MASK = RWSEM_READ_FAILED_MASK
_LOCK_OR_WAITERS = RWSEM_LOCK_MASK | RWSEM_FLAG_WAITERS
_WAITERS = RWSEM_FLAG_WAITERS


class rwsem_waiter:
    """A task in the queue. `granted`: a reader that was given the lock; `holder`: tid that let it in."""

    __slots__ = ("granted", "handoff_set", "holder", "task", "timeout", "write")

    def __init__(self, sched: Sched, write: bool) -> None:
        self.task = sched.current
        self.write = write
        self.timeout = sched.clock + RWSEM_WAIT_TIMEOUT
        self.handoff_set = False
        self.granted = False
        self.holder = 0


class rw_semaphore(Lock):
    """struct rw_semaphore. `owner`: the writer; `holders`: the readers, in the order in which they came."""

    __slots__ = (
        "count", "holders", "last_holder", "nonspinnable", "osq", "owner", "owner_line", "read_count", "reader_owned",
        "spinners", "wait_list", "write_count",
    )  # fmt: skip

    def __init__(self, sched: Sched, name: str, ident: int = 0, vma: int = 0, owner_apart: bool = False) -> None:
        """`owner_apart`: the word with the owner, which readers store to as well, is in the next cache line."""
        super().__init__(sched, name, ident, vma)
        self.owner_line = sched.new_line() if owner_apart else None  # None: it is in `line`
        self.count = 0
        self.owner: SchedEntity | None = None
        self.reader_owned = False  # RWSEM_READER_OWNED of the owner word: the last ones who took it were readers
        self.holders: list[SchedEntity] = []
        self.nonspinnable = False  # RWSEM_NONSPINNABLE: readers have kept a spinning writer for too long
        self.wait_list: list[rwsem_waiter] = []
        self.osq = optimistic_spin_queue()
        self.spinners: list[SchedEntity] = []  # who looks at owner and count right now
        self.read_count = self.write_count = 0  # how often it was taken
        self.last_holder = 0  # tid of the one that released it last, for the accounts of who waited

    # State

    @property
    def writer(self) -> bool:
        """Is it held for write."""
        return bool(self.count & RWSEM_WRITER_LOCKED)

    @property
    def readers(self) -> int:
        """How many hold it for read."""
        return self.count >> RWSEM_READER_SHIFT

    def is_locked(self) -> bool:
        """Held, or waited for (rwsem_is_locked)."""
        return self.count != 0

    def is_contended(self) -> bool:
        """Does anybody wait (rwsem_is_contended)."""
        return bool(self.wait_list)

    def _write_line(self) -> None:
        """The running CPU, in its turn, changes the count."""
        line = self.line
        if line is not None:
            self.sched.write_line(line)

    # Readers

    def down_read(self) -> None:
        """Take it for read, waiting as needed."""
        self._down_read(State.UNINTERRUPTIBLE)

    def down_read_killable(self) -> int:
        """As down_read; -EINTR, without the lock, when a fatal signal ends the wait."""
        return self._down_read(State.KILLABLE)

    def _down_read(self, state: State) -> int:
        self._write_line()
        count = self.count = self.count + _READER_BIAS
        if count & _READ_FAILED_MASK:
            return self._down_read_slowpath(count, state)
        self.holders.append(self.sched.current)
        self.reader_owned = True
        self.read_count += 1
        return 0

    def down_read_trylock(self) -> bool:
        """Take it for read if it is free for readers at once."""
        sched = self.sched
        line = self.line
        if line is not None:
            if sched.clock > sched.horizon:
                sched.sync_for(line)
            if self.owner_line is None:
                line.exchange_and_store(sched)
            else:
                line.exchange(sched)
        if self.count & _READ_FAILED_MASK:
            return False
        self.count += _READER_BIAS
        self.holders.append(sched.current)
        self.reader_owned = True
        self.read_count += 1
        if self.owner_line is not None:
            self.owner_line.prefetchw(sched)
        return True

    def up_read(self) -> None:
        """Release it."""
        sched = self.sched
        if self.owner_line is not None:
            self.owner_line.drain(sched)
        self._write_line()
        self.holders.remove(sched.current)
        count = self.count = self.count - _READER_BIAS
        if count < _READER_BIAS:
            self.last_holder = sched.current.pid
            if count & _WAITERS:
                self.nonspinnable = False
                self._rwsem_wake()
            if self.spinners:
                self._poke()

    def _down_read_slowpath(self, count: int, state: State) -> int:
        """rwsem_down_read_slowpath: the reader is counted in `count` already."""
        sched = self.sched
        rcnt = count >> RWSEM_READER_SHIFT
        # Readers own it most likely, and somebody waits: do not let a stream of readers starve a writer.
        crowd = self.reader_owned and rcnt > 1 and not count & RWSEM_WRITER_LOCKED
        if not crowd and not count & (RWSEM_WRITER_LOCKED | RWSEM_FLAG_HANDOFF):
            self._set_reader_owned(sched.current)
            if rcnt == 1 and count & RWSEM_FLAG_WAITERS and self.wait_list:
                self._mark_wake(RWSEM_WAKE_READ_OWNED)
            return 0
        adjustment = -RWSEM_READER_BIAS
        waiter = rwsem_waiter(sched, False)
        if not self.wait_list:
            if not self.count & RWSEM_WRITER_LOCKED:
                self._set_reader_owned(sched.current)
                return 0
            adjustment += RWSEM_FLAG_WAITERS
        begin = self.contention_begin(LCB_F_READ, self._holder())
        self.wait_list.append(waiter)
        self.count += adjustment
        self._cond_wake_waiter(self.count)
        while not waiter.granted:
            result = sched.block(state)
            if result == -EINTR and not waiter.granted:
                self._del_wake_waiter(waiter)
                self.contention_end(LCB_F_READ, begin, self.last_holder, -EINTR)
                return -EINTR
        self.contention_end(LCB_F_READ, begin, waiter.holder)
        return 0

    # Writers

    def down_write(self) -> None:
        """Take it for write, waiting as needed."""
        self._down_write(State.UNINTERRUPTIBLE)

    def down_write_nested(self, subclass: int) -> None:
        """As down_write, while another lock of the class is held, in an order that `subclass` names for the lock
        checker."""
        self.down_write()

    def down_write_killable(self) -> int:
        """As down_write; -EINTR, without the lock, when a fatal signal ends the wait."""
        return self._down_write(State.KILLABLE)

    def _down_write(self, state: State) -> int:
        return 0 if self._take_write() else self._down_write_slowpath(state)

    def down_write_trylock(self) -> bool:
        """Take it for write if nobody has it or waits for it."""
        return self._take_write()

    def _take_write(self) -> bool:
        self._write_line()
        if self.count:
            return False
        self.count = RWSEM_WRITER_LOCKED
        self._set_owner(self.sched.current)
        return True

    def up_write(self) -> None:
        """Release it."""
        sched = self.sched
        self._write_line()
        count = self.count
        assert count & RWSEM_WRITER_LOCKED, f"{self.name}: up_write without a writer"
        self.owner = None
        self.reader_owned = False
        self.count = count - RWSEM_WRITER_LOCKED
        self.last_holder = sched.current.pid
        if count & _WAITERS:
            self._rwsem_wake()
        if self.spinners:
            self._poke()

    def downgrade_write(self) -> None:
        """Turn a write lock into a read lock, letting waiting readers in but no writer."""
        sched = self.sched
        self._write_line()
        count = self.count
        assert count & RWSEM_WRITER_LOCKED, f"{self.name}: downgrade_write without a writer"
        self.count = count - RWSEM_WRITER_LOCKED + RWSEM_READER_BIAS
        self._set_reader_owned(sched.current)
        self.read_count -= 1  # that was no taking
        self.last_holder = sched.current.pid
        if count & RWSEM_FLAG_WAITERS and self.wait_list:
            self._mark_wake(RWSEM_WAKE_READ_OWNED)

    def _down_write_slowpath(self, state: State) -> int:
        """rwsem_down_write_slowpath."""
        sched = self.sched
        begin = self.contention_begin(LCB_F_WRITE, self._holder())
        if self._can_spin_on_owner() and self._optimistic_spin():
            self.contention_end(LCB_F_WRITE, begin, self.last_holder)
            return 0
        waiter = rwsem_waiter(sched, True)
        self.wait_list.append(waiter)
        if self.wait_list[0] is not waiter:
            self._cond_wake_waiter(self.count)
        else:
            self.count |= RWSEM_FLAG_WAITERS
        while not self._try_write_lock(waiter):
            if waiter.handoff_set and self.line is not None and self._spin_on_owner() == OWNER_NULL:
                continue
            if sched.block(state) == -EINTR:
                if self._try_write_lock(waiter):
                    break
                self._del_wake_waiter(waiter)
                self.contention_end(LCB_F_WRITE, begin, self.last_holder, -EINTR)
                return -EINTR
        self.contention_end(LCB_F_WRITE, begin, self.last_holder)
        return 0

    def _try_write_lock(self, waiter: rwsem_waiter) -> bool:
        """rwsem_try_write_lock: for a task in the queue; the handoff bit is set where it has waited too long."""
        sched = self.sched
        if self.line is not None:
            self.line.write(sched)
        first = self.wait_list[0]
        count = self.count
        has_handoff = count & RWSEM_FLAG_HANDOFF
        if has_handoff and first.handoff_set and waiter is not first:
            return False
        if count & RWSEM_LOCK_MASK:
            real_time = waiter.task.policy in (SCHED_FIFO, SCHED_RR)
            if has_handoff or (not real_time and sched.clock <= waiter.timeout):
                return False
            self.count = count | RWSEM_FLAG_HANDOFF
            first.handoff_set = True
            return False
        count = (count | RWSEM_WRITER_LOCKED) & ~RWSEM_FLAG_HANDOFF
        if len(self.wait_list) == 1:
            count &= ~RWSEM_FLAG_WAITERS
        self.count = count
        self.wait_list.remove(waiter)
        self._set_owner(sched.current)
        return True

    # Spinning

    def _can_spin_on_owner(self) -> bool:
        """rwsem_can_spin_on_owner; never on a machine with one CPU."""
        if self.line is None or need_resched(self.sched):
            return False
        if self.nonspinnable:
            return False
        owner = self.owner
        return owner is None or self.reader_owned or owner_on_cpu(owner)

    def _owner_state(self) -> int:
        if self.nonspinnable:
            return OWNER_NONSPINNABLE
        if self.reader_owned:
            return OWNER_READER
        return OWNER_WRITER if self.owner is not None else OWNER_NULL

    def _spin_on_owner(self) -> int:
        """rwsem_spin_on_owner: while a writer has it and runs. The owner's state after that."""
        sched = self.sched
        state = self._owner_state()
        if state != OWNER_WRITER:
            return state
        owner = self.owner
        assert owner is not None
        while self.owner is owner and not self.reader_owned:
            if need_resched(sched) or not owner_on_cpu(owner):
                return OWNER_NONSPINNABLE
            self._relax(next_tick(sched), owner)
        return self._owner_state()

    def _optimistic_spin(self) -> bool:
        """rwsem_optimistic_spin: try to get the lock without queueing."""
        sched = self.sched
        if not self.osq.osq_lock(sched):
            return False
        taken = False
        previous = OWNER_NULL
        threshold = 0
        while True:
            state = self._spin_on_owner()
            if state == OWNER_NONSPINNABLE:
                break
            taken = self._try_write_lock_unqueued()
            if taken:
                break
            if state == OWNER_READER:
                if previous != OWNER_READER:
                    # rwsem_rspin_threshold: 10 us and half a microsecond for each reader up to 30.
                    threshold = sched.clock + (20 + min(self.count >> RWSEM_READER_SHIFT, 30)) * 1000 // 2
                elif sched.clock > threshold:
                    self.nonspinnable = True
                    break
            if state != OWNER_WRITER:
                if need_resched(sched):
                    break
                if sched.current.policy in (SCHED_FIFO, SCHED_RR) and previous != OWNER_WRITER:
                    break
            previous = state
            if self.owner is None or self.reader_owned:
                deadline = next_tick(sched)
                self._relax(min(deadline, threshold + 1) if state == OWNER_READER else deadline, None)
        self.osq.osq_unlock(sched)
        return taken

    def _try_write_lock_unqueued(self) -> bool:
        sched = self.sched
        if self.line is not None:
            self.line.write(sched)
        if self.count & (RWSEM_LOCK_MASK | RWSEM_FLAG_HANDOFF):
            return False
        self.count |= RWSEM_WRITER_LOCKED
        self._set_owner(sched.current)
        return True

    def _relax(self, deadline: int, owner: SchedEntity | None) -> None:
        """Spin until owner or count change, `owner` leaves its CPU, or `deadline`."""
        sched = self.sched
        me = sched.current
        self.spinners.append(me)
        if owner is not None:
            owner.spinners.append(me)
        sched.block(deadline=deadline, spin=True)
        self.spinners.remove(me)
        if owner is not None:
            owner.spinners.remove(me)

    def _poke(self) -> None:
        """Those who spin see that owner or count have changed."""
        for task in self.spinners:
            self.sched.wake(task)

    # The queue

    def _set_owner(self, task: SchedEntity) -> None:
        self.owner = task
        self.reader_owned = False
        self.write_count += 1
        if self.spinners:
            self._poke()

    def _set_reader_owned(self, task: SchedEntity) -> None:
        self.owner = None
        self.reader_owned = True
        self.holders.append(task)
        self.read_count += 1
        if self.spinners:
            self._poke()

    def _holder(self) -> SchedEntity | None:
        """The writer, or the reader that has been in for longest."""
        return self.holders[0] if self.holders else self.owner

    def _rwsem_wake(self) -> None:
        if self.wait_list:
            self._mark_wake(RWSEM_WAKE_ANY)

    def _cond_wake_waiter(self, count: int) -> None:
        """rwsem_cond_wake_waiter: a task has queued; those before it may be able to go on."""
        if count & RWSEM_WRITER_LOCKED:
            return
        if count & RWSEM_READER_MASK:
            self._mark_wake(RWSEM_WAKE_READERS)
        else:
            self.nonspinnable = False
            self._mark_wake(RWSEM_WAKE_ANY)

    def _mark_wake(self, wake_type: int) -> None:
        """rwsem_mark_wake: wake the writer at the head of the queue, or give the lock to readers."""
        sched = self.sched
        first = self.wait_list[0]
        if first.write:
            if wake_type == RWSEM_WAKE_ANY:
                sched.wake(first.task)
            return
        adjustment = 0
        if wake_type != RWSEM_WAKE_READ_OWNED:
            adjustment = RWSEM_READER_BIAS
            if self.count & RWSEM_WRITER_LOCKED:
                # A writer stole it before the first reader was let in.
                if sched.clock > first.timeout:
                    self.count |= RWSEM_FLAG_HANDOFF
                    first.handoff_set = True
                return
            self.count += adjustment
        self.owner = None
        self.reader_owned = True
        woken: list[rwsem_waiter] = []
        rest: list[rwsem_waiter] = []
        for waiter in self.wait_list:
            (rest if waiter.write or len(woken) == MAX_READERS_WAKEUP else woken).append(waiter)
        self.wait_list = rest
        self.count += len(woken) * RWSEM_READER_BIAS - adjustment
        if not self.wait_list:
            self.count &= ~(RWSEM_FLAG_WAITERS | RWSEM_FLAG_HANDOFF)
        else:
            self.count &= ~RWSEM_FLAG_HANDOFF
        for waiter in woken:
            waiter.granted = True
            waiter.holder = self.last_holder
            self.holders.append(waiter.task)
            self.read_count += 1
            sched.wake(waiter.task)
        if self.spinners:
            self._poke()

    def _del_wake_waiter(self, waiter: rwsem_waiter) -> None:
        """rwsem_del_wake_waiter: leave the queue without the lock."""
        first = self.wait_list[0] is waiter
        self.wait_list.remove(waiter)
        if not self.wait_list:
            self.count &= ~(RWSEM_FLAG_HANDOFF | RWSEM_FLAG_WAITERS)
        elif first:
            self._mark_wake(RWSEM_WAKE_ANY)
