# SPDX-License-Identifier: GPL-2.0-or-later
"""Data and instruction storage interrupts on PowerPC, check by check in the order of arch/powerpc/mm/fault.c.

A syndrome is the interrupt's vector << 32 | DSISR; for instruction storage the bits of SRR1 that Linux puts into DSISR.
There are no protection keys here (no VMA has one), and KUAP never refuses: every access of the kernel goes through
functions that open it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archs.base import BUS_ADRERR, BUS_OBJERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV, SigInfo
from archs.fault_entry import RecordedFaultEntry
from emu.mm.memory import handle_mm_fault
from emu.mm.mm_types import (
    FAULT_FLAG_DEFAULT,
    FAULT_FLAG_INSTRUCTION,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_USER,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    VM_EXEC,
    VM_FAULT_COMPLETED,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_READ,
    VM_WRITE,
    mm_struct,
    vm_area_struct,
)
from emu.mm.mmap_lock import lock_mm_and_find_vma, mmap_read_unlock
from emu.tracepoint import Path, Reason, Served

INTERRUPT_DATA_STORAGE, INTERRUPT_DATA_SEGMENT = 0x300, 0x380
INTERRUPT_INST_STORAGE, INTERRUPT_INST_SEGMENT = 0x400, 0x480
DSISR_NOHPTE = 0x40000000
DSISR_NOEXEC_OR_G = 0x10000000
DSISR_PROTFAULT = 0x08000000
DSISR_ISSTORE = 0x02000000
# Bad direct store, bad access to a guarded page, bad external control.
DSISR_BAD_FAULT_32S = 0x80000000 | 0x04000000 | 0x00100000
# Besides: attribute conflict, unsupported MMU configuration, process table, icswx, copy/paste, AMO, cache-inhibited.
DSISR_BAD_FAULT_64S = DSISR_BAD_FAULT_32S | 0x20000000 | 0x00080000 | 0x00020000 | 0x00004000 | 0x8 | 0x4 | 0x2
SEGV_BNDERR = 3
VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC

_VMA_LOCK, _MMAP_LOCK, _MMAP_LOCK_WRITE = int(Path.VMA_LOCK), int(Path.MMAP_LOCK), int(Path.MMAP_LOCK_WRITE)


def access_error(is_write: bool, is_exec: bool, vma: vm_area_struct) -> bool:
    """The VMA does not allow the access. All CPUs here have CPU_FTR_NOEXECUTE."""
    flags = vma.vm_flags
    if is_exec:
        return not flags & VM_EXEC
    if is_write:
        return not flags & VM_WRITE
    return flags & VM_ACCESS_FLAGS in (0, VM_EXEC)


class FaultEntry(RecordedFaultEntry):
    """The entry of storage interrupts of one task."""

    def __init__(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None], bad_fault: int) -> None:
        super().__init__(mm, cpu, force_sig)
        self.bad_fault = bad_fault  # DSISR_BAD_FAULT_64S or _32S

    def handle(self, address: int, syndrome: int, user: bool) -> bool:
        """___do_page_fault. True: go on at the same instruction."""
        self.path = self.reason = self.flags = self.vma_id = self.result = self.served = 0
        mm = self.mm
        trap = syndrome >> 32
        error_code = syndrome & 0xFFFF_FFFF
        if user:
            self.cpu.set_fault(trap, address, error_code)
        if trap in (INTERRUPT_DATA_SEGMENT, INTERRUPT_INST_SEGMENT):
            return self.do_bad_segment_interrupt(address, user)
        is_exec = trap == INTERRUPT_INST_STORAGE
        is_write = error_code & DSISR_ISSTORE != 0
        if error_code & self.bad_fault:  # page_fault_is_bad
            return self.signal(SIGBUS, BUS_OBJERR, address) if user else self.fixup()
        if not user and (is_exec or address >= mm.pgtable.format.task_size):  # bad_kernel_fault
            return self.fixup()
        if not user and self.sched.current.pagefault_disabled:  # faulthandler_disabled
            return self.bad_area_nosemaphore(address, user, SEGV_MAPERR)

        flags = FAULT_FLAG_DEFAULT
        if user:
            flags |= FAULT_FLAG_USER
        if is_write:
            flags |= FAULT_FLAG_WRITE
        if is_exec:
            flags |= FAULT_FLAG_INSTRUCTION

        scheme = self.scheme
        if not user:
            self.reason = Reason.KERNEL_MODE
        elif scheme.needs_second_user and scheme.not_tried(mm, "powerpc"):
            self.reason = scheme.reason
        elif scheme.speculative:
            vma = scheme.begin(mm, address)
            if vma is not None and access_error(is_write, is_exec, vma):
                scheme.abort("access_error")
                vma = None
            fault = self.speculate(vma, address, flags)
            if not fault & VM_FAULT_RETRY:
                return self.mm_fault_error(address, fault, user) if fault & VM_FAULT_ERROR else True
            if mm.fatal_signal_pending():
                return True
        else:
            vma = scheme.lock_vma_under_rcu(mm, address)
            if vma is None:
                self.reason = scheme.reason
            elif access_error(is_write, is_exec, vma):
                vma_id = vma.id
                scheme.vma_end_read(vma)
                if scheme.signals_under_vma_lock:
                    self.vma_id = vma_id
                    self.path = _VMA_LOCK
                    self.vmstat["vma_lock_success"] += 1
                    self.flags = flags | FAULT_FLAG_VMA_LOCK
                    return self.bad_area_nosemaphore(address, user, SEGV_ACCERR)
                self.reason = Reason.ACCESS_ERROR
            else:
                self.vma_id = vma.id
                self.flags = flags | scheme.fault_flag
                fault = handle_mm_fault(vma, address, self.flags)
                self.served = mm.served
                if not fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED) or not scheme.callee_drops_lock:
                    scheme.vma_end_read(vma)
                if not fault & VM_FAULT_RETRY:
                    self.vmstat["vma_lock_success"] += 1
                    self.path = _VMA_LOCK
                    self.result = fault
                    return self.mm_fault_error(address, fault, user) if fault & VM_FAULT_ERROR else True
                self.vmstat["vma_lock_retry"] += 1
                self.reason = Reason.RETRY
                if fault & VM_FAULT_MAJOR:
                    flags |= FAULT_FLAG_TRIED
                if mm.fatal_signal_pending():
                    return True  # the signal is taken on the way out

        # lock_mmap:
        self.path = _MMAP_LOCK
        grown = False
        while True:
            self.flags = flags
            vma = lock_mm_and_find_vma(mm, address, user)
            grown = grown or mm.stack_grown
            if vma is None:
                return self.bad_area_nosemaphore(address, user, SEGV_MAPERR)
            self.vma_id = vma.id
            if access_error(is_write, is_exec, vma):
                mmap_read_unlock(mm)
                return self.bad_area_nosemaphore(address, user, SEGV_ACCERR)
            fault = handle_mm_fault(vma, address, flags)
            self.served = mm.served
            self.result = fault
            if fault & VM_FAULT_RETRY and mm.fatal_signal_pending():
                return user or self.fixup()
            if fault & VM_FAULT_COMPLETED:
                return True
            if not fault & VM_FAULT_RETRY:
                break
            flags |= FAULT_FLAG_TRIED
        mmap_read_unlock(mm)
        if fault & VM_FAULT_ERROR:
            return self.mm_fault_error(address, fault, user)
        if grown:
            self.path = _MMAP_LOCK_WRITE
            self.served = Served.STACK
        return True

    def do_bad_segment_interrupt(self, address: int, user: bool) -> bool:
        """An address that no table can translate."""
        return self.signal(SIGSEGV, SEGV_BNDERR, address) if user else self.fixup()

    def bad_area_nosemaphore(self, address: int, user: bool, code: int) -> bool:
        """A signal; in kernel mode the access fails."""
        return self.signal(SIGSEGV, code, address) if user else self.fixup()

    def mm_fault_error(self, address: int, fault: int, user: bool) -> bool:
        """What handle_mm_fault refused."""
        if not user:
            return self.fixup()
        if fault & VM_FAULT_OOM:
            self.served = Served.OOM
            self.mm.memory.out_of_memory(self.mm)
            return False
        if fault & VM_FAULT_SIGBUS:
            return self.signal(SIGBUS, BUS_ADRERR, address)
        return self.signal(SIGSEGV, SEGV_MAPERR, address)

    def fixup(self) -> bool:
        """bad_page_fault: every access of the kernel has an entry in the exception table, so it fails with EFAULT."""
        self.served = Served.FIXUP
        return False

    def signal(self, signo: int, code: int, address: int) -> bool:
        """_exception."""
        self.served = Served.SIGNAL
        self.force_sig(SigInfo(signo, code, addr=address))
        return False
