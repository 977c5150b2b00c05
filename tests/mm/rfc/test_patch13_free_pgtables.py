# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 13, unmap_page_range and free_pgtables mark what they take pages and tables from, where mmap_lock is held for
write. (What isolates a VMA before, patch 14, is out in both runs: it would have marked it.)"""

from __future__ import annotations

from tests.mm.rfc.lab import BASE, SIZE, lab


def test_pages_do_not_go_under_a_reader() -> None:
    for disabled, gone in (((), False), (("free_pgtables",), True)):
        it = lab("isolate", *disabled)
        it.watch()
        it.at(20, lambda it=it: it.box.map(BASE, SIZE, 3, 0x32))  # replaces it, mmap_lock held for write throughout
        assert ("entry" in it.changed()) == gone
