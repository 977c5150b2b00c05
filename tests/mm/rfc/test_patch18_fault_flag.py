# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 18, FAULT_FLAG_VMA_LOCK: the handlers are told which lock is held, and so what they must leave alone."""

from __future__ import annotations

from emu.mm.madvise import do_madvise
from emu.mm.mm_types import FAULT_FLAG_VMA_LOCK
from emu.tracepoint import Kind, Path
from tests.mm.rfc.lab import BASE, PAGE, lab

GUARD_INSTALL = 102


def test_handlers_know_the_lock() -> None:
    for disabled, path, retries in (((), Path.MMAP_LOCK, 1), (("fault_flag",), Path.VMA_LOCK, 0)):
        it = lab(*disabled, trace=True)
        assert it.box.touch(BASE + PAGE) == 1
        assert do_madvise(it.box.mm, BASE + 2 * PAGE, PAGE, GUARD_INSTALL) == 0
        assert it.box.touch(BASE + 2 * PAGE) == -1  # an entry that is not empty is for mmap_lock
        plain, marker = it.rows(Kind.PAGE_FAULT_USER)
        assert bool(plain["flags"] & FAULT_FLAG_VMA_LOCK) == (not disabled)
        assert marker["path"] == path
        assert it.box.memory.vmstat["vma_lock_retry"] == retries
