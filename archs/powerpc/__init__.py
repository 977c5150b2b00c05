# SPDX-License-Identifier: GPL-2.0-or-later
"""PowerPC, 4 KiB pages: 64 bits in both byte orders (big-endian under ELFv1 and ELFv2), 32 bits big-endian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archs.base import BUS_ADRALN, SI_KERNEL, SIGBUS, SIGSEGV, Arch, ElfTarget, SigFrameContext, SigInfo
from archs.powerpc import signal, vdso
from archs.powerpc.cpu import TIMEBASE_32, TIMEBASE_64, PowerPcCpu
from archs.powerpc.elf import TARGET_32, TARGET_64, TARGET_64LE
from archs.powerpc.mm.fault import DSISR_BAD_FAULT_32S, DSISR_BAD_FAULT_64S, FaultEntry
from archs.powerpc.mm.pgtable import Ppc32Format, RadixFormat
from archs.powerpc.syscalls import SYSCALLS_32, SYSCALLS_64
from emu.hw.ram import Ram
from emu.mm.mm_types import mm_struct

# What /proc/cpuinfo tells of each CPU.
_CPUINFO_64 = "cpu\t\t: POWER9, altivec supported\nclock\t\t: 1000.000000MHz\nrevision\t: 2.2 (pvr 004e 1202)\n"
_CPUINFO_32 = "cpu\t\t: 603e\nclock\t\t: 1000.000000MHz\nrevision\t: 4.1 (pvr 0007 0401)\n"


class PowerPcArch:
    """archs.base.Arch for one word size and byte order."""

    cpu_model = ""
    init_pkru = 0
    user_ptr_max: int | None = None
    models: Mapping[str, Arch] = {}

    def __init__(self, name: str, machine: str, target: ElfTarget, audit_arch: int) -> None:
        self.name = name
        self.uname_machine = machine
        self.elf = target
        self.audit_arch = audit_arch
        self.wide = target.elf_class == 64
        self.order = ">" if target.big_endian else "<"
        self.format = RadixFormat() if self.wide else Ppc32Format()
        self.timebase = TIMEBASE_64 if self.wide else TIMEBASE_32
        self.cpuinfo = _CPUINFO_64 if self.wide else _CPUINFO_32
        self.syscalls = SYSCALLS_64 if self.wide else SYSCALLS_32
        self.vdso, self._trampolines = vdso.build(self.order, self.wide)

    def make_cpu(self, ram: Ram, native: bool, serve_inside: bool) -> PowerPcCpu:
        cpu = PowerPcCpu(self.name, ram, native, serve_inside, self.wide, not self.elf.big_endian)
        cpu.sigtramp = self._trampolines.get(b"__kernel_sigtramp32", 0)
        cpu.sigtramp_rt = self._trampolines[b"__kernel_sigtramp_rt64" if self.wide else b"__kernel_sigtramp_rt32"]
        return cpu

    def make_fault_entry(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None]) -> FaultEntry:
        return FaultEntry(mm, cpu, force_sig, DSISR_BAD_FAULT_64S if self.wide else DSISR_BAD_FAULT_32S)

    def setup_rt_frame(self, cpu: Any, access: Any, frame: SigFrameContext) -> bool:
        setup = signal.setup_rt_frame_64 if self.wide else signal.setup_rt_frame_32
        return setup(cpu, access, frame, self.elf.task_size)

    def rt_sigreturn(self, cpu: Any, access: Any) -> tuple[int, tuple[int, int, int]] | None:
        back = signal.rt_sigreturn_64 if self.wide else signal.rt_sigreturn_32
        return back(cpu, access, self.elf.task_size)

    def bad_frame(self, cpu: Any, access: Any) -> SigInfo:
        """signal_fault: the kernel says nothing of where."""
        return SigInfo(SIGSEGV, SI_KERNEL)

    def sigreturn(self, cpu: Any, access: Any) -> int | None:
        return None if self.wide else signal.sigreturn_32(cpu, access)

    def show_signal(self, info: SigInfo) -> bool:
        """All that _exception sends; do_sigbus does not."""
        return info.signo != SIGBUS or info.code == BUS_ADRALN

    def pack_siginfo(self, info: SigInfo) -> bytes:
        return signal.pack_siginfo(info, self.order, self.wide)

    def arch_syscall(self, name: str, cpu: Any, args: tuple[int, ...], access: Any) -> int | None:
        """None of its own."""
        return None


ARCHES = [
    PowerPcArch("powerpc64", "ppc64", TARGET_64, 0x80000015),
    PowerPcArch("powerpc64le", "ppc64le", TARGET_64LE, 0xC0000015),
    PowerPcArch("powerpc", "ppc", TARGET_32, 0x14),
]
