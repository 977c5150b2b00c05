# SPDX-License-Identifier: GPL-2.0-or-later
"""Faulting pages in ahead of their use: mlock, MAP_POPULATE, MADV_POPULATE (mm/gup.c)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOMEM

from emu.mm.memory import handle_mm_fault
from emu.mm.mm_types import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_KILLABLE,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_EXEC,
    VM_FAULT_COMPLETED,
    VM_FAULT_ERROR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_IO,
    VM_LOCKONFAULT,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    mm_struct,
    page,
    vm_area_struct,
)
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.mm.pkeys import arch_vma_access_permitted
from emu.mm.rmap import anon_vma


def _check_vma_flags(vma: vm_area_struct, write: bool, force: bool, foreign: bool = False) -> int:
    flags = vma.vm_flags
    if flags & (VM_IO | VM_PFNMAP):
        return -EFAULT
    if write:
        if not flags & VM_WRITE and (not force or flags & (VM_SHARED | VM_MAYWRITE) != VM_MAYWRITE):
            return -EFAULT
    elif not flags & VM_READ and (not force or not flags & VM_MAYREAD):
        return -EFAULT
    return 0 if foreign or arch_vma_access_permitted(vma.vm_mm.memory.sched, flags, write) else -EFAULT


def _gup_vma(
    mm: mm_struct, address: int, write: bool, force: bool, foreign: bool, madvise: bool
) -> vm_area_struct | int:
    """The VMA at `address` when its pages may be taken, else -errno, for MADV_POPULATE another one."""
    vma = mm.mm_mt.load(address)
    if vma is None:
        return -ENOMEM if madvise else -EFAULT
    error = _check_vma_flags(vma, write, force, foreign)
    if error:
        return -EINVAL if madvise else error
    return vma


def _get_user_pages(
    mm: mm_struct,
    start: int,
    end: int,
    write: bool,
    force: bool,
    unlockable: bool = True,
    madvise: bool = False,
    tries: bool = True,
    pin: bool = False,
) -> tuple[int, bool]:
    """Make every page of [start, end), of one VMA or of several, present (and writable for `write`): pages done, or
    -errno when it is the first that fails; and whether mmap_lock was given away meanwhile. Where it may be
    (`unlockable`), it is by a fault that ends with VM_FAULT_COMPLETED or VM_FAULT_RETRY; then it is taken again, and
    the page is looked at once more, in what may be another mapping by now (__get_user_pages_locked; without `tries` the
    caller of __get_user_pages begins again, and the fault is not told that it was tried). Where it may not,
    the memory is another one's, and protection keys do not count. `madvise`: errors as with FOLL_MADV_POPULATE. `pin`:
    what is written to a page meanwhile is to be seen, so an anonymous one must be nobody else's (FOLL_PIN,
    gup_must_unshare)."""
    dropped = False
    table = mm.pgtable
    format = table.format
    flags = FAULT_FLAG_WRITE if write else 0
    if unlockable:
        flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE
    done = 0
    vma: vm_area_struct | None = None
    for address in range(start, end, PAGE_SIZE):
        tried = 0
        while True:
            unshare = 0
            if vma is None or address >= vma.vm_end:
                found = _gup_vma(mm, address, write, force, not unlockable, madvise)
                if isinstance(found, int):
                    return done or found, dropped
                vma = found
            slot = table.slot(address)
            pte = table.get(slot) if slot >= 0 else 0
            if pte and format.pte_present(pte):
                # A forced write to a page of a VMA that is read-only is done once the page is ours.
                if not write or format.pte_write(pte) or (not vma.vm_flags & VM_WRITE and format.pte_dirty(pte)):
                    if write or not pin or not _must_unshare(mm, pte):
                        break
                    unshare = FAULT_FLAG_UNSHARE
            mm.memory.costs.without_exception()
            ret = handle_mm_fault(vma, address, flags | tried | unshare)
            if ret & VM_FAULT_ERROR:
                return done or (-ENOMEM if ret & VM_FAULT_OOM else -EFAULT), dropped
            if ret & (VM_FAULT_COMPLETED | VM_FAULT_RETRY):
                mmap_read_lock(mm)
                dropped = True
                tried = FAULT_FLAG_TRIED if tries else 0
                vma = None
        done += 1
    return done, dropped


def _must_unshare(mm: mm_struct, pte: int) -> bool:
    if mm.pgtable.format.pte_special(pte):
        return False
    found = _page_of(mm, pte)
    return isinstance(found.mapping, anon_vma) and not found.exclusive


def populate_vma_page_range(vma: vm_area_struct, start: int, end: int) -> int:
    """Fault in [start, end) of one VMA as its next use would: pages done or -errno. mmap_lock held."""
    flags = vma.vm_flags
    if flags & VM_LOCKONFAULT:
        return end - start >> PAGE_SHIFT
    write = flags & (VM_WRITE | VM_SHARED) == VM_WRITE
    force = bool(flags & (VM_READ | VM_WRITE | VM_EXEC))
    return _get_user_pages(vma.vm_mm, start, end, write, force, tries=False)[0]


def faultin_page_range(mm: mm_struct, start: int, end: int, write: bool) -> int:
    """Fault the range in, over the edges of VMAs, for reading or for writing, with the rights that the guest has: pages
    done before the first that cannot be; when that is the first one, -ENOMEM where nothing is mapped, -EINVAL where the
    rights are missing, -EFAULT."""
    pages, dropped = _get_user_pages(mm, start, end, write, force=False, madvise=True)
    if dropped:  # then the caller finds it dropped, and takes it again
        mmap_read_unlock(mm)
        mmap_read_lock(mm)
    return pages


def mm_populate(mm: mm_struct, start: int, length: int, ignore_errors: bool = True) -> int:
    """Fault in all VMAs of [start, start+length), one taking of mmap_lock for them all (__mm_populate). 0 or -errno."""
    end = start + length
    address = start
    ret = 0
    locked = False
    while address < end:
        if not locked:
            locked = True
            mmap_read_lock(mm)
        vma = mm.mm_mt.find(address)
        if vma is None or vma.vm_start >= end:
            break
        stop = min(end, vma.vm_end)
        if vma.vm_flags & (VM_IO | VM_PFNMAP):
            address = stop
            continue
        address = max(address, vma.vm_start) & PAGE_MASK
        ret = populate_vma_page_range(vma, address, stop)
        if ret < 0:
            if ignore_errors:
                ret = 0
                address = stop
                continue
            break
        address += ret << PAGE_SHIFT
        ret = 0
    if locked:
        mmap_read_unlock(mm)
    return ret


def get_user_page_fast(mm: mm_struct, address: int, write: bool) -> page | int:
    """get_user_pages_fast for the page at `address`."""
    found = get_user_pages_fast(mm, address, 1, write)
    return found if isinstance(found, int) else found[0]


def get_user_pages_fast(mm: mm_struct, address: int, count: int, write: bool) -> list[page] | int:
    """The `count` pages from `address` on, without references, faulted in (for writing) if need be: those before the
    first that cannot be; where that is the first one, -EFAULT or -ENOMEM (get_user_pages_fast). mmap_lock is taken only
    where an entry is not good already, once for that one and all behind it."""
    found: list[page] = []
    start = address & PAGE_MASK
    end = start + count * PAGE_SIZE
    while start < end:
        good = _gup_fast(mm, start, write)
        if good is None:
            break
        found.append(good)
        start += PAGE_SIZE
    if start < end:
        mmap_read_lock(mm)
        got, _ = _get_user_pages(mm, start, end, write, force=False)
        if got > 0:
            table = mm.pgtable
            stop = start + got * PAGE_SIZE
            found += [_page_of(mm, table.get(table.slot(at))) for at in range(start, stop, PAGE_SIZE)]
        mmap_read_unlock(mm)
        if not found:
            return got
    return found


def _gup_fast(mm: mm_struct, address: int, write: bool) -> page | None:
    """The page at `address` where the page table alone tells that it may be taken."""
    table = mm.pgtable
    format = table.format
    slot = table.slot(address)
    pte = table.get(slot) if slot >= 0 else 0
    if not pte or not format.pte_present(pte) or format.pte_special(pte) or (write and not format.pte_write(pte)):
        return None
    vma = mm.mm_mt.load(address)
    return _page_of(mm, pte) if vma is not None and vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC) else None


def get_user_page_remote(
    mm: mm_struct, address: int, write: bool, force: bool = False, unlockable: bool = False, pin: bool = False
) -> page | int:
    """The page at `address` of any address space, faulted in (for writing) if need be, with `force` against the
    protection of a private mapping; -EFAULT, -ENOMEM (get_user_pages_remote for one page). mmap_lock held; a fault
    gives it away only where that is allowed (`unlockable`), which is for who works in its own address space: protection
    keys bind that one alone. `pin`: as pin_user_pages_remote."""
    start = address & PAGE_MASK
    got, _ = _get_user_pages(mm, start, start + PAGE_SIZE, write, force, unlockable, pin=pin)
    return got if got < 0 else _page_of(mm, mm.pgtable.get(mm.pgtable.slot(address)))


def _page_of(mm: mm_struct, pte: int) -> page:
    found = mm.memory.mem_map[(pte & mm.pgtable.format.pfn_mask) >> PAGE_SHIFT]
    assert found is not None, f"entry {pte:#x} maps a free frame"
    return found


def fixup_user_fault(mm: mm_struct, address: int, write: bool) -> int:
    """Serve a fault that kernel code took on behalf of the guest: 0, -EFAULT, -ENOMEM. mmap_lock held for read."""
    vma = mm.mm_mt.load(address)
    if vma is None or not vma.vm_flags & (VM_WRITE if write else VM_READ):
        return -EFAULT
    if not arch_vma_access_permitted(mm.memory.sched, vma.vm_flags, write):
        return -EFAULT
    mm.memory.costs.without_exception()
    ret = handle_mm_fault(vma, address & PAGE_MASK, FAULT_FLAG_WRITE if write else 0)
    if ret & VM_FAULT_ERROR:
        return -ENOMEM if ret & VM_FAULT_OOM else -EFAULT
    return 0
