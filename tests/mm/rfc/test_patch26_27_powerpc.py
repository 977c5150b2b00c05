# SPDX-License-Identifier: GPL-2.0-or-later
"""Patches 26 and 27, the fault handler of powerpc tries the VMA lock first, and its Kconfig says that it does."""

from __future__ import annotations

from typing import Any

import pytest

from archs.powerpc import ARCHES
from emu.mm.rmap import anon_vma_prepare
from emu.tracepoint import Path, Reason
from tests.archs.powerpc.test_fault import BASE, IP, WRITE, R, Space, W


@pytest.mark.parametrize("arch", ARCHES, ids=lambda arch: str(arch.name))
def test_the_vma_lock_is_tried_on_powerpc(arch: Any) -> None:
    for disabled, path, reason in (
        ((), Path.VMA_LOCK, Reason.NONE),
        (("x86", "arm64"), Path.VMA_LOCK, Reason.NONE),
        (("powerpc",), Path.MMAP_LOCK, Reason.SCHEME),
    ):
        space = Space(arch, "rfc")
        scheme: Any = space.mm.scheme
        type(scheme).__init__(scheme, space.memory, disabled=disabled)
        space.mm.mm_users = 2
        space.map(R | W)
        vma = space.mm.mm_mt.load(BASE)
        assert vma is not None
        anon_vma_prepare(vma)
        assert space.entry.user_fault(BASE, WRITE, IP)
        assert (space.entry.path, space.entry.reason) == (path, reason)
