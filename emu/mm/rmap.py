# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse mapping: from a page to the page-table entries that map it (mm/rmap.c).

An anonymous page points to the anon_vma of the VMA that it was born in; that knows all VMAs which may map the page. A
file page points to its address_space, which knows the VMAs in i_mmap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mm_types import (
    PAGE_SHIFT,
    VM_ACCESS_FLAGS,
    VM_STICKY,
    page,
    vm_area_struct,
    vma_pages,
)
from emu.mm.tlb import flush_tlb_mm

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager


class anon_vma:
    """The VMAs whose anonymous pages may be the same (struct anon_vma).

    Fork makes a tree of them: a child's VMA is linked into the anon_vmas of its ancestors, whose pages it may still
    map, and has one of its own below its parent's for the pages that it makes. So a page is found in the processes
    that descend from the one that it was born in, and nowhere else.
    """

    __slots__ = ("num_active_vmas", "num_children", "parent", "root", "vmas")

    def __init__(self, parent: anon_vma | None = None) -> None:
        self.parent = parent or self
        self.root: anon_vma = parent.root if parent is not None else self
        self.num_children = 0  # anon_vmas whose parent this is; a root counts itself
        self.num_active_vmas = 0  # VMAs whose anon_vma this is: those that put new pages here
        self.vmas: dict[vm_area_struct, None] = {}  # those linked, in the order in which they were
        self.parent.num_children += 1


def _compatible(a: vm_area_struct, b: vm_area_struct) -> bool:
    """Could `a` and the VMA `b` right behind it have been one (anon_vma_compatible)."""
    return (
        a.vm_end == b.vm_start
        and a.vm_file is b.vm_file
        and not (a.vm_flags ^ b.vm_flags) & ~(VM_ACCESS_FLAGS | VM_STICKY)
        and b.vm_pgoff == a.vm_pgoff + vma_pages(a)
    )


def _reusable(owner: vm_area_struct, a: vm_area_struct, b: vm_area_struct) -> anon_vma | None:
    if owner.anon_vma is not None and len(owner.anon_vma_chain) == 1 and _compatible(a, b):
        return owner.anon_vma
    return None


def anon_vma_prepare(vma: vm_area_struct) -> int:
    """Give the VMA an anon_vma, that of a neighbour where they may be merged later (__anon_vma_prepare). 0 or
    -ENOMEM."""
    if vma.anon_vma is not None:
        return 0
    tree = vma.vm_mm.mm_mt
    found = None
    after = tree.find(vma.vm_end)
    if after is not None and after.vm_start == vma.vm_end:
        found = _reusable(after, vma, after)
    if found is None and vma.vm_start:
        before = tree.load(vma.vm_start - 1)
        if before is not None:
            found = _reusable(before, before, vma)
    if found is None:
        found = anon_vma()
    vma.anon_vma = found
    _anon_vma_chain_link(vma, found)
    found.num_active_vmas += 1
    return 0


def _anon_vma_chain_link(vma: vm_area_struct, av: anon_vma) -> None:
    vma.anon_vma_chain.insert(0, av)
    av.vmas[vma] = None


def anon_vma_clone(dst: vm_area_struct, src: vm_area_struct) -> int:
    """Let `dst` belong to every anon_vma of `src`. 0 or -ENOMEM.

    dst.anon_vma is the caller's to set before. Where it is None, an anon_vma is chosen that lost the VMAs that made
    pages in it and has no more than one child: so a chain of forks does not grow without end. A root is never chosen.
    """
    for av in reversed(src.anon_vma_chain):
        _anon_vma_chain_link(dst, av)
        if dst.anon_vma is None and src.anon_vma is not None and av.num_children < 2 and av.num_active_vmas == 0:
            dst.anon_vma = av
    if dst.anon_vma is not None:
        dst.anon_vma.num_active_vmas += 1
    return 0


def anon_vma_fork(vma: vm_area_struct, pvma: vm_area_struct) -> int:
    """Link a child's VMA into the anon_vmas of its parent's, and give it one of its own for new pages. 0 or -ENOMEM."""
    vma.anon_vma = None
    if pvma.anon_vma is None:
        return 0
    error = anon_vma_clone(vma, pvma)
    if error or vma.anon_vma is not None:
        return error
    own = anon_vma(pvma.anon_vma)
    own.num_active_vmas += 1
    vma.anon_vma = own
    _anon_vma_chain_link(vma, own)
    return 0


def unlink_anon_vmas(vma: vm_area_struct) -> None:
    """Take the VMA out of all its anon_vmas, newest first; one that is empty then leaves its parent."""
    empty = []
    for av in vma.anon_vma_chain:
        del av.vmas[vma]
        if not av.vmas:
            av.parent.num_children -= 1
            empty.append(av)
    vma.anon_vma_chain.clear()
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
        vma.anon_vma = None
    for av in empty:
        assert av.num_children == 0 and av.num_active_vmas == 0, "an anon_vma goes that others still need"


def vma_link_file(vma: vm_area_struct) -> None:
    """Put a file mapping into its file's i_mmap."""
    if vma.vm_file is not None:
        vma.vm_file.f_mapping.i_mmap.append(vma)


def unlink_file_vma(vma: vm_area_struct) -> None:
    """Take a file mapping out of its file's i_mmap."""
    if vma.vm_file is not None:
        vma.vm_file.f_mapping.i_mmap.remove(vma)


def rmap_walk(memory: MemoryManager, target: page) -> list[tuple[vm_area_struct, int, int]]:
    """Every (VMA, address, slot) that maps the page now, in the order in which the VMAs were linked."""
    mapping = target.mapping
    if mapping is None:
        return []
    candidates = mapping.vmas if isinstance(mapping, anon_vma) else mapping.i_mmap
    found = []
    for vma in candidates:
        if not vma.vm_pgoff <= target.index < vma.vm_pgoff + vma_pages(vma):
            continue
        address = vma.vm_start + (target.index - vma.vm_pgoff << PAGE_SHIFT)
        table = vma.vm_mm.pgtable
        slot = table.slot(address)
        if slot < 0:
            continue
        pte = table.get(slot)
        if pte and table.format.pte_present(pte) and (pte & table.format.pfn_mask) >> PAGE_SHIFT == target.pfn:
            found.append((vma, address, slot))
    return found


def folio_dirty_in_mappings(memory: MemoryManager, target: page) -> bool:
    """Has a page been written through a mapping, and only that knows."""
    walk = rmap_walk(memory, target)
    return any(vma.vm_mm.pgtable.format.pte_dirty(vma.vm_mm.pgtable.get(slot)) for vma, _, slot in walk)


def folio_mkclean(memory: MemoryManager, target: page) -> int:
    """Write-protect and clean every shared mapping of a file page, before it is written out. Entries changed."""
    changed = 0
    for vma, address, slot in rmap_walk(memory, target):
        table = vma.vm_mm.pgtable
        format = table.format
        if table.slot(address) != slot:  # others ran while a lock was waited for
            continue
        ptl = table.pte_lock(slot)
        pte = table.get(slot)
        mapped = format.pte_present(pte) and (pte & format.pfn_mask) >> PAGE_SHIFT == target.pfn
        if mapped and (format.pte_dirty(pte) or format.pte_write(pte)):
            table.set(slot, format.pte_wrprotect(format.pte_mkclean(pte)))
            flush_tlb_mm(vma.vm_mm, 1)
            changed += 1
        if ptl is not None:
            ptl.unlock()
    return changed
