# SPDX-License-Identifier: GPL-2.0-or-later
"""Misaligned operands of SSE are found where they are, however the block looks and whatever was there before."""

from __future__ import annotations

import ctypes
import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archs.x86.cpu import GENERAL, MODEL
from emu.hw.engine import Engine, Stop
from emu.hw.ram import Ram
from emu.hw.x86_watch import _search

CODE, OTHER, DATA, STACK, END = 0x10000, 0x11000, 0x20000, 0x30000, 0x40000  # addresses, virtual
PRESENT = 0x67  # present, writable, user, accessed, dirty
ORDER = (13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7)  # where in GENERAL the register of each number is
SYSCALL = b"\x0f\x05"

_rams: list[Ram] = []


def _ram() -> Ram:
    """Sixty-four pages at 64 KiB, mapped to frames of the same address; the page tables lie below."""
    if not _rams:
        ram = Ram(1 << 20)
        for table, slot, entry in ((0x1000, 0, 0x2000), (0x2000, 0, 0x3000), (0x3000, 0, 0x4000)):
            ram.write(table + 8 * slot, struct.pack("<Q", entry | PRESENT))
        for page in range(CODE, END, 0x1000):
            ram.write(0x4000 + 8 * (page >> 12), struct.pack("<Q", page | PRESENT))
        _rams.append(ram)
    return _rams[0]


class _Machine:
    def __init__(self, native: bool) -> None:
        self.engine = Engine(MODEL, _ram(), native=native, serve_inside=False)
        self.engine.root = 0x1000
        self.general = self.engine.batch(GENERAL)

    def load(self, code: bytes, at: int = CODE) -> None:
        self.engine.ram.write(at, code)
        self.engine.invalidate_code(at >> 12)

    def set(self, registers: list[int], pc: int) -> None:
        values = [0] * 18
        for number, value in enumerate(registers):
            values[ORDER[number]] = value
        values[16], values[17] = pc, 0x202
        self.general.write(values)

    def outcome(self, stop: Stop) -> tuple[object, ...]:
        engine = self.engine
        number = engine.trap_number if stop is Stop.TRAP else engine.fault_address if stop is Stop.FAULT else None
        return stop, number, engine.pc, self.general.read()[:16], engine.retired()

    def run(self, registers: list[int], pc: int = CODE) -> tuple[object, ...]:
        self.engine._state.count = self.engine._state.retired = 0
        self.set(registers, pc)
        return self.outcome(self.engine.run(pc, 10_000))

    def step(self, registers: list[int], pc: int = CODE) -> tuple[object, ...]:
        """The same, one instruction after the other, each of which is asked about."""
        self.set(registers, pc)
        with self.engine.stepping():
            for _ in range(10_000):
                stop = self.engine.step(pc)
                if stop is not None:
                    break
                pc = self.engine.pc
            else:
                stop = Stop.BUDGET
        return self.outcome(stop)


_machines: dict[bool, _Machine] = {}


def machine(native: bool) -> _Machine:
    if native not in _machines:
        _machines[native] = _Machine(native)
    return _machines[native]


def registers(**named: int) -> list[int]:
    values = [DATA + 0x800] * 16
    values[4] = STACK + 0x800
    for name, value in named.items():
        values[["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"].index(name)] = value
    return values


CASES = {
    "operand of the first instruction": (b"\x0f\x28\x00", {"rax": DATA + 8}, 0),  # movaps xmm0, [rax]
    "behind one that runs": (b"\xff\xc1\x0f\x28\x00", {"rax": DATA + 4}, 2),  # inc ecx
    "base that the block loads": (b"\x48\x89\xc8\x0f\x29\x00", {"rcx": DATA + 1}, 3),  # mov rax, rcx; movaps
    "base that the block adds to": (b"\x48\x83\xc0\x08\x66\x0f\xfe\x00", {}, 4),  # add rax, 8; paddd xmm0, [rax]
    "base that LEA adds to": (b"\x48\x8d\x40\x08\x0f\x28\x00", {}, 4),
    "stack after a push": (b"\x50\x0f\x29\x44\x24\xe0", {}, 1),  # push rax; movaps [rsp-32], xmm0
    "byte register that is part of the base": (b"\xb4\x11\xb0\x08\x0f\x28\x00", {}, 4),  # mov ah, 0x11; mov al, 8
    "index": (b"\x0f\x28\x04\x4b", {"rcx": 4, "rbx": DATA}, 0),  # movaps xmm0, [rbx+rcx*2]
    "index with a factor": (b"\x0f\x28\x44\x4b\x08", {"rcx": 8, "rbx": DATA}, 0),
    "before one that is checked ahead": (
        b"\x48\x89\xca\x0f\x28\x02\x0f\x28\x00", {"rcx": DATA + 8, "rax": DATA + 8}, 3,
    ),
    "index that the block adds to": (b"\x48\x83\xc1\x08\x0f\x28\x44\x4b\x08", {"rcx": 0, "rbx": DATA}, 4),
    "address of 32 bits": (b"\x67\x0f\x28\x00", {"rax": 0x1_0000_0000 | DATA + 8}, 0),
    "relative to the instruction": (b"\x0f\x28\x05\x01\x00\x01\x00", {}, 0),
    "second of two operands": (b"\x0f\x28\x00\x0f\x28\x49\x04", {}, 3),
    "the fifth of five": (b"".join(b"\x0f\x28\x40" + bytes([i]) for i in (0, 16, 32, 48, 8)), {}, 16),
    "more operands than are checked ahead": (
        b"\x0f\x28\x00\x0f\x28\x09\x0f\x28\x12\x0f\x28\x1b\x0f\x28\x26\x0f\x28\x2f\x0f\x28\x6d\x08", {}, 18,
    ),
    "where there is no page": (b"\x0f\x28\x00", {"rax": END + 0x8008}, 0),
}  # fmt: skip


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_misaligned(name: str, native: bool) -> None:
    code, named, offset = CASES[name]
    m = machine(native)
    m.load(code + SYSCALL)
    start = registers(**named)
    for _ in range(2):
        stop, number, pc, _, retired = m.run(start)
        assert (stop, number, pc, retired) == (Stop.TRAP, 13, CODE + offset, offset)


@pytest.mark.parametrize("native", [True, False])
def test_aligned_operands_raise_nothing(native: bool) -> None:
    m = machine(native)
    m.load(b"\x0f\x28\x00\x50\x0f\x29\x44\x24\xe8\x0f\x10\x41\x01" + SYSCALL)  # the last one is movups
    stop, number, pc, _, _ = m.run(registers())
    assert (stop, number, pc) == (Stop.TRAP, -1, CODE + 15)


@pytest.mark.parametrize("native", [True, False])
def test_a_loop_comes_to_it_late(native: bool) -> None:
    """From DATA on in steps of 16, and the fifth one of 8."""
    m = machine(native)
    # loop: movaps xmm0, [rax]; add rax, 16; dec rcx; jnz loop; sub rax, 8; mov rcx, 3; jmp loop
    m.load(bytes.fromhex("0f2800 4883c010 48ffc9 75f4 4883e808 48c7c103000000 ebe7"))
    stop, number, pc, values, _ = m.run(registers(rax=DATA, rcx=4))
    assert (stop, number, pc) == (Stop.TRAP, 13, CODE)
    assert values[ORDER[0]] == DATA + 64 - 8


# Two pages of code for the same address, and the register whose value each wants to be aligned: movaps of what RAX or
# RCX points to, checked as the block begins; movaps of [rdx] or [rdx+8] after RDX has got its value.
PAGES = {
    "ahead": ((b"\x0f\x28\x00", {"rax": 8}), (b"\x0f\x28\x01", {"rcx": 8})),
    "asked": ((b"\x48\x89\xca\x0f\x28\x02", {"rcx": 8}), (b"\x48\x89\xca\x0f\x28\x42\x08", {"rcx": 0})),
}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", PAGES)
def test_other_code_at_the_same_address(name: str, native: bool) -> None:
    """One page of code is mapped, then another, then the first again, whose translation is still there."""
    m = machine(native)
    engine = m.engine
    slot = 0x4000 + 8 * (CODE >> 12)
    at = 0x800 + 0x100 * list(PAGES).index(name)  # where no block of another test began
    pages = dict(zip((CODE, OTHER), PAGES[name], strict=True))
    for page, (code, _) in pages.items():
        m.load(code + SYSCALL, page + at)

    def run(page: int, wrong: bool) -> object:
        engine.ram.write(slot, struct.pack("<Q", page | PRESENT))
        engine.flush_tlb()
        named = {register: DATA + (value if wrong else value ^ 8) for register, value in pages[page][1].items()}
        return m.run(registers(**named), CODE + at)[1]

    try:
        assert [run(page, False) for page in (CODE, OTHER, CODE)] == [-1, -1, -1]
        assert [run(page, True) for page in (OTHER, CODE, OTHER)] == [13, 13, 13]
    finally:
        engine.ram.write(slot, struct.pack("<Q", CODE | PRESENT))
        engine.flush_tlb()


_REGISTER = st.integers(0, 15)
_SMALL = st.integers(-64, 63)


@st.composite
def _operand(draw: st.DrawFn) -> tuple[int, bytes]:
    """REX bits and ModRM (the register field empty) with what follows it."""
    base, index, scale, displacement = draw(_REGISTER), draw(_REGISTER), draw(st.integers(0, 3)), draw(_SMALL)
    rest = struct.pack("<b", displacement)
    if base & 7 == 4 or draw(st.booleans()):
        return base >> 3 | index >> 3 << 1, bytes([0x44, scale << 6 | (index & 7) << 3 | base & 7]) + rest
    return base >> 3, bytes([0x40 | base & 7]) + rest


@st.composite
def _instruction(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 9))
    reg, other = draw(_REGISTER), draw(_REGISTER)
    rex, operand = draw(_operand())
    named = bytes([operand[0] | (reg & 7) << 3]) + operand[1:]
    full = 0x40 | rex | (reg >> 3) << 2
    if kind < 3:
        opcode = draw(st.sampled_from([b"\x28", b"\x29", b"\x58", b"\x10", b"\x11"]))
        return bytes([full, 0x0F]) + opcode + named
    if kind == 3:
        return b"\x66" + bytes([full, 0x0F]) + draw(st.sampled_from([b"\x6f", b"\x7f", b"\xfe", b"\xd6"])) + named
    if kind == 4:  # add or sub reg, constant
        return bytes([0x48 | reg >> 3, 0x83, draw(st.sampled_from([0xC0, 0xE8])) | reg & 7, draw(st.integers(0, 63))])
    if kind == 5:
        return bytes([0x48 | full & 7, 0x8D]) + named  # lea
    if kind == 6:
        return bytes([0x40 | reg >> 3, 0x50 | reg & 7])  # push
    if kind == 7:  # mov reg, other
        return bytes([0x48 | (reg >> 3) << 2 | other >> 3, 0x8B, 0xC0 | (reg & 7) << 3 | other & 7])
    if kind == 8:
        return bytes([0xB0 | reg & 7, draw(st.integers(0, 255))])  # mov of a byte register
    return bytes([0x40 | full & 7, 0x8B]) + named  # mov of 32 bits from memory


@pytest.mark.fuzz
@given(
    st.lists(_instruction(), min_size=1, max_size=12),
    st.lists(st.integers(0, 0x2000).map(lambda at: DATA + 0x4000 + at) | st.integers(0, 64), min_size=16, max_size=16),
    st.booleans(),
)
def test_as_when_each_instruction_is_asked_about(code: list[bytes], values: list[int], aligned: bool) -> None:
    start = [value & ~15 if aligned else value for value in values]
    start[4] = STACK + 0x800
    outcomes = []
    for native in (True, False):
        m = machine(native)
        for step in (False, True):
            m.load(b"".join(code) + SYSCALL)
            m.engine.ram.write(DATA, bytes(0x10000))
            outcomes.append((m.step if step else m.run)(start)[:4])
    assert outcomes[1:] == outcomes[:-1]


def test_registers_are_found_across_two_mappings() -> None:
    """The host's memory is in two mappings there, as it is after a fork: they differ in nothing that matters."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_DONTFORK, mmap.PAGESIZE, mmap.PAGESIZE)
    pattern = bytes(range(1, 129))
    at = mmap.PAGESIZE - 64
    memory[at : at + 128] = pattern
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert list(_search([0, start], pattern)) == [(1, at)]
    assert not list(_search([start + at + 1], pattern))
