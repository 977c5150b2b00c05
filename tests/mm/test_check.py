# SPDX-License-Identifier: GPL-2.0-or-later
"""The invariants of --check: each is broken on purpose once, and the report says which and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emu.locking.lockdep import Violation
from emu.mm.mm_types import vm_area_struct
from emu.mm.mmap import ksys_munmap
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock, mmap_write_lock, mmap_write_unlock
from emu.mm.mprotect import do_mprotect_pkey
from tests.locking.threads import Threads
from tests.support import Box, make_box

PAGE = 4096
BASE = 0x10_0000_0000
VMA_LOCKS = ("rfc", "6.4", "6.18")


def checked(locking: str = "6.18", cpus: int = 2) -> tuple[Threads, Box, vm_area_struct]:
    """A checked address space with one VMA of 8 pages at BASE that has a page and an anon_vma."""
    cpu = Threads(cpus, check=True)
    box = make_box(locking, 16 << 20, cpu.sched)
    box.map(BASE, 8 * PAGE, 3, 0x32)
    box.touch(BASE)
    box.mm.mm_users = 3
    vma = box.mm.mm_mt.load(BASE)
    assert vma is not None
    return cpu, box, vma


def breaks(rule: str, cpu: Threads, *bodies: Callable[[], object]) -> str:
    """These threads break a rule: the report."""
    for number, body in enumerate(bodies):
        cpu.start(body, f"thread{number}")
    with pytest.raises(Violation) as caught:
        cpu.run()
    assert caught.value.lines[0].startswith(rule + ":"), caught.value.lines
    return "\n".join(caught.value.lines)


def reader(cpu: Threads, box: Box, until: int = 50_000) -> Callable[[], None]:
    """A thread that is inside the VMA from 5 us on."""

    def body() -> None:
        cpu.at(5_000)
        vma = box.mm.scheme.lock_vma_under_rcu(box.mm, BASE)
        assert vma is not None
        cpu.sched.block(deadline=until)
        box.mm.scheme.vma_end_read(vma)

    return body


def unmarked(box: Box, *sites: str) -> None:
    """A bug: vma_start_write does nothing at these places."""
    scheme: Any = box.mm.scheme
    start_write = scheme.vma_start_write
    scheme.vma_start_write = lambda vma, site="": None if site in sites else start_write(vma, site)


@pytest.mark.parametrize("locking", VMA_LOCKS)
def test_i1_a_vma_changes_under_a_reader(locking: str) -> None:
    cpu, box, _ = checked(locking)
    unmarked(box, "mprotect_fixup", "vma_merge")

    def writer() -> None:
        cpu.at(20_000)
        do_mprotect_pkey(box.mm, BASE, 8 * PAGE, 1)

    text = breaks("I1", cpu, reader(cpu, box), writer)
    assert "is written (vm_flags) with a reader inside" in text
    assert "mprotect_fixup (" in text and "thread0/" in text and "body (" in text


def test_i1_page_tables_change_under_a_reader() -> None:
    cpu, box, _ = checked()

    def writer() -> None:
        cpu.at(20_000)
        mmap_write_lock(box.mm)
        box.mm.pgtable.set(box.mm.pgtable.slot(BASE), 0)

    assert "has its page table written" in breaks("I1", cpu, reader(cpu, box), writer)


def test_i1_page_tables_change_while_a_reader_could_come() -> None:
    cpu, box, _ = checked()

    def writer() -> None:
        mmap_write_lock(box.mm)
        box.mm.pgtable.set(box.mm.pgtable.slot(BASE), 0)

    assert "not write-locked" in breaks("I1", cpu, writer)


def test_i1_a_speculative_fault_commits_after_a_writer_came() -> None:
    cpu, box, _ = checked("spf")
    scheme: Any = box.mm.scheme

    def body() -> None:
        assert scheme.begin(box.mm, BASE) is not None
        mmap_write_lock(box.mm)
        mmap_write_unlock(box.mm)
        box.mm.pgtable.set(box.mm.pgtable.slot(BASE), 0)

    assert "speculative fault after a writer came" in breaks("I1", cpu, body)


@pytest.mark.parametrize("locking", VMA_LOCKS)
def test_i2_write_locked_without_the_numbers(locking: str) -> None:
    cpu, box, vma = checked(locking)
    scheme: Any = box.mm.scheme
    end_all = type(scheme).__mro__[2].vma_end_write_all

    def forgets(mm: Any) -> None:
        seq = mm.mm_lock_seq
        end_all(scheme, mm)
        mm.mm_lock_seq = seq
        scheme.check.write_unlocked(mm)

    scheme.vma_end_write_all = forgets

    def body() -> None:
        mmap_write_lock(box.mm)
        scheme.vma_start_write(vma)
        mmap_write_unlock(box.mm)

    assert "still write-locked" in breaks("I2", cpu, body)


def test_i2_a_reader_gets_a_vma_that_is_write_locked() -> None:
    cpu, box, vma = checked("6.4")
    scheme: Any = box.mm.scheme

    def always(vma: Any) -> bool:
        vma.vm_lock.down_read()
        return True

    scheme._vma_start_read = always

    def writer() -> None:
        mmap_write_lock(box.mm)
        scheme.vma_start_write(vma)
        cpu.at(20_000)
        mmap_write_unlock(box.mm)

    assert "read-locked while it is write-locked" in breaks("I2", cpu, writer, reader(cpu, box))


@pytest.mark.parametrize("locking", VMA_LOCKS)
def test_i3_sequence_numbers(locking: str) -> None:
    cpu, _, vma = checked(locking)

    def lockless() -> None:
        vma.vm_lock_seq = 5

    assert "vm_lock_seq" in breaks("I3", cpu, lockless)
    cpu, box, _ = checked(locking)

    def bump() -> None:
        mmap_read_lock(box.mm)
        box.mm.mm_lock_seq += 1

    assert "mm_lock_seq" in breaks("I3", cpu, bump)
    cpu, box, vma = checked(locking)

    def not_waiting() -> None:
        cpu.at(20_000)
        mmap_write_lock(box.mm)
        vma.vm_lock_seq = box.mm.mm_lock_seq

    assert "with a reader inside" in breaks("I3", cpu, reader(cpu, box), not_waiting)


@pytest.mark.parametrize("locking", VMA_LOCKS)
@pytest.mark.parametrize("field", ["vm_start", "vm_end", "vm_pgoff", "vm_flags", "vm_page_prot", "anon_name"])
def test_i4_fields_and_their_locks(locking: str, field: str) -> None:
    for lock, missing in ((mmap_read_lock, "mmap_lock held for write"), (mmap_write_lock, "the VMA write-locked")):
        cpu, box, vma = checked(locking)

        def body(lock: Any = lock, box: Box = box, vma: Any = vma) -> None:
            lock(box.mm)
            setattr(vma, field, getattr(vma, field))

        assert missing in breaks("I4", cpu, body)


def test_i4_what_is_set_once() -> None:
    cpu, box, vma = checked()

    def body() -> None:
        mmap_write_lock(box.mm)
        box.mm.scheme.vma_start_write(vma)
        vma.vm_ops = None

    assert "while it is mapped" in breaks("I4", cpu, body)


def test_i4_page_tables_and_their_locks() -> None:
    cpu, box, _ = checked()
    table = box.mm.pgtable
    assert "with no lock of its address space" in breaks("I4", cpu, lambda: table.set(table.slot(BASE), 0))
    cpu, box, _ = checked()
    table2 = box.mm.pgtable

    def body() -> None:
        mmap_read_lock(box.mm)
        table2.set(table2.slot(BASE), 0)

    assert "without the lock of the page table" in breaks("I4", cpu, body)


@pytest.mark.parametrize("locking", VMA_LOCKS)
@pytest.mark.parametrize("mark", [True, False])
def test_i5_a_detached_vma_serves_a_fault(locking: str, mark: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that finds what has been taken out of the tree: marked as detached, or not even that."""
    cpu, box, vma = checked(locking)
    scheme: Any = box.mm.scheme
    monkeypatch.setattr(type(scheme).__mro__[2], "lock_vma_under_rcu", lambda self, mm, address: vma)

    def body() -> None:
        mmap_write_lock(box.mm)
        scheme.vma_start_write(vma)
        box.mm.mm_mt.replace((vma,), ())
        vma.detached = mark
        mmap_write_unlock(box.mm)
        box.touch(BASE + PAGE)

    assert "is detached" in breaks("I5", cpu, body)


def test_i6_the_address_is_not_looked_at_again() -> None:
    cpu, box, vma = checked("rfc")
    scheme: Any = box.mm.scheme
    scheme.bugs = frozenset({"address"})

    def splitter() -> None:
        cpu.at(10_000)
        do_mprotect_pkey(box.mm, BASE, 4 * PAGE, 1)

    real = scheme._vma_read_trylock

    def slow(found: Any) -> bool:
        cpu.at(30_000)
        return bool(real(found))

    scheme._vma_read_trylock = slow
    last = vma.vm_end - PAGE

    def late() -> None:
        cpu.at(5_000)
        scheme.lock_vma_under_rcu(box.mm, last)

    assert "which is not in it" in breaks("I6", cpu, splitter, late)


@pytest.mark.parametrize("locking", ["mmap_lock", "spf", *VMA_LOCKS])
def test_i7_a_freed_vma_is_poison(locking: str) -> None:
    cpu, box, vma = checked(locking)

    def body() -> None:
        ksys_munmap(box.mm, BASE, 8 * PAGE)
        box.memory.scheme.drain_free_vmas(box.mm)
        box.memory.rcu.rcu_barrier()
        return vma.vm_flags

    text = breaks("I7", cpu, body)
    assert "use after free: read vm_flags of <freed vma" in text
    assert "it was freed at:" in text and "remove_vma (" in text


def test_i7_an_object_of_6_18_stays_a_vma_and_may_be_used_again() -> None:
    cpu, box, vma = checked()

    def body() -> None:
        ksys_munmap(box.mm, BASE, 8 * PAGE)
        assert vma.vm_refcnt.refs == 0 and vma.vm_lock_seq  # what a late reader looks at
        box.map(BASE, 2 * PAGE, 3, 0x32)
        assert box.mm.mm_mt.load(BASE) is vma and vma.vm_end == BASE + 2 * PAGE

    cpu.start(body)
    cpu.run()


def test_i7_a_vma_is_freed_under_a_reader() -> None:
    cpu, box, vma = checked("6.4")

    def body() -> None:
        cpu.at(20_000)
        box.mm.scheme.kmem_cache_free(vma)

    assert "is freed with a reader inside" in breaks("I7", cpu, reader(cpu, box), body)


@pytest.mark.parametrize("cpus", [1, 2])
def test_i7_a_freed_page_table_is_not_looked_at(cpus: int) -> None:
    cpu, box, _ = checked(cpus=cpus)
    table = box.mm.pgtable

    def body() -> None:
        slot = table.slot(BASE)
        ksys_munmap(box.mm, BASE, 8 * PAGE)
        box.memory.rcu.rcu_barrier()
        table.get(slot)

    text = breaks("I7", cpu, body)
    assert "use after free: read of an entry" in text and "it was freed at:" in text and "free_pgtables (" in text


@pytest.mark.parametrize("locking", ["rfc", "6.18"])
def test_i8_an_anon_vma_is_made_under_the_vma_lock_alone(locking: str) -> None:
    cpu, box, _ = checked(locking)
    scheme: Any = box.mm.scheme
    if locking == "rfc":
        scheme.bugs = frozenset({"anon_vma"})
    else:
        scheme.anon_vma_may_prepare = lambda vma: True
        scheme.anon_vma_prepared = lambda vma: None
    box.map(BASE + 32 * PAGE, PAGE, 3, 0x32)
    assert "without mmap_lock" in breaks("I8", cpu, lambda: box.touch(BASE + 32 * PAGE))


def test_i9_a_vma_of_another_address_space() -> None:
    cpu, box, vma = checked()
    child = box.fork()
    assert child is not None
    scheme: Any = box.mm.scheme

    def body() -> None:
        scheme.check.vma_locked(child.mm, vma, BASE)

    assert "where mmap_lock would have found" in breaks("I9", cpu, body)


def test_i9_an_entry_allows_what_the_vma_does_not() -> None:
    cpu, box, _ = checked()
    box.map(BASE + 32 * PAGE, PAGE, 1, 0x32)
    table = box.mm.pgtable
    slot = table.slot(BASE)
    writable = table.get(slot)

    def body() -> None:
        vma = box.mm.scheme.lock_vma_under_rcu(box.mm, BASE + 32 * PAGE)
        assert vma is not None
        target = table.alloc(BASE + 32 * PAGE)
        table.pte_lock(target)
        table.set(target, writable)

    assert "writable in" in breaks("I9", cpu, body)


@pytest.mark.parametrize("locking", VMA_LOCKS)
def test_i10_mmap_lock_is_waited_for_with_a_vma_locked(locking: str) -> None:
    cpu, box, _ = checked(locking)

    def body() -> None:
        box.mm.scheme.lock_vma_under_rcu(box.mm, BASE)
        mmap_read_lock(box.mm)

    assert "mmap_lock is waited for" in breaks("I10", cpu, body)


@pytest.mark.parametrize("locking", VMA_LOCKS)
def test_i10_a_vma_lock_is_dropped_twice(locking: str) -> None:
    """The entry code and handle_mm_fault disagree about who drops it after VM_FAULT_RETRY."""
    cpu, box, _ = checked(locking)
    scheme: Any = box.mm.scheme

    def body() -> None:
        vma = scheme.lock_vma_under_rcu(box.mm, BASE)
        scheme.vma_end_read(vma)
        scheme.vma_end_read(vma)

    assert "does not have it locked" in breaks("I10", cpu, body)


def test_i10_retry_leaves_the_vma_lock_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, box, _ = checked("6.18")
    scheme: Any = box.mm.scheme
    box.map(BASE + 32 * PAGE, PAGE, 3, 0x32)
    scheme.anon_vma_may_prepare = lambda vma: False  # VM_FAULT_RETRY
    monkeypatch.setattr(scheme, "callee_drops_lock", False)  # ... after which handle_mm_fault keeps the lock,
    entry: Any = box.entry

    class Forgetful:  # ... and the entry code believes that it was dropped
        callee_drops_lock = True

        def __getattr__(self, name: str) -> Any:
            return getattr(scheme, name)

    entry.scheme = Forgetful()
    assert "still locked" in breaks("I10", cpu, lambda: box.touch(BASE + 32 * PAGE))


@pytest.mark.parametrize("locking", ["mmap_lock", "spf", *VMA_LOCKS])
def test_what_keeps_the_rules_is_left_alone(locking: str) -> None:
    cpu, box, _ = checked(locking, 4)

    def body(number: int) -> None:
        view = box.thread()
        for i in range(8):
            assert view.touch(BASE + (i + number) % 8 * PAGE) >= 0
            cpu.work(300)
        mmap_read_lock(box.mm)
        mmap_read_unlock(box.mm)

    for number in range(4):
        cpu.start(lambda number=number: body(number))
    cpu.run()
