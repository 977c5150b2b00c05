# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 20, the counters: success, abort (the lock was not free), miss (isolated), retry."""

from __future__ import annotations

from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.tracepoint import Reason
from tests.mm.rfc.lab import BASE, lab


def test_what_counts_and_what_does_not() -> None:
    for disabled, count in (((), 1), (("stats",), 0)):
        it = lab(*disabled)
        vmstat, mm = it.box.memory.vmstat, it.box.mm
        mmap_write_lock(mm)
        it.scheme.vma_start_write(it.vma)
        assert it.scheme.lock_vma_under_rcu(mm, BASE) is None and it.scheme.reason == Reason.WRITE_LOCKED
        mmap_write_unlock(mm)
        it.vma.detached = True
        assert it.scheme.lock_vma_under_rcu(mm, BASE) is None and it.scheme.reason == Reason.DETACHED
        it.vma.detached = False
        assert it.scheme.lock_vma_under_rcu(mm, 0x5000) is None  # no VMA: no counter
        assert (vmstat["vma_lock_abort"], vmstat["vma_lock_miss"]) == (count, count)
