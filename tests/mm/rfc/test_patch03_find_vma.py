# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 03, __find_vma: a look-up that does not insist on mmap_lock."""

from __future__ import annotations

import pytest

from tests.mm.rfc.lab import BASE, PAGE, lab


def test_a_look_up_without_mmap_lock() -> None:
    assert lab().box.touch(BASE + PAGE) == 1
    with pytest.raises(AssertionError, match="mmap_lock is not held for a look-up"):
        lab("find_vma").box.touch(BASE + PAGE)
