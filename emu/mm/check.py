# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold in the memory manager at every step, whatever the locking scheme, and is looked at with --check.

    I1   nobody changes a VMA or its page tables while a reader of that VMA is inside, but readers themselves
    I2   a VMA is write-locked exactly while mmap_lock is held for write and the two sequence numbers are equal
    I3   sequence numbers change only under mmap_lock for write, that of a VMA only with no reader inside
    I4   each field is written only with the locks that Documentation/mm/process_addrs.rst asks for
    I5   a VMA that was taken out of the tree never serves a fault
    I6   the VMA that was locked contains the address that it was locked for
    I7   nothing is freed while somebody may look at it, and nobody touches what was freed
    I8   anon_vma is there before a fault that holds no more than the VMA lock may need one
    I9   a fault under the VMA lock ends as it would have under mmap_lock at the moment when the VMA was locked
    I10  a fault that falls back to mmap_lock holds no lock any more, and no lock is dropped twice

A machine that is checked is built of the classes below instead of their bases; one that is not has no trace of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from emu.locking.lock import Lock
from emu.locking.lockdep import CheckedRcu, CheckedSched, Lockdep, Stack, save_stack
from emu.locking.rwsem import rw_semaphore
from emu.mm.mm_types import PAGE_SHIFT, VM_MAYBE_GUARD, VM_WRITE, mm_struct, vm_area_struct
from emu.mm.pgtable import PageTable, PageTableFormat
from emu.mm.schemes.scheme import LockingScheme

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.sched.entity import SchedEntity

POISON = b"\x6b" * 4096  # POISON_FREE

_BOTH_LOCKS = frozenset({"vm_start", "vm_end", "vm_pgoff", "vm_flags", "vm_page_prot", "anon_name"})
_ONCE = frozenset({"vm_mm", "vm_file", "vm_ops"})
# What a reader that came too late may still look at in 6.18, where the object stays a VMA (SLAB_TYPESAFE_BY_RCU).
_TYPE_SAFE = frozenset({"vm_lock_seq", "vm_refcnt", "vm_lock", "id"})


class Reader:
    """A task inside a VMA: since where, for which address, and what it found there."""

    __slots__ = ("address", "answer", "stack")

    def __init__(self, address: int, answer: tuple[object, ...], stack: Stack) -> None:
        self.address = address
        self.answer = answer
        self.stack = stack


def _answer(vma: vm_area_struct) -> tuple[object, ...]:
    """What the outcome of a fault in a VMA depends on."""
    flags = vma.vm_flags & ~VM_MAYBE_GUARD
    return vma.vm_start, vma.vm_end, flags, vma.vm_page_prot, vma.vm_pgoff, vma.vm_file, vma.vm_ops


class Checker:
    """The state of the checks of one memory manager."""

    def __init__(self, memory: MemoryManager, scheme: type[LockingScheme]) -> None:
        sched = memory.sched
        assert isinstance(sched, CheckedSched), "checks need a machine that is checked"
        self.memory = memory
        self.sched = sched
        self.dep: Lockdep = sched.lockdep
        self.dep.rules.append(self.before_wait)
        self.dep.exit_rules.append(self.before_exit)
        self.type_safe = scheme.name == "6.18"
        self.readers: dict[vm_area_struct, dict[SchedEntity, Reader]] = {}
        self.inside: dict[SchedEntity, vm_area_struct] = {}
        self.trying: set[SchedEntity] = set()  # who looks for a VMA to lock right now
        self.speculating: dict[SchedEntity, tuple[mm_struct, int]] = {}  # spf: sequence count of the last copy
        self.marked: dict[mm_struct, list[vm_area_struct]] = {}  # write-locked in the section that goes on
        self.freeing: dict[vm_area_struct, Stack] = {}  # VMAs that nobody needs any more: who said so
        self.tables: dict[int, CheckedPageTable] = {}  # first frame of a page table -> whose it is
        self.freed_tables: dict[int, Stack] = {}  # frame -> who freed it
        self.free_table = memory.free_table
        memory.free_table = self.table_freed  # type: ignore[method-assign]

    def report(self, rule: str, what: str, *parts: str | Stack) -> NoReturn:
        self.dep.report(f"{rule}: {what}", *parts)

    def readers_of(self, vma: vm_area_struct) -> list[str | Stack]:
        """The parts of a report for those who are inside; the running task left out."""
        parts: list[str | Stack] = []
        for task, reader in self.readers.get(vma, {}).items():
            if task is not self.sched.current:
                parts += [
                    f"{task.comm or 'task'}/{task.pid} is inside, for address {reader.address:#x}, since:",
                    reader.stack,
                ]
        return parts

    # Locks

    def before_wait(self, lock: Lock, read: bool) -> None:
        """A rule for the lock checker: mmap_lock is not waited for with a VMA lock in hand, for a writer that has
        mmap_lock may wait for that VMA."""
        vma = self.inside.get(self.sched.current)
        if vma is not None and lock.name == "mmap_lock":
            self.report(
                "I10", f"mmap_lock is waited for with {vma} locked", "the VMA was locked at:",
                self.readers[vma][self.sched.current].stack,
            )  # fmt: skip

    def before_exit(self, task: SchedEntity) -> None:
        """A rule for the lock checker: no fault is over with its VMA locked."""
        vma = self.inside.get(task)
        if vma is not None:
            self.report("I10", f"{vma} is still locked after the fault", "since:", self.readers[vma][task].stack)

    def vma_locked(self, mm: mm_struct, vma: vm_area_struct, address: int) -> None:
        """The running task got a VMA for a fault at `address`."""
        task = self.sched.current
        if isinstance(vma, freed_vma):
            touch_freed(vma, "lock")
        found = mm.mm_mt.load(address)
        if vma.detached or (found is None and vma.vm_start <= address < vma.vm_end):
            self.report("I5", f"{vma} was locked for a fault at {address:#x}, and is detached")
        if not vma.vm_start <= address < vma.vm_end:
            self.report("I6", f"{vma} was locked for a fault at {address:#x}, which is not in it")
        if mm.mmap_lock.writer and vma.vm_lock_seq == mm.mm_lock_seq:
            self.report("I2", f"{vma} was read-locked while it is write-locked")
        if found is not vma or vma.vm_mm is not mm:
            self.report("I9", f"{vma} was locked for a fault at {address:#x}, where mmap_lock would have found {found}")
        if task in self.inside:
            self.report("I10", f"{vma} is locked by a task that has {self.inside[task]} locked")
        self.inside[task] = vma
        self.readers.setdefault(vma, {})[task] = Reader(address, _answer(vma), save_stack())
        if not isinstance(vma.vm_lock, rw_semaphore):
            self.dep.acquired(vma.vm_lock, True)

    def vma_unlocked(self, vma: vm_area_struct) -> None:
        """The running task is about to release a VMA."""
        task = self.sched.current
        if isinstance(vma, freed_vma):
            touch_freed(vma, "unlock")
        reader = self.readers.get(vma, {}).pop(task, None)
        if reader is None:
            self.report("I10", f"{vma} is released by a task that does not have it locked", *self.readers_of(vma))
        if not self.readers[vma]:
            del self.readers[vma]
        del self.inside[task]
        found = vma.vm_mm.mm_mt.load(reader.address)
        if found is not vma or reader.answer != _answer(vma):
            self.report(
                "I9", f"{vma} changed while a fault at {reader.address:#x} had it locked; mmap_lock would find {found}",
                "the fault locked it at:", reader.stack,
            )  # fmt: skip
        if not isinstance(vma.vm_lock, rw_semaphore):
            self.dep.release(vma.vm_lock, True)

    def write_locked(self, vma: vm_area_struct) -> None:
        """vma_start_write has returned."""
        mm = vma.vm_mm
        if vma.vm_lock is None:
            return
        if not self.dep.holds(mm.mmap_lock, write=True) or vma.vm_lock_seq != mm.mm_lock_seq:
            self.report("I2", f"{vma} is not write-locked after vma_start_write")
        self.no_reader("I1", vma, "is write-locked")
        self.marked.setdefault(mm, []).append(vma)

    def write_unlocked(self, mm: mm_struct) -> None:
        """vma_end_write_all has returned."""
        for vma in self.marked.pop(mm, ()):
            if not isinstance(vma, freed_vma) and vma.vm_mm is mm and vma.vm_lock_seq == mm.mm_lock_seq:
                self.report("I2", f"{vma} is still write-locked when mmap_lock is released")

    def no_reader(self, rule: str, vma: vm_area_struct, what: str) -> None:
        """Nobody but the running task may be inside."""
        inside = self.readers_of(vma)
        if inside:
            self.report(rule, f"{vma} {what} with a reader inside", *inside)

    # VMAs

    def field_written(self, vma: vm_area_struct, name: str, value: object) -> None:
        """A field of a VMA is about to be written."""
        mm = vma.vm_mm
        holds_write = self.dep.holds(mm.mmap_lock, write=True)
        if name == "vm_lock_seq":
            if not vma.detached and not holds_write:
                self.report("I3", f"vm_lock_seq of {vma} is written without mmap_lock held for write")
            self.no_reader("I3", vma, "has its vm_lock_seq written")
        elif name == "anon_vma":
            if not vma.detached and not holds_write and not self.dep.holds(mm.mmap_lock):
                rule = "I8" if self.inside.get(self.sched.current) is vma else "I4"
                self.report(
                    rule, f"{vma} gets an anon_vma without mmap_lock", *self.dep.describe_held(self.sched.current)
                )
        elif name == "detached":
            if value:
                self.no_reader("I5", vma, "is detached")
        elif name == "vm_flags" and value == vma.vm_flags | VM_MAYBE_GUARD and not vma.detached:
            # Set atomically, as only writers of the VMA look (vma_set_atomic_flag).
            if not self.dep.holds(mm.mmap_lock):
                self.report("I4", f"VM_MAYBE_GUARD of {vma} is set without mmap_lock")
        elif vma.detached:
            self.no_reader("I1", vma, f"is written ({name}) after it was detached,")
        elif name in _ONCE:
            self.report("I4", f"{name} of {vma} is written while it is mapped")
        else:
            self.no_reader("I1", vma, f"is written ({name})")
            if not holds_write:
                self.report("I4", f"{name} of {vma} is written without mmap_lock held for write")
            if vma.vm_lock is not None and vma.vm_lock_seq != mm.mm_lock_seq:
                self.report("I4", f"{name} of {vma} is written without the VMA write-locked")

    def vma_freed(self, vma: vm_area_struct) -> None:
        """The object goes back to its cache: from now on it is poison."""
        self.no_reader("I7", vma, "is freed")
        if not vma.detached:
            self.report("I7", f"{vma} is freed while it is attached")
        assert isinstance(vma, tracked_vma)
        vma.history = self.type_safe, self.dep, self.freeing.pop(vma, ()) or save_stack()
        vma.__class__ = freed_vma

    # Page tables

    def table_freed(self, pfn: int, order: int) -> None:
        """A page table goes back to the allocator (MemoryManager.free_table)."""
        owner = self.tables.pop(pfn)
        stack = owner.unlinked.pop(pfn, ()) or save_stack()
        for frame in range(pfn, pfn + (1 << order)):
            owner.live.discard(frame)
            owner.freed[frame] = stack
            self.memory.ram.write(frame << PAGE_SHIFT, POISON)
        self.free_table(pfn, order)

    def entry_written(self, table: CheckedPageTable, slot: int, address: int, value: int) -> None:
        """An entry of a lowest-level table is about to be written."""
        mm = table.mm
        assert mm is not None
        task = self.sched.current
        vma = mm.mm_mt.load(address)
        dep = self.dep
        what = f"the entry for {address:#x} of mm {mm.id} is written"
        if dep.holds(mm.mmap_lock, write=True):
            if vma is not None:
                self.no_reader("I1", vma, f"has its page table written (address {address:#x})")
                if vma.vm_lock is not None and vma.vm_lock_seq != mm.mm_lock_seq:
                    self.report("I1", f"{what} with mmap_lock held for write and {vma} not write-locked")
        else:
            if not dep.holds(mm.mmap_lock):
                self._written_without_mmap_lock(mm, vma, address, what)
            if table.locks is not None and not dep.holds(table.pte_lockptr(slot)):
                self.report("I4", f"{what} without the lock of the page table", *dep.describe_held(task))
        if vma is not None and not vma.detached:
            format = table.format
            if value and format.pte_present(value) and format.pte_write(value) and not vma.vm_flags & VM_WRITE:
                self.report("I9", f"{what}: writable in {vma}, which is not")

    def _written_without_mmap_lock(self, mm: mm_struct, vma: vm_area_struct | None, address: int, what: str) -> None:
        task = self.sched.current
        mine = self.inside.get(task)
        if mine is not None and mine.vm_mm is mm:
            if mine is not vma:
                self.report("I5", f"{what} by a fault that has {mine} locked, and belongs to {vma}")
            return
        if task in self.speculating:
            space, seq = self.speculating[task]
            if space is mm:
                if mm.mmap_seq.sequence != seq:
                    self.report("I1", f"{what} by a speculative fault after a writer came")
                return
        if vma is not None and vma.vm_ops is not None:  # by way of the file, whose i_mmap lock is not modelled
            return
        self.report("I4", f"{what} with no lock of its address space held", *self.dep.describe_held(task))


class tracked_vma(vm_area_struct):
    """A VMA with room for its history: type-safe, the checker, and the stack of the freeing."""

    __slots__ = ("history",)
    history: tuple[bool, Lockdep, Stack]


class checked_vma(tracked_vma):
    """A VMA that tells the checker of every write to a field that has rules."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKED and hasattr(self, "detached"):
            check = self.vm_mm.memory.check
            assert check is not None
            check.field_written(self, name, value)
        object.__setattr__(self, name, value)


_CHECKED = _BOTH_LOCKS | _ONCE | {"vm_lock_seq", "anon_vma", "detached"}


class freed_vma(tracked_vma):
    """A VMA whose object was freed: whoever touches it is reported, with the stack of the freeing."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in ("init", "history"):
            return object.__getattribute__(self, name)
        if name in _TYPE_SAFE and object.__getattribute__(self, "history")[0]:
            return object.__getattribute__(self, name)
        return touch_freed(self, f"read {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__class__":
            object.__setattr__(self, name, value)
        else:
            touch_freed(self, f"write {name}")

    def __repr__(self) -> str:
        return f"<freed vma {object.__getattribute__(self, 'id')}>"

    def init(self, mm: mm_struct, start: int, end: int, flags: int, pgoff: int) -> None:
        """The object becomes a VMA again."""
        self.__class__ = checked_vma  # type: ignore[assignment]
        self.init(mm, start, end, flags, pgoff)


def touch_freed(vma: freed_vma, how: str) -> NoReturn:
    """Report the use of a freed VMA."""
    _, dep, stack = vma.history
    dep.report(f"I7: use after free: {how} of {vma!r}", "it was freed at:", stack)


class _Entries:
    """The entries of a page table: an array that only live tables may be read and written in."""

    __slots__ = ("raw", "shift", "table")

    def __init__(self, raw: Any, table: CheckedPageTable) -> None:
        self.raw = raw
        self.table = table
        self.shift = 9 if table.format.entry_size == 8 else 10  # entries of a frame, as a shift

    def __getitem__(self, key: int | slice) -> Any:
        first = key.start if isinstance(key, slice) else key
        if first >> self.shift not in self.table.live:
            self.table.touch_freed(first >> self.shift, "read")
        return self.raw[key]

    def __setitem__(self, slot: int, value: int) -> None:
        if slot >> self.shift not in self.table.live:
            self.table.touch_freed(slot >> self.shift, "write")
        self.table.before_set(slot, value)
        self.raw[slot] = value


class CheckedPageTable(PageTable):
    """Page tables that tell the checker of every write, and know which of their frames are in use."""

    def __init__(self, format: PageTableFormat, memory: MemoryManager) -> None:
        check = memory.check
        assert check is not None
        self.check = check
        self.mm: mm_struct | None = None
        self.live: set[int] = set()  # frames
        self.freed: dict[int, Stack] = {}
        self.unlinked: dict[int, Stack] = {}  # first frames of tables that wait for a grace period
        self.keys: dict[int, int] = {}  # the inverse of `leaf`
        super().__init__(format, memory)
        self.entries: Any = _Entries(self.entries, self)

    def _new_table(self, level: int) -> int:
        paddr = super()._new_table(level)
        if paddr >= 0:
            pfn = paddr >> PAGE_SHIFT
            self.check.tables[pfn] = self
            for frame in range(pfn, pfn + (1 << self._orders[level])):
                self.live.add(frame)
                self.freed.pop(frame, None)
        return paddr

    def alloc(self, address: int) -> int:
        slot = super().alloc(address)
        if slot >= 0:
            key = address >> self.leaf_shift
            self.keys[self.leaf[key]] = key
        return slot

    def _free_leaf(self, key: int) -> None:
        self.keys.pop(self.leaf[key], None)
        super()._free_leaf(key)

    def _free_table(self, paddr: int, level: int) -> None:
        self.unlinked[paddr >> PAGE_SHIFT] = save_stack()
        super()._free_table(paddr, level)

    def touch_freed(self, frame: int, how: str) -> NoReturn:
        """Report the use of a frame that is no table of this address space."""
        stack = self.freed.get(frame)
        parts: tuple[str | Stack, ...] = ("it was freed at:", stack) if stack is not None else ()
        self.check.report(
            "I7", f"use after free: {how} of an entry in frame {frame:#x}, which is no page table", *parts
        )

    def before_set(self, slot: int, value: int) -> None:
        key = self.keys.get(slot & ~self.leaf_mask)
        if key is None or self.mm is None:  # a table of an upper level
            return
        if self.swap_bytes:
            size = self.format.entry_size
            value = int.from_bytes(value.to_bytes(size, "little"), "big")
        self.check.entry_written(self, slot, key << self.leaf_shift | (slot & self.leaf_mask) << PAGE_SHIFT, value)


class checked_mm(mm_struct):
    """An address space whose sequence number is watched."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        table = self.pgtable
        assert isinstance(table, CheckedPageTable)
        table.mm = self

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "mm_lock_seq" and "mm_lock_seq" in self.__dict__:
            check = self.memory.check
            assert check is not None
            if not check.dep.holds(self.mmap_lock, write=True):
                check.report("I3", f"mm_lock_seq of mm {self.id} is written without mmap_lock held for write")
        object.__setattr__(self, name, value)


class _Checks(LockingScheme):
    """The checks that every scheme is wrapped in."""

    check: Checker

    def lock_vma_under_rcu(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        check = self.check
        task = check.sched.current
        check.trying.add(task)
        vma = super().lock_vma_under_rcu(mm, address)
        check.trying.discard(task)
        if vma is not None:
            check.vma_locked(mm, vma, address)
        return vma

    def vma_end_read(self, vma: vm_area_struct) -> None:
        if self.check.sched.current not in self.check.trying:
            self.check.vma_unlocked(vma)
        super().vma_end_read(vma)

    def vma_start_write(self, vma: vm_area_struct, site: str = "") -> None:
        if vma.vm_lock is not None and not isinstance(vma.vm_lock, rw_semaphore):
            self.check.dep.acquire(vma.vm_lock, False)
        super().vma_start_write(vma, site)  # type: ignore[safe-super]
        self.check.write_locked(vma)

    def vma_end_write_all(self, mm: mm_struct) -> None:
        super().vma_end_write_all(mm)  # type: ignore[safe-super]
        self.check.write_unlocked(mm)

    def vm_area_free(self, vma: vm_area_struct) -> None:
        self.check.no_reader("I7", vma, "is to be freed")
        self.check.freeing[vma] = save_stack()
        super().vm_area_free(vma)  # type: ignore[safe-super]

    def kmem_cache_free(self, vma: vm_area_struct) -> None:
        self.check.vma_freed(vma)
        super().kmem_cache_free(vma)

    def begin(self, mm: mm_struct, address: int) -> vm_area_struct | None:
        task = self.check.sched.current
        self.check.speculating.pop(task, None)
        copy = super().begin(mm, address)
        if copy is not None:
            self.check.speculating[task] = mm, copy.vm_lock_seq
        return copy

    def abort(self, why: str) -> None:
        self.check.speculating.pop(self.check.sched.current, None)
        super().abort(why)


def checked_scheme(scheme: type[LockingScheme], memory: MemoryManager) -> type[LockingScheme]:
    """The scheme with its checks; `memory` becomes one that makes checked objects."""
    sched = memory.sched
    assert isinstance(sched, CheckedSched)
    memory.check = Checker(memory, scheme)
    memory.rcu = CheckedRcu(sched)
    memory.mm_type = checked_mm
    memory.table_type = CheckedPageTable
    memory.vma_type = checked_vma
    return type(scheme.__name__, (_Checks, scheme), {"check": memory.check})
