# SPDX-License-Identifier: GPL-2.0-or-later
"""What an architecture is to the kernel: the protocol that archs/x86, archs/arm64 and archs/powerpc implement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from emu.hw.engine import Engine
from emu.hw.ram import Ram
from emu.mm.mm_types import mm_struct
from emu.mm.pgtable import PageTableFormat

SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGCHLD = 4, 5, 7, 8, 9, 11, 17
SEGV_MAPERR, SEGV_ACCERR, SEGV_PKUERR, SEGV_MTESERR = 1, 2, 4, 9
BUS_ADRALN, BUS_ADRERR, BUS_OBJERR = 1, 2, 3
ILL_ILLOPC, ILL_ILLOPN, ILL_ILLADR, ILL_ILLTRP, ILL_PRVOPC, ILL_PRVREG = 1, 2, 3, 4, 5, 6
FPE_INTDIV, FPE_INTOVF, FPE_FLTDIV, FPE_FLTOVF, FPE_FLTUND, FPE_FLTRES, FPE_FLTINV = 1, 2, 3, 4, 5, 6, 7
TRAP_BRKPT, TRAP_TRACE = 1, 2
SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_TKILL = 0, 0x80, -1, -2, -6


@dataclass(frozen=True)
class SigInfo:
    """siginfo_t, before an architecture lays it out in memory."""

    signo: int
    code: int = SI_USER
    errno: int = 0
    addr: int = 0  # SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP
    pid: int = 0  # SI_USER, SI_QUEUE, SI_TKILL, SIGCHLD
    uid: int = 0
    value: int = 0  # SI_QUEUE, SI_TIMER (there `pid` is the timer's number and `uid` its overrun count)
    status: int = 0  # SIGCHLD, with the next two in clock ticks
    utime: int = 0
    stime: int = 0
    pkey: int = 0  # SEGV_PKUERR
    fields: bytes = b""  # what a program gave: all that the kernel keeps of it behind si_code, instead of the above


@dataclass
class SigAction:
    """struct k_sigaction."""

    handler: int = 0  # 0 SIG_DFL, 1 SIG_IGN
    flags: int = 0
    restorer: int = 0
    mask: int = 0


@dataclass
class SigFrameContext:
    """What the generic signal code hands to `Arch.setup_rt_frame`."""

    info: SigInfo
    action: SigAction
    blocked: int  # mask to restore on return
    altstack: tuple[int, int, int]  # ss_sp, ss_size, ss_flags for uc_stack
    on_altstack: bool  # the frame goes to the top of the alternate stack


class TrapKind(IntEnum):
    """Why the CPU came back from guest code."""

    BUDGET = 0  # the slice is used up
    FAULT = 1  # page fault not served inside: engine.fault_address, engine.fault_syndrome
    SYSCALL = 2
    SIGNAL = 3  # an exception that is a signal: cpu.trap_signal
    COUNTER = 5  # the guest reads the machine's counter: `Cpu.read_counter` finishes the instruction
    EMULATED = 4  # the architecture's code handled the instruction itself (mfpvr, cpuid ...): just go on


# Each found once: see STOP_FAULT in emu/hw/engine.py.
KIND_BUDGET, KIND_FAULT, KIND_SYSCALL = TrapKind.BUDGET, TrapKind.FAULT, TrapKind.SYSCALL


class Cpu(Protocol):
    """The guest-visible CPU state of the running task on one engine (archs/*/cpu.py)."""

    name: str  # of the architecture
    engine: Engine
    task: Any  # whose registers are in the engine; None = nobody's
    pins: int  # tasks that hold this CPU while they wait: it must stay with its address space
    clock: Callable[[], int]  # virtual ns, for a counter that is read while the guest runs
    in_turn: Callable[[], bool]  # has no other CPU of the machine an earlier clock
    trap_signal: SigInfo
    vdso_address: int  # where exec mapped Arch.vdso
    thread: Any  # archs.thread.thread_struct of the architecture: the running task's

    def run(self, budget: int) -> TrapKind:
        """Run guest code from the current pc; `budget` in bytes of code."""
        ...

    def read_counter(self, now: int) -> None:
        """Finish the instruction at the pc, which reads the counter: at virtual time `now` in ns. Valid after
        COUNTER."""
        ...

    pc: int  # property, settable; the engine's registers are the truth
    sp: int

    def syscall_args(self) -> tuple[int, int, int, int, int, int, int]:
        """(number, a0 ... a5), each as an unsigned machine word (32 bits on PowerPC 32). Valid after SYSCALL."""
        ...

    def set_syscall_result(self, value: int) -> None:
        """Give the result of a system call, -4095..-1 being an error, in the architecture's convention."""
        ...

    def restart_syscall(self, number: int | None = None) -> None:
        """Make the guest execute the system call again (with `number` = restart_syscall where given), arguments
        restored."""
        ...

    def start_thread(self, entry: int, sp: int, bias: int, e_flags: int, access: UserAccess) -> None:
        """Registers as a fresh program finds them (ELF_PLAT_INIT, start_thread). `bias`: by how much a
        position-independent program was moved; where `entry` is a function descriptor, `access` reads it."""
        ...

    def may_be_tls(self, value: int) -> bool:
        """May the thread pointer be this (set_new_tls)."""
        ...

    def set_tls(self, value: int) -> None: ...

    # How one thread follows another: see archs/thread.py.

    def new_thread(self) -> Any: ...

    def switch_to(self, thread: Any) -> None: ...

    def save(self) -> Any: ...

    def keep(self, thread: Any) -> None: ...

    def restore(self, thread: Any) -> None: ...

    def describe(self) -> str:
        """The main registers, for an error report."""
        ...


class UserAccess(Protocol):
    """Kernel access to guest memory (emu/mm/uaccess.py); every function faults as the kernel's does."""

    def copy_from_user(self, address: int, size: int) -> bytes | None:
        """`size` bytes, or None = EFAULT."""
        ...

    def copy_to_user(self, address: int, data: bytes) -> bool:
        """False = EFAULT (what could be written has been)."""
        ...


class FaultEntry(Protocol):
    """archs/*/mm/fault.py: the entry point of page faults of one task."""

    owner: Any  # the task, whose `cpu` has its registers; None where the entry was given a CPU of its own
    deadline: int  # ns of virtual time, for `user_fault_before`

    def user_fault(self, address: int, syndrome: int, ip: int) -> bool:
        """A page fault in user mode. True: served, go on. False: a signal was sent through `force_sig`."""
        ...

    def user_fault_before(self, address: int, syndrome: int, ip: int) -> bool | None:
        """The same inside the engine: None = not served, `deadline` is too near; False also when it has come."""
        ...

    def kernel_fault(self, address: int, syndrome: int, function: str) -> bool:
        """A fault by the kernel itself, in `function` (copy_to_user ...). True: served; False: the access fails
        (EFAULT)."""
        ...


@dataclass(frozen=True)
class ElfTarget:
    """What the ELF loader must know."""

    machine: int  # e_machine
    elf_class: int  # 32 or 64
    big_endian: bool
    flags_ok: Callable[[int], bool]  # e_flags acceptable
    word: int  # bytes: 8 or 4
    task_size: int
    stack_top: int  # STACK_TOP: the end of the initial stack area
    unmapped_base: int  # TASK_UNMAPPED_BASE: where mappings begin that go upwards
    unlimited_goes_up: bool  # a stack without a limit has mappings go upwards (mmap_is_legacy)
    et_dyn_base: int  # ELF_ET_DYN_BASE
    stack_align: int  # final alignment of sp at entry
    platform: bytes | None  # AT_PLATFORM
    base_platform: bytes | None
    hwcap: tuple[int, int]  # AT_HWCAP, AT_HWCAP2
    extra_auxv: tuple[tuple[int, int], ...]  # ARCH_DLINFO, in its place
    minsigstksz: int  # AT_MINSIGSTKSZ
    vdso_pages: tuple[
        tuple[str, int, int], ...
    ]  # (name, pages, vm prot flags) of the mappings that a real kernel makes at exec


class Arch(Protocol):
    """One architecture (or one byte order or word size of it)."""

    name: str  # "x86_64", "aarch64", "powerpc64" (ELFv1 and v2), "powerpc64le", "powerpc"
    uname_machine: str
    elf: ElfTarget
    format: PageTableFormat
    syscalls: dict[int, str]  # number -> name without sys_
    audit_arch: int
    cpu_model: str  # which CPU it has, or "" where there is but one
    init_pkru: int  # what protection keys forbid a program that begins
    user_ptr_max: int | None  # see emu.mm.uaccess.Uaccess
    models: Mapping[str, Arch]  # the architecture with each of its CPUs, by name
    vdso: bytes  # what [vdso] holds, up to a page: an ELF image, or nothing but the signal trampoline

    def make_cpu(self, ram: Ram, native: bool, serve_inside: bool) -> Cpu: ...

    def make_fault_entry(self, mm: mm_struct, cpu: Cpu | None, force_sig: Callable[[SigInfo], None]) -> FaultEntry: ...

    def setup_rt_frame(self, cpu: Cpu, access: UserAccess, frame: SigFrameContext) -> bool:
        """Build the signal frame and point the CPU at the handler; False: the stack cannot be written (SIGSEGV
        follows)."""
        ...

    def rt_sigreturn(self, cpu: Cpu, access: UserAccess) -> tuple[int, tuple[int, int, int]] | None:
        """Restore the registers from the frame at sp: (blocked mask, uc_stack), or None when it cannot be read."""
        ...

    def bad_frame(self, cpu: Cpu, access: UserAccess) -> SigInfo:
        """The SIGSEGV of who returns from a handler through a frame that is no good."""
        ...

    def sigreturn(self, cpu: Cpu, access: UserAccess) -> int | None:
        """Likewise for the frame without siginfo, of those that have one: the blocked mask, or None."""
        ...

    def show_signal(self, info: SigInfo) -> bool:
        """Is the signal one that the kernel writes into its log when nobody handles it (show_unhandled_signals)."""
        ...

    def pack_siginfo(self, info: SigInfo) -> bytes:
        """siginfo_t as the guest sees it, 128 bytes."""
        ...

    def arch_syscall(self, name: str, cpu: Cpu, args: tuple[int, ...], access: UserAccess) -> int | None:
        """System calls that only this architecture has (arch_prctl, ...): result, or None when the name is not one of
        them."""
        ...
