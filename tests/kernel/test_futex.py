# SPDX-License-Identifier: GPL-2.0-or-later
"""Every futex operation, on tasks that are plain functions on a machine of several virtual CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EAGAIN, EDEADLK, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH, ETIMEDOUT
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import greenlet

from emu.kernel.futex.core import FUTEX_OWNER_DIED, FUTEX_WAITERS, FutexTable
from emu.kernel.futex.robust import ROBUST_LIST_LIMIT, futex_exec_release, futex_exit_release
from emu.kernel.futex.syscalls import (
    sys_futex,
    sys_futex_requeue,
    sys_futex_time64,
    sys_futex_wait,
    sys_futex_waitv,
    sys_futex_wake,
)
from emu.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTNOINTR, ERESTARTSYS
from emu.mm.mmap import ksys_munmap
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.uaccess import Uaccess
from emu.sched.entity import SCHED_FIFO, SchedEntity
from emu.sched.sched import Sched
from tests.mm.test_memory import MemoryFile
from tests.support import Box, make_box

WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, LOCK_PI, UNLOCK_PI, TRYLOCK_PI = 0, 1, 3, 4, 5, 6, 7, 8
WAIT_BITSET, WAKE_BITSET, WAIT_REQUEUE_PI, CMP_REQUEUE_PI, LOCK_PI2 = 9, 10, 11, 12, 13
PRIVATE, REALTIME = 128, 256
ANY = 0xFFFFFFFF
BASE = 0x1000_0000  # within 32 bits
PAGE = 4096
SECOND = 1_000_000_000
BOOT = 1_700_000_000 * SECOND


class FakeTask(SchedEntity):
    """A thread whose program is a function."""

    def __init__(self, world: World, pid: int, box: Box) -> None:
        super().__init__(pid, f"t{pid}")
        self.machine = world.machine
        self.attach(box)
        self.word = world.word
        self.arch = SimpleNamespace(elf=SimpleNamespace(big_endian=world.big_endian))
        self.robust_list = (0, 0)
        self.futex_dead = False
        self.restart_block: Callable[[], int] | None = None
        self.signalled = False

    def attach(self, box: Box) -> None:
        self.mm = box.mm
        self.access = Uaccess(box.mm, box.entry.kernel_fault, "big" if self.machine.big_endian else "little")

    def signal_pending(self) -> bool:
        return self.signalled

    def interrupt(self) -> None:
        """A signal comes."""
        self.signalled = True
        self.machine.sched.signal_wake(self, False)

    def load(self, address: int) -> int:
        value = self.access.get_user(address, 4)
        assert value is not None
        return value

    def store(self, address: int, value: int) -> None:
        assert self.access.put_user(address, value, 4)

    def futex(self, address: int, op: int, value: int = 0, timeout: int = 0, second: int = 0, third: int = 0) -> int:
        return sys_futex(self, address, op, value, timeout, second, third)  # type: ignore[arg-type]

    def after(self, ns: int) -> None:
        """Let time pass."""
        sched = self.machine.sched
        sched.block(deadline=sched.now() + ns)


class World:
    """A machine of four CPUs with one address space; `words` is a page of futexes."""

    def __init__(self, word: int = 8, big_endian: bool = False) -> None:
        self.word = word
        self.big_endian = big_endian
        self.box = make_box()
        self.words = self.box.map(BASE, 8 * PAGE, flags=0x32)
        self.sched = Sched(self.box.memory.tp, 4)
        self.machine = SimpleNamespace(
            sched=self.sched, futexes=FutexTable(), pids={}, clock=self.sched.now, boot_time=BOOT, big_endian=big_endian
        )
        self.results: dict[int, Any] = {}
        self.log: list[Any] = []

    def add(
        self, program: Callable[[FakeTask], Any], box: Box | None = None, pid: int = 0, leave: bool = True
    ) -> FakeTask:
        """A task that runs `program` and then ends, its futexes with it."""
        task = FakeTask(self, pid or 100 + len(self.machine.pids), box or self.box)

        def run(*_: object) -> None:
            self.results[task.pid] = program(task)
            if leave:
                futex_exit_release(task)  # type: ignore[arg-type]
            del self.machine.pids[task.pid]
            self.sched.exit_task()

        task.greenlet = greenlet(run)
        self.machine.pids[task.pid] = task
        self.sched.start(task)
        return task

    def run(self) -> None:
        """Until no task is left; one that sleeps for ever is an error."""
        self.sched.run()
        assert self.sched.tasks == 0, f"asleep for ever: {list(self.machine.pids.values())}"
        assert (
            not self.machine.futexes._queues and not self.machine.futexes.pi_states and not self.machine.futexes.exiting
        )
        assert not self.box.mm.mmap_lock.is_locked()


@pytest.fixture
def world() -> Iterator[World]:
    yield World()


def timespec(task: FakeTask, ns: int, size: int = 8) -> int:
    """Store a timespec and give its address."""
    address = BASE + 7 * PAGE + 64 * (task.pid - 100)
    for index, value in enumerate(divmod(ns, SECOND)):
        assert task.access.put_user(address + index * size, value, size)
    return address


@pytest.mark.parametrize("flag", [PRIVATE, 0])
def test_wait_and_wake(world: World, flag: int) -> None:
    def waiter(task: FakeTask) -> int:
        return task.futex(world.words, WAIT | flag, 0)

    def waker(task: FakeTask) -> list[int]:
        task.after(1000)
        return [task.futex(world.words, WAKE | flag, 2), task.futex(world.words, WAKE | flag, 2)]

    for _ in range(3):
        world.add(waiter)
    last = world.add(waker)
    world.run()
    assert world.results[last.pid] == [2, 1]
    assert [world.results[pid] for pid in (100, 101, 102)] == [0, 0, 0]


def test_woken_in_turn_real_time_tasks_first(world: World) -> None:
    def waiter(task: FakeTask) -> None:
        task.after(1000 * (task.pid - 99))
        if task.pid == 102:
            task.machine.sched.set_scheduler(task, SCHED_FIFO, 10, 0)
        assert task.futex(world.words, WAIT | PRIVATE, 0) == 0
        world.log.append(task.pid)

    def waker(task: FakeTask) -> None:
        task.after(100_000)
        for _ in range(4):
            assert task.futex(world.words, WAKE | PRIVATE, 1) == 1
            task.after(100_000)

    for _ in range(4):
        world.add(waiter)
    world.add(waker)
    world.run()
    assert world.log == [102, 100, 101, 103]


def test_private_and_shared_are_different_futexes(world: World) -> None:
    def waiter(task: FakeTask) -> int:
        return task.futex(world.words, WAIT, 0)

    def waker(task: FakeTask) -> list[int]:
        task.after(1000)
        return [task.futex(world.words, WAKE | PRIVATE, 1), task.futex(world.words, WAKE, 1)]

    world.add(waiter)
    world.add(waker)
    world.run()
    assert world.results[101] == [0, 1]


def test_errors_of_simple_operations(world: World) -> None:
    hole = BASE + 0x100_0000
    read_only = world.box.map(BASE + 0x200_0000, PAGE, flags=0x32)
    world.box.poke(read_only, 0)
    assert do_mprotect_pkey(world.box.mm, read_only, PAGE, 1) == 0

    def program(task: FakeTask) -> None:
        words = world.words
        assert task.futex(words, WAIT | PRIVATE, 1) == -EAGAIN
        assert task.futex(words + 2, WAIT | PRIVATE, 0) == -EINVAL
        assert task.futex(words + 2, WAKE | PRIVATE, 1) == -EINVAL
        assert task.futex(hole, WAIT | PRIVATE, 0) == -EFAULT
        assert task.futex(hole, WAKE | PRIVATE, 1) == 0, "a private futex is known by its address alone"
        assert task.futex(hole, WAKE, 1) == -EFAULT
        assert task.futex(1 << 63, WAKE | PRIVATE, 1) == -EFAULT
        assert task.futex(words, WAIT_BITSET | PRIVATE, 0, 0, 0, 0) == -EINVAL
        assert task.futex(words, WAKE_BITSET | PRIVATE, 1, 0, 0, 0) == -EINVAL
        assert task.futex(words, 2 | PRIVATE) == -ENOSYS
        assert task.futex(words, 14) == -ENOSYS
        assert task.futex(words, WAIT | REALTIME, 0) == -ENOSYS
        assert task.futex(words, WAKE | REALTIME, 1) == -ENOSYS
        assert task.futex(words, LOCK_PI | REALTIME, 0) == -ENOSYS
        assert task.futex(words, WAIT | PRIVATE, 0, hole) == -EFAULT
        assert task.futex(words, WAIT | PRIVATE, 0, timespec(task, -1)) == -EINVAL
        assert task.futex(read_only, WAIT, 0) == -EFAULT, "a private page that cannot be written never changes"
        assert task.futex(read_only, WAIT | PRIVATE, 1) == -EAGAIN
        assert task.futex(words, REQUEUE | PRIVATE, -1, 0, words + 4) == -EINVAL
        assert task.futex(words, REQUEUE | PRIVATE, 0, -1, words + 4) == -EINVAL
        assert task.futex(words, CMP_REQUEUE | PRIVATE, 0, 1, words + 4, 5) == -EAGAIN
        assert task.futex(hole, CMP_REQUEUE | PRIVATE, 0, 1, words + 4, 5) == -EFAULT
        assert task.futex(words, REQUEUE | PRIVATE, 0, 1, words + 5) == -EINVAL
        assert task.futex(words, WAKE_OP | PRIVATE, 0, 0, hole) == -EFAULT
        assert task.futex(words, WAKE_OP | PRIVATE, 0, 0, read_only) == -EFAULT
        assert task.futex(words, WAKE_OP | PRIVATE, 0, 0, words + 4, 5 << 28) == -ENOSYS
        assert task.futex(words, WAKE_OP | PRIVATE, 0, 0, words + 4, 6 << 24) == -ENOSYS

    world.add(program)
    world.run()


def test_a_first_access_faults_and_goes_on(world: World) -> None:
    """The word's page is not there yet, for reading and for a read-modify-write."""

    def program(task: FakeTask) -> None:
        assert task.futex(world.words + PAGE, WAIT | PRIVATE, 5) == -EAGAIN
        assert world.box.page_at(world.words + PAGE) is not None
        assert task.futex(world.words, WAKE_OP | PRIVATE, 1, 1, world.words + 2 * PAGE, 0 << 28 | 9 << 12) == 0
        assert task.load(world.words + 2 * PAGE) == 9
        assert task.futex(world.words + 3 * PAGE, LOCK_PI | PRIVATE) == 0
        assert task.load(world.words + 3 * PAGE) == task.pid
        assert task.futex(world.words + 3 * PAGE, UNLOCK_PI | PRIVATE) == 0

    world.add(program)
    world.run()


@pytest.mark.parametrize("op", [WAIT, WAIT_BITSET, WAIT_BITSET | REALTIME])
def test_timeouts(world: World, op: int) -> None:
    def program(task: FakeTask) -> int:
        task.after(50_000)
        start = task.machine.clock()
        end = {WAIT: 1_000_000, WAIT_BITSET: start + 1_000_000}.get(op, BOOT + start + 1_000_000)
        result = task.futex(world.words, op | PRIVATE, 0, timespec(task, end), 0, ANY)
        assert 1_000_000 <= task.machine.clock() - start < 1_100_000
        return result

    world.add(program)
    world.run()
    assert world.results[100] == -ETIMEDOUT


def test_a_timeout_in_the_past_and_one_that_never_comes(world: World) -> None:
    def program(task: FakeTask) -> int:
        assert task.futex(world.words, WAIT_BITSET | PRIVATE, 0, timespec(task, 0), 0, ANY) == -ETIMEDOUT
        assert task.futex(world.words, WAIT_BITSET | REALTIME, 0, timespec(task, SECOND), 0, ANY) == -ETIMEDOUT
        return task.futex(world.words, WAIT | PRIVATE, 0, timespec(task, (1 << 63) - 1))

    def waker(task: FakeTask) -> None:
        task.after(100_000)
        assert task.futex(world.words, WAKE | PRIVATE, 1) == 1

    world.add(program)
    world.add(waker)
    world.run()
    assert world.results[100] == 0


def test_a_32_bit_machines_timespecs() -> None:
    world = World(word=4, big_endian=True)

    def program(task: FakeTask) -> None:
        for call, size in ((sys_futex, 4), (sys_futex_time64, 8)):
            start = task.machine.clock()
            where = timespec(task, 2 * SECOND + 5, size)
            assert call(task, world.words, WAIT | PRIVATE, 0, where, 0, 0) == -ETIMEDOUT  # type: ignore[arg-type]
            assert 0 <= task.machine.clock() - start - 2 * SECOND - 5 < 10_000

    world.add(program)
    world.run()


def test_signals(world: World) -> None:
    def without(task: FakeTask) -> int:
        return task.futex(world.words, WAIT | PRIVATE, 0)

    def with_timeout(task: FakeTask) -> int:
        result = task.futex(world.words, WAIT | PRIVATE, 0, timespec(task, SECOND))
        assert result == -ERESTART_RESTARTBLOCK
        task.signalled = False
        task.after(SECOND // 2)
        assert task.restart_block is not None
        result = task.restart_block()
        assert SECOND <= task.machine.clock() < SECOND + 100_000, "it goes on to the same moment"
        return result

    first, second = world.add(without), world.add(with_timeout)

    def interrupt(task: FakeTask) -> None:
        task.after(1000)
        first.interrupt()
        second.interrupt()

    world.add(interrupt)
    world.run()
    assert (world.results[100], world.results[101]) == (-ERESTARTSYS, -ETIMEDOUT)


def test_bitsets(world: World) -> None:
    def waiter(task: FakeTask) -> int:
        return task.futex(world.words, WAIT_BITSET | PRIVATE, 0, 0, 0, 1 << task.pid - 100)

    def waker(task: FakeTask) -> None:
        task.after(1000)
        assert task.futex(world.words, WAKE_BITSET | PRIVATE, 9, 0, 0, 8) == 0
        assert task.futex(world.words, WAKE_BITSET | PRIVATE, 9, 0, 0, 2) == 1
        assert task.futex(world.words, WAKE_BITSET | PRIVATE, 9, 0, 0, ANY) == 2

    for _ in range(3):
        world.add(waiter)
    world.add(waker)
    world.run()


def test_requeue(world: World) -> None:
    other = world.words + 64

    def waiter(task: FakeTask) -> int:
        return task.futex(world.words, WAIT | PRIVATE, 0)

    def waker(task: FakeTask) -> None:
        task.after(1000)
        assert task.futex(world.words, CMP_REQUEUE | PRIVATE, 1, 2, other, 0) == 3
        assert task.futex(world.words, REQUEUE | PRIVATE, 0, 0, other) == 0
        assert task.futex(world.words, WAKE | PRIVATE, 9) == 2
        assert task.futex(other, WAKE | PRIVATE, 9) == 2

    for _ in range(5):
        world.add(waiter)
    world.add(waker)
    world.run()


@pytest.mark.parametrize(
    ("operation", "expected"), [(0, 5), (1, 15), (2, 15), (3, 10), (4, 15)], ids=["set", "add", "or", "andn", "xor"]
)
def test_wake_op_changes_the_word(world: World, operation: int, expected: int) -> None:
    def program(task: FakeTask) -> None:
        task.store(world.words, 10)
        assert task.futex(world.words + 4, WAKE_OP | PRIVATE, 1, 1, world.words, operation << 28 | 5 << 12) == 0
        assert task.load(world.words) == expected
        task.store(world.words, 10)
        shifted = task.futex(world.words + 4, WAKE_OP | PRIVATE, 1, 1, world.words, (operation | 8) << 28 | 4 << 12)
        assert shifted == 0
        assert task.load(world.words) == [16, 26, 26, 10, 26][operation]

    world.add(program)
    world.run()


@pytest.mark.parametrize("comparison", range(6))
@pytest.mark.parametrize("old", [-3, -2, -1])
def test_wake_op_compares_the_old_value(world: World, comparison: int, old: int) -> None:
    holds = [old == -2, old != -2, old < -2, old <= -2, old > -2, old >= -2][comparison]

    def waiter(task: FakeTask) -> int:
        return task.futex(world.words + 4 * (task.pid - 100), WAIT | PRIVATE, (old & ANY) if task.pid == 101 else 0)

    def waker(task: FakeTask) -> None:
        task.after(1000)
        encoded = 1 << 28 | comparison << 24 | 1 << 12 | (-2 & 0xFFF)
        woken = task.futex(world.words, WAKE_OP | PRIVATE, 1, 1, world.words + 4, encoded)
        assert woken == 1 + holds
        assert task.load(world.words + 4) == old + 1 & ANY
        assert task.futex(world.words + 4, WAKE | PRIVATE, 1) == 1 - holds

    world.box.access.put_user(world.words + 4, old & ANY, 4)
    world.add(waiter)
    world.add(waiter)
    world.add(waker)
    world.run()


def test_shared_between_processes(world: World) -> None:
    """Shared anonymous memory and a file, at different addresses in the two."""
    file = MemoryFile(world.box, bytes(PAGE * 2))
    anonymous = world.box.map(BASE + 0x100_0000, PAGE, flags=0x31)
    mapped = world.box.map(BASE + 0x200_0000, 2 * PAGE, flags=0x11, file=file)
    child = world.box.fork()
    assert child is not None
    elsewhere = child.map(BASE + 0x300_0000, PAGE, flags=0x11, file=file, pgoff=1)

    def waiter(task: FakeTask) -> int:
        assert task.futex(anonymous, WAIT, 0) == 0
        return task.futex(mapped + PAGE + 8, WAIT, 0)

    def waker(task: FakeTask) -> None:
        task.after(10_000)
        assert task.futex(anonymous, WAKE | PRIVATE, 1) == 0
        assert task.futex(anonymous, WAKE, 1) == 1
        task.after(10_000)
        assert task.futex(elsewhere, WAKE, 1) == 0
        assert task.futex(elsewhere + 8, WAKE, 1) == 1
        # Private memory is another futex in each process, at the same address.
        assert task.futex(world.words, WAKE, 1) == 0
        world.log.append(1)

    def private(task: FakeTask) -> int:
        return task.futex(world.words, WAIT, 0, timespec(task, 1_000_000))

    world.add(waiter)
    world.add(waker, child)
    world.add(private)
    world.run()
    assert world.log and world.results[102] == -ETIMEDOUT


def test_no_wake_up_is_lost(world: World) -> None:
    """A mutex of the usual kind under many threads: the counter that it protects is right."""
    lock, counter, turns, threads = world.words, world.words + 64, 20, 8

    def take(task: FakeTask) -> None:
        sched = task.machine.sched
        sched.sync()
        value = task.load(lock)
        if value == 0:
            task.store(lock, 1)
            return
        while True:
            sched.sync()
            value = task.load(lock)
            task.store(lock, 2)
            if value == 0:
                return
            assert task.futex(lock, WAIT | PRIVATE, 2) in (0, -EAGAIN)

    def program(task: FakeTask) -> None:
        sched = task.machine.sched
        for turn in range(turns):
            take(task)
            value = task.load(counter)
            sched.charge(500 + 37 * (task.pid + turn) % 300)
            sched.sync()
            task.store(counter, value + 1)
            sched.sync()
            old = task.load(lock)
            task.store(lock, 0)
            if old == 2:
                task.futex(lock, WAKE | PRIVATE, 1)
            sched.charge(100)
            sched.sync()

    for _ in range(threads):
        world.add(program)
    world.run()
    assert world.box.access.get_user(counter, 4) == turns * threads


# Locks with an owner


@pytest.mark.parametrize("op", [LOCK_PI, LOCK_PI2])
@pytest.mark.parametrize("flag", [0, PRIVATE])
def test_pi_lock_is_handed_over(world: World, op: int, flag: int) -> None:
    lock = world.words

    def program(task: FakeTask) -> None:
        task.after(10_000 * (task.pid - 99))
        assert task.futex(lock, op | flag) == 0
        world.log.append(task.pid)
        assert task.load(lock) & 0x3FFFFFFF == task.pid
        assert task.futex(lock, op | flag) == -EDEADLK
        assert task.futex(lock, TRYLOCK_PI | flag) == -EDEADLK
        task.after(100_000)
        assert task.futex(lock, UNLOCK_PI | flag) == 0
        assert task.load(lock) & 0x3FFFFFFF != task.pid
        assert task.futex(lock, UNLOCK_PI | flag) == -EPERM

    for _ in range(3):
        world.add(program)
    world.run()
    assert world.log == [100, 101, 102]
    assert world.box.access.get_user(lock, 4) == 0


def test_pi_waiters_bit_and_trylock(world: World) -> None:
    lock = world.words

    def owner(task: FakeTask) -> None:
        task.store(lock, task.pid)  # taken without the kernel
        task.after(100_000)
        assert task.load(lock) == task.pid | FUTEX_WAITERS
        task.after(100_000)
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0
        assert task.load(lock) == 0, "nobody waits any more"

    def other(task: FakeTask) -> None:
        task.after(10_000)
        assert task.futex(lock, TRYLOCK_PI | PRIVATE) == -EAGAIN
        assert task.futex(lock, LOCK_PI | PRIVATE, 0, timespec(task, BOOT + 150_000)) == -ETIMEDOUT
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == -EPERM

    def third(task: FakeTask) -> None:
        task.after(20_000)
        assert task.futex(lock, LOCK_PI2 | PRIVATE, 0, timespec(task, 120_000)) == -ETIMEDOUT

    world.add(owner)
    world.add(other)
    world.add(third)
    world.run()


def test_pi_signal_restarts(world: World) -> None:
    lock = world.words

    def owner(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        task.after(50_000)
        waiter.interrupt()
        task.after(50_000)
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    def other(task: FakeTask) -> int:
        task.after(10_000)
        result = task.futex(lock, LOCK_PI | PRIVATE)
        assert task.load(lock) & 0x3FFFFFFF == 100
        return result

    world.add(owner)
    waiter = world.add(other)
    world.run()
    assert world.results[101] == -ERESTARTNOINTR


def test_pi_deadlock_of_two_and_of_three(world: World) -> None:
    for count in (2, 3):
        world = World()
        words = [world.words + 64 * i for i in range(count)]

        def program(task: FakeTask, words: list[int] = words, count: int = count) -> int:
            mine = task.pid - 100
            assert task.futex(words[mine], LOCK_PI | PRIVATE) == 0
            task.after(10_000 * (mine + 1))
            result = task.futex(words[(mine + 1) % count], LOCK_PI | PRIVATE)
            if result == 0:
                assert task.futex(words[(mine + 1) % count], UNLOCK_PI | PRIVATE) == 0
            assert task.futex(words[mine], UNLOCK_PI | PRIVATE) == 0
            return result

        for _ in range(count):
            world.add(program)
        world.run()
        assert [world.results[100 + i] for i in range(count)] == [0] * (count - 1) + [-EDEADLK]


def test_pi_words_at_odds_with_the_kernel(world: World) -> None:
    lock = world.words

    def program(task: FakeTask) -> None:
        task.store(lock, 77)
        assert task.futex(lock, LOCK_PI | PRIVATE) == -ESRCH, "no such task"
        assert task.load(lock) == 77 | FUTEX_WAITERS
        task.store(lock + 4, 0)
        task.after(20_000)
        assert task.futex(lock + 4, LOCK_PI | PRIVATE) == -EINVAL, "somebody waits there as on a plain futex"
        task.store(lock + 4, task.pid)
        assert task.futex(lock + 4, UNLOCK_PI | PRIVATE) == -EINVAL
        assert task.futex(lock + 4, WAKE | PRIVATE, 1) == 1

    def plain(task: FakeTask) -> None:
        task.after(1000)
        assert task.futex(lock + 4, WAIT | PRIVATE, 0) == 0

    def owner(task: FakeTask) -> None:
        assert task.futex(lock + 8, LOCK_PI | PRIVATE) == 0
        task.after(100_000)
        assert task.futex(lock + 8, WAKE | PRIVATE, 1) == -EINVAL, "a waiter of such a lock is not to be woken"
        assert task.futex(lock + 8, REQUEUE | PRIVATE, 1, 1, lock) == -EINVAL
        word = task.load(lock + 8)
        task.store(lock + 8, 101)
        assert task.futex(lock + 8, UNLOCK_PI | PRIVATE) == -EPERM
        task.store(lock + 8, word)
        assert task.futex(lock + 8, UNLOCK_PI | PRIVATE) == 0

    def waiter(task: FakeTask) -> None:
        task.after(10_000)
        assert task.futex(lock + 8, LOCK_PI | PRIVATE) == 0
        assert task.futex(lock + 8, UNLOCK_PI | PRIVATE) == 0

    for each in (program, plain, owner, waiter):
        world.add(each)
    world.run()


def test_pi_owner_dies(world: World) -> None:
    lock = world.words

    def owner(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        task.after(100_000)  # and ends with it

    def other(task: FakeTask) -> None:
        task.after(10_000 * (task.pid - 100))
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        world.log.append((task.pid, task.load(lock) & FUTEX_OWNER_DIED))
        assert task.load(lock) & 0x3FFFFFFF == task.pid
        task.store(lock, task.load(lock) & ~FUTEX_OWNER_DIED)
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    world.add(owner)
    world.add(other)
    world.add(other)
    world.run()
    assert world.log == [(101, FUTEX_OWNER_DIED), (102, 0)]


def test_pi_owner_has_gone_without_a_trace(world: World) -> None:
    lock = world.words

    def owner(task: FakeTask) -> None:
        task.store(lock, task.pid)

    def other(task: FakeTask) -> None:
        task.after(50_000)
        assert task.futex(lock, LOCK_PI | PRIVATE) == -ESRCH

    world.add(owner)
    world.add(other)
    world.run()


@pytest.mark.parametrize("free", [True, False])
def test_requeue_pi(world: World, free: bool) -> None:
    """A condition variable with a lock that has an owner: each waiter comes back with the lock."""
    condition, lock = world.words, world.words + 64

    def waiter(task: FakeTask) -> None:
        task.after(1000 * (task.pid - 99))
        assert task.futex(condition, WAIT_REQUEUE_PI | PRIVATE, 0, 0, lock) == 0
        assert task.load(lock) & 0x3FFFFFFF == task.pid
        world.log.append(task.pid)
        task.after(10_000)
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    def waker(task: FakeTask) -> None:
        task.after(50_000)
        if not free:
            assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 0x7FFFFFFF, lock, 1) == -EAGAIN
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 2, 0x7FFFFFFF, lock, 0) == -EINVAL
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 1, condition, 0) == -EINVAL
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 1, lock + 64, 0) == -EINVAL
        assert task.futex(condition, CMP_REQUEUE | PRIVATE, 1, 1, lock, 0) == -EINVAL
        assert task.futex(condition, WAKE | PRIVATE, 1) == -EINVAL
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 0x7FFFFFFF, lock, 0) == 3
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 0x7FFFFFFF, lock, 0) == 0
        if not free:
            task.after(50_000)
            assert world.log == []
            assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    for _ in range(3):
        world.add(waiter)
    world.add(waker)
    world.run()
    assert world.log == [100, 101, 102]


def test_requeue_pi_ends_early(world: World) -> None:
    condition, lock = world.words, world.words + 64

    def early(task: FakeTask) -> None:
        assert task.futex(condition, WAIT_REQUEUE_PI, 0, 0, condition) == -EINVAL
        assert task.futex(condition, WAIT_REQUEUE_PI, 1, 0, lock) == -EAGAIN
        assert task.futex(condition, WAIT_REQUEUE_PI, 0, timespec(task, 10_000), lock) == -ETIMEDOUT

    def interrupted(task: FakeTask) -> int:
        return task.futex(condition, WAIT_REQUEUE_PI | PRIVATE, 0, 0, lock)

    def late(task: FakeTask) -> int:
        task.after(40_000)
        return task.futex(condition, WAIT_REQUEUE_PI | PRIVATE, 0, timespec(task, 200_000), lock)

    def late_interrupted(task: FakeTask) -> int:
        task.after(50_000)
        return task.futex(condition, WAIT_REQUEUE_PI | PRIVATE, 0, 0, lock)

    def waker(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        task.after(20_000)
        second.interrupt()
        task.after(80_000)
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 9, lock, 0) == 2
        task.after(20_000)
        last.interrupt()
        task.after(200_000)
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    world.add(early)
    second = world.add(interrupted)
    world.add(late)
    last = world.add(late_interrupted)
    world.add(waker)
    world.run()
    assert [world.results[pid] for pid in (101, 102, 103)] == [-ERESTARTNOINTR, -ETIMEDOUT, -EAGAIN]


def test_requeue_pi_of_a_dead_owner(world: World) -> None:
    condition, lock = world.words, world.words + 64

    def waiter(task: FakeTask) -> None:
        assert task.futex(condition, WAIT_REQUEUE_PI | PRIVATE, 0, 0, lock) == 0
        assert task.load(lock) == task.pid | FUTEX_WAITERS | FUTEX_OWNER_DIED
        assert task.futex(lock, UNLOCK_PI | PRIVATE) == 0

    def waker(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        task.after(50_000)
        assert task.futex(condition, CMP_REQUEUE_PI | PRIVATE, 1, 9, lock, 0) == 1

    world.add(waiter)
    world.add(waker)
    world.run()


# Robust lists


def build_list(task: FakeTask, locks: list[int], pending: int = 0, offset: int = -16, pi: bool = False) -> None:
    """A robust list whose entries lie 16 bytes behind their locks, and its head."""
    word = task.word
    head = BASE + 6 * PAGE + 64 * (task.pid - 100)
    entries = [lock - offset for lock in locks]
    for entry, following in zip([head, *entries], [*entries, head]):
        tag = 1 if pi and following != head else 0
        assert task.access.put_user(entry, following | tag, word)
    assert task.access.put_user(head + word, offset, word)
    assert task.access.put_user(head + 2 * word, (pending - offset | int(pi)) if pending else 0, word)
    task.robust_list = (head, 3 * word)


@pytest.mark.parametrize(("word", "big_endian"), [(8, False), (8, True), (4, True)])
def test_robust_locks_of_a_dead_task(word: int, big_endian: bool) -> None:
    world = World(word, big_endian)
    locks = [world.words + 64 * i for i in range(1, 5)]

    def owner(task: FakeTask) -> None:
        task.store(locks[0], task.pid | FUTEX_WAITERS)
        task.store(locks[1], task.pid)
        task.store(locks[2], 4711)  # somebody else's
        task.store(locks[3], task.pid | FUTEX_WAITERS)
        build_list(task, locks[:3], pending=locks[3])
        task.after(100_000)

    def waiter(task: FakeTask) -> None:
        task.after(10_000)
        where = locks[0] if task.pid == 101 else locks[3]
        assert task.futex(where, WAIT, 100 | FUTEX_WAITERS) == 0
        assert task.load(where) == FUTEX_OWNER_DIED | FUTEX_WAITERS

    world.add(owner)
    world.add(waiter)
    world.add(waiter)
    world.run()
    access = Uaccess(world.box.mm, world.box.entry.kernel_fault, "big" if big_endian else "little")
    assert [access.get_user(lock, 4) for lock in locks] == [
        FUTEX_OWNER_DIED | FUTEX_WAITERS, FUTEX_OWNER_DIED, 4711, FUTEX_OWNER_DIED | FUTEX_WAITERS,
    ]  # fmt: skip


def test_robust_pending_unlock_wakes_somebody(world: World) -> None:
    """Killed between storing 0 and the wake-up."""
    lock = world.words + 64

    def owner(task: FakeTask) -> None:
        task.after(100_000)
        task.store(lock, 0)
        build_list(task, [], pending=lock)

    def waiter(task: FakeTask) -> None:
        task.store(lock, 100 | FUTEX_WAITERS)
        assert task.futex(lock, WAIT, 100 | FUTEX_WAITERS) == 0
        assert task.load(lock) == 0

    world.add(owner)
    world.add(waiter)
    world.run()


def test_robust_pi_lock(world: World) -> None:
    """The list marks the word, the kernel hands the lock over."""
    lock = world.words + 64

    def owner(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI) == 0
        build_list(task, [lock], pi=True)
        task.after(100_000)

    def waiter(task: FakeTask) -> None:
        task.after(10_000)
        assert task.futex(lock, LOCK_PI) == 0
        assert task.load(lock) == task.pid | FUTEX_WAITERS | FUTEX_OWNER_DIED
        assert task.futex(lock, UNLOCK_PI) == 0

    def nobody_waits(task: FakeTask) -> None:
        assert task.futex(lock + 64, LOCK_PI) == 0
        build_list(task, [lock + 64], pi=True)

    def takes_over(task: FakeTask) -> None:
        task.after(150_000)
        assert task.load(lock + 64) == FUTEX_OWNER_DIED
        assert task.futex(lock + 64, LOCK_PI) == 0
        assert task.load(lock + 64) == task.pid | FUTEX_OWNER_DIED

    for each in (owner, waiter, nobody_waits, takes_over):
        world.add(each)
    world.run()


def test_robust_list_that_never_ends_or_cannot_be_read(world: World) -> None:
    lock = world.words + 64

    def endless(task: FakeTask) -> None:
        build_list(task, [lock])
        assert task.access.put_user(lock + 16, lock + 16, 8)  # the entry points to itself
        task.store(lock, task.pid)

    def broken(task: FakeTask) -> None:
        task.after(10_000)
        build_list(task, [lock + 128])
        assert task.access.put_user(lock + 128 + 16, 0x123456789000, 8)
        task.store(lock + 128, task.pid)

    def nowhere(task: FakeTask) -> None:
        task.robust_list = (0x1234567890, 24)

    def odd(task: FakeTask) -> None:
        task.after(10_000)
        build_list(task, [lock + 256, lock + 320], offset=-16)
        task.store(lock + 320, task.pid)
        assert task.access.put_user(BASE + 6 * PAGE + 64 * (task.pid - 100) + 8, -14, 8)

    for each in (endless, broken, nowhere, odd):
        world.add(each)
    world.run()
    get = world.box.access.get_user
    assert get(lock, 4) == FUTEX_OWNER_DIED
    assert get(lock + 128, 4) == FUTEX_OWNER_DIED, "what could be read was dealt with"
    assert get(lock + 320, 4) == 103, "a lock at an odd address ends the walk"
    assert ROBUST_LIST_LIMIT == 2048


def test_robust_lock_in_memory_that_is_read_only_or_gone(world: World) -> None:
    lock = world.box.map(BASE + 0x100_0000, PAGE, flags=0x32)
    gone = world.box.map(BASE + 0x200_0000, PAGE, flags=0x32)

    def owner(task: FakeTask) -> None:
        task.store(lock, task.pid)
        build_list(task, [lock + 64, world.words + 64], pending=gone)
        task.store(lock + 64, task.pid)
        task.store(world.words + 64, task.pid)
        assert do_mprotect_pkey(world.box.mm, lock, PAGE, 1) == 0
        assert ksys_munmap(world.box.mm, gone, PAGE) == 0

    world.add(owner)
    world.run()
    assert world.box.access.get_user(lock + 64, 4) == 100
    assert world.box.access.get_user(world.words + 64, 4) == 100, "the walk ends at the lock that cannot be written"


def test_exec_lets_go_of_robust_locks_and_the_task_goes_on(world: World) -> None:
    lock = world.words + 64

    def program(task: FakeTask) -> None:
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        task.after(50_000)
        futex_exec_release(task)  # type: ignore[arg-type]
        assert not task.futex_dead
        task.after(50_000)
        assert task.futex(lock + 64, LOCK_PI | PRIVATE) == 0
        assert task.futex(lock + 64, UNLOCK_PI | PRIVATE) == 0

    def other(task: FakeTask) -> None:
        task.after(10_000)
        assert task.futex(lock, LOCK_PI | PRIVATE) == 0
        assert task.load(lock) & FUTEX_OWNER_DIED

    world.add(program)
    world.add(other)
    world.run()


# Waiting for several, and the newer calls


def put_waitv(task: FakeTask, entries: list[tuple[int, int, int]]) -> int:
    """(address, value, flags) of each."""
    where = BASE + 5 * PAGE
    for index, (address, value, flags) in enumerate(entries):
        task.access.put_user(where + 24 * index, value, 8)
        task.access.put_user(where + 24 * index + 8, address, 8)
        task.access.put_user(where + 24 * index + 16, flags, 8)
    return where


def test_waitv(world: World) -> None:
    words = [world.words + 64 * i for i in range(3)]

    def waiter(task: FakeTask) -> None:
        where = put_waitv(task, [(words[0], 0, 130), (words[1], 0, 2), (words[2], 0, 130)])
        assert sys_futex_waitv(task, where, 3, 0, 0, 0) == 1  # type: ignore[arg-type]
        assert not task.machine.futexes._queues, "the other words are let go"
        limit = timespec(task, task.machine.clock() + 10_000)
        assert sys_futex_waitv(task, where, 3, 0, limit, 1) == -ETIMEDOUT  # type: ignore[arg-type]
        limit = timespec(task, BOOT + task.machine.clock() + 10_000)
        assert sys_futex_waitv(task, where, 3, 0, limit, 0) == -ETIMEDOUT  # type: ignore[arg-type]
        for bad in (
            (where, 0, 0, 0, 0),
            (where, 129, 0, 0, 0),
            (where, 3, 1, 0, 0),
            (0, 3, 0, 0, 0),
            (where, 3, 0, limit, 7),
        ):
            assert sys_futex_waitv(task, *bad) == -EINVAL  # type: ignore[arg-type]
        assert sys_futex_waitv(task, 0x1234567000, 3, 0, 0, 0) == -EFAULT  # type: ignore[arg-type]
        put_waitv(task, [(words[0], 0, 130), (words[1], 7, 2)])
        assert sys_futex_waitv(task, where, 2, 0, 0, 0) == -EAGAIN  # type: ignore[arg-type]
        put_waitv(task, [(words[0], 0, 130), (0x1234567000, 7, 130)])
        assert sys_futex_waitv(task, where, 2, 0, 0, 0) == -EFAULT  # type: ignore[arg-type]
        for flags in (128, 129, 131, 134, 1 << 32 | 130):
            put_waitv(task, [(words[0], 0, flags)])
            assert sys_futex_waitv(task, where, 1, 0, 0, 0) == -EINVAL  # type: ignore[arg-type]

    def waker(task: FakeTask) -> None:
        task.after(20_000)
        assert task.futex(words[1], WAKE | PRIVATE, 1) == 0
        assert task.futex(words[1], WAKE, 1) == 1

    world.add(waiter)
    world.add(waker)
    world.run()


def test_newer_calls(world: World) -> None:
    words = world.words

    def waiter(task: FakeTask) -> None:
        assert sys_futex_wait(task, words, 0, 1, 130, 0, 1) == 0  # type: ignore[arg-type]
        assert sys_futex_wait(task, words, 0, 1, 130, timespec(task, 1), 1) == -ETIMEDOUT  # type: ignore[arg-type]
        assert sys_futex_wait(task, words, 1 << 32, 1, 130, 0, 1) == -EINVAL  # type: ignore[arg-type]
        assert sys_futex_wait(task, words, 0, 0, 130, 0, 1) == -EINVAL  # type: ignore[arg-type]

    def waker(task: FakeTask) -> None:
        task.after(10_000)
        assert sys_futex_wake(task, words, 2, 1, 130) == 0  # type: ignore[arg-type]
        assert sys_futex_wake(task, words, 1, 0, 130) == 0  # type: ignore[arg-type]
        where = put_waitv(task, [(words, 0, 130), (words + 64, 9, 2)])
        assert sys_futex_requeue(task, where, 0, 0, 1) == -EINVAL  # type: ignore[arg-type]
        put_waitv(task, [(words, 0, 130), (words + 64, 9, 130)])
        assert sys_futex_requeue(task, where, 0, 0, 1) == 1  # type: ignore[arg-type]
        assert sys_futex_wake(task, words + 64, 1, 1, 2) == 0  # type: ignore[arg-type]
        assert sys_futex_wake(task, words + 64, 1, 1, 130) == 1  # type: ignore[arg-type]
        put_waitv(task, [(words, 1, 130), (words + 64, 9, 130)])
        assert sys_futex_requeue(task, where, 0, 0, 1) == -EAGAIN  # type: ignore[arg-type]

    world.add(waiter)
    world.add(waker)
    world.run()
