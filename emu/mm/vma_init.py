# SPDX-License-Identifier: GPL-2.0-or-later
"""Making and freeing the VMA objects themselves (mm/vma_init.c)."""

from __future__ import annotations

from emu.mm.mm_types import mm_struct, vm_area_struct


def vm_area_alloc(mm: mm_struct, start: int, end: int, flags: int, pgoff: int) -> vm_area_struct:
    """A detached VMA."""
    free = mm.memory.vm_area_cachep
    if free:
        vma = free.pop()
        vma.init(mm, start, end, flags, pgoff)
        return vma
    return mm.memory.vma_type(mm, start, end, flags, pgoff)


def vm_area_dup(old: vm_area_struct, mm: mm_struct | None = None) -> vm_area_struct:
    """A detached copy, in `mm` or in the same address space; anon_vma is copied, its chain is not."""
    new = vm_area_alloc(mm or old.vm_mm, old.vm_start, old.vm_end, old.vm_flags, old.vm_pgoff)
    new.vm_page_prot = old.vm_page_prot
    new.vm_file = old.vm_file
    new.vm_ops = old.vm_ops
    new.vm_private_data = old.vm_private_data
    new.anon_vma = old.anon_vma
    new.anon_name = old.anon_name
    return new


def vm_area_free(vma: vm_area_struct) -> None:
    """The object is not needed any more: readers may still look at it for as long as the scheme lets them."""
    vma.vm_mm.scheme.vm_area_free(vma)
