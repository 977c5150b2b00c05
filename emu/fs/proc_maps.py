# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/maps, smaps and pagemap: an address space as text and as frames (fs/proc/task_mmu.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from emu.fs.dcache import Dentry
from emu.fs.file import File, kiocb
from emu.fs.iov_iter import iov_iter
from emu.fs.seq_file import SeqOperations
from emu.mm import mm_types as m
from emu.mm.filemap import address_space
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, mm_struct, vm_area_struct
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.mm.pkeys import arch_max_pkey, vma_pkey
from emu.mm.rmap import anon_vma
from emu.mm.vma import vma_name, vma_place

if TYPE_CHECKING:
    from emu.fs.current import Current

NAME_COLUMN = 73
_END = -1  # the position after the last record
_GATE = 1 << 63  # the position of the x86-64 gate area, behind all VMAs
VSYSCALL = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
_PAGEMAP_CHUNK = 2 << 20
PM_SOFT_DIRTY, PM_MMAP_EXCLUSIVE, PM_FILE, PM_PRESENT = 1 << 55, 1 << 56, 1 << 61, 1 << 63

PSS_SHIFT = 12


def show_map_vma(vma: vm_area_struct) -> bytes:
    """One line of maps (show_map_vma)."""
    flags = vma.vm_flags
    device, inode, pgoff = vma_place(vma)
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    text = (
        f"{vma.vm_start:08x}-{vma.vm_end:08x} {'r' if flags & m.VM_READ else '-'}{'w' if flags & m.VM_WRITE else '-'}"
        f"{'x' if flags & m.VM_EXEC else '-'}{'s' if flags & m.VM_MAYSHARE else 'p'} "
        f"{pgoff:08x} {major:02x}:{minor:02x} "
        f"{inode} "
    )
    name = vma_name(vma).replace("\n", "\\012")
    if name:
        text = text.ljust(NAME_COLUMN) + name
    return (text + "\n").encode("utf-8", "surrogateescape")


class Usage:
    """What smaps says about the pages of VMAs, in bytes (struct mem_size_stats)."""

    def __init__(self) -> None:
        self.rss = self.shared_clean = self.shared_dirty = self.private_clean = self.private_dirty = 0
        self.referenced = self.anonymous = self.lazyfree = 0
        # Shares of pages that several map, in bytes << PSS_SHIFT: of all, and of those that are dirty, by kind, locked.
        self.pss = self.pss_dirty = self.pss_anon = self.pss_file = self.pss_shmem = self.pss_locked = 0

    def add(self, vma: vm_area_struct) -> None:
        """Count the pages that a VMA maps."""
        mm = vma.vm_mm
        table, format, memory = mm.pgtable, mm.pgtable.format, mm.memory
        for address in range(vma.vm_start, vma.vm_end, PAGE_SIZE):
            slot = table.slot(address)
            pte = table.get(slot) if slot >= 0 else 0
            if not pte or not format.pte_present(pte) or format.pte_special(pte):
                continue
            frame = memory.mem_map[(pte & format.pfn_mask) >> PAGE_SHIFT]
            if frame is None or not frame._mapcount:
                continue
            self.rss += PAGE_SIZE
            dirty = format.pte_dirty(pte) or frame.dirty
            anonymous = isinstance(frame.mapping, anon_vma)
            if format.pte_young(pte):
                self.referenced += PAGE_SIZE
            if anonymous:
                self.anonymous += PAGE_SIZE
                if not dirty:
                    self.lazyfree += PAGE_SIZE
            share = (PAGE_SIZE << PSS_SHIFT) // frame._mapcount
            self.pss += share
            if dirty:
                self.pss_dirty += share
            if anonymous:
                self.pss_anon += share
            elif isinstance(frame.mapping, address_space) and frame.mapping.shmem:
                self.pss_shmem += share
            else:
                self.pss_file += share
            if vma.vm_flags & m.VM_LOCKED:
                self.pss_locked += share
            if frame._mapcount > 1:
                if dirty:
                    self.shared_dirty += PAGE_SIZE
                else:
                    self.shared_clean += PAGE_SIZE
            elif dirty:
                self.private_dirty += PAGE_SIZE
            else:
                self.private_clean += PAGE_SIZE

    def show(self, rollup: bool = False) -> str:
        """The lines of smaps from Rss on (__show_smap). There are no huge pages and no swap, and KSM never runs."""
        kinds = (
            ("Pss_Anon", self.pss_anon >> PSS_SHIFT), ("Pss_File", self.pss_file >> PSS_SHIFT),
            ("Pss_Shmem", self.pss_shmem >> PSS_SHIFT),
        )  # fmt: skip
        rows = (
            ("Rss", self.rss), ("Pss", self.pss >> PSS_SHIFT), ("Pss_Dirty", self.pss_dirty >> PSS_SHIFT),
            *(kinds if rollup else ()),
            ("Shared_Clean", self.shared_clean),
            ("Shared_Dirty", self.shared_dirty), ("Private_Clean", self.private_clean),
            ("Private_Dirty", self.private_dirty), ("Referenced", self.referenced), ("Anonymous", self.anonymous),
            ("KSM", 0), ("LazyFree", self.lazyfree), ("AnonHugePages", 0), ("ShmemPmdMapped", 0), ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0), ("Private_Hugetlb", 0), ("Swap", 0), ("SwapPss", 0),
            ("Locked", self.pss_locked >> PSS_SHIFT),
        )  # fmt: skip
        return "".join(f"{name + ':':16}{value >> 10:8d} kB\n" for name, value in rows)


def show_smap(vma: vm_area_struct) -> bytes:
    """The record of one VMA in smaps."""
    usage = Usage()
    usage.add(vma)
    key = vma_pkey(vma) if arch_max_pkey(vma.vm_mm) > 1 else -1
    return show_map_vma(vma) + _details(vma.vm_end - vma.vm_start, usage, vma.vm_flags, key)


def _details(size: int, usage: Usage, vm_flags: int, pkey: int) -> bytes:
    """The lines of smaps below the one of maps; `pkey`: -1 on a CPU without protection keys."""
    text = f"{'Size:':16}{size >> 10:8d} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n{usage.show()}"
    text += "THPeligible:           0\n"
    if pkey >= 0:
        text += f"ProtectionKey:  {pkey:8d}\n"
    flags = "".join(f"{short} " for name, short in m.VM_FLAG_LETTERS if vm_flags & getattr(m, name, 0))
    return f"{text}VmFlags: {flags}\n".encode()


def smaps_rollup(mm: mm_struct) -> str:
    """smaps_rollup: the sum of all VMAs."""
    mmap_read_lock(mm)
    usage = Usage()
    start = end = 0
    for vma in mm.mm_mt:
        start = start or vma.vm_start
        end = vma.vm_end
        usage.add(vma)
    mmap_read_unlock(mm)
    return f"{start:08x}-{end:08x} ---p 00000000 00:00 0 ".ljust(NAME_COLUMN) + "[rollup]\n" + usage.show(rollup=True)


class MapsRecords(SeqOperations):
    """The VMAs one after another; a position is the end of the VMA before. A reader of smaps holds mmap_lock, one of
    maps too where the scheme has no way to walk by VMA locks."""

    def __init__(self, mm: mm_struct, details: bool) -> None:
        self.mm = mm
        self.details = details
        self.locks = details or mm.scheme.name != "6.18"
        self.gate = mm.pgtable.format.shifts[0] == 39 and mm.task_size == (1 << 47) - PAGE_SIZE

    def start(self) -> None:
        if self.locks:
            mmap_read_lock(self.mm)

    def stop(self) -> None:
        if self.locks:
            mmap_read_unlock(self.mm)

    def show(self, position: int) -> tuple[bytes, int] | None:
        if position == _END:
            return None
        vma = None if position == _GATE else next(self.mm.mm_mt.iterate(position), None)
        if vma is None:
            if not self.gate:
                return None
            if not self.details:
                return VSYSCALL, _END
            key = 0 if arch_max_pkey(self.mm) > 1 else -1
            return VSYSCALL + _details(PAGE_SIZE, Usage(), m.VM_EXEC, key), _END
        return (show_smap(vma) if self.details else show_map_vma(vma)), vma.vm_end

    def at_end(self, position: int) -> bool:
        return position == _END


class PagemapFile(File):
    """pagemap: eight bytes for each page of the address space."""

    can_write = False
    seekable = True

    def __init__(self, dentry: Dentry, flags: int, task: Current) -> None:
        self.mm = task.mm
        super().__init__(dentry, flags)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        """pagemap_read: whole entries only, a piece of the address space at a time under mmap_lock."""
        if iocb.pos % 8 or to.count % 8:
            return -errno.EINVAL
        mm = self.mm
        address = iocb.pos // 8 << PAGE_SHIFT
        end = min(mm.task_size, address + (to.count // 8 << PAGE_SHIFT))
        copied = 0
        order = ">" if mm.pgtable.swap_bytes else "<"
        if to.count and address < 1 << 64:  # untagged_addr_remote
            mmap_read_lock(mm)
            mmap_read_unlock(mm)
        while address < end:
            stop = min(end, (address & -_PAGEMAP_CHUNK) + _PAGEMAP_CHUNK)
            mmap_read_lock(mm)
            entries = [self._entry(at) for at in range(address, stop, PAGE_SIZE)]
            mmap_read_unlock(mm)
            data = struct.pack(f"{order}{len(entries)}Q", *entries)
            done = to.copy_to_iter(data)
            copied += done
            if done < len(data):
                return -errno.EFAULT
            address = stop
        iocb.pos += copied
        return copied

    def _entry(self, address: int) -> int:
        mm = self.mm
        vma = mm.mm_mt.load(address)
        if vma is None:
            return 0
        slot = mm.pgtable.slot(address)
        pte = mm.pgtable.get(slot) if slot >= 0 else 0
        format = mm.pgtable.format
        if not pte or not format.pte_present(pte):
            return PM_SOFT_DIRTY
        pfn = (pte & format.pfn_mask) >> PAGE_SHIFT
        entry = PM_PRESENT | PM_SOFT_DIRTY | pfn
        frame = mm.memory.mem_map[pfn]
        if frame is not None and not format.pte_special(pte):
            if hasattr(frame.mapping, "host"):
                entry |= PM_FILE
            if frame._mapcount == 1:
                entry |= PM_MMAP_EXCLUSIVE
        return entry
