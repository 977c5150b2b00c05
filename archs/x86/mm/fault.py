# SPDX-License-Identifier: GPL-2.0-or-later
"""Page faults on x86-64, check by check in the order of arch/x86/mm/fault.c (do_user_addr_fault)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archs.base import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SEGV_PKUERR, SIGBUS, SIGSEGV, SigInfo
from archs.fault_entry import RecordedFaultEntry
from emu.mm.memory import handle_mm_fault
from emu.mm.mm_types import (
    FAULT_FLAG_DEFAULT,
    FAULT_FLAG_INSTRUCTION,
    FAULT_FLAG_TRIED,
    FAULT_FLAG_USER,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    PAGE_MASK,
    VM_ACCESS_FLAGS,
    VM_FAULT_COMPLETED,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_WRITE,
    flags_pkey,
    mm_struct,
    vm_area_struct,
)
from emu.mm.mmap_lock import lock_mm_and_find_vma, mmap_read_unlock
from emu.mm.pkeys import arch_vma_access_permitted
from emu.sched.cacheline import pair_lines
from emu.tracepoint import Path, Reason, Served

X86_PF_PROT = 1 << 0
X86_PF_WRITE = 1 << 1
X86_PF_USER = 1 << 2
X86_PF_RSVD = 1 << 3
X86_PF_INSTR = 1 << 4
X86_PF_PK = 1 << 5

TASK_SIZE_MAX = 0x7FFF_FFFF_F000
VSYSCALL_ADDR = 0xFFFF_FFFF_FF60_0000
X86_TRAP_PF = 14


def fault_in_kernel_space(address: int) -> bool:
    """Is it an address of the kernel's, of which a program has only the page of the vsyscalls."""
    return address >= TASK_SIZE_MAX and address & PAGE_MASK != VSYSCALL_ADDR


_USER_FLAGS = FAULT_FLAG_DEFAULT | FAULT_FLAG_USER
_VMA_LOCK, _MMAP_LOCK, _MMAP_LOCK_WRITE = int(Path.VMA_LOCK), int(Path.MMAP_LOCK), int(Path.MMAP_LOCK_WRITE)


class FaultEntry(RecordedFaultEntry):
    """The page-fault entry of one task."""

    def __init__(self, mm: mm_struct, cpu: Any, force_sig: Callable[[SigInfo], None]) -> None:
        super().__init__(mm, cpu, force_sig)
        cost = mm.memory.sched.cost
        self.prefetched = None  # the cache line that exc_page_fault asks for
        if mm.mmap_lock.line is not None and (mm.scheme.prefetches_mmap_lock or cost.prefetch_always):
            self.prefetched = mm.mmap_lock.line
            self.prefetch_lead = cost.prefetch_lead
            self.entry_ns -= cost.prefetch_lead
            if cost.lookup_beside_lock and mm.lookup_line is None:
                mm.lookup_line = mm.memory.sched.new_line()
                pair_lines(self.prefetched, mm.lookup_line)

    def handle(self, address: int, error_code: int, user: bool) -> bool:
        """handle_page_fault: kernel addresses are nobody's here; all else is do_user_addr_fault's."""
        self.path = self.reason = self.flags = self.vma_id = self.result = self.served = 0
        if self.prefetched is not None:
            sched = self.sched
            if sched.clock > sched.horizon:
                sched.sync_for(self.prefetched)
            self.prefetched.prefetchw(sched)
            sched.charge(self.prefetch_lead)
        if address >= TASK_SIZE_MAX and fault_in_kernel_space(address):  # do_kern_addr_fault
            return self.bad_area_nosemaphore(address, error_code, user)
        return self.do_user_addr_fault(address, error_code, user)

    def do_user_addr_fault(self, address: int, error_code: int, user: bool) -> bool:
        """A fault at an address of user space: VMA lock first, mmap_lock where that fails."""
        mm = self.mm
        if error_code & X86_PF_RSVD:
            raise AssertionError(f"reserved bits in the page tables at {address:#x} (error code {error_code:#x})")
        if not user and self.sched.current.pagefault_disabled:  # faulthandler_disabled
            return self.bad_area_nosemaphore(address, error_code, user)
        flags = _USER_FLAGS if user else FAULT_FLAG_DEFAULT
        if error_code & X86_PF_WRITE:
            flags |= FAULT_FLAG_WRITE
        if error_code & X86_PF_INSTR:
            flags |= FAULT_FLAG_INSTRUCTION

        scheme = self.scheme
        if not user:
            self.reason = Reason.KERNEL_MODE
        elif scheme.needs_second_user and scheme.not_tried(mm, "x86"):
            self.reason = scheme.reason
        elif scheme.speculative:
            vma = scheme.begin(mm, address)
            if vma is not None and self.access_error(error_code, vma):
                scheme.abort("access_error")
                vma = None
            fault = self.speculate(vma, address, flags)
            if not fault & VM_FAULT_RETRY:
                return self.mm_fault_error(address, error_code, user, fault) if fault & VM_FAULT_ERROR else True
            if mm.fatal_signal_pending():
                return not user
        else:
            vma = scheme.lock_vma_under_rcu(mm, address)
            if vma is None:
                self.reason = scheme.reason
            elif self.access_error(error_code, vma):
                if scheme.signals_under_vma_lock:
                    self.vma_id = vma.id
                    self.path = _VMA_LOCK
                    vm_flags = vma.vm_flags
                    scheme.vma_end_read(vma)
                    self.vmstat["vma_lock_success"] += 1
                    self.flags = flags | FAULT_FLAG_VMA_LOCK
                    return self.bad_area_access_error(address, error_code, vm_flags, user)
                scheme.vma_end_read(vma)
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
                    if fault & VM_FAULT_ERROR:
                        return self.mm_fault_error(address, error_code, user, fault)
                    return True
                self.vmstat["vma_lock_retry"] += 1
                self.reason = Reason.RETRY
                if fault & VM_FAULT_MAJOR:
                    flags |= FAULT_FLAG_TRIED
                if mm.fatal_signal_pending():
                    return not user  # user mode: the signal is taken on the way out

        # lock_mmap:
        self.path = _MMAP_LOCK
        grown = False
        while True:
            self.flags = flags
            vma = lock_mm_and_find_vma(mm, address, user)
            grown = grown or mm.stack_grown
            if vma is None:
                return self.bad_area_nosemaphore(address, error_code, user)
            self.vma_id = vma.id
            if self.access_error(error_code, vma):
                vm_flags = vma.vm_flags
                mmap_read_unlock(mm)
                return self.bad_area_access_error(address, error_code, vm_flags, user)
            fault = handle_mm_fault(vma, address, flags)
            self.served = mm.served
            self.result = fault
            if fault & VM_FAULT_COMPLETED:
                return True
            if not fault & VM_FAULT_RETRY:
                break
            flags |= FAULT_FLAG_TRIED
        mmap_read_unlock(mm)
        if fault & VM_FAULT_ERROR:
            return self.mm_fault_error(address, error_code, user, fault)
        if grown:
            self.path = _MMAP_LOCK_WRITE
            self.served = Served.STACK
        return True

    def access_error(self, error_code: int, vma: vm_area_struct) -> bool:
        """Does the VMA forbid the access (access_error). An instruction fetch has no check of its own: a page that is
        not there
        is brought in first, and the fetch faults again with PROT set."""
        # Asked of each fault: a program without keys, or on a CPU without them, is spared two calls (0.2 us).
        if error_code & X86_PF_PK or (self.sched.current.pkru and self.key_forbids(error_code, vma.vm_flags)):
            return True
        if error_code & X86_PF_WRITE:
            return not vma.vm_flags & VM_WRITE
        if error_code & X86_PF_PROT:
            return True
        return not vma.vm_flags & VM_ACCESS_FLAGS

    def key_forbids(self, error_code: int, vm_flags: int) -> bool:
        """Did the page's protection key forbid the access, or does the VMA's (bad_area_access_from_pkeys)."""
        if error_code & X86_PF_PK:
            return True
        write, execute = bool(error_code & X86_PF_WRITE), bool(error_code & X86_PF_INSTR)
        return not arch_vma_access_permitted(self.sched, vm_flags, write, execute)

    def mm_fault_error(self, address: int, error_code: int, user: bool, fault: int) -> bool:
        """VM_FAULT_ERROR: out of memory, or a signal."""
        if fault & VM_FAULT_OOM:
            self.served = Served.OOM
            if user:
                self.mm.memory.out_of_memory(self.mm)
            return False
        if fault & VM_FAULT_SIGBUS:
            return self.signal(SIGBUS, BUS_ADRERR, address, error_code, user)
        return self.bad_area_nosemaphore(address, error_code, user)

    def bad_area_access_error(self, address: int, error_code: int, vm_flags: int, user: bool) -> bool:
        """There is a VMA, and it or its protection key forbids the access."""
        if self.key_forbids(error_code, vm_flags):
            return self.signal(SIGSEGV, SEGV_PKUERR, address, error_code, user, flags_pkey(vm_flags))
        return self.signal(SIGSEGV, SEGV_ACCERR, address, error_code, user)

    def bad_area_nosemaphore(self, address: int, error_code: int, user: bool) -> bool:
        """There is no VMA."""
        return self.signal(SIGSEGV, SEGV_MAPERR, address, error_code, user)

    def signal(self, signo: int, code: int, address: int, error_code: int, user: bool, pkey: int = 0) -> bool:
        """User mode: force the signal. Kernel mode: every access has a fixup, so it fails with EFAULT."""
        if not user:
            self.served = Served.FIXUP
            return False
        self.served = Served.SIGNAL
        thread = self.cpu.thread  # set_signal_archinfo
        thread.cr2 = address
        # The guest must not learn what is mapped in the kernel's half: it always looks present.
        thread.error_code = error_code | X86_PF_PROT if address >= TASK_SIZE_MAX else error_code
        thread.trap_nr = X86_TRAP_PF
        self.force_sig(SigInfo(signo, code, addr=address, pkey=pkey))
        return False
