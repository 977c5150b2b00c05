# SPDX-License-Identifier: GPL-2.0-or-later
"""Advice about memory (mm/madvise.c). Each behaviour takes the lock that it takes in the scheme's version of the
kernel."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EACCES, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, ENOMEM, EPERM

from emu.mm.filemap import address_space
from emu.mm.gup import faultin_page_range
from emu.mm.memory import PTE_MARKER_GUARD, present_entries, zap_page_range_single
from emu.mm.mm_types import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DROPPABLE,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_LOCKED,
    VM_MAYBE_GUARD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_STICKY,
    VM_WIPEONFORK,
    mm_struct,
    page,
    vm_area_struct,
    vma_is_anonymous,
)
from emu.mm.mmap_lock import (
    mmap_read_lock,
    mmap_read_unlock,
    mmap_write_lock,
    mmap_write_lock_killable,
    mmap_write_unlock,
)
from emu.mm.rmap import anon_vma, anon_vma_prepare, rmap_walk
from emu.mm.tlb import flush_tlb_mm
from emu.mm.vma import trace_vma_modify, vma_modify

MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED = range(5)
MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK = 8, 9, 10, 11
MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 12, 13, 14, 15
MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK = 16, 17, 18, 19
MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE = 20, 21, 22, 23
MADV_DONTNEED_LOCKED, MADV_COLLAPSE, MADV_HWPOISON, MADV_SOFT_OFFLINE = 24, 25, 100, 101
MADV_GUARD_INSTALL, MADV_GUARD_REMOVE = 102, 103

_VALID = frozenset(range(5)) | frozenset(range(8, 26)) | {MADV_GUARD_INSTALL, MADV_GUARD_REMOVE}
_VMA_READ = {MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE}
_MMAP_READ = {
    MADV_REMOVE, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE,
    MADV_GUARD_INSTALL, MADV_GUARD_REMOVE,
}  # fmt: skip
_DISCARDS = {
    MADV_FREE,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_REMOVE,
    MADV_DONTFORK,
    MADV_WIPEONFORK,
    MADV_GUARD_INSTALL,
}


@dataclass
class madvise_behavior:
    """Advice that is under way, for one range or several (struct madvise_behavior). `locked`: mmap_lock is held; it is
    not until the lock of a VMA alone does not do, where that may."""

    mm: mm_struct
    behavior: int
    locked: bool = False


def do_madvise(mm: mm_struct, start: int, length: int, behavior: int) -> int:
    """madvise: 0 or -errno. A hole gives -ENOMEM after the mappings around it have been served."""
    skip = _should_skip(mm, start, length, behavior)
    if skip is not None:
        return skip
    advice = _madvise_lock(mm, behavior)
    if advice is None:
        return -EINTR
    error = _do_behavior(advice, start, length)
    _madvise_unlock(advice)
    return error


def vector_madvise(mm: mm_struct, ranges: list[tuple[int, int]], behavior: int) -> int:
    """Several ranges, (start, length), under one lock: bytes advised, or the error of the first."""
    advice = _madvise_lock(mm, behavior)
    if advice is None:
        return -EINTR
    done = error = 0
    for start, length in ranges:
        skip = _should_skip(mm, start, length, behavior)
        error = _do_behavior(advice, start, length) if skip is None else skip
        if error < 0:
            break
        done += length
    _madvise_unlock(advice)
    return done or error


def _madvise_lock(mm: mm_struct, behavior: int) -> madvise_behavior | None:
    """Take the lock that the behaviour needs for all ranges (madvise_lock); None: the task is to die."""
    advice = madvise_behavior(mm, behavior)
    if behavior in _MMAP_READ:
        mmap_read_lock(mm)
    elif behavior not in _VMA_READ and mmap_write_lock_killable(mm):
        return None
    advice.locked = behavior not in _VMA_READ
    return advice


def _madvise_unlock(advice: madvise_behavior) -> None:
    """madvise_unlock."""
    if advice.locked:
        if advice.behavior in _MMAP_READ or advice.behavior in _VMA_READ:
            mmap_read_unlock(advice.mm)
        else:
            mmap_write_unlock(advice.mm)


def _should_skip(mm: mm_struct, start: int, length: int, behavior: int) -> int | None:
    """0 or -errno for a range about which nothing is to be done (madvise_should_skip); None: it is to be advised."""
    if behavior not in _VALID or start & PAGE_SIZE - 1:
        return -EINVAL
    mask = (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF
    size = length + PAGE_SIZE - 1 & PAGE_MASK & mask
    if (length and not size) or start + size > mask:
        return -EINVAL
    return None if size else 0


def _do_behavior(advice: madvise_behavior, start: int, length: int) -> int:
    """One range (madvise_do_behavior)."""
    mm, behavior = advice.mm, advice.behavior
    end = start + (length + PAGE_SIZE - 1 & PAGE_MASK)
    mm.memory.sched.charge(mm.memory.sched.cost.madvise)
    if behavior in (MADV_POPULATE_READ, MADV_POPULATE_WRITE):
        return madvise_populate(mm, start, end, behavior == MADV_POPULATE_WRITE)
    if not advice.locked:  # try_vma_read_lock
        vma = mm.scheme.lock_vma_under_rcu(mm, start) if mm.scheme.madvise_under_vma_lock else None
        if vma is not None:
            if _vma_lock_sufficient(vma, end, behavior):
                error = _advise_vma(vma, start, end, behavior)
                mm.scheme.vma_end_read(vma)
                return error
            mm.scheme.vma_end_read(vma)
        mmap_read_lock(mm)
        advice.locked = True
    return _walk(mm, start, end, behavior)


def _vma_lock_sufficient(vma: vm_area_struct, end: int, behavior: int) -> bool:
    """The range is in one VMA, which has its anon_vma where one will be needed (is_vma_lock_sufficient)."""
    if end > vma.vm_end:
        return False
    return not (behavior == MADV_GUARD_INSTALL and vma_is_anonymous(vma) and vma.anon_vma is None)


def _walk(mm: mm_struct, start: int, end: int, behavior: int) -> int:
    """Every VMA of the range (madvise_walk_vmas)."""
    unmapped = 0
    while True:
        vma = mm.mm_mt.find(start)
        if vma is None:
            return -ENOMEM
        if start < vma.vm_start:
            unmapped = -ENOMEM
            start = vma.vm_start
            if start >= end:
                return unmapped
        stop = min(vma.vm_end, end)
        error = _advise_vma(vma, start, stop, behavior)
        if error:
            return error
        start = stop
        if start >= end:
            return unmapped


def _can_modify(vma: vm_area_struct, behavior: int) -> bool:
    """A sealed mapping keeps its content (can_madvise_modify)."""
    if not vma.vm_flags & VM_SEALED or behavior not in _DISCARDS:
        return True
    if vma.vm_file is not None or vma.vm_flags & VM_SHARED:
        return True
    return bool(vma.vm_flags & 2)


def _advise_vma(vma: vm_area_struct, start: int, end: int, behavior: int) -> int:
    """One VMA's share (madvise_vma_behavior)."""
    sched = vma.vm_mm.memory.sched
    sched.charge(sched.cost.madvise_vma)
    if not _can_modify(vma, behavior):
        return -EPERM
    if behavior in (MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE):
        forbidden = VM_PFNMAP | VM_HUGETLB | (0 if behavior == MADV_DONTNEED_LOCKED else VM_LOCKED)
        if vma.vm_flags & forbidden:
            return -EINVAL
        if behavior == MADV_FREE:
            return _free(vma, start, end)
        zap_page_range_single(vma, start, end - start)
        return 0
    if behavior == MADV_REMOVE:
        return _remove(vma, start, end)
    if behavior == MADV_WILLNEED:
        return _willneed(vma, start, end)
    if behavior in (MADV_COLD, MADV_PAGEOUT):
        if vma.vm_flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB):
            return -EINVAL
        sched.charge(sum(1 for _ in present_entries(vma.vm_mm, start, end)) * sched.cost.madvise_cold_page)
        _cold_or_pageout(vma, start, end, behavior == MADV_PAGEOUT)
        return 0
    if behavior == MADV_COLLAPSE:
        return -EINVAL  # there are no huge pages
    if behavior == MADV_GUARD_INSTALL:
        return _guard_install(vma, start, end)
    if behavior == MADV_GUARD_REMOVE:
        return _guard_remove(vma, start, end)
    flags = vma.vm_flags
    if behavior == MADV_NORMAL:
        flags &= ~(VM_RAND_READ | VM_SEQ_READ)
    elif behavior == MADV_SEQUENTIAL:
        flags = flags & ~VM_RAND_READ | VM_SEQ_READ
    elif behavior == MADV_RANDOM:
        flags = flags & ~VM_SEQ_READ | VM_RAND_READ
    elif behavior == MADV_DONTFORK:
        flags |= VM_DONTCOPY
    elif behavior == MADV_DOFORK:
        if flags & VM_SPECIAL:
            return -EINVAL
        flags &= ~VM_DONTCOPY
    elif behavior == MADV_WIPEONFORK:
        if vma.vm_file is not None or flags & VM_SHARED:
            return -EINVAL
        flags |= VM_WIPEONFORK
    elif behavior == MADV_KEEPONFORK:
        if flags & VM_DROPPABLE:
            return -EINVAL
        flags &= ~VM_WIPEONFORK
    elif behavior == MADV_DONTDUMP:
        flags |= VM_DONTDUMP
    elif behavior == MADV_DODUMP:
        if flags & (VM_SPECIAL | VM_DROPPABLE):
            return -EINVAL
        flags &= ~VM_DONTDUMP
    elif behavior == MADV_MERGEABLE:
        if not flags & (VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB | VM_DROPPABLE):
            flags |= VM_MERGEABLE
    elif behavior == MADV_UNMERGEABLE:
        flags &= ~VM_MERGEABLE
    elif behavior == MADV_HUGEPAGE:
        flags = flags & ~VM_NOHUGEPAGE | VM_HUGEPAGE
    elif behavior == MADV_NOHUGEPAGE:
        flags = flags & ~VM_HUGEPAGE | VM_NOHUGEPAGE
    error = _update_vma(vma, start, end, flags)
    return -EAGAIN if error == -ENOMEM else error


def _update_vma(vma: vm_area_struct, start: int, end: int, flags: int) -> int:
    """madvise_update_vma."""
    if flags == vma.vm_flags:
        return 0
    modified = vma_modify(vma, start, end, flags)
    if isinstance(modified, int):
        return modified
    modified.vm_mm.scheme.vma_start_write(modified, "madvise_update_vma")
    flags |= modified.vm_flags & VM_STICKY
    if modified.vm_flags != flags:
        modified.vm_flags = flags
        trace_vma_modify(modified)
    return 0


def _free(vma: vm_area_struct, start: int, end: int) -> int:
    """MADV_FREE: the pages become clean and old, and MADV_PAGEOUT takes them unless they are written again, of a page
    that several map by any of them (madvise_free_pte_range, folio_mark_lazyfree)."""
    if not vma_is_anonymous(vma):
        return -EINVAL
    mm = vma.vm_mm
    table = mm.pgtable
    format = table.format
    changed = False
    pages = 0
    for slot, pte in present_entries(mm, start, end):
        if format.pte_special(pte):
            continue
        target = mm.memory.mem_map[(pte & format.pfn_mask) >> PAGE_SHIFT]
        assert target is not None
        if not isinstance(target.mapping, anon_vma) or (target.dirty and target._mapcount != 1):
            continue
        target.dirty = False
        if format.pte_young(pte) or format.pte_dirty(pte):
            table.set(slot, format.pte_mkclean(format.pte_mkold(pte)))
            changed = True
        if not target.lazyfree and not target.mlocked:
            target.lazyfree = True
            mm.memory.vmstat["pglazyfree"] += 1
        pages += 1
    mm.memory.sched.charge(pages * mm.memory.sched.cost.madvise_free_page)
    if changed:
        flush_tlb_mm(mm, (end - start) >> PAGE_SHIFT)
    return 0


def _cold_or_pageout(vma: vm_area_struct, start: int, end: int, pageout: bool) -> None:
    """MADV_COLD makes pages old that nobody else maps. MADV_PAGEOUT unmaps those of them that are a file's, which then
    may do without them. Anonymous ones stay, as there is no swap, but for those that may be dropped. Of a large folio
    all pages count together (madvise_cold_or_pageout_pte_range)."""
    mm = vma.vm_mm
    table = mm.pgtable
    format = table.format
    changed = False
    unmap = []
    cached = []
    alone = _folios_alone(vma, start, end)
    for slot, pte in present_entries(mm, start, end):
        if format.pte_special(pte):
            continue
        target = mm.memory.mem_map[(pte & format.pfn_mask) >> PAGE_SHIFT]
        assert target is not None
        mapping = target.mapping
        if isinstance(mapping, address_space) and mapping.folios.large:
            if mapping.folio_of(target.index) not in alone:
                continue
        elif target._mapcount != 1:
            continue
        if pageout:
            if isinstance(mapping, address_space):
                cached.append((mapping, target.index))
            if mapping.__class__ is not anon_vma or _may_drop(vma, target, format.pte_dirty(pte)):
                unmap.append((target.index - vma.vm_pgoff << PAGE_SHIFT) + vma.vm_start)
        elif format.pte_young(pte):
            table.set(slot, format.pte_mkold(pte))
            changed = True
    for address in unmap:
        zap_page_range_single(vma, address, PAGE_SIZE)
    for mapping, index in cached:
        mapping.reclaim(index)
    if changed:
        flush_tlb_mm(mm, (end - start) >> PAGE_SHIFT)


def _folios_alone(vma: vm_area_struct, start: int, end: int) -> set[tuple[int, int]]:
    """The folios of a file with large ones that nobody maps but the VMA in [start, end), and that wholly. Others that
    lie there in part may be split, without the lock of the page table."""
    if vma.vm_file is None or not vma.vm_file.f_mapping.folios.large:
        return set()
    mm = vma.vm_mm
    mapping = vma.vm_file.f_mapping
    format = mm.pgtable.format
    found: dict[tuple[int, int], None] = {}
    for _, pte in present_entries(mm, start, end):
        target = mm.memory.mem_map[(pte & format.pfn_mask) >> PAGE_SHIFT]
        if target is not None and target.mapping is mapping:
            found[mapping.folio_of(target.index)] = None
    return {pages for pages in found if _folio_is_alone(vma, mapping, range(*pages), start, end)}


def _folio_is_alone(vma: vm_area_struct, mapping: address_space, pages: range, start: int, end: int) -> bool:
    """Is each page of a folio mapped in [start, end), and nowhere else. Where only some of them are mapped there, the
    folio is split, unless another address space maps it too."""
    cached = [mapping.find_get_page(index) for index in pages]
    walks = [rmap_walk(vma.vm_mm.memory, target) for target in cached if target is not None]
    here = sum(any(user is vma and start <= address < end for user, address, _ in walk) for walk in walks)
    if here == len(pages):
        return all(len(walk) == 1 for walk in walks)
    if all(user.vm_mm is vma.vm_mm for walk in walks for user, _, _ in walk):
        mapping.split_folio(pages.start, pages.stop)
    return False


def _may_drop(vma: vm_area_struct, target: page, pte_dirty: bool) -> bool:
    """May reclaim drop this anonymous page, which has one entry: it was freed lazily and not written since, and nobody
    holds it otherwise. One that was written is an ordinary page again (try_to_unmap_one)."""
    droppable = vma.vm_flags & VM_DROPPABLE
    if target.mlocked or not (target.lazyfree or droppable):
        return False
    target.dirty |= pte_dirty
    if target.dirty and not droppable:
        target.lazyfree = False
        return False
    if target._refcount != 1:
        return False
    vma.vm_mm.memory.vmstat["pglazyfreed"] += 1
    return True


def _willneed(vma: vm_area_struct, start: int, end: int) -> int:
    """Read ahead what is not in the page cache, mmap_lock dropped meanwhile."""
    file = vma.vm_file
    if file is None or file.f_mapping.shmem:
        return 0
    mm = vma.vm_mm
    offset = (vma.vm_pgoff << PAGE_SHIFT) - vma.vm_start
    file.get()
    mmap_read_unlock(mm)
    file.f_mapping.force_page_cache_readahead(start + offset, end + offset)
    file.put()
    mmap_read_lock(mm)
    return 0


def _remove(vma: vm_area_struct, start: int, end: int) -> int:
    """Punch a hole into the object behind a shared writable mapping, mmap_lock dropped meanwhile."""
    if vma.vm_flags & VM_LOCKED:
        return -EINVAL
    file = vma.vm_file
    if file is None:
        return -EINVAL
    if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        return -EACCES
    first = (start - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
    mm = vma.vm_mm
    file.get()
    mmap_read_unlock(mm)
    error = file.punch_hole(first << PAGE_SHIFT, end - start)
    file.put()
    mmap_read_lock(mm)
    return error


def _guard_install(vma: vm_area_struct, start: int, end: int) -> int:
    """Replace the pages of the range by markers that make an access a SIGSEGV. VM_MAYBE_GUARD lets fork copy them."""
    if vma.vm_flags & (VM_SPECIAL | VM_HUGETLB | VM_LOCKED):
        return -EINVAL
    if not vma.vm_flags & VM_MAYBE_GUARD:
        vma.vm_flags |= VM_MAYBE_GUARD
        trace_vma_modify(vma)
    if vma_is_anonymous(vma):
        error = anon_vma_prepare(vma)
        if error:
            return error
    zap_page_range_single(vma, start, end - start)
    sched = vma.vm_mm.memory.sched
    sched.charge((end - start >> PAGE_SHIFT) * sched.cost.guard_page)
    table = vma.vm_mm.pgtable
    for address in range(start, end, PAGE_SIZE):
        slot = table.alloc(address)
        if slot < 0:
            return -ENOMEM
        ptl = table.pte_lock(slot)
        while table.get(slot) not in (0, PTE_MARKER_GUARD):  # faulted in again meanwhile
            if ptl is not None:
                ptl.unlock()
            zap_page_range_single(vma, address, PAGE_SIZE)
            ptl = table.pte_lock(slot)
        table.set(slot, PTE_MARKER_GUARD)
        if ptl is not None:
            ptl.unlock()
    return 0


def _guard_remove(vma: vm_area_struct, start: int, end: int) -> int:
    """Take the markers away; other pages stay."""
    if vma.vm_flags & (VM_SPECIAL | VM_HUGETLB):
        return -EINVAL
    table = vma.vm_mm.pgtable
    for address in range(start, end, PAGE_SIZE):
        slot = table.slot(address)
        if slot < 0:
            continue
        ptl = table.pte_lock(slot)
        if table.get(slot) == PTE_MARKER_GUARD:
            table.set(slot, 0)
        if ptl is not None:
            ptl.unlock()
    return 0


def madvise_populate(mm: mm_struct, start: int, end: int, write: bool) -> int:
    """Fault the range in for reading or writing. 0; -ENOMEM at a hole, -EINVAL where the rights are missing,
    -EFAULT."""
    while start < end:
        pages = faultin_page_range(mm, start, end, write)
        if pages < 0:
            return pages if pages in (-EINVAL, -EFAULT) else -ENOMEM
        start += pages << PAGE_SHIFT
    return 0


def madvise_set_anon_name(mm: mm_struct, start: int, length: int, name: str | None) -> int:
    """Name the anonymous memory of a range, or take its name away; 0 or -errno."""
    if start & PAGE_SIZE - 1:
        return -EINVAL
    word_mask = (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF
    rounded = length + PAGE_SIZE - 1 & PAGE_MASK & word_mask
    end = start + rounded & word_mask
    if (length and not rounded) or end < start:
        return -EINVAL
    if end == start:
        return 0
    mmap_write_lock(mm)
    error = _name_vmas(mm, start, end, name)
    mmap_write_unlock(mm)
    return error


def _name_vmas(mm: mm_struct, start: int, end: int, name: str | None) -> int:
    unmapped = 0
    while start < end:
        vma = mm.mm_mt.find(start)
        if vma is None:
            return -ENOMEM
        if start < vma.vm_start:
            unmapped = -ENOMEM
            start = vma.vm_start
            continue
        if vma.vm_file is not None and not vma.vm_file.f_mapping.shmem:
            return -EBADF
        stop = min(vma.vm_end, end)
        if vma.anon_name != name:
            modified = vma_modify(vma, start, stop, vma.vm_flags, name, keep_name=False)
            if isinstance(modified, int):
                return -EAGAIN if modified == -ENOMEM else modified
            mm.scheme.vma_start_write(modified, "madvise_update_vma")
            if modified.anon_name != name:
                modified.anon_name = name
                trace_vma_modify(modified)
        start = stop
    return unmapped
