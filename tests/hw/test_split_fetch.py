# SPDX-License-Identifier: GPL-2.0-or-later
"""A block that goes on in a page that is not there: what comes before runs, the fault is that of the instruction that
gets there."""

from __future__ import annotations

import struct

import pytest

from archs.x86.cpu import GENERAL, MODEL
from emu.hw.engine import Engine, Stop
from emu.hw.ram import Ram

CODE, NEXT, DATA, NOWHERE = 0x10000, 0x11000, 0x20000, 0x30000
PRESENT = 0x67  # present, writable, user, accessed, dirty
INC, STORE, JUMP = b"\xff\xc1", b"\x48\x89\x08", b"\xe9\x00\x00\x00\x00"  # inc ecx; mov [rax], rcx; jmp to what follows
SYSCALL = b"\x0f\x05"
RAX, RCX, RSP, RIP, EFLAGS = 13, 14, 15, 16, 17  # in GENERAL


class _Machine:
    """Code up to the end of a page, the next page of which is not mapped; RCX = 7."""

    def __init__(self, native: bool, code: bytes, reach: int) -> None:
        ram = self.ram = Ram(1 << 20)
        for table, entry in ((0x1000, 0x2000), (0x2000, 0x3000), (0x3000, 0x4000)):
            ram.write(table, struct.pack("<Q", entry | PRESENT))
        for page in (CODE, DATA):
            ram.write(0x4000 + 8 * (page >> 12), struct.pack("<Q", page | PRESENT))
        self.start = NEXT - len(code) + reach
        ram.write(self.start, code + SYSCALL)
        self.engine = Engine(MODEL, ram, native=native, serve_inside=False)
        self.engine.root = 0x1000
        self.general = self.engine.batch(GENERAL)

    def run(self, rax: int = DATA) -> Stop:
        values = [0] * len(GENERAL)
        values[RAX], values[RCX], values[RIP], values[EFLAGS] = rax, 7, self.start, 0x202
        self.general.write(values)
        self.engine._state.count = self.engine._state.retired = 0
        return self.engine.run(self.start, 10_000)

    def map_next(self) -> None:
        self.ram.write(0x4000 + 8 * (NEXT >> 12), struct.pack("<Q", NEXT | PRESENT))


@pytest.fixture(params=[True, False], ids=["native", "pure"])
def native(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("reach", [1, 4])
def test_the_instruction_that_reaches_into_the_page_has_the_fault(native: bool, reach: int) -> None:
    machine = _Machine(native, INC + STORE + JUMP, reach)
    assert machine.run() is Stop.FAULT
    engine = machine.engine
    assert (engine.pc, engine.fault_address) == (machine.start + 5, NEXT)
    assert machine.general.read()[RCX] == 8 and machine.ram.read(DATA, 1) == b"\x08"
    assert engine.retired() == 5


def test_code_that_ends_with_its_page_runs_to_the_end(native: bool) -> None:
    machine = _Machine(native, INC + STORE, 0)
    assert machine.run() is Stop.FAULT
    assert (machine.engine.pc, machine.engine.fault_address) == (NEXT, NEXT)
    assert machine.general.read()[RCX] == 8


def test_a_fault_of_what_comes_before_is_first(native: bool) -> None:
    machine = _Machine(native, INC + STORE + JUMP, 1)
    assert machine.run(NOWHERE) is Stop.FAULT
    assert (machine.engine.pc, machine.engine.fault_address) == (machine.start + 2, NOWHERE)
    assert machine.general.read()[RCX] == 8


def test_once_the_page_is_there_the_block_goes_on(native: bool) -> None:
    machine = _Machine(native, INC + STORE + JUMP, 1)
    assert machine.run() is Stop.FAULT
    machine.map_next()
    for _ in range(2):
        assert machine.run() is Stop.TRAP
        assert machine.general.read()[RCX] == 8
        assert machine.engine.retired() == 10 + len(SYSCALL)


def test_a_call_has_run_when_what_it_leads_to_reaches_into_the_page(native: bool) -> None:
    call = b"\xe8\x00\x00\x00\x00"  # of what follows it
    machine = _Machine(native, call + INC + JUMP, 1)
    values = [0] * len(GENERAL)
    values[RSP], values[RCX], values[RIP], values[EFLAGS] = DATA + 64, 7, machine.start, 0x202
    machine.general.write(values)
    engine = machine.engine
    engine._state.count = engine._state.retired = 0
    with engine.stepping():
        assert engine.step(machine.start) is None
        assert (engine.pc, engine.retired()) == (machine.start + 5, 5)
    found = machine.general.read()
    assert (found[RSP], found[RCX]) == (DATA + 56, 7)
    assert machine.ram.read(DATA + 56, 8) == struct.pack("<Q", machine.start + 5)
