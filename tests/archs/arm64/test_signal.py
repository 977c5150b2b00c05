# SPDX-License-Identifier: GPL-2.0-or-later
"""The ARM64 signal frame.

The offsets are those of Linux's ABI as a C compiler sees them: offsetof() on siginfo_t, ucontext_t and the structures
of <asm/sigcontext.h>, printed by a program built with aarch64-linux-gnu-gcc 12.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from archs.arm64 import signal as frames
from archs.base import (
    BUS_ADRALN,
    SEGV_MAPERR,
    SI_QUEUE,
    SI_TIMER,
    SI_TKILL,
    SIGBUS,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    SigAction,
    SigFrameContext,
    SigInfo,
    TrapKind,
)
from emu.tracepoint import Kind
from tests.archs.arm64.space import ARCH, CODE, STACK_TOP, R, Space, W

SIZEOF_SIGINFO, SIZEOF_UCONTEXT = 128, 4560
UC_FLAGS, UC_LINK, SS_SP, SS_FLAGS, SS_SIZE, UC_SIGMASK, UC_MCONTEXT = 0, 8, 16, 24, 32, 40, 176
FAULT_ADDRESS, REGS, SP, PC, PSTATE, RESERVED = 0, 8, 256, 264, 272, 288
FPSIMD_SIZE, FPSR, FPCR, VREGS = 528, 8, 12, 16
ESR_CONTEXT_SIZE, ESR = 16, 8
SI_ADDR, SI_PID, SI_UID, SI_STATUS, SI_VALUE = 16, 16, 20, 24, 24

SA_SIGINFO, SA_EXPOSE_TAGBITS, SA_RESTORER = 4, 0x800, 0x04000000
ALTSTACK = 0x60_0000
HANDLER, RESTORER, SIGPAGE_ADDRESS = 0x40_1000, 0x40_2000, 0x7000_0000
MASK = 0x1234_5678_9ABC_DEF0
VECTORS = bytes(range(256)) * 2
NO_STACK = (0, 0, 2)  # SS_DISABLE


def ready() -> Space:
    """A guest with a value of its own in every register."""
    space = Space()
    space.map(STACK_TOP - 0x10000, 0x10000, R | W)
    space.map(ALTSTACK, 0x4000, R | W)
    space.load(0xD503201F)
    space.cpu.general.write([1000 + i for i in range(31)] + [STACK_TOP - 0x2008, CODE + 4, 0x9000_0000])
    space.cpu.write_fp(VECTORS, 0x0800_0001, 0x0040_0000)
    space.cpu.vdso_address = SIGPAGE_ADDRESS
    return space


def context(
    info: SigInfo = SigInfo(SIGSEGV, SEGV_MAPERR, addr=0xDEAD_BEE8),  # noqa: B008
    flags: int = SA_SIGINFO,
    altstack: tuple[int, int, int] = NO_STACK,
    on_altstack: bool = False,
) -> SigFrameContext:
    action = SigAction(handler=HANDLER, flags=flags, restorer=RESTORER)
    return SigFrameContext(info, action, MASK, altstack, on_altstack)


def u64(space: Space, address: int) -> int:
    value = space.access.get_user(address, 8)
    assert value is not None
    return value


def u32(space: Space, address: int) -> int:
    value = space.access.get_user(address, 4)
    assert value is not None
    return value


def test_layout_of_the_frame() -> None:
    space = ready()
    cpu = space.cpu
    regs = cpu.general.read()
    cpu.thread.fault_address, cpu.thread.fault_code = 0xDEAD_BEE8, 0x9200_0046
    assert ARCH.setup_rt_frame(cpu, space.access, context(altstack=(ALTSTACK, 0x4000, 0)))
    sp = cpu.sp
    record = sp + SIZEOF_SIGINFO + SIZEOF_UCONTEXT
    assert record == (STACK_TOP - 0x2008 - 16) & -16
    uc = sp + SIZEOF_SIGINFO
    mc = uc + UC_MCONTEXT
    # What the handler finds in registers.
    after = cpu.general.read()
    assert after[0:3] == [SIGSEGV, sp, uc]
    assert after[29:] == [record, SIGPAGE_ADDRESS + 4, sp, HANDLER, 0x9000_0000]
    assert after[3:29] == regs[3:29]
    assert cpu.pc == HANDLER
    # Memory.
    assert [u64(space, uc + at) for at in (UC_FLAGS, UC_LINK, SS_SP, SS_SIZE, UC_SIGMASK)] == [
        0, 0, ALTSTACK, 0x4000, MASK,
    ]  # fmt: skip
    assert u32(space, uc + SS_FLAGS) == 0
    assert [u64(space, mc + REGS + 8 * i) for i in range(31)] == regs[:31]
    assert [u64(space, mc + at) for at in (SP, PC, PSTATE)] == regs[31:]
    assert u64(space, mc + FAULT_ADDRESS) == 0xDEAD_BEE8
    assert [u64(space, record), u64(space, record + 8)] == regs[29:31]
    fpsimd = mc + RESERVED
    assert [u32(space, fpsimd), u32(space, fpsimd + 4)] == [0x46508001, FPSIMD_SIZE]
    assert [u32(space, fpsimd + FPSR), u32(space, fpsimd + FPCR)] == [0x0800_0001, 0x0040_0000]
    assert space.access.copy_from_user(fpsimd + VREGS, 512) == VECTORS
    esr = fpsimd + FPSIMD_SIZE
    assert [u32(space, esr), u32(space, esr + 4), u64(space, esr + ESR)] == [0x45535201, 16, 0x9200_0046]
    assert u64(space, esr + ESR_CONTEXT_SIZE) == 0
    assert space.access.copy_from_user(sp, 128) == struct.pack("<iiiiQ", 11, 0, 1, 0, 0xDEAD_BEE8).ljust(128, b"\0")


def test_no_syndrome_where_there_was_no_fault() -> None:
    space = ready()
    assert ARCH.setup_rt_frame(space.cpu, space.access, context(SigInfo(10, SI_TKILL, pid=7, uid=1000)))
    end = space.cpu.sp + SIZEOF_SIGINFO + UC_MCONTEXT + RESERVED + FPSIMD_SIZE
    assert u64(space, end) == 0


def test_without_siginfo_and_with_a_restorer() -> None:
    space = ready()
    regs = space.cpu.general.read()
    assert ARCH.setup_rt_frame(space.cpu, space.access, context(flags=SA_RESTORER))
    after = space.cpu.general.read()
    assert after[0:3] == [SIGSEGV, *regs[1:3]]
    assert after[30] == RESTORER
    assert space.access.copy_from_user(space.cpu.sp, 128) == bytes(128)


def test_address_tags_are_shown_to_who_asks() -> None:
    tagged = 0x5A << 56 | 0x1000
    for info, flags, expected in (
        (SigInfo(SIGSEGV, SEGV_MAPERR, addr=tagged), 0, 0x1000),
        (SigInfo(SIGSEGV, SEGV_MAPERR, addr=tagged), SA_EXPOSE_TAGBITS, tagged),
        (SigInfo(SIGBUS, BUS_ADRALN, addr=tagged), 0, 0x1000),
        (SigInfo(SIGTRAP, TRAP_BRKPT, addr=tagged), 0, tagged),
        (SigInfo(SIGSEGV, SEGV_MAPERR, addr=0xFFFF_0000_0000_1000), 0, 0xFFFF_0000_0000_1000),
    ):
        space = ready()
        assert ARCH.setup_rt_frame(space.cpu, space.access, context(info, flags | SA_SIGINFO))
        assert u64(space, space.cpu.sp + SI_ADDR) == expected


@pytest.mark.parametrize(
    ("sp", "flags", "expected"),
    [
        (STACK_TOP - 0x2000, 0, ALTSTACK + 0x4000),  # entering it
        (ALTSTACK + 0x4000, 0, ALTSTACK + 0x4000),  # nested: on it already
        (ALTSTACK + 0x3000, 0, ALTSTACK + 0x3000),
        (ALTSTACK + 0x3000, 1 << 31, ALTSTACK + 0x4000),  # SS_AUTODISARM: never counts as being on it
        (ALTSTACK, 0, ALTSTACK + 0x4000),  # the lowest address is not on a stack that grows down
    ],
)
def test_alternate_stack(sp: int, flags: int, expected: int) -> None:
    space = ready()
    space.cpu.sp = sp
    frame = context(altstack=(ALTSTACK, 0x4000, flags), on_altstack=True)
    assert ARCH.setup_rt_frame(space.cpu, space.access, frame)
    assert space.cpu.sp == expected - 16 - SIZEOF_SIGINFO - SIZEOF_UCONTEXT
    assert u32(space, space.cpu.sp + SIZEOF_SIGINFO + SS_FLAGS) == flags


def test_minimum_stack_size_is_enough_and_no_less() -> None:
    size = ARCH.elf.minsigstksz
    assert size == SIZEOF_SIGINFO + SIZEOF_UCONTEXT + 16 + 16
    space = ready()
    space.cpu.thread.fault_code = 1
    frame = context(altstack=(ALTSTACK + 0x1008, size, 0), on_altstack=True)
    assert ARCH.setup_rt_frame(space.cpu, space.access, frame)
    assert space.cpu.sp >= ALTSTACK + 0x1008


@pytest.mark.parametrize("sp", [0, 0x1000, 0x9000_0000, 1 << 48, (1 << 48) + 16, 0xFFFF_8000_0000_0000, (1 << 64) - 16])
def test_stack_that_cannot_be_written(sp: int) -> None:
    space = ready()
    space.cpu.sp = sp
    regs = space.cpu.general.read()
    assert not ARCH.setup_rt_frame(space.cpu, space.access, context())
    assert space.cpu.general.read() == regs
    assert not space.signals


def test_faults_of_the_kernel_on_the_frame() -> None:
    """The pages in the order in which the kernel comes to them: ucontext, frame record, siginfo."""
    space = ready()
    space.cpu.sp = STACK_TOP - 0x2F80  # ucontext begins in one page, the registers cross into the next
    space.tp.on = True
    assert ARCH.setup_rt_frame(space.cpu, space.access, context())
    faults = [(row[5], row[7], row[17]) for row in space.tp.drain() if row[4] == Kind.PAGE_FAULT_KERNEL]
    uc = space.cpu.sp + SIZEOF_SIGINFO
    assert uc + UC_MCONTEXT + REGS < STACK_TOP - 0x4000 < uc + UC_MCONTEXT + RESERVED
    esr = 0x25 << 26 | 1 << 25 | 1 << 6  # a write from EL1
    assert faults == [
        (uc, esr | 5, "setup_rt_frame"),  # not even a table of level 2 for this part of the address space
        (uc + SIZEOF_UCONTEXT, esr | 7, "setup_rt_frame"),
        (STACK_TOP - 0x4000, esr | 7, "setup_rt_frame"),
    ]


def there_and_back(change: Callable[[Space, int], None] = lambda space, uc: None) -> tuple[Space, object, list[int]]:
    """Deliver a signal, spoil all registers, let `change` edit the frame, return."""
    space = ready()
    regs = space.cpu.general.read()
    assert ARCH.setup_rt_frame(space.cpu, space.access, context(altstack=(ALTSTACK, 0x4000, 2)))
    sp = space.cpu.sp
    space.cpu.general.write([7] * 31 + [sp, HANDLER + 8, 0])
    space.cpu.write_fp(bytes(512), 0, 0)
    change(space, sp + SIZEOF_SIGINFO)
    return space, ARCH.rt_sigreturn(space.cpu, space.access), regs


def test_sigreturn_restores_everything() -> None:
    space, result, regs = there_and_back()
    assert result == (MASK, (ALTSTACK, 0x4000, 2))
    assert space.cpu.general.read() == regs
    assert space.cpu.pc == CODE + 4
    assert space.cpu.read_fp() == (VECTORS, 0x0800_0001, 0x0040_0000)


def test_sigreturn_with_what_a_handler_changed() -> None:
    def change(space: Space, uc: int) -> None:
        space.access.put_user(uc + UC_MCONTEXT + REGS + 8 * 5, 55, 8)
        space.access.put_user(uc + UC_MCONTEXT + PC, CODE + 0x100, 8)
        space.access.put_user(uc + UC_MCONTEXT + PSTATE, 0x6000_0000, 8)
        space.access.put_user(uc + UC_MCONTEXT + RESERVED + VREGS, 0x77, 1)
        space.access.put_user(uc + UC_SIGMASK, 3, 8)
        space.access.put_user(uc + SS_SIZE, 0x2000, 8)

    space, result, _ = there_and_back(change)
    assert result == (3, (ALTSTACK, 0x2000, 2))
    regs = space.cpu.general.read()
    assert (regs[5], space.cpu.pc, regs[33]) == (55, CODE + 0x100, 0x6000_0000)
    assert space.cpu.read_fp()[0][0] == 0x77


@pytest.mark.parametrize(
    ("pstate", "good"),
    [
        (0, True),
        (0xF000_0000, True),
        (0x0020_0000, True),  # single step
        (0x0C0F_E020, True),  # bits that do not exist are dropped
        (0x5, False),  # EL1h
        (0x4, False),
        (0x10, False),  # AArch32
        (0x40, False),  # F
        (0x80, False),  # I
        (0x100, False),  # A
        (0x200, False),  # D
        (0x3C5, False),
    ],
)
def test_sigreturn_checks_pstate(pstate: int, good: bool) -> None:
    space, result, regs = there_and_back(
        lambda space, uc: (space.access.put_user(uc + UC_MCONTEXT + PSTATE, pstate, 8), None)[1]
    )
    assert (result is not None) == good
    # In any case the CPU stays in user mode, with the registers of the frame.
    now = space.cpu.general.read()
    assert now[:33] == regs[:33]
    assert now[33] == pstate & 0xF000_0000


def records(*parts: bytes) -> Callable[[Space, int], None]:
    """Replace the records behind the registers."""

    def change(space: Space, uc: int) -> None:
        space.access.copy_to_user(uc + UC_MCONTEXT + RESERVED, b"".join(parts))

    return change


FPSIMD = struct.pack("<IIII", 0x46508001, 528, 0x1F, 0) + VECTORS
END = bytes(16)
ESR_RECORD = struct.pack("<IIQ", 0x45535201, 16, 5)


@pytest.mark.parametrize(
    ("parts", "good"),
    [
        ((FPSIMD, END), True),
        ((ESR_RECORD, FPSIMD, END), True),
        ((ESR_RECORD, ESR_RECORD, FPSIMD, END), True),
        ((END,), False),  # the vector registers must be there
        ((FPSIMD, FPSIMD, END), False),
        ((struct.pack("<II", 0x46508001, 512) + bytes(520), END), False),
        ((FPSIMD, struct.pack("<IIQ", 0, 16, 0)), False),  # an end mark has size 0
        ((FPSIMD, struct.pack("<IIQ", 0x12345678, 16, 0), END), False),
        ((FPSIMD, struct.pack("<IIQ", 0x53564501, 16, 0), END), False),  # SVE, which this CPU has not
        ((FPSIMD, struct.pack("<IIQ", 0x45535201, 0, 0), END), False),
        ((FPSIMD, struct.pack("<IIQ", 0x45535201, 24, 0), bytes(8), END), False),  # not on a multiple of 16
        ((FPSIMD, struct.pack("<IIQ", 0x45535201, 4096, 0), END), False),
    ],
)
def test_sigreturn_checks_the_records(parts: tuple[bytes, ...], good: bool) -> None:
    _, result, _ = there_and_back(records(*parts))
    assert (result is not None) == good


@pytest.mark.parametrize("fault", ["none", "pointer", "size", "end", "twice"])
def test_sigreturn_with_records_in_extra_space(fault: str) -> None:
    def change(space: Space, uc: int) -> None:
        at = uc + UC_MCONTEXT + RESERVED
        data = at + 32 + 16
        extra = struct.pack("<IIQIIII", 0x45585401, 32, data + (16 if fault == "pointer" else 0), 544, 0, 0, 0)
        if fault == "size":
            extra = struct.pack("<IIQIIII", 0x45585401, 32, data, 256 << 10, 0, 0, 0)
        end = struct.pack("<II8x", 0, 1) if fault == "end" else END
        inner = extra if fault == "twice" else FPSIMD
        space.access.copy_to_user(at, extra + end + inner + END)

    space, result, _ = there_and_back(change)
    assert (result is not None) == (fault == "none")
    if fault == "none":
        assert space.cpu.read_fp()[0] == VECTORS


@pytest.mark.parametrize("sp", [STACK_TOP - 0x1008, 0x1000, (1 << 48) - 4672, 0xFFFF_0000_0000_0000])
def test_sigreturn_from_a_wild_stack_pointer(sp: int) -> None:
    space = ready()
    space.cpu.sp = sp
    assert ARCH.rt_sigreturn(space.cpu, space.access) is None
    assert not space.signals


def test_trampoline_is_the_system_call() -> None:
    space = ready()
    sigpage = ARCH.vdso
    words = struct.unpack(f"<{len(sigpage) // 4}I", sigpage)
    space.load(*words, at=CODE + 0x3000)
    space.cpu.pc = CODE + 0x3000 + frames.SIGTRAMP_OFFSET
    assert space.run() == TrapKind.SYSCALL
    assert ARCH.syscalls[space.cpu.syscall_args()[0]] == "rt_sigreturn"


def test_siginfo() -> None:
    info = SigInfo(SIGSEGV, SEGV_MAPERR, addr=0x1122_3344_5566_7788)
    assert struct.unpack_from("<Q", ARCH.pack_siginfo(info), SI_ADDR) == (info.addr,)
    sent = ARCH.pack_siginfo(SigInfo(10, SI_TKILL, pid=77, uid=1000))
    assert struct.unpack_from("<iii", sent) == (10, 0, SI_TKILL)
    assert struct.unpack_from("<II", sent, SI_PID) == (77, 1000)
    queued = ARCH.pack_siginfo(SigInfo(34, SI_QUEUE, pid=1, uid=2, value=0xFFFF_FFFF_0000_0001))
    assert struct.unpack_from("<Q", queued, SI_VALUE) == (0xFFFF_FFFF_0000_0001,)
    timer = ARCH.pack_siginfo(SigInfo(14, SI_TIMER, pid=3, value=9))
    assert struct.unpack_from("<Q", timer, SI_VALUE) == (9,)
    child = ARCH.pack_siginfo(SigInfo(17, 1, pid=5, uid=6, status=256))
    assert struct.unpack_from("<IIi", child, SI_PID) == (5, 6, 256)
    assert all(len(packed) == 128 for packed in (sent, queued, timer, child))
