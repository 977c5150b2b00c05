# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap, munmap, brk, the choice of addresses, and the end of an address space (mm/mmap.c)."""

from __future__ import annotations

from errno import EACCES, EAGAIN, EEXIST, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM

from emu.mm.gup import mm_populate
from emu.mm.memory import free_pgtables, unmap_vmas
from emu.mm.mm_types import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    PKEY_SHIFT,
    VM_ACCOUNT,
    VM_DONTDUMP,
    VM_DROPPABLE,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_SHARED,
    VM_SYNC,
    VM_WIPEONFORK,
    file,
    mm_struct,
    vm_area_struct,
    vma_pages,
)
from emu.mm.mmap_lock import (
    mmap_assert_write_locked,
    mmap_read_lock,
    mmap_read_lock_killable,
    mmap_read_unlock,
    mmap_write_lock,
    mmap_write_lock_killable,
    mmap_write_unlock,
)
from emu.mm.overcommit import OVERCOMMIT_NEVER, vm_unacct_memory
from emu.mm.pkeys import execute_only_pkey
from emu.mm.vma import (
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    do_align_munmap,
    do_brk_flags,
    do_munmap,
    mlock_future_ok,
    mmap_region,
    remove_vma,
    vm_start_gap,
)

PROT_READ, PROT_WRITE, PROT_EXEC, PROT_SEM = 1, 2, 4, 8
MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE, MAP_DROPPABLE, MAP_TYPE = 1, 2, 3, 8, 15
MAP_FIXED, MAP_ANONYMOUS, MAP_32BIT = 0x10, 0x20, 0x40
MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE = 0x100, 0x2000, 0x4000
MAP_POPULATE, MAP_NONBLOCK, MAP_STACK, MAP_HUGETLB = 0x8000, 0x10000, 0x20000, 0x40000
MAP_SYNC, MAP_FIXED_NOREPLACE = 0x80000, 0x100000
_LEGACY_MAP_MASK = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | 0x800 | 0x1000 | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE
    | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT | 0x7C000000
)  # fmt: skip
FMODE_READ, FMODE_WRITE = 1, 2
PMD_SIZE = 2 << 20  # what large mappings are aligned to, so that huge pages could back them

_MIN_GAP = 128 << 20
_MASK64 = (1 << 64) - 1


def mmap_base(task_size: int, rlimit_stack: int, stack_guard_gap: int) -> int:
    """Top of the mmap area, nothing randomised: below the largest stack that the limit allows, within bounds
    (mmap_base)."""
    gap = rlimit_stack
    if gap + stack_guard_gap > gap:
        gap += stack_guard_gap
    gap = max(_MIN_GAP, min(gap, task_size // 6 * 5))
    return task_size - gap + PAGE_SIZE - 1 & PAGE_MASK


def find_vma(mm: mm_struct, address: int) -> vm_area_struct | None:
    """The first VMA that ends above `address`. mmap_lock held."""
    return mm.mm_mt.find(address)


# Choosing an address


def vm_unmapped_area_topdown(mm: mm_struct, length: int, low: int, high: int) -> int:
    """The highest hole of [low, high) with room for `length` bytes and the gaps of its neighbours, or -ENOMEM."""
    low = max(low, mm.memory.mmap_min_addr)
    for start, end, above in mm.mm_mt.holes_down(low, high, length):
        if above is not None:
            end = min(end, max(vm_start_gap(mm, above), 0))
        if end - start >= length:
            return end - length
    return -ENOMEM


def vm_unmapped_area(mm: mm_struct, length: int, low: int, high: int) -> int:
    """The lowest such hole, or -ENOMEM."""
    low = max(low, mm.memory.mmap_min_addr)
    for start, end, above in mm.mm_mt.holes_up(low, high, length):
        if above is not None:
            end = min(end, vm_start_gap(mm, above))
        if end - start >= length:
            return start
    return -ENOMEM


def _arch_get_unmapped_area(mm: mm_struct, addr: int, length: int, flags: int) -> int:
    """arch_get_unmapped_area_topdown, and arch_get_unmapped_area where mappings go upwards."""
    if length > mm.task_size - mm.memory.mmap_min_addr:
        return -ENOMEM
    if flags & MAP_FIXED:
        return addr
    if flags & MAP_32BIT:
        return vm_unmapped_area(mm, length, 0x40000000, 0x80000000)
    if addr:
        addr = addr + PAGE_SIZE - 1 & PAGE_MASK
        if mm.task_size - length >= addr:
            vma = mm.mm_mt.find(addr)
            if vma is None or addr + length <= vm_start_gap(mm, vma):
                return addr
    found = vm_unmapped_area_topdown(mm, length, PAGE_SIZE, mm.mmap_base) if mm.top_down else -ENOMEM
    if found < 0:
        found = vm_unmapped_area(mm, length, mm.mmap_legacy_base, mm.task_size)
    return found


def _thp_get_unmapped_area(mm: mm_struct, length: int, offset: int, flags: int) -> int:
    """An address at which a huge page could map the object: aligned to it modulo PMD_SIZE; 0 when there is no use or
    room."""
    end = offset + length
    aligned = offset + PMD_SIZE - 1 & -PMD_SIZE
    if end <= aligned or end - aligned < PMD_SIZE:
        return 0
    found = _arch_get_unmapped_area(mm, 0, length + PMD_SIZE, flags)
    if found < 0:
        return 0
    shift = offset - found & PMD_SIZE - 1
    return found + (shift or PMD_SIZE)


def get_unmapped_area(mm: mm_struct, target: file | None, addr: int, length: int, pgoff: int, flags: int) -> int:
    """The address for a mapping: the hint where it is free, else the highest room (__get_unmapped_area). -errno."""
    if length > mm.task_size:
        return -ENOMEM
    found = 0
    if not flags & (MAP_FIXED | MAP_32BIT) and not addr:
        if target is None:
            if not flags & MAP_SHARED and length % PMD_SIZE == 0:
                found = _thp_get_unmapped_area(mm, length, 0, flags)
        elif target.aligns_huge:
            found = _thp_get_unmapped_area(mm, length, pgoff << PAGE_SHIFT, flags)
    if not found:
        found = _arch_get_unmapped_area(mm, addr, length, flags)
    if found < 0:
        return found
    if found > mm.task_size - length:
        return -ENOMEM
    if found & PAGE_SIZE - 1:
        return -EINVAL
    if found < mm.memory.dac_mmap_min_addr and not mm.privileged:  # cap_mmap_addr
        return -EPERM
    return found


# mmap


def _calc_vm_flags(prot: int, flags: int) -> int:
    result = prot & 7
    if flags & MAP_GROWSDOWN:
        result |= VM_GROWSDOWN
    if flags & MAP_LOCKED:
        result |= VM_LOCKED
    if flags & MAP_SYNC:
        result |= VM_SYNC
    if flags & MAP_STACK:
        result |= VM_NOHUGEPAGE
    return result


def do_mmap(
    mm: mm_struct, target: file | None, addr: int, length: int, prot: int, flags: int, pgoff: int, vm_flags: int = 0
) -> tuple[int, int]:
    """(address or -errno, bytes to populate). mmap_lock held for write. `pgoff` in pages, `length` in bytes."""
    mmap_assert_write_locked(mm)
    if not length:
        return -EINVAL, 0
    if mm.read_implies_exec and prot & PROT_READ:
        prot |= PROT_EXEC
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:  # round_hint_to_min
        addr &= PAGE_MASK
        if addr and addr < mm.memory.mmap_min_addr:
            addr = mm.memory.mmap_min_addr + PAGE_SIZE - 1 & PAGE_MASK
    word_mask = _MASK64 if mm.task_size >> 32 else 0xFFFFFFFF
    length = length + PAGE_SIZE - 1 & PAGE_MASK & word_mask
    if not length:
        return -ENOMEM, 0
    if pgoff + (length >> PAGE_SHIFT) > word_mask:
        return -EOVERFLOW, 0
    if mm.map_count > mm.memory.max_map_count:
        return -ENOMEM, 0
    vm_flags |= _calc_vm_flags(prot, flags) | mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    addr = get_unmapped_area(mm, target, addr, length, pgoff, flags)
    if addr < 0:
        return addr, 0
    if flags & MAP_FIXED_NOREPLACE and next(mm.mm_mt.iterate(addr, addr + length), None) is not None:
        return -EEXIST, 0
    if prot == PROT_EXEC:
        vm_flags |= max(0, execute_only_pkey(mm)) << PKEY_SHIFT
    if flags & MAP_LOCKED and not mm.capable_ipc_lock and mm.rlimit(RLIMIT_MEMLOCK) == 0:
        return -EPERM, 0
    if not mlock_future_ok(mm, vm_flags, length):
        return -EAGAIN, 0
    kind = flags & MAP_TYPE
    if target is not None:
        if pgoff > (1 << 63) - 1 - length >> PAGE_SHIFT:  # file_mmap_ok
            return -EOVERFLOW, 0
        if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
            if kind == MAP_SHARED:
                flags &= _LEGACY_MAP_MASK
            elif flags & ~(_LEGACY_MAP_MASK | 3):
                return -EOPNOTSUPP, 0
            if prot & PROT_WRITE and not target.f_mode & FMODE_WRITE:
                return -EACCES, 0
            vm_flags |= VM_SHARED | VM_MAYSHARE
            if not target.f_mode & FMODE_WRITE:
                vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
        elif kind != MAP_PRIVATE:
            return -EINVAL, 0
        if not target.f_mode & FMODE_READ:
            return -EACCES, 0
        if getattr(target, "mmap", None) is None:
            return -ENODEV, 0
        if vm_flags & VM_GROWSDOWN:
            return -EINVAL, 0
        check_seals = getattr(target, "check_seals_mmap", None)
        if check_seals is not None:
            vm_flags = check_seals(vm_flags)
            if vm_flags < 0:
                return vm_flags, 0
    elif kind == MAP_SHARED:
        if vm_flags & VM_GROWSDOWN:
            return -EINVAL, 0
        pgoff = 0
        vm_flags |= VM_SHARED | VM_MAYSHARE
    elif kind == MAP_DROPPABLE:
        if flags & (MAP_LOCKED | MAP_HUGETLB) or vm_flags & VM_GROWSDOWN:
            return -EINVAL, 0
        vm_flags |= VM_DROPPABLE | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP
        pgoff = addr >> PAGE_SHIFT
    elif kind == MAP_PRIVATE:
        pgoff = addr >> PAGE_SHIFT
    else:
        return -EINVAL, 0
    if flags & MAP_NORESERVE and mm.memory.overcommit_memory != OVERCOMMIT_NEVER:
        vm_flags |= VM_NORESERVE
    addr = mmap_region(mm, target, addr, length, vm_flags, pgoff)
    populate = 0
    if addr >= 0 and (vm_flags & VM_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE):
        populate = length
    return addr, populate


def vm_mmap_pgoff(mm: mm_struct, target: file | None, addr: int, length: int, prot: int, flags: int, pgoff: int) -> int:
    """mmap: take the lock, map, populate. The address or -errno."""
    if mmap_write_lock_killable(mm):
        return -4
    result, populate = do_mmap(mm, target, addr, length, prot, flags, pgoff)
    mmap_write_unlock(mm)
    if populate:
        mm_populate(mm, result, populate)
    return result


def _same_file_up_to(mm: mm_struct, vma: vm_area_struct, end: int) -> bool:
    """Do VMAs of the same file and flags follow each other without a hole from `vma` to `end`."""
    while vma.vm_end < end:
        after = mm.mm_mt.load(vma.vm_end)
        if after is None or after.vm_file is not vma.vm_file or after.vm_flags != vma.vm_flags:
            return False
        vma = after
    return True


def sys_remap_file_pages(mm: mm_struct, start: int, size: int, prot: int, pgoff: int, flags: int) -> int:
    """Show other pages of the file at [start, start+size) of a shared mapping: as Linux has it since 4.0, a mapping
    of its own. 0 or -errno."""
    word_mask = _MASK64 if mm.task_size >> 32 else 0xFFFFFFFF
    start, size = start & PAGE_MASK, size & PAGE_MASK
    if prot or not size or start + size > word_mask or pgoff + (size >> PAGE_SHIFT) > word_mask:
        return -EINVAL
    if mmap_read_lock_killable(mm):
        return -4
    vma = mm.mm_mt.load(start)
    if vma is None or not vma.vm_flags & VM_SHARED:
        mmap_read_unlock(mm)
        return -EINVAL
    seen, target = vma.vm_flags, vma.vm_file
    assert target is not None
    target.get()
    mmap_read_unlock(mm)
    if mmap_write_lock_killable(mm):
        target.put()
        return -4
    result, populate = -EINVAL, 0
    vma = mm.mm_mt.load(start)  # it may have changed in between
    if vma is not None and vma.vm_flags == seen and vma.vm_file is target and _same_file_up_to(mm, vma, start + size):
        flags = flags & MAP_NONBLOCK | MAP_SHARED | MAP_FIXED | MAP_POPULATE
        if seen & VM_LOCKED:
            flags |= MAP_LOCKED
        # VM_READ, VM_WRITE and VM_EXEC are numbered as PROT_*
        prot = seen & (PROT_READ | PROT_WRITE | PROT_EXEC)
        result, populate = do_mmap(mm, target, start, size, prot, flags, pgoff)
    mmap_write_unlock(mm)
    target.put()
    if populate:
        mm_populate(mm, result, populate)
    return min(result, 0)


def ksys_munmap(mm: mm_struct, addr: int, length: int) -> int:
    """munmap. 0 or -errno."""
    return _vm_munmap(mm, addr, length, unlock=True)


def vm_munmap(mm: mm_struct, addr: int, length: int) -> int:
    """The kernel's own munmap, which keeps the lock for write to the end. 0 or -errno."""
    return _vm_munmap(mm, addr, length, unlock=False)


def _vm_munmap(mm: mm_struct, addr: int, length: int, unlock: bool) -> int:
    if mmap_write_lock_killable(mm):
        return -4
    result = do_munmap(mm, addr, length, unlock=unlock)
    if result or not unlock:
        mmap_write_unlock(mm)
    return result


# brk


def check_brk_limits(mm: mm_struct, addr: int, length: int) -> int:
    """May the heap have [addr, addr+length)."""
    found = get_unmapped_area(mm, None, addr, length, 0, MAP_FIXED)
    if found < 0:
        return found
    return 0 if mlock_future_ok(mm, mm.def_flags, length) else -EAGAIN


def sys_brk(mm: mm_struct, brk: int) -> int:
    """Move the end of the heap; the new end, or the old one where that is refused."""
    if mmap_write_lock_killable(mm):
        return -4
    old = mm.brk
    if brk < mm.start_brk:
        mmap_write_unlock(mm)
        return old
    # check_data_rlimit
    limit = mm.rlimit(RLIMIT_DATA)
    if limit < _MASK64 and brk - mm.start_brk + (mm.end_data - mm.start_data) > limit:
        mmap_write_unlock(mm)
        return old
    newbrk = brk + PAGE_SIZE - 1 & PAGE_MASK
    oldbrk = old + PAGE_SIZE - 1 & PAGE_MASK
    if oldbrk == newbrk:
        mm.brk = brk
        mmap_write_unlock(mm)
        return brk
    if brk <= old:
        vma = mm.mm_mt.find(newbrk)
        if vma is None or vma.vm_start >= oldbrk:
            mmap_write_unlock(mm)
            return old
        mm.brk = brk
        if do_align_munmap(mm, newbrk, oldbrk, unlock=True):
            mm.brk = old
            mmap_write_unlock(mm)
            return old
        return brk
    if newbrk > mm.task_size or check_brk_limits(mm, oldbrk, newbrk - oldbrk):
        mmap_write_unlock(mm)
        return old
    above = mm.mm_mt.find(oldbrk)
    if above is not None and newbrk + PAGE_SIZE > vm_start_gap(mm, above):
        mmap_write_unlock(mm)
        return old
    # The VMA below counts only if it is heap: the first brk never extends the bss.
    below = mm.mm_mt.load(oldbrk - 1) if oldbrk > mm.start_brk else None
    if do_brk_flags(mm, below, oldbrk, newbrk - oldbrk, 0):
        mmap_write_unlock(mm)
        return old
    mm.brk = brk
    populate = mm.def_flags & VM_LOCKED
    mmap_write_unlock(mm)
    if populate:
        mm_populate(mm, oldbrk, newbrk - oldbrk)
    return brk


def vm_brk_flags(mm: mm_struct, addr: int, length: int, executable: bool) -> int:
    """A zeroed private mapping for a program's bss, made by exec. 0 or -errno."""
    length = length + PAGE_SIZE - 1 & PAGE_MASK
    if not length:
        return 0
    if mmap_write_lock_killable(mm):
        return -4
    result = check_brk_limits(mm, addr, length) or do_munmap(mm, addr, length, unlock=False)
    if not result:
        result = do_brk_flags(mm, mm.mm_mt.prev(addr), addr, length, VM_EXEC if executable else 0)
    populate = mm.def_flags & VM_LOCKED
    mmap_write_unlock(mm)
    if populate and not result:
        mm_populate(mm, addr, length)
    return result


def exit_mmap(mm: mm_struct) -> None:
    """Tear the address space down: mmap_lock for read while pages go, for write while tables do (exit_mmap)."""
    mmap_read_lock(mm)
    vmas = list(mm.mm_mt)
    if vmas:
        unmap_vmas(mm, vmas, 0, 1 << 64)
    mmap_read_unlock(mm)
    mmap_write_lock(mm)
    free_pgtables(mm, vmas, 0, 0, True)
    accounted = 0
    for vma in vmas:
        mm.scheme.vma_start_write(vma, "exit_mmap")
    mm.mm_mt.replace(vmas, ())
    for vma in vmas:
        if vma.vm_flags & VM_ACCOUNT:
            accounted += vma_pages(vma)
        mm.scheme.vma_mark_detached(vma)
        mm.map_count -= 1
        remove_vma(vma, teardown=True)
    mmap_write_unlock(mm)
    mm.scheme.drain_free_vmas(mm)
    vm_unacct_memory(mm.memory, accounted)
    mm.memory.rcu.quiescent()
    mm.pgtable.destroy()
