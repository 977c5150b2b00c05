# SPDX-License-Identifier: GPL-2.0-or-later
"""The x86-64 CPU: registers, system calls, traps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from unicorn import UC_ARCH_X86, UC_MODE_64, x86_const
from unicorn.x86_const import (
    UC_X86_INS_CPUID,
    UC_X86_INS_IN,
    UC_X86_INS_OUT,
    UC_X86_INS_RDTSC,
    UC_X86_INS_RDTSCP,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_FP0,
    UC_X86_REG_FPCW,
    UC_X86_REG_FPSW,
    UC_X86_REG_FPTAG,
    UC_X86_REG_FS_BASE,
    UC_X86_REG_GS_BASE,
    UC_X86_REG_MXCSR,
    UC_X86_REG_R8,
    UC_X86_REG_R9,
    UC_X86_REG_R10,
    UC_X86_REG_R11,
    UC_X86_REG_R12,
    UC_X86_REG_R13,
    UC_X86_REG_R14,
    UC_X86_REG_R15,
    UC_X86_REG_RAX,
    UC_X86_REG_RBP,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDI,
    UC_X86_REG_RDX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
    UC_X86_REG_XMM0,
)

from archs.base import (
    BUS_ADRALN,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    ILL_ILLOPN,
    KIND_BUDGET,
    KIND_FAULT,
    KIND_SYSCALL,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    SigInfo,
    TrapKind,
    UserAccess,
)
from archs.thread import ThreadCpu, thread_struct
from archs.x86.cpu_models import DEFAULT, CpuModel
from archs.x86.mm.pgtable import X86PageTableFormat
from emu.hw.engine import (
    STOP_BUDGET,
    STOP_FAULT,
    STOP_TRAP,
    TRAP_CHECKS,
    TRAP_ILLEGAL,
    TRAP_SYSCALL,
    Engine,
    EngineModel,
    Stop,
)
from emu.hw.mmu import READ, PageTableFormat
from emu.hw.ram import Ram
from emu.hw.registers import Registers
from emu.hw.x86_insn import instruction_bytes, is_canonical, mapped_bytes

MODEL = EngineModel(
    name="x86_64",
    uc_arch=UC_ARCH_X86,
    uc_mode=UC_MODE_64,
    cpu_model=None,
    format=PageTableFormat.X86_64,
    pc_reg=UC_X86_REG_RIP,
    insn_bytes=0,
)

GENERAL = (
    UC_X86_REG_R8, UC_X86_REG_R9, UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14,
    UC_X86_REG_R15, UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RBP, UC_X86_REG_RBX, UC_X86_REG_RDX, UC_X86_REG_RAX,
    UC_X86_REG_RCX, UC_X86_REG_RSP, UC_X86_REG_RIP, UC_X86_REG_EFLAGS,
)  # fmt: skip
"""The registers of struct sigcontext, in its order."""

FLOATING = (
    UC_X86_REG_FPCW, UC_X86_REG_FPSW, UC_X86_REG_FPTAG, UC_X86_REG_MXCSR,
    *range(UC_X86_REG_FP0, UC_X86_REG_FP0 + 8), *range(UC_X86_REG_XMM0, UC_X86_REG_XMM0 + 16),
)  # fmt: skip
"""What FXSAVE saves: x87 control, status and tag words, MXCSR, the x87 registers by number, the SSE registers."""

_CPUID_REGISTERS = (UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX, UC_X86_REG_RDX)

_CONTRIBUTORY = (0, 10, 11, 12, 13)  # exceptions of which a second one in the first would be a double fault
_PROGRAMS_MAY = (3, 4, 0x80)  # numbers of INT that are for programs
_PRIVILEGED = (b"\x0f\x07", b"\x0f\x33")  # SYSRET, RDPMC, which the engine calls unknown

_RSP, _FLAGS = 15, 17  # in GENERAL
USER_CS, USER_DS = 0x33, 0x2B  # the segments of a program

EFLAGS_FIXED = 0x202  # bit 1, which always reads as one, and IF
EFLAGS_AC = 0x40000  # alignment check
EFLAGS_USER = 0x244DD5  # what a program may change: CF PF AF ZF SF TF DF OF NT AC ID

TRAP_COUNTER = 0x100  # no vector: the engine stopped before RDTSC
TRAP_UNCHECKED = 0x101  # EFLAGS.AC is clear again
_MOST_COUNTER_READS = 64  # places of RDTSC at which an engine stops; each costs the translator a little


def _counter_read(code: bytes) -> int:
    """How long the RDTSC or RDTSCP is that this code begins with; 0: it does not."""
    return 2 if code[:2] == b"\x0f\x31" else 3 if code[:3] == b"\x0f\x01\xf9" else 0


class x86_thread(thread_struct):
    """struct thread_struct of arch/x86/include/asm/processor.h, and what the entry code keeps in pt_regs."""

    __slots__ = ("checks_alignment", "cr2", "eflags", "error_code", "orig_ax", "trap_nr")

    def __init__(self, registers: Registers) -> None:
        super().__init__(registers)
        self.cr2 = self.error_code = self.trap_nr = 0  # of the last exception that was a signal
        self.orig_ax = 0
        self.eflags = EFLAGS_FIXED  # as the system call found them
        self.checks_alignment = False  # EFLAGS.AC is set

    def assign(self, other: x86_thread) -> None:
        super().assign(other)
        self.cr2, self.error_code, self.trap_nr = other.cr2, other.error_code, other.trap_nr
        self.orig_ax, self.eflags, self.checks_alignment = other.orig_ax, other.eflags, other.checks_alignment


class X86Cpu(ThreadCpu[x86_thread]):
    """archs.base.Cpu for x86-64."""

    def __init__(self, ram: Ram, native: bool, serve_inside: bool, model: CpuModel = DEFAULT) -> None:
        self.model = model
        super().__init__(Engine(MODEL, ram, native=native, serve_inside=serve_inside), x86_thread)
        self.clock: Callable[[], int] = lambda: self.engine.retired() // 4  # virtual ns, for RDTSC
        self.in_turn: Callable[[], bool] = lambda: True
        self._counter_reads: dict[int, bool] = {}  # where RDTSC was executed; does the engine stop there
        self._watch = False
        self.name = "x86_64"
        self.task: Any = None  # whose registers are in the engine
        self.pins = 0
        self.vdso_address = 0
        self.trap_signal = SigInfo(0)
        self.general = self.engine.batch(GENERAL)
        self.floating = self.engine.wide_batch(FLOATING)
        self._call = self.engine.batch(
            (
                UC_X86_REG_RAX,
                UC_X86_REG_RDI,
                UC_X86_REG_RSI,
                UC_X86_REG_RDX,
                UC_X86_REG_R10,
                UC_X86_REG_R8,
                UC_X86_REG_R9,
                UC_X86_REG_EFLAGS,
            )
        )
        self._result = self.engine.batch((UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_R11))
        self._pkru_operands = self.engine.batch((UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX))
        self._sp = self.engine.batch((UC_X86_REG_RSP,))
        self._pc = self.engine.batch((UC_X86_REG_RIP,))
        self._segments = self.engine.batch((UC_X86_REG_FS_BASE, UC_X86_REG_GS_BASE))
        for instruction in (UC_X86_INS_RDTSC, UC_X86_INS_RDTSCP):
            self.engine.hook_instruction(instruction, self._rdtsc)
        self.engine.hook_instruction(UC_X86_INS_CPUID, self._cpuid)
        self._before_port: tuple[Any, int] | None = None  # the registers before an IN or OUT, and where that is
        for instruction in (UC_X86_INS_IN, UC_X86_INS_OUT):
            self.engine.hook_instruction(instruction, self._port)

    def _port(self) -> int:
        """IN, OUT and their like are not for user mode. The engine does them, and cannot be stopped before the end of
        the block: what came before is kept, and holds again then."""
        if self._before_port is None:
            uc = self.engine.uc
            ip = uc.reg_read(UC_X86_REG_RIP)
            self.engine.settle(ip)
            self._before_port = (self.engine.save_context(), ip)
            self.engine.stop()
        return 0

    def _rdtsc(self) -> int:
        """RDTSC and RDTSCP read virtual time.

        This is too late for other CPUs to go first, as they must if their clocks are earlier: from the next run on the
        engine stops before the instruction in that case.
        """
        uc = self.engine.uc
        ip = uc.reg_read(UC_X86_REG_RIP)
        if ip not in self._counter_reads and len(self._counter_reads) < _MOST_COUNTER_READS:
            self._counter_reads[ip] = False
            self._watch = True
        self.engine.settle(ip)
        now = self.clock()
        uc.reg_write(UC_X86_REG_RAX, now & 0xFFFFFFFF)
        uc.reg_write(UC_X86_REG_RDX, now >> 32)
        return 1

    def _stop_at_counter(self, ip: int) -> bool:
        """Is it not yet the turn of this CPU to read its counter."""
        self.engine.settle(ip)
        if self.in_turn():
            return False
        return _counter_read(instruction_bytes(self.engine.ram, self.engine.root, ip)) > 0

    def _watch_counter_reads(self) -> None:
        self._watch = False
        for ip, watched in self._counter_reads.items():
            if not watched:
                self._counter_reads[ip] = True
                self.engine.stop_before(ip, TRAP_COUNTER, self._stop_at_counter)

    def read_counter(self, now: int) -> None:
        ip = self.engine.pc
        size = _counter_read(instruction_bytes(self.engine.ram, self.engine.root, ip))
        if not size:  # another thread has changed it
            return
        uc = self.engine.uc
        uc.reg_write(UC_X86_REG_RAX, now & 0xFFFFFFFF)
        uc.reg_write(UC_X86_REG_RDX, now >> 32)
        self.pc = ip + size

    def _cpuid(self) -> int:
        """CPUID answers as the model does, where that has the leaf."""
        uc = self.engine.uc
        leaf = uc.reg_read(UC_X86_REG_RAX) & 0xFFFFFFFF
        known = self.model.leaf(leaf, uc.reg_read(UC_X86_REG_RCX) & 0xFFFFFFFF)
        if known is None:
            return 0
        for register, value in zip(_CPUID_REGISTERS, known, strict=True):
            uc.reg_write(register, value)
        return 1

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
        if self._watch:
            self._watch_counter_reads()
        stop = self._run_checked(budget) if self.thread.checks_alignment else engine.run(engine.pc, budget)
        if self._before_port is not None:
            context, ip = self._before_port
            self._before_port = None
            engine.restore_context(context)
            self.pc = ip
            return self._exception(13)
        if stop is STOP_TRAP:
            number = engine.trap_number
            if number == TRAP_SYSCALL:
                return KIND_SYSCALL
            if number == TRAP_COUNTER:
                return TrapKind.COUNTER
            if number in (TRAP_CHECKS, TRAP_UNCHECKED):
                self.thread.checks_alignment = number == TRAP_CHECKS
                return TrapKind.EMULATED
            return self._exception(number)
        if stop is STOP_BUDGET:
            return KIND_BUDGET
        if stop is STOP_FAULT:
            return KIND_FAULT
        return self._exception(13)  # hlt and its like: privileged

    def _run_checked(self, budget: int) -> Stop:
        """As Engine.run, one instruction after the other, while EFLAGS.AC is set."""
        from archs.x86.alignment import misaligned  # capstone takes a while to load

        engine = self.engine
        end = engine.retired() + budget
        with engine.stepping():
            while engine.retired() < end:
                pc = engine.pc
                if misaligned(instruction_bytes(engine.ram, engine.root, pc), pc, self._register):
                    engine.trap_number = 17
                    return Stop.TRAP
                stop = engine.step(pc)
                if stop is not None:
                    return stop
                if not engine.uc.reg_read(UC_X86_REG_EFLAGS) & EFLAGS_AC:
                    engine.trap_number = TRAP_UNCHECKED
                    return Stop.TRAP
        return Stop.BUDGET

    def _register(self, name: str) -> int:
        return int(self.engine.uc.reg_read(getattr(x86_const, f"UC_X86_REG_{name.upper()}")))

    def _exception(self, vector: int) -> TrapKind:
        """arch/x86/kernel/traps.c: which signal an exception is."""
        ip = self.engine.pc
        if vector == 13 and self._iretq(ip):
            return TrapKind.EMULATED
        thread = self.thread
        thread.trap_nr = vector
        thread.error_code = 0
        if vector in _CONTRIBUTORY:
            self.engine.clear_exception()
        number = 6 if vector == TRAP_ILLEGAL else vector
        start = ip if number == 6 else ip - 2
        if number not in _PROGRAMS_MAY and self._code(start, 2) == bytes((0xCD, number)):
            # INT n, of which the engine makes that exception: a general protection fault of the instruction itself.
            self.pc = start
            thread.trap_nr, thread.error_code = 13, number << 3 | 2
            self.trap_signal = SigInfo(SIGSEGV, SI_KERNEL)
        elif vector == TRAP_ILLEGAL or vector == 6:
            if self.model.pkru_at:
                done = self._pkru_instruction(ip)
                if done is not None:
                    return done
            code = self._code(ip, 3)
            if code[:1] == b"\xf1":  # INT1
                self.pc = ip + 1
                thread.trap_nr = 1
                self.trap_signal = SigInfo(SIGTRAP, TRAP_BRKPT, addr=ip + 1)
                return TrapKind.SIGNAL
            if code[code[:1] == b"\x48" :].startswith(_PRIVILEGED):
                return self._exception(13)
            thread.trap_nr = 6
            self.trap_signal = SigInfo(SIGILL, ILL_ILLOPN, addr=ip)
        elif vector == 0:
            self.trap_signal = SigInfo(SIGFPE, FPE_INTDIV, addr=ip)
        elif vector == 1:
            self.trap_signal = SigInfo(SIGTRAP, TRAP_TRACE, addr=ip)
        elif vector == 3:
            self.trap_signal = SigInfo(SIGTRAP, SI_KERNEL)
        elif vector in (11, 12):
            self.trap_signal = SigInfo(SIGBUS, SI_KERNEL)
        elif vector == 17:
            self.trap_signal = SigInfo(SIGBUS, BUS_ADRALN)
        elif vector in (16, 19):
            self.trap_signal = SigInfo(SIGFPE, self._fpe_code(vector), addr=ip)
        elif vector == 0x80:  # the 32-bit system call gate, which is not there
            self._result.write(((1 << 64) - 38, *self._result.read()[1:]))
            return TrapKind.EMULATED
        else:
            thread.trap_nr = 4 if vector == 4 else 13
            self.trap_signal = SigInfo(SIGSEGV, SI_KERNEL)
        return TrapKind.SIGNAL

    def _code(self, ip: int, size: int) -> bytes:
        return instruction_bytes(self.engine.ram, self.engine.root, ip)[:size]

    def _iretq(self, ip: int) -> bool:
        """IRETQ to user mode (Intel SDM volume 2): the engine has no descriptor tables to find the segments in. Is it
        one, with those that a program has."""
        engine = self.engine
        if self._code(ip, 2) != b"\x48\xcf":
            return False
        registers = self.general.read()
        frame = mapped_bytes(engine.ram, engine.root, registers[_RSP], 40, READ)
        if len(frame) < 40:
            return False
        pc, cs, flags, sp, ss = struct.unpack("<5Q", frame)
        if (cs & 0xFFFF, ss & 0xFFFF) != (USER_CS, USER_DS) or not is_canonical(pc):
            return False
        current = registers[_FLAGS]
        registers[_RSP] = sp
        registers[_FLAGS] = current & ~EFLAGS_USER | flags & EFLAGS_USER | EFLAGS_FIXED
        self.general.write(registers)
        self.thread.checks_alignment = flags & EFLAGS_AC != 0
        self.pc = pc
        return True

    def _pkru_instruction(self, ip: int) -> TrapKind | None:
        """RDPKRU and WRPKRU (Intel SDM volume 2), which the engine does not know; None when it is none of them."""
        code = self._code(ip, 4)
        rex = int(code[:1] != b"" and code[0] & 0xF0 == 0x40)
        if code[rex : rex + 2] != b"\x0f\x01" or code[rex + 2 : rex + 3] not in (b"\xee", b"\xef"):
            return None
        rax, rcx, rdx = self._pkru_operands.read()
        write = code[rex + 2] == 0xEF
        if rcx & 0xFFFFFFFF or (write and rdx & 0xFFFFFFFF):
            return self._exception(13)
        if write:
            self.task.set_pkru(rax & 0xFFFFFFFF)
        else:
            self._pkru_operands.write((self.task.pkru, rcx, 0))
        self.pc = ip + rex + 3
        return TrapKind.EMULATED

    def _fpe_code(self, vector: int) -> int:
        """fpu__exception_code: the unmasked exception of the x87 or the SSE unit."""
        uc = self.engine.uc
        if vector == 16:
            pending = int(uc.reg_read(UC_X86_REG_FPSW))
        else:
            mxcsr = int(uc.reg_read(UC_X86_REG_MXCSR))
            pending = mxcsr & ~(mxcsr >> 7)
        for bit, code in (
            (1, FPE_FLTINV),
            (4, FPE_FLTDIV),
            (8, FPE_FLTOVF),
            (0x12, FPE_FLTUND),
            (0x20, FPE_FLTRES),
        ):
            if pending & bit:
                return code
        return 0

    def syscall_args(self) -> tuple[int, int, int, int, int, int, int]:
        thread = self.thread
        nr, a0, a1, a2, a3, a4, a5, thread.eflags = self._call.read()
        thread.orig_ax = nr
        return nr, a0, a1, a2, a3, a4, a5

    def set_syscall_result(self, value: int) -> None:
        # The instruction itself leaves the return address in RCX and the flags in R11.
        self._result.write((value & 0xFFFF_FFFF_FFFF_FFFF, self.engine.pc, self.thread.eflags))

    def restart_syscall(self, number: int | None = None) -> None:
        self.pc = self.engine.pc - 2
        thread = self.thread
        self._result.write((thread.orig_ax if number is None else number, self.engine.pc + 2, thread.eflags))

    def start_thread(self, entry: int, sp: int, bias: int, e_flags: int, access: UserAccess) -> None:
        self.general.write([0] * 15 + [sp, entry, EFLAGS_FIXED])
        self.thread.checks_alignment = False
        self._segments.write((0, 0))
        self.engine.uc.reg_write(UC_X86_REG_MXCSR, 0x1F80)
        self.engine.uc.reg_write(UC_X86_REG_FPCW, 0x37F)
        self.engine.uc.reg_write(UC_X86_REG_FPSW, 0)
        self.engine.uc.reg_write(UC_X86_REG_FPTAG, 0xFFFF)
        self.pc = entry

    def may_be_tls(self, value: int) -> bool:
        return value < X86PageTableFormat.task_size

    def set_tls(self, value: int) -> None:
        self._segments.write((value, self._segments.read()[1]))

    def segment_bases(self) -> tuple[int, int]:
        """FS base and GS base."""
        fs, gs = self._segments.read()
        return int(fs), int(gs)

    def set_segment_bases(self, fs: int, gs: int) -> None:
        """Set both."""
        self._segments.write((fs, gs))

    def describe(self) -> str:
        names = [
            "r8",
            "r9",
            "r10",
            "r11",
            "r12",
            "r13",
            "r14",
            "r15",
            "rdi",
            "rsi",
            "rbp",
            "rbx",
            "rdx",
            "rax",
            "rcx",
            "rsp",
            "rip",
            "eflags",
        ]
        return " ".join(f"{n}={v:x}" for n, v in zip(names, self.general.read(), strict=True))
