# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM64 page-table entries: 4 KiB granule, 48-bit addresses (arch/arm64/include/asm/pgtable*.h; Arm ARM, D8.3).

The emulated CPU is an ARMv8.0 one: it sets neither the access flag nor a dirty state. Linux keeps both through faults.
PTE_WRITE says that the page may be written; PTE_RDONLY is what the hardware looks at. A writable page that is clean has
both, so that its first write faults, is marked PTE_DIRTY and loses PTE_RDONLY.
"""

from __future__ import annotations

from emu.hw.mmu import PageTableFormat as Hw

PTE_VALID = 1 << 0
PTE_TYPE_PAGE = 3 << 0
PTE_USER = 1 << 6  # AP[1]
PTE_RDONLY = 1 << 7  # AP[2]
PTE_SHARED = 3 << 8  # inner shareable
PTE_AF = 1 << 10
PTE_NG = 1 << 11
PTE_PRESENT_INVALID = PTE_NG  # where PTE_VALID is clear: maps a page that the hardware must not reach (PROT_NONE)
PTE_WRITE = 1 << 51  # the hardware's DBM bit
PTE_PXN = 1 << 53
PTE_UXN = 1 << 54
PTE_DIRTY = 1 << 55  # this and PTE_SPECIAL are software's
PTE_SPECIAL = 1 << 56
PFN_MASK = 0x0000_FFFF_FFFF_F000
TABLE_PXN = 1 << 59  # PXNTable: nothing below is executable by the kernel
TASK_SIZE = 1 << 48

# Memory type MT_NORMAL has index 0 in MAIR_EL1, so that AttrIndx adds no bits.
_DEFAULT = PTE_TYPE_PAGE | PTE_AF | PTE_SHARED
PAGE_READONLY_EXEC = _DEFAULT | PTE_USER | PTE_RDONLY | PTE_NG | PTE_PXN
PAGE_READONLY = PAGE_READONLY_EXEC | PTE_UXN
PAGE_SHARED_EXEC = PAGE_READONLY_EXEC | PTE_WRITE
PAGE_SHARED = PAGE_SHARED_EXEC | PTE_UXN
PAGE_NONE = _DEFAULT & ~PTE_VALID | PTE_PRESENT_INVALID | PTE_RDONLY | PTE_PXN | PTE_UXN

_TABLE = 3 | PTE_AF | TABLE_PXN
_ATTRINDX_MASK = 7 << 2
_GP = 1 << 50
_MODIFY = PTE_USER | PTE_PXN | PTE_UXN | PTE_RDONLY | PTE_PRESENT_INVALID | PTE_VALID | PTE_WRITE | _GP | _ATTRINDX_MASK
_WRITE_AND_RDONLY = PTE_WRITE | PTE_RDONLY


class Arm64PageTableFormat:
    """emu.mm.pgtable.PageTableFormat for ARM64."""

    hw = int(Hw.ARM64)
    entry_size = 8
    pkeys = 1
    pkey_shift = 0
    big_endian = False
    shifts = (39, 30, 21, 12)
    bits = (9, 9, 9, 9)
    task_size = TASK_SIZE
    pfn_mask = PFN_MASK
    present_bits = PTE_VALID | PTE_PRESENT_INVALID
    special_bits = PTE_SPECIAL
    # Index: VM_READ 1, VM_WRITE 2, VM_EXEC 4, VM_SHARED 8. Without Enhanced PAN, executable implies readable.
    protection_map = (
        PAGE_NONE, PAGE_READONLY, PAGE_READONLY, PAGE_READONLY,
        PAGE_READONLY_EXEC, PAGE_READONLY_EXEC, PAGE_READONLY_EXEC, PAGE_READONLY_EXEC,
        PAGE_NONE, PAGE_READONLY, PAGE_SHARED, PAGE_SHARED,
        PAGE_READONLY_EXEC, PAGE_READONLY_EXEC, PAGE_SHARED_EXEC, PAGE_SHARED_EXEC,
    )  # fmt: skip

    def mk_table(self, paddr: int) -> int:
        return paddr | _TABLE

    def table_paddr(self, entry: int) -> int:
        return entry & PFN_MASK

    def pte_present(self, pte: int) -> bool:
        return pte & self.present_bits != 0

    def pte_write(self, pte: int) -> bool:
        return pte & PTE_WRITE != 0

    def pte_dirty(self, pte: int) -> bool:
        return pte & PTE_DIRTY != 0 or pte & _WRITE_AND_RDONLY == PTE_WRITE

    def pte_young(self, pte: int) -> bool:
        return pte & PTE_AF != 0

    def pte_special(self, pte: int) -> bool:
        return pte & self.special_bits != 0

    def pte_mkwrite(self, pte: int) -> int:
        return (pte | PTE_WRITE) & ~PTE_RDONLY if pte & PTE_DIRTY else pte | PTE_WRITE

    def pte_wrprotect(self, pte: int) -> int:
        if pte & _WRITE_AND_RDONLY == PTE_WRITE:
            pte |= PTE_DIRTY
        return pte & ~PTE_WRITE | PTE_RDONLY

    def pte_mkdirty(self, pte: int) -> int:
        return (pte | PTE_DIRTY) & ~PTE_RDONLY if pte & PTE_WRITE else pte | PTE_DIRTY

    def pte_mkclean(self, pte: int) -> int:
        return pte & ~PTE_DIRTY | PTE_RDONLY

    def pte_mkyoung(self, pte: int) -> int:
        return pte | PTE_AF

    def pte_mkold(self, pte: int) -> int:
        return pte & ~PTE_AF

    def pte_mkspecial(self, pte: int) -> int:
        return pte | PTE_SPECIAL

    def pte_modify(self, pte: int, protection: int) -> int:
        if pte & _WRITE_AND_RDONLY == PTE_WRITE:
            pte |= PTE_DIRTY
        pte = pte & ~_MODIFY | protection & _MODIFY
        return self.pte_mkdirty(pte) if pte & PTE_DIRTY else pte
