# SPDX-License-Identifier: GPL-2.0-or-later
"""Changing the protection of mappings, and sealing them (mm/mprotect.c, mm/mseal.c)."""

from __future__ import annotations

from errno import EACCES, EINTR, EINVAL, ENOMEM, EPERM

from emu.mm.filemap import vma_set_page_prot, vma_wants_writenotify
from emu.mm.gup import populate_vma_page_range
from emu.mm.memory import change_protection
from emu.mm.mm_types import (
    ARCH_VM_PKEY_FLAGS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PKEY_SHIFT,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_NORESERVE,
    VM_READ,
    VM_SEALED,
    VM_SHARED,
    VM_STICKY,
    VM_WRITE,
    map_deny_write_exec,
    mm_struct,
    vm_area_struct,
    vma_is_anonymous,
)
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_unlock
from emu.mm.overcommit import vm_enough_memory, vm_unacct_memory
from emu.mm.pkeys import arch_override_mprotect_pkey, mm_pkey_is_allocated
from emu.mm.vma import may_expand_vm, trace_vma_modify, vm_stat_account, vma_modify

PROT_SEM = 8
PROT_GROWSDOWN, PROT_GROWSUP = 0x01000000, 0x02000000


def mprotect_fixup(vma: vm_area_struct, start: int, end: int, newflags: int) -> int:
    """Give [start, end) of one VMA new flags, its pages with it. 0 or -errno."""
    mm = vma.vm_mm
    oldflags = vma.vm_flags
    pages = end - start >> PAGE_SHIFT
    charged = 0
    if oldflags & VM_SEALED:
        return -EPERM
    if newflags == oldflags:
        return 0
    mm.memory.sched.charge(mm.memory.sched.cost.mprotect)
    if newflags & VM_WRITE:
        if not may_expand_vm(mm, newflags, pages) and may_expand_vm(mm, oldflags, pages):
            return -ENOMEM
        if not oldflags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            charged = pages
            if not vm_enough_memory(mm, charged):
                return -ENOMEM
            newflags |= VM_ACCOUNT
    elif oldflags & VM_ACCOUNT and vma_is_anonymous(vma) and vma.anon_vma is None:
        newflags &= ~VM_ACCOUNT
    modified = vma_modify(vma, start, end, newflags)
    if isinstance(modified, int):
        vm_unacct_memory(mm.memory, charged)
        return modified
    vma = modified
    newflags |= vma.vm_flags & VM_STICKY
    mm.scheme.vma_start_write(vma, "mprotect_fixup")
    if vma.vm_flags != newflags:
        vma.vm_flags = newflags
        trace_vma_modify(vma)
    vma_set_page_prot(vma)
    upgrade = vma_wants_writenotify(vma) if newflags & VM_SHARED else bool(newflags & VM_WRITE)
    change_protection(vma, start, end, vma.vm_page_prot, upgrade)
    if oldflags & VM_ACCOUNT and not newflags & VM_ACCOUNT:
        vm_unacct_memory(mm.memory, pages)
    if oldflags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and newflags & VM_WRITE:
        populate_vma_page_range(vma, start, end)
    vm_stat_account(mm, oldflags, -pages)
    vm_stat_account(mm, newflags, pages)
    return 0


def do_mprotect_pkey(mm: mm_struct, start: int, length: int, prot: int, pkey: int = -1) -> int:
    """mprotect, and pkey_mprotect with a key: 0 or -errno; what came before a refusal stays changed."""
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start & PAGE_SIZE - 1:
        return -EINVAL
    if not length:
        return 0
    mask = (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF
    length = length + PAGE_SIZE - 1 & PAGE_MASK & mask
    end = start + length & mask
    if end <= start:
        return -ENOMEM
    if prot & ~(VM_ACCESS_FLAGS | PROT_SEM):
        return -EINVAL
    if mmap_write_lock_killable(mm):
        return -EINTR
    error = -EINVAL
    if pkey == -1 or mm_pkey_is_allocated(mm, pkey):
        error = _mprotect_locked(mm, start, end, prot, grows, pkey)
    mmap_write_unlock(mm)
    return error


def _mprotect_locked(mm: mm_struct, start: int, end: int, prot: int, grows: int, pkey: int) -> int:
    vma = mm.mm_mt.find(start)
    if vma is None or vma.vm_start >= end:
        return -ENOMEM
    if grows & PROT_GROWSDOWN:
        start = vma.vm_start
        if not vma.vm_flags & VM_GROWSDOWN:
            return -EINVAL
    else:
        if vma.vm_start > start:
            return -ENOMEM
        if grows & PROT_GROWSUP:
            return -EINVAL
    at = start
    while at < end:
        vma = mm.mm_mt.load(at)
        if vma is None:
            return -ENOMEM
        wanted = prot
        if mm.read_implies_exec and prot & VM_READ and vma.vm_flags & VM_MAYEXEC:
            wanted |= VM_EXEC
        key = arch_override_mprotect_pkey(vma, wanted, pkey)
        newflags = wanted & VM_ACCESS_FLAGS | key << PKEY_SHIFT
        newflags |= vma.vm_flags & ~(VM_ACCESS_FLAGS | ARCH_VM_PKEY_FLAGS)
        if newflags & ~(newflags >> 4) & VM_ACCESS_FLAGS:
            return -EACCES
        if map_deny_write_exec(mm, vma.vm_flags, newflags):
            return -EACCES
        stop = min(vma.vm_end, end)
        error = mprotect_fixup(vma, at, stop, newflags)
        if error:
            return error
        at = stop
    return 0


def do_mseal(mm: mm_struct, start: int, length: int, flags: int) -> int:
    """Forbid later changes of the mappings of a range. 0 or -errno."""
    if mm.task_size >> 32 == 0:
        return -EPERM
    if flags or start & PAGE_SIZE - 1:
        return -EINVAL
    size = length + PAGE_SIZE - 1 & PAGE_MASK & (1 << 64) - 1
    end = start + size
    if end >> 64 or (length and not size):
        return -EINVAL
    if end == start:
        return 0
    if mmap_write_lock_killable(mm):
        return -EINTR
    error = 0
    at = start
    for vma in mm.mm_mt.iterate(start, end):
        if vma.vm_start > at:
            break
        at = vma.vm_end
    if at < end:
        error = -ENOMEM
    else:
        at = start
        while at < end and not error:
            found = mm.mm_mt.load(at)
            assert found is not None
            stop = min(found.vm_end, end)
            if not found.vm_flags & VM_SEALED:
                modified = vma_modify(found, at, stop, found.vm_flags | VM_SEALED)
                if isinstance(modified, int):
                    error = modified
                else:
                    mm.scheme.vma_start_write(modified, "mseal_apply")
                    if not modified.vm_flags & VM_SEALED:
                        modified.vm_flags |= VM_SEALED
                        trace_vma_modify(modified)
            at = stop
    mmap_write_unlock(mm)
    return error
