# SPDX-License-Identifier: GPL-2.0-or-later
"""The x86-64 signal frame (arch/x86/kernel/signal.c, signal_64.c, fpu/signal.c).

The kernel's accesses to the frame come in its order and at its addresses, since each may fault and be seen in a
trace. The area for the floating-point state is as large as on the CPU's model, though only the x87 and SSE parts are
in use here: the size decides where the frame lies, and thus which stack pages a signal touches.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

from archs.base import SI_QUEUE, SI_TIMER, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SigFrameContext, SigInfo
from archs.x86.cpu import EFLAGS_AC, EFLAGS_FIXED, EFLAGS_USER, USER_CS, USER_DS, X86Cpu
from emu.mm.pkeys import INIT_PKRU

FP_XSTATE_MAGIC1 = 0x46505853
FP_XSTATE_MAGIC2 = 0x46505845
XFEATURES = 0x3  # x87 and SSE: what the saved state holds
XFEATURE_PKRU = 0x200  # and this, on a CPU with protection keys
FRAME_SIZE = 440  # struct rt_sigframe: pretcode 8, ucontext 304, siginfo 128
UC_STRICT_RESTORE_SS = 4
SA_RESTORER = 0x04000000
SA_SIGINFO = 4
UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS = 1, 2, 4
_WORD = (1 << 64) - 1
_STACK, _XMM = 64, 192  # where the x87 registers and XMM0 lie in X86Cpu.floating
# What a handler begins with (fpu__clear_user_states): control word, status, tags, MXCSR; all registers empty or zero.
_INIT_FPSTATE = struct.pack("<I12xI12xI12xI12x", 0x37F, 0, 0xFFFF, 0x1F80).ljust(_XMM + 256, b"\0")


class Access(Protocol):
    """What of emu.mm.uaccess.Uaccess the frame needs."""

    mm: Any

    def copy_from_user(self, address: int, size: int, function: str = ...) -> bytes | None: ...

    def copy_to_user(self, address: int, data: bytes, function: str = ...) -> bool: ...

    def writable(self, address: int, function: str) -> bool: ...


# Positions of the general registers in X86Cpu.general and in struct sigcontext alike.
R8, R9, R10, R11, R12, R13, R14, R15, DI, SI, BP, BX, DX, AX, CX, SP, IP, FLAGS = range(18)
# The order in which the kernel stores them.
_STORE_ORDER = (DI, SI, BP, SP, BX, DX, CX, AX, R8, R9, R10, R11, R12, R13, R14, R15)


def pack_siginfo(info: SigInfo) -> bytes:
    """siginfo_t of a 64-bit little-endian ABI, 128 bytes."""
    head = struct.pack("<iii", info.signo, info.errno, info.code)
    if info.fields:
        return (head + info.fields).ljust(128, b"\0")
    head += bytes(4)
    if info.code > 0 and info.signo in (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP):
        body = struct.pack("<QQII", info.addr, 0, info.pkey, 0)
    elif info.code > 0 and info.signo == SIGCHLD:
        body = struct.pack("<IIi4xqq", info.pid, info.uid, info.status, info.utime, info.stime)
    elif info.code == SI_TIMER:
        body = struct.pack("<iiQ", info.pid, info.uid, info.value)
    elif info.code == SI_QUEUE:
        body = struct.pack("<IIQ", info.pid, info.uid, info.value)
    else:
        body = struct.pack("<IIi", info.pid, info.uid, info.status)
    return (head + body).ljust(128, b"\0")


def fxsave(cpu: X86Cpu) -> bytes:
    """The 512-byte FXSAVE image of the CPU, reserved bytes zero."""
    saved = cpu.floating.read()
    fcw, fsw, tags, mxcsr = (struct.unpack_from("<I", saved, 16 * i)[0] for i in range(4))
    abridged = sum(1 << i for i in range(8) if (tags >> 2 * i & 3) != 3)
    image = struct.pack("<HHBBHQQII", fcw, fsw, abridged, 0, 0, 0, 0, mxcsr, 0x2FFFF)
    top = fsw >> 11 & 7
    for i in range(8):
        at = _STACK + 16 * (top + i & 7)
        image += saved[at : at + 10] + bytes(6)
    return (image + saved[_XMM:]).ljust(512, b"\0")


def fxrstor(cpu: X86Cpu, image: bytes) -> bool:
    """Load an FXSAVE image; False when MXCSR has reserved bits set."""
    fcw, fsw, abridged, _, _, _, _, mxcsr, _ = struct.unpack_from("<HHBBHQQII", image)
    if mxcsr & ~0x2FFFF:
        return False
    tags = sum(3 << 2 * i for i in range(8) if not abridged >> i & 1)
    control = b"".join(struct.pack("<I12x", value) for value in (fcw, fsw, tags, mxcsr))
    top = fsw >> 11 & 7
    stack = b"".join(image[at : at + 16] for at in (32 + 16 * (i - top & 7) for i in range(8)))
    cpu.floating.write(control + stack + image[160:416])
    return True


def _save_fpstate(cpu: X86Cpu, access: Access, fx: int, pkru: int) -> bool:
    """copy_fpstate_to_sigframe: header, then all of the state with page faults disabled, pages brought in where that
    fails."""
    where = "copy_fpstate_to_sigframe"
    if not access.copy_to_user(fx + 512, bytes(64), where):
        return False
    image = fxsave(cpu)
    size = cpu.model.xstate_size
    features = XFEATURES
    if cpu.model.pkru_at:
        features |= XFEATURE_PKRU
    state = (image + struct.pack("<Q", features)).ljust(cpu.model.pkru_at or size, b"\0")
    if cpu.model.pkru_at:
        state = (state + struct.pack("<I", pkru)).ljust(size, b"\0")
    task = access.mm.memory.sched.current
    while True:
        task.pagefault_disabled += 1
        # XSAVE checks the far end of what it will write, then the near one.
        fits = access.writable(fx + size - 1, where) and access.copy_to_user(fx, state, where)
        task.pagefault_disabled -= 1
        if fits:
            break
        if not access.copy_to_user(fx, bytes(size), where):
            return False
    software = struct.pack("<IIQI", FP_XSTATE_MAGIC1, size + 4, cpu.model.xstate_features, size).ljust(48, b"\0")
    return access.copy_to_user(fx + 464, software, where) and access.copy_to_user(
        fx + size, struct.pack("<I", FP_XSTATE_MAGIC2), where
    )


def setup_rt_frame(cpu: X86Cpu, access: Access, frame: SigFrameContext) -> bool:
    """Build the frame, no protection key forbidding that; the handler begins with those of a new program
    (setup_rt_frame in handle_signal, sig_prepare_pkru). False when the frame cannot be written."""
    if not cpu.model.pkru_at:
        return _x64_setup_rt_frame(cpu, access, frame, 0)
    task = cpu.task
    pkru = task.pkru
    task.set_pkru(0)
    built = _x64_setup_rt_frame(cpu, access, frame, pkru)
    task.set_pkru(INIT_PKRU if built else pkru)
    return built


def _x64_setup_rt_frame(cpu: X86Cpu, access: Access, frame: SigFrameContext, pkru: int) -> bool:
    action = frame.action
    if not action.flags & SA_RESTORER:
        return False
    regs = [int(value) for value in cpu.general.read()]
    stack_base, stack_size, _ = frame.altstack
    sp = regs[SP] - 128  # the red zone
    nested = stack_size != 0 and stack_base < regs[SP] <= stack_base + stack_size
    entering = frame.on_altstack and not nested
    if entering:
        sp = stack_base + stack_size
    fx = sp - (cpu.model.xstate_size + 4) & -64
    base = (fx - FRAME_SIZE & -16) - 8
    if (nested or entering) and not stack_base < base <= stack_base + stack_size:
        return False
    if base < 0 or not _save_fpstate(cpu, access, fx, pkru):
        return False

    where = "x64_setup_rt_frame"
    context = base + 48  # uc_mcontext

    def put(address: int, value: int) -> bool:
        return access.copy_to_user(address, struct.pack("<Q", value & _WORD), where)

    sp_base, sp_size, sp_flags = frame.altstack
    ok = (
        put(base + 8, UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS)
        and put(base + 16, 0)
        and put(base + 24, sp_base)
        and put(base + 32, sp_flags)
        and put(base + 40, sp_size)
        and put(base, action.restorer)
    )
    if not ok:
        return False
    for register in _STORE_ORDER:
        if not put(context + 8 * register, regs[register]):
            return False
    thread = cpu.thread
    segments = USER_CS | USER_DS << 48
    ok = (
        put(context + 8 * 20, thread.trap_nr)
        and put(context + 8 * 19, thread.error_code)
        and put(context + 8 * IP, regs[IP])
        and put(context + 8 * FLAGS, regs[FLAGS])
        and put(context + 8 * 18, segments)
        and put(context + 8 * 23, fx)
        and put(context + 8 * 21, frame.blocked)
        and put(context + 8 * 22, thread.cr2)
        and all(put(context + 8 * (24 + i), 0) for i in range(8))
        and put(base + 304, frame.blocked)
    )
    if not ok:
        return False
    if action.flags & SA_SIGINFO:
        info = pack_siginfo(frame.info)
        if not access.copy_to_user(base + 312, info[:48], "copy_siginfo_to_user"):
            return False
        if not access.copy_to_user(base + 360, info[48:], "copy_siginfo_to_user"):
            return False

    regs[DI] = frame.info.signo
    regs[AX] = 0
    regs[SI] = base + 312
    regs[DX] = base + 8
    regs[IP] = action.handler
    regs[SP] = base
    regs[FLAGS] = regs[FLAGS] & ~0x10500 | EFLAGS_FIXED  # DF, RF, TF clear
    cpu.general.write(regs)
    cpu.floating.write(_INIT_FPSTATE)
    cpu.thread.checks_alignment = regs[FLAGS] & EFLAGS_AC != 0
    cpu.pc = action.handler
    return True


def is_canonical(address: int) -> bool:
    """Do bits 63 to 47 of an address agree."""
    return address >> 47 in (0, (1 << 17) - 1)


def _saved_pkru(cpu: X86Cpu, access: Access, fx: int, image: bytes) -> int | None:
    """PKRU as the state at `fx`, which begins with `image`, has it; None when it cannot be read."""
    magic, _, features = struct.unpack_from("<IIQ", image, 464)
    if magic != FP_XSTATE_MAGIC1 or not features & XFEATURE_PKRU:
        return INIT_PKRU
    present = access.copy_from_user(fx + 512, 8, "restore_fpregs_from_user")
    saved = access.copy_from_user(fx + cpu.model.pkru_at, 4, "restore_fpregs_from_user")
    if present is None or saved is None:
        return None
    return int.from_bytes(saved, "little") if int.from_bytes(present, "little") & XFEATURE_PKRU else 0


def rt_sigreturn(cpu: X86Cpu, access: Access) -> tuple[int, tuple[int, int, int]] | None:
    """sys_rt_sigreturn: (blocked mask, (ss_sp, ss_size, ss_flags)), or None for a frame that is no good. Protection
    keys do not keep the kernel from reading it.

    Registers that no program may have are there all the same: the signal that comes of them shows them.
    """
    task, before = cpu.task, 0
    if cpu.model.pkru_at:
        before = task.pkru
        task.set_pkru(0)
    restored = _rt_sigreturn(cpu, access)
    if restored is None and before:
        task.set_pkru(before)
    return restored


def _rt_sigreturn(cpu: X86Cpu, access: Access) -> tuple[int, tuple[int, int, int]] | None:
    base = cpu.sp - 8
    where = "__do_sys_rt_sigreturn"
    head = access.copy_from_user(base + 8, 40, where)
    mask = access.copy_from_user(base + 304, 8, where)
    if head is None or mask is None:
        return None
    sp_base, sp_flags, sp_size = struct.unpack_from("<QQQ", head, 16)
    saved = access.copy_from_user(base + 48, 256, where)
    if saved is None:
        return None
    words = struct.unpack("<32Q", saved)
    regs = list(words[:18])
    current = int(cpu.general.read()[FLAGS])
    regs[FLAGS] = current & ~EFLAGS_USER | words[FLAGS] & EFLAGS_USER | EFLAGS_FIXED
    cpu.general.write(regs)
    cpu.thread.checks_alignment = regs[FLAGS] & EFLAGS_AC != 0
    cpu.pc = regs[IP]
    fx = words[23]
    pkru: int | None = INIT_PKRU
    if fx:
        if access.copy_from_user(fx + 464, 48, "__fpu_restore_sig") is None or fx & 63:
            return None
        image = access.copy_from_user(fx, 512, where)
        if image is None or not fxrstor(cpu, image):
            return None
        if cpu.model.pkru_at:
            pkru = _saved_pkru(cpu, access, fx, image)
            if pkru is None:
                return None
    # IRET raises #GP for what no program may have: an address that is not canonical, the segments of others.
    strict = struct.unpack_from("<Q", head)[0] & UC_STRICT_RESTORE_SS
    if not is_canonical(regs[IP]):
        access.copy_from_user(regs[IP], 15)  # fixup_umip_exception looks for the instruction
        return None
    if words[18] & 0xFFFF | 3 != USER_CS:
        return None
    if strict and words[18] >> 48 | 3 != USER_DS:
        return None
    if cpu.model.pkru_at:
        cpu.task.set_pkru(pkru)
    return struct.unpack("<Q", mask)[0], (sp_base, sp_size, sp_flags & 0xFFFFFFFF)
