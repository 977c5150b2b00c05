# SPDX-License-Identifier: GPL-2.0-or-later
"""#PF on x86-64: each error code, the checks in their order, signals, what the guest is told."""

from __future__ import annotations

import pytest

from archs.base import SEGV_ACCERR, SEGV_MAPERR, SEGV_PKUERR, SIGSEGV, SigInfo
from archs.x86.mm.fault import (
    TASK_SIZE_MAX,
    VSYSCALL_ADDR,
    X86_PF_INSTR,
    X86_PF_PK,
    X86_PF_PROT,
    X86_PF_RSVD,
    X86_PF_USER,
    X86_PF_WRITE,
)
from emu.tracepoint import FIELDS, Kind, Path, Reason, Served
from tests.support import Box, make_box

BASE, IP = 0x10_0000_0000, 0x401000
FIXED = 0x32
READ, WRITE, FETCH = X86_PF_USER, X86_PF_USER | X86_PF_WRITE, X86_PF_USER | X86_PF_INSTR
R, W, X = 1, 2, 4


def event(box: Box, address: int, code: int, kernel: bool = False) -> dict[str, object]:
    """The recorded fault."""
    box.memory.tp.on = True
    if kernel:
        box.entry.kernel_fault(address, code, "copy_from_user")
    else:
        box.entry.user_fault(address, code, IP)
    box.memory.tp.on = False
    kinds = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)
    rows = [dict(zip(FIELDS, row, strict=True)) for row in box.memory.tp.drain() if row[4] in kinds]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(
    ("prot", "code", "served"),
    [
        (R, READ, True),
        (R, WRITE, False),
        (R, FETCH, True),  # not checked; the page comes in, and the fetch faults again with PROT
        (R, FETCH | X86_PF_PROT, False),
        (R | W, WRITE, True),
        (R | W, WRITE | X86_PF_PROT, True),  # copy on write, or a race that is over
        (R | W, READ | X86_PF_PROT, False),
        (X, READ, True),  # no execute-only memory without protection keys
        (X, FETCH, True),
        (0, READ, False),
        (0, WRITE, False),
        (0, FETCH, False),
        (W, READ, True),
    ],
)
def test_access_error(prot: int, code: int, served: bool) -> None:
    box = make_box()
    box.map(BASE, 0x1000, prot, FIXED)
    assert box.entry.user_fault(BASE + 8, code, IP) == served
    assert box.signals == ([] if served else [SigInfo(SIGSEGV, SEGV_ACCERR, addr=BASE + 8)])
    assert not box.mm.mmap_lock.is_locked()


@pytest.mark.parametrize("code", [READ, WRITE, FETCH, READ | X86_PF_PROT])
def test_addresses_of_the_kernel_look_present(code: int) -> None:
    box = make_box()
    address = 0xFFFF_8000_0000_1234
    assert not box.entry.user_fault(address, code, IP)
    assert box.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=address)]
    assert box.entry.cpu.thread.error_code == code | X86_PF_PROT
    assert box.entry.cpu.thread.cr2 == address
    assert box.entry.cpu.thread.trap_nr == 14
    assert box.memory.vmstat["vma_lock_abort"] == 0, "a VMA was looked up"
    assert not box.entry.user_fault(TASK_SIZE_MAX, READ, IP)


def test_the_page_of_the_vsyscalls_is_looked_for() -> None:
    """fault_in_kernel_space leaves it out: do_user_addr_fault finds no VMA."""
    box = make_box()
    address = VSYSCALL_ADDR + 0x400
    assert not box.entry.user_fault(address, READ, IP)
    assert box.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=address)]
    assert box.memory.vmstat["vma_lock_abort"] == 1
    assert box.mm.mmap_lock.read_count == 1


def test_a_hole_tells_the_code_as_it_is() -> None:
    box = make_box()
    assert not box.entry.user_fault(BASE, WRITE, IP)
    assert (box.signals[-1].code, box.entry.cpu.thread.error_code) == (SEGV_MAPERR, WRITE)


def test_protection_key() -> None:
    box = make_box()
    box.map(BASE, 0x1000, R | W, FIXED)
    vma = box.mm.mm_mt.load(BASE)
    assert vma is not None
    vma.vm_flags |= 5 << 32
    assert not box.entry.user_fault(BASE, WRITE | X86_PF_PK | X86_PF_PROT, IP)
    assert box.signals == [SigInfo(SIGSEGV, SEGV_PKUERR, addr=BASE, pkey=5)]


def test_reserved_bits_are_a_bug_of_ours() -> None:
    box = make_box()
    with pytest.raises(AssertionError, match="reserved bits"):
        box.entry.user_fault(BASE, READ | X86_PF_RSVD | X86_PF_PROT, IP)


def test_faults_are_disabled() -> None:
    box = make_box()
    box.map(BASE, 0x1000, R | W, FIXED)
    box.memory.sched.current.pagefault_disabled = 1
    row = event(box, BASE, 0, kernel=True)
    assert (row["served"], row["result"]) == (Served.FIXUP, 0)
    assert box.page_at(BASE) is None


@pytest.mark.parametrize(
    ("locking", "users", "path", "reason", "success", "abort"),
    [
        ("6.18", 1, Path.VMA_LOCK, Reason.NONE, 1, 0),
        ("6.18", 2, Path.VMA_LOCK, Reason.NONE, 1, 0),
        ("rfc", 1, Path.MMAP_LOCK, Reason.SINGLE_USER, 0, 0),
        ("rfc", 2, Path.VMA_LOCK, Reason.NONE, 1, 0),
        ("mmap_lock", 2, Path.MMAP_LOCK, Reason.SCHEME, 0, 0),
    ],
)
def test_which_lock_serves(locking: str, users: int, path: Path, reason: Reason, success: int, abort: int) -> None:
    box = make_box(locking)
    box.map(BASE, 0x2000, R | W, FIXED)
    box.touch(BASE + 0x1000)  # there is an anon_vma
    before = dict(box.memory.vmstat)
    box.mm.mm_users = users
    row = event(box, BASE, WRITE)
    assert (row["path"], row["reason"], row["served"]) == (path, reason, Served.ANON)
    after = box.memory.vmstat
    for name, count in (("vma_lock_success", success), ("vma_lock_abort", abort)):
        assert after.get(name, 0) - before.get(name, 0) == count
        assert (name in after) == (locking != "mmap_lock")
    assert box.memory.vmstat["pgfault"] - before["pgfault"] == 1


def test_the_kernels_own_access_goes_by_mmap_lock() -> None:
    box = make_box()
    box.map(BASE, 0x1000, R | W, FIXED)
    row = event(box, BASE, X86_PF_WRITE, kernel=True)
    assert (row["path"], row["reason"], row["text"]) == (Path.MMAP_LOCK, Reason.KERNEL_MODE, "copy_from_user")
    row = event(box, BASE + 0x1000, 0, kernel=True)
    assert row["served"] == Served.FIXUP
    assert not box.signals
