# SPDX-License-Identifier: GPL-2.0-or-later
"""Fork of an address space: what the child gets, what copy-on-write does then, and what is left after a failure."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from emu.mm.fork import COPIED_FIELDS, dup_mm, mmput
from emu.mm.madvise import do_madvise
from emu.mm.memory import PTE_MARKER_GUARD
from emu.mm.mlock import sys_mlock2
from emu.mm.mm_types import VM_LOCKED, mm_struct, page
from emu.mm.mmap import ksys_munmap
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.mremap import sys_mremap
from emu.mm.rmap import anon_vma, rmap_walk
from emu.mm.shmem import shmem_file_setup
from emu.tracepoint import Kind, Served
from tests.mm.test_memory import MemoryFile
from tests.support import Box, check_frames, make_box

ANON, FIXED, SHARED = 0x22, 0x32, 0x31
BASE = 0x10_0000_0000
PAGE = 4096
DONTNEED, DONTFORK, WIPEONFORK, GUARD_INSTALL = 4, 10, 18, 102


@pytest.fixture(params=["mmap_lock", "rfc", "6.18"])
def box(request: pytest.FixtureRequest) -> Box:
    return make_box(request.param)


def fork(box: Box) -> Box:
    child = box.fork()
    assert child is not None
    return child


def vma_at(box: Box, address: int):  # type: ignore[no-untyped-def]
    found = box.mm.mm_mt.load(address)
    assert found is not None
    return found


def pte_at(box: Box, address: int) -> int:
    table = box.mm.pgtable
    slot = table.slot(address)
    return table.get(slot) if slot >= 0 else 0


def end(*boxes: Box) -> None:
    """The processes end; no frame of theirs is left."""
    memory = boxes[0].memory
    for box in boxes:
        mmput(box.mm)
    check_frames(memory, [])
    assert memory.allocator.allocated == 1, "frames are left"  # the zero page
    assert memory.committed == 0


def test_private_page_is_shared_then_copied(box: Box) -> None:
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    box.poke(start, 7)
    original = box.page_at(start)
    assert original is not None and original.exclusive
    child = fork(box)
    assert child.page_at(start) is original
    assert (original._mapcount, original._refcount, original.exclusive) == (2, 2, False)
    assert child.mm.rss == box.mm.rss == [0, 1, 0, 0]
    format = box.mm.pgtable.format
    for each in (box, child):
        assert not format.pte_write(pte_at(each, start))
        assert format.pte_dirty(pte_at(each, start))
    assert format.pte_young(pte_at(box, start)) and not format.pte_young(pte_at(child, start))
    assert box.flushes, "the parent could still write through its TLB"
    check_frames(box.memory, [box.mm, child.mm])
    box.poke(start, 8)
    assert box.mm.served == Served.COW
    assert (box.peek(start), child.peek(start)) == (8, 7)
    assert box.page_at(start) is not original
    child.poke(start, 9)
    assert child.mm.served == Served.REUSE, "the page is the child's alone"
    assert child.page_at(start) is original and original.exclusive
    assert original.mapping is vma_at(child, start).anon_vma
    assert box.peek(start) == 8
    check_frames(box.memory, [box.mm, child.mm])
    end(box, child)


@pytest.mark.parametrize("leave", ["exit", "munmap", "dontneed"])
def test_page_is_reused_when_the_other_side_has_gone(box: Box, leave: str) -> None:
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    box.poke(start, 7)
    original = box.page_at(start)
    child = fork(box)
    if leave == "exit":
        mmput(child.mm)
    elif leave == "munmap":
        assert ksys_munmap(child.mm, start, PAGE) == 0
    else:
        assert do_madvise(child.mm, start, PAGE, DONTNEED) == 0
        assert child.touch(start, write=False) == 1
        assert child.peek(start) == 0
    box.poke(start, 8)
    assert box.mm.served == Served.REUSE
    assert box.page_at(start) is original
    assert box.touch(start) == 0
    end(*(box,) if leave == "exit" else (box, child))


def test_another_reference_keeps_a_page_from_reuse(box: Box) -> None:
    start = box.map(BASE, PAGE, flags=FIXED)
    box.poke(start, 7)
    original = box.page_at(start)
    mmput(fork(box).mm)
    assert original is not None
    original._refcount += 1  # somebody reads it
    box.poke(start, 8)
    assert box.mm.served == Served.COW
    box.memory.put_page(original)
    end(box)


def test_untouched_and_read_only_touched_memory(box: Box) -> None:
    start = box.map(BASE, 8 * PAGE, flags=FIXED)
    other = box.map(BASE + 0x100_0000, 8 * PAGE, flags=FIXED)
    box.touch(start, write=False)
    box.poke(other, 1)
    box.touch(other + PAGE, write=False)
    child = fork(box)
    assert pte_at(child, start) == 0, "a VMA without an anon_vma is left to the child's faults"
    format = box.mm.pgtable.format
    assert format.pte_special(pte_at(child, other + PAGE)), "the zero page is copied with its neighbours"
    child.poke(other + PAGE, 5)
    assert child.mm.served == Served.COW
    assert box.peek(other + PAGE) == 0
    check_frames(box.memory, [box.mm, child.mm])
    end(box, child)


def test_shared_memory_stays_shared(box: Box) -> None:
    start = box.map(BASE, 4 * PAGE, flags=SHARED)
    box.poke(start, 7)
    child = fork(box)
    assert pte_at(child, start) == 0
    assert child.mm.rss[3] == 0
    child.poke(start, 9)
    child.poke(start + PAGE, 3)
    assert child.page_at(start) is box.page_at(start)
    assert box.peek(start) == 9
    box.touch(start + PAGE, write=False)
    assert box.peek(start + PAGE) == 3
    mmput(box.mm)
    assert child.peek(start) == 9, "the object lives as long as a mapping of it"
    end(child)


def test_private_file_pages(box: Box) -> None:
    file = MemoryFile(box, bytes([1]) * PAGE * 4)
    start = box.map(BASE, 4 * PAGE, flags=0x12, file=file)
    clean = box.map(BASE + 0x100_0000, 4 * PAGE, flags=0x12, file=file)
    box.touch(start + PAGE, write=False)  # and those around it
    box.poke(start, 7)
    box.touch(clean, write=False)
    assert file.count == 3
    child = fork(box)
    assert file.count == 5
    assert len(file.f_mapping.i_mmap) == 4
    assert pte_at(child, clean) == 0
    assert child.mm.rss[:2] == [3, 1]
    cached = file.f_mapping.pages[1]
    assert child.page_at(start + PAGE) is cached
    child.poke(start, 8)
    child.poke(start + PAGE, 9)
    assert (box.peek(start), box.peek(start + PAGE)) == (7, 1)
    assert child.mm.rss[:2] == [2, 2]
    check_frames(box.memory, [box.mm, child.mm])
    file.f_mapping.truncate_range(1, 1)
    assert pte_at(box, start + PAGE) == 0, "i_mmap leads to both"
    assert pte_at(child, start + PAGE) == 0
    assert child.peek(start) == 8 or pte_at(child, start) == 0
    file.f_mapping.truncate_range(0, 3)
    end(box, child)


def test_shared_file_pages_with_anonymous_neighbours_are_clean_in_the_child(box: Box) -> None:
    """A shared mapping of a file has no anon_vma: its entries are the child's faults to make."""
    file = MemoryFile(box, bytes(PAGE * 2))
    start = box.map(BASE, 2 * PAGE, flags=0x11, file=file)
    box.poke(start, 4)
    child = fork(box)
    assert pte_at(child, start) == 0
    format = box.mm.pgtable.format
    assert format.pte_write(pte_at(box, start)), "a shared mapping is not write-protected"
    child.touch(start, write=False)
    assert child.peek(start) == 4
    file.f_mapping.truncate_range(0, 3)
    end(box, child)


def test_advice_on_fork(box: Box) -> None:
    kept = box.map(BASE, 4 * PAGE, flags=FIXED)
    gone = box.map(BASE + 0x100_0000, 4 * PAGE, flags=FIXED)
    wiped = box.map(BASE + 0x200_0000, 4 * PAGE, flags=FIXED)
    for start in (kept, gone, wiped):
        box.poke(start, 7)
    assert do_madvise(box.mm, gone, 4 * PAGE, DONTFORK) == 0
    assert do_madvise(box.mm, wiped, 4 * PAGE, WIPEONFORK) == 0
    child = fork(box)
    assert [vma.vm_start for vma in child.mm.mm_mt] == [kept, wiped]
    assert (child.mm.map_count, child.mm.total_vm, child.mm.data_vm) == (2, 8, 8)
    assert child.touch(gone) == -1
    wiped_vma = vma_at(child, wiped)
    assert wiped_vma.anon_vma is None and not wiped_vma.anon_vma_chain
    child.touch(wiped, write=False)
    assert (child.peek(kept), child.peek(wiped), box.peek(wiped)) == (7, 0, 7)
    format = box.mm.pgtable.format
    assert format.pte_write(pte_at(box, wiped)), "what the child does not get stays writable"
    assert box.memory.committed == 12 + 8
    end(box, child)


def test_guard_pages_are_copied(box: Box) -> None:
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    assert do_madvise(box.mm, start + PAGE, PAGE, GUARD_INSTALL) == 0
    child = fork(box)
    assert pte_at(child, start + PAGE) == PTE_MARKER_GUARD
    assert child.touch(start + PAGE) == -1
    end(box, child)


def test_locks_on_memory_are_not_inherited(box: Box) -> None:
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    assert sys_mlock2(box.mm, start, 2 * PAGE, 0) == 0
    box.mm.def_flags = VM_LOCKED
    child = fork(box)
    assert child.mm.locked_vm == 0 and child.mm.def_flags == 0
    assert not any(vma.vm_flags & VM_LOCKED for vma in child.mm.mm_mt)
    assert box.mm.locked_vm == 2 and vma_at(box, start).vm_flags & VM_LOCKED
    assert len(child.mm.mm_mt) == 2, "the VMAs are copied one by one"
    end(box, child)


def test_protection_can_be_widened_without_giving_the_page_away(box: Box) -> None:
    start = box.map(BASE, PAGE, flags=FIXED)
    box.poke(start, 7)
    child = fork(box)
    for each in (box, child):
        assert do_mprotect_pkey(each.mm, start, PAGE, 1) == 0
        assert do_mprotect_pkey(each.mm, start, PAGE, 3) == 0
        assert not box.mm.pgtable.format.pte_write(pte_at(each, start))
    child.poke(start, 8)
    assert box.peek(start) == 7
    end(box, child)


def test_mremap_after_fork(box: Box) -> None:
    start = box.map(BASE, 2 * PAGE, flags=FIXED)
    box.poke(start, 7)
    box.poke(start + PAGE, 8)
    child = fork(box)
    target = BASE + 0x300_0000
    assert sys_mremap(child.mm, start, 2 * PAGE, 2 * PAGE, 3, target) == target
    assert child.page_at(target) is box.page_at(start)
    found = child.page_at(target)
    assert found is not None
    assert {(vma.vm_mm, at) for vma, at, _ in rmap_walk(box.memory, found)} == {(box.mm, start), (child.mm, target)}
    child.poke(target, 9)
    assert (box.peek(start), child.peek(target), child.peek(target + PAGE)) == (7, 9, 8)
    check_frames(box.memory, [box.mm, child.mm])
    end(box, child)


def places(box: Box, found: page | None) -> set[tuple[mm_struct, int]]:
    assert found is not None
    return {(vma.vm_mm, address) for vma, address, _ in rmap_walk(box.memory, found)}


def test_rmap_over_generations(box: Box) -> None:
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    box.poke(start, 1)
    child = fork(box)
    grandchild = fork(child)
    assert places(box, box.page_at(start)) == {(each.mm, start) for each in (box, child, grandchild)}
    root = vma_at(box, start).anon_vma
    middle = vma_at(child, start).anon_vma
    last = vma_at(grandchild, start).anon_vma
    assert root.root is middle.root is last.root is root
    assert (middle.parent, last.parent) == (root, middle)
    assert vma_at(grandchild, start).anon_vma_chain == [last, middle, root]
    assert (root.num_children, middle.num_children, last.num_children) == (2, 1, 0)
    assert [len(av.vmas) for av in (root, middle, last)] == [3, 2, 1]
    child.poke(start, 2)  # the child's own page, which the grandchild never saw
    assert places(box, child.page_at(start)) == {(child.mm, start)}
    child.poke(start + PAGE, 3)
    second = fork(child)
    assert places(box, child.page_at(start + PAGE)) == {(child.mm, start + PAGE), (second.mm, start + PAGE)}
    assert places(box, box.page_at(start)) == {(box.mm, start), (grandchild.mm, start)}
    mmput(child.mm)
    assert places(box, second.page_at(start + PAGE)) == {(second.mm, start + PAGE)}
    end(box, second, grandchild)


def test_a_chain_of_forks_reuses_anon_vmas(box: Box) -> None:
    """Each generation forks and ends: the chain stays short."""
    start = box.map(BASE, PAGE, flags=FIXED)
    box.poke(start, 1)
    current = box
    for _ in range(30):
        child = fork(current)
        mmput(current.mm)
        child.poke(start, 2)
        current = child
    chain = vma_at(current, start).anon_vma_chain
    assert len(chain) <= 3
    found = current.page_at(start)
    assert found is not None and found.mapping in chain
    end(current)


def test_order_of_locks(box: Box) -> None:
    """mmap_lock of the parent, then that of the child; released in the other order (as kernel-trace shows)."""
    box.map(BASE, PAGE, flags=FIXED)
    box.poke(BASE, 1)
    box.memory.tp.on = True
    child = fork(box)
    rows = box.memory.tp.drain()
    locks = [
        (Kind(r[4]), r[5])
        for r in rows
        if r[4] in (Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED)
    ]
    start, got, released = Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED
    old, new = box.mm.id, child.mm.id
    assert locks == [(start, old), (got, old), (start, new), (got, new), (released, new), (released, old)]
    assert not box.mm.mmap_lock.is_locked() and not child.mm.mmap_lock.is_locked()
    box.memory.tp.on = False
    end(box, child)


def locked_vmas(box: Box) -> list[int]:
    box.memory.tp.on = True
    child = fork(box)
    ids = [r[10] for r in box.memory.tp.drain() if r[4] == Kind.VMA_LOCK_WRITE]
    box.memory.tp.on = False
    own = {vma.id for vma in box.mm.mm_mt}
    mmput(child.mm)
    return [each for each in ids if each in own]


def test_parents_vmas_are_write_locked() -> None:
    for locking, all_of_them in (("6.18", True), ("rfc", False)):
        box = make_box(locking)
        kept = box.map(BASE, PAGE, flags=FIXED)
        wiped = box.map(BASE + 0x100_0000, PAGE, flags=FIXED)
        assert do_madvise(box.mm, wiped, PAGE, WIPEONFORK) == 0
        gone = box.map(BASE + 0x200_0000, PAGE, flags=FIXED)
        assert do_madvise(box.mm, gone, PAGE, DONTFORK) == 0
        expected = (kept, wiped, gone) if all_of_them else (kept,)
        assert locked_vmas(box) == [vma_at(box, start).id for start in expected]


def test_every_field_is_copied_or_begins_anew(box: Box) -> None:
    fresh = {
        "memory", "pgtable", "scheme", "mm_mt", "tp", "id", "mm_users", "mm_count", "mmap_lock", "mmap_lock_since",
        "mm_lock_seq", "mmap_seq", "lookup_line", "pgd_line", "vma_writer_wait", "vma_free_list", "map_count",
        "total_vm", "locked_vm", "pinned_vm", "data_vm", "exec_vm", "stack_vm", "hiwater_vm", "hiwater_rss", "rss",
        "cpu", "def_flags", "exe_file", "flush_tlb", "mdwe", "stack_grown", "served",
    }  # fmt: skip
    assert set(vars(box.mm)) == fresh | set(COPIED_FIELDS), "decide whether a child has the new field from its parent"
    box.mm.start_brk, box.mm.brk, box.mm.arg_start = 0x1000, 0x3000, 0x7000
    child = fork(box)
    assert (child.mm.start_brk, child.mm.brk, child.mm.arg_start) == (0x1000, 0x3000, 0x7000)
    assert child.mm.rss is not box.mm.rss and child.mm.mmap_lock is not box.mm.mmap_lock


def test_overcommit_refuses(box: Box) -> None:
    pages = 64
    box.map(BASE, pages * PAGE, flags=FIXED)
    box.map(BASE + 0x100_0000, pages * PAGE, flags=FIXED)
    box.poke(BASE, 1)
    memory = box.memory
    memory.overcommit_memory = 2
    memory.overcommit_ratio = 100
    box.mm.privileged = True
    spare = memory.totalram - memory.committed
    memory.committed += spare - pages - pages // 2  # room for one of the two
    before = memory.committed
    assert box.fork() is None
    assert memory.committed == before
    assert not box.mm.mmap_lock.is_locked()
    check_frames(memory, [box.mm])
    box.poke(BASE, 2)
    assert box.mm.served == Served.REUSE


def test_a_fatal_signal_ends_it(box: Box) -> None:
    box.map(BASE, PAGE, flags=FIXED)
    box.mm.fatal_signal_pending = lambda: True
    before = box.memory.allocator.allocated
    assert box.fork() is None
    assert box.memory.allocator.allocated == before
    assert box.memory.committed == 1


@pytest.mark.parametrize("failing", range(12))
def test_out_of_memory_anywhere(box: Box, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page table number `failing` cannot be had: nothing is left of the child, and the parent goes on."""
    file = MemoryFile(box, bytes([1]) * PAGE * 4)
    shared = shmem_file_setup(box.memory, "object", 4 * PAGE)
    starts = [box.map(BASE + (i << 30), 4 * PAGE, flags=FIXED) for i in range(3)]
    starts.append(box.map(BASE + (3 << 30), 4 * PAGE, flags=0x12, file=file))
    starts.append(box.map(BASE + (4 << 30), 4 * PAGE, flags=0x11, file=shared))
    for start in starts:
        box.poke(start, 7)
    memory = box.memory
    before = (memory.allocator.allocated, memory.committed, file.count, shared.f_count, list(box.mm.rss))
    left = failing
    original = memory.alloc_page

    def alloc_page(zero: bool = True, order: int = 0) -> page | None:
        nonlocal left
        left -= 1
        return None if left < 0 else original(zero, order)

    monkeypatch.setattr(memory, "alloc_page", alloc_page)
    child = dup_mm(box.mm)
    monkeypatch.undo()
    assert (child is not None) == (failing >= 10)  # the top table, one below it, and two for each private VMA
    if child is not None:
        mmput(child)
    assert (memory.allocator.allocated, memory.committed, file.count, shared.f_count, box.mm.rss) == before
    assert len(file.f_mapping.i_mmap) == len(shared.f_mapping.i_mmap) == 1
    assert not box.mm.mmap_lock.is_locked()
    check_frames(memory, [box.mm])
    for start in starts:
        av = vma_at(box, start).anon_vma
        assert av is None or (list(av.vmas) == [vma_at(box, start)] and av.num_children == 1)
        found = box.page_at(start)
        assert box.peek(start) == 7
        box.poke(start, 8)
        assert box.page_at(start) is found, "no other side is left to copy for"


class Processes(RuleBasedStateMachine):
    """Processes that fork, write, map and end in any order, against the bytes that each must see."""

    locking = "6.18"
    window = 12
    most = 5

    @initialize()
    def start(self) -> None:
        first = make_box(self.locking, 8 << 20)
        self.memory = first.memory
        self.shared: dict[int, int] = {}
        span = range(BASE + (1 << 22), BASE + (1 << 22) + 4 * PAGE, PAGE)
        assert first.map(span.start, 4 * PAGE, flags=SHARED) == span.start
        self.shared = dict.fromkeys(span, 0)
        self.processes: list[tuple[Box, dict[int, int]]] = [(first, {})]

    def pick(self, data: st.DataObject) -> tuple[Box, dict[int, int]]:
        return self.processes[data.draw(st.integers(0, len(self.processes) - 1))]

    @rule(data=st.data(), number=st.integers(0, window - 1), count=st.integers(1, 6))
    def map(self, data: st.DataObject, number: int, count: int) -> None:
        box, pages = self.pick(data)
        start = BASE + number * PAGE
        assert box.map(start, count * PAGE, flags=FIXED) == start
        pages.update(dict.fromkeys(range(start, start + count * PAGE, PAGE), 0))

    @rule(data=st.data(), number=st.integers(0, window - 1), count=st.integers(1, 6))
    def unmap(self, data: st.DataObject, number: int, count: int) -> None:
        box, pages = self.pick(data)
        start = BASE + number * PAGE
        assert ksys_munmap(box.mm, start, count * PAGE) == 0
        for at in range(start, start + count * PAGE, PAGE):
            pages.pop(at, None)

    @rule(data=st.data(), number=st.integers(0, window - 1), count=st.integers(1, 3), to=st.integers(0, window - 1))
    def move(self, data: st.DataObject, number: int, count: int, to: int) -> None:
        box, pages = self.pick(data)
        old, new = BASE + number * PAGE, BASE + to * PAGE
        whole = all(old + i * PAGE in pages for i in range(count))
        if abs(number - to) < count or not whole:
            return
        result = sys_mremap(box.mm, old, count * PAGE, count * PAGE, 3, new)
        assert result == new
        for i in range(count):
            pages[new + i * PAGE] = pages.pop(old + i * PAGE)

    @rule(data=st.data(), value=st.integers(1, 255))
    def write(self, data: st.DataObject, value: int) -> None:
        box, pages = self.pick(data)
        at = data.draw(st.sampled_from(sorted({**pages, **self.shared})))
        box.poke(at, value)
        (self.shared if at in self.shared else pages)[at] = value

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        box, pages = self.pick(data)
        at = data.draw(st.sampled_from(sorted({**pages, **self.shared})))
        assert box.touch(at, write=False) >= 0
        assert box.peek(at) == {**pages, **self.shared}[at]

    @rule(data=st.data(), number=st.integers(0, window - 1))
    def dontneed(self, data: st.DataObject, number: int) -> None:
        box, pages = self.pick(data)
        at = BASE + number * PAGE
        if do_madvise(box.mm, at, PAGE, DONTNEED) == 0:
            pages[at] = 0

    @rule(data=st.data(), fail_at=st.one_of(st.none(), st.integers(0, 5)))
    def fork(self, data: st.DataObject, fail_at: int | None) -> None:
        if len(self.processes) >= self.most:
            return
        box, pages = self.pick(data)
        memory = self.memory
        before = (memory.allocator.allocated, memory.committed)
        original = memory.alloc_page
        if fail_at is not None:
            left = [fail_at]

            def alloc_page(zero: bool = True, order: int = 0) -> page | None:
                left[0] -= 1
                return None if left[0] < 0 else original(zero, order)

            memory.alloc_page = alloc_page  # type: ignore[method-assign]
        child = box.fork()
        memory.alloc_page = original  # type: ignore[method-assign]
        if child is None:
            assert fail_at is not None
            assert (memory.allocator.allocated, memory.committed) == before
            return
        self.processes.append((child, dict(pages)))

    @rule(data=st.data())
    def exit(self, data: st.DataObject) -> None:
        if len(self.processes) > 1:
            index = data.draw(st.integers(0, len(self.processes) - 1))
            box, _ = self.processes.pop(index)
            mmput(box.mm)

    @invariant()
    def every_process_sees_its_own_bytes(self) -> None:
        if not hasattr(self, "processes"):
            return
        check_frames(self.memory, [box.mm for box, _ in self.processes])
        for box, pages in self.processes:
            vmas = list(box.mm.mm_mt)
            assert all(a.vm_end <= b.vm_start for a, b in pairwise(vmas))
            assert sorted(at for vma in vmas for at in range(vma.vm_start, vma.vm_end, PAGE)) == sorted(
                {**pages, **self.shared}
            )
            for at, value in pages.items():
                assert box.peek(at) == value, hex(at)
                found = box.page_at(at)
                if found is None or found.pfn == self.memory.zero_pfn:
                    continue
                assert (box.mm, at) in places(box, found), "rmap does not lead back"
                if box.mm.pgtable.format.pte_write(pte_at(box, at)):
                    assert found.exclusive and found._mapcount == 1
            for at, value in self.shared.items():
                if pte_at(box, at):
                    assert box.peek(at) == value
        anon_vmas: set[anon_vma] = set()
        for box, _ in self.processes:
            for vma in box.mm.mm_mt:
                anon_vmas.update(vma.anon_vma_chain)
                assert vma.anon_vma is None or vma.anon_vma in vma.anon_vma_chain
                assert all(vma in av.vmas for av in vma.anon_vma_chain)
        for av in anon_vmas:
            users = [v for box, _ in self.processes for v in box.mm.mm_mt if v.anon_vma is av]
            assert av.num_active_vmas == len(users)
            assert av.num_children == sum(1 for other in anon_vmas if other.parent is av)

    def teardown(self) -> None:
        if hasattr(self, "processes"):
            end(*(box for box, _ in self.processes))


class ProcessesRfc(Processes):
    locking = "rfc"


TestProcesses = pytest.mark.fuzz(Processes.TestCase)
TestProcessesRfc = pytest.mark.fuzz(ProcessesRfc.TestCase)
TestProcesses.settings = TestProcessesRfc.settings = settings(stateful_step_count=30)
