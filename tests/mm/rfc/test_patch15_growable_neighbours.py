# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 15, munmap beside a stack marks it and keeps mmap_lock for write: the stack could grow into the hole."""

from __future__ import annotations

from emu.mm.mm_types import VM_GROWSDOWN
from emu.mm.mmap import ksys_munmap
from emu.tracepoint import Kind
from tests.mm.rfc.lab import BASE, PAGE, US, lab


def test_munmap_beside_a_stack() -> None:
    for disabled, downgraded in (((), False), (("growable",), True)):
        it = lab(*disabled, trace=True)
        it.vma.vm_flags |= VM_GROWSDOWN
        it.box.map(BASE - PAGE, PAGE, 3, 0x32)
        done = []
        it.watch()

        def unmap(it=it, done=done) -> None:
            assert ksys_munmap(it.box.mm, BASE - PAGE, PAGE) == 0
            done.append(it.cpu.sched.clock)

        it.at(20, unmap)
        assert not it.changed()
        rows = it.rows(Kind.MMAP_LOCK_ACQUIRE_RETURNED)
        assert any(row["code"] == 0 for row in rows) == downgraded
        assert (done[0] < 60 * US) == downgraded  # it did not wait for the reader in the stack
