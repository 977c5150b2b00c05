# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 28, freed VMAs share a grace period: one call_rcu for each 33, and for the rest when the address space ends."""

from __future__ import annotations

from collections.abc import Callable

from emu.locking.rcu import Rcu
from emu.mm.mmap import exit_mmap, ksys_munmap
from emu.mm.schemes.rfc import VM_AREA_FREE_LIST_MAX
from tests.mm.rfc.lab import BASE, PAGE, SIZE, lab


def test_call_rcu_is_called_for_many_vmas_at_once() -> None:
    for disabled, calls in (((), 1), (("batch",), VM_AREA_FREE_LIST_MAX + 1)):
        it = lab(*disabled)
        mm, rcu = it.box.mm, it.box.memory.rcu
        queued: list[object] = []

        class Counted:
            def call_rcu(self, function: Callable[[], None], queued: list[object] = queued, rcu: Rcu = rcu) -> None:
                queued.append(function)
                rcu.call_rcu(function)

        it.scheme.rcu = Counted()
        for i in range(VM_AREA_FREE_LIST_MAX):
            at = BASE + SIZE + (2 * i + 2) * PAGE
            it.box.map(at, PAGE, 3, 0x32)
            assert ksys_munmap(mm, at, PAGE) == 0
        assert len(queued) == (0 if not disabled else VM_AREA_FREE_LIST_MAX)
        at = BASE + SIZE + 2 * PAGE
        it.box.map(at, PAGE, 3, 0x32)
        ksys_munmap(mm, at, PAGE)
        assert len(queued) == calls
        mm.mm_users = 0
        exit_mmap(mm)
        assert not mm.vma_free_list and len(queued) == calls + 1
