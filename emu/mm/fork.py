# SPDX-License-Identifier: GPL-2.0-or-later
"""Copying an address space for fork (dup_mm and dup_mmap; copy_page_range of mm/memory.c)."""

from __future__ import annotations

from errno import EINTR, ENOMEM

from emu.mm.memory import PTE_MARKER_GUARD, mm_counter
from emu.mm.mm_types import (
    PAGE_SHIFT,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED_MASK,
    VM_MAYBE_GUARD,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_SHARED,
    VM_WIPEONFORK,
    inherited_mdwe,
    mm_struct,
    vm_area_struct,
    vma_pages,
)
from emu.mm.mmap import exit_mmap
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_lock_nested, mmap_write_unlock
from emu.mm.overcommit import vm_enough_memory, vm_unacct_memory
from emu.mm.rmap import anon_vma_fork, vma_link_file
from emu.mm.tlb import flush_tlb_mm
from emu.mm.vma import trace_vma_create, vm_stat_account
from emu.mm.vma_init import vm_area_dup

VM_INIT_DEF_MASK = VM_NOHUGEPAGE  # what of mm.def_flags a child inherits: mlockall(MCL_FUTURE) is not

COPIED_FIELDS = (
    "task_size", "mmap_base", "mmap_legacy_base", "top_down",
    "vdso", "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
    "arg_start", "arg_end", "env_start", "env_end",
    "rlimit", "capable_ipc_lock", "privileged", "fatal_signal_pending",
    "membarrier_state", "read_implies_exec", "pkey_allocation_map", "execute_only_pkey",
)  # fmt: skip
"""Fields of an mm_struct that a child has from its parent (the owner's among them hold until the child's task sets its
own). The other ones begin anew, or dup_mmap builds them."""


def dup_mm(oldmm: mm_struct) -> mm_struct | None:
    """A copy of an address space for a new process, with mm_users 1; None = -ENOMEM, and nothing is left of it.

    The private pages of both are write-protected afterwards, and the TLB of `oldmm` was flushed. The caller gives the
    copy its engine (`flush_tlb`, and `pgtable.root` to walk) and its owner's limits.
    """
    try:
        mm = oldmm.memory.new_mm(oldmm.pgtable.format)
    except MemoryError:
        return None
    for field in COPIED_FIELDS:
        setattr(mm, field, getattr(oldmm, field))
    mm.def_flags = oldmm.def_flags & VM_INIT_DEF_MASK
    mm.mdwe = inherited_mdwe(oldmm)
    if dup_mmap(mm, oldmm):
        mmput(mm)
        return None
    mm.hiwater_rss = sum(mm.rss)
    mm.hiwater_vm = mm.total_vm
    return mm


def mmput(mm: mm_struct) -> None:
    """One user less; the last one takes the address space with it."""
    mm.mm_users -= 1
    if mm.mm_users:
        return
    exit_mmap(mm)
    mm.memory.mmap_lock_reads += mm.mmap_lock.read_count
    mm.memory.mmap_lock_writes += mm.mmap_lock.write_count
    if mm.exe_file is not None:
        mm.exe_file.put()
        mm.exe_file = None


def dup_mmap(mm: mm_struct, oldmm: mm_struct) -> int:
    """Copy VMAs and page tables of `oldmm` into the empty `mm`: 0, -ENOMEM, or -EINTR on a fatal signal.

    After an error `mm` holds what was copied until then, consistent but not whole: fit for mmput alone.
    """
    if mmap_write_lock_killable(oldmm):
        return -EINTR
    mmap_write_lock_nested(mm, 1)  # nobody else knows it: cannot wait
    mm.exe_file = oldmm.exe_file
    if mm.exe_file is not None:
        mm.exe_file.get()
    mm.total_vm, mm.data_vm, mm.exec_vm, mm.stack_vm = oldmm.total_vm, oldmm.data_vm, oldmm.exec_vm, oldmm.stack_vm
    copies: list[vm_area_struct] = []
    error = 0
    for mpnt in oldmm.mm_mt:
        error = _dup_vma(mm, oldmm, mpnt, copies)
        if error:
            break
    mm.mm_mt.replace((), copies)
    mmap_write_unlock(mm)
    flush_tlb_mm(oldmm, oldmm.total_vm)
    mmap_write_unlock(oldmm)
    return error


def _dup_vma(mm: mm_struct, oldmm: mm_struct, mpnt: vm_area_struct, copies: list[vm_area_struct]) -> int:
    """One VMA of dup_mmap, appended to `copies` as soon as it belongs to `mm`. 0 or -errno."""
    scheme = oldmm.scheme
    oldmm.memory.sched.charge(oldmm.memory.sched.cost.fork_vma)
    if not scheme.fork_marks_late:
        scheme.vma_start_write(mpnt, "dup_mmap")
    if mpnt.vm_flags & VM_DONTCOPY:
        vm_stat_account(mm, mpnt.vm_flags, -vma_pages(mpnt))
        return 0
    if oldmm.fatal_signal_pending():
        return -EINTR
    charge = vma_pages(mpnt) if mpnt.vm_flags & VM_ACCOUNT else 0
    if charge and not vm_enough_memory(oldmm, charge):
        return -ENOMEM
    tmp = vm_area_dup(mpnt, mm)
    if tmp.vm_flags & VM_WIPEONFORK:
        tmp.anon_vma = None
    else:
        error = anon_vma_fork(tmp, mpnt)
        if error:
            vm_unacct_memory(mm.memory, charge)
            return error
    scheme.vma_start_write(tmp, "dup_mmap")
    tmp.vm_flags &= ~VM_LOCKED_MASK
    scheme.vma_mark_attached(tmp)
    copies.append(tmp)
    mm.map_count += 1
    if tmp.vm_ops is not None and tmp.vm_ops.open is not None:
        tmp.vm_ops.open(tmp)
    if tmp.vm_file is not None:
        tmp.vm_file.get()
        vma_link_file(tmp)
    if tmp.vm_flags & VM_WIPEONFORK:
        return 0
    if scheme.fork_marks_late:
        scheme.vma_start_write(mpnt, "dup_mmap")
    return copy_page_range(tmp, mpnt)


def is_cow_mapping(flags: int) -> bool:
    """A private mapping that is or may become writable."""
    return flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE


def vma_needs_copy(src_vma: vm_area_struct) -> bool:
    """Are there entries that the child's own faults could not make: pages of its own, or what has no fault handler."""
    copied = VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD  # VM_COPY_ON_FORK
    return bool(src_vma.vm_flags & copied) or src_vma.anon_vma is not None


def copy_page_range(dst_vma: vm_area_struct, src_vma: vm_area_struct) -> int:
    """Give the child the entries of a VMA; those of private pages become read-only on both sides. 0 or -ENOMEM.

    The parent's TLB is the caller's to flush. After -ENOMEM the child has the entries up to there, all counted.
    """
    if not vma_needs_copy(src_vma):
        return 0
    if is_cow_mapping(src_vma.vm_flags):
        src_vma.vm_mm.scheme.vma_assert_write_locked(src_vma)
    src, dst = src_vma.vm_mm.pgtable, dst_vma.vm_mm.pgtable
    shift = src.leaf_shift
    start, end = src_vma.vm_start, src_vma.vm_end
    first, last = start >> shift, end - 1 >> shift
    leaf = src.leaf
    if last - first >= len(leaf):
        keys = sorted(key for key in leaf if first <= key <= last)
    else:
        keys = [key for key in range(first, last + 1) if key in leaf]
    for key in keys:
        low = max(start, key << shift)
        slot = dst.alloc(low)
        if slot < 0:
            return -ENOMEM
        copy_pte_range(dst_vma, src_vma, slot, src.slot(low), min(end, key + 1 << shift) - low >> PAGE_SHIFT)
    return 0


def copy_pte_range(dst_vma: vm_area_struct, src_vma: vm_area_struct, dst_slot: int, src_slot: int, count: int) -> None:
    """Copy `count` entries of one page table (copy_present_ptes, copy_nonpresent_pte).

    A page that is anonymous belongs to both from now on, so it is exclusive no longer; the child's entry is old, and
    clean in a shared mapping.
    """
    mm = dst_vma.vm_mm
    src, dst = src_vma.vm_mm.pgtable, mm.pgtable
    format = src.format
    mem_map = mm.memory.mem_map
    cow = is_cow_mapping(src_vma.vm_flags)
    shared = bool(src_vma.vm_flags & VM_SHARED)
    rss = mm.rss
    copied = 0
    for i, bits in enumerate(src.entries[src_slot : src_slot + count].tolist()):
        if not bits:
            continue
        pte = src.get(src_slot + i)
        if not format.pte_present(pte):
            assert pte == PTE_MARKER_GUARD, f"unknown page-table entry {pte:#x}"
            dst.set(dst_slot + i, pte)
            continue
        if not format.pte_special(pte):
            target = mem_map[(pte & format.pfn_mask) >> PAGE_SHIFT]
            assert target is not None and target._mapcount > 0, f"entry {pte:#x} maps a page that is not mapped"
            target._refcount += 1
            target._mapcount += 1
            target.exclusive = False
            rss[mm_counter(target)] += 1
        if cow and format.pte_write(pte):
            pte = format.pte_wrprotect(pte)
            src.set(src_slot + i, pte)
        if shared:
            pte = format.pte_mkclean(pte)
        dst.set(dst_slot + i, format.pte_mkold(pte))
        copied += 1
    mm.memory.sched.charge(copied * mm.memory.sched.cost.fork_page)


def trace_forked_vmas(mm: mm_struct) -> None:
    """Tell listeners the VMAs of a copy: one VMA_CREATE each, on the row's pid and tid of the moment (the child's)."""
    for vma in mm.mm_mt:
        trace_vma_create(vma)
