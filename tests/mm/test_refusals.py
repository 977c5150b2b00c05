# SPDX-License-Identifier: GPL-2.0-or-later
"""What calls refuse, and what they leave behind when they do: the edges of limits, of ranges and of accounts."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EFAULT, EINTR, EINVAL, EIO, EOPNOTSUPP, EOVERFLOW, EPERM
from typing import Any

import pytest

from emu.mm.filemap import filemap_map_pages
from emu.mm.madvise import do_madvise, madvise_set_anon_name, vector_madvise
from emu.mm.memory import vm_fault
from emu.mm.mlock import sys_mlock2, sys_mlockall, sys_munlock, sys_munlockall
from emu.mm.mm_types import VM_FAULT_NOPAGE, VM_LOCKED, mm_struct
from emu.mm.mmap import ksys_munmap, sys_brk, sys_remap_file_pages, vm_brk_flags, vm_mmap_pgoff
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.mremap import MREMAP_DONTUNMAP, MREMAP_MAYMOVE, sys_mremap
from emu.mm.msync import sys_msync
from emu.mm.shmem import shmem_file_setup
from emu.mm.vma import RLIMIT_DATA, RLIMIT_MEMLOCK
from tests.mm.test_memory import MemoryFile
from tests.support import Box, make_box

PAGE = 4096
BASE = 0x10_0000_0000
READ, WRITE, EXEC = 1, 2, 4
ANON, FIXED, SHARED = 0x22, 0x32, 0x11
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
UNKNOWN_FLAG = 1 << 27 << 4  # no mapping flag


@pytest.fixture
def box() -> Box:
    return make_box("6.18", 32 << 20)


def layout(box: Box) -> list[tuple[int, int, int]]:
    return [(vma.vm_start, vma.vm_end, vma.vm_flags) for vma in box.mm.mm_mt]


def limit(box: Box, resource: int, value: int) -> None:
    box.mm.rlimit = lambda asked: value if asked == resource else (1 << 64) - 1
    box.mm.capable_ipc_lock = False


# mmap, munmap, brk


@pytest.mark.parametrize(("pages", "last"), [(1, (1 << 51) - 2), (3, (1 << 51) - 4)])
def test_a_mapping_ends_within_what_a_file_can_be(box: Box, pages: int, last: int) -> None:
    """The last byte of a file is number 2**63 - 2 (file_mmap_ok)."""
    file = shmem_file_setup(box.memory, "end", PAGE)
    at = vm_mmap_pgoff(box.mm, file, BASE, pages * PAGE, READ, SHARED, last)
    assert at == BASE
    assert vm_mmap_pgoff(box.mm, file, 2 * BASE, pages * PAGE, READ, SHARED, last + 1) == -EOVERFLOW


def test_a_hole_in_a_mapping_needs_one_more_of_them(box: Box) -> None:
    """It may be the last one that is allowed, but not one beyond."""
    assert box.map(BASE, 8 * PAGE, flags=FIXED) == BASE
    box.memory.max_map_count = 2
    assert ksys_munmap(box.mm, BASE + 5 * PAGE, PAGE) == 0
    assert box.mm.map_count == 2
    before = layout(box)
    assert ksys_munmap(box.mm, BASE + 2 * PAGE, PAGE) == -12
    assert layout(box) == before


def test_brk_within_a_page_maps_nothing(box: Box) -> None:
    mm = box.mm
    mm.start_brk = mm.brk = 0x60_0000_0010
    assert sys_brk(mm, mm.brk + 100) == 0x60_0000_0074
    assert not layout(box) and not mm.total_vm and not mm.mmap_lock.is_locked()
    assert sys_brk(mm, 0x60_0000_1010) == 0x60_0000_1010
    assert [(start, end) for start, end, _ in layout(box)] == [(0x60_0000_1000, 0x60_0000_2000)]
    assert sys_brk(mm, 0x60_0000_0008) == 0x60_0000_1010, "not below its start"


def test_brk_counts_the_program_s_data(box: Box) -> None:
    mm = box.mm
    mm.start_brk = mm.brk = 0x60_0000_0000
    mm.end_data, mm.start_data = 0x3000, 0x1000
    limit(box, RLIMIT_DATA, 8 * PAGE)
    assert sys_brk(mm, mm.start_brk + 6 * PAGE + 1) == mm.start_brk
    assert sys_brk(mm, mm.start_brk + 6 * PAGE) == mm.start_brk + 6 * PAGE


def test_a_bss_that_cannot_be(box: Box) -> None:
    mm = box.mm
    assert vm_brk_flags(mm, mm.task_size - PAGE, 2 * PAGE, False) == -12
    mm.def_flags = VM_LOCKED
    limit(box, RLIMIT_MEMLOCK, PAGE)
    assert vm_brk_flags(mm, BASE, 2 * PAGE, False) == -EAGAIN
    assert not layout(box)
    assert vm_brk_flags(mm, BASE, PAGE, False) == 0
    assert box.page_at(BASE) is not None, "locked memory is there at once"


# mmap of files


def test_flags_that_nobody_knows(box: Box) -> None:
    """MAP_SHARED takes them without a word; MAP_SHARED_VALIDATE is there to refuse them."""
    file: Any = MemoryFile(box, bytes(PAGE))
    assert box.map(0, PAGE, READ, 1 | UNKNOWN_FLAG, file) > 0
    assert box.map(0, PAGE, READ, 3 | UNKNOWN_FLAG, file) == -EOPNOTSUPP
    assert box.map(0, PAGE, READ, 3, file) > 0
    assert box.map(0, PAGE, READ, 2 | UNKNOWN_FLAG, file) > 0


def test_remap_file_pages_wants_one_shared_file(box: Box) -> None:
    file: Any = MemoryFile(box, bytes(8 * PAGE))
    private = box.map(0, 4 * PAGE, READ, 2, file)
    shared = box.map(BASE, 4 * PAGE, READ | WRITE, SHARED, file)
    assert sys_remap_file_pages(box.mm, private, PAGE, 0, 2, 0) == -EINVAL
    assert sys_remap_file_pages(box.mm, shared, PAGE, 1, 2, 0) == -EINVAL
    assert sys_remap_file_pages(box.mm, shared, 5 * PAGE, 0, 2, 0) == -EINVAL
    assert sys_remap_file_pages(box.mm, shared, PAGE, 0, 6, 0) == 0
    moved = box.mm.mm_mt.load(shared)
    assert moved is not None and moved.vm_pgoff == 6


def test_fault_around_beyond_the_end_of_a_file(box: Box) -> None:
    """There is nothing to map, and no table is made for it; nor is one for the last page of the file alone, behind
    which its folio ends. With the page before it there are two."""
    file: Any = MemoryFile(box, b"x" * (2 * PAGE))
    start = box.map(0, 16 * PAGE, READ, 2, file)
    vma = box.mm.mm_mt.load(start)
    assert vma is not None
    beyond = vm_fault(vma, start + 8 * PAGE, 0)
    beyond.pgoff = 8
    tables = box.memory.allocator.allocated
    assert filemap_map_pages(beyond, 8, 15) == 0
    assert box.memory.allocator.allocated == tables
    last = vm_fault(vma, start + PAGE, 0)
    last.pgoff = 1
    assert filemap_map_pages(last, 1, 15) == 0
    assert box.memory.allocator.allocated == tables and box.page_at(start + PAGE) is None
    first = vm_fault(vma, start, 0)
    assert filemap_map_pages(first, 0, 15) == VM_FAULT_NOPAGE
    assert box.page_at(start) is not None and box.page_at(start + PAGE) is not None
    assert box.page_at(start + 2 * PAGE) is None


def test_msync_tells_of_a_file_that_cannot_be_written(box: Box) -> None:
    file: Any = MemoryFile(box, bytes(2 * PAGE))
    start = box.map(0, 2 * PAGE, READ | WRITE, 1, file)
    box.poke(start, 7)
    box.poke(start + PAGE, 8)
    write = file.write_page
    file.write_page = lambda index, data: -EIO if index == 0 else write(index, data)
    assert sys_msync(box.mm, start, 2 * PAGE, 1 | 4) == -EINVAL, "MS_ASYNC and MS_SYNC"
    assert sys_msync(box.mm, start, 2 * PAGE, 8) == -EINVAL
    assert sys_msync(box.mm, start, 2 * PAGE, 1) == 0
    assert sys_msync(box.mm, start, 2 * PAGE, 4) == -EIO
    assert file.data[PAGE] == 8, "the other page is written all the same"
    assert sys_msync(box.mm, start, 3 * PAGE, 4) == -12


# mprotect, mremap


def test_mprotect_that_fails_leaves_nothing_charged(box: Box) -> None:
    start = box.map(BASE, 8 * PAGE, READ, FIXED)
    box.memory.max_map_count = box.mm.map_count
    before, charged = layout(box), box.memory.committed
    assert do_mprotect_pkey(box.mm, start + 2 * PAGE, PAGE, READ | WRITE) == -12
    assert (layout(box), box.memory.committed) == (before, charged)
    assert do_mprotect_pkey(box.mm, start, 8 * PAGE, READ | WRITE) == 0
    assert box.memory.committed == charged + 8


def test_moved_memory_stays_locked(box: Box) -> None:
    mm = box.mm
    start = box.map(BASE, 4 * PAGE, flags=FIXED)
    box.map(BASE + 4 * PAGE, PAGE, READ, FIXED)  # in the way
    assert sys_mlock2(mm, start, 4 * PAGE, 0) == 0
    assert mm.locked_vm == 4
    moved = sys_mremap(mm, start, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, 0)
    assert moved > 0 and moved != start
    assert mm.locked_vm == 6
    assert box.page_at(moved + 5 * PAGE) is not None, "what is new of it is there at once"
    again = sys_mremap(mm, moved, 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0)
    assert again > 0
    assert mm.locked_vm == 6, "only the new place is locked"
    old = mm.mm_mt.load(moved)
    assert old is not None and not old.vm_flags & VM_LOCKED
    limit(box, RLIMIT_MEMLOCK, 6 * PAGE)
    assert sys_mremap(mm, again, 6 * PAGE, 7 * PAGE, MREMAP_MAYMOVE, 0) == -EAGAIN
    assert sys_mremap(mm, BASE - PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0) == -EFAULT


# mlock


def test_what_mlockall_refuses(box: Box) -> None:
    mm = box.mm
    for flags in (0, 8, MCL_CURRENT | 8, MCL_ONFAULT, 1 << 30):
        assert sys_mlockall(mm, flags) == -EINVAL
    start = box.map(BASE, 8 * PAGE, flags=FIXED)
    limit(box, RLIMIT_MEMLOCK, 4 * PAGE)
    assert sys_mlockall(mm, MCL_CURRENT) == -12
    assert not mm.locked_vm
    assert sys_mlockall(mm, MCL_FUTURE) == 0, "what is there already does not count"
    assert not mm.locked_vm and mm.def_flags & VM_LOCKED
    assert box.map(0, 5 * PAGE) == -EAGAIN
    assert sys_mlock2(mm, start, 5 * PAGE, 0) == -12
    assert sys_mlock2(mm, start, 4 * PAGE, 2) == -EINVAL
    assert sys_mlock2(mm, start, 4 * PAGE, 0) == 0
    limit(box, RLIMIT_MEMLOCK, 0)
    assert sys_mlockall(mm, MCL_CURRENT) == -EPERM


# madvise


def test_names_of_ranges_that_are_empty_or_wrap(box: Box) -> None:
    mm = box.mm
    start = box.map(BASE, 2 * PAGE, flags=FIXED)
    assert madvise_set_anon_name(mm, start + 1, PAGE, "name") == -EINVAL
    assert madvise_set_anon_name(mm, start, 0, "name") == 0
    assert madvise_set_anon_name(mm, start, (1 << 64) - 1, "name") == -EINVAL
    vma = mm.mm_mt.load(start)
    assert vma is not None and vma.anon_name is None
    assert madvise_set_anon_name(mm, start, 3 * PAGE, "name") == -12
    vma = mm.mm_mt.load(start)
    assert vma is not None and vma.anon_name == "name", "up to the hole it has its name"


def test_advice_about_ranges_that_are_empty_or_wrap(box: Box) -> None:
    mm = box.mm
    start = box.map(BASE, 2 * PAGE, flags=FIXED)
    assert do_madvise(mm, start + 1, PAGE, 4) == -EINVAL
    assert do_madvise(mm, start, 0, 4) == 0
    assert do_madvise(mm, start, (1 << 64) - 1, 4) == -EINVAL
    assert do_madvise(mm, start, PAGE, 99) == -EINVAL
    assert do_madvise(mm, start, 0, 99) == -EINVAL
    assert do_madvise(mm, start, 3 * PAGE, 4) == -12


# rmap


def test_a_child_s_neighbours_share_no_anon_vma(box: Box) -> None:
    """Neighbours that may be merged later share one, but not one that is shared with a parent already."""
    box.map(BASE, PAGE, flags=FIXED)
    box.map(BASE + PAGE, PAGE, READ | WRITE | EXEC, FIXED)
    box.poke(BASE, 1)
    child = box.fork()
    assert child is not None
    for each, shared in ((box, True), (child, False)):
        each.poke(BASE, 2)
        each.poke(BASE + PAGE, 3)
        first, second = each.mm.mm_mt.load(BASE), each.mm.mm_mt.load(BASE + PAGE)
        assert first is not None and second is not None
        assert (first.anon_vma is second.anon_vma) is shared


# Who is killed while he waits for the lock


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("mmap", lambda mm: vm_mmap_pgoff(mm, None, 0, PAGE, 3, ANON, 0)),
        ("mmap", lambda mm: ksys_munmap(mm, BASE, PAGE)),
        ("mmap", lambda mm: sys_brk(mm, mm.brk + PAGE)),
        ("mmap", lambda mm: vm_brk_flags(mm, BASE - PAGE, PAGE, False)),
        ("mprotect", lambda mm: do_mprotect_pkey(mm, BASE, PAGE, 1)),
        ("mremap", lambda mm: sys_mremap(mm, BASE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0)),
        ("mlock", lambda mm: sys_mlock2(mm, BASE, PAGE, 0)),
        ("mlock", lambda mm: sys_munlock(mm, BASE, PAGE)),
        ("mlock", lambda mm: sys_mlockall(mm, MCL_CURRENT)),
        ("mlock", lambda mm: sys_munlockall(mm)),
        ("madvise", lambda mm: do_madvise(mm, BASE, PAGE, 10)),
    ],
)
def test_killed_while_waiting_for_the_lock(
    box: Box, module: str, call: Callable[[mm_struct], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    box.map(BASE, 4 * PAGE, flags=FIXED)
    before = layout(box)
    monkeypatch.setattr(f"emu.mm.{module}.mmap_write_lock_killable", lambda mm: -EINTR)
    assert call(box.mm) == -EINTR
    assert layout(box) == before and not box.mm.mmap_lock.is_locked()


# madvise


def test_a_vector_keeps_the_lock_that_one_of_its_ranges_needed(box: Box) -> None:
    """Ranges within a VMA need its own lock only; from the first one on that does not lie in one, mmap_lock is held."""
    box.map(BASE, 8 * PAGE, flags=FIXED)
    assert do_mprotect_pkey(box.mm, BASE + 4 * PAGE, 4 * PAGE, READ) == 0
    before = box.mm.mmap_lock.read_count
    within, across = (BASE, PAGE), (BASE + 3 * PAGE, 2 * PAGE)
    assert vector_madvise(box.mm, [within, within], 4) == 2 * PAGE
    assert box.mm.mmap_lock.read_count == before
    assert vector_madvise(box.mm, [within, across, across, within], 4) == 6 * PAGE
    assert box.mm.mmap_lock.read_count == before + 1 and not box.mm.mmap_lock.is_locked()
