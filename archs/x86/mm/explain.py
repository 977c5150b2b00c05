# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded fault on x86-64 meant: error code (Intel SDM volume 3, 4.7), page-table entry, checks of
do_user_addr_fault."""

from __future__ import annotations

from archs.base import SEGV_PKUERR, SIGSEGV
from archs.explain import Bit, Check, Facts, flag_bits
from archs.x86.mm import fault as f
from archs.x86.mm import pgtable as p
from emu.mm.mm_types import VM_ACCESS_FLAGS, VM_WRITE, flags_pkey

_PKUERR = (SIGSEGV, SEGV_PKUERR)
_CODE = (
    ("P", 0, "no present entry", "an entry is present and forbids the access"),
    ("W", 1, "a read", "a write"),
    ("U", 2, "by the kernel", "by user mode"),
    ("RSVD", 3, "no reserved bit was set in an entry", "a reserved bit is set in an entry"),
    ("I", 4, "no instruction fetch", "an instruction fetch"),
    ("PK", 5, "no protection key refused it", "a protection key refused it"),
    ("SS", 6, "no shadow-stack access", "a shadow-stack access"),
    ("SGX", 15, "nothing of SGX", "an SGX violation"),
)
_PTE = (
    (p.PAGE_PRESENT, "P", "present"), (p.PAGE_RW, "R/W", "writable"), (p.PAGE_USER, "U/S", "user mode may use it"),
    (1 << 3, "PWT", "write-through"), (1 << 4, "PCD", "not cached"), (p.PAGE_ACCESSED, "A", "accessed"),
    (p.PAGE_DIRTY, "D", "dirty"), (1 << 7, "PAT", "PAT bit"),
    (p.PAGE_SPECIAL, "special", "software: a page that is not counted, such as the zero page"),
    (1 << 10, "software 2", ""), (1 << 11, "software 3", ""), (1 << 58, "software 4", ""),
    (p.PAGE_NX, "XD", "not executable"),
)  # fmt: skip


class X86Explainer:
    """archs.explain.Explainer for x86-64."""

    function = "do_user_addr_fault"

    def syndrome(self, value: int) -> list[Bit]:
        return [Bit(name, value >> bit & 1, (unset, is_set)[value >> bit & 1]) for name, bit, unset, is_set in _CODE]

    def pte(self, value: int) -> list[Bit]:
        found = [Bit("frame", value & p.PFN_MASK, "physical address of the page")]
        if value & p.PAGE_PROTNONE:
            present = value & p.PAGE_PRESENT
            meaning = "global" if present else "PROT_NONE: maps a page that nobody may reach"
            found.append(Bit("G" if present else "PROTNONE", 1, meaning))
        if value >> 59 & 15:
            found.append(Bit("PK", value >> 59 & 15, "protection key"))
        return found + flag_bits(value & ~(p.PFN_MASK | p.PAGE_PROTNONE | 15 << 59), _PTE)

    def entry_checks(self, facts: Facts) -> tuple[list[Check], bool]:
        below = not f.fault_in_kernel_space(facts.address)
        checks = [Check(f"the address is below TASK_SIZE_MAX ({f.TASK_SIZE_MAX:#x})", below)]
        if not below:
            return checks, False
        checks.append(
            Check("no reserved bit is set in the page tables (RSVD is 0)", not facts.syndrome & f.X86_PF_RSVD)
        )
        enabled = bool(facts.flags) or facts.path != 0
        checks.append(Check("page faults are not disabled (faulthandler_disabled)", enabled))
        return checks, enabled

    def access_checks(self, facts: Facts) -> list[Check]:
        code, flags = facts.syndrome, facts.vm_flags or 0
        checks = [Check("access_error: no protection key refused it", not code & f.X86_PF_PK)]
        if code & f.X86_PF_PK:
            return checks
        pkey = flags_pkey(flags)
        if pkey or facts.signal == _PKUERR:
            permitted = facts.signal != _PKUERR
            checks.append(Check(f"access_error: the thread may use the VMA's protection key {pkey}", permitted))
            if not permitted:
                return checks
        if code & f.X86_PF_WRITE:
            return [*checks, Check("access_error: a write, and the VMA has VM_WRITE", bool(flags & VM_WRITE))]
        present = bool(code & f.X86_PF_PROT)
        checks.append(Check("access_error: a read of a page that is not present (P is 0)", not present))
        if not present:
            allowed = bool(flags & VM_ACCESS_FLAGS)
            checks.append(Check("access_error: the VMA has one of VM_READ, VM_WRITE, VM_EXEC", allowed))
        return checks
