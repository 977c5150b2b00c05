# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded fault on PowerPC meant: interrupt with DSISR or SRR1 (Power ISA book III, 7.5), page-table entry,
checks of ___do_page_fault."""

from __future__ import annotations

from archs.explain import Bit, Check, Facts, flag_bits
from archs.powerpc.mm import fault as f
from archs.powerpc.mm import pgtable as p
from emu.mm.mm_types import VM_EXEC, VM_READ, VM_WRITE

_TRAPS = {
    f.INTERRUPT_DATA_STORAGE: "data storage", f.INTERRUPT_DATA_SEGMENT: "data segment",
    f.INTERRUPT_INST_STORAGE: "instruction storage", f.INTERRUPT_INST_SEGMENT: "instruction segment",
}  # fmt: skip
_DSISR = (
    (f.DSISR_NOHPTE, "NOHPTE", "no translation was found"),
    (f.DSISR_NOEXEC_OR_G, "NOEXEC_OR_G", "the page may not be executed, or is guarded"),
    (f.DSISR_PROTFAULT, "PROTFAULT", "the entry forbids the access"),
    (f.DSISR_ISSTORE, "ISSTORE", "a store"),
    (0x80000000, "BAD_DIRECT_ST", "a direct store that cannot be"),
    (0x04000000, "BAD_EXT_CTRL", "an external control access that cannot be"),
    (0x00400000, "DABRMATCH", "a watchpoint"),
    (0x00200000, "KEYFAULT", "a protection key refused it"),
    (0x00080000, "UNSUPP_MMU", "unsupported MMU configuration"),
    (0x00040000, "SET_RC", "R or C could not be set"),
    (0x00020000, "PRTABLE_FAULT", "the process table gave no root"),
    (0x00004000, "BAD_COPYPASTE", "copy or paste of what cannot be copied"),
)
_DSISR_32 = (
    *_DSISR[:4],
    (0x20000000, "no entry that fits", "the 603's miss handlers: no entry, or one that forbids the access"),
    *_DSISR[4:],
)
_DSISR_64 = (*_DSISR, (0x20000000, "ATTR_CONFLICT", "attributes that do not agree"))
_RADIX = (
    (1 << 63, "V", "valid"), (1 << 62, "L", "a leaf, not a table"),
    (p._PAGE_SPECIAL, "special", "software: a page that is not counted, such as the zero page"),
    (p._PAGE_ACCESSED, "R", "referenced"), (p._PAGE_DIRTY, "C", "changed: dirty"),
    (p._PAGE_PRIVILEGED, "EAA0", "privileged: user mode may not use it"), (p._PAGE_READ, "EAA1", "readable"),
    (p._PAGE_WRITE, "EAA2", "writable"), (p._PAGE_EXEC, "EAA3", "executable"),
)  # fmt: skip
_PPC32 = (
    (p._P32_PRESENT, "PRESENT", "present"), (p._P32_READ, "READ", "readable"), (p._P32_WRITE, "WRITE", "writable"),
    (p._P32_EXEC, "EXEC", "executable"), (p._P32_COHERENT, "M", "memory coherence"), (p._P32_DIRTY, "DIRTY", "dirty"),
    (p._P32_ACCESSED, "ACCESSED", "accessed"),
    (p._P32_SPECIAL, "SPECIAL", "software: a page that is not counted, such as the zero page"),
    (0x8, "G", "guarded"), (0x20, "I", "not cached"), (0x40, "W", "write-through"),
)  # fmt: skip


class PowerpcExplainer:
    """archs.explain.Explainer for 64-bit PowerPC with radix tables, or for 32 bits."""

    function = "___do_page_fault"

    def __init__(self, word: int) -> None:
        """`word`: 8 or 4 bytes."""
        self.word = word
        self.task_size = p.TASK_SIZE_64 if word == 8 else p.TASK_SIZE_32
        self.bad = f.DSISR_BAD_FAULT_64S if word == 8 else f.DSISR_BAD_FAULT_32S

    def syndrome(self, value: int) -> list[Bit]:
        trap, register = value >> 32, value & 0xFFFF_FFFF
        found = [Bit("trap", trap, f"{_TRAPS.get(trap, 'another')} interrupt")]
        name = "SRR1 bits" if trap in (f.INTERRUPT_INST_STORAGE, f.INTERRUPT_INST_SEGMENT) else "DSISR"
        found.append(Bit(name, register, "" if register else "no bit set"))
        found += flag_bits(register, _DSISR_64 if self.word == 8 else _DSISR_32)
        if trap == f.INTERRUPT_DATA_STORAGE and not register & f.DSISR_ISSTORE:
            found.append(Bit("ISSTORE", 0, "a load"))
        return found

    def pte(self, value: int) -> list[Bit]:
        mask = p.RadixFormat.pfn_mask if self.word == 8 else p.Ppc32Format.pfn_mask
        bits = _RADIX if self.word == 8 else _PPC32
        return [Bit("frame", value & mask, "physical address of the page"), *flag_bits(value & ~mask, bits)]

    def entry_checks(self, facts: Facts) -> tuple[list[Check], bool]:
        trap, code = facts.syndrome >> 32, facts.syndrome & 0xFFFF_FFFF
        segment = trap in (f.INTERRUPT_DATA_SEGMENT, f.INTERRUPT_INST_SEGMENT)
        checks = [Check("the address is in a segment that tables can translate", not segment)]
        if segment:
            return checks, False
        bad = bool(code & self.bad)
        checks.append(Check("DSISR tells of nothing that no handler can mend (page_fault_is_bad)", not bad))
        if bad:
            return checks, False
        if not facts.user:
            execute = trap == f.INTERRUPT_INST_STORAGE
            good = not execute and facts.address < self.task_size
            text = f"the kernel may access the address: no fetch, and below {self.task_size:#x} (bad_kernel_fault)"
            checks.append(Check(text, good))
            if not good:
                return checks, False
        enabled = bool(facts.flags) or facts.path != 0
        checks.append(Check("page faults are not disabled (faulthandler_disabled)", enabled))
        return checks, enabled

    def access_checks(self, facts: Facts) -> list[Check]:
        flags = facts.vm_flags or 0
        if facts.syndrome >> 32 == f.INTERRUPT_INST_STORAGE:
            return [Check("access_error: a fetch, and the VMA has VM_EXEC", bool(flags & VM_EXEC))]
        if facts.syndrome & f.DSISR_ISSTORE:
            return [Check("access_error: a store, and the VMA has VM_WRITE", bool(flags & VM_WRITE))]
        allowed = bool(flags & (VM_READ | VM_WRITE))
        return [Check("access_error: a load, and the VMA has VM_READ or VM_WRITE", allowed)]
