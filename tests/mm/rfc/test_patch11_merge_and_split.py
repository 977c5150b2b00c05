# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 11, VMAs are marked before it is looked at whether they merge, and before one is split: a fault may give a VMA
its anon_vma meanwhile. (It may in the series as it was, which asked for no anon_vma: bug "anon_vma".)"""

from __future__ import annotations

from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.rmap import rmap_walk
from tests.mm.rfc.lab import BASE, PAGE, US, R, lab

OTHER = BASE + 64 * PAGE


def test_both_halves_of_a_split_vma_know_the_anon_vma_of_its_pages() -> None:
    for disabled, lost in (((), 0), (("merge_split",), 1)):
        it = lab(*disabled, bugs=("anon_vma",))
        it.box.map(OTHER, 8 * PAGE, 3, 0x32)  # no page, no anon_vma yet
        view = it.box.thread()
        handle = it.scheme.lock_vma_under_rcu
        inside = []

        def slow(mm, address, it=it, handle=handle, inside=inside):
            vma = handle(mm, address)
            if vma is not None and not inside:
                inside.append(vma)
                it.cpu.sched.block(deadline=60 * US)
            return vma

        it.scheme.lock_vma_under_rcu = slow
        it.at(5, lambda view=view: view.touch(OTHER + 7 * PAGE))
        it.at(20, lambda it=it: do_mprotect_pkey(it.box.mm, OTHER, 4 * PAGE, R))
        it.cpu.run()
        assert inside
        page = it.box.page_at(OTHER + 7 * PAGE)
        assert page is not None
        assert len(rmap_walk(it.box.memory, page)) == 1 - lost
