# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 14, a VMA is marked before it is taken out of the tree, and can be told from one that is in it."""

from __future__ import annotations

import pytest

import emu.mm.vma
from emu.mm.mmap import ksys_munmap
from emu.tracepoint import Reason
from tests.mm.rfc.lab import BASE, PAGE, SIZE, US, Lab, lab


def munmap_meets_a_late_reader(it: Lab, monkeypatch: pytest.MonkeyPatch) -> tuple[object, int]:
    """The reader finds the VMA at 5 us and tries its lock at 50 us, when munmap holds mmap_lock for read only."""
    downgrade = emu.mm.vma.mmap_write_downgrade
    trylock = it.scheme._vma_read_trylock
    result: list[tuple[object, int]] = []

    def slow_downgrade(mm) -> None:
        downgrade(mm)
        it.cpu.at(90 * US)

    def slow_trylock(vma) -> bool:
        it.cpu.at(50 * US)
        return bool(trylock(vma))

    def reader() -> None:
        found = it.scheme.lock_vma_under_rcu(it.box.mm, BASE + PAGE)
        result.append((found, it.scheme.reason))
        if found is not None:
            it.scheme.vma_end_read(found)

    monkeypatch.setattr(emu.mm.vma, "mmap_write_downgrade", slow_downgrade)
    it.scheme._vma_read_trylock = slow_trylock
    it.at(5, reader)
    it.at(10, lambda: ksys_munmap(it.box.mm, BASE, SIZE))
    it.cpu.run()
    return result[0]


def test_an_isolated_vma_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    it = lab()
    assert munmap_meets_a_late_reader(it, monkeypatch) == (None, Reason.DETACHED)
    assert it.box.memory.vmstat["vma_lock_miss"] == 1


def test_without_the_patch_it_would_serve_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    it = lab("isolate")
    vma = it.vma
    found, _ = munmap_meets_a_late_reader(it, monkeypatch)
    assert found is vma and it.box.mm.mm_mt.load(BASE) is None


def test_a_vma_is_not_taken_out_under_a_reader() -> None:
    for disabled, expected in (((), set()), (("isolate",), {"entry", "bounds", "anon_vma"})):
        it = lab(*disabled)
        it.watch()
        it.at(20, lambda it=it: ksys_munmap(it.box.mm, BASE, SIZE))
        assert it.changed() == expected
