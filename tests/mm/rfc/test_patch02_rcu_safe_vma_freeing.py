# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 02, RCU-safe freeing of VMAs: a reader that found a VMA may still look at it when it was unmapped."""

from __future__ import annotations

import pytest

from emu.locking.lockdep import Violation
from emu.mm.mmap import ksys_munmap
from tests.mm.rfc.lab import BASE, PAGE, SIZE, US, Lab, lab


def late_reader(it: Lab) -> None:
    """Finds the VMA at 5 us, is slow, and tries its lock at 50 us; the VMA is unmapped in between."""
    trylock = it.scheme._vma_read_trylock
    result = []

    def slow(vma: object) -> bool:
        it.cpu.at(50 * US)
        return bool(trylock(vma))

    it.scheme._vma_read_trylock = slow
    it.at(5, lambda: result.append(it.scheme.lock_vma_under_rcu(it.box.mm, BASE + PAGE)))
    it.at(10, lambda: ksys_munmap(it.box.mm, BASE, SIZE))
    it.cpu.run()
    assert result == [None]


def test_a_late_reader_looks_at_a_vma_that_is_still_there() -> None:
    late_reader(lab(check=True))


def test_without_the_patch_it_looks_at_a_freed_object() -> None:
    with pytest.raises(Violation, match="use after free"):
        late_reader(lab("rcu_free", check=True))
