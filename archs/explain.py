# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded fault meant: the checks of the fault functions again, from what the trace tells of their outcome.

Each architecture's mm/explain.py decodes its syndromes and page-table entries and has an `Explainer`; the part
about locks, which is the same on all, is here. It follows archs/*/mm/fault.py, line by line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from emu.mm import mm_types as m
from emu.tracepoint import Path, Reason, Served


@dataclass(frozen=True)
class Bit:
    """A bit or field of a register or page-table entry: its name, value and what that means."""

    name: str
    value: int
    meaning: str = ""


@dataclass(frozen=True)
class Check:
    """A decision of the fault function. `passed` None: not a test but a step."""

    text: str
    passed: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What the trace tells of a fault."""

    address: int
    syndrome: int
    user: bool
    flags: int  # FAULT_FLAG_*
    path: int
    reason: int
    served: int
    result: int  # vm_fault_t
    vma: int  # serial number, 0 = none
    vm_flags: int | None  # of the VMA at that time, None where it is not known
    locking: str = "6.18"
    signal: tuple[int, int] | None = None  # (signo, si_code) that the fault sent
    retried: bool = False  # mmap_lock was taken more than once
    grown: bool = False  # a stack grew


class Explainer(Protocol):
    """One architecture's account of faults."""

    function: str  # the kernel function whose checks these are

    def syndrome(self, value: int) -> list[Bit]:
        """The syndrome, field by field."""
        ...

    def pte(self, value: int) -> list[Bit]:
        """A page-table entry, field by field; those that say nothing are left out."""
        ...

    def entry_checks(self, facts: Facts) -> tuple[list[Check], bool]:
        """The checks before any lock, and whether the fault went on after them."""
        ...

    def access_checks(self, facts: Facts) -> list[Check]:
        """What access_error asks of the VMA, in its order, to the first that fails. Needs facts.vm_flags."""
        ...


@dataclass
class _Account:
    checks: list[Check] = field(default_factory=list)

    def step(self, text: str, note: str = "") -> None:
        self.checks.append(Check(text, None, note))

    def test(self, text: str, passed: bool, note: str = "") -> bool:
        self.checks.append(Check(text, passed, note))
        return passed


LOOKUP_REASONS = {
    Reason.NO_VMA: "there is none", Reason.OUTSIDE: "it begins above the address, or has moved away",
    Reason.NOT_ANONYMOUS: "it maps a file, which this scheme serves under mmap_lock",
    Reason.NO_ANON_VMA: "it has no anon_vma yet", Reason.WRITE_LOCKED: "a writer holds it",
    Reason.DETACHED: "it was detached meanwhile", Reason.SWAP: "the page is in swap",
    Reason.USERFAULTFD: "userfaultfd watches it", Reason.NO_MAP_PAGES: "its file system has no map_pages",
    Reason.OVERFLOW: "its reference count is full",
    Reason.SEQUENCE: "a writer took mmap_lock meanwhile", Reason.NO_PAGE_TABLE: "a page table would have to be made",
    Reason.PAGE_TABLE_LOCKED: "somebody else has the page-table lock",
}  # fmt: skip
"""Why lock_vma_under_rcu gave no VMA."""


def explain(explainer: Explainer, facts: Facts) -> list[Check]:
    """All checks of the fault, in their order."""
    checks, go_on = explainer.entry_checks(facts)
    account = _Account(list(checks))
    if not go_on:
        return account.checks
    if _under_vma_lock(explainer, facts, account):
        return account.checks
    _under_mmap_lock(explainer, facts, account)
    return account.checks


def _under_vma_lock(explainer: Explainer, facts: Facts, account: _Account) -> bool:
    """The attempt under the VMA lock; True when it settled the fault."""
    reason = facts.reason
    if not account.test("the fault is from user mode, so that the VMA lock may be tried", facts.user):
        return False
    if reason == Reason.SINGLE_USER:
        account.test("mm_users > 1, so that the VMA lock is worth trying", False)
        return False
    if reason == Reason.SCHEME or facts.locking == "mmap_lock":
        account.test("the locking scheme has VMA locks", False, f"--locking {facts.locking}")
        return False
    why = LOOKUP_REASONS.get(Reason(reason)) if reason else None
    text = "lock_vma_under_rcu finds the VMA and locks it for read"
    if facts.locking == "spf":
        text = "the speculative attempt: a copy of the VMA, and no writer until the entry is set"
    if not account.test(text, why is None, why or f"VMA {facts.vma}"):
        return False
    if reason == Reason.ACCESS_ERROR:
        _access(explainer, facts, account, True)
        account.step("the access error is looked at again under mmap_lock")
        return False
    failed = facts.path == Path.VMA_LOCK and _refused_by_vma(facts)
    _access(explainer, facts, account, failed)
    if failed:
        return True
    if reason == Reason.RETRY:
        account.step("handle_mm_fault under the VMA lock", "VM_FAULT_RETRY: mmap_lock is needed")
        return False
    if facts.path == Path.VMA_LOCK:
        _handled(facts, account, "the VMA lock")
        return True
    return False


def _under_mmap_lock(explainer: Explainer, facts: Facts, account: _Account) -> None:
    found = facts.vma != 0
    note = f"VMA {facts.vma}" if found else "no VMA contains the address, and none can grow to it"
    if facts.grown or facts.path == Path.MMAP_LOCK_WRITE:
        note += ", a stack that grew to the address under mmap_lock for write"
    if not account.test("lock_mm_and_find_vma takes mmap_lock and finds the VMA", found, note):
        return
    failed = _refused_by_vma(facts)
    _access(explainer, facts, account, failed)
    if failed:
        return
    if facts.retried:
        account.step("handle_mm_fault", "VM_FAULT_RETRY: mmap_lock was dropped, and everything is done once more")
    _handled(facts, account, "mmap_lock")


def _refused_by_vma(facts: Facts) -> bool:
    """A signal or a fixup though handle_mm_fault was not asked: the VMA's permissions refused it."""
    return facts.served in (Served.SIGNAL, Served.FIXUP) and not facts.result & m.VM_FAULT_ERROR and facts.vma != 0


def _access(explainer: Explainer, facts: Facts, account: _Account, failed: bool) -> None:
    if facts.vm_flags is None:
        account.test("the VMA allows the access", not failed, "its flags are not in the trace")
        return
    found = explainer.access_checks(facts)
    account.checks += found
    if any(check.passed is False for check in found) != failed:
        account.step("the recorded outcome does not agree with the VMA's flags", "they changed meanwhile")


def _handled(facts: Facts, account: _Account, lock: str) -> None:
    error = facts.result & m.VM_FAULT_ERROR
    account.test(f"handle_mm_fault under {lock} serves it", not error, vm_fault_names(facts.result))


_VM_FAULT = (
    "OOM", "SIGBUS", "MAJOR", "SIGSEGV", "NOPAGE", "LOCKED", "RETRY", "FALLBACK", "DONE_COW", "COMPLETED",
)  # fmt: skip
_FAULT_FLAG = (
    "WRITE", "MKWRITE", "ALLOW_RETRY", "RETRY_NOWAIT", "KILLABLE", "TRIED", "USER", "REMOTE", "INSTRUCTION",
    "INTERRUPTIBLE", "UNSHARE", "ORIG_PTE_VALID", "VMA_LOCK", "SPECULATIVE",
)  # fmt: skip


def vm_fault_names(value: int) -> str:
    """VM_FAULT_NOPAGE|VM_FAULT_LOCKED, or 0."""
    return _names("VM_FAULT_", _VM_FAULT, value)


def fault_flag_names(value: int) -> str:
    """FAULT_FLAG_WRITE|FAULT_FLAG_USER, or 0."""
    return _names("FAULT_FLAG_", _FAULT_FLAG, value)


def _names(prefix: str, names: tuple[str, ...], value: int) -> str:
    found = []
    for name in names:
        bit = getattr(m, prefix + name)
        if value & bit:
            found.append(prefix + name)
            value &= ~bit
    if value:
        found.append(f"{value:#x}")
    return "|".join(found) or "0"


def flag_bits(value: int, bits: tuple[tuple[int, str, str], ...]) -> list[Bit]:
    """Those of (mask, name, meaning when set) that are set, and what is left over."""
    found = []
    for mask, name, meaning in bits:
        if value & mask:
            found.append(Bit(name, 1, meaning))
            value &= ~mask
    if value:
        found.append(Bit("other bits", value))
    return found
