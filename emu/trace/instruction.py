# SPDX-License-Identifier: GPL-2.0-or-later
"""The instruction at an address, disassembled, and what its operands say about the address that faulted.

Where the trace has the registers (`record --user-regs`), each operand in memory is worked out, and the one that faulted
is told. Else an operand that needs none (relative to the instruction, or absolute) is; of one with a single register
the register is derived from the address; of any other the sum is all that can be told.
"""

from __future__ import annotations

from collections.abc import Mapping
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
_MASK = (1 << 64) - 1
_LINE = {"dc": 64, "dcbz": 128, "dcbzl": 128}  # instructions that clear a whole line, aligned
_PAIRS = ("ldp", "stp", "ldnp", "stnp", "ldxp", "ldaxp", "stxp", "stlxp")
_X86_PUSH, _X86_POP = ("push", "call", "lcall", "enter", "pushf"), ("pop", "ret", "popf")


@dataclass(frozen=True)
class Term:
    """A register in an address: its value, cut to `bits` (extended with its sign where `signed`), times `factor`."""

    register: str
    factor: int = 1
    bits: int = 64
    signed: bool = False

    @property
    def text(self) -> str:
        """As an operand shows it."""
        return f"{self.register} * {self.factor}" if self.factor != 1 else self.register

    def value(self, registers: Mapping[str, int]) -> int | None:
        """What it adds; None where the register is not among those recorded."""
        found = registers.get(self.register)
        if found is None:
            return None
        found &= (1 << self.bits) - 1
        if self.signed and found >> self.bits - 1:
            found -= 1 << self.bits
        return found * self.factor


@dataclass(frozen=True)
class Operand:
    """An address in memory as an instruction forms it. `known`: it needs no register."""

    text: str
    known: int | None
    terms: tuple[Term, ...]
    offset: int  # what is added to the registers
    size: int  # bytes, 0 = not known
    line: int = 0  # a whole line of so many bytes, aligned, 0 = no


@dataclass(frozen=True)
class Instruction:
    """A disassembled instruction."""

    address: int
    code: bytes
    text: str
    operands: tuple[Operand, ...]
    bits: int = 64  # of an address


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
    return Instruction(address, bytes(found.bytes), text, tuple(operands), 32 if arch == "powerpc" else 64)


def _signed(value: int) -> str:
    return f" - {-value:#x}" if value < 0 else f" + {value:#x}" if value else ""


def _formed(terms: list[Term], offset: int, size: int, line: int = 0) -> Operand:
    if not terms:
        return Operand(f"{offset & _MASK:#x}", offset & _MASK, (), offset, size, line)
    text = " + ".join(each.text for each in terms) + _signed(offset)
    return Operand(text, None, tuple(terms), offset, size, line)


def _x86(found: Any) -> list[Operand]:
    operands = []
    for each in found.operands:
        if each.type != cs.x86.X86_OP_MEM or found.mnemonic in ("lea", "nop"):
            continue
        memory = each.mem
        if memory.base == cs.x86.X86_REG_RIP:
            known = found.address + found.size + memory.disp
            operands.append(Operand(f"rip{_signed(memory.disp)}", known, (), memory.disp, each.size))
            continue
        terms = []
        if memory.segment in (cs.x86.X86_REG_FS, cs.x86.X86_REG_GS):
            terms.append(Term(f"{found.reg_name(memory.segment)}_base"))
        terms += [_x86_term(found.reg_name(memory.base), 1)] if memory.base else []
        terms += [_x86_term(found.reg_name(memory.index), memory.scale)] if memory.index else []
        operands.append(_formed(terms, memory.disp, each.size))
    name = found.mnemonic.split(" ")[-1]
    if name.startswith(_X86_PUSH):
        operands.append(_formed([Term("rsp")], -8, 8))
    elif name.startswith(_X86_POP):
        operands.append(_formed([Term("rsp")], 0, 8))
    elif name == "leave":
        operands.append(_formed([Term("rbp")], 0, 8))
    return operands


def _x86_term(name: str, factor: int) -> Term:
    """Of an address of 32 bits the register has another name."""
    if name.startswith("e"):
        return Term(f"r{name[1:]}", factor, 32)
    if name.startswith("r") and name.endswith("d"):
        return Term(name[:-1], factor, 32)
    return Term(name, factor)


_ARM64_EXTENDERS = {
    cs.arm64.ARM64_EXT_UXTW: (32, False), cs.arm64.ARM64_EXT_SXTW: (32, True), cs.arm64.ARM64_EXT_SXTX: (64, False),
}  # fmt: skip


def _arm64(found: Any) -> list[Operand]:
    operands = []
    after = found.writeback and "]," in found.op_str  # post-indexed: the register is changed behind the access
    for each in found.operands:
        if each.type == cs.arm64.ARM64_OP_MEM:
            memory = each.mem
            terms = [_arm64_term(found, memory.base)] if memory.base else []
            if memory.index and not after:
                bits, signed = _ARM64_EXTENDERS.get(each.ext, (64, False))
                name = _arm64_term(found, memory.index).register
                terms.append(Term(name, 1 << each.shift.value, bits, signed))
            operands.append(_formed(terms, 0 if after else memory.disp, _arm64_size(found)))
    name = found.mnemonic
    registers = [each.reg for each in found.operands if each.type == cs.arm64.ARM64_OP_REG]
    if not operands and name == "dc" and registers:
        operands.append(_formed([_arm64_term(found, registers[-1])], 0, 64, line=_LINE["dc"]))
    if not operands and name.startswith("ldr"):
        for each in found.operands:
            if each.type == cs.arm64.ARM64_OP_IMM:
                operands.append(Operand(f"pc{_signed(each.imm - found.address)}", each.imm, (), 0, 0))
    return operands


def _arm64_term(found: Any, register: int) -> Term:
    name = found.reg_name(register)
    if name in ("fp", "lr"):
        name = {"fp": "x29", "lr": "x30"}[name]
    return Term(f"x{name[1:]}" if name[0] == "w" and name[1:].isdigit() else name)


def _arm64_size(found: Any) -> int:
    """Bytes that a load or store touches: by the name, else by the registers that it names; 0 = not known."""
    name = found.mnemonic
    if name.rstrip("0123456789") in ("ld", "st") or name.startswith(("ld1", "st1")):
        return 0
    for suffix, size in (("sw", 4), ("b", 1), ("h", 2)):
        if name.endswith(suffix) and not name.startswith("ldp"):
            return size
    first = next((found.reg_name(each.reg) for each in found.operands if each.type == cs.arm64.ARM64_OP_REG), "")
    size = {"w": 4, "x": 8, "q": 16, "d": 8, "s": 4, "h": 2, "b": 1}.get(first[:1], 0)
    return size * 2 if name.startswith(_PAIRS) else size


def _powerpc(found: Any) -> list[Operand]:
    operands = []
    name = found.mnemonic.rstrip(".")
    size = 1 if name.startswith(("stb", "lbz")) else 0
    for each in found.operands:
        if each.type == cs.ppc.PPC_OP_MEM:
            base = found.reg_name(each.mem.base) if each.mem.base else ""
            terms = [Term(base)] if base and base != "0" else []
            operands.append(_formed(terms, each.mem.disp, size))
    indexed = name.endswith("x") and name[:2] in ("ld", "lw", "lh", "lb", "st", "lf", "lv", "lx")
    cache = name.startswith(("dcb", "icb"))
    if not operands and (indexed or cache):
        # The last two words are RA and RB; an RA of 0 stands for no register.
        words = [word.strip() for word in found.op_str.split(",")][-2:]
        terms = [Term(word if word.startswith("r") else f"r{word}") for word in words if word != "0"]
        operands.append(_formed(terms, 0, size, line=_LINE.get(name, 0)))
    return operands


def resolve(instruction: Instruction, fault: int, registers: Mapping[str, int] | None = None) -> list[str]:
    """What the operands say about the address that faulted, a line each. `registers`: at the fault, by their names;
    None = they are not recorded. Honest about what is not known."""
    end = instruction.address + len(instruction.code)
    fetch = instruction.address <= fault < end or fault == end - 1 & -PAGE
    if fetch and not any(reaches(each, instruction, fault, registers) for each in instruction.operands):
        return [f"{fault:#x} is the address of the instruction itself"]
    if not instruction.operands:
        return [f"no operand in memory is known of this instruction; it touched {fault:#x}"]
    if registers is None:
        lines = [f"[{operand.text}] {_derived(operand, fault)}" for operand in instruction.operands]
        if len(instruction.operands) > 1:
            lines.append("which of them faulted cannot be told without the registers (record --user-regs)")
        return lines
    return [f"[{each.text}] {_computed(each, instruction, fault, registers)}" for each in instruction.operands]


def address_of(operand: Operand, instruction: Instruction, registers: Mapping[str, int] | None) -> int | None:
    """Where the operand begins, of an address of that many bits; None: a register of it is not recorded."""
    if operand.known is not None:
        return operand.known & (1 << instruction.bits) - 1
    total = operand.offset
    for term in operand.terms:
        value = term.value(registers or {})
        if value is None:
            return None
        total += value
    total &= (1 << instruction.bits) - 1
    return total & -operand.line if operand.line else total


def reaches(operand: Operand, instruction: Instruction, fault: int, registers: Mapping[str, int] | None) -> bool:
    """Does an access to the operand touch the address: its first byte, or one behind it."""
    start = address_of(operand, instruction, registers)
    return start is not None and start <= fault < start + (operand.size or operand.line or 128)


def _computed(operand: Operand, instruction: Instruction, fault: int, registers: Mapping[str, int]) -> str:
    start = address_of(operand, instruction, registers)
    if start is None:
        missing = " and ".join(each.register for each in operand.terms if each.register not in registers)
        return f"is not known: {missing} is not recorded"
    values = ", ".join(f"{each.register} = {registers[each.register]:#x}" for each in operand.terms)
    text = f"= {start:#x}" + (f", a line of {operand.line} bytes" if operand.line else "")
    if start == fault:
        text += ", which is what faulted"
    elif reaches(operand, instruction, fault, registers):
        text += f"; {fault - start} bytes on, at {fault:#x}, is what faulted"
    else:
        text += f", which is not what faulted ({fault:#x})"
    return f"{text} ({values})" if values else text


def _derived(operand: Operand, fault: int) -> str:
    if operand.known is not None:
        size = operand.size or 16
        if operand.known == fault:
            return f"= {fault:#x}, which is what faulted"
        if operand.known < fault < operand.known + size and fault % PAGE == 0:
            return f"= {operand.known:#x}; its end, in the next page, is what faulted ({fault:#x})"
        return f"= {operand.known:#x}, which is not what faulted ({fault:#x})"
    if operand.line:
        return f"lies in the line of {operand.line} bytes at {fault:#x} (registers are not recorded)"
    if len(operand.terms) == 1 and operand.terms[0].bits == 64 and operand.terms[0].factor == 1:
        value = fault - operand.offset & _MASK
        text = f"= {fault:#x}, so {operand.terms[0].register} was {value:#x} (derived: registers are not recorded)"
    else:
        names = " and ".join(each.text for each in operand.terms)
        text = f"= {fault:#x}; what each of {names} was is not recorded"
    if fault % PAGE == 0 and operand.size != 1:
        text += ", unless the access began in the page before"
    return text
