# SPDX-License-Identifier: GPL-2.0-or-later
"""Page-table entries of PowerPC: radix on 64 bits (arch/powerpc/include/asm/book3s/64/pgtable.h, 4 KiB pages), Linux's
two-level table on 32 bits (book3s/32/pgtable.h).

On radix the hardware sets R (accessed) and C (dirty). The 603's miss handlers set neither: an entry without
_PAGE_ACCESSED, or without _PAGE_DIRTY on a write, is refused, and do_page_fault sets them.
"""

from __future__ import annotations

from emu.hw.mmu import PageTableFormat as Hw

TASK_SIZE_64 = 1 << 46  # TASK_SIZE_64TB, that of 4 KiB pages
TASK_SIZE_32 = 0xB000_0000


class _PteBits:
    """The operations that differ in nothing but the place of the bits."""

    present_bits: int
    read_bit: int
    write_bit: int
    dirty_bit: int
    accessed_bit: int
    special_bits: int
    kept_bits: int  # _PAGE_CHG_MASK: what pte_modify keeps

    def pte_present(self, pte: int) -> bool:
        return pte & self.present_bits != 0

    def pte_write(self, pte: int) -> bool:
        return pte & self.write_bit != 0

    def pte_dirty(self, pte: int) -> bool:
        return pte & self.dirty_bit != 0

    def pte_young(self, pte: int) -> bool:
        return pte & self.accessed_bit != 0

    def pte_special(self, pte: int) -> bool:
        return pte & self.special_bits != 0

    def pte_mkwrite(self, pte: int) -> int:
        return pte | self.read_bit | self.write_bit

    def pte_wrprotect(self, pte: int) -> int:
        return pte & ~self.write_bit

    def pte_mkdirty(self, pte: int) -> int:
        return pte | self.dirty_bit

    def pte_mkclean(self, pte: int) -> int:
        return pte & ~self.dirty_bit

    def pte_mkyoung(self, pte: int) -> int:
        return pte | self.accessed_bit

    def pte_mkold(self, pte: int) -> int:
        return pte & ~self.accessed_bit

    def pte_mkspecial(self, pte: int) -> int:
        return pte | self.special_bits

    def pte_modify(self, pte: int, protection: int) -> int:
        return pte & self.kept_bits | protection & ~self.pfn_mask

    pfn_mask: int


# Radix. _PAGE_PTE marks a leaf.
_PAGE_EXEC, _PAGE_WRITE, _PAGE_READ, _PAGE_PRIVILEGED = 0x1, 0x2, 0x4, 0x8
_PAGE_DIRTY, _PAGE_ACCESSED, _PAGE_SPECIAL = 0x80, 0x100, 0x400
_PAGE_PTE, _PAGE_PRESENT = 1 << 62, 1 << 63
_BASE = _PAGE_PRESENT | _PAGE_PTE | _PAGE_ACCESSED
_NONE = _BASE | _PAGE_PRIVILEGED
_R, _X = _BASE | _PAGE_READ, _BASE | _PAGE_EXEC
_RX, _RW = _R | _PAGE_EXEC, _R | _PAGE_WRITE
_RWX = _RW | _PAGE_EXEC
_RADIX_INDEX_SIZE = 9  # the size of the next table, in a table's entry


class RadixFormat(_PteBits):
    """emu.mm.pgtable.PageTableFormat for 64-bit PowerPC. Entries are big-endian whatever the byte order of programs."""

    hw = int(Hw.PPC64_RADIX)
    entry_size = 8
    pkeys = 1
    pkey_shift = 0
    big_endian = True
    shifts = (39, 30, 21, 12)
    bits = (13, 9, 9, 9)
    task_size = TASK_SIZE_64
    pfn_mask = 0x01FF_FFFF_FFFF_F000
    # Index: VM_READ 1, VM_WRITE 2, VM_EXEC 4, VM_SHARED 8.
    protection_map = (_NONE, _R, _R, _R, _X, _RX, _RX, _RX, _NONE, _R, _RW, _RW, _X, _RX, _RWX, _RWX)
    present_bits, read_bit, write_bit = _PAGE_PRESENT, _PAGE_READ, _PAGE_WRITE
    dirty_bit, accessed_bit, special_bits = _PAGE_DIRTY, _PAGE_ACCESSED, _PAGE_SPECIAL
    kept_bits = pfn_mask | _PAGE_DIRTY | _PAGE_ACCESSED | _PAGE_SPECIAL | _PAGE_PTE

    def mk_table(self, paddr: int) -> int:
        return _PAGE_PRESENT | paddr | _RADIX_INDEX_SIZE

    def table_paddr(self, entry: int) -> int:
        return entry & 0x0FFF_FFFF_FFFF_FF00


# The two-level table of 32-bit machines.
_P32_PRESENT, _P32_READ, _P32_COHERENT, _P32_DIRTY = 0x001, 0x004, 0x010, 0x080
_P32_ACCESSED, _P32_EXEC, _P32_WRITE, _P32_SPECIAL = 0x100, 0x200, 0x400, 0x800
_BASE32 = _P32_PRESENT | _P32_ACCESSED | _P32_COHERENT
_R32, _X32 = _BASE32 | _P32_READ, _BASE32 | _P32_EXEC
_RX32, _RW32 = _R32 | _P32_EXEC, _R32 | _P32_WRITE
_RWX32 = _RW32 | _P32_EXEC


class Ppc32Format(_PteBits):
    """emu.mm.pgtable.PageTableFormat for 32-bit PowerPC."""

    hw = int(Hw.PPC32)
    entry_size = 4
    pkeys = 1
    pkey_shift = 0
    big_endian = True
    shifts = (22, 12)
    bits = (10, 10)
    task_size = TASK_SIZE_32
    pfn_mask = 0xFFFF_F000
    protection_map = (
        _BASE32, _R32, _R32, _R32, _X32, _RX32, _RX32, _RX32, _BASE32, _R32, _RW32, _RW32, _X32, _RX32, _RWX32, _RWX32,
    )  # fmt: skip
    present_bits, read_bit, write_bit = _P32_PRESENT, _P32_READ, _P32_WRITE
    dirty_bit, accessed_bit, special_bits = _P32_DIRTY, _P32_ACCESSED, _P32_SPECIAL
    kept_bits = pfn_mask | _P32_DIRTY | _P32_ACCESSED | _P32_SPECIAL

    def mk_table(self, paddr: int) -> int:
        return paddr

    def table_paddr(self, entry: int) -> int:
        return entry & 0xFFFF_F000
