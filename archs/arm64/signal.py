# SPDX-License-Identifier: GPL-2.0-or-later
"""The ARM64 signal frame (arch/arm64/kernel/signal.c, arch/arm64/include/uapi/asm/sigcontext.h).

From the stack pointer up: siginfo (128 bytes), ucontext (4560), and above them the frame record of two words that x29
points to. The last 4096 bytes of the ucontext hold records, each with a magic number and a size: the vector registers,
the syndrome where there was a fault, and an end mark. The kernel's accesses come in its order, since each may fault and
be seen in a trace.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Protocol

from archs.arm64.cpu import PSTATE_NZCV, Arm64Cpu, untagged_addr
from archs.arm64.mm.pgtable import TASK_SIZE
from archs.base import (
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_QUEUE,
    SI_TIMER,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    SigFrameContext,
    SigInfo,
)
from emu.mm.mm_types import mm_struct
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock

NR_RT_SIGRETURN = 139
# The signal trampoline of the vDSO. Unwinders look for its two instructions, some at the address before: hence the nop.
SIGPAGE = struct.pack("<III", 0xD503201F, 0xD2800008 | NR_RT_SIGRETURN << 5, 0xD4000001)
SIGTRAMP_OFFSET = 4

# Offsets in struct rt_sigframe.
UC = 128  # uc_flags, uc_link
UC_STACK = UC + 16
UC_SIGMASK = UC + 40
UC_MCONTEXT = UC + 176
MC_FAULT_ADDRESS = UC_MCONTEXT
MC_REGS = UC_MCONTEXT + 8  # x0-x30, sp, pc, pstate
MC_RESERVED = UC_MCONTEXT + 288
RESERVED_SIZE = 4096
FRAME_SIZE = MC_RESERVED + RESERVED_SIZE  # sizeof(struct rt_sigframe)
SIGFRAME_MAXSZ = 256 << 10

FPSIMD_MAGIC, FPSIMD_SIZE = 0x46508001, 528
ESR_MAGIC, ESR_SIZE = 0x45535201, 16
EXTRA_MAGIC, EXTRA_SIZE = 0x45585401, 32
TERMINATOR_SIZE = 16

SA_SIGINFO = 0x4
SA_EXPOSE_TAGBITS = 0x800
SA_RESTORER = 0x04000000
SS_AUTODISARM = 1 << 31

# PSTATE: bits that AArch64 does not have, and those that must be clear for a return to EL0: mode, AArch32, DAIF.
_PSTATE_RES0 = 0xFFFF_FFFF << 32 | 3 << 26 | 3 << 22 | 0xFF << 13 | 1 << 5
_PSTATE_MUST_BE_ZERO = 0xF << 6 | 1 << 4 | 0xF
_FAULT_SIGNALS = (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP)


class Access(Protocol):
    """What of emu.mm.uaccess.Uaccess the frame needs."""

    mm: mm_struct

    def copy_from_user(self, address: int, size: int, function: str = ...) -> bytes | None: ...

    def copy_to_user(self, address: int, data: bytes, function: str = ...) -> bool: ...


def pack_siginfo(info: SigInfo) -> bytes:
    """siginfo_t of a 64-bit little-endian ABI, 128 bytes."""
    head = struct.pack("<iii", info.signo, info.errno, info.code)
    if info.fields:
        return (head + info.fields).ljust(128, b"\0")
    head += bytes(4)
    if info.code > 0 and info.signo in _FAULT_SIGNALS:
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


def _hide_si_addr_tag_bits(info: SigInfo) -> SigInfo:
    """A handler that did not ask for tag bits sees addresses without them."""
    if info.code <= 0 or info.signo not in _FAULT_SIGNALS:
        return info
    if info.signo == SIGTRAP and info.code == TRAP_BRKPT:
        return info
    if info.fields:
        addr = untagged_addr(int.from_bytes(info.fields[4:12], "little"))
        return replace(info, fields=info.fields[:4] + addr.to_bytes(8, "little") + info.fields[12:])
    return SigInfo(info.signo, info.code, info.errno, untagged_addr(info.addr), pkey=info.pkey)


def setup_rt_frame(cpu: Arm64Cpu, access: Access, frame: SigFrameContext) -> bool:
    """setup_rt_frame, setup_sigframe, setup_return: False when the frame cannot be written."""
    action = frame.action
    regs = [int(value) for value in cpu.general.read()]
    sp = regs[31]
    stack_base, stack_size, stack_flags = frame.altstack
    # get_sigframe
    if frame.on_altstack and stack_size:
        nested = not stack_flags & SS_AUTODISARM and stack_base < sp <= stack_base + stack_size
        if not nested:
            sp = stack_base + stack_size
    top = sp
    record = sp - 16 & -16
    base = record - FRAME_SIZE
    if base < 0 or top > TASK_SIZE:
        return False

    where = "setup_rt_frame"

    def put(address: int, layout: str, *values: int) -> bool:
        return access.copy_to_user(address, struct.pack(layout, *values), where)

    ok = (
        put(base + UC, "<QQ", 0, 0)
        and put(base + UC_STACK, "<Q", stack_base)
        and put(base + UC_STACK + 8, "<I", stack_flags & 0xFFFF_FFFF)
        and put(base + UC_STACK + 16, "<Q", stack_size)
        and put(record, "<QQ", regs[29], regs[30])
        and put(base + MC_REGS, "<34Q", *regs)
        and put(base + MC_FAULT_ADDRESS, "<Q", cpu.thread.fault_address)
        and put(base + UC_SIGMASK, "<Q", frame.blocked)
    )
    if not ok:
        return False
    at = base + MC_RESERVED
    vectors, fpsr, fpcr = cpu.read_fp()
    if not (
        access.copy_to_user(at + 16, vectors, where)
        and put(at + 8, "<II", fpsr, fpcr)
        and put(at, "<II", FPSIMD_MAGIC, FPSIMD_SIZE)
    ):
        return False
    at += FPSIMD_SIZE
    if cpu.thread.fault_code:
        if not put(at, "<IIQ", ESR_MAGIC, ESR_SIZE, cpu.thread.fault_code):
            return False
        at += ESR_SIZE
    if not put(at, "<II", 0, 0):
        return False
    if action.flags & SA_SIGINFO:
        info = frame.info if action.flags & SA_EXPOSE_TAGBITS else _hide_si_addr_tag_bits(frame.info)
        packed = pack_siginfo(info)
        if not access.copy_to_user(base, packed[:48], "copy_siginfo_to_user"):
            return False
        if not access.copy_to_user(base + 48, packed[48:], "copy_siginfo_to_user"):
            return False

    regs[0] = frame.info.signo
    if action.flags & SA_SIGINFO:
        regs[1] = base
        regs[2] = base + UC
    regs[29] = record
    regs[30] = action.restorer if action.flags & SA_RESTORER else cpu.vdso_address + SIGTRAMP_OFFSET
    regs[31] = base
    regs[32] = action.handler
    cpu.general.write(regs)
    cpu.pc = action.handler
    return True


def _find_fpsimd(access: Access, base: int, where: str) -> int | None:
    """parse_user_sigframe: the address of the vector registers' record; None when the records make no sense."""
    start = at = base + MC_RESERVED
    limit = RESERVED_SIZE
    fpsimd = None
    extra_seen = False
    if start & 15:
        return None
    while True:
        if limit - (at - start) < 8 or at - start & 15:
            return None
        head = access.copy_from_user(at, 8, where)
        if head is None:
            return None
        magic, size = struct.unpack("<II", head)
        if limit - (at - start) < size:
            return None
        if magic == 0:
            return None if size else fpsimd
        if magic == FPSIMD_MAGIC:
            if fpsimd is not None or size != FPSIMD_SIZE:
                return None
            fpsimd = at
        elif magic == EXTRA_MAGIC:
            if extra_seen or size < EXTRA_SIZE or limit - (at - start) - size < TERMINATOR_SIZE:
                return None
            body = access.copy_from_user(at + 8, 12, where)
            end = access.copy_from_user(at + size, 8, where)
            if body is None or end is None or any(end):
                return None
            data, extra_size = struct.unpack("<QI", body)
            behind = at + size + TERMINATOR_SIZE
            if data & 15 or extra_size & 15 or data != behind or extra_size > base + SIGFRAME_MAXSZ - behind:
                return None
            if data + extra_size > TASK_SIZE:
                return None
            extra_seen = True
            start = at = data
            limit = extra_size
            continue
        elif magic != ESR_MAGIC:
            return None
        if size < 8:
            return None
        at += size


def rt_sigreturn(cpu: Arm64Cpu, access: Access) -> tuple[int, tuple[int, int, int]] | None:
    """sys_rt_sigreturn: (blocked mask, (ss_sp, ss_size, ss_flags)), or None for a frame that is no good.

    As in Linux the general registers are those of the frame even when what comes after them is refused.
    """
    where = "__arm64_sys_rt_sigreturn"
    base = cpu.sp
    if base & 15 or base > TASK_SIZE - FRAME_SIZE:
        return None
    mask = access.copy_from_user(base + UC_SIGMASK, 8, where)
    saved = access.copy_from_user(base + MC_REGS, 34 * 8, where)
    if mask is None or saved is None:
        return None
    regs = list(struct.unpack("<34Q", saved))
    pstate = regs[33] & ~_PSTATE_RES0
    regs[33] &= PSTATE_NZCV
    cpu.general.write(regs)
    cpu.pc = regs[32]
    if pstate & _PSTATE_MUST_BE_ZERO:
        return None
    fpsimd = _find_fpsimd(access, base, where)
    if fpsimd is None:
        return None
    vectors = access.copy_from_user(fpsimd + 16, 512, where)
    status = access.copy_from_user(fpsimd + 8, 8, where)
    if vectors is None or status is None:
        return None
    cpu.write_fp(vectors, *struct.unpack("<II", status))
    stack = access.copy_from_user(base + UC_STACK, 24, where)
    if stack is None:
        return None
    ss_sp, ss_flags, ss_size = struct.unpack("<QI4xQ", stack)
    return struct.unpack("<Q", mask)[0], (ss_sp, ss_size, ss_flags)


def bad_frame(cpu: Arm64Cpu, access: Access) -> SigInfo:
    """arm64_notify_segfault: the stack pointer is the address, and what is wrong with it depends on whether anything is
    mapped there or above."""
    sp = cpu.sp
    mmap_read_lock(access.mm)
    mapped = access.mm.mm_mt.find(untagged_addr(sp)) is not None
    mmap_read_unlock(access.mm)
    return SigInfo(SIGSEGV, SEGV_ACCERR if mapped else SEGV_MAPERR, addr=sp)
