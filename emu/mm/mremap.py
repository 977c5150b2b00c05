# SPDX-License-Identifier: GPL-2.0-or-later
"""Resizing and moving mappings (mm/mremap.c)."""

from __future__ import annotations

from errno import EAGAIN, EFAULT, EINTR, EINVAL, ENOMEM, EPERM

from emu.mm.gup import mm_populate
from emu.mm.memory import move_page_tables
from emu.mm.mm_types import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SEALED,
    VM_SHARED,
    mm_struct,
    vm_area_struct,
)
from emu.mm.mmap import MAP_FIXED, MAP_SHARED, get_unmapped_area
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_unlock
from emu.mm.overcommit import vm_acct_memory, vm_enough_memory, vm_unacct_memory
from emu.mm.rmap import unlink_anon_vmas
from emu.mm.vma import (
    copy_vma,
    do_munmap,
    extend_vma,
    may_expand_vm,
    mlock_future_ok,
    trace_vma_modify,
    vm_stat_account,
)

MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4


def _check_params(mm: mm_struct, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """What is refused before any lock is taken (check_mremap_params)."""
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or addr & PAGE_SIZE - 1:
        return -EINVAL
    if not new_len or new_len > mm.task_size:
        return -EINVAL
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return 0
    if new_addr & PAGE_SIZE - 1 or new_addr > mm.task_size - new_len:
        return -EINVAL
    if not flags & MREMAP_MAYMOVE:
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and old_len != new_len:
        return -EINVAL
    if addr + old_len > new_addr and new_addr + new_len > addr:
        return -EINVAL
    if mm.map_count >= mm.memory.max_map_count - 3:
        return -ENOMEM
    return 0


def _check_vma(mm: mm_struct, vma: vm_area_struct | None, addr: int, old_len: int, new_len: int, flags: int) -> int:
    """What the mapping forbids (check_prep_vma)."""
    if vma is None:
        return -EFAULT
    if vma.vm_flags & VM_SEALED:
        return -EPERM
    if old_len >= new_len and not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):  # nothing new will be mapped
        return 0
    if not old_len and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -EINVAL
    old_len = min(old_len, new_len)  # what a shrink unmaps may reach beyond the mapping
    if old_len > vma.vm_end - addr:
        return -EFAULT
    if new_len == old_len:
        return 0
    pgoff = (addr - vma.vm_start >> PAGE_SHIFT) + vma.vm_pgoff
    if pgoff + (new_len >> PAGE_SHIFT) >= 1 << 64:
        return -EINVAL
    if vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -EFAULT
    if not mlock_future_ok(mm, vma.vm_flags, new_len - old_len):
        return -EAGAIN
    if not may_expand_vm(mm, vma.vm_flags, new_len - old_len >> PAGE_SHIFT):
        return -ENOMEM
    return 0


def sys_mremap(mm: mm_struct, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """mremap: the new address or -errno."""
    mask = (1 << 64) - 1 if mm.task_size >> 32 else 0xFFFFFFFF
    old_len = old_len + PAGE_SIZE - 1 & PAGE_MASK & mask
    new_len = new_len + PAGE_SIZE - 1 & PAGE_MASK & mask
    error = _check_params(mm, addr, old_len, new_len, flags, new_addr)
    if error:
        return error
    if mmap_write_lock_killable(mm):
        return -EINTR
    call = _Mremap(mm, addr, old_len, new_len, flags, new_addr)
    result = call.run()
    if call.locked:
        mmap_write_unlock(mm)
    if result >= 0 and call.populate:
        mm_populate(mm, result + old_len, new_len - old_len)
    return result


class _Mremap:
    """One call (struct vma_remap_struct). `locked`: mmap_lock is still held; `populate`: the new part is to be
    faulted in."""

    def __init__(self, mm: mm_struct, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> None:
        self.mm = mm
        self.addr = addr
        self.old_len = old_len
        self.new_len = new_len
        self.flags = flags
        self.new_addr = new_addr
        self.locked = True
        self.populate = False

    def run(self) -> int:
        mm = self.mm
        vma = mm.mm_mt.load(self.addr)
        fixed = self.flags & MREMAP_FIXED
        if fixed and self.old_len == self.new_len and vma is not None:
            if self.addr + self.old_len > vma.vm_end:
                return self._move_several()
        error = _check_vma(mm, vma, self.addr, self.old_len, self.new_len, self.flags)
        if error:
            return error
        assert vma is not None
        if self.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
            return self._move_to(vma)
        if self.old_len > self.new_len:
            error = do_munmap(mm, self.addr + self.new_len, self.old_len - self.new_len, unlock=True)
            if error:
                return error
            self.locked = False
            return self.addr
        if self.old_len == self.new_len:
            return self.addr
        if self._expandable(vma):
            return self._expand(vma)
        if not self.flags & MREMAP_MAYMOVE:
            return -ENOMEM
        error = self._choose_address(vma)
        return error if error else self._move(vma)

    def _expandable(self, vma: vm_area_struct) -> bool:
        """Does the mapping end here with room behind it (vma_expandable)."""
        if self.old_len != vma.vm_end - self.addr:
            return False
        end = vma.vm_end + self.new_len - self.old_len
        if end < vma.vm_end or next(self.mm.mm_mt.iterate(vma.vm_end, end), None) is not None:
            return False
        return get_unmapped_area(self.mm, None, vma.vm_start, end - vma.vm_start, 0, MAP_FIXED) == vma.vm_start

    def _expand(self, vma: vm_area_struct) -> int:
        mm = self.mm
        pages = self.new_len - self.old_len >> PAGE_SHIFT
        if vma.vm_flags & VM_ACCOUNT and not vm_enough_memory(mm, pages):
            return -ENOMEM
        grown = extend_vma(vma, vma.vm_end + self.new_len - self.old_len)
        vm_stat_account(mm, grown.vm_flags, pages)
        if grown.vm_flags & VM_LOCKED:
            mm.locked_vm += pages
            self.populate = True
        return self.addr

    def _choose_address(self, vma: vm_area_struct) -> int:
        """vrm_set_new_addr: 0 or -errno."""
        flags = 0
        if self.flags & MREMAP_FIXED:
            flags |= MAP_FIXED
        if vma.vm_flags & VM_MAYSHARE:
            flags |= MAP_SHARED
        pgoff = vma.vm_pgoff + (self.addr - vma.vm_start >> PAGE_SHIFT)
        hint = self.new_addr if self.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) else 0
        found = get_unmapped_area(self.mm, vma.vm_file, hint, self.new_len, pgoff, flags)
        if found < 0:
            return found
        self.new_addr = found
        return 0

    def _move_to(self, vma: vm_area_struct) -> int:
        """mremap_to."""
        mm = self.mm
        if self.flags & MREMAP_FIXED:
            error = do_munmap(mm, self.new_addr, self.new_len, unlock=False)
            if error:
                return error
            again = mm.mm_mt.load(self.addr)
            if again is None:
                return -EFAULT
            vma = again
        if self.old_len > self.new_len:
            error = do_munmap(mm, self.addr + self.new_len, self.old_len - self.new_len, unlock=False)
            if error:
                return error
            self.old_len = self.new_len
            again = mm.mm_mt.load(self.addr)
            assert again is not None
            vma = again
        if self.flags & MREMAP_DONTUNMAP and not may_expand_vm(mm, vma.vm_flags, self.old_len >> PAGE_SHIFT):
            return -ENOMEM
        return self._choose_address(vma) or self._move(vma)

    def _move_several(self) -> int:
        """A range of several mappings, moved one by one with the holes between them (remap_move)."""
        mm = self.mm
        start, end, target = self.addr, self.addr + self.old_len, self.new_addr
        result = target
        first = True
        while start < end:
            vma = next(mm.mm_mt.iterate(start, end), None)
            if vma is None:
                break
            if first and vma.vm_start > start:
                return -EFAULT
            at = max(start, vma.vm_start)
            length = min(end, vma.vm_end) - at
            stop = vma.vm_end
            call = _Mremap(mm, at, length, length, self.flags, target + at - self.addr)
            error = _check_vma(mm, vma, at, length, length, self.flags)
            moved = error or call._move_to(vma)
            if moved < 0:
                return moved
            first = False
            start = stop
        return result

    def _move(self, vma: vm_area_struct) -> int:
        """move_vma: copy the VMA, move its pages, unmap what was there."""
        mm = self.mm
        memory = mm.memory
        keep = bool(self.flags & MREMAP_DONTUNMAP)
        if mm.map_count >= memory.max_map_count - 3:
            return -ENOMEM
        flags = vma.vm_flags
        accounted = bool(flags & VM_ACCOUNT)
        charge = (self.new_len if keep or not self.old_len else self.new_len - self.old_len) >> PAGE_SHIFT
        if accounted and not vm_enough_memory(mm, charge):
            return -ENOMEM
        memory.sched.charge(memory.sched.cost.mremap_move)
        mm.scheme.vma_start_write(vma, "move_vma")
        pgoff = vma.vm_pgoff + (self.addr - vma.vm_start >> PAGE_SHIFT)
        old_start = vma.vm_start
        new = copy_vma(vma, self.new_addr, self.new_len, pgoff)
        if isinstance(new, int):
            if accounted:
                vm_unacct_memory(memory, charge)
            return new
        if new.vm_start <= old_start < new.vm_end:  # they became one
            vma = new
        vm_stat_account(mm, flags, self.new_len >> PAGE_SHIFT)
        moved = move_page_tables(vma, self.addr, new, self.new_addr, self.old_len)
        if moved < self.old_len:
            move_page_tables(new, self.new_addr, vma, self.addr, moved)
            if accounted:
                vm_acct_memory(memory, (self.new_len >> PAGE_SHIFT) - charge)
            do_munmap(mm, self.new_addr, self.new_len, unlock=False)
            return -ENOMEM
        if flags & VM_LOCKED:
            mm.locked_vm += self.new_len >> PAGE_SHIFT
            self.populate = self.new_len > self.old_len
        if keep:
            source = mm.mm_mt.load(self.addr)
            assert source is not None
            mm.scheme.vma_start_write(source, "dontunmap_complete")
            if source.vm_flags & VM_LOCKED:
                mm.locked_vm -= self.old_len >> PAGE_SHIFT
                source.vm_flags &= ~VM_LOCKED_MASK
                trace_vma_modify(source)
            if source is not new and source.vm_start == self.addr and source.vm_end == self.addr + self.old_len:
                unlink_anon_vmas(source)
            return self.new_addr
        if self.old_len:
            hiwater_vm = mm.hiwater_vm  # being in two places for a moment is no new peak
            if accounted:  # the charge of the old place goes with the pages
                vm_acct_memory(memory, self.old_len >> PAGE_SHIFT)
            error = do_munmap(mm, self.addr, self.old_len, unlock=False)
            if error and accounted:
                vm_unacct_memory(memory, self.old_len >> PAGE_SHIFT)
            mm.hiwater_vm = hiwater_vm
        return self.new_addr
