# SPDX-License-Identifier: GPL-2.0-or-later
"""The ARM64 CPU by itself: system calls, exceptions, emulated registers."""

from __future__ import annotations

import pytest

from archs.arm64.cpu import COUNTER_FREQUENCY
from archs.base import BUS_ADRALN, ILL_ILLOPC, SIGBUS, SIGILL, SIGTRAP, TRAP_BRKPT, SigInfo, TrapKind
from tests.archs.arm64.space import CODE, DATA, STACK_TOP, R, Space, W

SVC, NOP = 0xD4000001, 0xD503201F


@pytest.fixture(params=["native", "pure"])
def space(request: pytest.FixtureRequest) -> Space:
    return Space(native=request.param == "native")


def test_starts_as_linux_starts_a_program(space: Space) -> None:
    space.load(SVC)
    space.cpu.set_tls(7)
    space.cpu.write_fp(bytes(range(256)) * 2, 0x1F, 0)
    space.load(SVC)
    assert space.cpu.general.read() == [0] * 31 + [STACK_TOP, CODE, 0]
    assert space.cpu.read_fp() == (bytes(512), 0, 0)
    assert space.x(31) == space.cpu.sp == STACK_TOP
    assert space.cpu.pc == CODE


def test_system_call(space: Space) -> None:
    space.load(SVC, 0x91000400, SVC)  # add x0, x0, #1
    for i in range(6):
        space.set_x(i, 100 + i)
    space.set_x(8, 0xFFFF_FFFF_0000_0040)  # the number is the low word
    assert space.run() == TrapKind.SYSCALL
    assert space.cpu.syscall_args() == (0x40, 100, 101, 102, 103, 104, 105)
    assert space.cpu.pc == CODE + 4
    space.cpu.set_syscall_result(-14)
    assert space.x(0) == (1 << 64) - 14
    assert space.run() == TrapKind.SYSCALL
    assert space.x(0) == (1 << 64) - 13


def test_system_call_again(space: Space) -> None:
    space.load(SVC, SVC)
    space.set_x(0, 5)
    space.set_x(8, 101)
    assert space.run() == TrapKind.SYSCALL
    space.cpu.syscall_args()
    space.cpu.set_syscall_result(-512)
    space.cpu.restart_syscall()
    assert (space.cpu.pc, space.x(0), space.x(8)) == (CODE, 5, 101)
    assert space.run() == TrapKind.SYSCALL
    space.cpu.syscall_args()
    space.cpu.restart_syscall(128)
    assert space.run() == TrapKind.SYSCALL
    assert space.cpu.syscall_args()[:2] == (128, 5)


@pytest.mark.parametrize(
    "word",
    [
        0x00000000,  # udf #0
        0xFFFFFFFF,
        0xD50342DF,  # msr daifset, #2
        0xD5384240,  # mrs x0, currentel
        0xD53BE020,  # mrs x0, cntpct_el0: not for programs
        0xD5380100,  # mrs x0, id_pfr0_el1: not among those that Linux emulates
        0xD4000002,  # hvc #0
        0xD4000003,  # smc #0
        0xD4400000,  # hlt #0
        0xD69F03E0,  # eret
        0xF8200022,  # ldadd x0, x2, [x1]: an ARMv8.1 instruction
    ],
)
def test_undefined(space: Space, word: int) -> None:
    space.load(NOP, word)
    space.cpu.thread.fault_address = space.cpu.thread.fault_code = 5
    assert space.run() == TrapKind.SIGNAL
    assert space.cpu.trap_signal == SigInfo(SIGILL, ILL_ILLOPC, addr=CODE + 4)
    assert space.cpu.pc == CODE + 4
    assert (space.cpu.thread.fault_address, space.cpu.thread.fault_code) == (0, 0)


def test_breakpoint(space: Space) -> None:
    space.load(NOP, 0xD4200020)  # brk #1
    space.cpu.thread.fault_code = 5
    assert space.run() == TrapKind.SIGNAL
    assert space.cpu.trap_signal == SigInfo(SIGTRAP, TRAP_BRKPT, addr=CODE + 4)
    assert space.cpu.pc == CODE + 4
    assert space.cpu.thread.fault_code == 5  # Linux leaves the last fault's there


def test_misaligned_exclusive_access(space: Space) -> None:
    space.map(DATA, 0x1000, R | W)
    for page, word in enumerate((0xC85F7C20, 0xC87F0820)):  # ldxr x0, [x1]; ldxp x0, x2, [x1]
        space.signals.clear()
        space.load(word, at=CODE + (page << 12))
        space.set_x(1, DATA + 9)
        assert space.run() == TrapKind.FAULT
        esr = 0x24 << 26 | 1 << 25 | 0x21
        assert (space.cpu.engine.fault_address, space.cpu.engine.fault_syndrome) == (DATA + 9, esr)
        assert space.signals == [SigInfo(SIGBUS, BUS_ADRALN, addr=DATA + 9)]
        assert (space.cpu.thread.fault_address, space.cpu.thread.fault_code) == (DATA + 9, esr)
        assert space.cpu.pc == CODE + (page << 12)


def test_misaligned_plain_access_is_allowed(space: Space) -> None:
    space.map(DATA, 0x2000, R | W)
    space.load(0xF9000022, 0xF9400020, SVC)  # str x2, [x1]; ldr x0, [x1]
    space.set_x(1, DATA + 0xFFD)
    space.set_x(2, 0x1122_3344_5566_7788)
    assert space.run() == TrapKind.SYSCALL
    assert space.x(0) == 0x1122_3344_5566_7788


def test_counter_is_virtual_time(space: Space) -> None:
    space.load(0xD53BE040, 0xD53BE001, 0xD53BE05F, SVC)  # mrs x0, cntvct_el0; x1, cntfrq_el0; xzr, cntvct_el0
    assert space.run() == TrapKind.COUNTER
    space.cpu.read_counter(1_000_000_000)
    assert [space.run(), space.run()] == [TrapKind.EMULATED, TrapKind.COUNTER]
    space.cpu.read_counter(1_000_000_000)
    assert space.run() == TrapKind.SYSCALL
    assert space.x(0) == COUNTER_FREQUENCY  # ticks in one second
    assert space.x(1) == COUNTER_FREQUENCY
    assert space.cpu.sp == STACK_TOP  # register 31 is not the stack pointer here


def test_identification_registers(space: Space) -> None:
    # midr_el1, id_aa64isar0_el1, s3_0_c0_c2_7 (reserved)
    space.load(0xD5380002, 0xD5380603, 0xD53802E4, SVC)
    space.set_x(4, 99)
    while space.run() == TrapKind.EMULATED:
        pass
    assert [space.x(2), space.x(3), space.x(4)] == [0x410FD083, 0x11120, 0]


def test_what_programs_may_do(space: Space) -> None:
    """SCTLR_EL1 and CPACR_EL1 as Linux has them: no traps for these."""
    space.map(DATA, 0x1000, R | W)
    space.load(
        0xD50B7421,  # dc zva, x1
        0xD50B7B21,  # dc cvau, x1
        0xD50B7521,  # ic ivau, x1
        0xD53B0022,  # mrs x2, ctr_el0
        0xD53B00E3,  # mrs x3, dczid_el0
        0xD51BD041,  # msr tpidr_el0, x1
        0xD53BD040,  # mrs x0, tpidr_el0
        0x9E670020,  # fmov d0, x1
        0x4E284820,  # aese v0.16b, v1.16b
        0x9AC24C20,  # crc32x w0, w1, x2
        0xD503203F,  # yield
        0xD503205F,  # wfe
        0xD503233F,  # paciasp, a hint before ARMv8.3
        SVC,
    )
    space.set_x(1, DATA)
    assert space.run() == TrapKind.SYSCALL
    assert space.x(2) == 0x8444C004
    assert space.x(3) == 4  # DC ZVA allowed, 64 bytes


def test_wfi_is_skipped(space: Space) -> None:
    space.load(NOP, 0xD503207F, SVC)
    assert space.run() == TrapKind.EMULATED
    assert space.cpu.pc == CODE + 8
    assert space.run() == TrapKind.SYSCALL


def test_save_and_restore(space: Space) -> None:
    space.load(SVC)
    regs = [3 * i + 1 for i in range(32)] + [CODE, 0x6000_0000]
    space.cpu.general.write(regs)
    vectors = bytes(range(256)) * 2
    space.cpu.write_fp(vectors, 0x1F, 0x0100_0000)
    space.cpu.set_tls(0x1234)
    space.cpu.thread.fault_code = 9
    saved = space.cpu.save()
    space.cpu.start_thread(CODE, 0, 0, 0, space.access)
    space.cpu.thread.fault_code = 0
    space.cpu.restore(saved)
    assert space.cpu.general.read() == regs
    assert space.cpu.read_fp() == (vectors, 0x1F, 0x0100_0000)
    assert space.cpu.thread.fault_code == 9
    assert "x30=5b sp=5e pc=400000 pstate=60000000" in space.cpu.describe()
    assert space.run() == TrapKind.SYSCALL


def test_the_counter_counts_guest_code(space: Space) -> None:
    """CNTVCT_EL0 read twice with 4000 bytes of code, a virtual microsecond, between them."""
    space.load(0xD53BE040, *[NOP] * 1000, 0xD53BE041, SVC)
    for _ in range(2):
        assert space.run() == TrapKind.COUNTER
        space.cpu.read_counter(space.cpu.clock())
    assert space.run() == TrapKind.SYSCALL
    ticks = COUNTER_FREQUENCY // 1_000_000
    assert ticks - 1 <= space.x(1) - space.x(0) <= ticks + 1
