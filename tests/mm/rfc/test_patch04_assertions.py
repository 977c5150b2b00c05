# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 04, the assertions come before the helpers that use them: marking a VMA asks for mmap_lock."""

from __future__ import annotations

import pytest

from emu.mm.mmap_lock import mmap_read_lock
from tests.mm.rfc.lab import lab


def test_a_vma_is_not_marked_without_mmap_lock_held_for_write() -> None:
    it = lab()
    mmap_read_lock(it.box.mm)
    with pytest.raises(AssertionError, match="not held for write"):
        it.scheme.vma_start_write(it.vma)
    with pytest.raises(AssertionError, match="not held for write"):
        it.scheme.vma_assert_write_locked(it.vma)


def test_without_them_it_is_marked_and_nobody_will_take_the_mark_away() -> None:
    it = lab("asserts")
    mmap_read_lock(it.box.mm)
    it.scheme.vma_start_write(it.vma)
    it.scheme.vma_assert_write_locked(it.vma)
    assert it.vma.vm_lock_seq == it.box.mm.mm_lock_seq and not it.box.mm.mmap_lock.writer
