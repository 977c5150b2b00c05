# SPDX-License-Identifier: GPL-2.0-or-later
"""What the MMU must know of x86 instructions: which ones write the memory that they read.

The hardware asks for such an access as a write from the start, so that it faults once and as a write; Unicorn loads
first and stores later. The twins in C are in _native.c.
"""

from __future__ import annotations

from emu.hw.mmu import FETCH, walk_x86
from emu.hw.ram import PAGE_SIZE, Ram

LONGEST = 15  # bytes of an instruction
TRAP_GP = 13  # general protection
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
_TWO_BYTE = frozenset((0xA4, 0xA5, 0xAC, 0xAD, 0xAB, 0xB3, 0xBB, 0xB0, 0xB1, 0xC0, 0xC1))
_ALWAYS = frozenset((0x86, 0x87, 0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3))


def is_canonical(address: int) -> bool:
    """Are bits 63 to 47 all the same."""
    return address >> 47 in (0, 0x1FFFF)


def modifies_memory(code: bytes) -> bool:
    """Does the instruction that `code` begins with read memory, change it and write it back (Intel SDM volume 2,
    appendix A)."""
    at, size = 0, len(code)
    while at < size and code[at] in _PREFIXES:
        at += 1
    if at < size and code[at] & 0xF0 == 0x40:
        at += 1
    two = at < size and code[at] == 0x0F
    at += two
    if at + 1 >= size or code[at + 1] >= 0xC0:
        return False
    op, reg = code[at], code[at + 1] >> 3 & 7
    if two:
        return op in _TWO_BYTE or (op == 0xBA and reg >= 5) or (op == 0xC7 and reg == 1)
    if op < 0x40:
        return op & 7 <= 1 and op >> 3 != 7
    if op in (0x80, 0x81, 0x83):
        return reg != 7
    if op in (0xF6, 0xF7):
        return reg in (2, 3)
    if op in (0xFE, 0xFF):
        return reg <= 1
    return op in _ALWAYS


def instruction_bytes(ram: Ram, root: int, ip: int) -> bytes:
    """Up to LONGEST bytes of code at `ip`, as far as they are mapped."""
    code = b""
    while len(code) < LONGEST:
        va = ip + len(code)
        count = min(PAGE_SIZE - (va & PAGE_SIZE - 1), LONGEST - len(code))
        paddr, _, _ = walk_x86(ram, root, va, FETCH, True)
        if paddr < 0:
            break
        code += ram.read(paddr + (va & PAGE_SIZE - 1), count)
    return code
