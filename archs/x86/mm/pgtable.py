# SPDX-License-Identifier: GPL-2.0-or-later
"""x86-64 page-table entries, four levels (arch/x86/include/asm/pgtable*.h; Intel SDM volume 3, chapter 5)."""

from __future__ import annotations

from emu.hw.mmu import PageTableFormat as Hw

PAGE_PRESENT = 1 << 0
PAGE_RW = 1 << 1
PAGE_USER = 1 << 2
PAGE_ACCESSED = 1 << 5
PAGE_DIRTY = 1 << 6
PAGE_PROTNONE = 1 << 8  # the global bit, where PAGE_PRESENT is clear
PAGE_SPECIAL = 1 << 9
PAGE_PKEY_SHIFT = 59  # of the four bits of the protection key
PAGE_NX = 1 << 63
PFN_MASK = 0x000F_FFFF_FFFF_F000

_CHG_MASK = PFN_MASK | PAGE_SPECIAL | PAGE_ACCESSED | PAGE_DIRTY
_ALL = (1 << 64) - 1

_NONE = PAGE_PROTNONE | PAGE_ACCESSED
_READONLY_EXEC = PAGE_PRESENT | PAGE_USER | PAGE_ACCESSED
_READONLY = _READONLY_EXEC | PAGE_NX
_SHARED_EXEC = _READONLY_EXEC | PAGE_RW
_SHARED = _SHARED_EXEC | PAGE_NX
_TABLE = PAGE_PRESENT | PAGE_RW | PAGE_USER | PAGE_ACCESSED | PAGE_DIRTY


class X86PageTableFormat:
    """emu.mm.pgtable.PageTableFormat for x86-64; `pkeys`: 16 on a CPU with protection keys, else 1."""

    def __init__(self, pkeys: int = 1) -> None:
        self.pkeys = pkeys

    hw = int(Hw.X86_64)
    entry_size = 8
    pkey_shift = PAGE_PKEY_SHIFT
    big_endian = False
    shifts = (39, 30, 21, 12)
    bits = (9, 9, 9, 9)
    task_size = 0x7FFF_FFFF_F000
    pfn_mask = PFN_MASK
    present_bits = PAGE_PRESENT | PAGE_PROTNONE
    special_bits = PAGE_SPECIAL
    # Index: VM_READ 1, VM_WRITE 2, VM_EXEC 4, VM_SHARED 8. A private writable page starts read-only (PAGE_COPY).
    protection_map = (
        _NONE, _READONLY, _READONLY, _READONLY,
        _READONLY_EXEC, _READONLY_EXEC, _READONLY_EXEC, _READONLY_EXEC,
        _NONE, _READONLY, _SHARED, _SHARED,
        _READONLY_EXEC, _READONLY_EXEC, _SHARED_EXEC, _SHARED_EXEC,
    )  # fmt: skip

    def mk_table(self, paddr: int) -> int:
        return paddr | _TABLE

    def table_paddr(self, entry: int) -> int:
        return entry & PFN_MASK

    def pte_present(self, pte: int) -> bool:
        return pte & self.present_bits != 0

    def pte_write(self, pte: int) -> bool:
        return pte & PAGE_RW != 0

    def pte_dirty(self, pte: int) -> bool:
        return pte & PAGE_DIRTY != 0

    def pte_young(self, pte: int) -> bool:
        return pte & PAGE_ACCESSED != 0

    def pte_special(self, pte: int) -> bool:
        return pte & self.special_bits != 0

    def pte_mkwrite(self, pte: int) -> int:
        return pte | PAGE_RW

    def pte_wrprotect(self, pte: int) -> int:
        return pte & ~PAGE_RW

    def pte_mkdirty(self, pte: int) -> int:
        return pte | PAGE_DIRTY

    def pte_mkclean(self, pte: int) -> int:
        return pte & ~PAGE_DIRTY

    def pte_mkyoung(self, pte: int) -> int:
        return pte | PAGE_ACCESSED

    def pte_mkold(self, pte: int) -> int:
        return pte & ~PAGE_ACCESSED

    def pte_mkspecial(self, pte: int) -> int:
        return pte | PAGE_SPECIAL

    def pte_modify(self, pte: int, protection: int) -> int:
        return (pte & _CHG_MASK) | (protection & ~_CHG_MASK & _ALL)
