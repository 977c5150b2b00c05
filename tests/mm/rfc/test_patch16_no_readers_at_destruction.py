# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 16, a VMA that is destroyed has no reader: asserted."""

from __future__ import annotations

import pytest

from tests.mm.rfc.lab import BASE, lab


@pytest.mark.parametrize("disabled", [(), ("no_readers",)])
def test_a_reader_at_destruction_is_noticed(disabled: tuple[str, ...]) -> None:
    it = lab("rcu_free", *disabled)
    vma = it.scheme.lock_vma_under_rcu(it.box.mm, BASE)
    assert vma is not None
    if disabled:
        it.scheme.vm_area_free(vma)  # nobody notices
        assert vma.vm_lock.readers == 1
    else:
        with pytest.raises(AssertionError, match="destroyed with a reader inside"):
            it.scheme.vm_area_free(vma)
