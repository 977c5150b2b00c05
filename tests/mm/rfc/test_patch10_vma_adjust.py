# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 10, __vma_adjust marks what it gives other bounds."""

from __future__ import annotations

from emu.mm.mm_types import VM_GROWSDOWN, VM_IO
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.mremap import sys_mremap
from emu.mm.vma import expand_stack_locked
from tests.mm.rfc.lab import BASE, PAGE, SIZE, Lab, lab


def test_a_vma_does_not_grow_under_a_reader() -> None:
    for disabled, expected in (((), set()), (("vma_adjust",), {"bounds"})):
        it = lab(*disabled)
        it.vma.vm_flags |= VM_IO  # never merges: merging would mark it
        it.watch()
        it.at(20, lambda it=it: sys_mremap(it.box.mm, BASE, SIZE, SIZE + PAGE, 0, 0))
        assert it.changed() == expected


def test_nor_does_a_stack() -> None:
    def grow(it: Lab) -> None:
        mmap_write_lock(it.box.mm)
        assert expand_stack_locked(it.vma, BASE - PAGE) == 0
        mmap_write_unlock(it.box.mm)

    for disabled, expected in (((), set()), (("vma_adjust",), {"bounds"})):
        it = lab(*disabled)
        it.vma.vm_flags |= VM_GROWSDOWN
        it.watch()
        it.at(20, lambda it=it: grow(it))
        assert it.changed() == expected
