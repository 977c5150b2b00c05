# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of x86 instructions: C, Python and capstone agree."""

from __future__ import annotations

import ctypes
import dataclasses

import capstone
import pytest
from capstone.x86 import X86_OP_MEM
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from emu.hw.native import library
from emu.hw.x86_insn import (
    NO_REGISTER,
    RIP,
    Instruction,
    adds,
    decode,
    may_write,
    modifies_memory,
    wants_alignment,
)
from tests.guests import guest

# Capstone calls their memory operand read only.
OMITTED = ("rol", "ror", "rcl", "rcr", "cmpxchg", "cmpxchg8b", "cmpxchg16b")
PREFIXES = (b"", b"\x66", b"\xf0", b"\x64", b"\x67", b"\x48", b"\x66\x41", b"\xf2")
GENERAL = [bytes([op]) for op in range(256) if op not in (0x62, 0xC4, 0xC5, 0x0F)]
GENERAL += [bytes([0x0F, op]) for op in range(256) if op not in (0x38, 0x3A)]


FIELDS = [field.name for field in dataclasses.fields(Instruction)]


class _Instruction(ctypes.Structure):
    """struct x86_insn."""

    _fields_ = [(name, ctypes.c_int32) for name in FIELDS]


@pytest.mark.fuzz
@given(st.one_of(st.binary(max_size=16), st.binary(max_size=14).map(lambda code: b"\x0f" + code)))
def test_c_and_python_agree(code: bytes) -> None:
    assert library is not None
    raw = _Instruction()
    known = bool(library.mmscope_decode(code, len(code), ctypes.byref(raw)) & 0xFF)
    insn = decode(code)
    assert known == (insn is not None)
    if insn is None:
        return
    assert {name: getattr(raw, name) for name in FIELDS} == {name: int(getattr(insn, name)) for name in FIELDS}
    assert bool(library.mmscope_modifies_memory(ctypes.byref(raw)) & 0xFF) == modifies_memory(code)
    assert bool(library.mmscope_wants_alignment(ctypes.byref(raw)) & 0xFF) == wants_alignment(insn)
    for reg in range(16):
        assert bool(library.mmscope_may_write(ctypes.byref(raw), reg) & 0xFF) == may_write(insn, reg)
    added = ctypes.c_int()
    register = library.mmscope_adds(ctypes.byref(raw), ctypes.byref(added))
    assert adds(insn) == (None if register < 0 else (register, added.value))


NUMBERS = {
    name: number
    for number, names in enumerate(
        [
            "rax eax ax al ah", "rcx ecx cx cl ch", "rdx edx dx dl dh", "rbx ebx bx bl bh", "rsp esp sp spl",
            "rbp ebp bp bpl", "rsi esi si sil", "rdi edi di dil",
            *(f"r{n} r{n}d r{n}w r{n}b" for n in range(8, 16)),
        ]
    )
    for name in names.split()
}  # fmt: skip


def _text() -> tuple[bytes, int]:
    """Code of a C library and its address."""
    with open(guest("threads"), "rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        return section.data(), section["sh_addr"]


def test_real_code_against_capstone() -> None:
    """Size, operand in memory and registers written of all that a C library consists of."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    code, start = _text()
    checked = added = kept = 0
    for found in decoder.disasm(code, start):
        insn = decode(code[found.address - start :][:15])
        assert insn is not None and insn.size == found.size, f"{found.bytes.hex()} {found.mnemonic} {found.op_str}"
        checked += 1
        named = found.mnemonic + " " + found.op_str
        memory = [op.mem for op in found.operands if op.type == X86_OP_MEM]
        if memory and insn.memory:
            base, index = (found.reg_name(reg) for reg in (memory[0].base, memory[0].index))
            assert insn.base == (NO_REGISTER if base is None else RIP if base == "rip" else NUMBERS[base]), named
            assert insn.index == NUMBERS.get(index, NO_REGISTER), named
            assert insn.displacement == memory[0].disp, named
            assert insn.index == NO_REGISTER or 1 << insn.shift == memory[0].scale, named
        written = {NUMBERS[name] for name in map(found.reg_name, found.regs_access()[1]) if name in NUMBERS}
        change = adds(insn)
        if change is not None:
            assert written == {change[0]}, named
            added += 1
        else:
            assert all(may_write(insn, reg) for reg in written), named
            kept += not all(may_write(insn, reg) for reg in range(16))
    assert checked > 5_000 and added > 300 and kept > 3_000


def test_every_opcode_against_capstone() -> None:
    """Read, changed and written back by one memory operand of the ModRM byte."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    wrong = []
    checked = 0
    for prefix in PREFIXES:
        for opcode in GENERAL:
            for reg in range(8):
                code = prefix + opcode + bytes([reg << 3 | 3]) + bytes(8)  # ModRM: memory at RBX
                found = next(decoder.disasm(code, 0), None)
                if found is None or not found.modrm or found.modrm >> 6 == 3:
                    continue
                memory = [op for op in found.operands if op.type == X86_OP_MEM]
                if len(memory) != 1:
                    continue
                checked += 1
                both = (
                    found.mnemonic.split()[-1] in OMITTED
                    or memory[0].access == capstone.CS_AC_READ | capstone.CS_AC_WRITE
                )
                if modifies_memory(code) != both:
                    wrong.append(f"{code.hex()} {found.mnemonic} {found.op_str}: access {memory[0].access}")
    assert checked > 5000
    assert not wrong, "\n".join([f"{len(wrong)} of {checked}", *wrong[:60]])
