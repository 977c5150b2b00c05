# SPDX-License-Identifier: GPL-2.0-or-later
"""A memory manager without a machine: for tests of emu/mm that need no guest code."""

from __future__ import annotations

from dataclasses import dataclass

from archs.base import SigInfo
from archs.x86.cpu import x86_thread
from archs.x86.mm.fault import FaultEntry
from archs.x86.mm.pgtable import X86PageTableFormat
from emu.hw.mmu import walk
from emu.hw.ram import Ram
from emu.hw.registers import Registers
from emu.locking.lockdep import CheckedSched
from emu.mm.fork import dup_mm
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import mm_struct, page
from emu.mm.mmap import do_mmap
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.uaccess import Uaccess
from emu.sched.sched import Sched
from emu.tracepoint import Tracepoints


class FakeCpu:
    """What a fault entry leaves in a CPU."""

    def __init__(self) -> None:
        self.thread = x86_thread(Registers(None, 0))


@dataclass
class Box:
    """One address space on a small RAM, with x86-64 page tables and a log of signals."""

    memory: MemoryManager
    mm: mm_struct
    entry: FaultEntry
    access: Uaccess
    signals: list[SigInfo]
    flushes: list[int]

    def map(self, addr: int, length: int, prot: int = 3, flags: int = 0x22, file: object = None, pgoff: int = 0) -> int:
        """mmap without populating."""
        mmap_write_lock(self.mm)
        result, _ = do_mmap(self.mm, file, addr, length, prot, flags, pgoff)  # type: ignore[arg-type]
        mmap_write_unlock(self.mm)
        return result

    def touch(self, address: int, write: bool = True, fetch: bool = False, limit: int = 4) -> int:
        """Access one byte as guest code would, faults and all: the number of faults, or -1 when a signal came."""
        access = 1 if write else 2 if fetch else 0
        for count in range(limit):
            paddr, _, syndrome = walk(0, self.memory.ram, self.mm.pgtable.root, address, access)
            if paddr >= 0:
                return count
            if not self.entry.user_fault(address, syndrome, 0x401000):
                return -1
        raise AssertionError(f"{address:#x} faults for ever")

    def page_at(self, address: int) -> page | None:
        """The page that is mapped at an address."""
        table = self.mm.pgtable
        slot = table.slot(address)
        pte = table.get(slot) if slot >= 0 else 0
        return self.memory.mem_map[(pte & table.format.pfn_mask) >> 12] if pte else None

    def thread(self) -> Box:
        """Another thread's view of the same address space: it faults by an entry of its own."""
        entry = FaultEntry(self.mm, FakeCpu(), self.signals.append)  # type: ignore[arg-type]
        access = Uaccess(self.mm, entry.kernel_fault, "little")
        return Box(self.memory, self.mm, entry, access, self.signals, self.flushes)

    def fork(self) -> Box | None:
        """A child's address space; None = -ENOMEM."""
        mm = dup_mm(self.mm)
        return None if mm is None else _box_of(mm)

    def peek(self, address: int) -> int:
        """The byte that a read of an address gives now, whether it is mapped or would be zero."""
        found = self.page_at(address)
        return self.memory.ram.read((found.pfn << 12) + (address & 4095), 1)[0] if found is not None else 0

    def poke(self, address: int, value: int) -> None:
        """Write one byte as the guest would."""
        assert self.touch(address) >= 0
        found = self.page_at(address)
        assert found is not None
        self.memory.ram.write((found.pfn << 12) + (address & 4095), bytes([value]))


def _box_of(mm: mm_struct) -> Box:
    flushes: list[int] = []
    mm.flush_tlb = lambda: flushes.append(1)
    signals: list[SigInfo] = []
    entry = FaultEntry(mm, FakeCpu(), signals.append)  # type: ignore[arg-type]
    return Box(mm.memory, mm, entry, Uaccess(mm, entry.kernel_fault, "little"), signals, flushes)


def make_box(locking: str = "6.18", ram: int = 16 << 20, sched: Sched | None = None) -> Box:
    """A fresh memory manager with one empty address space. With `sched` its threads run on that one's CPUs, and
    all is checked if that is a CheckedSched."""
    tp = sched.tp if sched is not None else Tracepoints()
    memory = MemoryManager(Ram(ram), tp, locking, sched, isinstance(sched, CheckedSched))
    mm = memory.new_mm(X86PageTableFormat())
    mm.mmap_base = 0x7FFF_F7FF_F000
    return _box_of(mm)


def check_frames(memory: MemoryManager, mms: list[mm_struct]) -> None:
    """Every page-table entry is counted by its page, and no other count is left (AssertionError names the frame)."""
    mapped: dict[int, int] = {}
    for mm in mms:
        table = mm.pgtable
        for first in table.leaf.values():
            for slot in range(first, first + table.leaf_mask + 1):
                pte = table.get(slot)
                if pte and table.format.pte_present(pte) and not table.format.pte_special(pte):
                    pfn = (pte & table.format.pfn_mask) >> 12
                    mapped[pfn] = mapped.get(pfn, 0) + 1
    for found in memory.mem_map:
        if found is not None:
            assert found._mapcount == mapped.get(found.pfn, 0), (
                f"frame {found.pfn:#x}: {found._mapcount} mappings counted"
            )
            assert found._refcount >= found._mapcount, f"frame {found.pfn:#x}: more mappings than references"
