# SPDX-License-Identifier: GPL-2.0-or-later
"""The alignment check exception (Intel SDM volume 3, 6.15, #AC), while EFLAGS.AC is set.

An access of up to 8 bytes in user mode must be aligned to its size, one of 10 to 8, one of 16 to 16, as an AMD EPYC
wants it (its manual's volume 2, 8.2.18); environments of the floating-point unit to their words. Operands of SSE that
must always be aligned raise a general protection exception instead (emu/hw/x86_insn.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import capstone
from capstone.x86 import X86_OP_MEM, X86_REG_INVALID, X86_REG_RIP

from emu.hw.x86_insn import decode, wants_alignment

_NO_ACCESS = ("lea", "nop", "prefetch", "clflush", "cldemote", "clwb", "bnd")
_PUSH = ("push", "call", "enter")
_POP = ("pop", "ret", "leave", "iret")
_ALIGNMENT = {2: 2, 4: 4, 8: 8, 10: 8, 16: 16, 28: 4, 108: 4}  # of an access by its size, in bytes

_decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
_decoder.detail = True


def _accesses(code: bytes, ip: int, register: Callable[[str], int]) -> Iterator[tuple[int, int]]:
    """Address and size of what the instruction loads and stores."""
    insn = next(_decoder.disasm(code, ip, 1), None)
    if insn is None:
        return
    name = insn.mnemonic.split()[-1]
    if name.startswith(_NO_ACCESS):
        return
    for operand in insn.operands:
        if operand.type != X86_OP_MEM:
            continue
        memory = operand.mem
        address = memory.disp
        if memory.base == X86_REG_RIP:
            address += ip + insn.size
        elif memory.base != X86_REG_INVALID:
            address += register(insn.reg_name(memory.base))
        if memory.index != X86_REG_INVALID:
            address += register(insn.reg_name(memory.index)) * memory.scale
        if memory.segment != X86_REG_INVALID and insn.reg_name(memory.segment) in ("fs", "gs"):
            address += register(insn.reg_name(memory.segment) + "_base")
        yield address, operand.size
    word = 2 if 0x66 in insn.prefix else 8
    if name.startswith(_PUSH):
        yield register("rsp") - word, word
    elif name.startswith(_POP):
        yield register("rbp" if name == "leave" else "rsp"), word


def misaligned(code: bytes, ip: int, register: Callable[[str], int]) -> bool:
    """Does the instruction `code` at `ip` raise the exception; `register` reads a register by its name, FS's base by
    fs_base."""
    known = decode(code)
    alignment: int | None = None  # where the size that capstone gives is not what counts
    if known is not None and known.memory:
        group = known.modrm >> 3 & 7
        if wants_alignment(known):
            return False
        match known.map, known.op:
            case 1, 0xAE if group < 2:  # FXSAVE, FXRSTOR: then a general protection exception
                alignment = 4
            case 1, 0xAE if group >= 4:  # XSAVE and its like: the engine raises a general protection exception
                return False
            case 1, 0xC7 if known.wide or group != 1:  # CMPXCHG16B, XSAVEC: so it does here
                return False
            case 1, 0x2F if known.prefix == 0x66:  # COMISD
                alignment = 8
            case 0, 0xD9 | 0xDD if known.small and group in (4, 6):  # FLDENV, FNSTENV, FRSTOR, FNSAVE
                alignment = 2
    return any(address % (alignment or _ALIGNMENT.get(size, 1)) for address, size in _accesses(code, ip, register))
