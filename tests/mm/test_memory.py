# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault core: what each kind of fault maps, counts and gives back."""

from __future__ import annotations

import pytest

from archs.base import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV
from emu.mm.filemap import address_space, generic_file_mmap
from emu.mm.memory import PTE_MARKER_GUARD, unmap_vmas, zap_page_range_single
from emu.mm.mmap import exit_mmap, ksys_munmap
from emu.mm.rmap import rmap_walk
from emu.tracepoint import Kind, Path, Reason, Served
from tests.support import Box, check_frames, make_box

ANON, FIXED, SHARED = 0x22, 0x32, 0x21
BASE = 0x10_0000_0000


class MemoryFile:
    """A regular file held in a bytes object."""

    f_mode = 3
    f_flags = 2
    name = "/a/file"
    aligns_huge = False

    def __init__(self, box: Box, data: bytes) -> None:
        self.data = bytearray(data)
        self.count = 1
        self.f_mapping = address_space(self, box.memory)

    @property
    def i_size(self) -> int:
        return len(self.data)

    def read_page(self, index: int) -> bytes:
        return bytes(self.data[index << 12 : index + 1 << 12])

    def write_page(self, index: int, data: bytes) -> int:
        self.data[index << 12 : (index << 12) + len(data)] = data
        return 0

    def mmap(self, vma: object) -> int:
        return generic_file_mmap(self, vma)  # type: ignore[arg-type]

    def get(self) -> None:
        self.count += 1

    def put(self) -> None:
        self.count -= 1


@pytest.fixture(params=["mmap_lock", "spf", "rfc", "6.4", "6.18"])
def box(request: pytest.FixtureRequest) -> Box:
    return make_box(request.param)


def test_an_unmapping_of_nothing_but_the_zero_page_flushes_the_tlb(box: Box) -> None:
    start = box.map(BASE, 0x4000, flags=FIXED)
    assert box.touch(start, write=False) == 1
    assert box.mm.served == Served.ZERO_PAGE
    before = len(box.flushes)
    assert ksys_munmap(box.mm, start, 0x4000) == 0
    assert len(box.flushes) > before, "the page could still be read through the TLB"


def test_read_then_write_of_anonymous_memory(box: Box) -> None:
    start = box.map(BASE, 0x4000, flags=FIXED)
    before = box.memory.allocator.allocated
    assert box.touch(start, write=False) == 1
    assert box.mm.served == Served.ZERO_PAGE
    assert box.page_at(start).pfn == box.memory.zero_pfn
    assert box.touch(start, write=True) == 1
    assert box.mm.served == Served.COW
    assert box.mm.rss[1] == 1
    assert box.page_at(start).pfn != box.memory.zero_pfn
    assert box.touch(start + 0x1000) == 1
    assert box.mm.served == Served.ANON
    assert box.touch(start + 0x1000) == 0
    check_frames(box.memory, [box.mm])
    assert ksys_munmap(box.mm, start, 0x4000) == 0
    assert box.mm.rss == [0, 0, 0, 0]
    check_frames(box.memory, [box.mm])
    # Two pages and their tables are gone; upper tables may stay until exit.
    exit_mmap(box.mm)
    assert box.memory.allocator.allocated == before - 1


def test_recycled_frames_are_zero(box: Box) -> None:
    start = box.map(BASE, 0x1000, flags=FIXED)
    box.touch(start)
    pfn = box.page_at(start).pfn
    box.memory.ram.write(pfn << 12, b"secret")
    ksys_munmap(box.mm, start, 0x1000)
    start = box.map(BASE, 0x4000, flags=FIXED)
    for i in range(4):
        box.touch(start + 0x1000 * i)
        assert box.memory.ram.read(box.page_at(start + 0x1000 * i).pfn << 12, 4096) == bytes(4096)


def test_private_file_read_maps_around_and_write_copies(box: Box) -> None:
    file = MemoryFile(box, b"".join(bytes([i]) * 4096 for i in range(40)))
    start = box.map(BASE, 40 << 12, prot=3, flags=0x12, file=file)
    assert box.touch(start + (20 << 12) + 5, write=False) == 1
    assert box.mm.served == Served.FILE_READ
    present = [i for i in range(40) if box.page_at(start + (i << 12)) is not None]
    assert present == list(range(16, 32))  # the aligned window of 16 pages
    assert box.mm.rss[0] == 16
    assert box.touch(start + (20 << 12)) == 1
    assert box.mm.served == Served.COW
    assert box.mm.rss[:2] == [15, 1]
    assert box.touch(start + (3 << 12)) == 1
    assert box.mm.served == Served.FILE_COW
    assert box.memory.ram.read(box.page_at(start + (3 << 12)).pfn << 12, 2) == b"\x03\x03"
    assert box.mm.rss[:2] == [15, 2]
    check_frames(box.memory, [box.mm])
    ksys_munmap(box.mm, start, 40 << 12)
    box.memory.rcu.quiescent()
    assert file.count == 1
    assert all(p._refcount == 1 and p._mapcount == 0 for p in file.f_mapping.pages.values())


def test_shared_file_notices_its_first_write_and_again_after_writeback(box: Box) -> None:
    file = MemoryFile(box, bytes(3 * 4096))
    start = box.map(BASE, 3 << 12, prot=3, flags=0x11, file=file)
    assert box.touch(start, write=False) == 1
    assert box.touch(start) == 1
    assert box.mm.served == Served.MKWRITE
    page = box.page_at(start)
    box.memory.ram.write(page.pfn << 12, b"written")
    assert file.f_mapping.writeback(0, None) == 0
    assert file.data[:7] == b"written"
    assert box.flushes
    assert box.touch(start) == 1  # write-protected by the writeback
    assert box.touch(start + 0x1000) == 1
    assert box.mm.served in (Served.FILE_SHARED, Served.MKWRITE)
    assert [(v.vm_start, a) for v, a, _ in rmap_walk(box.memory, page)] == [(start, start)]


def test_beyond_the_end_of_a_file(box: Box) -> None:
    file = MemoryFile(box, bytes(4097))
    start = box.map(BASE, 4 << 12, prot=1, flags=0x12, file=file)
    assert box.touch(start + 0x1FFF, write=False) == 1
    assert box.touch(start + 0x2000, write=False) == -1
    assert (box.signals[-1].signo, box.signals[-1].code, box.signals[-1].addr) == (SIGBUS, BUS_ADRERR, start + 0x2000)


def test_access_errors_and_holes(box: Box) -> None:
    start = box.map(BASE, 0x3000, prot=1, flags=FIXED)
    assert box.touch(start, write=True) == -1
    assert (box.signals[-1].signo, box.signals[-1].code) == (SIGSEGV, SEGV_ACCERR)
    assert box.touch(start + 0x3000) == -1
    assert (box.signals[-1].signo, box.signals[-1].code) == (SIGSEGV, SEGV_MAPERR)
    # A fetch from a page that is not there brings it in, and then faults on the protection.
    assert box.touch(start + 0x1000, write=False, fetch=True) == -1
    assert box.signals[-1].code == SEGV_ACCERR
    assert box.page_at(start + 0x1000) is not None
    assert box.touch(0x7FFF_FFFF_F000) == -1
    assert box.entry.cpu.thread.error_code & 1  # kernel addresses always look present
    assert not box.mm.mmap_lock.is_locked()


def test_shared_anonymous_memory_and_hole_punching(box: Box) -> None:
    start = box.map(BASE, 0x4000, flags=0x31)
    for i in range(4):
        assert box.touch(start + 0x1000 * i) == 1
    assert box.mm.rss[3] == 4
    vma = box.mm.mm_mt.load(start)
    vma.vm_file.f_mapping.truncate_range(1, 2)
    assert box.mm.rss[3] == 2
    assert box.page_at(start + 0x1000) is None
    assert box.touch(start + 0x1000, write=False) == 1
    check_frames(box.memory, [box.mm])


def test_guard_marker_is_a_segfault_outlives_a_zap_and_goes_with_the_mapping(box: Box) -> None:
    start = box.map(BASE, 0x2000, flags=FIXED)
    box.touch(start)
    table = box.mm.pgtable
    table.set(table.alloc(start + 0x1000), PTE_MARKER_GUARD)
    assert box.touch(start + 0x1000) == -1
    assert box.signals[-1].code == SEGV_MAPERR
    zap_page_range_single(box.mm.mm_mt.load(start), start, 0x2000)
    assert box.page_at(start) is None
    assert box.touch(start + 0x1000) == -1
    unmap_vmas(box.mm, [box.mm.mm_mt.load(start)], start, start + 0x2000)
    assert box.touch(start + 0x1000) == 1


def test_private_copies_survive_a_hole_in_the_file(box: Box) -> None:
    start = box.map(BASE, 0x2000, flags=0x12, file=MemoryFile(box, bytes(0x2000)))
    box.touch(start)
    vma = box.mm.mm_mt.load(start)
    assert vma is not None and vma.vm_file is not None
    vma.vm_file.f_mapping.truncate_range(0, 1, even_cows=False)
    assert box.page_at(start) is not None
    vma.vm_file.f_mapping.truncate_range(0, 1)
    assert box.page_at(start) is None
    check_frames(box.memory, [box.mm])


def test_stack_grows_under_the_write_lock_and_stops_at_the_gap(box: Box) -> None:
    top = BASE + (4 << 20)
    box.map(BASE, 0x1000, flags=FIXED)
    box.map(top - 0x2000, 0x2000, flags=FIXED | 0x100)
    box.memory.tp.on = True
    assert box.touch(top - 0x5000 + 8) == 1
    rows = box.memory.tp.drain()
    locks = [(r[4], r[7]) for r in rows if r[4] in (3, 4, 5)]
    # trylock for read, release, lock for write, downgrade, release
    assert locks == [(3, 0), (4, 0), (5, 0), (3, 1), (4, 1), (4, 0), (5, 0)]
    fault = next(r for r in rows if r[4] == Kind.PAGE_FAULT_USER)
    assert (fault[11], fault[13]) == (Path.MMAP_LOCK_WRITE, Served.STACK)
    assert box.mm.mm_mt.load(top - 0x5000).vm_start == top - 0x5000
    assert box.touch(BASE + 0x1000 + (255 << 12)) == -1  # within 256 pages of the mapping below
    assert box.touch(BASE + 0x1000 + (256 << 12)) == 1


def test_out_of_memory_is_told(box: Box) -> None:
    told = []
    box.memory.out_of_memory = told.append
    start = box.map(BASE, 12 << 20, flags=FIXED)
    address = start
    while box.memory.alloc_page() is not None:
        pass
    assert box.touch(address) == -1
    assert told == [box.mm]
    assert not box.signals
    assert not box.mm.mmap_lock.is_locked()


def test_kernel_access_faults_with_kernel_code(box: Box) -> None:
    start = box.map(BASE, 0x3000, flags=FIXED)
    box.memory.tp.on = True
    assert box.access.copy_to_user(start + 0xFFC, b"12345678", "a_function")
    faults = [r for r in box.memory.tp.drain() if r[4] == Kind.PAGE_FAULT_KERNEL]
    assert [(r[5], r[7], r[17]) for r in faults] == [
        (start + 0xFFC, 2, "a_function"),
        (start + 0x1000, 2, "a_function"),
    ]
    assert all(r[12] == Reason.KERNEL_MODE for r in faults)
    assert box.access.copy_from_user(start + 0xFFC, 8) == b"12345678"
    assert box.access.copy_from_user(start + 0x2FFC, 8) is None
    assert not box.access.copy_to_user(0x7FFF_FFFF_F000 - 4, b"12345678")
    assert box.access.strncpy_from_user(start + 0xFFC, 5) == b"12345"
    assert box.access.strncpy_from_user(start + 0xFFC, 100) == b"12345678"


@pytest.mark.parametrize("scheme", ["6.18"])
def test_paths_and_counters(scheme: str) -> None:
    box = make_box(scheme)
    start = box.map(BASE, 0x4000, flags=FIXED)
    box.memory.tp.on = True
    box.touch(start)
    box.touch(start + 0x1000)
    vmstat = box.memory.vmstat
    assert (vmstat["pgfault"], vmstat["vma_lock_success"], vmstat["vma_lock_abort"]) == (2, 2, 0)
    # The first fault of a VMA looks at its neighbours for an anon_vma, under a trylock of mmap_lock.
    kinds = [Kind(r[4]) for r in box.memory.tp.drain()]
    assert kinds == [
        Kind.PAGE_FAULT_USER, Kind.VMA_LOCK_READ, Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED,
        Kind.MMAP_LOCK_RELEASED, Kind.PAGE_FAULT_USER, Kind.VMA_LOCK_READ,
    ]  # fmt: skip
    assert box.touch(BASE + 0x100000) == -1
    assert vmstat["vma_lock_abort"] == 1
    assert box.memory.tp.drain()[-1][4] == Kind.MMAP_LOCK_RELEASED
    assert not box.memory.rcu.pending


def test_rfc_does_not_try_the_vma_lock_of_a_single_user() -> None:
    box = make_box("rfc")
    start = box.map(BASE, 0x4000, flags=FIXED)
    box.memory.tp.on = True
    box.touch(start)
    assert box.memory.tp.drain()[0][11:13] == (Path.MMAP_LOCK, Reason.SINGLE_USER)
    box.mm.mm_users = 2
    box.touch(start + 0x1000)
    assert box.entry.path == Path.VMA_LOCK
    assert box.memory.vmstat["vma_lock_success"] == 1
    # A file mapping is not for the VMA lock in the RFC, and is not counted as an abort.
    file = MemoryFile(box, bytes(4096))
    mapped = box.map(BASE + 0x100000, 0x1000, prot=1, flags=0x12, file=file)
    box.touch(mapped, write=False)
    assert (box.entry.path, box.entry.reason) == (Path.MMAP_LOCK, Reason.NOT_ANONYMOUS)
    assert box.memory.vmstat["vma_lock_abort"] == 0
