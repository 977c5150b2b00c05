# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 19, do_swap_page gives up under the VMA lock: entries that are not empty and not present. (No swap here, but
the markers of guard pages are such entries.)"""

from __future__ import annotations

from emu.mm.madvise import do_madvise
from emu.tracepoint import Kind, Path
from tests.mm.rfc.lab import BASE, PAGE, lab

GUARD_INSTALL = 102


def test_an_entry_that_is_not_present_is_served_under_mmap_lock() -> None:
    for disabled, path, retries in (((), Path.MMAP_LOCK, 1), (("swap",), Path.VMA_LOCK, 0)):
        it = lab(*disabled, trace=True)
        assert do_madvise(it.box.mm, BASE + 2 * PAGE, PAGE, GUARD_INSTALL) == 0
        assert it.box.touch(BASE + 2 * PAGE) == -1
        (row,) = it.rows(Kind.PAGE_FAULT_USER)
        assert row["path"] == path
        assert it.box.memory.vmstat["vma_lock_retry"] == retries
