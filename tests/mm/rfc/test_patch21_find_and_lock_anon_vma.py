# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 21, find_and_lock_anon_vma: a VMA that is anonymous, still in the tree, and locked."""

from __future__ import annotations

from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.tracepoint import Kind, Path, Reason
from tests.mm.rfc.lab import BASE, PAGE, lab

SHARED = BASE + 64 * PAGE


def test_memory_with_vm_ops_goes_to_mmap_lock() -> None:
    for disabled, path, reason in (
        ((), Path.MMAP_LOCK, Reason.NOT_ANONYMOUS),
        (("find_and_lock",), Path.VMA_LOCK, Reason.NONE),
    ):
        it = lab(*disabled, trace=True)
        assert it.box.map(SHARED, PAGE, 3, 0x31) == SHARED
        assert it.box.touch(SHARED) == 1
        (row,) = it.rows(Kind.PAGE_FAULT_USER)
        assert (row["path"], row["reason"]) == (path, reason)


def test_what_was_isolated_meanwhile_is_let_go() -> None:
    for disabled, served in (((), False), (("find_and_lock",), True)):
        it = lab(*disabled)
        mmap_write_lock(it.box.mm)
        it.scheme.vma_mark_detached(it.vma)  # still to be found: the look-up came first
        mmap_write_unlock(it.box.mm)
        found = it.scheme.lock_vma_under_rcu(it.box.mm, BASE)
        assert (found is not None) == served
        assert it.vma.vm_lock.readers == int(served)
