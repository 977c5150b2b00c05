# SPDX-License-Identifier: GPL-2.0-or-later
"""mseal: what is sealed stays as it is, whichever call would change it; and what the call itself refuses."""

from __future__ import annotations

from errno import EINVAL, EPERM

from emu.mm.madvise import do_madvise
from emu.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, ksys_munmap, vm_mmap_pgoff
from emu.mm.mprotect import do_mprotect_pkey, do_mseal
from emu.mm.mremap import MREMAP_FIXED, MREMAP_MAYMOVE, sys_mremap
from tests.support import make_box

PAGE = 4096
PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS


def test_a_sealed_range_stays_as_it_is() -> None:
    box = make_box()
    mm = box.mm
    at = vm_mmap_pgoff(mm, None, 0, 8 * PAGE, 3, PRIVATE, 0)
    assert do_mseal(mm, at + 2 * PAGE, 3 * PAGE, 0) == 0
    before = [(vma.vm_start, vma.vm_end) for vma in mm.mm_mt]
    assert ksys_munmap(mm, at + PAGE, 2 * PAGE) == -EPERM
    assert ksys_munmap(mm, at + 3 * PAGE, PAGE) == -EPERM
    assert ksys_munmap(mm, at, 8 * PAGE) == -EPERM
    assert vm_mmap_pgoff(mm, None, at + 3 * PAGE, PAGE, 1, PRIVATE | MAP_FIXED, 0) == -EPERM
    assert do_mprotect_pkey(mm, at + 4 * PAGE, PAGE, 1) == -EPERM
    assert sys_mremap(mm, at + 2 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0) == -EPERM
    assert sys_mremap(mm, at + 6 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 3 * PAGE) == -EPERM
    sealed = mm.mm_mt.load(at + 2 * PAGE)
    assert sealed is not None
    assert (sealed.vm_start, sealed.vm_end) == (at + 2 * PAGE, at + 5 * PAGE)
    assert [vma.vm_end for vma in mm.mm_mt][-1] == before[-1][1]
    assert do_madvise(mm, at + 2 * PAGE, PAGE, 3) == 0  # MADV_WILLNEED discards nothing
    assert ksys_munmap(mm, at + 5 * PAGE, PAGE) == 0, "what is not sealed can go"


def test_what_mseal_refuses() -> None:
    mm = make_box().mm
    at = vm_mmap_pgoff(mm, None, 0, 2 * PAGE, 3, PRIVATE, 0)
    assert do_mseal(mm, at, PAGE, 1) == -EINVAL
    assert do_mseal(mm, at + 1, PAGE, 0) == -EINVAL
    assert do_mseal(mm, at, (1 << 64) - 100, 0) == -EINVAL, "a size that is zero once it is rounded"
    assert do_mseal(mm, at, (1 << 64) - PAGE, 0) == -EINVAL, "an end that wraps around"
    assert do_mseal(mm, at, 0, 0) == 0


def test_mremap_refuses_a_place_beyond_the_address_space() -> None:
    mm = make_box().mm
    at = vm_mmap_pgoff(mm, None, 0, 2 * PAGE, 3, PRIVATE, 0)
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    assert sys_mremap(mm, at, PAGE, 2 * PAGE, flags, mm.task_size - PAGE) == -EINVAL
