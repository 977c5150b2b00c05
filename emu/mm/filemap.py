# SPDX-License-Identifier: GPL-2.0-or-later
"""The page cache and the faults that are served from it (mm/filemap.c).

The cache behaves as one that is warm: a page that has not been used yet is read from its host file at once, without
waiting. Only for pages that a warm cache would not have either (emu/mm/readahead.py) a fault is a major one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from emu.mm.folios import EXT4_MAX_ORDER, Folios
from emu.mm.mm_types import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_RETRY_NOWAIT,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_VMA_LOCK,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_LOCKED,
    VM_FAULT_MAJOR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_UNLOCKED,
    VM_RAND_READ,
    VM_SHARED,
    page,
    vm_area_struct,
    vm_get_page_prot,
    vm_operations_struct,
)
from emu.mm.mmap_lock import mmap_read_unlock
from emu.mm.readahead import Absent, do_sync_mmap_readahead, file_ra_state, page_cache_async_ra, page_cache_sync_ra
from emu.mm.rmap import folio_dirty_in_mappings, folio_mkclean

FOLIO_BATCH = 31  # folios that are looked up at once (PAGEVEC_SIZE)

if TYPE_CHECKING:
    from emu.mm.memory import vm_fault
    from emu.mm.memory_manager import MemoryManager


class Host(Protocol):
    """Where the content of a file comes from: the file system's inode."""

    @property
    def i_size(self) -> int:
        """Size in bytes."""
        ...

    def read_page(self, index: int) -> bytes | None:
        """Up to PAGE_SIZE bytes from offset index * PAGE_SIZE; None = I/O error."""
        ...

    def write_page(self, index: int, data: bytes) -> int:
        """Write a page's bytes (no more than reach to i_size); 0 or a negative errno."""
        ...


class address_space:
    """The cached pages of one file and the mappings of it (struct address_space)."""

    def __init__(self, host: Host, memory: MemoryManager, *, shmem: bool = False) -> None:
        self.host = host
        self.memory = memory
        self.shmem = shmem  # pages have no other home: a hole reads as zero, nothing is written back
        self.pages: dict[int, page] = {}
        self.folios = Folios(0 if shmem else EXT4_MAX_ORDER)
        self.absent = Absent()  # of a file that is not shmem: pages that only a wait brings into the cache
        self.i_mmap: list[vm_area_struct] = []
        self.wb_err = 0  # a writeback error not reported yet (negative errno)

    @property
    def nrpages(self) -> int:
        """Number of cached pages."""
        return len(self.pages)

    def find_get_page(self, index: int) -> page | None:
        """The cached page at `index`, without a reference; None when it is not there."""
        return self.pages.get(index)

    def read_cache_page(self, index: int) -> page | int:
        """The page at `index`, read in if need be; -ENOMEM (-12) or -EIO (-5)."""
        cached = self.pages.get(index)
        if cached is not None:
            return cached
        data = b"" if self.shmem else self.host.read_page(index)
        if data is None:
            return -5
        new = self.memory.alloc_page(zero=len(data) < PAGE_SIZE)
        if new is None:
            return -12
        if data:
            self.memory.ram.write(new.pfn << PAGE_SHIFT, data)
        new.mapping = self
        new.index = index
        new.uptodate = True
        self.pages[index] = new
        return new

    def write_begin(self, pos: int, size: int) -> int:
        """The end (a file offset) of the folio that a write of `size` bytes at `pos` goes to."""
        return self.folios.write_begin(pos, size, self._has_folio)

    def uptodate(self, index: int) -> bool:
        """Does a write of less than a page find the rest of it in the cache. shmem fills it with zeros."""
        return self.shmem or (self._has_folio(index) and index not in self.absent.empty)

    def mappable(self, index: int) -> bool:
        """Is a page there, up to date, and no sign that a fault is to come to it, and to read ahead
        (next_uptodate_folio)."""
        if self.shmem:
            cached = self.pages.get(index)
            return cached is not None and cached.uptodate
        absent = self.absent
        if absent.ranges and index in absent:
            return False
        return not absent.marks or self.folio_of(index)[0] not in absent.marks

    def _has_folio(self, index: int) -> bool:
        if self.shmem:
            return index in self.pages
        return self.in_cache(index) and (index not in self.absent or index in self.absent.empty)

    def in_cache(self, index: int) -> bool:
        """Is there a page of the file or of a folio that reaches behind its end, if it is not absent."""
        return index << PAGE_SHIFT < self.host.i_size or self.folios.find(index) is not None

    def not_cached(self, start: int, end: int) -> None:
        """The bytes start .. end-1 are new, and zero: pages wholly behind `start` are not in the cache, but for
        those of a folio that is."""
        first, end = start + PAGE_SIZE - 1 >> PAGE_SHIFT, end + PAGE_SIZE - 1 >> PAGE_SHIFT
        self.absent.add(first, end)
        for low, high in self.folios.overlapping(first, end - 1):
            if low not in self.absent.empty:
                self.absent.remove(low, high + 1)

    def written(self, start: int, end: int) -> None:
        """write(2) stored the bytes start .. end-1."""
        if start < end:
            first, stop = start >> PAGE_SHIFT, (end - 1 >> PAGE_SHIFT) + 1
            self.folios.dirty.add(first, stop)
            if self.absent.ranges:
                self.absent.remove(first, stop)

    def filemap_get_pages(self, ra: file_ra_state, pos: int, count: int) -> int:
        """read(2) wants `count` bytes at `pos`, which is in the file: up to which offset they are in the cache now, and
        can be copied. What is absent is read ahead (filemap_get_pages)."""
        absent = self.absent
        if not absent.ranges and not absent.marks:
            return pos + count
        first, last = pos >> PAGE_SHIFT, pos + count + PAGE_SIZE - 1 >> PAGE_SHIFT
        head, stop = self._read_batch(first, last)
        if stop == first:
            came = page_cache_sync_ra(self, ra, first, last - first)
            head, stop = self._read_batch(first, last)
            if stop == first:
                came += absent.remove(first, first + 1)
                head, stop = first, first + 1
            self.brought_in(came)
        if head in absent.marks:
            self.brought_in(page_cache_async_ra(self, ra, head, stop - head, last - head))
        if head in absent.empty:
            self.brought_in(absent.remove(head, stop))
        return stop << PAGE_SHIFT

    def _read_batch(self, first: int, last: int) -> tuple[int, int]:
        """The folios from page `first` on, before `last`, that are there: the first page of the last of them, and the
        page behind it. A folio that is not up to date, or that marks that more is to be read, is the last one
        (filemap_get_read_batch)."""
        head, index = -1, first
        for _ in range(FOLIO_BATCH):
            if index >= last:
                break
            if index in self.absent:
                return (index, index + 1) if index in self.absent.empty else (head, index)
            head, index = self.folio_of(index)
            if head in self.absent.marks:
                break
        return head, index

    def force_page_cache_readahead(self, start: int, end: int) -> None:
        """Somebody says that the bytes start .. end-1 will be needed."""
        if self.absent.ranges and start < end:
            self.brought_in(self.absent.remove(start >> PAGE_SHIFT, (end - 1 >> PAGE_SHIFT) + 1))

    def brought_in(self, pages: int) -> None:
        """It takes time to make that many pages, though nothing comes from a disk."""
        self.memory.sched.charge(pages * self.memory.costs.hole_page)

    def write(self, offset: int, data: bytes) -> int:
        """Store bytes in the cache, pages made as needed (generic_perform_write); bytes stored or -errno. i_size is
        the caller's. With no data the page is made."""
        done = 0
        while done < len(data) or not data:
            position = offset + done
            start = position & PAGE_SIZE - 1
            chunk = data[done : done + PAGE_SIZE - start]
            target = self.read_cache_page(position >> PAGE_SHIFT)
            if isinstance(target, int):
                return done or target
            target.dirty = target.uptodate = True
            if not data:
                break
            self.memory.ram.write((target.pfn << PAGE_SHIFT) + start, chunk)
            done += len(chunk)
        return done

    def read(self, offset: int, size: int) -> bytes | int:
        """Bytes from the cache up to i_size; -EIO or -ENOMEM. A hole of a shmem file reads as zeros and stays a
        hole."""
        size = min(size, self.host.i_size - offset)
        parts = []
        while size > 0:
            start = offset & PAGE_SIZE - 1
            count = min(PAGE_SIZE - start, size)
            index = offset >> PAGE_SHIFT
            if self.shmem and index not in self.pages:
                parts.append(bytes(count))
            else:
                source = self.read_cache_page(index)
                if isinstance(source, int):
                    return source
                parts.append(self.memory.ram.read((source.pfn << PAGE_SHIFT) + start, count))
            offset += count
            size -= count
        return b"".join(parts)

    def truncate_range(self, first: int, last: int, even_cows: bool = True) -> None:
        """Unmap and drop the pages first..last (inclusive, page indices), their content with them.

        Private copies of them go too where the file ends before them, and stay where it has got a hole (`even_cows`).
        """
        from emu.mm.memory import unmap_mapping_range

        unmap_mapping_range(self, first, last - first + 1, even_cows)
        self._drop_pages(first, last + 1)

    def _drop_pages(self, first: int, end: int) -> None:
        """Pages first .. end-1, which nothing maps, leave the cache."""
        if end - first <= len(self.pages):
            doomed = [index for index in range(first, end) if index in self.pages]
        else:
            doomed = [index for index in self.pages if first <= index < end]
        for index in doomed:
            old = self.pages.pop(index)
            old.mapping = None
            self.memory.put_page(old)
        self.folios.drop(first, end)
        if not self.shmem:
            self.absent.remove(first, end)
            start, stop = first << PAGE_SHIFT, min(end << PAGE_SHIFT, self.host.i_size)
            if start < stop:
                self.not_cached(start, stop)

    def reclaim(self, index: int) -> None:
        """Memory is asked back: a page that is mapped no more and clean leaves the cache, with all of its folio. A
        dirty one of a file is marked as to be dropped once it is written back, with the flag that also says that more
        should be read ahead; shmem has no swap for its own (shrink_folio_list)."""
        low, high = self.folio_of(index)
        cached = [self.pages[one] for one in range(low, high) if one in self.pages]
        if not cached or any(one._mapcount for one in cached):
            return
        if not self.folios.dirty.any(low, high) and all(one.uptodate and not one.dirty for one in cached):
            if all(one._refcount == 1 for one in cached):
                self._drop_pages(low, high)
        elif not self.shmem:
            self.absent.marks.add(low)

    def split_folio(self, low: int, high: int) -> bool:
        """Take the folio of the pages low .. high-1 apart, which unmaps it, into pages; those behind the end of the
        file go. False = not done: buffers of it are dirty (filemap_release_folio)."""
        from emu.mm.memory import unmap_mapping_range

        if self.folios.dirty.any(low, high):
            return False
        unmap_mapping_range(self, low, high - low, even_cows=False)
        self.folios.dirty.remove(low, high)  # its buffers went before it was unmapped
        self.folios.start.update(dict.fromkeys(range(low, high), 0))
        file_end = self.host.i_size + PAGE_SIZE - 1 >> PAGE_SHIFT
        if file_end < high:
            self._drop_pages(max(low, file_end), high)
        return True

    def truncate_pagecache_range(self, start: int, end: int, even_cows: bool = False) -> None:
        """The bytes start .. end-1 leave the cache: whole pages do, of others the bytes are cleared. A large folio that
        is there in part is split, so that those of its pages go that can; where it has dirty buffers it stays whole.
        Either way all of it is unmapped (truncate_inode_pages_range, truncate_inode_partial_folio)."""
        from emu.mm.memory import unmap_mapping_range

        first, stop = start + PAGE_SIZE - 1 >> PAGE_SHIFT, end >> PAGE_SHIFT
        if first < stop:
            unmap_mapping_range(self, first, stop - first, even_cows)
        low, high = self.folio_of(start >> PAGE_SHIFT)
        if not self._truncate_partial_folio(low, high, start, end):
            first = high
            if end <= high << PAGE_SHIFT:
                stop = low
        if end > high << PAGE_SHIFT:
            low, high = self.folio_of(end - 1 >> PAGE_SHIFT)
            if not self._truncate_partial_folio(low, high, start, end):
                stop = low
        if first < stop:
            self._drop_pages(first, stop)

    def folio_of(self, index: int) -> tuple[int, int]:
        """The folio that holds page `index`: its first page, and the one behind its last."""
        first, order = self.folios.find(index) or (index, 0)
        return first, first + (1 << order)

    def _truncate_partial_folio(self, low: int, high: int, start: int, end: int) -> bool:
        """Bytes start .. end-1 go, and the folio of the pages low .. high-1 has some of them and others: can its pages
        that lie within be dropped."""
        from emu.mm.memory import unmap_mapping_range

        start, end = max(start, low << PAGE_SHIFT), min(end, high << PAGE_SHIFT)
        if end - start == high - low << PAGE_SHIFT:
            return True
        for index in range(start >> PAGE_SHIFT, end + PAGE_SIZE - 1 >> PAGE_SHIFT):
            cached = self.pages.get(index)
            if cached is not None:
                at, stop = max(start, index << PAGE_SHIFT), min(end, index + 1 << PAGE_SHIFT)
                base = (cached.pfn - index) << PAGE_SHIFT
                self.memory.ram.write(base + at, bytes(stop - at))
        self.folios.dirty.remove(start + PAGE_SIZE - 1 >> PAGE_SHIFT, end >> PAGE_SHIFT)
        if high - low == 1:
            return True
        clean = not self.folios.dirty.any(low, high)
        unmap_mapping_range(self, low, high - low, even_cows=False)
        if not clean:
            return False
        self.folios.dirty.remove(low, high)  # its buffers went before it was unmapped
        self.folios.split(start >> PAGE_SHIFT)
        if end < high << PAGE_SHIFT:
            self.folios.split(end >> PAGE_SHIFT)
        file_end = self.host.i_size + PAGE_SIZE - 1 >> PAGE_SHIFT
        if file_end < high:  # no part keeps what is behind the end
            for first, last in self.folios.overlapping(low, high - 1):
                if first >= file_end:
                    self._drop_pages(first, last + 1)
        return True

    def writeback(self, first: int, last: int | None) -> int:
        """Write dirty pages first..last (None: to the end) to the host, whole folios of them, write-protecting their
        mappings first; 0 or -errno."""
        if self.shmem:
            return 0
        if self.folios.large:
            for low, high in self.folios.overlapping(first, first if last is None else last):
                first = min(first, low)
                last = None if last is None else max(last, high)
        self.folios.dirty.remove(first, self.host.i_size + PAGE_SIZE - 1 >> PAGE_SHIFT if last is None else last + 1)
        result = 0
        for index in sorted(i for i in self.pages if i >= first and (last is None or i <= last)):
            cached = self.pages[index]
            if cached._mapcount and folio_mkclean(self.memory, cached):
                cached.dirty = True
            if not cached.dirty:
                continue
            cached.dirty = False
            self.absent.marks.discard(index)  # the same flag as PG_reclaim (folio_end_writeback)
            result = self._write_out(index, cached) or result
        return result

    def _write_out(self, index: int, cached: page) -> int:
        """Store on the host what of a page lies in the file: 0 or -errno."""
        size = min(PAGE_SIZE, self.host.i_size - (index << PAGE_SHIFT))
        if size <= 0:
            return 0
        return min(0, self.host.write_page(index, self.memory.ram.read(cached.pfn << PAGE_SHIFT, size)))

    def store(self) -> None:
        """Bring the host's file up to date, for whoever looks at it there. To the guest nothing happens."""
        if self.shmem:
            return
        for index, cached in sorted(self.pages.items()):
            if cached.dirty or (cached._mapcount and folio_dirty_in_mappings(self.memory, cached)):
                self.wb_err = self._write_out(index, cached) or self.wb_err

    def drop(self) -> None:
        """Forget all pages: the inode goes away. Nothing may map them any more."""
        for old in self.pages.values():
            old.mapping = None
            self.memory.put_page(old)
        self.pages.clear()


def folio_mark_dirty(target: page) -> None:
    """A page of a file was written through a mapping: all buffers of its folio are to be written back, those of pages
    too that nobody wrote (folio_mark_dirty, block_dirty_folio)."""
    target.dirty = True
    mapping = target.mapping
    if isinstance(mapping, address_space) and mapping.folios.large:
        mapping.folios.dirty.add(*mapping.folio_of(target.index))


def mm_counter_file(mapping: address_space) -> int:
    """Which rss counter a page of the file belongs to."""
    return MM_SHMEMPAGES if mapping.shmem else MM_FILEPAGES


def filemap_fault(vmf: vm_fault) -> int:
    """Find the page of the file that the fault is for: vmf.page with a reference, and VM_FAULT_LOCKED; SIGBUS beyond
    the end."""
    vma = vmf.vma
    assert vma.vm_file is not None
    mapping = vma.vm_file.f_mapping
    if vmf.pgoff << PAGE_SHIFT >= mapping.host.i_size:
        return VM_FAULT_SIGBUS
    major = 0
    pages = -1  # that must come in first
    absent = mapping.absent
    if vmf.pgoff in absent.empty:  # there, and not up to date: read alone, and not counted as a major fault
        pages = absent.remove(vmf.pgoff, vmf.pgoff + 1)
    elif absent.ranges and vmf.pgoff in absent:
        mapping.memory.vmstat["pgmajfault"] += 1
        major = VM_FAULT_MAJOR
        pages = do_sync_mmap_readahead(mapping, vma.vm_file.f_ra, vmf.pgoff, vma)
    elif absent.marks and not vmf.flags & FAULT_FLAG_TRIED and not vma.vm_flags & VM_RAND_READ:
        head, order = mapping.folios.find(vmf.pgoff) or (vmf.pgoff, 0)
        if head in absent.marks:
            pages = page_cache_async_ra(mapping, vma.vm_file.f_ra, head, 1 << order)
    if pages >= 0:
        dropped = maybe_unlock_mmap_for_io(vmf)
        mapping.brought_in(pages)
        if dropped:
            return major | VM_FAULT_RETRY | VM_FAULT_UNLOCKED
    found = mapping.read_cache_page(vmf.pgoff)
    if isinstance(found, int):
        return VM_FAULT_OOM if found == -12 else VM_FAULT_SIGBUS
    found._refcount += 1
    vmf.page = found
    return major | VM_FAULT_LOCKED


def maybe_unlock_mmap_for_io(vmf: vm_fault) -> bool:
    """Before a wait: let go of the lock under which the fault is handled, where it can be tried again. Was it."""
    flags = vmf.flags
    if flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED | FAULT_FLAG_RETRY_NOWAIT) != FAULT_FLAG_ALLOW_RETRY:
        return False
    mm = vmf.vma.vm_mm
    if not flags & FAULT_FLAG_VMA_LOCK:
        mmap_read_unlock(mm)
    elif mm.scheme.callee_drops_lock:
        mm.scheme.vma_end_read(vmf.vma)
    return True


def filemap_map_pages(vmf: vm_fault, start_pgoff: int, end_pgoff: int) -> int:
    """Fault-around: map those of the pages start..end that are at hand and not mapped yet, read-only
    (filemap_map_pages).

    VM_FAULT_NOPAGE when the faulting page was among them, else 0. Where there is no page table yet, it is made only if
    the first of the pages is of a folio that ends before the file's last page: others are none of them mapped.
    """
    vma = vmf.vma
    assert vma.vm_file is not None
    mapping = vma.vm_file.f_mapping
    file_end = (mapping.host.i_size + PAGE_SIZE - 1 >> PAGE_SHIFT) - 1
    end_pgoff = min(end_pgoff, file_end)
    if end_pgoff < start_pgoff:
        return 0
    mm = vma.vm_mm
    table = mm.pgtable
    first = table.slot(vmf.address)
    if first < 0:
        pgoff = next((index for index in range(start_pgoff, end_pgoff + 1) if mapping.mappable(index)), None)
        if pgoff is None or not (mapping.shmem or file_end >= mapping.folio_of(pgoff)[1]):
            return 0
        first = table.alloc(vmf.address)
        if first < 0:
            return VM_FAULT_OOM
    first -= vmf.pgoff - start_pgoff
    prot = vma.vm_page_prot
    ret = 0
    mapped = 0
    ptl = table.pte_lock(first)
    gaps = mapping.shmem or bool(mapping.absent.ranges) or bool(mapping.absent.marks)
    indices: Iterable[int] = range(start_pgoff, end_pgoff + 1)
    if mapping.folios.large:
        indices = whole_folios(vma, mapping.folios, start_pgoff, end_pgoff, file_end)
    for pgoff in indices:
        if gaps and not mapping.mappable(pgoff):
            continue
        found = mapping.read_cache_page(pgoff)
        if isinstance(found, int):
            continue
        slot = first + pgoff - start_pgoff
        if table.get(slot):
            continue
        table.set(slot, found.pfn << PAGE_SHIFT | prot)
        found._refcount += 1
        found._mapcount += 1
        mapped += 1
        if pgoff == vmf.pgoff:
            ret = VM_FAULT_NOPAGE
    if ptl is not None:
        ptl.unlock()
    mm.rss[mm_counter_file(mapping)] += mapped
    mm.memory.sched.charge(mapped * mm.memory.costs.map_around)
    return ret


def whole_folios(vma: vm_area_struct, folios: Folios, start_pgoff: int, end_pgoff: int, file_end: int) -> Iterator[int]:
    """The pages start..end, and with each one all of its folio, where that lies within the file (whose last page is
    `file_end`), the VMA and one page table (filemap_map_folio_range)."""
    full = 1 << vma.vm_mm.pgtable.leaf_shift - PAGE_SHIFT
    pgoff = start_pgoff
    while pgoff <= end_pgoff:
        pages, fits = folio_in_vma(vma, folios, pgoff)
        if fits and (pages.stop <= file_end or (len(pages) == full and pages.stop == file_end + 1)):
            yield from pages
        else:
            pages = range(pgoff, min(pages.stop, end_pgoff + 1))
            yield from pages
        pgoff = pages.stop


def folio_in_vma(vma: vm_area_struct, folios: Folios, pgoff: int) -> tuple[range, bool]:
    """The pages of the folio that page `pgoff` is of, and whether the VMA and one page table hold them all. Of a folio
    that fills page tables those of one such table: Linux maps a huge page there."""
    shift = vma.vm_mm.pgtable.leaf_shift
    head, order = folios.find(pgoff) or (pgoff, 0)
    if order > shift - PAGE_SHIFT:
        order = shift - PAGE_SHIFT
        head = pgoff & -(1 << order)
    low = vma.vm_start + (head - vma.vm_pgoff << PAGE_SHIFT)
    high = low + (1 << order + PAGE_SHIFT)
    fits = vma.vm_start <= low and high <= vma.vm_end and low >> shift == high - 1 >> shift
    return range(head, head + (1 << order)), fits


def mappable_folio(vmf: vm_fault) -> range | None:
    """The pages of the large folio that vmf.page is of, where all of them can be mapped at once: they lie in the file,
    the VMA and one page table, which has no entries for them yet (finish_fault). Else None."""
    if vmf.vma.vm_file is None or not vmf.vma.vm_file.f_mapping.folios.large:
        return None
    mapping = vmf.vma.vm_file.f_mapping
    pages, fits = folio_in_vma(vmf.vma, mapping.folios, vmf.pgoff)
    if len(pages) == 1 or not fits or pages.stop > mapping.host.i_size + PAGE_SIZE - 1 >> PAGE_SHIFT:
        return None
    table = vmf.vma.vm_mm.pgtable
    first = vmf.slot - vmf.pgoff
    return None if any(table.get(first + index) for index in pages) else pages


def filemap_page_mkwrite(vmf: vm_fault) -> int:
    """A shared page is about to become writable: it will be dirty."""
    assert vmf.page is not None
    if vmf.page.mapping is None:
        return VM_FAULT_NOPAGE  # truncated meanwhile
    vmf.page.dirty = True
    assert vmf.vma.vm_file is not None
    mapping = vmf.vma.vm_file.f_mapping
    mapping.folios.dirty.add(*mapping.folio_of(vmf.pgoff))
    return VM_FAULT_LOCKED


generic_file_vm_ops = vm_operations_struct(
    fault=filemap_fault, map_pages=filemap_map_pages, page_mkwrite=filemap_page_mkwrite
)


def generic_file_mmap(file: Any, vma: vm_area_struct) -> int:
    """What f_op->mmap of an ordinary file does."""
    vma.vm_ops = generic_file_vm_ops
    return 0


def vma_wants_writenotify(vma: vm_area_struct) -> bool:
    """Must the first write to a page of this shared writable mapping fault (vma_wants_writenotify)."""
    if vma.vm_flags & (VM_SHARED | 2) != VM_SHARED | 2:
        return False
    return vma.vm_ops is not None and vma.vm_ops.page_mkwrite is not None


def vma_set_page_prot(vma: vm_area_struct) -> None:
    """Compute vm_page_prot from vm_flags (vma_set_page_prot)."""
    flags = vma.vm_flags
    if vma_wants_writenotify(vma):
        flags &= ~VM_SHARED
    vma.vm_page_prot = vm_get_page_prot(vma.vm_mm, flags)
