# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler: a discrete-event simulation of N CPUs whose processes are kernel threads.

Each CPU has a clock of its own. Of all CPUs that have something to do, the one with the smallest clock goes on; it may
run until its clock passes that of the next one (`horizon`), then it must let that one go first. Code that is about to
touch state which other CPUs see calls `sync()`; locks and the system-call entry do so. Guest code may run ahead of the
horizon by LOOKAHEAD, since it shares nothing with other CPUs but memory.

A kernel thread is a greenlet. A switch goes straight from the thread that stops to the one that goes on, and happens in
`sync`, `block`, `resched` and `exit_task` only, never inside a callback of the engine.

Everything here depends on virtual time and on the order of calls alone: the same machine gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EINTR, ETIMEDOUT
from heapq import heappop, heappush
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent

from emu.sched.cacheline import CacheLine
from emu.sched.cost import ICELAKE, Cost
from emu.sched.entity import SchedEntity, State
from emu.sched.fair import TICK_NSEC, base_slice, reweight, tick_after
from emu.sched.rq import Rq
from emu.sched.topology import Topology
from emu.sched.turns import Turns
from emu.tracepoint import Kind, Tracepoints

T = TypeVar("T")

INFINITY = 1 << 62
LOOKAHEAD = 20_000  # ns that guest code may run ahead of other CPUs
RUN_AHEAD = 2_000  # ns that kernel code may run ahead of other CPUs with what they do not use: about two faults
JITTER = 50  # ns by which a seed delays a CPU at a scheduling point, at most: a cache line's journey


class _Counter(Protocol):
    """What counts guest code: `Engine.counts`."""

    @property
    def retired(self) -> int: ...


class _NoGuest:
    retired = 0


class SchedTimer:
    """A function to call at a moment of virtual time, in interrupt context: it must not sleep."""

    __slots__ = ("deadline", "function")

    def __init__(self, deadline: int, function: Callable[[], None]) -> None:
        self.deadline = deadline
        self.function: Callable[[], None] | None = function


class Sched:
    """The CPUs of one machine and what they run. `clock`, `current` and `rq` are those of the CPU that runs now."""

    __slots__ = (  # what _native.c reads and writes; all else is in __dict__
        "__dict__",
        "_busy",
        "_noise",
        "_timer_due",
        "alone",
        "clock",
        "current",
        "end",
        "exchange_load",
        "guest",
        "horizon",
        "mark",
        "rq",
        "rqs",
        "tp",
        "transfer",
        "transfer_hold",
    )

    replaced: dict[type, Any] = {}  # classes that this machine has others for (emu/locking/lockdep.py, native.py)
    new_line: type[CacheLine] = CacheLine
    new_tracepoints: type[Tracepoints] = Tracepoints
    new_turns: type[Turns] = Turns

    def __init__(self, tp: Tracepoints, cpus: int = 1, seed: int = 0, cost: Cost = ICELAKE) -> None:
        self.tp = tp
        tp.source = self
        self.rqs = [Rq(number, base_slice(cpus)) for number in range(cpus)]
        self.rq = self.rqs[0]
        self.boot = SchedEntity(0, "swapper")  # who runs before the first task does, and in timers
        self.boot.rq = self.rq
        self.current: SchedEntity = self.boot
        self.clock = 0
        self.horizon = INFINITY
        self.guest: _Counter = _NoGuest()
        self.mark = 0  # guest code that `clock` contains, in ns of `guest`
        self.alone = False  # as of the last `user_deadline`
        self.on_idle: Callable[[], bool] = lambda: False
        self.tasks = 0  # that have not ended
        self.forks = 0  # that were ever started
        self._busy = self.new_turns()  # the CPUs that wait for their turn
        self._idle = (1 << cpus) - 1
        self._timers: list[tuple[int, int, SchedTimer]] = []
        self._timer_due = INFINITY  # deadline of the first of them
        self._timer_count = 0
        self._hub: Any = None
        self._to_start = self.boot  # the new task that the greenlet of `run` is to start; `boot`: `run` ends
        self._noise = seed & (1 << 64) - 1
        self.end = INFINITY  # when the run is over, whatever goes on
        self.timed_out = False
        self.cost = cost
        self.topology = Topology(cpus, cost)
        for rq, sibling in zip(self.rqs, self.topology.sibling_of):
            rq.sibling = self.rqs[sibling] if sibling >= 0 else None
        self._slowdown = cost.smt_slowdown
        self.transfer, self.reach = self.topology.transfer, self.topology.reach  # for cache lines
        self.transfer_hold, self.exchange_load = cost.transfer_hold, cost.exchange_load

    def kind_of(self, cls: type[T]) -> type[T]:
        """The class that this machine has for `cls`."""
        kind: type[T] = self.replaced.get(cls, cls)
        return kind

    # Time

    def now(self) -> int:
        """The clock of the running CPU in ns, guest code of the present run included."""
        return self.clock + (self.guest.retired >> 2) - self.mark

    def elapsed(self) -> int:
        """How long the machine has run, in ns, by the CPU that has come farthest."""
        return self.end if self.timed_out else max(self.clock, *(rq.clock for rq in self.rqs))

    def in_turn(self) -> bool:
        """Has no other CPU an earlier clock: what guest code reads now, no other CPU can be before."""
        return self.now() <= self.horizon

    def charge(self, ns: int) -> None:
        """The running CPU works for `ns`, or for longer where the other thread of its core is busy too."""
        self.clock += ns * self.rq.rate // 100

    def tick(self) -> None:
        """What the timer interrupts took that were due on the running CPU while it was not idle (tick_periodic). They
        are seen where a system call begins: so they also fall between two of them, and tasks that pass each other a
        lock go out of step."""
        rq = self.rq
        due = 1 + (self.clock - rq.tick_due) // TICK_NSEC
        rq.tick_due += due * TICK_NSEC
        self.charge(due * self.cost.tick)

    def enter_guest(self, guest: _Counter) -> None:
        """Guest code is about to run: until `leave_guest` the clock goes on with what `guest` counts."""
        rq = self.rq
        if rq.interrupted:
            self.clock += rq.interrupted
            rq.interrupted = 0
        self.guest = guest
        self.mark = guest.retired >> 2

    def leave_guest(self) -> None:
        """Guest code stopped, perhaps for a moment only: take what it retired into the clock."""
        retired = self.guest.retired >> 2
        ns = (retired - self.mark) * self.rq.rate // 100
        self.mark = retired
        self.clock += ns
        self.current.utime += ns

    def noise(self, bound: int) -> int:
        """A number from 0 to bound-1 that depends on the seed; 0 where there is no seed (xorshift64*)."""
        state = self._noise
        if not state:
            return 0
        state ^= state >> 12
        state ^= state << 25 & (1 << 64) - 1
        state ^= state >> 27
        self._noise = state
        return (state * 0x2545F4914F6CDD1D & (1 << 64) - 1) % bound

    def user_deadline(self) -> int:
        """Up to which moment the running task may execute guest code before the scheduler must be asked. `alone`: it is
        the only one that could run, so that until then nothing happens but what it does."""
        busy = self._busy
        if busy:
            self.alone = False
            until = busy.first() + LOOKAHEAD
            if self._noise:
                until += self.noise(LOOKAHEAD)
        else:
            self.alone = not self.rq.waiting
            until = INFINITY
        if until > self.end:
            if self.clock >= self.end:
                self.timed_out = True
                self._to_start = self.boot
                self._hub.switch()
            until = self.end
        if self._timer_due < until:
            until = self._timer_due
        if self.rq.waiting and self.rq.slice_end < until:
            until = self.rq.slice_end
        return until

    def cpu_ns(self, task: SchedEntity) -> int:
        """How long a task has been on a CPU, in ns, as the clock of that CPU tells it (task_sched_runtime)."""
        if task is self.current:
            return task.sum_exec_runtime + self.now() - task.exec_start
        rq = task.rq
        if rq is None or rq.curr is not task:
            return task.sum_exec_runtime
        return task.sum_exec_runtime + max(0, rq.clock - task.exec_start)

    # Scheduling points

    def sync(self) -> None:
        """Let every CPU with an earlier clock go first."""
        if self.clock > self.horizon:
            self._step_back()

    def sync_for(self, line: CacheLine, ahead: int = RUN_AHEAD) -> None:
        """As `sync`, before `line` is used by a CPU whose clock is past the horizon. Not for a line that this CPU has
        had for itself for a while: with that it may be `ahead` ns ahead, for nobody is likely to come."""
        clock = self.clock
        if line.owner != self.rq.id or line.copies or line.settled > clock or clock > self.horizon + ahead:
            self._step_back()

    def write_line(self, line: CacheLine) -> None:
        """The running CPU writes to a line, when it is its turn to."""
        if self.clock > self.horizon:
            self.sync_for(line)
        line.write(self)

    def claim_line(self, line: CacheLine) -> None:
        """As `write_line`, for a lock that its CPU may use for as long as guest code may run ahead. It looks itself at
        when it was used last, so that the line of the CPU's own is left as it is."""
        if self.clock > self.horizon:
            self.sync_for(line, LOOKAHEAD)
        if line.owner != self.rq.id or line.copies:
            line.write(self)

    def read_line(self, line: CacheLine) -> None:
        """The running CPU reads something in a line to which others write, when it is its turn to."""
        if line.asked is None and (line.owner < 0 or line.copies >> self.rq.id & 1):
            return  # nobody writes to it now
        if self.clock > self.horizon:
            self.sync_for(line)
        line.read(self)

    def charge_for(self, ns: int, line: CacheLine) -> None:
        """As `charge`, for work at the end of which `line` is used: when it is this CPU's turn to."""
        self.charge(ns)
        if self.clock > self.horizon:
            self.sync_for(line)

    def read_and_charge(self, line: CacheLine | None, ns: int) -> None:
        """As `read_line` and `charge`, for work that begins with something that is in `line`, if it is in one."""
        if line is not None:
            self.read_line(line)
        self.charge(ns)

    def _step_back(self) -> None:
        # Not _dispatch for the common case: two of these a fault where many CPUs fault.
        me = self.current
        task = self._next_turn()
        if task is me:
            return
        if task is None or not task.greenlet:
            self._step_back_slowly(task)
        else:
            task.greenlet.switch()

    def _step_back_slowly(self, task: SchedEntity | None) -> None:
        """What follows a turn that is not simply another running thread's."""
        if task is None:
            self._busy.push(self.rq.clock, self.rq.id)
            self._dispatch(self.current)
        else:
            self._to_start = task
            self._hub.switch()

    def _next_turn(self) -> Any:
        """The running CPU waits for its turn, and the one with the smallest clock goes on: its task. None where that
        may not be all: no CPU waits, a timer fires before, or the run ends."""
        rq = self.rq
        clock = rq.clock = self.clock + self.noise(JITTER) if self._noise else self.clock
        busy, due = self._busy, self._timer_due
        if not busy or (first := busy.first()) >= due or first >= self.end:
            return None
        self.clock, number = busy.pushpop(clock, rq.id)
        rq = self.rq = self.rqs[number]
        task: Any = rq.curr
        self.current = task
        horizon = busy.first()
        self.horizon = horizon if horizon < due else due
        tp = self.tp
        tp.cpu, tp.pid, tp.tid, tp.current = number, task.tgid, task.pid, task.waits
        return task

    def block(
        self,
        state: State = State.UNINTERRUPTIBLE,
        deadline: int | None = None,
        spin: bool = False,
    ) -> int:
        """Sleep until `wake`: its result (0 by default), -EINTR when a signal that `state` lets in is or comes,
        -ETIMEDOUT when `deadline` (ns of virtual time) has passed. With `spin` the CPU runs nothing else meanwhile."""
        task = self.current
        if state == State.INTERRUPTIBLE and task.signal_pending():
            return -EINTR
        if state == State.KILLABLE and task.fatal_signal_pending():
            return -EINTR
        timer = None
        if deadline is not None:
            if deadline <= self.clock:
                return -ETIMEDOUT
            timer = self.add_timer(deadline, lambda: self._expired(task))
        task.state = state
        task.wake_result = 0
        if spin:
            task.spinning = True
            self.rq.clock = self.clock
        else:
            task.nvcsw += 1
            self._put_prev(1, sleep=True)
            for spinner in task.spinners:
                self.wake(spinner)
        self._dispatch(task)
        if timer is not None:
            timer.function = None
        return task.wake_result

    def _expired(self, task: SchedEntity) -> None:
        self.wake(task, -ETIMEDOUT)

    def wake(self, task: SchedEntity, result: int = 0, delay: int = 0) -> bool:
        """Make a sleeping task runnable `delay` ns from now; False when it does not sleep (try_to_wake_up)."""
        if task.state == State.RUNNING or task.state == State.DEAD:
            return False
        task.state = State.RUNNING
        task.wake_result = result
        if task.spinning:
            task.spinning = False
            rq = task.rq
            assert rq is not None
            rq.clock = max(rq.clock, self.clock + delay)
            self._push(rq)
            return True
        if self.current is not self.boot:
            self.charge(self.cost.wakeup)
        target = self._wait_on(task.rq, task) if task.sched_delayed and task.rq else self._enqueue(task, delay)
        if self.tp.on:
            self.tp.emit(Kind.SCHED_WAKEUP, code=task.pid, size=target.id)
        return True

    def signal_wake(self, task: SchedEntity, fatal: bool) -> None:
        """A signal came: end a sleep that lets it in (signal_wake_up)."""
        if task.state == State.INTERRUPTIBLE or (fatal and task.state == State.KILLABLE):
            self.wake(task, -EINTR)
        elif not task.sigpending:
            self._kick(task)
        task.sigpending = True

    def _kick(self, task: SchedEntity) -> None:
        """Interrupt the CPU that runs a task, so that it looks at its signals (kick_process)."""
        rq = task.rq
        if rq is not None and rq.curr is task and rq is not self.rq and task.state == State.RUNNING:
            rq.interrupted += self.cost.ipi_receive
            if self.current is not self.boot:
                self.charge(self.cost.ipi)

    def resched(self) -> None:
        """The task goes back to guest code: let others run when its slice is used up or it shall yield (schedule)."""
        task, rq = self.current, self.rq
        if not self._allowed(task, rq):
            task.need_resched = False
            self._move_away()
            return
        following = rq.pick(self.clock, task) if rq.waiting else task
        if following is task:
            task.need_resched = False
            rq.update_slice_end(self.clock)
            self.sync()
            return
        task.nivcsw += 1
        rq.put_prev(self.clock)
        self._switch_to(following, 0)
        self._dispatch(task)

    @property
    def something_to_do(self) -> bool:
        """Is there a CPU that waits for its turn."""
        return bool(self._busy)

    # Tasks

    def start(self, task: SchedEntity) -> None:
        """A new task becomes runnable (wake_up_new_task). Its `greenlet` is set already; what that runs must end with
        `exit_task`."""
        self.tasks += 1
        self.forks += 1
        if self._hub is not None:
            task.greenlet.parent = self._hub  # not the one that made it: that one may end before, and go on to this one
        self._enqueue(task, 0, new=True)

    def exit_task(self) -> None:
        """The running task ends; its greenlet must return at once, to whoever goes on (do_task_dead)."""
        task = self.current
        task.state = State.DEAD
        self.tasks -= 1
        self._put_prev(2, sleep=True, special=True)
        successor = self._pick()
        if successor.greenlet:
            task.greenlet.parent = successor.greenlet
        else:
            self._to_start = successor
            task.greenlet.parent = self._hub

    def run(self) -> None:
        """Run until no task is left or nothing more can happen (`tasks` tells), or until `end`."""
        self._hub = getcurrent()
        self._to_start = self._pick()
        while self._to_start is not self.boot:
            self._to_start.greenlet.switch()
        self.current = self.boot
        self.tp.pid = self.tp.tid = 0

    def set_affinity(self, task: SchedEntity, mask: int) -> None:
        """Allow a task the CPUs of `mask` only, and move it to one of them (set_cpus_allowed_ptr)."""
        task.affinity = mask
        rq = task.rq
        if rq is None or self._allowed(task, rq) or task.state == State.DEAD:
            return
        if task is self.current:
            self._move_away()
        elif task.on_rq:
            rq.remove(task, self._clock_of(rq))
            self._enqueue(task, 0)
        elif task.sched_delayed:
            rq.cfs.finish_delayed_dequeue_entity(task, self._clock_of(rq))
        else:
            task.need_resched = True  # runs, or spins, on that CPU: it moves when it comes back to guest code

    def _move_away(self) -> None:
        """The running task leaves its CPU for one that it may use."""
        task = self.current
        self._put_prev(0, sleep=False)
        self._enqueue(task, 0)
        self._dispatch(task)

    def set_scheduler(
        self, task: SchedEntity, policy: int, rt_priority: int, nice: int, custom_slice: int | None = None
    ) -> None:
        """Change what decides when a task runs, wherever it is now; `custom_slice`: ns that it asks for at a time,
        0 = as the others, None = as it is (__sched_setscheduler)."""
        rq = task.rq
        now = self.clock if rq is None else self._clock_of(rq)
        waits, runs = task.on_rq, rq is not None and rq.curr is task
        before = task.rt_priority, -task.nice
        if rq is not None:
            if task.sched_delayed:
                rq.cfs.finish_delayed_dequeue_entity(task, now)
            elif runs:
                rq.dequeue_curr(now, sleep=False)
            elif waits:
                rq.remove(task, now)
        task.policy, task.rt_priority, task.nice = policy, rt_priority, nice
        if custom_slice is not None:
            task.custom_slice = custom_slice
        reweight(task)
        if rq is not None and (runs or waits):
            rq.enqueue(task, now)
            if waits:
                rq.wakeup_preempt(task, now)
            else:
                rq.set_next(task, now)
                task.need_resched = rq.waiting > 0 and (rt_priority, -nice) < before

    def yield_task(self) -> None:
        """sched_yield: behind all that wait for this CPU."""
        self.sync()
        self.charge(self.cost.schedule)
        if self.rq.waiting:
            self.rq.cfs.yield_task(self.clock)
            self.resched()

    def _clock_of(self, rq: Rq) -> int:
        """The time on a CPU: the running one's is in `clock`."""
        return self.clock if rq is self.rq and rq.curr is self.current else rq.clock

    def _allowed(self, task: SchedEntity, rq: Rq) -> bool:
        return bool(task.affinity >> rq.id & 1)

    def _enqueue(self, task: SchedEntity, delay: int, new: bool = False) -> Rq:
        """Put a runnable task on a CPU (select_task_rq_fair): an idle one, as emu.sched.topology says; where none is
        idle it waits where it ran, or where its parent did."""
        prev = task.rq
        if self._idle:
            before = prev.id if prev is not None else self.rq.id
            place = self.topology.for_new if new else self.topology.for_woken
            number = place(self._idle, task.affinity, before)
            if number >= 0:
                return self._start_on(self.rqs[number], task, delay, new)
        if prev is None or not self._allowed(task, prev):
            prev = min((rq for rq in self.rqs if self._allowed(task, rq)), key=lambda rq: (rq.waiting, rq.id))
        return self._wait_on(prev, task, new)

    def _wait_on(self, rq: Rq, task: SchedEntity, new: bool = False) -> Rq:
        """A runnable task waits for a busy CPU, or makes room for itself there."""
        now = self._clock_of(rq)
        rq.enqueue(task, now, new)
        rq.wakeup_preempt(task, now)
        return rq

    def _start_on(self, rq: Rq, task: SchedEntity, delay: int, new: bool) -> Rq:
        """Wake an idle CPU for a task."""
        self._idle &= ~(1 << rq.id)
        wake_ns = self.cost.idle_exit
        woken = self.clock + wake_ns + delay + self.noise(wake_ns)
        rq.idle_ns += max(0, woken - rq.clock)
        rq.clock = max(rq.clock, woken)
        rq.tick_due = tick_after(rq.clock)
        rq.enqueue(task, rq.clock, new)
        self._set_curr(rq, task)
        self._push(rq)
        return rq

    def _push(self, rq: Rq) -> None:
        self._busy.push(rq.clock, rq.id)
        if rq.clock < self.horizon:
            self.horizon = rq.clock

    def _set_curr(self, rq: Rq, task: SchedEntity) -> None:
        if rq.sibling is not None:
            rq.sibling.rate = self._slowdown
        rq.nr_switches += 1
        rq.set_next(task, rq.clock)

    def _put_prev(self, why: int, sleep: bool, special: bool = False) -> None:
        """The running task leaves its CPU: one that waits for it, or for another CPU, takes over, or the CPU idles."""
        rq = self.rq
        rq.dequeue_curr(self.clock, sleep, special)
        self._switch_to(rq.pick(self.clock) or self._steal(rq), why)

    def _switch_to(self, task: SchedEntity | None, why: int) -> None:
        """Another task runs on this CPU, or none."""
        rq = self.rq
        rq.clock = self.clock
        if self.tp.on:
            self.tp.emit(Kind.SCHED_SWITCH, code=task.pid if task is not None else 0, result=why)
        if task is None:
            rq.curr = None
            if rq.sibling is not None:
                rq.sibling.rate = 100
            self._idle |= 1 << rq.id
            return
        rq.clock += self.cost.context_switch
        self._set_curr(rq, task)
        self._busy.push(rq.clock, rq.id)

    def _steal(self, rq: Rq) -> SchedEntity | None:
        """A task that waits for a busier CPU (newidle_balance); it waits for this one then."""
        busiest: Rq | None = None
        for other in self.rqs:
            if other.waiting and (busiest is None or other.waiting > busiest.waiting):
                if any(self._allowed(task, rq) for task in other.queue()):
                    busiest = other
        if busiest is None:
            return None
        task = next(task for task in busiest.queue() if self._allowed(task, rq))
        busiest.remove(task, self._clock_of(busiest))
        rq.enqueue(task, self.clock)
        return task

    def _dispatch(self, me: SchedEntity) -> None:
        """Go on with the CPU whose clock is smallest; comes back when it is the turn of `me` again."""
        task = self._pick()
        if task is me:
            return
        if task.greenlet:
            task.greenlet.switch()
        else:  # has never run, or is `boot`: one that starts inside another one would inherit the depth of its stack
            self._to_start = task
            self._hub.switch()

    def _pick(self) -> SchedEntity:
        busy, timers = self._busy, self._timers
        tp = self.tp
        while True:
            self._drop_cancelled()
            if timers and (not busy or timers[0][0] <= busy.first()):
                if not busy and self.on_idle():
                    continue
                if timers[0][0] >= self.end:
                    self.timed_out = True
                    return self.boot
                self._fire()
                continue
            if busy:
                if busy.first() >= self.end:
                    self.timed_out = True
                    return self.boot
                self.clock, number = busy.pop()
                rq = self.rq = self.rqs[number]
                task = rq.curr
                assert task is not None
                self.current = task
                self.horizon = busy.first() if busy else INFINITY
                if self._timer_due < self.horizon:
                    self.horizon = self._timer_due
                tp.cpu = number
                tp.pid = task.tgid
                tp.tid = task.pid
                tp.current = task.waits
                return task
            if self.tasks == 0 or not self.on_idle():
                return self.boot

    # Timers

    def add_timer(self, deadline: int, function: Callable[[], None]) -> SchedTimer:
        """Call `function` at virtual time `deadline`. To cancel, set its `function` to None."""
        timer = SchedTimer(deadline, function)
        self._timer_count += 1
        heappush(self._timers, (deadline, self._timer_count, timer))
        self._timer_due = self._timers[0][0]
        if deadline < self.horizon:
            self.horizon = deadline
        return timer

    def next_timer(self) -> int | None:
        """When the next timer fires; None = there is none."""
        self._drop_cancelled()
        return self._timers[0][0] if self._timers else None

    def _drop_cancelled(self) -> None:
        """Forget cancelled timers that would be the next ones."""
        timers = self._timers
        while timers and timers[0][2].function is None:
            heappop(timers)
        self._timer_due = timers[0][0] if timers else INFINITY

    def _fire(self) -> None:
        deadline, _, timer = heappop(self._timers)
        self._timer_due = self._timers[0][0] if self._timers else INFINITY
        self.current = self.boot
        self.clock = max(deadline, 0)
        self.horizon = INFINITY
        self.tp.pid = self.tp.tid = 0
        self.tp.current = self.boot.waits
        function, timer.function = timer.function, None
        if function is not None:
            function()
