# SPDX-License-Identifier: GPL-2.0-or-later
"""The PowerPC signal frames (arch/powerpc/kernel/signal_64.c, signal_32.c, uapi/asm/sigcontext.h, ucontext.h).

On 64 bits the handler is called by the trampoline of the vDSO, through CTR; on 32 bits the trampoline is where it
returns to. A 32-bit handler without SA_SIGINFO has a frame of its own, which sigreturn undoes.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

from archs.base import SI_QUEUE, SI_TIMER, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SigFrameContext, SigInfo
from archs.powerpc.cpu import CCR, CTR, LINK, MSR_VEC, MSR_VSX, NIP, PowerPcCpu

NR_SIGRETURN, NR_RT_SIGRETURN = 119, 172
SA_SIGINFO = 4
SS_AUTODISARM = 1 << 31
_FAULT_SIGNALS = (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP)

SIGNAL_FRAMESIZE_64, SIGNAL_FRAMESIZE_32 = 128, 64  # __SIGNAL_FRAMESIZE
# struct ucontext of 64-bit machines, in struct rt_sigframe at 0.
UC64_STACK, UC64_SIGMASK, UC64_MCONTEXT = 16, 40, 168
# struct sigcontext: _unused[4], signal, handler, oldmask, regs, gp_regs[48], fp_regs[33], v_regs, vmx_reserve[101].
SC_SIGNAL, SC_HANDLER, SC_OLDMASK, SC_REGS, SC_GP_REGS, SC_FP_REGS, SC_V_REGS, SC_VMX = (
    32,
    40,
    48,
    56,
    64,
    448,
    712,
    720,
)
UC64_SIZE = UC64_MCONTEXT + SC_VMX + 101 * 8
RT64_PINFO, RT64_PUC = UC64_SIZE + 48, UC64_SIZE + 56  # behind _unused[2] and tramp[7]
RT64_INFO = UC64_SIZE + 64
RT64_SIZE = RT64_INFO + 128 + 512  # the gap is what the ABI lets programs use below their stack pointer
# struct rt_sigframe of 32-bit machines: siginfo, ucontext, a gap of 56 words.
UC32_STACK, UC32_REGS, UC32_SIGMASK, UC32_MCONTEXT = 8, 48, 52, 192
MC32_FREGS, MC32_VREGS, MC32_SIZE = 192, 464, 1248
RT32_UC = 128
RT32_SIZE = RT32_UC + UC32_MCONTEXT + MC32_SIZE + 224
# struct sigframe: sigcontext of 32 bytes, mcontext, the gap.
SIG32_REGS = 28  # sigcontext.regs
UC64_REGS = UC64_MCONTEXT + SC_REGS
SIG32_SIZE = 32 + MC32_SIZE + 224
MINSIGSTKSZ_64 = RT64_SIZE + SIGNAL_FRAMESIZE_64
MINSIGSTKSZ_32 = RT32_SIZE + SIGNAL_FRAMESIZE_32 + 16

# Trampolines. 64 bits: bctrl, addi r1,r1,128, li r0,rt_sigreturn, sc; 32 bits: li r0,n, sc for both calls.
_LI_R0, _SC = 0x3800_0000, 0x4400_0002
TRAMPOLINE_64 = (0x4E80_0421, 0x3821_0000 | SIGNAL_FRAMESIZE_64, _LI_R0 | NR_RT_SIGRETURN, _SC)
TRAMPOLINE_32 = (_LI_R0 | NR_SIGRETURN, _SC, _LI_R0 | NR_RT_SIGRETURN, _SC)


def pack_siginfo(info: SigInfo, order: str, wide: bool) -> bytes:
    """siginfo_t, 128 bytes."""
    word = "Q" if wide else "I"
    head = struct.pack(order + "iii", info.signo, info.errno, info.code)
    if info.fields:
        return (head + info.fields).ljust(128, b"\0")
    if wide:
        head += bytes(4)
    if info.code > 0 and info.signo in _FAULT_SIGNALS:
        body = struct.pack(order + word, info.addr)
    elif info.code > 0 and info.signo == SIGCHLD:
        times = "4xqq" if wide else "ii"
        body = struct.pack(f"{order}IIi{times}", info.pid, info.uid, info.status, info.utime, info.stime)
    elif info.code == SI_TIMER:
        body = struct.pack(order + "ii" + word, info.pid, info.uid, info.value)
    elif info.code == SI_QUEUE:
        body = struct.pack(order + "II" + word, info.pid, info.uid, info.value)
    else:
        body = struct.pack(order + "IIi", info.pid, info.uid, info.status)
    return (head + body).ljust(128, b"\0")


def _frame_base(sp: int, frame: SigFrameContext, size: int) -> int:
    """get_sigframe."""
    base, length, flags = frame.altstack
    if frame.on_altstack and length and (flags & SS_AUTODISARM or not base < sp <= base + length):
        sp = base + length
    return (sp - size) & -16


def _gp_regs(cpu: PowerPcCpu, regs: list[int], msr: int) -> list[int]:
    """elf_gregset_t: r0-r31, nip, msr, orig_gpr3, ctr, link, xer, ccr, softe or mq, trap, dar, dsisr, result, 4."""
    softe = 1 if cpu.wide else 0
    return [
        *regs[:32], regs[NIP], msr, cpu.thread.orig_gpr3, regs[CTR], regs[LINK], cpu.read_xer(), regs[CCR], softe,
        cpu.thread.trap, cpu.thread.dar, cpu.thread.dsisr, 0, 0, 0, 0, 0,
    ]  # fmt: skip


def _load_gp_regs(cpu: PowerPcCpu, saved: tuple[int, ...]) -> None:
    regs = [*saved[:32], saved[32], saved[35], saved[36], saved[37], saved[38]]
    cpu.general.write(regs)
    cpu.write_xer(saved[37])
    cpu.thread.orig_gpr3 = saved[34]
    cpu.thread.dar, cpu.thread.dsisr = saved[41], saved[42]
    cpu.pc = saved[32] & ~3


def setup_rt_frame_64(cpu: PowerPcCpu, access: Any, frame: SigFrameContext, task_size: int) -> bool:
    """handle_rt_signal64: False when the frame cannot be written."""
    order, where = cpu.order, "handle_rt_signal64"
    regs = [int(value) for value in cpu.general.read()]
    base = _frame_base(regs[1], frame, RT64_SIZE)
    if base < 0 or base + RT64_SIZE > task_size:
        return False

    def put(offset: int, layout: str, *values: int) -> bool:
        return bool(access.copy_to_user(base + offset, struct.pack(order + layout, *values), where))

    sc = UC64_MCONTEXT
    v_regs = base + sc + SC_VMX + 15 & -16
    vectors, low_halves = cpu.read_vectors()
    floats, fpscr = cpu.read_fp()
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    ok = (
        put(RT64_PINFO, "Q", base + RT64_INFO)
        and put(RT64_PUC, "Q", base)
        and put(0, "Q", 0)
        and put(UC64_STACK, "QiiQ", frame.altstack[0], _signed(frame.altstack[2]), 0, frame.altstack[1])
        and put(8, "Q", 0)
        and put(sc + SC_V_REGS, "Q", v_regs)
        and access.copy_to_user(v_regs, b"".join(v.to_bytes(16, byteorder) for v in vectors) + bytes(20), where)
        and put(sc + SC_FP_REGS, "33Q", *floats, fpscr)
        and access.copy_to_user(v_regs + 34 * 16, struct.pack(order + "32Q", *low_halves), where)
        and put(sc + SC_REGS, "Q", base + sc + SC_GP_REGS)
        and put(sc + SC_GP_REGS, "48Q", *_gp_regs(cpu, regs, cpu.msr))
        and put(sc + SC_SIGNAL, "i", frame.info.signo)
        and put(sc + SC_HANDLER, "Q", frame.action.handler)
        and put(UC64_SIGMASK, "Q", frame.blocked)
        and access.copy_to_user(base + RT64_INFO, pack_siginfo(frame.info, order, True), "copy_siginfo_to_user")
    )
    if not ok:
        return False
    sp = base - SIGNAL_FRAMESIZE_64
    if not access.copy_to_user(sp, struct.pack(order + "Q", regs[1]), where):
        return False
    if cpu.thread.elfv1:
        descriptor = access.copy_from_user(frame.action.handler, 16, where)
        if descriptor is None:
            return False
        regs[CTR], regs[2] = struct.unpack(order + "QQ", descriptor)
    else:
        regs[CTR] = regs[12] = frame.action.handler
    regs[1] = sp
    regs[3] = frame.info.signo
    if frame.action.flags & SA_SIGINFO:
        regs[4], regs[5], regs[6] = base + RT64_INFO, base, base
    else:
        regs[4] = base + sc
    regs[NIP] = cpu.vdso_address + cpu.sigtramp_rt
    cpu.general.write(regs)
    cpu.write_fp(floats, 0)
    cpu.pc = regs[NIP]
    return True


def rt_sigreturn_64(cpu: PowerPcCpu, access: Any, task_size: int) -> tuple[int, tuple[int, int, int]] | None:
    """sys_rt_sigreturn of 64-bit machines."""
    order, where = cpu.order, "sys_rt_sigreturn"
    base = cpu.sp
    sc = base + UC64_MCONTEXT
    if base + UC64_SIZE > task_size:
        return None
    mask = access.copy_from_user(base + UC64_SIGMASK, 8, where)
    gp_regs = access.copy_from_user(sc + SC_GP_REGS, 44 * 8, where)
    if mask is None or gp_regs is None:
        return None
    saved = struct.unpack(order + "44Q", gp_regs)
    pointer = access.copy_from_user(sc + SC_V_REGS, 8, where)
    if pointer is None:
        return None
    (v_regs,) = struct.unpack(order + "Q", pointer)
    vectors, low_halves = [0] * 32, [0] * 32
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    if v_regs:
        if v_regs + 34 * 16 > task_size:
            return None
        if saved[33] & MSR_VEC:
            data = access.copy_from_user(v_regs, 33 * 16, where)
            if data is None:
                return None
            vectors = [int.from_bytes(data[16 * i : 16 * i + 16], byteorder) for i in range(32)]
    floats = access.copy_from_user(sc + SC_FP_REGS, 33 * 8, where)
    if floats is None:
        return None
    if v_regs and saved[33] & MSR_VSX:
        data = access.copy_from_user(v_regs + 34 * 16, 256, where)
        if data is None:
            return None
        low_halves = list(struct.unpack(order + "32Q", data))
    stack = access.copy_from_user(base + UC64_STACK, 24, where)
    if stack is None:
        return None
    *values, fpscr = struct.unpack(order + "33Q", floats)
    cpu.write_vectors(vectors, low_halves)
    cpu.write_fp(values, fpscr & 0xFFFF_FFFF)
    _load_gp_regs(cpu, saved)
    ss_sp, ss_flags, ss_size = struct.unpack(order + "QI4xQ", stack)
    return struct.unpack(order + "Q", mask)[0], (ss_sp, ss_size, ss_flags)


def _save_user_regs(cpu: PowerPcCpu, access: Any, at: int, regs: list[int], where: str) -> bool:
    """__unsafe_save_user_regs: the mcontext of 32-bit machines. A 603 has no vector registers; VRSAVE is 0."""
    floats, fpscr = cpu.read_fp()
    order = cpu.order
    return bool(
        access.copy_to_user(at, struct.pack(order + "48I", *_gp_regs(cpu, regs, cpu.msr)), where)
        and access.copy_to_user(at + MC32_VREGS + 32 * 16, bytes(4), where)
        and access.copy_to_user(at + MC32_FREGS, struct.pack(order + "33Q", *floats, fpscr), where)
    )


def _restore_user_regs(cpu: PowerPcCpu, access: Any, at: int, where: str) -> bool:
    gp_regs = access.copy_from_user(at, 48 * 4, where)
    if gp_regs is None:
        return False
    floats = access.copy_from_user(at + MC32_FREGS, 33 * 8, where)
    if floats is None:
        return False
    *values, fpscr = struct.unpack(cpu.order + "33Q", floats)
    cpu.write_fp(values, fpscr & 0xFFFF_FFFF)
    _load_gp_regs(cpu, struct.unpack(cpu.order + "48I", gp_regs))
    return True


def setup_rt_frame_32(cpu: PowerPcCpu, access: Any, frame: SigFrameContext, task_size: int) -> bool:
    """handle_rt_signal32, and handle_signal32 for a handler without SA_SIGINFO: False when the frame cannot be
    written."""
    order = cpu.order
    regs = [int(value) for value in cpu.general.read()]
    old_sp = regs[1]
    rt = bool(frame.action.flags & SA_SIGINFO)
    where = "handle_rt_signal32" if rt else "handle_signal32"
    size = RT32_SIZE if rt else SIG32_SIZE
    base = _frame_base(old_sp, frame, size)
    if base < 0 or base + size > task_size:
        return False

    def put(address: int, layout: str, *values: int) -> bool:
        return bool(access.copy_to_user(address, struct.pack(order + layout, *values), where))

    low, high = frame.blocked & 0xFFFF_FFFF, frame.blocked >> 32
    if rt:
        uc = base + RT32_UC
        ok = (
            put(uc, "I", 0)
            and put(uc + UC32_STACK, "IiI", frame.altstack[0], _signed(frame.altstack[2]), frame.altstack[1])
            and put(uc + UC32_REGS, "I", uc + UC32_MCONTEXT)
            and put(uc + 4, "I", 0)
            and _save_user_regs(cpu, access, uc + UC32_MCONTEXT, regs, where)
            and put(uc + UC32_SIGMASK, "II", low, high)
            and access.copy_to_user(base, pack_siginfo(frame.info, order, False), "copy_siginfo_to_user")
        )
        sp = base - (SIGNAL_FRAMESIZE_32 + 16)
        regs[LINK] = cpu.vdso_address + cpu.sigtramp_rt
        regs[4], regs[5], regs[6] = base, uc, base
    else:
        ok = put(base + 20, "III", frame.action.handler, low, base + 32) and put(base + 12, "I", high)
        ok = ok and put(base + 16, "i", frame.info.signo) and _save_user_regs(cpu, access, base + 32, regs, where)
        sp = base - SIGNAL_FRAMESIZE_32
        regs[LINK] = cpu.vdso_address + cpu.sigtramp
        regs[4] = base
    if not ok or not put(sp, "I", old_sp):
        return False
    regs[1] = sp
    regs[3] = frame.info.signo
    regs[NIP] = frame.action.handler
    cpu.general.write(regs)
    cpu.write_fp(cpu.read_fp()[0], 0)
    cpu.pc = frame.action.handler
    return True


def rt_sigreturn_32(cpu: PowerPcCpu, access: Any, task_size: int) -> tuple[int, tuple[int, int, int]] | None:
    """sys_rt_sigreturn of 32-bit machines."""
    where = "sys_rt_sigreturn"
    uc = cpu.sp + SIGNAL_FRAMESIZE_32 + 16 + RT32_UC
    if uc + UC32_MCONTEXT + MC32_SIZE > task_size:
        return None
    mask = access.copy_from_user(uc + UC32_SIGMASK, 8, where)
    pointer = access.copy_from_user(uc + UC32_REGS, 4, where)
    stack = access.copy_from_user(uc + UC32_STACK, 12, where)
    if mask is None or pointer is None or stack is None:
        return None
    if not _restore_user_regs(cpu, access, struct.unpack(cpu.order + "I", pointer)[0], where):
        return None
    low, high = struct.unpack(cpu.order + "II", mask)
    ss_sp, ss_flags, ss_size = struct.unpack(cpu.order + "III", stack)
    return high << 32 | low, (ss_sp, ss_size, ss_flags)


def sigreturn_32(cpu: PowerPcCpu, access: Any) -> int | None:
    """sys_sigreturn: the blocked mask, or None for a frame that is no good."""
    where = "sys_sigreturn"
    context = access.copy_from_user(cpu.sp + SIGNAL_FRAMESIZE_32, 32, where)
    if context is None:
        return None
    _, _, _, high, _, _, low, regs = struct.unpack(cpu.order + "8I", context)
    return high << 32 | low if _restore_user_regs(cpu, access, regs, where) else None


def _signed(flags: int) -> int:
    return flags - (1 << 32) if flags >> 31 else flags
