# SPDX-License-Identifier: GPL-2.0-or-later
"""The instruction at an address, disassembled, and what its operands say about the address that faulted.

Registers are not in the trace. An operand that does not need them (relative to the instruction, or absolute) is
resolved; of one with a single register the register is derived from the address; of any other the sum is all that can
be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import capstone as cs

_MODES = {
    "x86_64": (cs.CS_ARCH_X86, cs.CS_MODE_64),
    "aarch64": (cs.CS_ARCH_ARM64, cs.CS_MODE_LITTLE_ENDIAN),
    "powerpc64": (cs.CS_ARCH_PPC, cs.CS_MODE_64 | cs.CS_MODE_BIG_ENDIAN),
    "powerpc64le": (cs.CS_ARCH_PPC, cs.CS_MODE_64 | cs.CS_MODE_LITTLE_ENDIAN),
    "powerpc": (cs.CS_ARCH_PPC, cs.CS_MODE_32 | cs.CS_MODE_BIG_ENDIAN),
}
LONGEST = {"x86_64": 15}  # bytes; all other instructions have 4
PAGE = 4096


@dataclass(frozen=True)
class Operand:
    """An address in memory as an instruction forms it. `known`: it needs no register."""

    text: str
    known: int | None
    registers: tuple[str, ...]
    offset: int  # what is added to the registers
    size: int  # bytes, 0 = not known


@dataclass(frozen=True)
class Instruction:
    """A disassembled instruction."""

    address: int
    code: bytes
    text: str
    operands: tuple[Operand, ...]


def disassemble(arch: str, address: int, code: bytes) -> Instruction | None:
    """The instruction at an address; None where the architecture or the bytes are unknown."""
    if arch not in _MODES or not code:
        return None
    machine = cs.Cs(*_MODES[arch])
    machine.detail = True
    found = next(machine.disasm(code[: LONGEST.get(arch, 4)], address, 1), None)
    if found is None:
        return None
    operands = {"x86_64": _x86, "aarch64": _arm64}.get(arch, _powerpc)(found)
    text = f"{found.mnemonic} {found.op_str}".strip()
    return Instruction(address, bytes(found.bytes), text, tuple(operands))


def _signed(value: int) -> str:
    return f" - {-value:#x}" if value < 0 else f" + {value:#x}" if value else ""


def _x86(found: Any) -> list[Operand]:
    operands = []
    for each in found.operands:
        if each.type != cs.x86.X86_OP_MEM:
            continue
        memory = each.mem
        names = []
        if memory.segment in (cs.x86.X86_REG_FS, cs.x86.X86_REG_GS):
            names.append(f"{found.reg_name(memory.segment)} base")
        known = None
        if memory.base == cs.x86.X86_REG_RIP:
            known = found.address + found.size + memory.disp
        else:
            if memory.base:
                names.append(found.reg_name(memory.base))
            if memory.index:
                scale = f" * {memory.scale}" if memory.scale != 1 else ""
                names.append(f"{found.reg_name(memory.index)}{scale}")
            if not names:
                known = memory.disp & (1 << 64) - 1
        text = f"rip{_signed(memory.disp)}" if memory.base == cs.x86.X86_REG_RIP else _sum(names, memory.disp)
        operands.append(Operand(text, known, tuple(names), memory.disp, each.size))
    if not operands and found.mnemonic in ("push", "call"):
        operands.append(Operand("rsp - 0x8", None, ("rsp",), -8, 8))
    if not operands and found.mnemonic in ("pop", "ret", "leave"):
        name = "rbp" if found.mnemonic == "leave" else "rsp"
        operands.append(Operand(name, None, (name,), 0, 8))
    return operands


def _sum(names: list[str], offset: int) -> str:
    return " + ".join(names) + _signed(offset) if names else f"{offset:#x}"


def _arm64(found: Any) -> list[Operand]:
    operands = []
    for each in found.operands:
        if each.type == cs.arm64.ARM64_OP_MEM:
            memory = each.mem
            names = [found.reg_name(memory.base)] if memory.base else []
            if memory.index:
                shift = f" << {each.shift.value}" if each.shift.value else ""
                names.append(found.reg_name(memory.index) + shift)
            size = 1 if found.mnemonic.endswith("b") else 0
            operands.append(Operand(_sum(names, memory.disp), None, tuple(names), memory.disp, size))
    if not operands and found.mnemonic.startswith("ldr"):
        for each in found.operands:
            if each.type == cs.arm64.ARM64_OP_IMM:
                operands.append(Operand(f"pc{_signed(each.imm - found.address)}", each.imm, (), 0, 0))
    return operands


def _powerpc(found: Any) -> list[Operand]:
    operands = []
    size = 1 if found.mnemonic.startswith(("stb", "lbz")) else 0
    for each in found.operands:
        if each.type == cs.ppc.PPC_OP_MEM:
            name = found.reg_name(each.mem.base) if each.mem.base else ""
            names: tuple[str, ...] = (name,) if name and name != "0" else ()
            known = None if names else each.mem.disp & (1 << 64) - 1
            operands.append(Operand(_sum(list(names), each.mem.disp), known, names, each.mem.disp, size))
    indexed = found.mnemonic.endswith("x") and found.mnemonic[:2] in ("ld", "lw", "lh", "lb", "st", "lf", "lv", "lx")
    cache = found.mnemonic.startswith(("dcb", "icb"))
    if not operands and (indexed or cache or found.mnemonic in ("lwarx", "ldarx", "stwcx.", "stdcx.")):
        names = tuple(found.reg_name(each.reg) for each in found.operands if each.type == cs.ppc.PPC_OP_REG)[-2:]
        names = tuple(name for name in names if name != "0")
        operands.append(Operand(_sum(list(names), 0), None, names, 0, size))
    return operands


def resolve(instruction: Instruction, fault: int) -> list[str]:
    """What the operands say about the address that faulted, a line each. Honest about what is not known."""
    lines = []
    end = instruction.address + len(instruction.code)
    fetch = instruction.address <= fault < end or fault == end - 1 & -PAGE
    for operand in instruction.operands:
        lines.append(f"[{operand.text}] {_against(operand, fault)}")
    if not instruction.operands:
        if fetch:
            return [f"{fault:#x} is the address of the instruction itself"]
        return [f"no operand in memory is known of this instruction; it touched {fault:#x}"]
    if len(instruction.operands) > 1:
        lines.append("which of them faulted cannot be told without the registers")
    return lines


def _against(operand: Operand, fault: int) -> str:
    if operand.known is not None:
        size = operand.size or 16
        if operand.known == fault:
            return f"= {fault:#x}, which is what faulted"
        if operand.known < fault < operand.known + size and fault % PAGE == 0:
            return f"= {operand.known:#x}; its end, in the next page, is what faulted ({fault:#x})"
        return f"= {operand.known:#x}, which is not what faulted ({fault:#x})"
    if len(operand.registers) == 1:
        value = fault - operand.offset & (1 << 64) - 1
        text = f"= {fault:#x}, so {operand.registers[0]} was {value:#x} (derived: registers are not recorded)"
    else:
        text = f"= {fault:#x}; what each of {' and '.join(operand.registers)} was is not recorded"
    if fault % PAGE == 0 and operand.size != 1:
        text += ", unless the access began in the page before"
    return text
