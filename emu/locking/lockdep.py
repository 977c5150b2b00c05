# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock checker, in the manner of the kernel's lockdep (kernel/locking/lockdep.c).

All locks of one name are a class. Whoever waits for a lock of class B while it holds one of class A has shown that A
comes before B; a chain of such orders that closes to a circle may deadlock one day, and is reported the first time it
closes, with the stacks of every order in it. A lock that was only tried for, without waiting, orders nothing before
itself. Besides the order, the rules of holding are looked at: who releases must hold, nobody goes back to the guest
with a lock, and nobody sleeps inside a spinlock or a read-side section of RCU.

None of this costs anything where it is not asked for: a machine that is checked is built of the classes below, the
other ones of their bases. What was found is raised as a `Violation`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from emu.locking.lock import Lock
from emu.locking.mutex import mutex
from emu.locking.rcu import Rcu
from emu.locking.rwsem import rw_semaphore
from emu.locking.spinlock import spinlock
from emu.sched.cost import ICELAKE, Cost
from emu.sched.entity import SchedEntity, State
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints

if TYPE_CHECKING:
    from types import CodeType

Stack = tuple[tuple["CodeType", int], ...]  # function and line, innermost first
STACK_DEPTH = 24
_OURS = ("emu/locking/lockdep.py", "emu/mm/check.py")


class Violation(Exception):
    """What a check found: a report of several lines, the first of which says it all."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0])
        self.lines = lines


def save_stack(skip: int = 1) -> Stack:
    """Where the running task is in the kernel, from the caller's caller outwards; the checkers' own frames left out."""
    found: list[tuple[CodeType, int]] = []
    frame = sys._getframe(skip)
    while len(found) < STACK_DEPTH:
        code = frame.f_code
        if not code.co_filename.endswith(_OURS):
            found.append((code, frame.f_lineno))
        back = frame.f_back
        if back is None:
            break
        frame = back
    return tuple(found)


def print_stack(stack: Stack) -> list[str]:
    """The lines of a report for a stack."""
    return [
        f"    {code.co_name} ({'/'.join(code.co_filename.rsplit('/', 3)[-3:])}:{line})" for code, line in stack
    ] or ["    (no stack)"]


class held_lock:
    """One lock that a task holds (struct held_lock)."""

    __slots__ = ("lock", "name", "read", "stack")

    def __init__(self, lock: Lock, name: str, read: bool, stack: Stack) -> None:
        self.lock = lock
        self.name = name  # of its class
        self.read = read
        self.stack = stack

    def __str__(self) -> str:
        ident = f" of mm {self.lock.ident}" if self.lock.name == "mmap_lock" else f" {self.lock.ident:#x}"
        which = f" of VMA {self.lock.vma}" if self.lock.vma else ident if self.lock.ident else ""
        return f"{self.name}{which}, for {'read' if self.read else 'write'}, taken at:"


class Lockdep:
    """The state of the checker: what each task holds, and which class was seen to come before which."""

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.held: dict[SchedEntity, list[held_lock]] = {}
        # class -> class that was waited for while it was held -> who, its stack when it took the first, and when it
        # waited for the second
        self.after: dict[str, dict[str, tuple[str, Stack, Stack]]] = {}
        self.rcu_depth: dict[SchedEntity, Stack] = {}  # who is in a read-side section, and since where
        self.rcu_nesting: dict[SchedEntity, int] = {}
        self.rules: list[Callable[[Lock, bool], None]] = []  # called before a lock is waited for
        self.exit_rules: list[Callable[[SchedEntity], None]] = []  # called before a task goes back to the guest

    # Reports

    def report(self, what: str, *parts: str | Stack) -> NoReturn:
        """Raise a Violation: what is wrong, then headings and stacks."""
        task = self.sched.current
        lines = [
            f"{what}",
            f"  by {task.comm or 'task'}/{task.pid} on CPU {self.sched.rq.id} at {self.sched.clock / 1e9:.9f} s:",
            *print_stack(save_stack(2)),
        ]
        for part in parts:
            lines += [f"  {part}"] if isinstance(part, str) else print_stack(part)
        raise Violation(lines)

    def describe_held(self, task: SchedEntity) -> list[str | Stack]:
        """The parts of a report for what a task holds."""
        parts: list[str | Stack] = []
        for held in self.held.get(task, ()):
            parts += [f"it holds {held}", held.stack]
        return parts

    # Taking and releasing

    def might_sleep(self) -> None:
        """The caller may go to sleep: not inside a spinlock, nor in a read-side section (__might_sleep)."""
        task = self.sched.current
        if task is self.sched.boot:
            return
        if task in self.rcu_nesting:
            self.report(
                "sleeping function called in a read-side section of RCU", "the section began at:", self.rcu_depth[task]
            )
        for held in self.held.get(task, ()):
            if isinstance(held.lock, spinlock):
                self.report(f"sleeping function called inside the spinlock {held.name}", *self.describe_held(task))

    def acquire(self, lock: Lock, read: bool, subclass: int = 0) -> None:
        """`lock` is about to be waited for: does that agree with all orders that were seen (lock_acquire)."""
        for rule in self.rules:
            rule(lock, read)
        task = self.sched.current
        held = self.held.get(task)
        if not held:
            return
        name = class_of(lock, subclass)
        for each in held:
            if each.lock is lock:
                if not (read and each.read and isinstance(lock, rw_semaphore) and not lock.is_contended()):
                    self.report(f"possible recursive locking: {name} is held already", *self.describe_held(task))
            elif each.name == name:
                self.report(
                    f"possible recursive locking: another lock of class {name} is held, and no order among them is "
                    "declared", *self.describe_held(task),
                )  # fmt: skip
            else:
                self._order(task, each, name)

    def _order(self, task: SchedEntity, first: held_lock, second: str) -> None:
        known = self.after.setdefault(first.name, {})
        if second in known:
            return
        stack = save_stack(2)
        chain = self._path(second, first.name)
        known[second] = (f"{task.comm or 'task'}/{task.pid}", first.stack, stack)
        if chain is None:
            return
        parts: list[str | Stack] = [
            f"order 1: {first.name}, then {second} (now). {first.name} was taken at:",
            first.stack,
        ]
        for number, (a, b) in enumerate(pairwise(chain), 2):
            who, at_first, at_second = self.after[a][b]
            parts += [
                f"order {number}: {a}, then {b}, by {who}. {a} was taken at:", at_first, f"and {b} waited for at:",
                at_second,
            ]  # fmt: skip
        circle = " -> ".join([first.name, *chain])
        self.report(f"possible circular locking dependency: {circle}", *parts)

    def _path(self, start: str, goal: str) -> list[str] | None:
        """Classes from `start` to `goal`, each known to come before the next; None when there is no such chain."""
        queue = [[start]]
        seen = {start}
        while queue:
            path = queue.pop(0)
            if path[-1] == goal:
                return path
            for name in self.after.get(path[-1], ()):
                if name not in seen:
                    seen.add(name)
                    queue.append([*path, name])
        return None

    def acquired(self, lock: Lock, read: bool, subclass: int = 0) -> None:
        """The running task has the lock now."""
        entry = held_lock(lock, class_of(lock, subclass), read, save_stack(2))
        self.held.setdefault(self.sched.current, []).append(entry)

    def release(self, lock: Lock, read: bool) -> None:
        """`lock` is about to be released: the running task must hold it so (lock_release)."""
        task = self.sched.current
        held = self.held.get(task, [])
        for i in range(len(held) - 1, -1, -1):
            if held[i].lock is lock:
                if held[i].read != read:
                    how = "read" if read else "write"
                    self.report(f"{held[i].name} is released as if held for {how}", *self.describe_held(task))
                del held[i]
                if not held:
                    del self.held[task]
                return
        name = class_of(lock, 0)
        for other, its in self.held.items():
            for each in its:
                if each.lock is lock:
                    self.report(
                        f"{name} is released by a task that does not hold it",
                        f"{other.comm or 'task'}/{other.pid} holds {each}", each.stack,
                    )  # fmt: skip
        self.report(f"{name} is released, which nobody holds", *self.describe_held(task))

    def downgrade(self, lock: Lock) -> None:
        """A write lock becomes a read lock (lock_downgrade)."""
        for each in self.held.get(self.sched.current, ()):
            if each.lock is lock and not each.read:
                each.read = True
                return
        self.report(f"{class_of(lock, 0)} is downgraded by a task that does not hold it for write")

    def holds(self, lock: Lock, write: bool = False) -> bool:
        """Does the running task hold this lock; with `write`, for write (lockdep_is_held)."""
        return any(each.lock is lock and not (write and each.read) for each in self.held.get(self.sched.current, ()))

    def return_to_user(self) -> None:
        """The running task goes back to guest code: with nothing held (lockdep_sys_exit)."""
        task = self.sched.current
        for rule in self.exit_rules:
            rule(task)
        if task in self.held:
            self.report("return to user mode with locks held", *self.describe_held(task))
        if task in self.rcu_nesting:
            self.report(
                "return to user mode in a read-side section of RCU", "the section began at:", self.rcu_depth[task]
            )


def class_of(lock: Lock, subclass: int) -> str:
    """The class of a lock: its name, and what tells it from others of the name where several are held in order."""
    return f"{lock.name}/{subclass}" if subclass else lock.name


class CheckedSched(Sched):
    """CPUs whose tasks are watched. Locks made for it are the checked ones."""

    def __init__(self, tp: Tracepoints, cpus: int = 1, seed: int = 0, cost: Cost = ICELAKE) -> None:
        super().__init__(tp, cpus, seed, cost)
        self.lockdep = Lockdep(self)
        self.replaced = {rw_semaphore: checked_rwsem, mutex: checked_mutex, spinlock: checked_spinlock}

    def block(self, state: State = State.UNINTERRUPTIBLE, deadline: int | None = None, spin: bool = False) -> int:
        if not spin:
            self.lockdep.might_sleep()
        return super().block(state, deadline, spin)

    def exit_task(self) -> None:
        self.lockdep.return_to_user()
        super().exit_task()


def _dep(lock: Lock) -> Lockdep:
    sched = lock.sched
    assert isinstance(sched, CheckedSched)
    return sched.lockdep


class checked_rwsem(rw_semaphore):
    """A rwsem that tells the checker."""

    __slots__ = ()

    def down_read(self) -> None:
        dep = _dep(self)
        dep.might_sleep()
        dep.acquire(self, True)
        super().down_read()
        dep.acquired(self, True)

    def down_read_killable(self) -> int:
        dep = _dep(self)
        dep.might_sleep()
        dep.acquire(self, True)
        error = super().down_read_killable()
        if not error:
            dep.acquired(self, True)
        return error

    def down_read_trylock(self) -> bool:
        taken = super().down_read_trylock()
        if taken:
            _dep(self).acquired(self, True)
        return taken

    def up_read(self) -> None:
        _dep(self).release(self, True)
        super().up_read()

    def down_write(self) -> None:
        self.down_write_nested(0)

    def down_write_nested(self, subclass: int) -> None:
        dep = _dep(self)
        dep.might_sleep()
        dep.acquire(self, False, subclass)
        super().down_write()
        dep.acquired(self, False, subclass)

    def down_write_killable(self) -> int:
        dep = _dep(self)
        dep.might_sleep()
        dep.acquire(self, False)
        error = super().down_write_killable()
        if not error:
            dep.acquired(self, False)
        return error

    def down_write_trylock(self) -> bool:
        taken = super().down_write_trylock()
        if taken:
            _dep(self).acquired(self, False)
        return taken

    def up_write(self) -> None:
        _dep(self).release(self, False)
        super().up_write()

    def downgrade_write(self) -> None:
        _dep(self).downgrade(self)
        super().downgrade_write()


class checked_mutex(mutex):
    """A mutex that tells the checker."""

    __slots__ = ()

    def trylock(self) -> bool:
        taken = super().trylock()
        if taken:
            _dep(self).acquired(self, False)
        return taken

    def unlock(self) -> None:
        _dep(self).release(self, False)
        super().unlock()

    def _lock(self, state: State) -> int:
        dep = _dep(self)
        dep.might_sleep()
        dep.acquire(self, False)
        error = super()._lock(state)
        if not error:
            dep.acquired(self, False)
        return error


class checked_spinlock(spinlock):
    """A spinlock that tells the checker; on one CPU too, where it does nothing else."""

    __slots__ = ()

    def lock(self) -> None:
        self.lock_nested(0)

    def lock_nested(self, subclass: int) -> None:
        dep = _dep(self)
        dep.acquire(self, False, subclass)
        super().lock()
        dep.acquired(self, False, subclass)

    def trylock(self) -> bool:
        taken = super().trylock()
        if taken:
            _dep(self).acquired(self, False)
        return taken

    def unlock(self) -> None:
        _dep(self).release(self, False)
        super().unlock()


class CheckedRcu(Rcu):
    """RCU whose sections are counted, and whose callbacks must find no section older than they are."""

    __slots__ = ("_sections",)
    checked = True

    def __init__(self, sched: CheckedSched) -> None:
        super().__init__(sched)
        self._sections = 0  # begun so far

    def _lockdep(self) -> Lockdep:
        assert isinstance(self.sched, CheckedSched)
        return self.sched.lockdep

    def rcu_read_lock(self) -> None:
        dep = self._lockdep()
        task = self.sched.current
        depth = dep.rcu_nesting.get(task, 0)
        if not depth:
            dep.rcu_depth[task] = save_stack()
        dep.rcu_nesting[task] = depth + 1

    def rcu_read_unlock(self) -> None:
        dep = self._lockdep()
        task = self.sched.current
        depth = dep.rcu_nesting.get(task, 0)
        if not depth:
            dep.report("rcu_read_unlock without rcu_read_lock")
        if depth == 1:
            del dep.rcu_nesting[task]
            del dep.rcu_depth[task]
        else:
            dep.rcu_nesting[task] = depth - 1

    def call_rcu(self, function: Callable[[], None]) -> None:
        dep = self._lockdep()
        inside = {task: dep.rcu_depth[task] for task in dep.rcu_nesting}
        queued = save_stack()
        if not inside:
            super().call_rcu(function)
            return

        def checked() -> None:
            for task, stack in inside.items():
                if dep.rcu_depth.get(task) is stack:
                    dep.report(
                        "a grace period ended while a read-side section that is older goes on",
                        f"{task.comm or 'task'}/{task.pid} began it at:", stack, "the callback was queued at:", queued,
                    )  # fmt: skip
            function()

        super().call_rcu(checked)

    def quiescent(self) -> None:
        self._lockdep().return_to_user()
        super().quiescent()

    def synchronize_rcu(self) -> None:
        self._lockdep().might_sleep()
        super().synchronize_rcu()
