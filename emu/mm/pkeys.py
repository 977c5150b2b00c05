# SPDX-License-Identifier: GPL-2.0-or-later
"""Protection keys: which of them an address space has given out, and what a thread may do with pages of a key
(arch/x86/mm/pkeys.c, arch/x86/include/asm/pkeys.h).

A VMA's key is in its vm_flags, and from there in its page-table entries. What each key forbids stands in a register of
the thread, PKRU: two bits a key, for any access to data and for writes. Memory that may be executed only has a key of
its own, which the kernel gives out when it is first needed. Some x86-64 CPUs have keys; elsewhere there is key 0 alone.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from emu.mm.mm_types import VM_ACCESS_FLAGS, VM_EXEC, flags_pkey, mm_struct, vm_area_struct

if TYPE_CHECKING:
    from emu.sched.sched import Sched

PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE = 1, 2
PROT_EXEC = 4
INIT_PKRU = 0x55555554
"""PKRU of a program that begins: access by key 0 only (init_pkru_value)."""


def vma_pkey(vma: vm_area_struct) -> int:
    """The key of a VMA."""
    return flags_pkey(vma.vm_flags)


def arch_max_pkey(mm: mm_struct) -> int:
    """How many keys the CPU has, key 0 among them."""
    return mm.pgtable.format.pkeys


def mm_pkey_is_allocated(mm: mm_struct, pkey: int) -> bool:
    """May user space name this key: it may not name the one of execute-only memory."""
    if not 0 <= pkey < arch_max_pkey(mm) or pkey == mm.execute_only_pkey:
        return False
    return bool(mm.pkey_allocation_map >> pkey & 1)


def mm_pkey_alloc(mm: mm_struct) -> int:
    """The lowest free key, which is taken then; -1 when there is none. mmap_lock held for write."""
    for pkey in range(arch_max_pkey(mm)):
        if not mm.pkey_allocation_map >> pkey & 1:
            mm.pkey_allocation_map |= 1 << pkey
            return pkey
    return -1


def mm_pkey_free(mm: mm_struct, pkey: int) -> int:
    """Give a key back: 0 or -EINVAL. Memory that has it keeps it. mmap_lock held for write."""
    if not mm_pkey_is_allocated(mm, pkey):
        return -EINVAL
    mm.pkey_allocation_map &= ~(1 << pkey)
    return 0


def arch_set_user_pkey_access(mm: mm_struct, pkey: int, rights: int) -> int:
    """Set what the running thread may not do with a key (PKEY_DISABLE_*): 0, -EINVAL where there are no keys."""
    if arch_max_pkey(mm) == 1:
        return -EINVAL
    current = mm.memory.sched.current
    current.set_pkru(current.pkru & ~(3 << 2 * pkey) | rights << 2 * pkey)
    return 0


def execute_only_pkey(mm: mm_struct) -> int:
    """The key of execute-only memory, closed to the running thread; -1 when there is none. mmap_lock held for write."""
    pkey = mm.execute_only_pkey
    if pkey < 0:
        pkey = mm_pkey_alloc(mm)
        if pkey < 0:
            return -1
    elif mm.memory.sched.current.pkru >> 2 * pkey & PKEY_DISABLE_ACCESS:
        return pkey
    if arch_set_user_pkey_access(mm, pkey, PKEY_DISABLE_ACCESS):
        mm.pkey_allocation_map &= ~(1 << pkey)
        return -1
    mm.execute_only_pkey = pkey
    return pkey


def arch_override_mprotect_pkey(vma: vm_area_struct, prot: int, pkey: int) -> int:
    """The key that mprotect gives a VMA. `pkey`: what pkey_mprotect asks for, -1 = nothing."""
    if pkey != -1:
        return pkey
    mm = vma.vm_mm
    if prot == PROT_EXEC:
        pkey = execute_only_pkey(mm)
        if pkey > 0:
            return pkey
    if vma.vm_flags & VM_ACCESS_FLAGS == VM_EXEC and vma_pkey(vma) == mm.execute_only_pkey:
        return 0
    return vma_pkey(vma)


def pkru_allows(pkru: int, pkey: int, write: bool) -> bool:
    """Does a thread with this PKRU get at data of a key (__pkru_allows_pkey)."""
    rights = pkru >> 2 * pkey & 3
    return not (rights if write else rights & PKEY_DISABLE_ACCESS)


def arch_vma_access_permitted(sched: Sched, vm_flags: int, write: bool, execute: bool = False) -> bool:
    """Does the key in a VMA's flags let the running thread, which works in its own address space, get at the data;
    executing it always does."""
    pkru = sched.current.pkru
    return not pkru or execute or pkru_allows(pkru, flags_pkey(vm_flags), write)
