# SPDX-License-Identifier: GPL-2.0-or-later
"""The PowerPC CPUs in problem state: a POWER9 in either byte order (the engine's 64-bit model), and a 603e.

Registers, system calls, and the exceptions that are no storage interrupts (arch/powerpc/kernel/traps.c).
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

from archs.base import (
    BUS_ADRALN,
    ILL_ILLOPC,
    ILL_PRVOPC,
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
from emu.hw.engine import STOP_BUDGET, STOP_FAULT, STOP_TRAP, UC_ARCH_PPC, Engine, EngineModel, bare_engine
from emu.hw.mmu import FETCH, PageTableFormat, walk
from emu.hw.ram import Ram
from emu.hw.registers import Registers

# Unicorn comes after the engine (see emu/hw/native.py).
from unicorn import UC_MODE_BIG_ENDIAN, UC_MODE_PPC32, UC_MODE_PPC64  # isort: skip
from unicorn.ppc_const import (  # isort: skip
    UC_CPU_PPC32_603E_V4_1,
    UC_PPC_REG_0,
    UC_PPC_REG_1,
    UC_PPC_REG_13,
    UC_PPC_REG_2,
    UC_PPC_REG_3,
    UC_PPC_REG_CR,
    UC_PPC_REG_CTR,
    UC_PPC_REG_FPR0,
    UC_PPC_REG_FPSCR,
    UC_PPC_REG_LR,
    UC_PPC_REG_MSR,
    UC_PPC_REG_PC,
    UC_PPC_REG_XER,
)

_LWARX = bytes.fromhex("7c602028")  # lwarx r3, 0, r4
_TIME_BASE = (b"TBL\0", b"TBU\0")  # the engine would answer 0
MODEL_64 = EngineModel(
    name="powerpc64",
    uc_arch=UC_ARCH_PPC,
    uc_mode=UC_MODE_PPC64 | UC_MODE_BIG_ENDIAN,
    cpu_model=None,
    format=PageTableFormat.PPC64_RADIX,
    pc_reg=UC_PPC_REG_PC,
    insn_bytes=4,
    load_linked=_LWARX,
    address_reg=UC_PPC_REG_0 + 4,
    trapped=_TIME_BASE,
)
MODEL_32 = EngineModel(
    name="powerpc",
    uc_arch=UC_ARCH_PPC,
    uc_mode=UC_MODE_PPC32 | UC_MODE_BIG_ENDIAN,
    cpu_model=UC_CPU_PPC32_603E_V4_1,
    format=PageTableFormat.PPC32,
    pc_reg=UC_PPC_REG_PC,
    insn_bytes=4,
    load_linked=_LWARX,
    address_reg=UC_PPC_REG_0 + 4,
    pc_size=4,
    trapped=_TIME_BASE,
)

GPRS = tuple(UC_PPC_REG_0 + i for i in range(32))
GENERAL = (*GPRS, UC_PPC_REG_PC, UC_PPC_REG_CTR, UC_PPC_REG_LR, UC_PPC_REG_XER, UC_PPC_REG_CR)
"""r0-r31, nip, ctr, link, xer, ccr."""
NIP, CTR, LINK, XER, CCR = range(32, 37)

MSR_SF, MSR_VEC, MSR_VSX = 1 << 63, 1 << 25, 1 << 23
MSR_EE, MSR_PR, MSR_FP, MSR_ME, MSR_IR, MSR_DR, MSR_RI, MSR_LE = (1 << i for i in (15, 14, 13, 12, 5, 4, 1, 0))
_USER_MSR = MSR_EE | MSR_PR | MSR_ME | MSR_IR | MSR_DR | MSR_RI  # as Linux runs programs
CR0_SO = 0x1000_0000

# Numbers of the engine's exceptions (POWERPC_EXCP_*).
EXC_ALIGN, EXC_PROGRAM, EXC_FPU, EXC_SYSCALL = 5, 6, 7, 8
PVR_POWER9, PVR_603E = 0x004E_1202, 0x0007_0401
# Hz of the time base: of the POWER8 and later 512 MHz (Power ISA 3.0B, book II 6.2 leaves it to the platform; PAPR's
# "timebase-frequency"); of a 603e a quarter of its bus clock (603e user's manual, 2.1.2), here 66.67 MHz.
TIMEBASE_64, TIMEBASE_32 = 512_000_000, 16_666_667
TRAP_PROGRAM, TRAP_ALIGN, TRAP_SYSCALL = 0x700, 0x600, 0xC00


def _context_with(model: EngineModel, registers: dict[int, int]) -> bytes:
    """The saved context of a new engine with these registers."""
    uc = bare_engine(model)
    for number, value in registers.items():
        uc.reg_write(number, value)
    saved = uc.context_save()
    return ctypes.string_at(saved.context, saved.size)


@functools.cache
def _vsr_offset() -> int:
    """Where in a saved context the 64 vector-scalar registers lie, which have no numbers of their own: found by the
    floating-point registers, their upper halves."""
    values = [0x5A5A_0000_0000_0000 + 0x0101 * (i + 1) for i in range(32)]
    data = _context_with(MODEL_64, {UC_PPC_REG_FPR0 + i: value for i, value in enumerate(values)})
    at = data.find(struct.pack("<Q", values[0]))
    found = [struct.unpack_from("<Q", data, at + 16 * i)[0] for i in range(32)] if at >= 0 else []
    if found != values:
        raise RuntimeError("this version of Unicorn keeps PowerPC's vector registers in an unknown place")
    return at - 8


_XER_BITS = (31, 30, 29, 19, 18)  # SO, OV, CA, OV32, CA32, each a word of its own behind XER


@functools.cache
def _xer_offset(model: EngineModel) -> int:
    """Where in a saved context XER lies: the engine's number for it names what is left of it without its flags, which
    stand in the words behind."""
    data = _context_with(model, {UC_PPC_REG_XER: 0x5A5B_5C5D})
    word = "Q" if model.pc_size == 8 else "I"
    pattern = struct.pack(f"={word * 6}", 0x5A5B_5C5D, 0, 0, 0, 0, 0)
    if data.count(pattern) != 1:
        raise RuntimeError("this version of Unicorn keeps PowerPC's XER in an unknown place")
    return data.find(pattern)


class powerpc_thread(thread_struct):
    """What the entry code keeps in pt_regs: `trap`, `dar` and `dsisr` are what a signal frame shows, those of the last
    interrupt."""

    __slots__ = ("dar", "dsisr", "elfv1", "orig_gpr3", "trap")

    def __init__(self, registers: Registers) -> None:
        super().__init__(registers)
        self.trap = self.dar = self.dsisr = 0
        self.orig_gpr3 = 0
        self.elfv1 = False  # the program is of that ABI

    def assign(self, other: powerpc_thread) -> None:
        super().assign(other)
        self.trap, self.dar, self.dsisr = other.trap, other.dar, other.dsisr
        self.orig_gpr3, self.elfv1 = other.orig_gpr3, other.elfv1


class PowerPcCpu(ThreadCpu[powerpc_thread]):
    """archs.base.Cpu for PowerPC."""

    def __init__(self, name: str, ram: Ram, native: bool, serve_inside: bool, wide: bool, little_endian: bool) -> None:
        model = MODEL_64 if wide else MODEL_32
        self.wide = wide
        self.order = "<" if little_endian else ">"
        super().__init__(Engine(model, ram, native=native, serve_inside=serve_inside), powerpc_thread)
        self.clock: Callable[[], int] = lambda: self.engine.retired() // 4  # virtual ns
        self.in_turn: Callable[[], bool] = lambda: True
        self._timebase = TIMEBASE_64 if wide else TIMEBASE_32
        self.trap_signal = SigInfo(0)
        self.name = name
        self.task: Any = None  # whose registers are in the engine
        self.pins = 0
        self.vdso_address = 0  # where exec mapped Arch.vdso
        self.sigtramp = self.sigtramp_rt = 0  # offsets of the signal trampolines in it
        self._mask = 0xFFFF_FFFF_FFFF_FFFF if wide else 0xFFFF_FFFF
        self.general = self.engine.batch(GENERAL)
        self._call = self.engine.batch((UC_PPC_REG_0, *(UC_PPC_REG_3 + i for i in range(6))))
        self._result = self.engine.batch((UC_PPC_REG_3, UC_PPC_REG_CR))
        self._r0 = self.engine.batch((UC_PPC_REG_0,))
        self._sp = self.engine.batch((UC_PPC_REG_1,))
        self._pc = self.engine.batch((UC_PPC_REG_PC,))
        self._tls = self.engine.batch((UC_PPC_REG_13 if wide else UC_PPC_REG_2,))
        self._floating = self.engine.batch((*range(UC_PPC_REG_FPR0, UC_PPC_REG_FPR0 + 32), UC_PPC_REG_FPSCR))
        # What user code runs with: every unit on, so that nothing is loaded lazily.
        self.msr = _USER_MSR | MSR_FP | (MSR_SF | MSR_VEC | MSR_VSX if wide else 0) | (MSR_LE if little_endian else 0)
        self.engine.uc.reg_write(UC_PPC_REG_MSR, self.msr & ~(MSR_IR | MSR_DR | MSR_EE | MSR_ME | MSR_RI))

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

    def set_fault(self, trap: int, dar: int, dsisr: int) -> None:
        """What the last storage interrupt left in regs->trap, dar and dsisr."""
        thread = self.thread
        thread.trap, thread.dar, thread.dsisr = trap, dar, dsisr

    def run(self, budget: int) -> TrapKind:
        engine = self.engine
        stop = engine.run(engine.pc, budget)
        if stop is STOP_TRAP:
            number = engine.trap_number
            if number == EXC_SYSCALL:
                self.thread.trap = TRAP_SYSCALL
                return KIND_SYSCALL
            self.pc = engine.pc - 4 & self._mask  # the engine stands behind the instruction
            return self._exception(number)
        if stop is STOP_BUDGET:
            return KIND_BUDGET
        if stop is STOP_FAULT:
            engine.fault_address &= self._mask
            return KIND_FAULT
        return self._program_check(engine.pc)

    def _exception(self, number: int) -> TrapKind:
        ip = self.engine.pc
        if number == EXC_ALIGN:
            self.thread.trap = TRAP_ALIGN
            self.thread.dar = self._effective_address(ip)
            self.trap_signal = SigInfo(SIGBUS, BUS_ADRALN, addr=self.thread.dar)
            return TrapKind.SIGNAL
        return self._program_check(ip)

    def _program_check(self, ip: int) -> TrapKind:
        """program_check_exception: a trap instruction, or one that Linux emulates, or that nobody knows."""
        self.thread.trap = TRAP_PROGRAM
        word = self._instruction(ip)
        if word is None:
            self.trap_signal = SigInfo(SIGILL, ILL_ILLOPC, addr=ip)
            return TrapKind.SIGNAL
        primary, extended = word >> 26, word >> 1 & 0x3FF
        if primary in (2, 3) or (primary == 31 and extended in (4, 68)):  # tdi, twi, tw, td
            self.trap_signal = SigInfo(SIGTRAP, TRAP_BRKPT, addr=ip)
            return TrapKind.SIGNAL
        if word & 0xFC1E_FFBE == 0x7C0C_42A6:  # mftb, mftbu, mfspr 268 or 269
            return TrapKind.COUNTER
        if self._emulate(word, ip):
            return TrapKind.EMULATED
        self.trap_signal = SigInfo(SIGILL, ILL_PRVOPC if _is_privileged(word) else ILL_ILLOPC, addr=ip)
        return TrapKind.SIGNAL

    def _emulate(self, word: int, ip: int) -> bool:
        """emulate_instruction: mfspr PVR, and the dcba that does nothing."""
        if word & 0xFC1F_FFFE == 0x7C1F_42A6:  # mfpvr
            value = PVR_POWER9 if self.wide else PVR_603E
            self.engine.uc.reg_write(GPRS[word >> 21 & 31], value)
        elif word & 0xFC00_07FE != 0x7C00_05EC:  # dcba
            return False
        self.pc = ip + 4
        return True

    def read_counter(self, now: int) -> None:
        ip = self.engine.pc
        word = self._instruction(ip)
        if word is None:  # another thread has unmapped it: the fetch faults
            return
        value = now * self._timebase // 1_000_000_000
        if word >> 16 & 1:  # the upper half
            value >>= 32
        self.engine.uc.reg_write(GPRS[word >> 21 & 31], value & self._mask)
        self.pc = ip + 4 & self._mask

    def _effective_address(self, ip: int) -> int:
        """What the load or store at `ip` accesses, which the engine does not tell: (rA|0) + rB, or + D."""
        word = self._instruction(ip)
        if word is None:
            return 0
        read = self.engine.uc.reg_read
        base = int(read(GPRS[word >> 16 & 31])) if word >> 16 & 31 else 0
        if word >> 26 == 31:
            return base + int(read(GPRS[word >> 11 & 31])) & self._mask
        return base + (word & 0x7FFF) - (word & 0x8000) & self._mask

    def _instruction(self, ip: int) -> int | None:
        """The instruction word at `ip`; None where it cannot be read."""
        engine = self.engine
        paddr, _, _ = walk(engine.model.format, engine.ram, engine.root, ip & ~0xFFF, FETCH, True)
        if paddr < 0 or ip & 3:
            return None
        return int(struct.unpack(self.order + "I", engine.ram.read(paddr + (ip & 0xFFF), 4))[0])

    def syscall_args(self) -> tuple[int, int, int, int, int, int, int]:
        nr, a0, a1, a2, a3, a4, a5 = self._call.read()
        self.thread.orig_gpr3 = a0
        return nr & 0xFFFF_FFFF, a0, a1, a2, a3, a4, a5

    def set_syscall_result(self, value: int) -> None:
        """An error is its number in r3 with CR0.SO set."""
        cr = self._result.read()[1]
        if -4095 <= value < 0:
            self._result.write((-value, cr | CR0_SO))
        else:
            self._result.write((value & self._mask, cr & ~CR0_SO & 0xFFFF_FFFF))

    def restart_syscall(self, number: int | None = None) -> None:
        cr = self._result.read()[1]
        self._result.write((self.thread.orig_gpr3, cr))
        if number is not None:
            self._r0.write((number,))
        self.pc = self.engine.pc - 4

    def start_thread(self, entry: int, sp: int, bias: int, e_flags: int, access: UserAccess) -> None:
        """ELF_PLAT_INIT and start_thread. Under ELFv1 the entry point is a function descriptor in the program's data,
        which is not relocated yet."""
        regs = [0] * len(GENERAL)
        regs[1] = sp
        if self.wide:
            self.thread.elfv1 = e_flags & 3 != 2
            if self.thread.elfv1:
                data = access.copy_from_user(entry, 16)
                entry, toc = struct.unpack(self.order + "QQ", data) if data is not None else (0, 0)
                entry = entry + bias & self._mask
                regs[2] = toc + bias & self._mask
            else:
                regs[12] = entry
                regs[2] = bias
        regs[NIP] = entry
        self.general.write(regs)
        self.write_xer(0)
        self.write_fp([0] * 32, 0)
        self.pc = entry

    def may_be_tls(self, value: int) -> bool:
        return True

    def set_tls(self, value: int) -> None:
        self._tls.write((value,))

    def read_fp(self) -> tuple[list[int], int]:
        """The floating-point registers and FPSCR."""
        *values, fpscr = self._floating.read()
        return values, fpscr

    def write_fp(self, values: list[int], fpscr: int) -> None:
        """Load what `read_fp` gives."""
        self._floating.write((*values, fpscr))

    def read_xer(self) -> int:
        """XER with its flags."""
        saved = self.engine.save_context()
        xer, *flags = self._xer_words(saved)
        return int(xer) | sum(int(flag != 0) << bit for flag, bit in zip(flags, self._xer_bits))

    def write_xer(self, value: int) -> None:
        """Load what `read_xer` gives."""
        saved = self.engine.save_context()
        words = self._xer_words(saved)
        words[0] = value & ~sum(1 << bit for bit in self._xer_bits) & 0xFFFFFFFF
        for i, bit in enumerate(self._xer_bits):
            words[1 + i] = value >> bit & 1
        self.engine.restore_context(saved)

    @property
    def _xer_bits(self) -> tuple[int, ...]:
        return _XER_BITS if self.wide else _XER_BITS[:3]  # a 603e has no OV32 and CA32

    def _xer_words(self, saved: Any) -> Any:
        at = ctypes.cast(saved.context, ctypes.c_void_p).value or 0
        word = ctypes.c_uint64 if self.wide else ctypes.c_uint32
        return (word * (1 + len(self._xer_bits))).from_address(at + _xer_offset(self.engine.model))

    def read_vectors(self) -> tuple[list[int], list[int]]:
        """(the 32 vector registers, the lower halves of the first 32 vector-scalar registers); 64-bit CPUs only."""
        saved = self.engine.save_context()
        words = struct.unpack_from("<128Q", ctypes.string_at(saved.context, saved.size), _vsr_offset())
        return [words[i] | words[i + 1] << 64 for i in range(64, 128, 2)], list(words[0:64:2])

    def write_vectors(self, vectors: list[int], low_halves: list[int]) -> None:
        """Load what `read_vectors` gives."""
        saved = self.engine.save_context()
        at = ctypes.addressof(ctypes.c_char.from_address(ctypes.cast(saved.context, ctypes.c_void_p).value or 0))
        words = (ctypes.c_uint64 * 128).from_address(at + _vsr_offset())
        for i in range(32):
            words[2 * i] = low_halves[i]
            words[64 + 2 * i] = vectors[i] & (1 << 64) - 1
            words[65 + 2 * i] = vectors[i] >> 64
        self.engine.restore_context(saved)

    def describe(self) -> str:
        names = [*(f"r{i}" for i in range(32)), "nip", "ctr", "link", "xer", "ccr"]
        return " ".join(f"{n}={v:x}" for n, v in zip(names, self.general.read(), strict=True))


def _is_privileged(word: int) -> bool:
    """Is this an instruction of the supervisor: mfmsr, mtmsr(d), rfi(d), tlbie, SPRs with bit 4 of their number set."""
    primary, extended = word >> 26, word >> 1 & 0x3FF
    if primary == 19:
        return extended in (18, 50, 274)  # rfid, rfi, hrfid
    if primary != 31:
        return False
    if extended in (339, 467):  # mfspr, mtspr
        return bool(word >> 16 & 0x10)
    return extended in (83, 146, 178, 210, 242, 306, 274, 370, 402, 434, 498, 566, 595, 659, 851, 915)
