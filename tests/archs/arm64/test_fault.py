# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory aborts on ARM64: every fault status, the checks in their order, signals, counts, tags."""

from __future__ import annotations

import pytest

from archs.arm64.mm.fault import FAULT_INFO, untagged_addr
from archs.base import (
    BUS_ADRALN,
    BUS_OBJERR,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SEGV_MTESERR,
    SI_KERNEL,
    SIGBUS,
    SIGKILL,
    SIGSEGV,
    SigInfo,
    TrapKind,
)
from emu.mm.mm_types import (
    FAULT_FLAG_INSTRUCTION,
    FAULT_FLAG_USER,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    VM_GROWSDOWN,
)
from emu.tracepoint import FIELDS, Kind, Path, Reason, Served
from tests.archs.arm64.space import CODE, DATA, R, Space, W, X

DABT, IABT, DABT_EL1, IABT_EL1 = 0x24 << 26 | 1 << 25, 0x20 << 26 | 1 << 25, 0x25 << 26 | 1 << 25, 0x21 << 26 | 1 << 25
WNR, CM, FNV = 1 << 6, 1 << 8, 1 << 10
TRANSLATION, ACCESS, PERMISSION = 7, 11, 15  # at level 3
KERNEL = 0xFFFF_8000_1234_5678
SVC = 0xD4000001

# The fault statuses of the Arm ARM (ESR_ELx, ISS encoding for a data abort) and what Linux answers to them.
PAGE_FAULTS = {*range(4, 16), 43}
ADDRESS_SIZE = {0, 1, 2, 3, 41}
EXTERNAL_ON_WALK = {19, 20, 21, 22, 23, 27, 28, 29, 30, 31}


@pytest.mark.parametrize("status", range(64))
def test_every_fault_status(status: int) -> None:
    space = Space()
    space.map(DATA, 0x1000, R)
    far = 0x5A << 56 | DATA + 8
    served = space.entry.user_fault(far, DABT | status, CODE)
    if status in PAGE_FAULTS:
        assert served and not space.signals
        return
    assert not served
    thread = 0, DABT | status
    if status == 16 or status == 24:
        expected = SigInfo(SIGBUS, BUS_OBJERR, addr=DATA + 8)
    elif status == 17:
        expected = SigInfo(SIGSEGV, SEGV_MTESERR, addr=0x0A << 56 | DATA + 8)
        thread = DATA + 8, DABT | status
    elif status == 33:
        expected = SigInfo(SIGBUS, BUS_ADRALN, addr=far)
        thread = DATA + 8, DABT | status
    elif status == 53:
        expected = SigInfo(SIGBUS, BUS_OBJERR, addr=DATA + 8)
    else:
        expected = SigInfo(SIGKILL, SI_KERNEL, addr=DATA + 8)
    assert space.signals == [expected]
    assert (space.cpu.thread.fault_address, space.cpu.thread.fault_code) == thread


def test_names_of_fault_statuses() -> None:
    for status in range(64):
        name = FAULT_INFO[status][3]
        assert ("translation fault" in name) == (status in {4, 5, 6, 7, 43})
        assert ("permission" in name) == (status in range(12, 16))
        assert ("access flag" in name) == (status in range(8, 12))
        assert ("address size" in name) == (status in ADDRESS_SIZE)
        assert ("table walk" in name) == (status in EXTERNAL_ON_WALK)
        for first in (4, 8, 12):
            if first <= status < first + 4:
                assert name.startswith(f"level {status - first} ")
    unknown = {18, 25, 26, 32, *range(34, 41), 42, *range(44, 48), 50, 51, *range(54, 61), 63}
    assert {status for status in range(64) if FAULT_INFO[status][3] == f"unknown {status}"} == unknown


def test_external_abort_without_an_address() -> None:
    space = Space()
    assert not space.entry.user_fault(DATA, DABT | FNV | 16, CODE)
    assert space.signals == [SigInfo(SIGBUS, BUS_OBJERR, addr=0)]


@pytest.mark.parametrize("locking", ["mmap_lock", "rfc", "6.18"])
@pytest.mark.parametrize(
    ("flags", "esr", "allowed"),
    [
        (0, DABT, False),
        (R, DABT, True),
        (W, DABT, True),  # writable implies readable
        (X, DABT, True),  # no Enhanced PAN: executable implies readable
        (R | X, DABT | WNR, False),
        (W, DABT | WNR, True),
        (R, DABT | WNR | CM, True),  # cache maintenance counts as a read
        (R | W, IABT, False),
        (X, IABT, True),
        (R | X, IABT | WNR, True),  # an instruction abort is looked at first
    ],
)
def test_required_permission(locking: str, flags: int, esr: int, allowed: bool) -> None:
    space = Space(locking)
    space.mm.mm_users = 2
    space.map(DATA, 0x1000, flags)
    assert space.entry.user_fault(DATA + 4, esr | TRANSLATION, CODE) is allowed
    assert space.signals == ([] if allowed else [SigInfo(SIGSEGV, SEGV_ACCERR, addr=DATA + 4)])
    if not allowed:
        assert space.cpu.thread.fault_address == DATA + 4
        assert space.cpu.thread.fault_code == esr | TRANSLATION
    assert not space.mm.mmap_lock.is_locked()


def row_of(space: Space, far: int, esr: int, kernel: bool = False) -> dict[str, object]:
    space.tp.on = True
    if kernel:
        space.entry.kernel_fault(far, esr, "some_function")
    else:
        space.entry.user_fault(far, esr, CODE)
    space.tp.on = False
    kinds = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)
    rows = [dict(zip(FIELDS, row, strict=True)) for row in space.tp.drain() if row[4] in kinds]
    assert len(rows) == 1
    return rows[0]


def test_event_of_a_served_fault() -> None:
    space = Space()
    vma = space.map(DATA, 0x1000, R | W)
    row = row_of(space, DATA + 12, DABT | WNR | TRANSLATION)
    assert (row["kind"], row["address"], row["ip"]) == (Kind.PAGE_FAULT_USER, DATA + 12, CODE)
    assert (row["code"], row["vma"]) == (DABT | WNR | TRANSLATION, vma.id)
    assert (row["path"], row["reason"], row["served"]) == (Path.VMA_LOCK, Reason.NONE, Served.ANON)
    flags = row["flags"]
    assert isinstance(flags, int)
    assert flags & (FAULT_FLAG_WRITE | FAULT_FLAG_USER | FAULT_FLAG_VMA_LOCK | FAULT_FLAG_INSTRUCTION) == (
        FAULT_FLAG_WRITE | FAULT_FLAG_USER | FAULT_FLAG_VMA_LOCK
    )


@pytest.mark.parametrize(
    ("locking", "users", "path", "reason", "counted"),
    [
        ("6.18", 1, Path.VMA_LOCK, Reason.NONE, 1),
        ("rfc", 1, Path.MMAP_LOCK, Reason.SINGLE_USER, 0),
        ("rfc", 2, Path.MMAP_LOCK, Reason.NO_ANON_VMA, 0),  # the VMA has no page yet
        ("mmap_lock", 2, Path.MMAP_LOCK, Reason.SCHEME, 0),
    ],
)
def test_where_an_access_error_is_decided(locking: str, users: int, path: Path, reason: Reason, counted: int) -> None:
    space = Space(locking)
    space.mm.mm_users = users
    space.map(DATA, 0x1000, R)
    row = row_of(space, DATA, DABT | WNR | PERMISSION)
    assert (row["path"], row["reason"], row["served"]) == (path, reason, Served.SIGNAL)
    assert space.memory.vmstat.get("vma_lock_success", 0) == counted
    assert space.memory.vmstat["pgfault"] == 0
    assert space.signals == [SigInfo(SIGSEGV, SEGV_ACCERR, addr=DATA)]


def test_no_vma() -> None:
    space = Space()
    row = row_of(space, DATA, DABT | 4)
    assert (row["path"], row["reason"], row["served"]) == (Path.MMAP_LOCK, Reason.NO_VMA, Served.SIGNAL)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=DATA)]
    assert space.memory.vmstat["vma_lock_abort"] == 1


def test_stack_grows() -> None:
    space = Space()
    vma = space.map(DATA, 0x1000, R | W | VM_GROWSDOWN)
    row = row_of(space, DATA - 0x1800, DABT | WNR | TRANSLATION)
    assert (row["path"], row["served"]) == (Path.MMAP_LOCK_WRITE, Served.STACK)
    assert vma.vm_start == DATA - 0x2000
    assert not space.signals


@pytest.mark.parametrize("esr", [DABT | 15, DABT | WNR | 7, IABT | 7])
def test_kernel_address_always_looks_unmapped(esr: int) -> None:
    space = Space()
    assert not space.entry.user_fault(KERNEL, esr & ~0x3F | 4, CODE)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=KERNEL)]
    assert space.cpu.thread.fault_address == KERNEL
    assert space.cpu.thread.fault_code == esr & ~0x3F | 4
    assert space.memory.vmstat["vma_lock_abort"] == 0  # nothing was looked up


def test_sanitised_syndrome_keeps_only_what_programs_know() -> None:
    space = Space()
    noise = 1 << 24 | 1 << 14 | 1 << 7 | FNV
    space.entry.user_fault(KERNEL, DABT | WNR | CM | noise | 5, CODE)
    assert space.cpu.thread.fault_code == DABT | WNR | CM | 4
    space.entry.user_fault(KERNEL, IABT | WNR | noise | 5, CODE)
    assert space.cpu.thread.fault_code == IABT | 4
    space.entry.user_fault(KERNEL, DABT_EL1 | 33, CODE)
    assert space.cpu.thread.fault_code == 0


def test_address_between_the_halves_is_an_access_by_nobody() -> None:
    space = Space()
    far = 1 << 50
    assert not space.entry.user_fault(far, DABT | 4, CODE)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=far)]


def test_kernel_faults() -> None:
    space = Space()
    space.map(DATA, 0x1000, R)
    row = row_of(space, DATA, DABT_EL1 | TRANSLATION, kernel=True)
    assert (row["kind"], row["text"], row["ip"]) == (Kind.PAGE_FAULT_KERNEL, "some_function", 0)
    assert (row["path"], row["reason"]) == (Path.MMAP_LOCK, Reason.KERNEL_MODE)
    assert row["served"] == Served.ZERO_PAGE
    assert not space.entry.kernel_fault(DATA, DABT_EL1 | WNR | PERMISSION, "f")
    assert not space.entry.kernel_fault(DATA + 0x1000, DABT_EL1 | TRANSLATION, "f")
    assert not space.entry.kernel_fault(KERNEL, DABT_EL1 | 4, "f")
    row = row_of(space, KERNEL, DABT_EL1 | 4, kernel=True)
    assert row["served"] == Served.FIXUP
    assert not space.signals
    space.mm.memory.sched.current.pagefault_disabled = 1
    assert not space.entry.kernel_fault(DATA, DABT_EL1 | TRANSLATION, "f")


def test_kernel_must_not_take_other_aborts() -> None:
    space = Space()
    space.map(DATA, 0x1000, R | X)
    for esr in (DABT_EL1 | 48, DABT_EL1 | 16, IABT_EL1 | PERMISSION):
        with pytest.raises(AssertionError):
            space.entry.kernel_fault(DATA, esr, "f")


def test_alignment_faults_are_no_page_faults_in_the_record() -> None:
    space = Space()
    space.tp.on = True
    space.entry.user_fault(DATA + 1, DABT | 33, CODE)
    assert space.tp.drain() == []
    assert space.signals == [SigInfo(SIGBUS, BUS_ADRALN, addr=DATA + 1)]


def test_untagged_addr() -> None:
    assert untagged_addr(0xFF12_3456_789A_BCDE) == 0x0012_3456_789A_BCDE
    assert untagged_addr(0x1280_0000_0000_0000) == 0x1280_0000_0000_0000
    assert untagged_addr(KERNEL) == KERNEL


def test_a_guest_with_tagged_pointers() -> None:
    space = Space()
    space.map(DATA, 0x1000, R | W)
    space.load(0xF9000022, 0xF9400040, SVC)  # str x2, [x1]; ldr x0, [x2]
    space.set_x(1, 0xC3 << 56 | DATA)
    space.set_x(2, 0x99 << 56 | DATA)
    assert space.run() == TrapKind.SYSCALL
    assert space.x(0) == 0x99 << 56 | DATA
    space.load(0xF9400020, at=CODE + 0x1000)  # ldr x0, [x1]
    space.set_x(1, 0xC3 << 56 | DATA + 0x1008)
    assert space.run() == TrapKind.FAULT
    assert space.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=0xC3 << 56 | DATA + 0x1008)]
    assert space.cpu.thread.fault_address == DATA + 0x1008


def test_a_guest_that_branches_to_a_tagged_address() -> None:
    """TBI holds for instructions too: the tag is gone from the program counter."""
    space = Space()
    space.load(0xD61F0020, SVC)  # br x1
    space.set_x(1, 0x55 << 56 | CODE + 4)
    assert space.run() == TrapKind.SYSCALL
    assert space.cpu.pc == CODE + 8


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("native", [True, False])
def test_a_guest_that_touches_memory(native: bool, inside: bool) -> None:
    """Syndromes as the MMU raises them, from the guest's own instructions."""
    space = Space(native=native, serve_inside=inside)
    space.map(DATA, 0x3000, R | W)
    space.tp.on = True
    words = (
        0xF9400020,  # ldr x0, [x1]: zero page
        0xF9000022,  # str x2, [x1]: copied
        0xF9400023,  # ldr x3, [x1]
        0x91404021,  # add x1, x1, #16, lsl #12
        0xD1403C21,  # sub x1, x1, #15, lsl #12
        0xF9000022,  # str x2, [x1]: next page, written first
        0xD61F0080,  # br x4: to memory that is not executable
    )
    space.load(*words)
    space.set_x(1, DATA + 0x10)
    space.set_x(2, 42)
    space.set_x(4, DATA + 0x40)
    assert space.run() == TrapKind.FAULT
    rows = [dict(zip(FIELDS, row, strict=True)) for row in space.tp.drain() if row[4] == Kind.PAGE_FAULT_USER]
    assert [(r["address"], r["ip"], r["code"], r["served"]) for r in rows] == [
        (DATA + 0x10, CODE, DABT | 7, Served.ZERO_PAGE),
        (DATA + 0x10, CODE + 4, DABT | WNR | 15, Served.COW),
        (DATA + 0x1010, CODE + 20, DABT | WNR | 7, Served.ANON),
        (DATA + 0x40, DATA + 0x40, IABT | 15, Served.SIGNAL),
    ]
    assert space.x(3) == 42
    assert space.signals == [SigInfo(SIGSEGV, SEGV_ACCERR, addr=DATA + 0x40)]
    assert space.cpu.pc == DATA + 0x40


def test_access_flag_and_clean_pages_are_kept_by_faults() -> None:
    """An old entry faults once; a writable clean one on its first write."""
    space = Space()
    space.map(DATA, 0x1000, R | W)
    space.load(0xF9000022, SVC)  # str x2, [x1]
    space.set_x(1, DATA)
    assert space.run() == TrapKind.SYSCALL
    table = space.mm.pgtable
    format = table.format
    slot = table.slot(DATA)
    table.set(slot, format.pte_mkclean(format.pte_mkold(table.get(slot))))
    space.mm.flush_tlb()
    space.load(0xF9400020, 0xF9000022, SVC, at=CODE + 0x1000)  # ldr x0, [x1]; str x2, [x1]
    space.set_x(1, DATA)
    space.tp.on = True
    assert space.run() == TrapKind.SYSCALL
    rows = [dict(zip(FIELDS, row, strict=True)) for row in space.tp.drain() if row[4] == Kind.PAGE_FAULT_USER]
    assert [(r["code"], r["served"]) for r in rows] == [
        (DABT | ACCESS, Served.YOUNG),
        (DABT | WNR | PERMISSION, Served.YOUNG),
    ]
    assert format.pte_dirty(table.get(slot)) and format.pte_young(table.get(slot))
