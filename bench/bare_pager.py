# SPDX-License-Identifier: GPL-2.0-or-later
"""The yardstick for the fault path: a demand pager with nothing in it.

A dict from page to frame, no VMAs, no locks, no checks, no page tables, no records. It leaves the engine at every
fault, adds a frame to the dict, and starts the engine again. It knows just the system calls that a static musl
program on x86-64 makes when it touches memory and exits.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
import time

from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_HOOK_TLB_FILL, UC_MODE_64, UC_PROT_ALL, UC_TLB_VIRTUAL, Uc, UcError
from unicorn import x86_const as x86

PAGE = 4096
STACK_TOP = 0x7FFF_FFFF_F000


class BarePager:
    """Runs one program. `faults` counts pages touched first."""

    def __init__(self, path: str, args: list[str], memory: int = 1 << 30) -> None:
        self.ram = mmap.mmap(-1, memory)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        uc.ctl_exits_enabled(True)
        uc.mem_map_ptr(0, memory, UC_PROT_ALL, base)
        uc.hook_add(UC_HOOK_TLB_FILL, self._fill)
        uc.hook_add(UC_HOOK_INSN, self._syscall, None, 1, 0, x86.UC_X86_INS_SYSCALL)
        self.frames: dict[int, int] = {}
        self.next = PAGE
        self.miss = 0
        self.faults = 0
        self.exited = False
        self.mmap_top = 0x7FFF_F000_0000
        self.pc = self._load(path)
        self._stack([path, *args])

    def _fill(self, _uc: object, page: int, _access: int, entry: object, _data: object) -> bool:
        frame = self.frames.get(page)
        if frame is None:
            self.miss = page
            return False
        entry.paddr = frame  # type: ignore[attr-defined]
        entry.perms = UC_PROT_ALL  # type: ignore[attr-defined]
        return True

    def _syscall(self, uc: Uc, _data: object) -> None:
        number = uc.reg_read(x86.UC_X86_REG_RAX)
        result = 0
        if number == 9:  # mmap
            self.mmap_top -= uc.reg_read(x86.UC_X86_REG_RSI) + PAGE - 1 & -PAGE
            result = self.mmap_top
        elif number == 158:  # arch_prctl(ARCH_SET_FS)
            uc.reg_write(x86.UC_X86_REG_FS_BASE, uc.reg_read(x86.UC_X86_REG_RSI))
        elif number in (60, 231):
            self.exited = True
            uc.emu_stop()
        elif number == 1:
            result = uc.reg_read(x86.UC_X86_REG_RDX)
        elif number == 20:  # writev: everything was written
            self.exited = self.exited
            count = uc.reg_read(x86.UC_X86_REG_RDX)
            vector = uc.reg_read(x86.UC_X86_REG_RSI)
            result = sum(struct.unpack("<Q", self._peek(vector + 16 * i + 8, 8))[0] for i in range(count))
        uc.reg_write(x86.UC_X86_REG_RAX, result)

    def _frame(self, page: int) -> int:
        frame = self.frames.get(page)
        if frame is None:
            frame = self.frames[page] = self.next
            self.next += PAGE
        return frame

    def _poke(self, address: int, data: bytes) -> None:
        while data:
            offset = address & PAGE - 1
            chunk, data = data[: PAGE - offset], data[PAGE - offset :]
            at = self._frame(address - offset) + offset
            self.ram[at : at + len(chunk)] = chunk
            address += len(chunk)

    def _peek(self, address: int, size: int) -> bytes:
        offset = address & PAGE - 1
        at = self._frame(address - offset) + offset
        return self.ram[at : at + size]

    def _load(self, path: str) -> int:
        with open(path, "rb") as f:
            image = f.read()
        entry, phoff = struct.unpack_from("<QQ", image, 24)
        self.phdr = 0
        self.phnum = struct.unpack_from("<H", image, 56)[0]
        for i in range(self.phnum):
            kind, _, offset, vaddr, _, filesz, _memsz, _ = struct.unpack_from("<IIQQQQQQ", image, phoff + 56 * i)
            if kind == 1:
                self._poke(vaddr, image[offset : offset + filesz])
                if offset <= phoff < offset + filesz:
                    self.phdr = vaddr + phoff - offset
        return int(entry)

    def _stack(self, argv: list[str]) -> None:
        sp = STACK_TOP - 64
        pointers = []
        for arg in argv:
            sp -= len(arg) + 1
            self._poke(sp, arg.encode() + b"\0")
            pointers.append(sp)
        random = sp - 16 & -16
        auxv = (3, self.phdr, 4, 56, 5, self.phnum, 6, PAGE, 25, random, 0, 0)
        words = (len(argv), *pointers, 0, 0, *auxv)
        sp = random - 8 * len(words) & -16
        self._poke(sp, struct.pack(f"<{len(words)}Q", *words))
        self.uc.reg_write(x86.UC_X86_REG_RSP, sp)

    def run(self) -> None:
        """Run to the exit of the program."""
        uc = self.uc
        while not self.exited:
            try:
                uc.emu_start(self.pc, 0)
            except UcError:
                self.frames[self.miss] = self.next
                self.next += PAGE
                self.faults += 1
            self.pc = uc.reg_read(x86.UC_X86_REG_RIP)


def measure(path: str, args: list[str]) -> tuple[int, float]:
    """(faults, seconds of host time) of one run, set-up left out."""
    pager = BarePager(path, args)
    start = time.perf_counter()
    pager.run()
    return pager.faults, time.perf_counter() - start


if __name__ == "__main__":
    count, seconds = measure(sys.argv[1], sys.argv[2:])
    print(f"{count} faults in {seconds:.3f} s: {count / seconds:,.0f} a second")
