# SPDX-License-Identifier: GPL-2.0-or-later
"""What Linux guarantees to a program, in every locking scheme and under many schedules."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from emu.mm.madvise import do_madvise
from emu.mm.memory_manager import SCHEMES
from emu.mm.mlock import sys_mlock2, sys_munlock
from emu.mm.mmap import exit_mmap, ksys_munmap
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.mremap import sys_mremap
from emu.tracepoint import FIELDS, Kind, Path
from tests.locking.threads import Threads
from tests.support import Box, check_frames, make_box

PAGE = 4096
BASE = 0x10_0000_0000
FIXED, MAYMOVE, MREMAP_FIXED = 0x32, 1, 2
DONTNEED, MADV_FREE, GUARD_INSTALL, GUARD_REMOVE = 4, 8, 102, 103
R, W = 1, 2
SEEDS = range(1, 9)


@pytest.fixture(params=SCHEMES)
def locking(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def machine(locking: str, cpus: int, seed: int, threads: int, trace: bool = False) -> tuple[Threads, Box]:
    """CPUs, and an address space for `threads` threads. Every other schedule is checked at each step."""
    cpu = Threads(cpus, seed, trace, check=seed % 2 == 0)
    box = make_box(locking, 32 << 20, cpu.sched)
    box.mm.mm_users = threads
    return cpu, box


def end(cpu: Threads, box: Box) -> None:
    """Run, and see that nothing is held, counted or used any more."""
    tp = box.memory.tp
    cpu.run()
    mm = box.mm
    assert not mm.mmap_lock.is_locked() and not mm.mmap_lock.holders
    assert mm.vma_writer_wait.task is None and mm.mm_count == 1
    for vma in mm.mm_mt:
        if locking_of(box) == "6.18":
            assert vma.vm_refcnt.refs == 1 and not vma.vm_lock.readers
        elif vma.vm_lock is not None:
            assert not vma.vm_lock.is_locked()
    check_frames(box.memory, [mm])
    assert mm.map_count == len(mm.mm_mt)
    tp.on = False
    mm.mm_users = 0
    exit_mmap(mm)
    box.memory.rcu.rcu_barrier()
    assert mm.rss == [0, 0, 0, 0] and box.memory.committed == 0
    assert box.memory.allocator.allocated == 1  # the zero page


def locking_of(box: Box) -> str:
    return box.mm.scheme.name


class Guest:
    """One thread that works on pages of its own, in an address space that others change all around it.

    `pages`: address -> [protection, byte it holds], what memory must look like whatever the others do."""

    def __init__(self, cpu: Threads, box: Box, number: int, seed: int) -> None:
        self.cpu = cpu
        self.box = box.thread()
        self.random = Random(number * 1000 + seed)
        # The regions of the threads lie side by side: their mappings merge and split across the borders.
        self.start = BASE + number * 24 * PAGE
        self.pages: dict[int, list[int]] = {}

    def span(self) -> range:
        first = self.random.randrange(24)
        count = self.random.randint(1, min(8, 24 - first))
        return range(self.start + first * PAGE, self.start + (first + count) * PAGE, PAGE)

    def run(self) -> None:
        for _ in range(60):
            step = self.random.choice((
                self.map, self.map, self.unmap, self.protect, self.discard, self.free, self.move, self.lock, self.guard,
                self.store, self.store, self.store, self.load, self.load,
            ))  # fmt: skip
            step(self.span())
            self.cpu.work(self.random.randrange(4000))
        for page in list(self.pages):
            self.check(page)

    def map(self, span: range) -> None:
        prot = self.random.choice((R, R | W, R | W, 0))
        assert self.box.map(span.start, len(span) * PAGE, prot, FIXED) == span.start
        for page in span:
            self.pages[page] = [prot, 0]

    def unmap(self, span: range) -> None:
        assert ksys_munmap(self.box.mm, span.start, len(span) * PAGE) == 0
        for page in span:
            self.pages.pop(page, None)

    def protect(self, span: range) -> None:
        prot = self.random.choice((R, R | W, 0))
        error = do_mprotect_pkey(self.box.mm, span.start, len(span) * PAGE, prot)
        mapped = [page in self.pages for page in span]
        assert (error == 0) == all(mapped)
        for page in span:
            if page not in self.pages:
                break
            self.pages[page][0] = prot

    def discard(self, span: range) -> None:
        error = do_madvise(self.box.mm, span.start, len(span) * PAGE, DONTNEED)
        assert (error == 0) == all(page in self.pages for page in span)
        for page in span:
            if page in self.pages:
                self.pages[page][1] = 0

    def free(self, span: range) -> None:
        error = do_madvise(self.box.mm, span.start, len(span) * PAGE, MADV_FREE)
        assert (error == 0) == all(page in self.pages for page in span)

    def move(self, span: range) -> None:
        size = len(span) * PAGE
        if not all(page in self.pages for page in span) or len({self.pages[page][0] for page in span}) > 1:
            return
        target = self.start + (1 << 32)  # a place of this thread's alone
        mm = self.box.mm
        assert sys_mremap(mm, span.start, size, size, MAYMOVE | MREMAP_FIXED, target) == target
        assert self.box.touch(span[0], write=False) == -1
        assert sys_mremap(mm, target, size, size, MAYMOVE | MREMAP_FIXED, span.start) == span.start

    def lock(self, span: range) -> None:
        if all(page in self.pages and self.pages[page][0] for page in span):
            assert sys_mlock2(self.box.mm, span.start, len(span) * PAGE, 0) == 0
            self.cpu.work(1000)
            assert sys_munlock(self.box.mm, span.start, len(span) * PAGE) == 0

    def guard(self, span: range) -> None:
        if not all(page in self.pages for page in span):
            return
        size = len(span) * PAGE
        assert do_madvise(self.box.mm, span.start, size, GUARD_INSTALL) == 0
        assert self.box.touch(span[-1]) == -1
        assert do_madvise(self.box.mm, span.start, size, GUARD_REMOVE) == 0
        for page in span:
            self.pages[page][1] = 0

    def store(self, span: range) -> None:
        for page in span:
            value = self.random.randrange(1, 256)
            known = self.pages.get(page)
            allowed = known is not None and known[0] & W
            assert (self.box.touch(page) >= 0) == bool(allowed), f"{page:#x}: {known}"
            if known is not None and allowed:
                found = self.box.page_at(page)
                assert found is not None
                self.box.memory.ram.write(found.pfn << 12, bytes([value]))
                known[1] = value
            self.cpu.work(300)

    def load(self, span: range) -> None:
        for page in span:
            self.check(page)
            self.cpu.work(300)

    def check(self, page: int) -> None:
        known = self.pages.get(page)
        readable = known is not None and known[0] & R
        assert (self.box.touch(page, write=False) >= 0) == bool(readable), f"{page:#x}: {known}"
        if known is not None and readable:
            assert self.box.peek(page) == known[1], f"{page:#x}"


@pytest.mark.parametrize("seed", SEEDS)
def test_each_thread_sees_its_own_memory_as_if_it_were_alone(locking: str, seed: int) -> None:
    cpu, box = machine(locking, 4, seed, 5)
    for number in range(5):
        cpu.start(Guest(cpu, box, number, seed).run)
    end(cpu, box)


@pytest.mark.parametrize("seed", SEEDS)
def test_first_touches_of_the_same_pages_lose_nothing(locking: str, seed: int) -> None:
    """Eight threads store a byte of their own into every page, and find all bytes there."""
    cpu, box = machine(locking, 8, seed, 8)
    count = 32
    box.map(BASE, count * PAGE, flags=FIXED)
    box.touch(BASE + (count - 1) * PAGE)

    def body(number: int) -> None:
        view = box.thread()
        for i in range(count):
            page = BASE + (i * 5 + number // 2) % count * PAGE
            assert view.touch(page) >= 0
            found = view.page_at(page)
            assert found is not None
            box.memory.ram.write((found.pfn << 12) + number, bytes([number + 1]))
            cpu.work(200)

    for number in range(8):
        cpu.start(lambda number=number: body(number))
    cpu.run()
    cpu.threads.clear()
    for i in range(count):
        found = box.page_at(BASE + i * PAGE)
        assert found is not None
        assert box.memory.ram.read(found.pfn << 12, 8) == bytes(range(1, 9))
    assert box.mm.rss[1] == count
    end(cpu, box)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thread_that_faults_while_its_memory_is_unmapped_gets_a_page_or_a_signal(locking: str, seed: int) -> None:
    """One thread maps and unmaps, three touch: afterwards no page is left that nothing maps."""
    cpu, box = machine(locking, 4, seed, 4, trace=True)
    results: Counter[bool] = Counter()
    over = False

    def mapper() -> None:
        nonlocal over
        random = Random(seed)
        for _ in range(40):
            box.map(BASE, 16 * PAGE, flags=FIXED)
            cpu.work(random.randrange(20_000))
            cpu.sched.sync()
            ksys_munmap(box.mm, BASE + 4 * PAGE, random.randint(1, 12) * PAGE)
            cpu.work(random.randrange(4_000))
        over = True

    def toucher(number: int) -> None:
        view = box.thread()
        random = Random(number)
        while not over:
            results[view.touch(BASE + random.randrange(16) * PAGE, random.random() < 0.7, limit=30) >= 0] += 1
            cpu.work(400)
            cpu.sched.sync()

    cpu.start(mapper)
    for number in range(3):
        cpu.start(lambda number=number: toucher(number))
    rows = box.memory.tp
    end(cpu, box)
    assert results[True] > 50 and results[False] > 5
    paths = Counter(
        row[FIELDS.index("path")] for row in rows.drain() if row[FIELDS.index("kind")] == Kind.PAGE_FAULT_USER
    )
    fast = {"mmap_lock": 0, "spf": Path.SPECULATIVE}.get(locking, Path.VMA_LOCK)
    assert paths[Path.MMAP_LOCK] and (not fast or paths[fast]), paths
