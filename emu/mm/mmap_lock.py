# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap_lock and its tracepoints (include/linux/mmap_lock.h, mm/mmap_lock.c).

The order of events is the kernel's: start_locking and acquire_returned around every attempt, a trylock's too,
acquire_returned
alone for a downgrade, released before the lock is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.mm.mm_types import mm_struct, vm_area_struct

_START = Kind.MMAP_LOCK_START_LOCKING
_RETURNED = Kind.MMAP_LOCK_ACQUIRE_RETURNED
_RELEASED = Kind.MMAP_LOCK_RELEASED


def mmap_write_lock(mm: mm_struct) -> None:
    """Take mmap_lock for write, waiting as needed."""
    tp = mm.tp
    if tp.on:
        _traced(mm, 1, mm.mmap_lock.down_write)
    else:
        mm.mmap_lock.down_write()
        mm.scheme.mm_lock_begin(mm)


def mmap_write_lock_nested(mm: mm_struct, subclass: int) -> None:
    """As mmap_write_lock, for the second address space that one task locks."""
    tp = mm.tp
    if tp.on:
        _traced(mm, 1, lambda: mm.mmap_lock.down_write_nested(subclass))
    else:
        mm.mmap_lock.down_write_nested(subclass)
        mm.scheme.mm_lock_begin(mm)


def mmap_write_lock_killable(mm: mm_struct) -> int:
    """As mmap_write_lock; -EINTR, without the lock, when a fatal signal ends the wait."""
    if mm.tp.on:
        return _traced(mm, 1, mm.mmap_lock.down_write_killable)
    error = mm.mmap_lock.down_write_killable()
    if not error:
        mm.scheme.mm_lock_begin(mm)
    return error


def mmap_write_unlock(mm: mm_struct) -> None:
    """Release it, and with it the write locks of all VMAs."""
    tp = mm.tp
    if tp.on:
        tp.emit(_RELEASED, mm.id, code=1, duration=_held(mm))
    mm.scheme.vma_end_write_all(mm)
    mm.mmap_lock.up_write()


def mmap_write_downgrade(mm: mm_struct) -> None:
    """Turn the write lock into a read lock without letting another writer in."""
    tp = mm.tp
    if tp.on:
        tp.emit(_RETURNED, mm.id, code=0, result=1)
    mm.scheme.vma_end_write_all(mm)
    mm.mmap_lock.downgrade_write()


def mmap_read_lock(mm: mm_struct) -> None:
    """Take mmap_lock for read, waiting as needed."""
    if mm.tp.on:
        _traced(mm, 0, mm.mmap_lock.down_read)
    else:
        mm.mmap_lock.down_read()


def mmap_read_lock_killable(mm: mm_struct) -> int:
    """As mmap_read_lock; -EINTR, without the lock, when a fatal signal ends the wait."""
    if mm.tp.on:
        return _traced(mm, 0, mm.mmap_lock.down_read_killable)
    return mm.mmap_lock.down_read_killable()


def mmap_read_trylock(mm: mm_struct) -> bool:
    """Take it for read if nobody must be waited for."""
    tp = mm.tp
    if not tp.on:
        return mm.mmap_lock.down_read_trylock()
    tp.emit(_START, mm.id, code=0)
    taken = mm.mmap_lock.down_read_trylock()
    tp.emit(_RETURNED, mm.id, code=0, result=int(taken))
    if taken:
        mm.mmap_lock_since[tp.tid] = tp.clock()
    return taken


def mmap_read_unlock(mm: mm_struct) -> None:
    """Release a read lock."""
    tp = mm.tp
    if tp.on:
        tp.emit(_RELEASED, mm.id, code=0, duration=_held(mm))
    mm.mmap_lock.up_read()


def _traced(mm: mm_struct, write: int, take: Callable[[], int | None]) -> int:
    """Take the lock, with its events and with what the task waited: 0 or -EINTR."""
    tp = mm.tp
    tp.emit(_START, mm.id, code=write)
    waited = tp.current.wait
    error = take() or 0
    if write and not error:
        mm.scheme.mm_lock_begin(mm)
    wait = tp.current.wait - waited
    holder = tp.current.holder if wait else 0
    tp.emit(_RETURNED, mm.id, code=write, result=int(not error), wait=wait, holder=holder)
    if not error:
        mm.mmap_lock_since[tp.tid] = tp.clock()
    return error


def _held(mm: mm_struct) -> int:
    """How long the running task has held the lock, in ns."""
    now = mm.tp.clock()
    return now - mm.mmap_lock_since.pop(mm.tp.tid, now)


def mmap_assert_write_locked(mm: mm_struct) -> None:
    """The caller must hold it for write."""
    assert mm.mmap_lock.writer, "mmap_lock is not held for write"


def mmap_assert_locked(mm: mm_struct) -> None:
    """The caller must hold it."""
    assert mm.mmap_lock.is_locked(), "mmap_lock is not held"


def lock_mm_and_find_vma(mm: mm_struct, address: int, user: bool) -> vm_area_struct | None:
    """The VMA for a fault at `address` with mmap_lock held for read, a stack grown to it if need be
    (lock_mm_and_find_vma).

    None, with no lock held, where no VMA contains the address and none can grow to it. `user` is false for accesses
    by the kernel, which
    all have an exception table entry here and may thus wait.
    """
    if not mmap_read_trylock(mm) and mmap_read_lock_killable(mm):
        mm.stack_grown = False
        return None
    if mm.mmap_lock.line is not None:
        sched = mm.memory.sched
        sched.read_and_charge(mm.lookup_line, sched.cost.vma_lookup)
    vma = mm.mm_mt.find(address)
    mm.stack_grown = False
    if vma is not None and vma.vm_start <= address:
        return vma
    from emu.mm.mm_types import VM_GROWSDOWN
    from emu.mm.vma import expand_stack_locked

    if vma is None or not vma.vm_flags & VM_GROWSDOWN:
        mmap_read_unlock(mm)
        mm.stack_grown = False
        return None
    # The lock cannot be upgraded: take it for write and look again.
    mmap_read_unlock(mm)
    if mmap_write_lock_killable(mm):
        mm.stack_grown = False
        return None
    vma = mm.mm_mt.find(address)
    if vma is not None and vma.vm_start > address:
        if not vma.vm_flags & VM_GROWSDOWN or expand_stack_locked(vma, address):
            vma = None
    if vma is None:
        mmap_write_unlock(mm)
        mm.stack_grown = False
        return None
    mmap_write_downgrade(mm)
    mm.stack_grown = True
    return vma


def expand_stack(mm: mm_struct, address: int) -> vm_area_struct | None:
    """The VMA at `address`, a stack grown to it if need be: mmap_lock, held for read, is let go meanwhile. None, with
    no lock held, where none can be (expand_stack)."""
    from emu.mm.mm_types import VM_GROWSDOWN
    from emu.mm.vma import expand_stack_locked

    mmap_read_unlock(mm)
    if mmap_write_lock_killable(mm):
        return None
    vma = mm.mm_mt.find(address)
    if vma is None or (
        vma.vm_start > address and (not vma.vm_flags & VM_GROWSDOWN or expand_stack_locked(vma, address))
    ):
        mmap_write_unlock(mm)
        return None
    mmap_write_downgrade(mm)
    return vma
