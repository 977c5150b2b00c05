# SPDX-License-Identifier: GPL-2.0-or-later
"""The ARM64 CPU, a Cortex-A72 at EL0: registers, system calls, and the exceptions that are not memory aborts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archs.base import (
    BUS_ADRALN,
    ILL_ILLOPC,
    KIND_BUDGET,
    KIND_FAULT,
    KIND_SYSCALL,
    SIGBUS,
    SIGILL,
    SIGTRAP,
    TRAP_BRKPT,
    SigInfo,
    TrapKind,
    UserAccess,
)
from archs.thread import ThreadCpu, thread_struct
from emu.hw.engine import STOP_BUDGET, STOP_FAULT, STOP_TRAP, Engine, EngineModel
from emu.hw.mmu import FETCH, PageTableFormat, walk
from emu.hw.ram import Ram
from emu.hw.registers import Registers

# Unicorn comes after the engine (see emu/hw/native.py).
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM  # isort: skip
from unicorn.arm64_const import (  # isort: skip
    UC_ARM64_REG_CP_REG,
    UC_ARM64_REG_CPACR_EL1,
    UC_ARM64_REG_FPCR,
    UC_ARM64_REG_FPSR,
    UC_ARM64_REG_PC,
    UC_ARM64_REG_PSTATE,
    UC_ARM64_REG_Q0,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_TPIDR_EL0,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X8,
    UC_ARM64_REG_X29,
    UC_ARM64_REG_X30,
    UC_CPU_ARM64_A72,
)

MODEL = EngineModel(
    name="aarch64",
    uc_arch=UC_ARCH_ARM64,
    uc_mode=UC_MODE_ARM,
    cpu_model=UC_CPU_ARM64_A72,
    format=PageTableFormat.ARM64,
    pc_reg=UC_ARM64_REG_PC,
    insn_bytes=4,
    load_linked=bytes.fromhex("207c5fc8"),  # ldxr x0, [x1]
    address_reg=UC_ARM64_REG_X0 + 1,
)

X_REGISTERS = (*(UC_ARM64_REG_X0 + i for i in range(29)), UC_ARM64_REG_X29, UC_ARM64_REG_X30)
GENERAL = (*X_REGISTERS, UC_ARM64_REG_SP, UC_ARM64_REG_PC, UC_ARM64_REG_PSTATE)
"""The registers of struct user_pt_regs, in its order: x0-x30, sp, pc, pstate."""

PSTATE_NZCV = 0xF << 28
PSTATE_EL0T = 0

# Numbers of the engine's exceptions.
EXC_UNDEFINED, EXC_SVC, EXC_DATA_ABORT, EXC_BREAKPOINT = 1, 2, 4, 7

EC_SVC64, EC_SYS64, EC_PC_ALIGN, EC_DABT_LOW = 0x15, 0x18, 0x22, 0x24
_IL = 1 << 25
_FSC_ALIGNMENT = 0x21
_WNR = 1 << 6

# System registers as (op0, op1, CRn, CRm, op2).
CNTFRQ_EL0 = (3, 3, 14, 0, 0)
MIDR_EL1 = (3, 0, 0, 0, 0)
MPIDR_EL1 = (3, 0, 0, 0, 5)
REVIDR_EL1 = (3, 0, 0, 0, 6)

COUNTER_FREQUENCY = 62_500_000
_NS_PER_TICK = 1_000_000_000 // COUNTER_FREQUENCY

# What Linux lets programs see of the identification registers of a Cortex-A72 r0p3: features that programs may
# use, the rest at the values that promise nothing.
ID_REGISTERS = {
    MIDR_EL1: 0x410F_D083,
    MPIDR_EL1: 1 << 31,
    REVIDR_EL1: 0,
    (3, 0, 0, 4, 0): 0x11,  # ID_AA64PFR0_EL1: FP, AdvSIMD, EL0 and EL1 in AArch64 only
    (3, 0, 0, 5, 0): 0x6,  # ID_AA64DFR0_EL1: the ARMv8.0 debug architecture
    (3, 0, 0, 6, 0): 0x0001_1120,  # ID_AA64ISAR0_EL1: CRC32, SHA2 (256), SHA1, AES with PMULL
    (3, 0, 0, 7, 0): 0x0111_FF00_0000,  # ID_AA64MMFR0_EL1: no granule at all
}

# SCTLR_EL1 as Linux sets it for programs: DC ZVA, CTR_EL0 and cache maintenance allowed, WFE allowed, WFI trapped.
_SCTLR = (1, 0, 3, 0, 0)  # CRn, CRm, op0, op1, op2
_SCTLR_UCI, _SCTLR_NTWE, _SCTLR_NTWI, _SCTLR_UCT, _SCTLR_DZE = 1 << 26, 1 << 18, 1 << 16, 1 << 15, 1 << 14
_TCR = (2, 0, 3, 0, 2)
_TCR_TBI0 = 1 << 37

_WFI = 0xD503207F
_MRS_CNTVCT = 0xD53BE040
_MRS, _MRS_MASK = 0xD5300000, 0xFFF00000


def untagged_addr(address: int) -> int:
    """The address without its top byte where bit 55 says that it is one of user space."""
    return address if address >> 55 & 1 else address & 0x00FF_FFFF_FFFF_FFFF


class arm64_thread(thread_struct):
    """struct thread_struct of arch/arm64/include/asm/processor.h, and what the entry code keeps in pt_regs."""

    __slots__ = ("fault_address", "fault_code", "orig_x0")

    def __init__(self, registers: Registers) -> None:
        super().__init__(registers)
        self.fault_address = self.fault_code = 0  # of the last fault that was a signal: what a signal frame shows
        self.orig_x0 = 0

    def assign(self, other: arm64_thread) -> None:
        super().assign(other)
        self.fault_address, self.fault_code, self.orig_x0 = other.fault_address, other.fault_code, other.orig_x0


class Arm64Cpu(ThreadCpu[arm64_thread]):
    """archs.base.Cpu for ARM64."""

    def __init__(self, ram: Ram, native: bool, serve_inside: bool) -> None:
        super().__init__(Engine(MODEL, ram, native=native, serve_inside=serve_inside), arm64_thread)
        self.clock: Callable[[], int] = lambda: self.engine.retired() // 4  # virtual ns
        self.in_turn: Callable[[], bool] = lambda: True
        self.trap_signal = SigInfo(0)
        self.name = "aarch64"
        self.task: Any = None  # whose registers are in the engine
        self.pins = 0
        self.vdso_address = 0  # where exec mapped Arch.vdso
        self.general = self.engine.batch(GENERAL)
        self._call = self.engine.batch((UC_ARM64_REG_X8, *(UC_ARM64_REG_X0 + i for i in range(6))))
        self._x0 = self.engine.batch((UC_ARM64_REG_X0,))
        self._x8 = self.engine.batch((UC_ARM64_REG_X8,))
        self._sp = self.engine.batch((UC_ARM64_REG_SP,))
        self._pc = self.engine.batch((UC_ARM64_REG_PC,))
        self._tls = self.engine.batch((UC_ARM64_REG_TPIDR_EL0,))
        self._floating = self.engine.wide_batch(
            (*range(UC_ARM64_REG_Q0, UC_ARM64_REG_Q0 + 32), UC_ARM64_REG_FPSR, UC_ARM64_REG_FPCR)
        )
        uc = self.engine.uc
        uc.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)
        uc.reg_write(UC_ARM64_REG_PSTATE, PSTATE_EL0T)
        # The engine looks at what was written above when a system register is written.
        sctlr = int(uc.reg_read(UC_ARM64_REG_CP_REG, _SCTLR))
        sctlr |= _SCTLR_UCI | _SCTLR_NTWE | _SCTLR_UCT | _SCTLR_DZE
        uc.reg_write(UC_ARM64_REG_CP_REG, (*_SCTLR, sctlr & ~_SCTLR_NTWI))
        uc.reg_write(UC_ARM64_REG_CP_REG, (*_TCR, _TCR_TBI0))

    @property
    def pc(self) -> int:
        return self.engine.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.engine.pc = value
        self._pc.write((value,))

    @property
    def sp(self) -> int:
        return int(self._sp.read()[0])

    @sp.setter
    def sp(self, value: int) -> None:
        self._sp.write((value,))

    def run(self, budget: int) -> TrapKind:
        engine = self.engine
        stop = engine.run(engine.pc, budget)
        if stop is STOP_TRAP:
            number = engine.trap_number
            if number == EXC_SVC:
                return KIND_SYSCALL
            return self._exception(number)
        if stop is STOP_BUDGET:
            return KIND_BUDGET
        if stop is STOP_FAULT:
            return KIND_FAULT
        return self._undefined(engine.pc)

    def _exception(self, number: int) -> TrapKind:
        """el0t_64_sync_handler: what an exception is to Linux."""
        ip = self.engine.pc
        if number == EXC_UNDEFINED:
            if ip & 3:
                return self._pc_alignment(ip)
            instruction = self._instruction(ip)
            if instruction is not None and instruction & ~31 == _MRS_CNTVCT:
                return TrapKind.COUNTER
            if instruction is not None and self._emulate(instruction, ip):
                return TrapKind.EMULATED
            return self._undefined(ip)
        if number == EXC_BREAKPOINT:
            self.trap_signal = SigInfo(SIGTRAP, TRAP_BRKPT, addr=ip)
            return TrapKind.SIGNAL
        if number == EXC_DATA_ABORT:
            return self._alignment_fault(ip)
        return self._undefined(ip)

    def _undefined(self, ip: int) -> TrapKind:
        """do_el0_undef -> force_signal_inject."""
        self.thread.fault_address = self.thread.fault_code = 0
        self.trap_signal = SigInfo(SIGILL, ILL_ILLOPC, addr=ip)
        return TrapKind.SIGNAL

    def _pc_alignment(self, ip: int) -> TrapKind:
        """do_sp_pc_abort."""
        self.thread.fault_address = 0
        self.thread.fault_code = EC_PC_ALIGN << 26 | _IL
        self.trap_signal = SigInfo(SIGBUS, BUS_ADRALN, addr=ip)
        return TrapKind.SIGNAL

    def _alignment_fault(self, ip: int) -> TrapKind:
        """A data abort that the engine raises itself: a misaligned exclusive access. The fault entry does the rest."""
        instruction = self._instruction(ip)
        if instruction is None:
            return self._undefined(ip)
        base = instruction >> 5 & 31  # Rn, and these have no offset
        load = instruction >> 22 & 1
        self.engine.fault_address = int(self.general.read()[base])
        self.engine.fault_syndrome = EC_DABT_LOW << 26 | _IL | _FSC_ALIGNMENT | (0 if load else _WNR)
        return TrapKind.FAULT

    def read_counter(self, now: int) -> None:
        ip = self.engine.pc
        instruction = self._instruction(ip)
        if instruction is None:  # another thread has unmapped it: the fetch faults
            return
        if instruction & 31 != 31:
            self.engine.uc.reg_write(X_REGISTERS[instruction & 31], now // _NS_PER_TICK)
        self.pc = ip + 4

    def _instruction(self, ip: int) -> int | None:
        """The instruction word at `ip`; None where it cannot be read."""
        engine = self.engine
        paddr, _, _ = walk(MODEL.format, engine.ram, engine.root, ip & ~0xFFF, FETCH, True)
        return None if paddr < 0 else int.from_bytes(engine.ram.read(paddr + (ip & 0xFFF), 4), "little")

    def _emulate(self, instruction: int, ip: int) -> bool:
        """What traps and is done by Linux: WFI as a no-op, the counter's frequency, the identification registers."""
        if instruction != _WFI:
            if instruction & _MRS_MASK != _MRS:
                return False
            value = self._read_system_register(
                (
                    instruction >> 19 & 3,
                    instruction >> 16 & 7,
                    instruction >> 12 & 15,
                    instruction >> 8 & 15,
                    instruction >> 5 & 7,
                )
            )
            if value is None:
                return False
            register = instruction & 31
            if register != 31:
                self.engine.uc.reg_write(X_REGISTERS[register], value)
        self.pc = ip + 4
        return True

    def _read_system_register(self, register: tuple[int, int, int, int, int]) -> int | None:
        """emulate_sys_reg and the handlers for the counter; None: the register is undefined at EL0."""
        if register == CNTFRQ_EL0:
            return COUNTER_FREQUENCY
        op0, op1, crn, crm, _ = register
        if (op0, op1, crn) != (3, 0, 0) or not (crm == 0 or 2 <= crm <= 7):
            return None
        return ID_REGISTERS.get(register, None if crm == 0 else 0)

    def syscall_args(self) -> tuple[int, int, int, int, int, int, int]:
        nr, a0, a1, a2, a3, a4, a5 = self._call.read()
        self.thread.orig_x0 = a0
        return nr & 0xFFFF_FFFF, a0, a1, a2, a3, a4, a5

    def set_syscall_result(self, value: int) -> None:
        self._x0.write((value & 0xFFFF_FFFF_FFFF_FFFF,))

    def restart_syscall(self, number: int | None = None) -> None:
        self._x0.write((self.thread.orig_x0,))
        if number is not None:
            self._x8.write((number,))
        self.pc = self.engine.pc - 4

    def start_thread(self, entry: int, sp: int, bias: int, e_flags: int, access: UserAccess) -> None:
        self.general.write([0] * 31 + [sp, entry, PSTATE_EL0T])
        self._tls.write((0,))
        self.write_fp(bytes(512), 0, 0)
        self.pc = entry

    def may_be_tls(self, value: int) -> bool:
        return True

    def set_tls(self, value: int) -> None:
        self._tls.write((value,))

    def read_fp(self) -> tuple[bytes, int, int]:
        """The 32 vector registers, little-endian, then FPSR and FPCR."""
        saved = self._floating.read()
        return saved[:512], int.from_bytes(saved[512:516], "little"), int.from_bytes(saved[528:532], "little")

    def write_fp(self, vectors: bytes, fpsr: int, fpcr: int) -> None:
        """Load what `read_fp` gives."""
        self._floating.write(vectors + fpsr.to_bytes(16, "little") + fpcr.to_bytes(16, "little"))

    def describe(self) -> str:
        names = [*(f"x{i}" for i in range(31)), "sp", "pc", "pstate"]
        return " ".join(f"{n}={v:x}" for n, v in zip(names, self.general.read(), strict=True))
