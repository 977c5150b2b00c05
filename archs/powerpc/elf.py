# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ELF loader must know of PowerPC (arch/powerpc/include/asm/elf.h, uapi/asm/cputable.h, processor.h)."""

from __future__ import annotations

from dataclasses import replace

from archs.base import ElfTarget
from archs.powerpc.mm.pgtable import TASK_SIZE_32, TASK_SIZE_64
from archs.powerpc.signal import MINSIGSTKSZ_32, MINSIGSTKSZ_64
from emu.mm.mm_types import VM_EXEC, VM_READ

EM_PPC, EM_PPC64 = 20, 21
EF_PPC64_ABI = 3  # e_flags: 0 and 1 ELFv1, 2 ELFv2

_PPC_32, _PPC_64, _ALTIVEC, _FPU, _MMU = 0x80000000, 0x40000000, 0x10000000, 0x08000000, 0x04000000
_ARCH_2_05, _ARCH_2_06, _VSX, _TRUE_LE, _PPC_LE = 0x00001000, 0x00000100, 0x00000080, 0x00000002, 0x00000001
_DFP = 0x00000400
_ARCH_2_07, _ISEL, _VEC_CRYPTO = 0x80000000, 0x08000000, 0x02000000
_ARCH_3_00, _IEEE128, _DARN = 0x00800000, 0x00400000, 0x00200000
_AT_IGNOREPPC = 22

# A POWER9: the engine's POWER10 without what Linux calls ISA 3.1, and without scv, transactions and TAR.
_HWCAP_64 = _PPC_32 | _PPC_64 | _ALTIVEC | _FPU | _MMU | _ARCH_2_05 | _ARCH_2_06 | _VSX | _TRUE_LE | _DFP
_HWCAP2_64 = _ARCH_2_07 | _ISEL | _VEC_CRYPTO | _ARCH_3_00 | _IEEE128 | _DARN
_HWCAP_32 = _PPC_32 | _FPU | _MMU | _PPC_LE  # a 603e


def _dlinfo(cache_block: int) -> tuple[tuple[int, int], ...]:
    """ARCH_DLINFO: AT_DCACHEBSIZE, AT_ICACHEBSIZE, AT_UCACHEBSIZE, AT_SYSINFO_EHDR, whose value exec fills in."""
    return (
        (_AT_IGNOREPPC, _AT_IGNOREPPC),
        (_AT_IGNOREPPC, _AT_IGNOREPPC),
        (19, cache_block),
        (20, cache_block),
        (21, 0),
        (33, 0),
    )


TARGET_64LE = ElfTarget(
    machine=EM_PPC64,
    elf_class=64,
    big_endian=False,
    flags_ok=lambda flags: flags & EF_PPC64_ABI == 2,
    word=8,
    task_size=TASK_SIZE_64,
    stack_top=TASK_SIZE_64,
    unmapped_base=TASK_SIZE_64 // 4,
    unlimited_goes_up=True,
    et_dyn_base=0x1_0000_0000,
    stack_align=16,
    platform=b"power9",
    base_platform=b"power9",
    hwcap=(_HWCAP_64, _HWCAP2_64),
    extra_auxv=_dlinfo(128),
    minsigstksz=MINSIGSTKSZ_64,
    vdso_pages=(("[vvar]", 4, VM_READ), ("[vdso]", 2, VM_READ | VM_EXEC)),
)
TARGET_64 = replace(TARGET_64LE, big_endian=True, flags_ok=lambda flags: flags & EF_PPC64_ABI != 3)
TARGET_32 = ElfTarget(
    machine=EM_PPC,
    elf_class=32,
    big_endian=True,
    flags_ok=lambda flags: True,
    word=4,
    task_size=TASK_SIZE_32,
    stack_top=TASK_SIZE_32,
    unmapped_base=TASK_SIZE_32 // 8 * 3,
    unlimited_goes_up=True,
    et_dyn_base=0x40_0000,
    stack_align=16,
    platform=b"ppc603",
    base_platform=b"ppc603",
    hwcap=(_HWCAP_32, 0),
    extra_auxv=_dlinfo(32),
    minsigstksz=MINSIGSTKSZ_32,
    vdso_pages=(("[vvar]", 4, VM_READ), ("[vdso]", 2, VM_READ | VM_EXEC)),
)
