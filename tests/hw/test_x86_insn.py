# SPDX-License-Identifier: GPL-2.0-or-later
"""Which x86 instructions write the memory that they read: C, Python and capstone agree."""

from __future__ import annotations

import capstone
import pytest
from capstone.x86 import X86_OP_MEM
from hypothesis import given
from hypothesis import strategies as st

from emu.hw.native import library
from emu.hw.x86_insn import modifies_memory

# Capstone calls their memory operand read only.
OMITTED = ("rol", "ror", "rcl", "rcr", "cmpxchg", "cmpxchg8b", "cmpxchg16b")
PREFIXES = (b"", b"\x66", b"\xf0", b"\x64", b"\x67", b"\x48", b"\x66\x41", b"\xf2")
GENERAL = [bytes([op]) for op in range(256) if op not in (0x62, 0xC4, 0xC5, 0x0F)]
GENERAL += [bytes([0x0F, op]) for op in range(256) if op not in (0x38, 0x3A)]


@pytest.mark.fuzz
@given(st.binary(min_size=0, max_size=15))
def test_c_and_python_agree(code: bytes) -> None:
    assert library is not None
    assert bool(library.mmscope_modifies_memory(code, len(code)) & 0xFF) == modifies_memory(code)


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
