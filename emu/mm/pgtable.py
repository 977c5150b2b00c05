# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables of an address space, kept in guest RAM in the architecture's own format (include/linux/pgtable.h).

The tree of tables is generic; what an entry looks like comes from a `PageTableFormat` of the architecture
(archs/*/mm/pgtable.py). An entry of the lowest level is named by its *slot*: its physical address divided by the size
of an entry.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from emu.locking.spinlock import spinlock

if TYPE_CHECKING:
    from emu.hw.ram import Ram
    from emu.mm.memory_manager import MemoryManager
    from emu.sched.sched import Sched


class PageTableFormat(Protocol):
    """The software view of one architecture's page tables. All entries are plain ints; 0 is an empty entry."""

    hw: int  # emu.hw.mmu.PageTableFormat, for the MMU
    entry_size: int  # bytes: 8 or 4
    big_endian: bool
    shifts: tuple[int, ...]  # address bits below the index of each level, from the top: (39, 30, 21, 12)
    bits: tuple[int, ...]  # number of index bits of each level, from the top: (9, 9, 9, 9)
    task_size: int
    pfn_mask: int  # bits of an entry that hold the frame's physical address
    present_bits: int  # of which a present entry has one (pte_present)
    special_bits: int  # likewise (pte_special)
    pkeys: int  # protection keys that there are: 1 where the CPU has none (arch_max_pkey)
    pkey_shift: int  # where a key stands in an entry
    # Protections by vm_flags & 15 (VM_READ|VM_WRITE|VM_EXEC|VM_SHARED), as in protection_map: present and accessed,
    # never writable for private mappings. A new entry is `pfn << 12 | protection`.
    protection_map: tuple[int, ...]

    def mk_table(self, paddr: int) -> int:
        """The entry of an upper level that points to the table at `paddr`."""
        ...

    def table_paddr(self, entry: int) -> int: ...

    def pte_present(self, pte: int) -> bool:
        """Maps a page, PROT_NONE entries included."""
        ...

    def pte_write(self, pte: int) -> bool: ...

    def pte_dirty(self, pte: int) -> bool: ...

    def pte_young(self, pte: int) -> bool: ...

    def pte_special(self, pte: int) -> bool:
        """Maps a frame that is not counted: the zero page."""
        ...

    def pte_mkwrite(self, pte: int) -> int: ...

    def pte_wrprotect(self, pte: int) -> int: ...

    def pte_mkdirty(self, pte: int) -> int: ...

    def pte_mkclean(self, pte: int) -> int: ...

    def pte_mkyoung(self, pte: int) -> int: ...

    def pte_mkold(self, pte: int) -> int: ...

    def pte_mkspecial(self, pte: int) -> int: ...

    def pte_modify(self, pte: int, protection: int) -> int:
        """Give a present entry another protection, keeping frame, accessed, dirty and special (pte_modify)."""
        ...


class PteLocks(dict[int, spinlock]):
    """The locks of the lowest-level tables, by slot >> (bits of the index), on a machine with more than one CPU."""

    __slots__ = ("entry_size", "leaf_bits", "sched")

    def __init__(self, sched: Sched, format: PageTableFormat) -> None:
        self.sched = sched
        self.entry_size = format.entry_size
        self.leaf_bits = format.bits[-1]

    def of(self, slot: int) -> spinlock:
        """That of the table that holds `slot`."""
        key = slot >> self.leaf_bits
        lock = self.get(key)
        if lock is None:
            lock = self[key] = spinlock(self.sched, "ptl", (key << self.leaf_bits) * self.entry_size)
        return lock

    def lock(self, slot: int) -> spinlock:
        """Take it; the caller unlocks it."""
        lock = self.of(slot)
        lock.lock()
        return lock

    def drop(self, slot: int) -> None:
        """The table goes, and its lock with it."""
        self.pop(slot >> self.leaf_bits, None)


class PageTable:
    """The page tables of one address space."""

    __slots__ = (
        "_orders", "entries", "format", "leaf", "leaf_mask", "leaf_shift", "locks", "memory", "racy", "ram", "root",
        "swap_bytes", "tables",
    )  # fmt: skip

    def __init__(self, format: PageTableFormat, memory: MemoryManager) -> None:
        self.format = format
        self.memory = memory
        ram: Ram = memory.ram
        self.ram = ram
        self.entries = ram.u64 if format.entry_size == 8 else ram.u32
        self.swap_bytes = format.big_endian
        self.leaf_shift = format.shifts[-2]  # address bits that one lowest-level table spans (PMD_SHIFT)
        self.leaf_mask = (1 << format.bits[-1]) - 1
        self.leaf: dict[int, int] = {}  # address >> leaf_shift -> slot of the table's first entry
        self.tables = 0  # tables of all levels, the top one included
        sched = memory.sched
        self.locks = sched.kind_of(PteLocks)(sched, format) if len(sched.rqs) > 1 else None
        self.racy = self.locks is not None or memory.scheme.speculative  # an entry may change before it is locked
        self._orders = tuple(max(0, (1 << b) * format.entry_size - 1 >> 12).bit_length() for b in format.bits)
        self.root = self._new_table(0)  # physical address
        if self.root < 0:
            raise MemoryError("no frame for the top-level page table")

    def _new_table(self, level: int) -> int:
        """A zeroed table of `level` (0 = top): its physical address, or -1 when no frame is free."""
        page = self.memory.alloc_page(zero=True, order=self._orders[level])
        if page is None:
            return -1
        self.tables += 1
        self.memory.sched.charge(self.memory.costs.page_table)
        return page.pfn << 12

    def get(self, slot: int) -> int:
        """Read the entry in `slot`."""
        value: int = self.entries[slot]
        if self.swap_bytes:
            size = self.format.entry_size
            return int.from_bytes(value.to_bytes(size, "little"), "big")
        return value

    def set(self, slot: int, value: int) -> None:
        """Write the entry in `slot` (set_pte)."""
        if self.swap_bytes:
            size = self.format.entry_size
            value = int.from_bytes(value.to_bytes(size, "little"), "big")
        self.entries[slot] = value

    def peek(self, address: int) -> int:
        """The lowest-level entry for `address`, 0 where no table is there."""
        first = self.leaf.get(address >> self.leaf_shift, -1)
        if first < 0:
            return 0
        slot = first + (address >> 12 & self.leaf_mask)
        if self.swap_bytes:
            return self.get(slot)
        value: int = self.entries[slot]
        return value

    def slot(self, address: int) -> int:
        """Slot of the lowest-level entry for `address`, or -1 where no table is there (pte_offset_map)."""
        first = self.leaf.get(address >> self.leaf_shift, -1)
        if first < 0:
            return -1
        return first + (address >> 12 & self.leaf_mask)

    def pte_lockptr(self, slot: int) -> spinlock:
        """The lock of the lowest-level table that holds `slot`; there must be more than one CPU."""
        assert self.locks is not None
        return self.locks.of(slot)

    def pte_lock(self, slot: int) -> spinlock | None:
        """Take that lock, which the caller then unlocks; None where there are no locks."""
        return None if self.locks is None else self.locks.lock(slot)

    def levels(self, address: int) -> int:
        """How many levels of tables there are on the way to the entry for `address`, the top one included."""
        format = self.format
        table = self.root
        for level in range(len(format.shifts) - 1):
            index = address >> format.shifts[level] & (1 << format.bits[level]) - 1
            entry = self.get(table // format.entry_size + index)
            if not entry:
                return level + 1
            table = format.table_paddr(entry)
        return len(format.shifts)

    def alloc(self, address: int) -> int:
        """Slot of the lowest-level entry for `address`, tables made as needed (pte_alloc); -1 = out of memory."""
        key = address >> self.leaf_shift
        first = self.leaf.get(key, -1)
        if first < 0:
            format = self.format
            size = format.entry_size
            table = self.root
            made: list[tuple[int, int, int]] = []  # (slot of the entry, table that it points to, its level)
            for level in range(len(format.shifts) - 1):
                index = address >> format.shifts[level] & (1 << format.bits[level]) - 1
                slot = table // size + index
                entry = self.get(slot)
                if entry:
                    table = format.table_paddr(entry)
                    continue
                table = self._new_table(level + 1)
                if table < 0:
                    for slot, table, level in reversed(made):  # no upper table stays that leads nowhere
                        self.set(slot, 0)
                        self._free_table(table, level)
                    return -1
                self.set(slot, format.mk_table(table))
                made.append((slot, table, level + 1))
            first = table // size
            self.leaf[key] = first
        return first + (address >> 12 & self.leaf_mask)

    def free_range(self, start: int, end: int) -> None:
        """Free the lowest-level tables that lie wholly in [start, end), and upper ones that become empty
        (free_pgtables).

        The entries in them must have been cleared, and the TLB flushed, before.
        """
        shift = self.leaf_shift
        first_key = (start + (1 << shift) - 1) >> shift
        last_key = end >> shift
        if last_key - first_key > len(self.leaf):
            keys = sorted(k for k in self.leaf if first_key <= k < last_key)
        else:
            keys = [k for k in range(first_key, last_key) if k in self.leaf]
        for key in keys:
            self._free_leaf(key)

    def _free_leaf(self, key: int) -> None:
        format = self.format
        size = format.entry_size
        address = key << self.leaf_shift
        path: list[tuple[int, int, int]] = []  # (level, table, slot of the entry that points below)
        table = self.root
        for level in range(len(format.shifts) - 1):
            slot = table // size + (address >> format.shifts[level] & (1 << format.bits[level]) - 1)
            path.append((level, table, slot))
            table = format.table_paddr(self.get(slot))
        if self.locks is not None:
            self.locks.drop(self.leaf[key])
        del self.leaf[key]
        for level, upper, slot in reversed(path):
            self.set(slot, 0)
            self._free_table(table, level + 1)
            if level == 0 or any(self.entries[upper // size : upper // size + (1 << format.bits[level])]):
                return
            table = upper

    def _free_table(self, paddr: int, level: int) -> None:
        self.tables -= 1
        memory = self.memory
        if self.locks is None:
            memory.free_table(paddr >> 12, self._orders[level])
        else:  # others may be on their way through it without a lock (tlb_remove_table)
            memory.rcu.call_rcu(partial(memory.free_table, paddr >> 12, self._orders[level]))

    def destroy(self) -> None:
        """Free every table, the top one included (the end of exit_mmap)."""
        for key in sorted(self.leaf):
            self._free_leaf(key)
        self._free_table(self.root, 0)
