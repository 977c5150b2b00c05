# SPDX-License-Identifier: GPL-2.0-or-later
"""What every fault does, in C. Where many CPUs fault (_native.c, _turns.c, _batches.c): how a cache line goes from CPU
to CPU, whose turn it is, a spinlock that is free, the lock of a page table, a reader's VMA lock, and what CPUs share or
have in stock for new pages.
On every machine (_mm.c): a new page and a new vm_fault, the VMA at an address, pages that go. Where a trace is recorded
(_events.c): the event of a fault.

Where the extension was not built, or with MMSCOPE_PURE=1, these classes are those that they derive from.
"""

from __future__ import annotations

from emu.hw.engine import _EngineState
from emu.hw.native import does_not_fit, wants_pure
from emu.locking.spinlock import spinlock
from emu.mm.batches import WINDOW, Bandwidth, Batches, Section, Share
from emu.mm.fault_event import FaultEvent
from emu.mm.memory import vm_fault
from emu.mm.mm_types import page, vm_area_struct
from emu.mm.page_alloc import PageAllocator
from emu.mm.pgtable import PageTable, PteLocks
from emu.mm.schemes.v6_18 import vma_lock
from emu.mm.vma_tree import VmaTree, _Leaf, _Root
from emu.sched.cacheline import SETTLE, CacheLine
from emu.sched.entity import SchedEntity
from emu.sched.rq import Rq
from emu.sched.sched import LOOKAHEAD, RUN_AHEAD, Sched
from emu.tracepoint import Tracepoints, Waits


class NativeSpinlock(spinlock):
    """`lock` and `unlock` are in C."""

    __slots__ = ()


class NativeBatches(Batches):
    """`new_anon` is in C."""

    __slots__ = ()


class NativeSection(Section):
    """`hold` is in C."""

    __slots__ = ()


class NativeVmaLock(vma_lock):
    """`enter` and `leave` are in C."""

    __slots__ = ()


class NativePteLocks(PteLocks):
    """`lock` is in C."""

    __slots__ = ()


class NativeFaultEvent(FaultEvent):
    """`begin` and `end` are in C."""

    __slots__ = ()


class NativePage(page):
    """`__init__` is in C."""

    __slots__ = ()


class NativeVmFault(vm_fault):
    """`__init__` is in C."""

    __slots__ = ()


class NativeVmaTree(VmaTree):
    """`load` is in C."""

    __slots__ = ()


class NativePageAllocator(PageAllocator):
    """`free_unref_folios` is in C."""

    __slots__ = ()


class NativeTracepoints(Tracepoints):
    """`emit` is in C."""

    __slots__ = ()


class NativeSched(Sched):
    """`charge`, `charge_for`, `sync_for`, `write_line`, `claim_line`, `read_line`, `read_and_charge`, `enter_guest`,
    `leave_guest`, `user_deadline` and `_next_turn` are in C, and so is the CacheLine that it makes, but for what it
    does seldom."""

    new_tracepoints = NativeTracepoints
    replaced = {
        spinlock: NativeSpinlock,
        Batches: NativeBatches,
        Section: NativeSection,
        vma_lock: NativeVmaLock,
        PteLocks: NativePteLocks,
        FaultEvent: NativeFaultEvent,
        page: NativePage,
        vm_fault: NativeVmFault,
        VmaTree: NativeVmaTree,
        PageAllocator: NativePageAllocator,
    }


def _adopt() -> bool:
    """Put the methods in C into the classes. Is the extension there."""
    if wants_pure():
        return False
    try:
        from emu.sched._native import Turns, adopt
    except ImportError:
        return False
    try:
        bases = {
            base.__name__: base
            for base in (
                *NativeSched.replaced, Sched, Tracepoints, Share, Bandwidth, CacheLine, Rq, SchedEntity, Waits,
                PageTable, vm_area_struct, _Root, _Leaf,
            )
        }  # fmt: skip
        derived = {base.__name__: kind for base, kind in NativeSched.replaced.items()}
        derived |= {"Sched": NativeSched, "Tracepoints": NativeTracepoints}
        retired_at = _EngineState.retired.offset
        NativeSched.new_turns = Turns
        NativeSched.new_line = adopt(bases, derived, SETTLE, RUN_AHEAD, LOOKAHEAD, WINDOW, retired_at)
    except (AttributeError, TypeError):
        does_not_fit("emu.sched._native")
        return False
    return True


adopted = _adopt()
