# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded fault on ARM64 meant: ESR_EL1 (Arm ARM, D17.2.37), page-table entry, checks of do_page_fault."""

from __future__ import annotations

from archs.arm64.cpu import untagged_addr
from archs.arm64.mm import fault as f
from archs.arm64.mm import pgtable as p
from archs.explain import Bit, Check, Facts, flag_bits
from emu.mm.mm_types import VM_EXEC, VM_READ, VM_WRITE

_EC = {
    f.ESR_ELx_EC_IABT_LOW: "instruction abort from a lower exception level (user mode)",
    f.ESR_ELx_EC_IABT_CUR: "instruction abort from the kernel itself",
    f.ESR_ELx_EC_DABT_LOW: "data abort from a lower exception level (user mode)",
    f.ESR_ELx_EC_DABT_CUR: "data abort from the kernel itself",
}
_HANDLERS = {
    f.DO_BAD: "do_bad", f.DO_TRANSLATION_FAULT: "do_translation_fault", f.DO_PAGE_FAULT: "do_page_fault",
    f.DO_ALIGNMENT_FAULT: "do_alignment_fault", f.DO_SEA: "do_sea", f.DO_TAG_CHECK_FAULT: "do_tag_check_fault",
}  # fmt: skip
_PTE = (
    (p.PTE_USER, "AP[1]", "user mode may use it"), (p.PTE_RDONLY, "AP[2]", "read-only for the hardware"),
    (1 << 5, "NS", "non-secure"), (p.PTE_AF, "AF", "access flag: young"), (1 << 50, "GP", "guarded"),
    (p.PTE_WRITE, "DBM", "Linux: PTE_WRITE, the page may be written"), (1 << 52, "Contiguous", ""),
    (p.PTE_PXN, "PXN", "the kernel may not execute it"), (p.PTE_UXN, "UXN", "user mode may not execute it"),
    (p.PTE_DIRTY, "PTE_DIRTY", "software: dirty"),
    (p.PTE_SPECIAL, "PTE_SPECIAL", "software: a page that is not counted, such as the zero page"),
)  # fmt: skip
_SHAREABLE = ("non-shareable", "reserved", "outer shareable", "inner shareable")


class Arm64Explainer:
    """archs.explain.Explainer for ARM64."""

    function = "do_page_fault"

    def syndrome(self, value: int) -> list[Bit]:
        ec, status = value >> 26 & 0x3F, value & f.ESR_ELx_FSC
        found = [
            Bit("EC", ec, _EC.get(ec, "another exception class")),
            Bit("IL", value >> 25 & 1, ("a 16-bit instruction", "a 32-bit instruction")[value >> 25 & 1]),
        ]
        data = ec in (f.ESR_ELx_EC_DABT_LOW, f.ESR_ELx_EC_DABT_CUR)
        if data:
            valid = value >> 24 & 1
            found.append(Bit("ISV", valid, "the access is described" if valid else "bits 23:14 say nothing"))
            if valid:
                found += [
                    Bit("SAS", value >> 22 & 3, f"{1 << (value >> 22 & 3)} bytes"),
                    Bit("SRT", value >> 16 & 31, "the register of the access"),
                ]
        found.append(Bit("FnV", value >> 10 & 1, ("FAR is valid", "FAR is not valid")[value >> 10 & 1]))
        found.append(Bit("EA", value >> 9 & 1, "external abort type"))
        if data:
            cache = value >> 8 & 1
            found.append(Bit("CM", cache, "cache maintenance" if cache else "no cache maintenance"))
        found.append(Bit("S1PTW", value >> 7 & 1, ("not on a stage 2 walk", "on a stage 2 walk")[value >> 7 & 1]))
        if data:
            found.append(Bit("WnR", value >> 6 & 1, ("a read", "a write")[value >> 6 & 1]))
        found.append(Bit("DFSC" if data else "IFSC", status, f.FAULT_INFO[status][3]))
        return found

    def pte(self, value: int) -> list[Bit]:
        kind = value & 3
        found = [Bit("frame", value & p.PFN_MASK, "physical address of the page")]
        meaning = {3: "valid, a page", 1: "reserved at this level"}.get(kind, "not valid")
        found.append(Bit("type", kind, meaning))
        found.append(Bit("AttrIndx", value >> 2 & 7, "memory type, by MAIR_EL1 (0: normal memory)"))
        found.append(Bit("SH", value >> 8 & 3, _SHAREABLE[value >> 8 & 3]))
        if value & p.PTE_NG:
            here = "not global" if kind & 1 else "PTE_PRESENT_INVALID: maps a page that nobody may reach (PROT_NONE)"
            found.append(Bit("nG", 1, here))
        rest = value & ~(p.PFN_MASK | 3 | 7 << 2 | 3 << 8 | p.PTE_NG)
        return found + flag_bits(rest, _PTE)

    def entry_checks(self, facts: Facts) -> tuple[list[Check], bool]:
        esr = facts.syndrome
        handler, _, _, name = f.FAULT_INFO[esr & f.ESR_ELx_FSC]
        checks = [Check(f"do_mem_abort: fault_info[{esr & f.ESR_ELx_FSC}] is {_HANDLERS[handler]}", None, name)]
        if handler not in (f.DO_TRANSLATION_FAULT, f.DO_PAGE_FAULT):
            return checks, False
        address = untagged_addr(facts.address)
        if handler == f.DO_TRANSLATION_FAULT:
            below = f.is_ttbr0_addr(address)
            checks.append(Check(f"the address is one of user space (is_ttbr0_addr: below {p.TASK_SIZE:#x})", below))
            if not below:
                return checks, False
        enabled = bool(facts.flags) or facts.path != 0
        checks.append(Check("page faults are not disabled (faulthandler_disabled)", enabled))
        if enabled:
            checks.append(Check(f"the VMA must have {self._wanted(esr)[1]}", None, self._wanted(esr)[2]))
        return checks, enabled

    def _wanted(self, esr: int) -> tuple[int, str, str]:
        if esr >> 26 & 0x3F == f.ESR_ELx_EC_IABT_LOW:
            return VM_EXEC, "VM_EXEC", "is_el0_instruction_abort"
        if esr & (f.ESR_ELx_WNR | f.ESR_ELx_CM) == f.ESR_ELx_WNR:
            return VM_WRITE, "VM_WRITE", "is_write_abort"
        return VM_READ | VM_WRITE | VM_EXEC, "one of VM_READ, VM_WRITE, VM_EXEC", "a read"

    def access_checks(self, facts: Facts) -> list[Check]:
        wanted, name, _ = self._wanted(facts.syndrome)
        return [Check(f"the VMA has {name}", bool((facts.vm_flags or 0) & wanted))]
