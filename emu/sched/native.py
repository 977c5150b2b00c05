# SPDX-License-Identifier: GPL-2.0-or-later
"""The scheduler with its hardware in C (_native.c): how a cache line goes from CPU to CPU, and whose turn it is.

Where the extension was not built, or with MMSCOPE_PURE=1, these classes are those that they derive from.
"""

from __future__ import annotations

from greenlet import greenlet

from emu.hw.native import does_not_fit, wants_pure
from emu.sched.cacheline import SETTLE, CacheLine
from emu.sched.entity import SchedEntity
from emu.sched.rq import Rq
from emu.sched.sched import LOOKAHEAD, RUN_AHEAD, Sched
from emu.tracepoint import Tracepoints


class NativeCacheLine(CacheLine):
    """`write` and `cmpxchg` are in C."""

    __slots__ = ()


class NativeSched(Sched):
    """`sync_for`, `write_line`, `claim_line` and `_next_turn` are in C."""

    new_line = NativeCacheLine


def _adopt() -> bool:
    """Put the methods in C into the classes. Is the extension there."""
    if wants_pure():
        return False
    try:
        from emu.sched._native import adopt
    except ImportError:
        return False
    try:
        classes = CacheLine, Sched, Rq, Tracepoints, SchedEntity
        adopt(NativeCacheLine, NativeSched, classes, greenlet.switch, SETTLE, RUN_AHEAD, LOOKAHEAD)
    except (AttributeError, TypeError):
        does_not_fit("emu.sched._native")
        return False
    return True


adopted = _adopt()
