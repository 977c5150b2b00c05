# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM64, little-endian, 4 KiB pages, 48-bit addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archs.arm64 import signal
from archs.arm64.cpu import Arm64Cpu
from archs.arm64.elf import TARGET
from archs.arm64.mm.fault import FaultEntry
from archs.arm64.mm.pgtable import Arm64PageTableFormat
from archs.arm64.syscalls import SYSCALLS
from archs.base import Arch, SigFrameContext, SigInfo
from emu.hw.ram import Ram
from emu.mm.mm_types import mm_struct


class Arm64Arch:
    """archs.base.Arch for ARM64."""

    name = "aarch64"
    uname_machine = "aarch64"
    elf = TARGET
    format = Arm64PageTableFormat()
    syscalls = SYSCALLS
    audit_arch = 0xC00000B7
    vdso = signal.SIGPAGE
    cpu_model = ""
    init_pkru = 0
    user_ptr_max: int | None = None
    models: Mapping[str, Arch] = {}

    def make_cpu(self, ram: Ram, native: bool, serve_inside: bool) -> Arm64Cpu:
        return Arm64Cpu(ram, native, serve_inside)

    def make_fault_entry(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None]) -> FaultEntry:
        return FaultEntry(mm, cpu, force_sig)

    def setup_rt_frame(self, cpu: Any, access: Any, frame: SigFrameContext) -> bool:
        return signal.setup_rt_frame(cpu, access, frame)

    def rt_sigreturn(self, cpu: Any, access: Any) -> tuple[int, tuple[int, int, int]] | None:
        return signal.rt_sigreturn(cpu, access)

    def bad_frame(self, cpu: Any, access: Any) -> SigInfo:
        """arm64_notify_segfault."""
        return signal.bad_frame(cpu, access)

    def sigreturn(self, cpu: Any, access: Any) -> int | None:
        """No such frame."""
        return None

    def show_signal(self, info: SigInfo) -> bool:
        """debug.exception-trace is off by default."""
        return False

    def pack_siginfo(self, info: SigInfo) -> bytes:
        return signal.pack_siginfo(info)

    def arch_syscall(self, name: str, cpu: Any, args: tuple[int, ...], access: Any) -> int | None:
        """None of its own."""
        return None


ARCHES = [Arm64Arch()]
