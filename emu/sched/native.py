# SPDX-License-Identifier: GPL-2.0-or-later
"""What every fault does where many CPUs fault, in C (_native.c): how a cache line goes from CPU to CPU, whose turn it
is, a spinlock that is free, the lock of a page table, a reader's VMA lock, and what a CPU has in stock for new pages.

Where the extension was not built, or with MMSCOPE_PURE=1, these classes are those that they derive from.
"""

from __future__ import annotations

from emu.hw.native import does_not_fit, wants_pure
from emu.locking.spinlock import spinlock
from emu.mm.batches import WINDOW, Bandwidth, Batches, Share
from emu.mm.pgtable import PteLocks
from emu.mm.schemes.v6_18 import vma_lock
from emu.sched.cacheline import SETTLE, CacheLine
from emu.sched.entity import SchedEntity
from emu.sched.rq import Rq
from emu.sched.sched import LOOKAHEAD, RUN_AHEAD, Sched
from emu.tracepoint import Tracepoints


class NativeSpinlock(spinlock):
    """`lock` and `unlock` are in C."""

    __slots__ = ()


class NativeBatches(Batches):
    """`new_anon` is in C."""

    __slots__ = ()


class NativeVmaLock(vma_lock):
    """`enter` and `leave` are in C."""

    __slots__ = ()


class NativePteLocks(PteLocks):
    """`lock` is in C."""

    __slots__ = ()


class NativeSched(Sched):
    """`charge`, `charge_for`, `sync_for`, `write_line`, `claim_line`, `read_line`, `read_and_charge` and `_next_turn`
    are in C, and so is the CacheLine that it makes, but for what it does seldom."""

    replaced = {
        spinlock: NativeSpinlock,
        Batches: NativeBatches,
        vma_lock: NativeVmaLock,
        PteLocks: NativePteLocks,
    }


def _adopt() -> bool:
    """Put the methods in C into the classes. Is the extension there."""
    if wants_pure():
        return False
    try:
        from emu.sched._native import adopt
    except ImportError:
        return False
    try:
        bases = Sched, spinlock, Batches, vma_lock, PteLocks, Share, Bandwidth, CacheLine, Rq, Tracepoints, SchedEntity
        derived = NativeSched, NativeSpinlock, NativeBatches, NativeVmaLock, NativePteLocks
        NativeSched.new_line = adopt(bases, derived, SETTLE, RUN_AHEAD, LOOKAHEAD, WINDOW)
    except (AttributeError, TypeError):
        does_not_fit("emu.sched._native")
        return False
    return True


adopted = _adopt()
