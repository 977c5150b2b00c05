# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 07, fork marks the parent's VMA before it copies its pages."""

from __future__ import annotations

from tests.mm.rfc.lab import lab


def test_pages_do_not_become_read_only_under_a_reader() -> None:
    """A reader that saw a writable page would go on to write where the child looks by now."""
    for disabled, expected in (((), set()), (("fork",), {"entry"})):
        it = lab(*disabled)
        it.watch()
        it.at(20, it.box.fork)
        assert it.changed() == expected
