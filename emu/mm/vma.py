# SPDX-License-Identifier: GPL-2.0-or-later
"""Making, merging, splitting, growing and removing VMAs (mm/vma.c).

All of it runs with mmap_lock held for write. Every VMA is write-locked before it changes.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOMEM, EPERM
from typing import TYPE_CHECKING, Any

from emu.mm.filemap import vma_set_page_prot
from emu.mm.memory import free_pgtables, unmap_vmas
from emu.mm.mm_types import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_ACCOUNT,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_SEALED,
    VM_SHARED,
    VM_SPECIAL,
    VM_STICKY,
    VM_WRITE,
    file,
    map_deny_write_exec,
    mm_struct,
    vm_area_struct,
    vm_operations_struct,
    vma_pages,
)
from emu.mm.mmap_lock import mmap_assert_write_locked, mmap_read_unlock, mmap_write_downgrade
from emu.mm.overcommit import vm_acct_memory, vm_enough_memory, vm_unacct_memory
from emu.mm.rmap import anon_vma_clone, anon_vma_prepare, unlink_anon_vmas, unlink_file_vma, vma_link_file
from emu.mm.vma_init import vm_area_alloc, vm_area_dup, vm_area_free
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.mm.rmap import anon_vma

RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK, RLIMIT_AS = 2, 3, 8, 9


def _trace(kind: Kind, vma: vm_area_struct, teardown: bool = False) -> None:
    tp = vma.vm_mm.tp
    if tp.on:
        device, inode, offset = vma_place(vma)
        tp.emit(
            kind, vma.vm_start, code=int(teardown), size=vma.vm_end - vma.vm_start, flags=vma.vm_flags, vma=vma.id,
            text=vma_name(vma) or None, args=(vma.vm_mm.id, offset, device, inode),
        )  # fmt: skip


def trace_vma_modify(vma: vm_area_struct) -> None:
    """Tell listeners that the flags or the name of a VMA changed and its range did not. Whoever changes them calls it;
    with the other events it lets a reader of the trace rebuild the address space."""
    _trace(Kind.VMA_MODIFY, vma)


def vma_place(vma: vm_area_struct) -> tuple[int, int, int]:
    """(device, inode, offset in bytes) of what a VMA maps, as /proc/PID/maps tells them; zeros for no file."""
    if vma.vm_file is None:
        return 0, 0, 0
    host: Any = vma.vm_file.f_mapping.host
    return getattr(host, "s_dev", 1), getattr(host, "i_ino", 0), vma.vm_pgoff << PAGE_SHIFT


def vma_name(vma: vm_area_struct) -> str:
    """The last column of /proc/PID/maps; empty for plain anonymous memory."""
    if vma.vm_file is not None:
        if vma.anon_name is not None and vma.vm_file.f_mapping.shmem:
            return f"[anon_shmem:{vma.anon_name}]"
        return vma.vm_file.name
    name = vma_special_name(vma)
    if name is None and vma.anon_name is not None:
        return f"[anon:{vma.anon_name}]"
    return name or ""


def trace_vma_create(vma: vm_area_struct) -> None:
    """Tell listeners of a VMA that came to be outside of vma_link."""
    _trace(Kind.VMA_CREATE, vma)


def vma_special_name(vma: vm_area_struct) -> str | None:
    """The name that /proc/PID/maps shows for a VMA that is no file."""
    if vma.vm_ops is not None and vma.vm_ops.name is not None:
        return vma.vm_ops.name(vma)
    mm = vma.vm_mm
    if vma.vm_start < mm.brk and vma.vm_end > mm.start_brk:  # vma_is_initial_heap
        return "[heap]"
    if vma.vm_start <= mm.start_stack <= vma.vm_end:
        return "[stack]"
    return None


# Accounting


def is_data_mapping(flags: int) -> bool:
    """Private, writable and not a stack."""
    return flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


def vm_stat_account(mm: mm_struct, flags: int, pages: int) -> None:
    """Count pages of address space by kind."""
    mm.total_vm += pages
    if flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
        mm.exec_vm += pages
    elif flags & VM_GROWSDOWN:
        mm.stack_vm += pages
    elif is_data_mapping(flags):
        mm.data_vm += pages


def may_expand_vm(mm: mm_struct, flags: int, pages: int) -> bool:
    """Do RLIMIT_AS and RLIMIT_DATA allow `pages` more."""
    if mm.total_vm + pages > mm.rlimit(RLIMIT_AS) >> PAGE_SHIFT:
        return False
    return not (is_data_mapping(flags) and mm.data_vm + pages > mm.rlimit(RLIMIT_DATA) >> PAGE_SHIFT)


def mlock_future_ok(mm: mm_struct, flags: int, size: int) -> bool:
    """Does RLIMIT_MEMLOCK allow `size` more bytes, where they will be locked."""
    if not flags & VM_LOCKED or mm.capable_ipc_lock:
        return True
    return mm.locked_vm + (size >> PAGE_SHIFT) <= mm.rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT


def accountable_mapping(target: file | None, flags: int, noreserve: int) -> bool:
    """Is a mapping charged against the commit limit: private and writable."""
    return not flags & noreserve and flags & (VM_SHARED | VM_WRITE) == VM_WRITE


# Construction


def vma_link(vma: vm_area_struct) -> None:
    """Put a new VMA into the tree and its file; write-locked from before it can be found."""
    mm = vma.vm_mm
    mm.scheme.vma_start_write(vma, "vma_link")
    mm.mm_mt.store(vma)
    mm.scheme.vma_mark_attached(vma)
    vma_link_file(vma)
    mm.map_count += 1
    _trace(Kind.VMA_CREATE, vma)


# Merging


def _same_kind(vma: vm_area_struct, target: file | None, flags: int, name: str | None, deleted: bool) -> bool:
    """is_mergeable_vma: `deleted` says that the VMA would vanish, which its close operation forbids."""
    if (vma.vm_flags ^ flags) & ~VM_STICKY:
        return False
    if vma.vm_file is not target or vma.anon_name != name:
        return False
    return not (deleted and vma.vm_ops is not None and vma.vm_ops.close is not None)


def _anon_vmas_agree(a: anon_vma | None, b: anon_vma | None, holder: vm_area_struct | None) -> bool:
    """is_mergeable_anon_vma: the same one, or only one side has one and shares it with no parent."""
    if a is None or b is None:
        return holder is None or len(holder.anon_vma_chain) <= 1
    return a is b


def _resize(vma: vm_area_struct, start: int, end: int) -> None:
    vma.vm_pgoff += start - vma.vm_start >> PAGE_SHIFT
    vma.vm_start = start
    vma.vm_end = end


def _dup_anon_vma(dst: vm_area_struct, src: vm_area_struct) -> int:
    """Let `dst` take over the anon_vma of `src` before it takes over its pages."""
    if src.anon_vma is not None and dst.anon_vma is None:
        dst.anon_vma = src.anon_vma
        return anon_vma_clone(dst, src)
    return 0


def _mark_before_merge(mm: mm_struct, *vmas: vm_area_struct | None) -> None:
    """In a scheme in which a fault under the VMA lock may change anon_vma, VMAs are locked before it is compared."""
    if mm.scheme.marks_before_merge:
        for vma in vmas:
            if vma is not None:
                mm.scheme.vma_start_write(vma, "vma_merge")


def _remove_merged(vma: vm_area_struct) -> None:
    """A VMA whose range another one has taken over."""
    mm = vma.vm_mm
    mm.memory.sched.charge(mm.memory.sched.cost.vma_merge)
    unlink_anon_vmas(vma)
    unlink_file_vma(vma)
    mm.scheme.vma_mark_detached(vma)
    mm.map_count -= 1
    if vma.vm_file is not None:
        vma.vm_file.put()
    _trace(Kind.VMA_MERGE, vma)
    vm_area_free(vma)


def vma_merge_new_range(
    mm: mm_struct,
    start: int,
    end: int,
    flags: int,
    pgoff: int,
    target: file | None,
    name: str | None = None,
    *,
    just_expand: bool = False,
    source: vm_area_struct | None = None,
) -> vm_area_struct | None:
    """Extend a neighbour over the free range [start, end), or two over each other; None when none fits.

    `just_expand`: only the VMA before, and without looking at what is behind. `source`: the VMA whose pages move here.
    """
    if flags & VM_SPECIAL:
        return None
    source_anon = source.anon_vma if source is not None else None
    tree = mm.mm_mt
    before = tree.load(start - 1) if start else None
    after = None if just_expand else tree.load(end)
    if after is not None and after.vm_start != end:
        after = None
    _mark_before_merge(mm, before, after)
    left = (
        before is not None
        and _same_kind(before, target, flags, name, False)
        and before.vm_pgoff + vma_pages(before) == pgoff
        and _anon_vmas_agree(before.anon_vma, source_anon, before if before.anon_vma else source)
    )
    right = (
        after is not None
        and _same_kind(after, target, flags, name, False)
        and after.vm_pgoff == pgoff + (end - start >> PAGE_SHIFT)
        and _anon_vmas_agree(after.anon_vma, source_anon, after if after.anon_vma else source)
    )
    scheme = mm.scheme
    if left and right:
        assert before is not None and after is not None
        if _anon_vmas_agree(before.anon_vma, after.anon_vma, before if before.anon_vma else after) and _same_kind(
            after, target, flags, name, True
        ):
            scheme.vma_start_write(before, "vma_expand")
            scheme.vma_start_write(after, "vma_expand")
            if _dup_anon_vma(before, after) or (source is not None and _dup_anon_vma(before, source)):
                return None
            old_end = after.vm_end
            before.vm_flags |= (flags | after.vm_flags) & VM_STICKY
            _resize(before, before.vm_start, old_end)
            tree.replace((before, after), (before,))
            _remove_merged(after)
            _trace(Kind.VMA_RESIZE, before)
            return before
    if left:
        assert before is not None
        scheme.vma_start_write(before, "vma_expand")
        if source is not None and _dup_anon_vma(before, source):
            return None
        before.vm_flags |= flags & VM_STICKY
        _resize(before, before.vm_start, end)
        tree.replace((before,), (before,))
        _trace(Kind.VMA_RESIZE, before)
        return before
    if right:
        assert after is not None
        scheme.vma_start_write(after, "vma_expand")
        if source is not None and _dup_anon_vma(after, source):
            return None
        after.vm_flags |= flags & VM_STICKY
        _resize(after, start, after.vm_end)
        tree.replace((after,), (after,))
        _trace(Kind.VMA_RESIZE, after)
        return after
    return None


def vma_merge_existing_range(
    vma: vm_area_struct, start: int, end: int, flags: int, name: str | None
) -> vm_area_struct | None:
    """Give [start, end) of `vma`, which will have `flags`, to a neighbour that has them already; None when none
    fits."""
    if flags & VM_SPECIAL:
        return None
    mm = vma.vm_mm
    tree = mm.mm_mt
    at_left, at_right = start == vma.vm_start, end == vma.vm_end
    if not at_left and not at_right:
        return None
    before = tree.load(start - 1) if at_left and start else None
    after = tree.load(end) if at_right else None
    if after is not None and after.vm_start != end:
        after = None
    pgoff = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
    _mark_before_merge(mm, before, vma, after)
    whole = at_left and at_right
    if whole and vma.vm_ops is not None and vma.vm_ops.close is not None:
        return None
    left = (
        before is not None
        and _same_kind(before, vma.vm_file, flags, name, False)
        and before.vm_pgoff + vma_pages(before) == pgoff
        and _anon_vmas_agree(before.anon_vma, vma.anon_vma, before if before.anon_vma else vma)
    )
    right = (
        after is not None
        and _same_kind(after, vma.vm_file, flags, name, False)
        and after.vm_pgoff == pgoff + (end - start >> PAGE_SHIFT)
        and _anon_vmas_agree(after.anon_vma, vma.anon_vma, after if after.anon_vma else vma)
    )
    scheme = mm.scheme
    if left and right and whole:
        assert before is not None and after is not None
        if _anon_vmas_agree(before.anon_vma, after.anon_vma, before if before.anon_vma else after) and _same_kind(
            after, vma.vm_file, flags, name, True
        ):
            for each in (before, vma, after):
                scheme.vma_start_write(each, "commit_merge")
            if _dup_anon_vma(before, after if after.anon_vma is not None else vma):
                return None
            before.vm_flags |= (flags | after.vm_flags) & VM_STICKY
            _resize(before, before.vm_start, after.vm_end)
            tree.replace((before, vma, after), (before,))
            _remove_merged(vma)
            _remove_merged(after)
            _trace(Kind.VMA_RESIZE, before)
            return before
    if left:
        assert before is not None
        scheme.vma_start_write(before, "commit_merge")
        scheme.vma_start_write(vma, "commit_merge")
        if _dup_anon_vma(before, vma):
            return None
        before.vm_flags |= flags & VM_STICKY
        _resize(before, before.vm_start, end)
        if whole:
            tree.replace((before, vma), (before,))
            _remove_merged(vma)
        else:
            _resize(vma, end, vma.vm_end)
            tree.replace((before, vma), (before, vma))
            _trace(Kind.VMA_RESIZE, vma)
        _trace(Kind.VMA_RESIZE, before)
        return before
    if right:
        assert after is not None
        scheme.vma_start_write(after, "commit_merge")
        scheme.vma_start_write(vma, "commit_merge")
        if _dup_anon_vma(after, vma):
            return None
        after.vm_flags |= flags & VM_STICKY
        _resize(after, start, after.vm_end)
        if whole:
            tree.replace((vma, after), (after,))
            _remove_merged(vma)
        else:
            _resize(vma, vma.vm_start, start)
            tree.replace((vma, after), (vma, after))
            _trace(Kind.VMA_RESIZE, vma)
        _trace(Kind.VMA_RESIZE, after)
        return after
    return None


def __split_vma(vma: vm_area_struct, address: int, new_below: bool) -> vm_area_struct | int:
    """Cut at `address`: the new VMA is the lower part when `new_below`. Returns the new VMA or -errno."""
    ops = vma.vm_ops
    if ops is not None and ops.may_split is not None:
        error = ops.may_split(vma, address)
        if error:
            return error
    mm = vma.vm_mm
    mm.memory.sched.charge(mm.memory.sched.cost.vma_split)
    if mm.scheme.marks_before_merge:
        mm.scheme.vma_start_write(vma, "__split_vma")
    new = vm_area_dup(vma)
    if new_below:
        new.vm_end = address
    else:
        _resize(new, address, vma.vm_end)
    error = anon_vma_clone(new, vma)
    if error:
        vm_area_free(new)
        return error
    if new.vm_file is not None:
        new.vm_file.get()
    if ops is not None and ops.open is not None:
        ops.open(new)
    scheme = mm.scheme
    scheme.vma_start_write(vma, "vma_shrink")
    scheme.vma_start_write(new, "__split_vma")
    if new_below:
        _resize(vma, address, vma.vm_end)
    else:
        _resize(vma, vma.vm_start, address)
    mm.mm_mt.replace((vma,), (vma, new))
    scheme.vma_mark_attached(new)
    vma_link_file(new)
    mm.map_count += 1
    _trace(Kind.VMA_SPLIT, new)
    _trace(Kind.VMA_RESIZE, vma)
    return new


def split_vma(vma: vm_area_struct, address: int, new_below: bool) -> int:
    """Cut with a check of the map count; 0 or -errno."""
    mm = vma.vm_mm
    if mm.map_count >= mm.memory.max_map_count:
        return -ENOMEM
    new = __split_vma(vma, address, new_below)
    return new if isinstance(new, int) else 0


def vma_modify(
    vma: vm_area_struct, start: int, end: int, flags: int, name: str | None = None, *, keep_name: bool = True
) -> vm_area_struct | int:
    """The VMA that covers exactly the part [start, end) which is to have `flags`: merged into a neighbour that has
    them, or cut
    out. The caller stores the flags where no neighbour had them. -errno when cutting fails."""
    if keep_name:
        name = vma.anon_name
    merged = vma_merge_existing_range(vma, start, end, flags, name)
    if merged is not None:
        return merged
    if vma.vm_start < start:
        error = split_vma(vma, start, True)
        if error:
            return error
    if vma.vm_end > end:
        error = split_vma(vma, end, False)
        if error:
            return error
    return vma


def extend_vma(vma: vm_area_struct, end: int) -> vm_area_struct:
    """Let a VMA reach to `end`, over free space, and take the VMA behind in where it fits (vma_merge_extend): the VMA
    that results."""
    mm = vma.vm_mm
    pgoff = vma.vm_pgoff + vma_pages(vma)
    merged = vma_merge_new_range(mm, vma.vm_end, end, vma.vm_flags, pgoff, vma.vm_file, vma.anon_name, source=vma)
    if merged is vma:
        return merged
    assert merged is None, "a neighbour took what the VMA itself should have"
    mm.scheme.vma_start_write(vma, "vma_expand")
    _resize(vma, vma.vm_start, end)
    mm.mm_mt.replace((vma,), (vma,))
    _trace(Kind.VMA_RESIZE, vma)
    return vma


def copy_vma(source: vm_area_struct, address: int, length: int, pgoff: int) -> vm_area_struct | int:
    """A VMA like `source` at another place, for its pages to move to: new, or a neighbour extended (copy_vma).
    -errno."""
    mm = source.vm_mm
    if source.vm_ops is None and source.anon_vma is None:
        pgoff = address >> PAGE_SHIFT
    merged = vma_merge_new_range(
        mm, address, address + length, source.vm_flags, pgoff, source.vm_file, source.anon_name, source=source
    )
    if merged is not None:
        return merged
    new = vm_area_dup(source)
    new.vm_start, new.vm_end, new.vm_pgoff = address, address + length, pgoff
    error = anon_vma_clone(new, source)
    if error:
        vm_area_free(new)
        return error
    if new.vm_file is not None:
        new.vm_file.get()
    if new.vm_ops is not None and new.vm_ops.open is not None:
        new.vm_ops.open(new)
    vma_link(new)
    return new


# Removing


def do_munmap_gather(mm: mm_struct, start: int, end: int) -> list[vm_area_struct] | int:
    """Cut the VMAs at the edges of [start, end): those inside, still in the tree (vms_gather_munmap_vmas). -errno,
    uncut as it can be."""
    first = mm.mm_mt.find(start)
    if first is None or first.vm_start >= end:
        return []
    if start > first.vm_start:
        if end < first.vm_end and mm.map_count >= mm.memory.max_map_count:
            return -ENOMEM
        if first.vm_flags & VM_SEALED:
            return -EPERM
        new = __split_vma(first, start, True)
        if isinstance(new, int):
            return new
    found = []
    for vma in list(mm.mm_mt.iterate(start, end)):
        if vma.vm_flags & VM_SEALED:
            return -EPERM
        if vma.vm_end > end:
            new = __split_vma(vma, end, True)
            if isinstance(new, int):
                return new
            vma = new
        mm.scheme.vma_start_write(vma, "vms_gather_munmap_vmas")
        found.append(vma)
    return found


def detach_vmas(mm: mm_struct, vmas: list[vm_area_struct]) -> None:
    """Take VMAs out of the tree: no fault can find them any more."""
    mm.mm_mt.replace(vmas, ())
    for vma in vmas:
        mm.scheme.vma_mark_detached(vma)
        mm.map_count -= 1
        if vma.vm_flags & VM_LOCKED:
            mm.locked_vm -= vma_pages(vma)


def complete_munmap(mm: mm_struct, vmas: list[vm_area_struct], start: int, end: int, mm_wr_locked: bool) -> None:
    """Unmap detached VMAs and let them go (vms_complete_munmap_vmas without its lock part). `mm_wr_locked`: mmap_lock
    is held for write."""
    before = mm.mm_mt.prev(start)
    after = mm.mm_mt.find(end - 1) if end else None
    floor, ceiling = before.vm_end if before is not None else 0, after.vm_start if after is not None else 0
    unmap_vmas(mm, vmas, start, end, mm_wr_locked)
    free_pgtables(mm, vmas, floor, ceiling, mm_wr_locked)
    mm.hiwater_vm = max(mm.hiwater_vm, mm.total_vm)
    accounted = 0
    for vma in vmas:
        pages = vma_pages(vma)
        vm_stat_account(mm, vma.vm_flags, -pages)
        if vma.vm_flags & VM_ACCOUNT:
            accounted += pages
        remove_vma(vma)
    vm_unacct_memory(mm.memory, accounted)


def remove_vma(vma: vm_area_struct, teardown: bool = False) -> None:
    """The last of a VMA that is mapped nowhere any more. `teardown`: the whole address space goes."""
    _trace(Kind.VMA_REMOVE, vma, teardown)
    if vma.vm_ops is not None and vma.vm_ops.close is not None:
        vma.vm_ops.close(vma)
    target = vma.vm_file
    if target is not None:
        vma.vm_mm.memory.rcu.call_rcu(target.put)
    vm_area_free(vma)


def do_munmap(mm: mm_struct, start: int, length: int, unlock: bool) -> int:
    """Unmap [start, start+length) (do_vmi_munmap). With `unlock` and success the lock is gone on return, downgraded
    on the way.

    -EINVAL for a range that is not in user space or not aligned, -ENOMEM when a VMA cannot be cut.
    """
    mmap_assert_write_locked(mm)
    if start & PAGE_SIZE - 1 or start > mm.task_size or length > mm.task_size - start:
        return -EINVAL
    end = start + (length + PAGE_SIZE - 1 & -PAGE_SIZE)
    if end == start:
        return -EINVAL
    return do_align_munmap(mm, start, end, unlock)


def do_align_munmap(mm: mm_struct, start: int, end: int, unlock: bool) -> int:
    """As do_munmap for a range that was checked (do_vmi_align_munmap)."""
    from emu.mm.mmap_lock import mmap_write_unlock

    vmas = do_munmap_gather(mm, start, end)
    if isinstance(vmas, int):
        return vmas
    if not vmas:
        if unlock:
            mmap_write_unlock(mm)
        return 0
    cost = mm.memory.sched.cost
    mm.memory.sched.charge(cost.munmap + (len(vmas) - 1) * cost.munmap_vma)
    detach_vmas(mm, vmas)
    downgrade = unlock and mm.scheme.munmap_may_downgrade(mm.mm_mt.find(end - 1))
    if downgrade:
        mmap_write_downgrade(mm)
    complete_munmap(mm, vmas, start, end, not downgrade)
    if downgrade:
        mmap_read_unlock(mm)
    elif unlock:
        mmap_write_unlock(mm)
    return 0


# Growing stacks


def acct_stack_growth(vma: vm_area_struct, size: int, grow: int) -> int:
    """May a stack become `size` bytes long, `grow` pages more than it is (acct_stack_growth). 0 or -errno."""
    mm = vma.vm_mm
    if not may_expand_vm(mm, vma.vm_flags, grow):
        return -ENOMEM
    if size > mm.rlimit(RLIMIT_STACK):
        return -ENOMEM
    if not mlock_future_ok(mm, vma.vm_flags, grow << PAGE_SHIFT):
        return -ENOMEM
    if not vm_enough_memory(mm, grow):
        return -ENOMEM
    return 0


def expand_downwards(vma: vm_area_struct, address: int) -> int:
    """Grow a VMA down to the page of `address`, leaving the guard gap to what is below it. 0 or -errno."""
    mm = vma.vm_mm
    if not vma.vm_flags & VM_GROWSDOWN:
        return -14  # EFAULT
    mmap_assert_write_locked(mm)
    address &= -PAGE_SIZE
    if address < mm.memory.mmap_min_addr:
        return -1  # EPERM
    below = mm.mm_mt.prev(vma.vm_start)
    if below is not None:
        if (
            not below.vm_flags & VM_GROWSDOWN
            and below.vm_flags & 7
            and address - below.vm_end < mm.memory.stack_guard_gap
        ):
            return -ENOMEM
    error = anon_vma_prepare(vma)
    if error:
        return error
    mm.scheme.vma_start_write(vma, "expand_downwards")
    if address < vma.vm_start:
        grow = vma.vm_start - address >> PAGE_SHIFT
        if grow > vma.vm_pgoff:
            return -ENOMEM
        error = acct_stack_growth(vma, vma.vm_end - address, grow)
        if error:
            return error
        if vma.vm_flags & VM_LOCKED:
            mm.locked_vm += grow
        vm_stat_account(mm, vma.vm_flags, grow)
        _resize(vma, address, vma.vm_end)
        mm.mm_mt.replace((vma,), (vma,))
        _trace(Kind.VMA_RESIZE, vma)
    return 0


def expand_stack_locked(vma: vm_area_struct, address: int) -> int:
    """Grow the stack `vma` to `address`. 0 or -errno."""
    return expand_downwards(vma, address)


def vm_start_gap(mm: mm_struct, vma: vm_area_struct) -> int:
    """Where a VMA begins, its guard gap included."""
    if vma.vm_flags & VM_GROWSDOWN:
        return max(0, vma.vm_start - mm.memory.stack_guard_gap)
    return vma.vm_start


# Mapping


def mmap_region(mm: mm_struct, target: file | None, addr: int, length: int, flags: int, pgoff: int) -> int:
    """Map [addr, addr+length), replacing what is there (mmap_region). The address or -errno, nothing changed then but
    for cuts."""
    from emu.mm.shmem import shmem_zero_setup

    if map_deny_write_exec(mm, flags, flags):
        return -EACCES
    mm_memory = mm.memory
    mm_memory.sched.charge(mm_memory.sched.cost.mmap)
    end = addr + length
    pages = length >> PAGE_SHIFT
    old = do_munmap_gather(mm, addr, end)
    if isinstance(old, int):
        return old
    old_pages = sum(vma_pages(vma) for vma in old)
    if not may_expand_vm(mm, flags, pages - old_pages):
        return -ENOMEM
    charged = 0
    if accountable_mapping(target, flags, 0x200000):
        charged = pages
        credit = sum(vma_pages(vma) for vma in old if vma.vm_flags & VM_ACCOUNT)
        if not vm_enough_memory(mm, max(0, charged - credit)):
            return -ENOMEM
        vm_acct_memory(mm_memory, charged - max(0, charged - credit))
        flags |= VM_ACCOUNT
    if old:
        detach_vmas(mm, old)
        complete_munmap(mm, old, addr, end, True)
    name = None
    vma = None
    if not (flags & VM_SHARED and target is None):
        vma = vma_merge_new_range(mm, addr, end, flags, pgoff, target, name)
    if vma is None:
        vma = vm_area_alloc(mm, addr, end, flags, pgoff)
        error = 0
        if target is not None:
            vma.vm_file = target
            target.get()
            error = target.mmap(vma)
            if error:
                target.put()
        elif flags & VM_SHARED:
            error = shmem_zero_setup(vma)
        if error:
            vm_unacct_memory(mm_memory, charged)
            vm_area_free(vma)
            return error
        vma_set_page_prot(vma)
        vma_link(vma)
    vm_stat_account(mm, flags, pages)
    if flags & VM_LOCKED:
        if flags & VM_SPECIAL:
            mm.scheme.vma_start_write(vma, "mmap_region")
            vma.vm_flags &= ~VM_LOCKED_MASK
            trace_vma_modify(vma)
        else:
            mm.locked_vm += pages
    return addr


def do_brk_flags(mm: mm_struct, before: vm_area_struct | None, addr: int, length: int, flags: int) -> int:
    """Add an anonymous range that is known to be free, to `before` if that ends there and fits (do_brk_flags). 0 or
    -errno."""
    from emu.mm.mm_types import VM_DATA_DEFAULT_FLAGS

    flags |= VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.def_flags | (VM_EXEC if mm.read_implies_exec else 0)
    pages = length >> PAGE_SHIFT
    mm.memory.sched.charge(mm.memory.sched.cost.brk)
    if not may_expand_vm(mm, flags, pages):
        return -ENOMEM
    if mm.map_count > mm.memory.max_map_count:
        return -ENOMEM
    if not vm_enough_memory(mm, pages):
        return -ENOMEM
    vma = None
    if before is not None and before.vm_end == addr:
        vma = vma_merge_new_range(mm, addr, addr + length, flags, addr >> PAGE_SHIFT, None, just_expand=True)
    if vma is None:
        vma = vm_area_alloc(mm, addr, addr + length, flags, addr >> PAGE_SHIFT)
        vma_link(vma)
    vm_stat_account(mm, flags, pages)
    if flags & VM_LOCKED:
        mm.locked_vm += pages
    return 0


def install_special_mapping(mm: mm_struct, addr: int, length: int, flags: int, name: str, pages: list[int]) -> int:
    """A mapping of kernel pages such as [vdso]: `pages` are frames, those missing give SIGBUS. 0 or -errno."""
    from emu.mm.mm_types import VM_DONTEXPAND, VM_FAULT_SIGBUS, VM_MIXEDMAP  # noqa: F401

    def fault(vmf: object) -> int:
        index = vmf.pgoff  # type: ignore[attr-defined]
        if index >= len(pages):
            return VM_FAULT_SIGBUS
        page = mm.memory.mem_map[pages[index]]
        assert page is not None
        page._refcount += 1
        vmf.page = page  # type: ignore[attr-defined]
        return 0

    vma = vm_area_alloc(mm, addr, addr + length, flags | mm.def_flags & ~VM_LOCKED_MASK | VM_DONTEXPAND, 0)
    vma.vm_ops = vm_operations_struct(fault=fault, name=lambda _vma: name, may_split=lambda _vma, _addr: -EINVAL)
    vma_link(vma)
    vm_stat_account(mm, vma.vm_flags, length >> PAGE_SHIFT)
    return 0
