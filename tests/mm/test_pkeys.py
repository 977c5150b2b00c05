# SPDX-License-Identifier: GPL-2.0-or-later
"""Protection keys: what an address space gives out, the key of execute-only memory, what a child has, gup."""

from __future__ import annotations

from errno import EFAULT, EINVAL

from archs.x86.mm.fault import FaultEntry
from archs.x86.mm.pgtable import X86PageTableFormat
from emu.mm.fork import dup_mm
from emu.mm.gup import fixup_user_fault, get_user_page_remote
from emu.mm.mm_types import ARCH_VM_PKEY_FLAGS, PKEY_SHIFT, mm_struct, vm_area_struct
from emu.mm.mmap import MAP_ANONYMOUS, MAP_PRIVATE, vm_mmap_pgoff
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.pkeys import (
    INIT_PKRU,
    PKEY_DISABLE_WRITE,
    arch_set_user_pkey_access,
    mm_pkey_alloc,
    mm_pkey_free,
    pkru_allows,
    vma_pkey,
)
from emu.mm.uaccess import Uaccess
from tests.support import make_box

PAGE = 4096
PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS


def space(pkeys: int = 16) -> mm_struct:
    mm = make_box().memory.new_mm(X86PageTableFormat(pkeys))
    mm.mmap_base = 0x7FFF_F7FF_F000
    mm.memory.sched.current.set_pkru(INIT_PKRU if pkeys > 1 else 0)
    return mm


def at(mm: mm_struct, address: int) -> vm_area_struct:
    vma = mm.mm_mt.load(address)
    assert vma is not None
    return vma


def test_keys_are_given_out_and_come_back() -> None:
    mm = space()
    assert [mm_pkey_alloc(mm) for _ in range(16)] == [*range(1, 16), -1]
    assert mm_pkey_free(mm, 7) == 0 and mm_pkey_free(mm, 7) == -EINVAL
    assert mm_pkey_free(mm, -1) == mm_pkey_free(mm, 16) == -EINVAL
    assert mm_pkey_alloc(mm) == 7


def test_a_cpu_without_keys_has_key_0_only() -> None:
    mm = space(1)
    assert mm_pkey_alloc(mm) == -1 and arch_set_user_pkey_access(mm, 0, 0) == -EINVAL
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 4, PRIVATE, 0)
    assert vma_pkey(at(mm, area)) == 0 and mm.memory.sched.current.pkru == 0
    assert do_mprotect_pkey(mm, area, PAGE, 1, 0) == 0
    assert do_mprotect_pkey(mm, area, PAGE, 1, 1) == -EINVAL


def test_execute_only_memory_has_one_key_that_nobody_else_gets() -> None:
    mm = space()
    current = mm.memory.sched.current
    first = mm_pkey_alloc(mm)
    current.set_pkru(0)
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 4, PRIVATE, 0)
    key = vma_pkey(at(mm, area))
    assert key not in (0, first) and not pkru_allows(current.pkru, key, False)
    more = vm_mmap_pgoff(mm, None, 0, PAGE, 3, PRIVATE, 0)
    current.set_pkru(0)
    assert do_mprotect_pkey(mm, more, PAGE, 4) == 0
    assert vma_pkey(at(mm, more)) == key and not pkru_allows(current.pkru, key, False), "closed to this thread again"
    assert mm_pkey_free(mm, key) == do_mprotect_pkey(mm, area, PAGE, 1, key) == -EINVAL
    assert do_mprotect_pkey(mm, area, PAGE, 1) == 0
    assert vma_pkey(at(mm, area)) == 0, "what can be read again has key 0 again"
    assert do_mprotect_pkey(mm, more, PAGE, 4, first) == 0
    assert vma_pkey(at(mm, more)) == first, "a key that was asked for stays"
    assert do_mprotect_pkey(mm, more, PAGE, 1) == 0
    assert vma_pkey(at(mm, more)) == first


def test_without_a_free_key_execute_only_memory_can_be_read() -> None:
    mm = space()
    while mm_pkey_alloc(mm) > 0:
        pass
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 4, PRIVATE, 0)
    assert at(mm, area).vm_flags & ARCH_VM_PKEY_FLAGS == 0


def test_a_child_has_the_keys_of_its_parent() -> None:
    mm = space()
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 4, PRIVATE, 0)
    mm_pkey_alloc(mm)
    child = dup_mm(mm)
    assert child is not None
    assert (child.pkey_allocation_map, child.execute_only_pkey) == (mm.pkey_allocation_map, mm.execute_only_pkey)
    assert at(child, area).vm_page_prot == at(mm, area).vm_page_prot == 0x25 | mm.execute_only_pkey << 59


def test_entries_have_the_key_of_their_vma() -> None:
    mm = space()
    key = mm_pkey_alloc(mm)
    arch_set_user_pkey_access(mm, key, 0)
    area = vm_mmap_pgoff(mm, None, 0, 3 * PAGE, 3, PRIVATE, 0)
    entry = FaultEntry(mm, None, lambda info: None)
    assert entry.user_fault(area, 6, 0)
    assert do_mprotect_pkey(mm, area, 2 * PAGE, 3, key) == 0
    assert at(mm, area) is not at(mm, area + 2 * PAGE), "another key is another VMA"
    assert at(mm, area).vm_flags >> PKEY_SHIFT == key
    assert entry.user_fault(area + PAGE, 6, 0)
    for page in (area, area + PAGE):
        assert mm.pgtable.peek(page) >> 59 & 15 == key


def test_keys_bind_who_works_for_itself_but_not_a_tracer() -> None:
    mm = space()
    key = mm_pkey_alloc(mm)
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 3, PRIVATE, 0)
    assert do_mprotect_pkey(mm, area, PAGE, 3, key) == 0
    arch_set_user_pkey_access(mm, key, PKEY_DISABLE_WRITE)
    entry = FaultEntry(mm, None, lambda info: None)
    access = Uaccess(mm, entry.kernel_fault, "little")
    access.pkru = mm.memory.sched.current.pkru
    assert access.get_user(area, 4) == 0
    assert not access.put_user(area, 1, 4)
    mmap_read_lock(mm)
    assert fixup_user_fault(mm, area, False) == 0
    assert fixup_user_fault(mm, area, True) == -EFAULT
    assert not isinstance(get_user_page_remote(mm, area, True), int)
    assert get_user_page_remote(mm, area, True, unlockable=True) == -EFAULT
    mmap_read_unlock(mm)


def test_a_thread_that_closes_key_0_stops_the_kernel_too() -> None:
    """Key 0 is that of all other memory."""
    mm = space()
    area = vm_mmap_pgoff(mm, None, 0, PAGE, 3, PRIVATE, 0)
    access = Uaccess(mm, FaultEntry(mm, None, lambda info: None).kernel_fault, "little")
    assert access.put_user(area, 1, 4)
    access.pkru = 2
    assert access.get_user(area, 4) == 1 and not access.put_user(area, 2, 4)
    access.pkru = 1
    assert access.get_user(area, 4) is None
