# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault core and the changing of page tables (mm/memory.c).

`handle_mm_fault` is entered with the VMA's lock or mmap_lock held for read; FAULT_FLAG_VMA_LOCK says which. Every
function below
it has its namesake in mm/memory.c, mm/mprotect.c (change_protection) or mm/mremap.c (move_page_tables).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from emu.mm.filemap import folio_mark_dirty, mappable_folio, maybe_unlock_mmap_for_io, mm_counter_file
from emu.mm.mm_types import (
    FAULT_FLAG_RETRY_NOWAIT,
    FAULT_FLAG_SPECULATIVE,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_USER,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    MM_ANONPAGES,
    MM_FILEPAGES,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_FAULT_COMPLETED,
    VM_FAULT_DONE_COW,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VM_FAULT_UNLOCKED,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    mm_struct,
    page,
    vm_area_struct,
)
from emu.mm.rmap import anon_vma, anon_vma_prepare, unlink_anon_vmas, unlink_file_vma
from emu.mm.tlb import flush_tlb_mm
from emu.tracepoint import Served

if TYPE_CHECKING:
    from emu.locking.spinlock import spinlock
    from emu.mm.filemap import address_space

FAULT_AROUND_PAGES = 16  # fault_around_bytes, 64 KiB
PTE_MARKER_GUARD = 0x40  # an entry that maps nothing in any format: a guard page of MADV_GUARD_INSTALL

_WRITE_OR_UNSHARE = FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE
_ERROR_OR_GONE = VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY

# What most faults are: small ints are compared and stored faster than enum members are looked up.
_ANON, _ZERO_PAGE, _COW, _REUSE = int(Served.ANON), int(Served.ZERO_PAGE), int(Served.COW), int(Served.REUSE)


class vm_fault:
    """One fault on its way through the handlers (struct vm_fault)."""

    __slots__ = ("address", "cow_page", "flags", "orig_pte", "page", "pgoff", "ptl", "real_address", "slot", "vma")

    def __init__(self, vma: vm_area_struct, address: int, flags: int) -> None:
        self.vma = vma
        self.real_address = address
        self.address = address & PAGE_MASK
        self.flags = flags
        self.pgoff = (self.address - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
        self.slot = -1  # of the page-table entry, -1 while there is no table
        self.orig_pte = 0
        self.page: page | None = None
        self.cow_page: page | None = None
        self.ptl: spinlock | None = None  # the page-table lock, while it is held


def handle_mm_fault(vma: vm_area_struct, address: int, flags: int) -> int:
    """Serve a fault at `address` in `vma`: a vm_fault_t. `vma.vm_mm.served` tells what it was (emu.tracepoint.Served).

    After VM_FAULT_RETRY or VM_FAULT_COMPLETED the lock that the caller held has been released (but see the scheme's
    `callee_drops_lock`), and the VMA must not be touched.
    """
    mm = vma.vm_mm
    memory = mm.memory
    costs = memory.costs
    if costs.batches is not None:  # the way down the page tables, from mm->pgd on
        memory.sched.read_and_charge(mm.pgd_line, costs.core)
        if mm.scheme.lock_among_fields and flags & FAULT_FLAG_VMA_LOCK:
            memory.sched.read_line(vma.vm_lock.line)
    if flags & (_WRITE_OR_UNSHARE | FAULT_FLAG_RETRY_NOWAIT):
        ret = sanitize_fault_flags(vma, flags)
        if ret:
            return ret
    ret = handle_pte_fault(memory.vm_fault(vma, address, flags))
    if ret & VM_FAULT_RETRY:
        if ret & VM_FAULT_UNLOCKED:
            ret &= ~VM_FAULT_UNLOCKED
        elif flags & FAULT_FLAG_VMA_LOCK and mm.scheme.callee_drops_lock:
            mm.scheme.vma_end_read(vma)
        if mm.scheme.counts_retried_faults:
            memory.vmstat["pgfault"] += 1
        return ret
    memory.vmstat["pgfault"] += 1
    if ret & VM_FAULT_ERROR:  # mm_account_fault: of faults that fail only the machine's counter takes note
        return ret
    current = memory.sched.current
    if ret & VM_FAULT_MAJOR or flags & FAULT_FLAG_TRIED:
        current.maj_flt += 1
    else:
        current.min_flt += 1
    return ret


def sanitize_fault_flags(vma: vm_area_struct, flags: int) -> int:
    """Combinations of flags and VMA that must not reach the handlers: VM_FAULT_SIGSEGV, else 0."""
    if flags & FAULT_FLAG_UNSHARE:
        if flags & FAULT_FLAG_WRITE:
            return VM_FAULT_SIGSEGV
    elif flags & FAULT_FLAG_WRITE:
        vm_flags = vma.vm_flags
        if not vm_flags & VM_MAYWRITE:
            return VM_FAULT_SIGSEGV
        if not vm_flags & VM_WRITE and vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_MAYWRITE:
            return VM_FAULT_SIGSEGV
    if flags & FAULT_FLAG_VMA_LOCK and flags & FAULT_FLAG_RETRY_NOWAIT:
        return VM_FAULT_SIGSEGV
    return 0


def pte_map_lock(vmf: vm_fault) -> bool:
    """Take the lock of the page table that vmf.slot is in (pte_offset_map_lock). A speculative fault gets it only if
    nothing has changed since it began, and if it is free: False = VM_FAULT_RETRY."""
    if vmf.flags & FAULT_FLAG_SPECULATIVE:
        return spf_pte_map_lock(vmf)
    locks = vmf.vma.vm_mm.pgtable.locks
    if locks is not None:
        vmf.ptl = locks.lock(vmf.slot)
    return True


def spf_pte_map_lock(vmf: vm_fault) -> bool:
    """__pte_map_lock of the speculative faults: see that no writer came, try the lock, and see again."""
    mm = vmf.vma.vm_mm
    scheme = mm.scheme
    table = mm.pgtable
    seq = vmf.vma.vm_lock_seq
    rcu = mm.memory.rcu
    rcu.rcu_read_lock()  # speculative_page_walk_begin
    locked = False
    if scheme.mmap_seq_read_check(mm, seq, "pte_map_lock_seq1"):
        if table.locks is None:
            locked = True
        elif table.slot(vmf.address) != vmf.slot:
            scheme.abort("pte_map_lock_pmd")
        else:
            # Not spin_lock: who has it may wait for this CPU to leave the section, to shoot down its TLB.
            ptl = table.pte_lockptr(vmf.slot)
            if not ptl.trylock():
                scheme.abort("pte_map_lock_ptl")
            elif not scheme.mmap_seq_read_check(mm, seq, "pte_map_lock_seq2"):
                ptl.unlock()
            else:
                vmf.ptl = ptl
                locked = True
    rcu.rcu_read_unlock()
    return locked


def pte_unmap_unlock(vmf: vm_fault) -> None:
    """Release it."""
    if vmf.ptl is not None:
        vmf.ptl.unlock()
        vmf.ptl = None


def handle_pte_fault(vmf: vm_fault) -> int:
    """Look at the page-table entry and choose the handler."""
    vma = vmf.vma
    table = vma.vm_mm.pgtable
    slot = table.slot(vmf.address)
    if slot < 0:
        if vmf.flags & FAULT_FLAG_SPECULATIVE:  # a table made now could come after free_pgtables
            scheme = vma.vm_mm.scheme
            scheme.abort("pmd" if table.levels(vmf.address) == len(table.format.shifts) - 1 else "pud")
            return VM_FAULT_RETRY
        return do_anonymous_page(vmf) if vma.vm_ops is None else do_fault(vmf)
    vmf.slot = slot
    entry = vmf.orig_pte = table.get(slot)
    if entry == 0:
        return do_anonymous_page(vmf) if vma.vm_ops is None else do_fault(vmf)
    format = table.format
    if not format.pte_present(entry):
        return do_swap_page(vmf)
    if table.racy:
        if vmf.flags & FAULT_FLAG_SPECULATIVE:
            vma.vm_mm.memory.vmstat["spf_attempt_pte"] += 1
        if not pte_map_lock(vmf):
            return VM_FAULT_RETRY
        if table.get(slot) != entry:  # somebody else was here
            pte_unmap_unlock(vmf)
            vma.vm_mm.served = Served.SPURIOUS
            return 0
    if vmf.flags & _WRITE_OR_UNSHARE:
        if not format.pte_write(entry):
            return do_wp_page(vmf)
        if vmf.flags & FAULT_FLAG_WRITE:
            entry = format.pte_mkdirty(entry)
    entry = format.pte_mkyoung(entry)
    if entry != vmf.orig_pte:
        table.set(slot, entry)
        vma.vm_mm.served = Served.YOUNG
    else:
        vma.vm_mm.served = Served.SPURIOUS
    if vmf.ptl is not None:
        pte_unmap_unlock(vmf)
    return 0


def do_swap_page(vmf: vm_fault) -> int:
    """An entry that is not empty and maps nothing. There is no swap: it is a guard marker."""
    scheme = vmf.vma.vm_mm.scheme
    if vmf.flags & FAULT_FLAG_VMA_LOCK and not scheme.swap_under_vma_lock:
        return VM_FAULT_RETRY
    if vmf.flags & FAULT_FLAG_SPECULATIVE:
        scheme.abort("swap")
        return VM_FAULT_RETRY
    assert vmf.orig_pte == PTE_MARKER_GUARD, f"unknown page-table entry {vmf.orig_pte:#x}"
    return VM_FAULT_SIGSEGV


def vmf_anon_prepare(vmf: vm_fault) -> int:
    """Make sure that the VMA has an anon_vma; VM_FAULT_RETRY when that needs mmap_lock and it is taken."""
    vma = vmf.vma
    if vma.anon_vma is not None:
        return 0
    if vmf.flags & FAULT_FLAG_SPECULATIVE:
        vma.vm_mm.scheme.abort("anon_vma")
        return VM_FAULT_RETRY
    if not vmf.flags & FAULT_FLAG_VMA_LOCK:
        return VM_FAULT_OOM if anon_vma_prepare(vma) else 0
    scheme = vma.vm_mm.scheme
    if not scheme.anon_vma_may_prepare(vma):
        return VM_FAULT_RETRY
    ret = VM_FAULT_OOM if anon_vma_prepare(vma) else 0
    scheme.anon_vma_prepared(vma)
    return ret


def do_anonymous_page(vmf: vm_fault) -> int:
    """First touch of a page of private anonymous memory."""
    vma = vmf.vma
    mm = vma.vm_mm
    flags = vma.vm_flags
    if flags & VM_SHARED:
        return VM_FAULT_SIGBUS
    table = mm.pgtable
    slot = vmf.slot
    if slot < 0:
        slot = vmf.slot = table.alloc(vmf.address)
        if slot < 0:
            return VM_FAULT_OOM
    format = table.format
    memory = mm.memory
    if table.racy and vmf.flags & FAULT_FLAG_SPECULATIVE:
        memory.vmstat["spf_attempt_anon"] += 1
    if not vmf.flags & FAULT_FLAG_WRITE:
        if table.racy:
            if not pte_map_lock(vmf):
                return VM_FAULT_RETRY
            if table.entries[slot]:  # as it stands there: an empty one is 0 in any byte order
                pte_unmap_unlock(vmf)
                mm.served = Served.SPURIOUS
                return 0
        table.set(slot, format.pte_mkspecial(memory.zero_pfn << PAGE_SHIFT | vma.vm_page_prot))
        if vmf.ptl is not None:
            pte_unmap_unlock(vmf)
        mm.served = _ZERO_PAGE
        return 0
    if vma.anon_vma is None:
        ret = vmf_anon_prepare(vmf)
        if ret:
            return ret
    new = memory.allocator.alloc_page()
    if new is None:
        return VM_FAULT_OOM
    memory.costs.new_anon()
    # pte_map_lock and pte_unmap_unlock, written out: 24 bytecodes less of 178 where many CPUs fault.
    ptl = None
    if table.racy:
        mapped = True
        if vmf.flags & FAULT_FLAG_SPECULATIVE:
            mapped = spf_pte_map_lock(vmf)
            ptl = vmf.ptl
        elif table.locks is not None:
            ptl = table.locks.lock(slot)
        if not mapped or table.entries[slot]:
            if ptl is not None:
                ptl.unlock()
            memory.put_page(new)
            mm.served = Served.SPURIOUS
            return 0 if mapped else VM_FAULT_RETRY
    entry = new.pfn << PAGE_SHIFT | vma.vm_page_prot
    if flags & VM_WRITE:
        entry = format.pte_mkwrite(format.pte_mkdirty(entry))
    # folio_add_new_anon_rmap
    new.mapping = vma.anon_vma
    new.index = vmf.pgoff
    new._mapcount = 1
    new.exclusive = True
    mm.rss[MM_ANONPAGES] += 1
    table.set(slot, entry)
    if ptl is not None:
        ptl.unlock()
    mm.served = _ANON
    return 0


def vmf_can_call_fault(vmf: vm_fault) -> int:
    """May vm_ops->fault run under the lock that is held: it was checked for the VMA lock only where map_pages
    exists."""
    ops = vmf.vma.vm_ops
    assert ops is not None
    if ops.map_pages is not None or not vmf.flags & FAULT_FLAG_VMA_LOCK:
        return 0
    return VM_FAULT_RETRY


def do_fault(vmf: vm_fault) -> int:
    """First touch of a page of a file mapping (or of another mapping with vm_ops)."""
    ops = vmf.vma.vm_ops
    assert ops is not None
    if ops.fault is None:
        return VM_FAULT_SIGBUS
    if not vmf.flags & FAULT_FLAG_WRITE:
        return do_read_fault(vmf)
    if not vmf.vma.vm_flags & VM_SHARED:
        return do_cow_fault(vmf)
    return do_shared_fault(vmf)


def do_fault_around(vmf: vm_fault) -> int:
    """Map the pages around the address that are in the cache, within the VMA, the table and an aligned window."""
    vma = vmf.vma
    ops = vma.vm_ops
    assert ops is not None and ops.map_pages is not None
    table = vma.vm_mm.pgtable
    pte_off = vmf.address >> PAGE_SHIFT & table.leaf_mask
    vma_off = vmf.pgoff - vma.vm_pgoff
    pages = vma.vm_end - vma.vm_start >> PAGE_SHIFT
    from_pte = max(pte_off & -FAULT_AROUND_PAGES, pte_off - min(pte_off, vma_off))
    to_pte = min(from_pte + FAULT_AROUND_PAGES, table.leaf_mask + 1, pte_off + pages - vma_off) - 1
    return ops.map_pages(vmf, vmf.pgoff + from_pte - pte_off, vmf.pgoff + to_pte - pte_off)


def do_read_fault(vmf: vm_fault) -> int:
    """A read of a page of a file."""
    ops = vmf.vma.vm_ops
    assert ops is not None
    if ops.map_pages is not None:
        ret = do_fault_around(vmf)
        if ret:
            vmf.vma.vm_mm.served = Served.FILE_READ
            return ret
    ret = vmf_can_call_fault(vmf)
    if ret:
        return ret
    ret = _call_fault(vmf)
    if ret & _ERROR_OR_GONE:
        return ret
    memory = vmf.vma.vm_mm.memory
    memory.sched.charge(memory.costs.filemap_get)
    ret |= finish_fault(vmf)
    if ret & _ERROR_OR_GONE:
        assert vmf.page is not None
        memory.put_page(vmf.page)
        return ret
    vmf.vma.vm_mm.served = Served.FILE_READ
    return ret


def do_cow_fault(vmf: vm_fault) -> int:
    """A write to a page of a private file mapping that was not read before: copy it at once."""
    vma = vmf.vma
    memory = vma.vm_mm.memory
    ret = vmf_can_call_fault(vmf) or vmf_anon_prepare(vmf)
    if ret:
        return ret
    vmf.cow_page = memory.alloc_page(zero=False)
    if vmf.cow_page is None:
        return VM_FAULT_OOM
    memory.costs.new_copy(memory.costs.filemap_get)
    ret = _call_fault(vmf)
    if ret & _ERROR_OR_GONE:
        memory.put_page(vmf.cow_page)
        return ret
    assert vmf.page is not None and not ret & VM_FAULT_DONE_COW
    memory.ram.copy(vmf.cow_page.pfn, vmf.page.pfn)
    ret |= finish_fault(vmf)
    memory.put_page(vmf.page)
    if ret & _ERROR_OR_GONE:
        memory.put_page(vmf.cow_page)
        return ret
    vma.vm_mm.served = Served.FILE_COW
    return ret


def do_shared_fault(vmf: vm_fault) -> int:
    """A write to a page of a shared file mapping."""
    ops = vmf.vma.vm_ops
    assert ops is not None
    memory = vmf.vma.vm_mm.memory
    ret = vmf_can_call_fault(vmf)
    if ret:
        return ret
    ret = _call_fault(vmf)
    if ret & _ERROR_OR_GONE:
        return ret
    assert vmf.page is not None
    memory.sched.charge(memory.costs.filemap_get)
    if ops.page_mkwrite is not None:
        memory.sched.charge(memory.costs.mkwrite)
        error = ops.page_mkwrite(vmf)
        if error & (VM_FAULT_ERROR | VM_FAULT_NOPAGE):
            memory.put_page(vmf.page)
            return error
    ret |= finish_fault(vmf)
    if ret & _ERROR_OR_GONE:
        memory.put_page(vmf.page)
        return ret
    return ret | fault_dirty_shared_page(vmf, vmf.page, Served.FILE_SHARED)


def fault_dirty_shared_page(vmf: vm_fault, target: page, served: Served) -> int:
    """Make the page that was written dirty, and say how it was `served`. Where its file may have to wait for
    write-back, which is when it tells of writes or the page was clean, the lock goes first (maybe_unlock_mmap_for_io):
    VM_FAULT_COMPLETED, else 0."""
    dirtied = not target.dirty
    target.dirty = True
    mm = vmf.vma.vm_mm
    mm.served = served
    ops, flags = vmf.vma.vm_ops, vmf.flags
    assert ops is not None
    if not dirtied and ops.page_mkwrite is None:
        return 0
    if flags & FAULT_FLAG_SPECULATIVE or not maybe_unlock_mmap_for_io(vmf):
        return 0
    mm.served = served  # others may have run meanwhile
    return VM_FAULT_COMPLETED


def _call_fault(vmf: vm_fault) -> int:
    ops = vmf.vma.vm_ops
    assert ops is not None and ops.fault is not None
    return ops.fault(vmf)


def finish_fault(vmf: vm_fault) -> int:
    """Put the page that vm_ops->fault found, or the copy of it, into the page table."""
    vma = vmf.vma
    mm = vma.vm_mm
    table = mm.pgtable
    write = vmf.flags & FAULT_FLAG_WRITE
    cow = write and not vma.vm_flags & VM_SHARED
    target = vmf.cow_page if cow else vmf.page
    assert target is not None
    slot = table.alloc(vmf.address)
    if slot < 0:
        return VM_FAULT_OOM
    before = vmf.orig_pte if vmf.slot >= 0 else 0
    vmf.slot = slot
    assert vmf.page is not None
    mapping = vmf.page.mapping
    pte_map_lock(vmf)
    if table.get(slot) != before or vmf.page.mapping is not mapping:  # mapped by another one, or truncated
        pte_unmap_unlock(vmf)
        return VM_FAULT_NOPAGE
    format = table.format
    prot = vma.vm_page_prot
    if write:
        prot = format.pte_mkdirty(prot)
        if vma.vm_flags & VM_WRITE:
            prot = format.pte_mkwrite(prot)
    entry = target.pfn << PAGE_SHIFT | prot
    if not cow:
        _map_rest_of_folio(vmf, prot)
    target._mapcount += 1
    if cow:
        target.mapping = vma.anon_vma
        target.index = vmf.pgoff
        target.exclusive = True
        mm.rss[MM_ANONPAGES] += 1
    else:
        mm.rss[mm_counter(target)] += 1
    table.set(slot, entry)
    pte_unmap_unlock(vmf)
    return 0


def _map_rest_of_folio(vmf: vm_fault, prot: int) -> None:
    """Map the other pages of the large folio that vmf.page is of, where they can be (set_pte_range)."""
    pages = mappable_folio(vmf)
    if pages is None:
        return
    assert vmf.vma.vm_file is not None
    mapping = vmf.vma.vm_file.f_mapping
    mm = vmf.vma.vm_mm
    for index in pages:
        other = mapping.read_cache_page(index)
        if index == vmf.pgoff or isinstance(other, int):
            continue
        other._refcount += 1
        other._mapcount += 1
        if vmf.flags & FAULT_FLAG_WRITE:
            other.dirty = True
        mm.rss[mm_counter(other)] += 1
        mm.pgtable.set(vmf.slot + index - vmf.pgoff, other.pfn << PAGE_SHIFT | prot)


def vm_normal_page(vma: vm_area_struct, pte: int) -> page | None:
    """The page of a present entry; None for the zero page, which is not counted."""
    table = vma.vm_mm.pgtable
    if table.format.pte_special(pte):
        return None
    found = vma.vm_mm.memory.mem_map[(pte & table.format.pfn_mask) >> PAGE_SHIFT]
    assert found is not None and found._refcount > 0, f"entry {pte:#x} maps a free frame"
    return found


def do_wp_page(vmf: vm_fault) -> int:
    """A write to a page that is mapped read-only in a VMA that may be written. Entered with the page-table lock."""
    vma = vmf.vma
    unshare = vmf.flags & FAULT_FLAG_UNSHARE
    if vmf.flags & FAULT_FLAG_SPECULATIVE:
        vma.vm_mm.memory.vmstat["spf_attempt_wp"] += 1
    old = vmf.page = vm_normal_page(vma, vmf.orig_pte)
    if vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return wp_page_shared(vmf)
    if old is not None and isinstance(old.mapping, anon_vma):
        if old.exclusive or wp_can_reuse_anon_folio(old, vma):
            old.exclusive = True
            if not unshare:
                wp_page_reuse(vmf)
            if vmf.ptl is not None:
                pte_unmap_unlock(vmf)
            if not unshare:
                vma.vm_mm.served = _REUSE
            return 0
    if old is not None:
        old._refcount += 1
    if vmf.ptl is not None:
        pte_unmap_unlock(vmf)
    return wp_page_copy(vmf)


def wp_can_reuse_anon_folio(old: page, vma: vm_area_struct) -> bool:
    """Nobody else has this anonymous page any more; it moves to the VMA's own anon_vma then (folio_move_anon_rmap)."""
    if old._refcount != 1 or old._mapcount != 1:
        return False
    old.mapping = vma.anon_vma
    return True


def wp_page_reuse(vmf: vm_fault) -> None:
    """Make the mapped page writable in place."""
    vma = vmf.vma
    memory = vma.vm_mm.memory
    memory.sched.charge(memory.costs.reuse)
    format = vma.vm_mm.pgtable.format
    entry = format.pte_mkdirty(format.pte_mkyoung(vmf.orig_pte))
    if vma.vm_flags & VM_WRITE:
        entry = format.pte_mkwrite(entry)
    vma.vm_mm.pgtable.set(vmf.slot, entry)


def wp_page_shared(vmf: vm_fault) -> int:
    """A shared page that was write-protected so that its first write is noticed."""
    vma = vmf.vma
    ops = vma.vm_ops
    assert vmf.page is not None and ops is not None
    if ops.page_mkwrite is not None:
        target = vmf.page
        target._refcount += 1
        pte_unmap_unlock(vmf)
        ret = vmf_can_call_fault(vmf)
        if not ret:
            memory = vma.vm_mm.memory
            memory.sched.charge(memory.costs.mkwrite)
            ret = ops.page_mkwrite(vmf) & (VM_FAULT_ERROR | VM_FAULT_NOPAGE)
        if not ret:
            pte_map_lock(vmf)
            if vma.vm_mm.pgtable.get(vmf.slot) != vmf.orig_pte:
                pte_unmap_unlock(vmf)
                vma.vm_mm.served = Served.SPURIOUS
                ret = VM_FAULT_NOPAGE
        vma.vm_mm.memory.put_page(target)
        if ret:
            return ret
    wp_page_reuse(vmf)
    pte_unmap_unlock(vmf)
    return fault_dirty_shared_page(vmf, vmf.page, Served.MKWRITE)


def wp_page_copy(vmf: vm_fault) -> int:
    """Give the VMA a copy of its own; the reference to vmf.page that the caller took is dropped."""
    vma = vmf.vma
    mm = vma.vm_mm
    memory = mm.memory
    old = vmf.page
    ret = vmf_anon_prepare(vmf)
    new = None
    if not ret:
        new = memory.alloc_page(zero=old is None)
        if new is None:
            ret = VM_FAULT_OOM
    if new is None:
        if old is not None:
            memory.put_page(old)
        return ret
    if old is not None:
        memory.ram.copy(new.pfn, old.pfn)
        memory.costs.new_copy(0)
    else:
        memory.costs.new_anon()
        memory.sched.charge(memory.costs.clear_flush)
    table = mm.pgtable
    format = table.format
    mapped = True
    if table.racy:
        mapped = pte_map_lock(vmf)
    if not mapped or table.get(vmf.slot) != vmf.orig_pte:
        pte_unmap_unlock(vmf)
        memory.put_page(new)
        if old is not None:
            memory.put_page(old)
        mm.served = Served.SPURIOUS
        return 0 if mapped else VM_FAULT_RETRY
    entry = format.pte_mkyoung(new.pfn << PAGE_SHIFT | vma.vm_page_prot)
    if not vmf.flags & FAULT_FLAG_UNSHARE:
        entry = format.pte_mkdirty(entry)
        if vma.vm_flags & VM_WRITE:
            entry = format.pte_mkwrite(entry)
    new.mapping = vma.anon_vma
    new.index = vmf.pgoff
    new._mapcount = 1
    new.exclusive = True
    table.set(vmf.slot, entry)
    if vma.vm_flags & VM_EXEC or not vmf.flags & FAULT_FLAG_USER or mm.mm_users > 1:
        # A translation may still hold the old frame: the write that faulted replaces that only where the guest's own
        # instruction does it, and next.
        flush_tlb_mm(mm, 1)
    if old is None:
        mm.rss[MM_ANONPAGES] += 1
    else:
        old._mapcount -= 1
        if not isinstance(old.mapping, anon_vma):
            mm.rss[mm_counter(old)] -= 1
            mm.rss[MM_ANONPAGES] += 1
        pte_unmap_unlock(vmf)
        memory.put_page(old)  # the entry's
        memory.put_page(old)  # the caller's
    pte_unmap_unlock(vmf)
    mm.served = _COW
    return 0


def mm_counter(target: page) -> int:
    """The rss counter that a mapped page is in; a page of the kernel's own, such as the vDSO's, counts as a file's."""
    mapping = target.mapping
    if isinstance(mapping, anon_vma):
        return MM_ANONPAGES
    return MM_FILEPAGES if mapping is None else mm_counter_file(mapping)


def zap_pte_range(
    vma: vm_area_struct, start: int, end: int, even_cows: bool = True, drop_markers: bool = False
) -> None:
    """Clear the entries of [start, end) within the VMA, flush the TLB once, then free the pages.

    Guard markers outlive it, but for an unmapping (`drop_markers`, ZAP_FLAG_DROP_MARKER).
    """
    mm = vma.vm_mm
    table = mm.pgtable
    format = table.format
    memory = mm.memory
    shift = table.leaf_shift
    span = 1 << shift
    first_key, last_key = start >> shift, end - 1 >> shift
    leaf = table.leaf
    if last_key - first_key >= len(leaf):
        keys: Iterable[int] = sorted(k for k in leaf if first_key <= k <= last_key)
    else:
        keys = [k for k in range(first_key, last_key + 1) if k in leaf]
    gathered: list[page] = []
    anon = specials = 0
    entries, swap_bytes, mem_map = table.entries, table.swap_bytes, memory.mem_map
    present_bits, special_bits, pfn_mask = format.present_bits, format.special_bits, format.pfn_mask
    for key in keys:
        low = max(start, key << shift)
        high = min(end, (key << shift) + span)
        if key not in leaf:
            continue
        base = leaf[key] + (low >> PAGE_SHIFT & table.leaf_mask)
        count = high - low >> PAGE_SHIFT
        ptl = table.pte_lock(base)
        raw = table.entries[base : base + count]
        if not any(raw):
            if ptl is not None:
                ptl.unlock()
            continue
        for slot, bits in enumerate(raw.tolist(), base):
            if not bits:
                continue
            pte = table.get(slot) if swap_bytes else bits
            if not pte & present_bits:
                if drop_markers:
                    entries[slot] = 0
                continue
            if pte & special_bits:
                entries[slot] = 0
                specials += 1
                continue
            target = mem_map[(pte & pfn_mask) >> PAGE_SHIFT]
            assert target is not None and target._mapcount > 0, f"entry {pte:#x} maps a page that is not mapped"
            if target.mapping.__class__ is anon_vma:
                if not even_cows:
                    continue
                anon += 1
            else:
                mm.rss[mm_counter(target)] -= 1
                if format.pte_dirty(pte):
                    folio_mark_dirty(target)
            entries[slot] = 0
            target._mapcount -= 1
            gathered.append(target)
        if ptl is not None:
            ptl.unlock()
    mm.rss[MM_ANONPAGES] -= anon
    cleared = len(gathered) + specials
    if cleared:
        flush_tlb_mm(mm, cleared)
    freed = memory.allocator.freed
    memory.release_pages(gathered)
    if cleared:
        memory.costs.zapped(cleared, memory.allocator.freed - freed)


def unmap_vmas(mm: mm_struct, vmas: Iterable[vm_area_struct], start: int, end: int, mm_wr_locked: bool = False) -> None:
    """Zap what of [start, end) lies in the VMAs. `mm_wr_locked`: mmap_lock is held for write."""
    for vma in vmas:
        low, high = max(start, vma.vm_start), min(end, vma.vm_end)
        if low < high:
            if mm_wr_locked:
                mm.scheme.vma_start_write(vma, "unmap_page_range")
            zap_pte_range(vma, low, high, drop_markers=True)


def zap_page_range_single(vma: vm_area_struct, address: int, size: int) -> None:
    """Zap [address, address + size) of one VMA."""
    zap_pte_range(vma, address, address + size)


def free_pgtables(
    mm: mm_struct, vmas: Iterable[vm_area_struct], floor: int, ceiling: int, mm_wr_locked: bool = False
) -> None:
    """Take the VMAs out of rmap and file, and free tables that only they used.

    `floor` is the end of the VMA before them, `ceiling` the start of the one behind (0 = none): a table that one of
    those reaches
    into stays.
    """
    low, high = 0, 0
    for vma in vmas:
        if mm_wr_locked:
            mm.scheme.vma_start_write(vma, "free_pgtables")
        unlink_anon_vmas(vma)
        unlink_file_vma(vma)
        if high == 0:
            low = vma.vm_start
        high = vma.vm_end
    if high == 0:
        return
    span = 1 << mm.pgtable.leaf_shift
    start = low & -span
    if start < floor:
        start += span
    end = high + span - 1 & -span
    if ceiling and end > ceiling:
        end -= span
    if start < end:
        mm.pgtable.free_range(start, end)


def unmap_mapping_range(mapping: address_space, first: int, count: int, even_cows: bool) -> None:
    """Zap the pages first .. first+count-1 of a file in every mapping of it (unmap_mapping_pages)."""
    for vma in list(mapping.i_mmap):
        low = max(first, vma.vm_pgoff)
        high = min(first + count, vma.vm_pgoff + (vma.vm_end - vma.vm_start >> PAGE_SHIFT))
        if low < high:
            base = vma.vm_start - (vma.vm_pgoff << PAGE_SHIFT)
            zap_pte_range(vma, base + (low << PAGE_SHIFT), base + (high << PAGE_SHIFT), even_cows)


def can_change_pte_writable(vma: vm_area_struct, pte: int) -> bool:
    """May an entry become writable at once, without a write fault to tell: a private page of ours, or a dirty shared
    one."""
    if not vma.vm_flags & VM_SHARED:
        target = vm_normal_page(vma, pte)
        return target is not None and isinstance(target.mapping, anon_vma) and target.exclusive
    return vma.vm_mm.pgtable.format.pte_dirty(pte)


def change_protection(vma: vm_area_struct, start: int, end: int, newprot: int, write_upgrade: bool) -> int:
    """Give the present entries of [start, end) another protection; the number of pages changed."""
    mm = vma.vm_mm
    table = mm.pgtable
    format = table.format
    accessible = vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)
    changed = 0
    for slot, pte in present_entries(mm, start, end):
        entry = format.pte_modify(pte, newprot)
        if write_upgrade and accessible and not format.pte_write(entry) and can_change_pte_writable(vma, entry):
            entry = format.pte_mkwrite(entry)
        changed += 1
        if entry != pte:
            table.set(slot, entry)
    if changed:
        mm.memory.sched.charge(changed * mm.memory.sched.cost.protect_page)
        flush_tlb_mm(mm, changed)
    return changed


def present_entries(mm: mm_struct, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(slot, entry) of every present entry of [start, end), in address order; the lock of its page table is held."""
    table = mm.pgtable
    present = table.format.pte_present
    shift = table.leaf_shift
    leaf = table.leaf
    first_key, last_key = start >> shift, end - 1 >> shift
    if last_key - first_key >= len(leaf):
        keys: Iterable[int] = sorted(k for k in leaf if first_key <= k <= last_key)
    else:
        keys = range(first_key, last_key + 1)
    for key in keys:
        base = leaf.get(key, -1)
        if base < 0:
            continue
        low = max(start, key << shift)
        high = min(end, key + 1 << shift)
        base += low >> PAGE_SHIFT & table.leaf_mask
        ptl = table.pte_lock(base)
        try:
            raw = table.entries[base : base + (high - low >> PAGE_SHIFT)].tolist()
            for i, bits in enumerate(raw):
                if bits:
                    pte = table.get(base + i)
                    if present(pte):
                        yield base + i, pte
        finally:
            if ptl is not None:
                ptl.unlock()


def move_page_tables(vma: vm_area_struct, old: int, new_vma: vm_area_struct, new: int, length: int) -> int:
    """Move the entries of [old, old+length) to `new`, frames and all; bytes done, less than `length` when out of
    memory."""
    mm = vma.vm_mm
    table = mm.pgtable
    moved = 0
    done = length
    locked: list[spinlock] = []  # of the tables that entries are moved from and to (move_ptes)
    for offset in range(0, length, PAGE_SIZE):
        slot = table.slot(old + offset)
        if slot < 0 or not table.get(slot):
            continue
        target = table.alloc(new + offset)
        if target < 0:
            done = offset
            break
        if table.locks is not None:
            needed = list(dict.fromkeys((table.pte_lockptr(slot), table.pte_lockptr(target))))
            if needed != locked:
                for ptl in reversed(locked):
                    ptl.unlock()
                for depth, ptl in enumerate(needed):
                    ptl.lock_nested(depth)  # no other two tables are locked at once: mmap_lock is held for write
                locked = needed
        pte = table.get(slot)
        if pte:
            table.set(slot, 0)
            table.set(target, pte)
            moved += 1
    for ptl in reversed(locked):
        ptl.unlock()
    if moved:
        mm.memory.sched.charge(moved * mm.memory.sched.cost.move_page)
        flush_tlb_mm(mm, length >> PAGE_SHIFT)
    return done
