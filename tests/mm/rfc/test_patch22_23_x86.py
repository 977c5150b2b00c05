# SPDX-License-Identifier: GPL-2.0-or-later
"""Patches 22 and 23, the fault handler of x86 tries the VMA lock first, and its Kconfig says that it does."""

from __future__ import annotations

from emu.tracepoint import Kind, Path, Reason
from tests.mm.rfc.lab import BASE, PAGE, lab


def test_the_vma_lock_is_tried_on_x86() -> None:
    for disabled, path, reason in (
        ((), Path.VMA_LOCK, Reason.NONE),
        (("arm64", "powerpc"), Path.VMA_LOCK, Reason.NONE),
        (("x86",), Path.MMAP_LOCK, Reason.SCHEME),
    ):
        it = lab(*disabled, trace=True)
        assert it.box.touch(BASE + PAGE) == 1
        (row,) = it.rows(Kind.PAGE_FAULT_USER)
        assert (row["path"], row["reason"]) == (path, reason)


def test_not_for_the_only_user_and_not_in_kernel_mode() -> None:
    it = lab(trace=True)
    assert it.box.access.copy_to_user(BASE + PAGE, b"x")
    it.box.mm.mm_users = 1
    assert it.box.touch(BASE + 2 * PAGE) == 1
    rows = [row for row in it.cpu.rows() if row["kind"] in (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)]
    assert [row["reason"] for row in rows] == [Reason.KERNEL_MODE, Reason.SINGLE_USER]
