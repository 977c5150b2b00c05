# SPDX-License-Identifier: GPL-2.0-or-later
"""What the fault entries of all architectures share: how the last fault went, and its event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archs.base import SigInfo
from emu.mm.fault_event import FaultEvent
from emu.mm.memory import handle_mm_fault
from emu.mm.mm_types import FAULT_FLAG_SPECULATIVE, VM_FAULT_RETRY, mm_struct, vm_area_struct
from emu.tracepoint import Kind, Path

FAULT_NS = 100_000  # more than any fault takes that does not sleep

_USER, _KERNEL = int(Kind.PAGE_FAULT_USER), int(Kind.PAGE_FAULT_KERNEL)


class RecordedFaultEntry:
    """The entry of page faults of one task. How the last fault went is left in `path`, `reason`, `flags`, `vma_id`,
    `result` and `served`. An architecture derives from it and implements `handle`."""

    def __init__(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None]) -> None:
        self.mm = mm
        self.tp = mm.tp
        self._cpu = cpu
        self.owner: Any = None
        self.force_sig = force_sig
        self.scheme = mm.scheme
        self.memory = mm.memory
        self.vmstat = mm.memory.vmstat
        self.sched = mm.memory.sched
        self.event = self.sched.kind_of(FaultEvent)(self.sched, mm.pgtable)
        self.entry_ns = mm.memory.costs.entry
        self.smp = mm.memory.costs.batches is not None
        self.deadline = 0
        self.path = 0
        self.reason = 0
        self.flags = 0
        self.vma_id = 0
        self.result = 0
        self.served = 0  # emu.tracepoint.Served

    @property
    def cpu(self) -> Any:
        """The CPU with the registers of the task that faulted."""
        return self._cpu if self.owner is None else self.owner.cpu

    def handle(self, address: int, syndrome: int, user: bool) -> bool:
        """The architecture's page-fault function. True: go on at the same instruction."""
        raise NotImplementedError

    def speculate(self, vma: vm_area_struct | None, address: int, flags: int) -> int:
        """The second part of a speculative fault, which all architectures have alike: handle it on a copy of the VMA,
        None = the attempt was given up already. A vm_fault_t; VM_FAULT_RETRY: go on under mmap_lock."""
        fault = VM_FAULT_RETRY
        if vma is not None:
            self.vma_id = vma.id
            self.flags = flags | FAULT_FLAG_SPECULATIVE
            fault = handle_mm_fault(vma, address, self.flags)
        if fault & VM_FAULT_RETRY:
            self.vmstat["spf_abort"] += 1
            self.reason = self.scheme.reason
        else:
            self.served = self.mm.served
            self.path = Path.SPECULATIVE
            self.result = fault
        return fault

    def user_fault(self, address: int, syndrome: int, ip: int) -> bool:
        """A page fault in user mode: True when served, False when a signal was sent instead."""
        if not self.tp.on:
            self.memory.page_faults += 1
            if self.smp:
                self.sched.charge(self.entry_ns)
            else:
                self.sched.clock += self.entry_ns
            return self.handle(address, syndrome, True)
        return self._recorded(_USER, address, syndrome, ip, None)

    def user_fault_before(self, address: int, syndrome: int, ip: int) -> bool | None:
        """As `user_fault`, inside the engine, where the scheduler must be asked at `deadline`: None = that is too near
        to serve the fault here, False = also when it has come. The engine's budget ends then."""
        sched = self.sched
        sched.leave_guest()
        if self.deadline - sched.clock < FAULT_NS:
            return None
        served = self.user_fault(address, syndrome, ip)
        left = self.deadline - sched.clock
        self.mm.cpu.engine.end_within(left << 2)
        return served and left > 0

    def kernel_fault(self, address: int, syndrome: int, function: str) -> bool:
        """A fault by the kernel itself in `function`: True when served, False when the access must fail."""
        owner = self.owner
        cpu = self.mm.cpu
        mine = owner is not None and cpu is not None and cpu.task is owner
        if mine:
            cpu.pins += 1
        if self.tp.on:
            served = self._recorded(_KERNEL, address, syndrome, 0, function)
        else:
            self.memory.page_faults += 1
            self.sched.charge(self.entry_ns)
            served = self.handle(address, syndrome, False)
        if mine:
            # Others may have run meanwhile. Whoever copies to or from the guest may hold this CPU, and finds it as
            # it was.
            cpu.pins -= 1
            if cpu.task is not owner:
                owner.machine.load_registers(owner)
        return served

    def _recorded(self, kind: int, address: int, syndrome: int, ip: int, function: str | None) -> bool:
        event = self.event
        event.begin(address, ip)
        self.served = 0
        self.sched.charge(self.entry_ns)
        served = self.handle(address, syndrome, kind == _USER)
        event.end(kind, address, ip, syndrome, self.flags, self.vma_id, self.path, self.reason, self.served,
                  self.result, function)  # fmt: skip
        return served
