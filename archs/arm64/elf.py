# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ELF loader must know of ARM64 (arch/arm64/include/asm/elf.h, processor.h)."""

from __future__ import annotations

from archs.arm64.mm.pgtable import TASK_SIZE
from archs.base import ElfTarget
from emu.mm.mm_types import VM_EXEC, VM_READ

EM_AARCH64 = 183

# What a Cortex-A72 has. EVTSTRM: a WFE ends by itself, which it does here at once. CPUID: the identification
# registers may be read.
HWCAP_FP, HWCAP_ASIMD, HWCAP_EVTSTRM = 1 << 0, 1 << 1, 1 << 2
HWCAP_AES, HWCAP_PMULL, HWCAP_SHA1, HWCAP_SHA2, HWCAP_CRC32 = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7
HWCAP_CPUID = 1 << 11
HWCAP = HWCAP_FP | HWCAP_ASIMD | HWCAP_EVTSTRM
HWCAP |= HWCAP_AES | HWCAP_PMULL | HWCAP_SHA1 | HWCAP_SHA2 | HWCAP_CRC32 | HWCAP_CPUID

# The largest signal frame (archs/arm64/signal.py), its frame record, and the padding to 16 bytes.
MINSIGSTKSZ = 4688 + 16 + 16

TARGET = ElfTarget(
    machine=EM_AARCH64,
    elf_class=64,
    big_endian=False,
    flags_ok=lambda flags: True,
    word=8,
    task_size=TASK_SIZE,
    stack_top=TASK_SIZE,
    unmapped_base=TASK_SIZE // 4,
    unlimited_goes_up=True,
    et_dyn_base=2 * TASK_SIZE // 3,
    stack_align=16,
    platform=b"aarch64",
    base_platform=None,
    hwcap=(HWCAP, 0),
    # AT_SYSINFO_EHDR has its place kept by AT_IGNORE: there is no vDSO image, and the stack lies where it does
    # with one.
    extra_auxv=((1, 0),),
    minsigstksz=MINSIGSTKSZ,
    vdso_pages=(("[vvar]", 4, VM_READ), ("[vdso]", 2, VM_READ | VM_EXEC)),
)
