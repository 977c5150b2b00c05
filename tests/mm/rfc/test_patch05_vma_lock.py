# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 05, the lock and its helpers: readers and writers of a VMA keep out of each other's way."""

from __future__ import annotations

from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.mprotect import do_mprotect_pkey
from emu.tracepoint import Reason
from tests.mm.rfc.lab import BASE, SIZE, US, R, lab


def test_a_writer_waits_for_readers() -> None:
    for disabled, changed in (((), set()), (("lock",), {"flags", "entry"})):
        it = lab(*disabled)
        it.watch()
        it.at(20, lambda it=it: do_mprotect_pkey(it.box.mm, BASE, SIZE, R))
        assert it.changed() == changed


def test_a_marked_vma_lets_no_reader_in_until_mmap_lock_is_released() -> None:
    for disabled, got in (((), False), (("lock",), True)):
        it = lab(*disabled)
        results = []

        def writer(it=it) -> None:
            mmap_write_lock(it.box.mm)
            it.scheme.vma_start_write(it.vma)
            it.cpu.at(50 * US)
            mmap_write_unlock(it.box.mm)

        def reader(it=it, results=results) -> None:
            vma = it.scheme.lock_vma_under_rcu(it.box.mm, BASE)
            results.append((vma is not None, it.scheme.reason))
            if vma is not None:
                it.scheme.vma_end_read(vma)

        it.at(10, writer)
        it.at(30, reader)
        it.at(90, reader)
        it.cpu.run()
        assert results == [(got, Reason.NONE if got else Reason.WRITE_LOCKED), (True, Reason.NONE)]
