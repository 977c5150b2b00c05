# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage interrupts on PowerPC: each kind, the checks in their order, signals, what the guest is told."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from archs.base import BUS_OBJERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGCHLD, SIGSEGV, SigInfo
from archs.powerpc import ARCHES, PowerPcArch
from archs.powerpc.mm.fault import (
    DSISR_BAD_FAULT_32S,
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_G,
    DSISR_NOHPTE,
    DSISR_PROTFAULT,
    INTERRUPT_DATA_SEGMENT,
    INTERRUPT_DATA_STORAGE,
    INTERRUPT_INST_SEGMENT,
    INTERRUPT_INST_STORAGE,
    SEGV_BNDERR,
)
from emu.hw.ram import Ram
from emu.mm.memory import handle_mm_fault
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import FAULT_FLAG_INSTRUCTION, VM_FAULT_RETRY
from emu.mm.mmap import do_mmap
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.mprotect import do_mprotect_pkey
from emu.tracepoint import Path, Reason, Tracepoints

BASE, IP = 0x1000_0000, 0x1000
R, W, X = 1, 2, 4
DATA, INST = INTERRUPT_DATA_STORAGE << 32, INTERRUPT_INST_STORAGE << 32
READ, WRITE = DATA | DSISR_NOHPTE, DATA | DSISR_NOHPTE | DSISR_ISSTORE
FETCH = INST | DSISR_NOHPTE


class Space:
    """One address space with a fault entry; `signals` holds what it sent, `told` what the CPU was told."""

    def __init__(self, arch: PowerPcArch, locking: str = "6.18") -> None:
        self.memory = MemoryManager(Ram(8 << 20), Tracepoints(), locking)
        self.mm = self.memory.new_mm(arch.format)
        self.signals: list[SigInfo] = []
        self.told: list[tuple[int, int, int]] = []
        self.entry = arch.make_fault_entry(self.mm, self, self.signals.append)

    def set_fault(self, trap: int, dar: int, dsisr: int) -> None:
        """What PowerPcCpu.set_fault would keep."""
        self.told.append((trap, dar, dsisr))

    def map(self, prot: int) -> None:
        mmap_write_lock(self.mm)
        assert do_mmap(self.mm, None, BASE, 0x1000, prot, 0x32, 0)[0] == BASE
        mmap_write_unlock(self.mm)


@pytest.fixture(params=ARCHES, ids=lambda arch: arch.name)
def arch(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("prot", "syndrome", "served"),
    [
        (R, READ, True),
        (R, WRITE, False),
        (R, FETCH, False),  # checked before anything is brought in
        (R | W, WRITE, True),
        (R | X, FETCH, True),
        (R | X, READ, True),
        (X, FETCH, True),
        (0, READ, False),
        (0, WRITE, False),
        (0, FETCH, False),
        (X, READ, False),
        (W, READ, True),
    ],
)
def test_access_error(arch: PowerPcArch, prot: int, syndrome: int, served: bool) -> None:
    space = Space(arch)
    space.map(prot)
    assert space.entry.user_fault(BASE + 4, syndrome, IP) == served
    assert space.signals == ([] if served else [SigInfo(SIGSEGV, SEGV_ACCERR, addr=BASE + 4)])
    assert space.told == [(syndrome >> 32, BASE + 4, syndrome & 0xFFFF_FFFF)]
    assert not space.mm.mmap_lock.is_locked()


def test_a_hole(arch: PowerPcArch) -> None:
    space = Space(arch)
    assert not space.entry.user_fault(BASE, WRITE, IP)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_MAPERR, addr=BASE)]
    assert space.memory.vmstat["vma_lock_abort"] == 1


def test_no_execute_is_an_access_error(arch: PowerPcArch) -> None:
    space = Space(arch)
    space.map(R | W)
    assert space.entry.user_fault(BASE, WRITE, IP)
    assert not space.entry.user_fault(BASE, INST | DSISR_NOEXEC_OR_G, IP)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_ACCERR, addr=BASE)]


def test_protection_fault_on_a_copy_is_served(arch: PowerPcArch) -> None:
    space = Space(arch)
    space.map(R | W)
    assert space.entry.user_fault(BASE, READ, IP)  # the zero page
    assert space.entry.user_fault(BASE, DATA | DSISR_PROTFAULT | DSISR_ISSTORE, IP)
    assert space.mm.rss[1] == 1


@pytest.mark.parametrize("trap", [INTERRUPT_DATA_SEGMENT, INTERRUPT_INST_SEGMENT])
def test_segment_interrupt_is_out_of_bounds(trap: int) -> None:
    space = Space(ARCHES[0])
    address = 1 << 60
    assert not space.entry.user_fault(address, trap << 32, IP)
    assert space.signals == [SigInfo(SIGSEGV, SEGV_BNDERR, addr=address)]
    assert not space.entry.kernel_fault(address, trap << 32, "copy_from_user")
    assert len(space.signals) == 1


@pytest.mark.parametrize("bit", [1 << n for n in range(32) if DSISR_BAD_FAULT_32S >> n & 1])
def test_bad_faults_are_bus_errors(arch: PowerPcArch, bit: int) -> None:
    space = Space(arch)
    space.map(R | W)
    assert not space.entry.user_fault(BASE, DATA | bit, IP)
    assert space.signals == [SigInfo(SIGBUS, BUS_OBJERR, addr=BASE)]


def test_the_kernel_does_not_reach_its_own_addresses(arch: PowerPcArch) -> None:
    space = Space(arch)
    space.map(R)
    task_size = space.mm.pgtable.format.task_size
    assert not space.entry.kernel_fault(task_size, READ, "copy_from_user")
    assert not space.entry.kernel_fault(BASE, FETCH, "copy_from_user")
    assert space.entry.kernel_fault(BASE, READ, "copy_from_user")
    assert not space.entry.kernel_fault(BASE, WRITE, "copy_to_user")
    assert not space.signals
    assert not space.told, "the kernel's own faults are not the task's"


def test_what_an_access_error_under_the_vma_lock_counts(arch: PowerPcArch) -> None:
    """6.18 sends the signal without the mmap_lock; before, the VMA lock only said that it cannot serve this."""
    space = Space(arch)
    space.map(R)
    assert not space.entry.user_fault(BASE, WRITE, IP)
    assert space.entry.path == Path.VMA_LOCK
    assert space.memory.vmstat["vma_lock_success"] == 1
    older = Space(arch, "6.4")
    older.map(R | W)
    assert older.entry.user_fault(BASE, WRITE, IP)  # it has an anon_vma now, which that version asks for
    assert do_mprotect_pkey(older.mm, BASE, 0x1000, R) == 0
    older.memory.vmstat.update(dict.fromkeys(older.memory.vmstat, 0))
    assert not older.entry.user_fault(BASE, WRITE, IP)
    assert older.entry.path == Path.MMAP_LOCK
    assert older.entry.reason == Reason.ACCESS_ERROR
    assert older.memory.vmstat["vma_lock_success"] == 0


def test_the_kernel_s_own_accesses_take_no_vma_lock(arch: PowerPcArch) -> None:
    space = Space(arch)
    space.map(R | W)
    assert space.entry.kernel_fault(BASE, WRITE, "copy_to_user")
    assert space.entry.reason == Reason.KERNEL_MODE
    counters = space.memory.vmstat
    assert not any(counters[f"vma_lock_{name}"] for name in ("success", "abort", "miss", "retry"))


def test_a_fetch_is_handled_as_one(arch: PowerPcArch) -> None:
    space = Space(arch)
    space.map(R | X)
    assert space.entry.user_fault(BASE, FETCH, IP)
    assert space.entry.flags & FAULT_FLAG_INSTRUCTION
    assert space.entry.user_fault(BASE, READ, IP)
    assert not space.entry.flags & FAULT_FLAG_INSTRUCTION


@pytest.mark.parametrize("killed", [False, True])
def test_a_retry_ends_for_who_is_killed(arch: PowerPcArch, killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt gives its lock away; a fatal signal then ends the fault at once, else it is tried again."""
    space = Space(arch)
    space.map(R | W)
    attempts = []

    def handle(vma: Any, address: int, flags: int) -> int:
        attempts.append(flags)
        if len(attempts) > 1:
            return handle_mm_fault(vma, address, flags)
        space.mm.scheme.vma_end_read(vma)
        return VM_FAULT_RETRY

    monkeypatch.setattr("archs.powerpc.mm.fault.handle_mm_fault", handle)
    space.mm.fatal_signal_pending = lambda: killed
    assert space.entry.user_fault(BASE, WRITE, IP)
    assert len(attempts) == (1 if killed else 2)
    assert not space.signals
    assert space.memory.vmstat["vma_lock_retry"] == 1


@pytest.mark.parametrize("arch_name", [each.name for each in ARCHES])
def test_siginfo_of_a_child(arch_name: str) -> None:
    """Status and times lie where the C library looks for them."""
    chosen = next(each for each in ARCHES if each.name == arch_name)
    info = SigInfo(SIGCHLD, 1, pid=77, uid=5, status=3, utime=11, stime=12)
    data = chosen.pack_siginfo(info)
    order = ">" if chosen.elf.big_endian else "<"
    if chosen.elf.word == 8:
        assert struct.unpack_from(order + "IIi4xqq", data, 16) == (77, 5, 3, 11, 12)
    else:
        assert struct.unpack_from(order + "IIiii", data, 12) == (77, 5, 3, 11, 12)
