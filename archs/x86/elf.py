# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ELF loader must know of x86-64 (arch/x86/include/asm/elf.h)."""

from __future__ import annotations

from archs.base import ElfTarget
from archs.x86.cpu_models import CpuModel
from archs.x86.mm.fault import TASK_SIZE_MAX
from emu.mm.mm_types import PAGE_MASK, PAGE_SIZE, VM_EXEC, VM_READ

EM_X86_64 = 62


def target(model: CpuModel) -> ElfTarget:
    """The description of x86-64 with a CPU of this model."""
    return ElfTarget(
        machine=EM_X86_64,
        elf_class=64,
        big_endian=False,
        flags_ok=lambda flags: True,
        word=8,
        task_size=TASK_SIZE_MAX,
        stack_top=TASK_SIZE_MAX,
        unmapped_base=TASK_SIZE_MAX // 3 + PAGE_SIZE - 1 & PAGE_MASK,
        unlimited_goes_up=False,
        et_dyn_base=TASK_SIZE_MAX // 3 * 2,
        stack_align=16,
        platform=b"x86_64",
        base_platform=None,
        hwcap=(model.hwcap, 0),  # no FSGSBASE
        extra_auxv=((33, 0),),  # AT_SYSINFO_EHDR
        minsigstksz=model.minsigstksz,
        vdso_pages=(("[vvar]", 4, VM_READ), ("[vvar_vclock]", 2, VM_READ), ("[vdso]", 2, VM_READ | VM_EXEC)),
    )
