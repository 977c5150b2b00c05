# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory aborts on ARM64, check by check in the order of arch/arm64/mm/fault.c (do_mem_abort, do_page_fault).

There are no guarded control stacks, no permission overlays and no memory tags on the emulated CPU; what Linux does for
those has no place to happen here, but their entries in the table of fault statuses are answered as by Linux.
"""

from __future__ import annotations

from collections.abc import Callable

from archs.arm64.cpu import Arm64Cpu, untagged_addr
from archs.arm64.mm.pgtable import TASK_SIZE
from archs.base import (
    BUS_ADRALN,
    BUS_ADRERR,
    BUS_OBJERR,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SEGV_MTESERR,
    SI_KERNEL,
    SIGBUS,
    SIGKILL,
    SIGSEGV,
    SigInfo,
)
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
)
from emu.mm.mmap_lock import lock_mm_and_find_vma, mmap_read_unlock
from emu.tracepoint import Path, Reason, Served

# Exception classes, ESR bits 31:26.
ESR_ELx_EC_IABT_LOW = 0x20
ESR_ELx_EC_IABT_CUR = 0x21
ESR_ELx_EC_DABT_LOW = 0x24
ESR_ELx_EC_DABT_CUR = 0x25
ESR_ELx_EC_MASK = 0x3F << 26
ESR_ELx_IL = 1 << 25
ESR_ELx_FnV = 1 << 10
ESR_ELx_CM = 1 << 8
ESR_ELx_WNR = 1 << 6
ESR_ELx_FSC = 0x3F
ESR_ELx_FSC_TYPE = 0x3C
ESR_ELx_FSC_FAULT = 0x04
ESR_ELx_FSC_PERM = 0x0C
MTE_TAG_MASK = 0xF << 56

DO_BAD, DO_TRANSLATION_FAULT, DO_PAGE_FAULT, DO_ALIGNMENT_FAULT, DO_SEA, DO_TAG_CHECK_FAULT = range(6)


def _fault_info() -> tuple[tuple[int, int, int, str], ...]:
    """The 64 fault statuses: (handler, signal, si_code, name)."""
    table = [(DO_BAD, SIGKILL, SI_KERNEL, f"unknown {status}") for status in range(64)]
    for level in range(4):
        where = "ttbr" if level == 0 else f"level {level}"
        table[level] = (DO_BAD, SIGKILL, SI_KERNEL, f"{where} address size fault")
        table[4 + level] = (DO_TRANSLATION_FAULT, SIGSEGV, SEGV_MAPERR, f"level {level} translation fault")
        table[8 + level] = (DO_PAGE_FAULT, SIGSEGV, SEGV_ACCERR, f"level {level} access flag fault")
        table[12 + level] = (DO_PAGE_FAULT, SIGSEGV, SEGV_ACCERR, f"level {level} permission fault")
    table[16] = (DO_SEA, SIGBUS, BUS_OBJERR, "synchronous external abort")
    table[17] = (DO_TAG_CHECK_FAULT, SIGSEGV, SEGV_MTESERR, "synchronous tag check fault")
    table[24] = (DO_SEA, SIGBUS, BUS_OBJERR, "synchronous parity or ECC error")
    for level in range(-1, 4):
        walk = f"level {level}"
        table[20 + level] = (DO_SEA, SIGKILL, SI_KERNEL, f"{walk} (translation table walk)")
        table[28 + level] = (DO_SEA, SIGKILL, SI_KERNEL, f"{walk} synchronous parity error (translation table walk)")
    table[33] = (DO_ALIGNMENT_FAULT, SIGBUS, BUS_ADRALN, "alignment fault")
    table[41] = (DO_BAD, SIGKILL, SI_KERNEL, "level -1 address size fault")
    table[43] = (DO_TRANSLATION_FAULT, SIGSEGV, SEGV_MAPERR, "level -1 translation fault")
    table[48] = (DO_BAD, SIGKILL, SI_KERNEL, "TLB conflict abort")
    table[49] = (DO_BAD, SIGKILL, SI_KERNEL, "Unsupported atomic hardware update fault")
    table[52] = (DO_BAD, SIGKILL, SI_KERNEL, "implementation fault (lockdown abort)")
    table[53] = (DO_BAD, SIGBUS, BUS_OBJERR, "implementation fault (unsupported exclusive)")
    table[61] = (DO_BAD, SIGKILL, SI_KERNEL, "section domain fault")
    table[62] = (DO_BAD, SIGKILL, SI_KERNEL, "page domain fault")
    return tuple(table)


FAULT_INFO = _fault_info()

_IS_PAGE_FAULT = tuple(info[0] in (DO_TRANSLATION_FAULT, DO_PAGE_FAULT) for info in FAULT_INFO)
_WNR_AND_CM = ESR_ELx_WNR | ESR_ELx_CM
_USER_FLAGS = FAULT_FLAG_DEFAULT | FAULT_FLAG_USER
_VMA_LOCK, _MMAP_LOCK, _MMAP_LOCK_WRITE = int(Path.VMA_LOCK), int(Path.MMAP_LOCK), int(Path.MMAP_LOCK_WRITE)


def is_el1_instruction_abort(esr: int) -> bool:
    return esr >> 26 & 0x3F == ESR_ELx_EC_IABT_CUR


def is_el1_data_abort(esr: int) -> bool:
    return esr >> 26 & 0x3F == ESR_ELx_EC_DABT_CUR


def esr_fsc_is_permission_fault(esr: int) -> bool:
    return esr & ESR_ELx_FSC_TYPE == ESR_ELx_FSC_PERM


def is_el1_permission_fault(esr: int) -> bool:
    """The kernel was refused an address (no emulated PAN: the tables of the user are never switched off)."""
    if not is_el1_data_abort(esr) and not is_el1_instruction_abort(esr):
        return False
    return esr_fsc_is_permission_fault(esr)


def is_ttbr0_addr(address: int) -> bool:
    return address < TASK_SIZE


class FaultEntry(RecordedFaultEntry):
    """The entry of memory aborts of one task."""

    def __init__(self, mm: mm_struct, cpu: Arm64Cpu, force_sig: Callable[[SigInfo], None]) -> None:
        super().__init__(mm, cpu, force_sig)
        self.handlers = (
            self.do_bad,
            self.do_translation_fault,
            self.do_page_fault,
            self.do_alignment_fault,
            self.do_sea,
            self.do_tag_check_fault,
        )

    def user_fault(self, far: int, esr: int, ip: int) -> bool:
        """el0_da and el0_ia: an abort that is no page fault has no event."""
        if not _IS_PAGE_FAULT[esr & ESR_ELx_FSC]:
            return self.handle(far, esr, True)
        return super().user_fault(far, esr, ip)

    def handle(self, far: int, esr: int, user: bool) -> bool:
        """do_mem_abort: hand the abort to the handler of its fault status. True: go on at the same instruction."""
        self.path = self.reason = self.flags = self.vma_id = self.result = self.served = 0
        return self.handlers[FAULT_INFO[esr & ESR_ELx_FSC][0]](far, esr, user)

    def do_translation_fault(self, far: int, esr: int, user: bool) -> bool:
        """Nothing is mapped: an address of the user is do_page_fault's, any other is nobody's."""
        if is_ttbr0_addr(untagged_addr(far)):
            return self.do_page_fault(far, esr, user)
        return self.do_bad_area(far, esr, user)

    def do_page_fault(self, far: int, esr: int, user: bool) -> bool:
        """A fault at an address of user space: VMA lock first, mmap_lock where that fails."""
        mm = self.mm
        address = untagged_addr(far)
        if not user and self.sched.current.pagefault_disabled:  # faulthandler_disabled
            return self.do_kernel_fault(esr)
        flags = _USER_FLAGS if user else FAULT_FLAG_DEFAULT
        # The VMA must have one of these.
        if esr >> 26 & 0x3F == ESR_ELx_EC_IABT_LOW:  # is_el0_instruction_abort
            vm_flags = VM_EXEC
            flags |= FAULT_FLAG_INSTRUCTION
        elif esr & _WNR_AND_CM == ESR_ELx_WNR:  # is_write_abort: cache maintenance sets WnR too and counts as a read
            vm_flags = VM_WRITE
            flags |= FAULT_FLAG_WRITE
        else:
            # Writable implies readable; without Enhanced PAN, so does executable.
            vm_flags = VM_READ | VM_WRITE | VM_EXEC
        if not user and is_ttbr0_addr(address) and is_el1_permission_fault(esr) and is_el1_instruction_abort(esr):
            raise AssertionError(f"execution of user memory by the kernel at {address:#x} (ESR {esr:#x})")

        scheme = self.scheme
        if not user:
            self.reason = Reason.KERNEL_MODE
        elif scheme.needs_second_user and scheme.not_tried(mm, "arm64"):
            self.reason = scheme.reason
        elif scheme.speculative:
            vma = scheme.begin(mm, address)
            if vma is not None and not vma.vm_flags & vm_flags:
                scheme.abort("access_error")
                vma = None
            fault = self.speculate(vma, address, flags)
            if not fault & VM_FAULT_RETRY:
                return self.bad_area(far, esr, user, SEGV_MAPERR, fault) if fault & VM_FAULT_ERROR else True
            if mm.fatal_signal_pending():
                return True
        else:
            vma = scheme.lock_vma_under_rcu(mm, address)
            if vma is None:
                self.reason = scheme.reason
            elif not vma.vm_flags & vm_flags:
                vma_id = vma.id
                scheme.vma_end_read(vma)
                if scheme.signals_under_vma_lock:
                    self.vma_id = vma_id
                    self.path = _VMA_LOCK
                    self.vmstat["vma_lock_success"] += 1
                    self.flags = flags | FAULT_FLAG_VMA_LOCK
                    return self.bad_area(far, esr, user, SEGV_ACCERR, 0)
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
                        return self.bad_area(far, esr, user, SEGV_MAPERR, fault)
                    return True
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
                return self.bad_area(far, esr, user, SEGV_MAPERR, 0)
            self.vma_id = vma.id
            if not vma.vm_flags & vm_flags:
                mmap_read_unlock(mm)
                return self.bad_area(far, esr, user, SEGV_ACCERR, 0)
            fault = handle_mm_fault(vma, address, flags)
            self.served = mm.served
            self.result = fault
            if fault & VM_FAULT_RETRY and mm.fatal_signal_pending():
                return user or self.do_kernel_fault(esr)
            if fault & VM_FAULT_COMPLETED:
                return True
            if not fault & VM_FAULT_RETRY:
                break
            flags |= FAULT_FLAG_TRIED
        mmap_read_unlock(mm)
        if fault & VM_FAULT_ERROR:
            return self.bad_area(far, esr, user, SEGV_MAPERR, fault)
        if grown:
            self.path = _MMAP_LOCK_WRITE
            self.served = Served.STACK
        return True

    def bad_area(self, far: int, esr: int, user: bool, code: int, fault: int) -> bool:
        """The end of do_page_fault: out of memory, or a signal; in kernel mode the access fails."""
        if not user:
            return self.do_kernel_fault(esr)
        if fault & VM_FAULT_OOM:
            self.served = Served.OOM
            self.mm.memory.out_of_memory(self.mm)
            return False
        self.set_thread_esr(untagged_addr(far), esr)
        if fault & VM_FAULT_SIGBUS:
            return self.signal(SIGBUS, BUS_ADRERR, far)
        return self.signal(SIGSEGV, code, far)

    def do_bad_area(self, far: int, esr: int, user: bool) -> bool:
        """An address at which nothing can be: the signal of the table."""
        if not user:
            return self.do_kernel_fault(esr)
        _, signo, code, _ = FAULT_INFO[esr & ESR_ELx_FSC]
        self.set_thread_esr(untagged_addr(far), esr)
        return self.signal(signo, code, far)

    def do_alignment_fault(self, far: int, esr: int, user: bool) -> bool:
        """A misaligned exclusive access (all others are allowed)."""
        return self.do_bad_area(far, esr, user)

    def do_tag_check_fault(self, far: int, esr: int, user: bool) -> bool:
        """Bits 63:60 of the address are not defined for these: take them from bit 55."""
        address = untagged_addr(far) if not far >> 55 & 1 else far | 0xFF << 56
        return self.do_bad_area(address & ~MTE_TAG_MASK | far & MTE_TAG_MASK, esr, user)

    def do_sea(self, far: int, esr: int, user: bool) -> bool:
        """A synchronous external abort: the signal of the table, without an address where FAR is not valid."""
        address = 0 if esr & ESR_ELx_FnV else untagged_addr(far)
        return self.notify_die(address, esr, user)

    def do_bad(self, far: int, esr: int, user: bool) -> bool:
        """A fault status that must not occur: Linux's handler refuses, and do_mem_abort sends the table's signal."""
        return self.notify_die(untagged_addr(far), esr, user)

    def notify_die(self, address: int, esr: int, user: bool) -> bool:
        """arm64_notify_die: the signal of the table, with no fault address in its frame; never in kernel mode."""
        _, signo, code, name = FAULT_INFO[esr & ESR_ELx_FSC]
        if not user:
            raise AssertionError(f"{name} in kernel mode at {address:#x} (ESR {esr:#x})")
        self.cpu.thread.fault_address = 0
        self.cpu.thread.fault_code = esr
        return self.signal(signo, code, address)

    def do_kernel_fault(self, esr: int) -> bool:
        """__do_kernel_fault: every access of the kernel has a fixup, so it fails with EFAULT."""
        if is_el1_instruction_abort(esr):
            raise AssertionError(f"instruction abort in kernel mode (ESR {esr:#x})")
        self.served = Served.FIXUP
        return False

    def set_thread_esr(self, address: int, esr: int) -> None:
        """What the signal frame will show. A kernel address always looks unmapped, from level 0 on."""
        if not is_ttbr0_addr(address):
            ec = esr >> 26 & 0x3F
            if ec == ESR_ELx_EC_DABT_LOW:
                esr = esr & (ESR_ELx_EC_MASK | ESR_ELx_IL | ESR_ELx_CM | ESR_ELx_WNR) | ESR_ELx_FSC_FAULT
            elif ec == ESR_ELx_EC_IABT_LOW:
                esr = esr & (ESR_ELx_EC_MASK | ESR_ELx_IL) | ESR_ELx_FSC_FAULT
            else:
                esr = 0
        self.cpu.thread.fault_address = address
        self.cpu.thread.fault_code = esr

    def signal(self, signo: int, code: int, address: int) -> bool:
        """arm64_force_sig_fault."""
        self.served = Served.SIGNAL
        self.force_sig(SigInfo(signo, code, addr=address))
        return False
