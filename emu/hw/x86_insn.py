# SPDX-License-Identifier: GPL-2.0-or-later
"""What the machine must know of x86-64 instructions (Intel SDM volume 2, appendix A).

Which ones write the memory that they read: the hardware asks for such an access as a write from the start, so that it
faults once and as a write; Unicorn loads first and stores later. And which ones want their operand aligned, which
Unicorn does not look at. The twins in C are in _x86_insn.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.hw.mmu import FETCH, walk_x86
from emu.hw.ram import PAGE_SIZE, Ram

LONGEST = 15  # bytes of an instruction
TRAP_GP = 13  # general protection
NO_REGISTER, RIP = -1, 16
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


def _set(*parts: int | tuple[int, int]) -> frozenset[int]:
    """Of numbers and of ranges, both ends included."""
    ranges = [(part, part) if isinstance(part, int) else part for part in parts]
    return frozenset(value for low, high in ranges for value in range(low, high + 1))


_MODRM = (
    _set((0x80, 0x8F), (0xD0, 0xD3), (0xD8, 0xDF), 0x63, 0x69, 0x6B, 0xC0, 0xC1, 0xC6, 0xC7, 0xF6, 0xF7, 0xFE, 0xFF)
    | {op for op in range(0x40) if op & 7 < 4},
    _set((0, 0xFF))
    - _set(
        (0x04, 0x0C), 0x0E, (0x24, 0x27), (0x30, 0x3F), 0x77, (0x80, 0x8F), (0xA0, 0xA2), (0xA6, 0xAA), (0xC8, 0xCF)
    ),
    _set((0, 0xFF)),
    _set((0, 0xFF)),
)
_UNKNOWN = (
    _set(0x60, 0x61, 0x62, 0x82, 0x9A, 0xC4, 0xC5, (0xD4, 0xD6), 0xEA) | {op for op in range(0x40) if op & 7 >= 6},
    _set(0x04, 0x0A, 0x0C, (0x24, 0x27), 0x36, (0x39, 0x3F), 0xA6, 0xA7),
)
_BYTE = (
    _set((0x70, 0x7F), (0xB0, 0xB7), (0xE0, 0xE7), 0x6A, 0x6B, 0x80, 0x83, 0xA8, 0xC0, 0xC1, 0xC6, 0xCD, 0xEB)
    | {op for op in range(0x40) if op & 7 == 4},
    _set(0x0F, (0x70, 0x73), 0xA4, 0xAC, 0xBA, 0xC2, (0xC4, 0xC6)),
    _set(),
    _set((0, 0xFF)),
)
_WORD = _set(0x68, 0x69, 0x81, 0xA9, 0xC7) | {op for op in range(0x40) if op & 7 == 5}

_MODIFY_ALWAYS = _set(0x86, 0x87, 0xC0, 0xC1, (0xD0, 0xD3))
_MODIFY_0F = _set(0xA4, 0xA5, 0xAC, 0xAD, 0xAB, 0xB3, 0xBB, 0xB0, 0xB1, 0xC0, 0xC1)

_ALIGNED_PLAIN_OR_66 = _set(0x14, 0x15, 0x28, 0x29, 0x2B, 0x51, (0x54, 0x59), (0x5B, 0x5F), 0xC2, 0xC6)
_ALIGNED = {  # by map and prefix
    (1, 0): _ALIGNED_PLAIN_OR_66 | _set(0x52, 0x53),
    (1, 0x66): (
        _ALIGNED_PLAIN_OR_66
        | _set(0x2C, 0x2D, 0x5A, (0x60, 0x6D), 0x6F, 0x70, (0x74, 0x76), 0x7C, 0x7D, 0x7F, (0xD0, 0xD5), (0xD8, 0xFE))
    )
    - {0xF0, 0xF7},
    (1, 0xF2): _set(0x70, 0x7C, 0x7D, 0xD0, 0xE6),
    (1, 0xF3): _set(0x12, 0x16, 0x5B, 0x70),
    (2, 0): _set((0xC8, 0xCD)),
    (2, 0x66): _set((0x00, 0x0B), 0x10, 0x14, 0x15, 0x17, (0x1C, 0x1E), (0x28, 0x2B), (0x37, 0x41), 0xCF, (0xDB, 0xDF)),
    (3, 0): _set(0xCC),
    (3, 0x66): _set(0x08, 0x09, (0x0C, 0x0F), (0x40, 0x42), 0x44, 0xCE, 0xCF, 0xDF),
}
_NO_GENERAL_REGISTER = _set((0x10, 0x17), 0x6F, 0x7F, 0xD6)  # of map 1
_SEVERAL_REGISTERS = (_set(0xF6, 0xF7, 0xFF, 0x8F, (0xD0, 0xDF)), _set(0x00, 0x01, 0xB0, 0xB1, 0xC7, 0xAE))


@dataclass(slots=True)
class Instruction:
    """struct x86_insn of _x86_insn.h."""

    size: int = 0  # bytes
    map: int = 0  # 0: one byte of opcode, 1: 0F, 2: 0F 38, 3: 0F 3A
    op: int = 0
    prefix: int = 0  # F3 or F2, else 66, else 0
    segment: int = 0  # 0x64 FS, 0x65 GS, 0
    narrow: bool = False  # addresses are of 32 bits
    wide: bool = False  # REX.W
    small: bool = False  # operands are of 16 bits: 66 without REX.W
    modrm: int = -1  # that byte
    reg: int = 0  # numbers of registers with what REX adds
    rm: int = 0
    base: int = NO_REGISTER  # of the memory operand: a register, or RIP
    index: int = NO_REGISTER
    shift: int = 0  # of the index
    displacement: int = 0
    immediate: int = 0  # of up to four bytes

    @property
    def memory(self) -> bool:
        """Does the ModRM byte name memory."""
        return 0 <= self.modrm < 0xC0


def is_canonical(address: int) -> bool:
    """Are bits 63 to 47 all the same."""
    return address >> 47 in (0, 0x1FFFF)


def _immediate(insn: Instruction) -> int:
    """Bytes of immediate operands; -1: an opcode that 64-bit mode does not have, or one of VEX, EVEX, XOP and SSE4a."""
    op, reg, word = insn.op, insn.modrm >> 3 & 7, 2 if insn.small else 4
    if insn.map < 2 and op in _UNKNOWN[insn.map]:
        return -1
    if insn.map == 1:
        if 0x80 <= op <= 0x8F:
            return 4
        if op == 0x78 and insn.prefix:
            return -1
    if op in _BYTE[insn.map]:
        return 1
    if insn.map:
        return 0
    if op == 0x8F:
        return -1 if reg else 0
    if op in _WORD:
        return word
    if op in (0xC2, 0xCA):
        return 2
    if op == 0xC8:
        return 3
    if op in (0xE8, 0xE9):
        return 4
    if op in (0xF6, 0xF7):
        return 0 if reg >= 2 else 1 if op == 0xF6 else word
    if 0xA0 <= op <= 0xA3:
        return 4 if insn.narrow else 8
    if 0xB8 <= op <= 0xBF:
        return 8 if insn.wide else word
    return 0


def decode(code: bytes) -> Instruction | None:
    """The instruction that `code` begins with; None: cut off, or not known."""
    insn = Instruction()
    at, size, rex, operand, repeat = 0, min(len(code), LONGEST), 0, 0, 0
    while at < size and (code[at] in _PREFIXES or code[at] & 0xF0 == 0x40):
        byte = code[at]
        at += 1
        rex = byte if byte & 0xF0 == 0x40 else 0  # counts only right before the opcode
        if byte == 0x66:
            operand = byte
        elif byte == 0x67:
            insn.narrow = True
        elif byte in (0xF2, 0xF3):
            repeat = byte
        elif byte in (0x64, 0x65):
            insn.segment = byte
    insn.prefix = repeat or operand
    insn.wide = rex & 8 != 0
    insn.small = operand != 0 and not insn.wide
    if at < size and code[at] == 0x0F:
        at += 1
        insn.map = 1
        if at < size and code[at] in (0x38, 0x3A):
            insn.map = 2 if code[at] == 0x38 else 3
            at += 1
    if at >= size:
        return None
    insn.op = code[at]
    at += 1
    if insn.op in _MODRM[insn.map]:
        if at >= size:
            return None
        modrm = insn.modrm = code[at]
        at += 1
        mod, rm = modrm >> 6, modrm & 7
        count = {1: 1, 2: 4}.get(mod, 0)
        insn.reg = modrm >> 3 & 7 | rex << 1 & 8
        insn.rm = rm | rex << 3 & 8
        if mod != 3:
            insn.base = insn.rm
            if rm == 4:
                if at >= size:
                    return None
                sib = code[at]
                at += 1
                index = sib >> 3 & 7 | rex << 2 & 8
                insn.shift = sib >> 6
                insn.index = NO_REGISTER if index == 4 else index
                insn.base = sib & 7 | rex << 3 & 8
                if sib & 7 == 5 and mod == 0:
                    insn.base = NO_REGISTER
                    count = 4
            elif rm == 5 and mod == 0:
                insn.base = RIP
                count = 4
            if at + count > size:
                return None
            insn.displacement = int.from_bytes(code[at : at + count], "little", signed=True)
            at += count
    count = _immediate(insn)
    if count < 0 or at + count > size:
        return None
    if count in (1, 4):
        insn.immediate = int.from_bytes(code[at : at + count], "little", signed=True)
    insn.size = at + count
    return insn


def modifies_memory(code: bytes) -> bool:
    """Does the instruction that `code` begins with read memory, change it and write it back."""
    insn = decode(code)
    if insn is None or not insn.memory or insn.map >= 2:
        return False
    op, reg = insn.op, insn.modrm >> 3 & 7
    if insn.map:
        return op in _MODIFY_0F or (op == 0xBA and reg >= 5) or (op == 0xC7 and reg == 1)
    if op < 0x40:
        return op & 7 <= 1 and op >> 3 != 7
    if op in (0x80, 0x81, 0x83):
        return reg != 7
    if op in (0xF6, 0xF7):
        return reg in (2, 3)
    if op in (0xFE, 0xFF):
        return reg <= 1
    return op in _MODIFY_ALWAYS


def wants_alignment(insn: Instruction) -> bool:
    """Is a general protection exception raised where its operand of 16 bytes in memory is not aligned (volume 2, 2.4:
    the exceptions of types 1, 2 and 4)."""
    return insn.memory and insn.op in _ALIGNED.get((insn.map, insn.prefix), ())


def _is_or_holds(reg: int, number: int) -> bool:
    """Numbers 4 to 7 are AH to BH as well, which lie in the first four."""
    return reg == number or (4 <= number <= 7 and reg == number - 4)


def may_write(insn: Instruction, reg: int) -> bool:
    """May it write the general register `reg`? False is certain."""
    op = insn.op
    if insn.modrm < 0:
        if insn.map == 0 and 0x50 <= op <= 0x5F:  # PUSH, POP
            return reg == 4 or (op >= 0x58 and reg & 7 == op & 7)
        if insn.map == 0 and 0xB0 <= op <= 0xBF:  # MOV
            return reg & 3 == op & 3
        return True
    if wants_alignment(insn) or (insn.map == 1 and op in _NO_GENERAL_REGISTER):
        return False
    if op in _SEVERAL_REGISTERS[insn.map > 0]:
        return True
    return _is_or_holds(reg, insn.reg) or (not insn.memory and _is_or_holds(reg, insn.rm))


def adds(insn: Instruction) -> tuple[int, int] | None:
    """Does it add a constant to a general register, of 64 bits, and change no other: that register, and what is
    added."""
    if insn.map:
        return None
    group = insn.modrm >> 3 & 7
    if 0x50 <= insn.op <= 0x57 and not insn.small:  # PUSH
        return 4, -8
    if insn.wide and insn.op in (0x81, 0x83) and insn.modrm >= 0xC0 and group in (0, 5):
        return insn.rm, -insn.immediate if group else insn.immediate
    if insn.wide and insn.op == 0x8D and insn.base == insn.reg and insn.index < 0 and not insn.narrow:  # LEA
        return insn.reg, insn.displacement
    return None


def mapped_bytes(ram: Ram, root: int, at: int, size: int, access: int) -> bytes:
    """What a program's access to `size` bytes at `at` finds, as far as they are mapped."""
    found = b""
    while len(found) < size:
        va = at + len(found)
        count = min(PAGE_SIZE - (va & PAGE_SIZE - 1), size - len(found))
        paddr, _, _ = walk_x86(ram, root, va, access, True)
        if paddr < 0:
            break
        found += ram.read(paddr + (va & PAGE_SIZE - 1), count)
    return found


def instruction_bytes(ram: Ram, root: int, ip: int) -> bytes:
    """Up to LONGEST bytes of code at `ip`."""
    return mapped_bytes(ram, root, ip, LONGEST, FETCH)


def reaches_beyond_page(ram: Ram, root: int, ip: int) -> int:
    """Where the first instruction begins, of those from `ip` on that follow each other, that does not lie within the
    page of `ip`, or is not known."""
    code = mapped_bytes(ram, root, ip, PAGE_SIZE - (ip & PAGE_SIZE - 1), FETCH)
    at = 0
    while at < len(code) and (insn := decode(code[at : at + LONGEST])) is not None:
        at += insn.size
    return ip + at
