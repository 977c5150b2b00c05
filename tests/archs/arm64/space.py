# SPDX-License-Identifier: GPL-2.0-or-later
"""One ARM64 address space with a CPU and a fault entry, and no kernel around them."""

from __future__ import annotations

from archs.arm64 import ARCHES
from archs.arm64.cpu import Arm64Cpu
from archs.arm64.mm.fault import FaultEntry
from archs.base import SigInfo, TrapKind
from emu.hw.ram import Ram
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import (
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
    vm_area_struct,
)
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.uaccess import Uaccess
from emu.tracepoint import Tracepoints

ARCH = ARCHES[0]
CODE, DATA, STACK_TOP = 0x40_0000, 0x50_0000, 0x7FFF_0000
R, W, X = VM_READ, VM_WRITE, VM_EXEC


class Space:
    """`signals` holds what the fault entry sent."""

    def __init__(self, locking: str = "6.18", native: bool = True, serve_inside: bool = True) -> None:
        self.ram = Ram(8 << 20)
        self.tp = Tracepoints()
        self.memory = MemoryManager(self.ram, self.tp, locking)
        self.mm = self.memory.new_mm(ARCH.format)
        self.cpu: Arm64Cpu = ARCH.make_cpu(self.ram, native, serve_inside)
        self.cpu.engine.root = self.mm.pgtable.root
        self.mm.flush_tlb = self.cpu.engine.flush_tlb
        self.signals: list[SigInfo] = []
        self.entry: FaultEntry = ARCH.make_fault_entry(self.mm, self.cpu, self.signals.append)
        self.cpu.engine.on_fault = self.entry.user_fault
        self.access = Uaccess(self.mm, self.entry.kernel_fault, "little")

    def map(self, start: int, size: int, flags: int) -> vm_area_struct:
        """A private anonymous VMA."""
        mm = self.mm
        mmap_write_lock(mm)
        flags |= VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
        vma = vm_area_struct(mm, start, start + size, flags, start >> 12)
        mm.scheme.vma_start_write(vma)
        mm.scheme.vma_mark_attached(vma)
        mm.mm_mt.store(vma)
        mm.map_count += 1
        mmap_write_unlock(mm)
        return vma

    def load(self, *words: int, at: int = CODE) -> None:
        """Map a page of code at `at`, which the CPU will run next with a stack below STACK_TOP."""
        if self.mm.mm_mt.load(at) is None:
            self.map(at, 0x1000, R | X)
        table = self.mm.pgtable
        slot = table.alloc(at)
        if not table.get(slot):
            new = self.memory.alloc_page()
            assert new is not None
            table.set(slot, new.pfn << 12 | ARCH.format.protection_map[R | X])
        paddr = table.get(slot) & ARCH.format.pfn_mask
        self.ram.write(paddr + (at & 0xFFF), b"".join(word.to_bytes(4, "little") for word in words))
        self.cpu.start_thread(at, STACK_TOP, 0, 0, self.access)

    def run(self) -> TrapKind:
        """Until something other than a page fault that is served."""
        while True:
            kind = self.cpu.run(1 << 40)
            if kind != TrapKind.FAULT:
                return kind
            if self.signals:  # sent inside the MMU callback
                return kind
            if not self.entry.user_fault(self.cpu.engine.fault_address, self.cpu.engine.fault_syndrome, self.cpu.pc):
                return kind

    def x(self, register: int) -> int:
        return int(self.cpu.general.read()[register])

    def set_x(self, register: int, value: int) -> None:
        regs = self.cpu.general.read()
        regs[register] = value
        self.cpu.general.write(regs)
