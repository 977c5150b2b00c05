# SPDX-License-Identifier: GPL-2.0-or-later
"""Patches 24 and 25, the fault handler of arm64 tries the VMA lock first, and its Kconfig says that it does."""

from __future__ import annotations

from typing import Any

from archs.arm64.mm.fault import ESR_ELx_EC_DABT_LOW, ESR_ELx_WNR
from emu.mm.rmap import anon_vma_prepare
from emu.tracepoint import Path, Reason
from tests.archs.arm64.space import DATA, R, Space, W

TRANSLATION = 7
ESR = ESR_ELx_EC_DABT_LOW << 26 | ESR_ELx_WNR | TRANSLATION


def test_the_vma_lock_is_tried_on_arm64() -> None:
    for disabled, path, reason in (
        ((), Path.VMA_LOCK, Reason.NONE),
        (("x86", "powerpc"), Path.VMA_LOCK, Reason.NONE),
        (("arm64",), Path.MMAP_LOCK, Reason.SCHEME),
    ):
        space = Space("rfc")
        scheme: Any = space.mm.scheme
        type(scheme).__init__(scheme, space.memory, disabled=disabled)
        space.mm.mm_users = 2
        anon_vma_prepare(space.map(DATA, 0x2000, R | W))
        assert space.entry.user_fault(DATA, ESR, 0x400000)
        assert (space.entry.path, space.entry.reason) == (path, reason)
