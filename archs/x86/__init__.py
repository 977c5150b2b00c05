# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archs.base import (
    BUS_ADRALN,
    FPE_INTDIV,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    SigFrameContext,
    SigInfo,
)
from archs.x86 import signal, vdso
from archs.x86.cpu import X86Cpu
from archs.x86.cpu_models import DEFAULT, MODELS, CpuModel
from archs.x86.elf import target
from archs.x86.mm.fault import TASK_SIZE_MAX, FaultEntry
from archs.x86.mm.pgtable import X86PageTableFormat
from archs.x86.syscalls import SYSCALLS
from emu.hw.ram import Ram
from emu.mm.mm_types import mm_struct
from emu.mm.pkeys import INIT_PKRU

ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
ARCH_GET_CPUID, ARCH_SET_CPUID = 0x1011, 0x1012
_EPERM, _EFAULT, _EINVAL, _ENODEV = -1, -14, -22, -19


class X86Arch:
    """archs.base.Arch for x86-64."""

    name = "x86_64"
    uname_machine = "x86_64"
    user_ptr_max: int | None = TASK_SIZE_MAX
    syscalls = SYSCALLS
    audit_arch = 0xC000003E
    vdso = vdso.build()
    models: Mapping[str, X86Arch] = {}

    def __init__(self, model: CpuModel) -> None:
        self.model = model
        self.cpu_model = model.name
        self.elf = target(model)
        self.format = X86PageTableFormat(16 if model.pkru_at else 1)
        self.init_pkru = INIT_PKRU if model.pkru_at else 0

    def make_cpu(self, ram: Ram, native: bool, serve_inside: bool) -> X86Cpu:
        return X86Cpu(ram, native, serve_inside, self.model)

    def make_fault_entry(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None]) -> FaultEntry:
        return FaultEntry(mm, cpu, force_sig)

    def setup_rt_frame(self, cpu: Any, access: Any, frame: SigFrameContext) -> bool:
        return signal.setup_rt_frame(cpu, access, frame)

    def rt_sigreturn(self, cpu: Any, access: Any) -> tuple[int, tuple[int, int, int]] | None:
        return signal.rt_sigreturn(cpu, access)

    def bad_frame(self, cpu: Any, access: Any) -> SigInfo:
        """signal_fault: the kernel says nothing of where."""
        return SigInfo(SIGSEGV, SI_KERNEL)

    def sigreturn(self, cpu: Any, access: Any) -> int | None:
        """No such frame."""
        return None

    def show_signal(self, info: SigInfo) -> bool:
        """Faults of SIGSEGV (show_signal_msg), and the traps of do_trap: not SIGBUS of a page, nor floating point."""
        if info.signo == SIGFPE:
            return info.code == FPE_INTDIV
        if info.signo == SIGTRAP:
            return info.code == SI_KERNEL
        return info.signo in (SIGSEGV, SIGILL) or (info.signo == SIGBUS and info.code == BUS_ADRALN)

    def pack_siginfo(self, info: SigInfo) -> bytes:
        return signal.pack_siginfo(info)

    def arch_syscall(self, name: str, cpu: Any, args: tuple[int, ...], access: Any) -> int | None:
        """arch_prctl: the segment bases (do_arch_prctl_64)."""
        if name != "arch_prctl":
            return None
        option, value = args[0], args[1]
        fs, gs = cpu.segment_bases()
        if option in (ARCH_SET_FS, ARCH_SET_GS):
            if value >= TASK_SIZE_MAX:
                return _EPERM
            cpu.set_segment_bases(*((value, gs) if option == ARCH_SET_FS else (fs, value)))
            return 0
        if option in (ARCH_GET_FS, ARCH_GET_GS):
            base = fs if option == ARCH_GET_FS else gs
            return 0 if access.copy_to_user(value, base.to_bytes(8, "little"), "__put_user_8") else _EFAULT
        if option == ARCH_GET_CPUID:
            return 1
        if option == ARCH_SET_CPUID:
            return _ENODEV
        return _EINVAL


X86Arch.models = {name: X86Arch(model) for name, model in MODELS.items()}
ARCHES = [X86Arch.models[DEFAULT.name]]
