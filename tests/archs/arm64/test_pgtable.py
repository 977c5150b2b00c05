# SPDX-License-Identifier: GPL-2.0-or-later
"""ARM64 page-table entries: the bits, and the rules between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archs.arm64.mm import pgtable
from archs.arm64.mm.pgtable import Arm64PageTableFormat
from emu.hw.mmu import FETCH, READ, WRITE, walk
from emu.hw.ram import Ram
from emu.mm.mm_types import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE

F = Arm64PageTableFormat()
PFN = st.integers(1, (1 << 36) - 1)
PROT = st.sampled_from(F.protection_map)
STEPS = st.lists(
    st.sampled_from(
        [F.pte_mkwrite, F.pte_wrprotect, F.pte_mkdirty, F.pte_mkclean, F.pte_mkyoung, F.pte_mkold, F.pte_mkspecial]
    ),
    max_size=12,
)


def build(pfn: int, prot: int, steps: list) -> int:  # type: ignore[type-arg]
    pte = pfn << 12 | prot
    for step in steps:
        pte = step(pte)
    return pte


ENTRY = st.builds(build, PFN, PROT, STEPS)


def test_bits_are_those_of_the_architecture() -> None:
    """Arm ARM D8.3 (descriptors), arch/arm64/include/asm/pgtable-prot.h (software bits)."""
    assert F.protection_map[VM_READ] == 0x0060_0000_0000_0FC3
    assert F.protection_map[VM_READ | VM_EXEC] == 0x0020_0000_0000_0FC3
    assert F.protection_map[VM_READ | VM_WRITE] == 0x0060_0000_0000_0FC3
    assert F.protection_map[VM_READ | VM_WRITE | VM_SHARED] == 0x0068_0000_0000_0FC3
    assert F.protection_map[VM_READ | VM_WRITE | VM_EXEC | VM_SHARED] == 0x0028_0000_0000_0FC3
    assert F.protection_map[0] == 0x0060_0000_0000_0F82
    written = F.pte_mkwrite(F.pte_mkdirty(0x12345 << 12 | F.protection_map[VM_READ | VM_WRITE]))
    assert written == 0x00E8_0000_1234_5F43
    assert F.pte_mkspecial(0) == 1 << 56
    assert F.mk_table(0x5000) == 0x0800_0000_0000_5403


@given(ENTRY)
def test_a_writable_entry_is_read_only_for_the_hardware_while_clean(pte: int) -> None:
    if F.pte_write(pte):
        assert F.pte_dirty(pte) == (not pte & pgtable.PTE_RDONLY)
    else:
        assert pte & pgtable.PTE_RDONLY
    assert F.pte_present(pte)


@given(ENTRY)
def test_each_function_changes_its_own_property(pte: int) -> None:
    properties = F.pte_write, F.pte_dirty, F.pte_young, F.pte_special
    changes = (
        (F.pte_mkwrite, 0, True), (F.pte_wrprotect, 0, False), (F.pte_mkdirty, 1, True), (F.pte_mkclean, 1, False),
        (F.pte_mkyoung, 2, True), (F.pte_mkold, 2, False), (F.pte_mkspecial, 3, True),
    )  # fmt: skip
    for change, index, value in changes:
        new = change(pte)
        expected = [p(pte) for p in properties]
        expected[index] = value
        assert [p(new) for p in properties] == expected
        assert new & F.pfn_mask == pte & F.pfn_mask
        assert new >> 64 == 0
        assert change(new) == new


@given(ENTRY, PROT)
def test_modify_keeps_frame_accessed_dirty_special(pte: int, prot: int) -> None:
    new = F.pte_modify(pte, prot)
    assert new & F.pfn_mask == pte & F.pfn_mask
    assert F.pte_dirty(new) == F.pte_dirty(pte)
    assert F.pte_young(new) == F.pte_young(pte)
    assert F.pte_special(new) == F.pte_special(pte)
    assert F.pte_write(new) == F.pte_write(prot)
    assert F.pte_present(new)
    assert bool(new & 1) == bool(prot & 1)
    for bit in (pgtable.PTE_USER, pgtable.PTE_PXN, pgtable.PTE_UXN):
        assert new & bit == prot & bit


@given(ENTRY, PROT)
def test_modify_there_and_back(pte: int, prot: int) -> None:
    """mprotect to anything and back to the same protection."""
    own = F.pte_modify(pte, F.protection_map[VM_READ | VM_WRITE | VM_SHARED])
    assert F.pte_modify(F.pte_modify(own, prot), F.protection_map[VM_READ | VM_WRITE | VM_SHARED]) == own


def test_swapped_out_and_marker_entries_map_nothing() -> None:
    assert not F.pte_present(0)
    assert not F.pte_present(0x40)  # guard marker


@given(st.sampled_from(range(16)), st.booleans(), st.booleans(), st.booleans())
def test_the_mmu_obeys(index: int, write: bool, dirty: bool, young: bool) -> None:
    """What the software format says and what the hardware walk allows are the same thing."""
    ram = Ram(1 << 20)
    va = 0x1234_5678_9000
    tables = [0x1000, 0x2000, 0x3000, 0x4000]
    for level in range(3):
        index_bits = va >> F.shifts[level] & 511
        ram.u64[(tables[level] >> 3) + index_bits] = F.mk_table(tables[level + 1])
    pte = 0x7 << 12 | F.protection_map[index]
    if dirty:
        pte = F.pte_mkdirty(pte)
    if write and index & VM_WRITE:
        pte = F.pte_mkwrite(pte)
    if not young:
        pte = F.pte_mkold(pte)
    ram.u64[(tables[3] >> 3) + (va >> 12 & 511)] = pte
    accessible = index & 7 != 0
    for access, esr in ((READ, 0x24 << 26), (WRITE, 0x24 << 26 | 1 << 6), (FETCH, 0x20 << 26)):
        paddr, _, syndrome = walk(F.hw, ram, 0x1000, va, access, True)
        if not accessible:
            expected = 7  # translation
        elif not young:
            expected = 11  # access flag
        elif access == WRITE and not (F.pte_write(pte) and F.pte_dirty(pte)):
            expected = 15  # permission
        elif access == FETCH and not index & VM_EXEC:
            expected = 15
        else:
            expected = 0
        if expected:
            assert (paddr, syndrome) == (-1, esr | 1 << 25 | expected)
        else:
            assert paddr == 0x7000
