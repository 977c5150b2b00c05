# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 01, CONFIG_PER_VMA_LOCK: a kernel configured without it serves every fault under mmap_lock."""

from __future__ import annotations

from emu.tracepoint import Kind, Path, Reason
from tests.mm.rfc.lab import BASE, PAGE, lab


def test_without_the_option_no_fault_is_served_under_the_vma_lock() -> None:
    for disabled, path, reason in (((), Path.VMA_LOCK, 0), (("config",), Path.MMAP_LOCK, Reason.SCHEME)):
        it = lab(*disabled, trace=True)
        assert it.box.touch(BASE + PAGE) == 1
        (row,) = it.rows(Kind.PAGE_FAULT_USER)
        assert (row["path"], row["reason"]) == (path, reason)
