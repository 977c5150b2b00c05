# SPDX-License-Identifier: GPL-2.0-or-later
"""One fault's whole story, from the instruction to the outcome, as lines of text."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from signal import Signals
from typing import Any

import pyarrow.compute as pc

from archs.explain import Bit, Explainer, Facts, explain, fault_flag_names, vm_fault_names
from emu.mm import mm_types as m
from emu.trace.address_space import AddressSpaces, Newest, Vma
from emu.trace.escape import printable
from emu.trace.images import Images
from emu.trace.instruction import LONGEST, disassemble, resolve
from emu.trace.lock_names import lock_mode, lock_name
from emu.trace.reader import Trace, TraceError, rows_of
from emu.trace.registers import registers_of
from emu.trace.symbols import Symbols
from emu.trace.timespan import show_time
from emu.tracepoint import Kind, Path, Reason, Row, Served

_FAULTS = frozenset((int(Kind.PAGE_FAULT_USER), int(Kind.PAGE_FAULT_KERNEL)))
_LOCKS = frozenset(map(int, (
    Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED, Kind.VMA_LOCK_READ,
    Kind.VMA_LOCK_READ_FAILED, Kind.VMA_LOCK_RELEASED, Kind.VMA_LOCK_WRITE, Kind.CONTENTION_BEGIN, Kind.CONTENTION_END,
)))  # fmt: skip
_INSIDE = _LOCKS | frozenset(map(int, (
    Kind.SCHED_SWITCH, Kind.SCHED_WAKEUP, Kind.TLB_FLUSH, Kind.VMA_RESIZE, Kind.VMA_MODIFY, Kind.OOM_KILL,
    Kind.SIGNAL_GENERATE,
)))  # fmt: skip
_PACKAGES = {
    "x86_64": "archs.x86", "aarch64": "archs.arm64", "powerpc64": "archs.powerpc", "powerpc64le": "archs.powerpc",
    "powerpc": "archs.powerpc",
}  # fmt: skip
REACH = 64  # batches in which what a task did within a fault is looked for
_SERVED = {
    Served.NONE: "nothing was done", Served.ANON: "a new page of zeros", Served.ZERO_PAGE: "the shared zero page",
    Served.COW: "a copy of the page, which others use too",
    Served.REUSE: "the page itself, made writable: nobody else has it",
    Served.FILE_READ: "a page of the page cache, and pages around it (fault-around)",
    Served.FILE_COW: "a private copy of a file's page", Served.FILE_SHARED: "a page of the page cache, to be written",
    Served.MKWRITE: "a shared page, made writable", Served.SPURIOUS: "nothing: the entry was good already",
    Served.YOUNG: "accessed or dirty was set, and nothing else",
    Served.STACK: "the stack grew, and got a new page of zeros",
    Served.SIGNAL: "a signal instead", Served.FIXUP: "nothing: the kernel's access fails with EFAULT",
    Served.OOM: "nothing: out of memory",
}  # fmt: skip


class NoSuchFault(Exception):
    """The trace has no fault of that number; the text says how many it has."""


@dataclass
class _Found:
    """A fault and what is around it."""

    row: Row
    seq: int
    inside: list[Row] = field(default_factory=list)  # what its task did until it was served
    spaces: AddressSpaces = field(default_factory=AddressSpaces)
    calls: dict[int, Row] = field(default_factory=dict)  # tid -> the system call that it was in
    since: dict[int, Row] = field(default_factory=dict)  # tid -> its call's begin or end after the fault's begin
    holders: dict[int, Row] = field(default_factory=dict)  # tid waited for -> its part of `since` at that time


def find(trace: Trace, number: int) -> _Found:
    """The fault of a number, from 1, in the order of the trace. NoSuchFault, or TraceError where it is damaged."""
    total = seq = 0
    batch_number = -1
    first = 0
    for index, batch in enumerate(trace.batches(("kind",))):
        count = sum(
            pc.equal(batch.column("kind"), name).true_count for name in ("page_fault_user", "page_fault_kernel")
        )
        if total < number <= total + count:
            batch_number, first = index, number - total
            break
        total += count
        seq += batch.num_rows
    if batch_number < 0:
        raise NoSuchFault(f"{trace.path}: there is no fault {number}: it has {total}")
    return _collect(trace, batch_number, first, seq)


def _collect(trace: Trace, batch_number: int, first: int, seq: int) -> _Found:
    """The fault that is number `first` of its kind in a batch that begins with event `seq`."""
    before = Newest()
    found: _Found | None = None
    for index, batch in enumerate(trace.batches()):
        if index < batch_number:
            before.add(batch)
            continue
        for at, row in enumerate(rows_of(batch)):
            if found is None:
                first -= row[4] in _FAULTS
                if not first:
                    found = _Found(row, seq + at)
                    before.add(batch.slice(0, at))
            elif row[3] == found.row[3]:
                if row[4] not in _INSIDE or row[0] > found.row[0] + found.row[19]:
                    break
                found.inside.append(row)
                if row[4] == Kind.CONTENTION_BEGIN and row[15] in found.since:
                    found.holders[row[15]] = found.since[row[15]]
            elif row[4] in (Kind.SYS_ENTER, Kind.SYS_EXIT):
                found.since[row[3]] = row
        else:
            if index < batch_number + REACH:
                continue
        break
    if found is None:
        raise TraceError(trace.problem or f"{trace.path}: has changed")
    _look_back(found, before)
    if found.row[4] == Kind.PAGE_FAULT_KERNEL:
        found.inside = _balanced(found)
    return found


def _look_back(found: _Found, before: Newest) -> None:
    """The address spaces at the time of the fault, and what its task and those it waited for were in."""
    for row in before.rows():
        if row[4] == Kind.SYS_ENTER:
            found.calls[row[3]] = row
        elif row[4] != Kind.SYS_EXIT:
            found.spaces.apply(row)


def _balanced(found: _Found) -> list[Row]:
    """Of a fault in a system call: its own locks, not those that the call takes at the moment at which it is over."""
    kept: list[Row] = []
    held = 0
    end = found.row[0] + found.row[19]
    for row in found.inside:
        if row[0] >= end and row[4] in _LOCKS and not held and any(each[4] == Kind.MMAP_LOCK_RELEASED for each in kept):
            last = next(each for each in reversed(kept) if each[4] == Kind.MMAP_LOCK_RELEASED)
            grows = found.row[11] == Path.MMAP_LOCK_WRITE and not last[7] and row[7]
            if not grows:
                break
        kept.append(row)
        if row[4] == Kind.MMAP_LOCK_ACQUIRE_RETURNED and row[16]:
            held = 1
        elif row[4] == Kind.MMAP_LOCK_RELEASED:
            held = 0
    return kept


def explainer_of(arch: str) -> Explainer | None:
    """The one of an architecture, by its name in traces; None where there is none."""
    if arch == "x86_64":
        from archs.x86.mm.explain import X86Explainer

        return X86Explainer()
    if arch == "aarch64":
        from archs.arm64.mm.explain import Arm64Explainer

        return Arm64Explainer()
    if arch in ("powerpc64", "powerpc64le", "powerpc"):
        from archs.powerpc.mm.explain import PowerpcExplainer

        return PowerpcExplainer(4 if arch == "powerpc" else 8)
    return None


def tell_fault(trace: Trace, number: int, program: str | None = None) -> Iterator[str]:
    """The story of a fault, a line at a time, harmless for a terminal. NoSuchFault, TraceError."""
    found = find(trace, number)
    row = found.row
    arch = str(trace.metadata.get("arch", ""))
    explainer = explainer_of(arch)
    images = Images(trace, program)
    vma = found.spaces.find(row[2], row[5])
    for space in found.spaces.spaces.values():
        images.map_files(space)
    user = row[4] == Kind.PAGE_FAULT_USER
    yield (
        f"Fault {number}: {'user' if user else 'kernel'} mode, address {row[5]:#x}, task {row[3]} of process {row[2]}, "
        f"CPU {row[1]}, at {row[0]} ns"
    )
    yield ""
    yield from _instruction(found, arch, images, trace.metadata)
    yield from _call(found, images)
    yield ""
    yield "Syndrome"
    yield from _indent([f"{row[7]:#x}"] if explainer is None else _bits(row[7], explainer.syndrome(row[7])))
    yield ""
    yield from _vma(found, vma)
    yield ""
    facts = _facts(found, vma, trace.metadata)
    if explainer is not None:
        yield f"Checks, in the order of {explainer.function}"
        for check in explain(explainer, facts):
            mark = {True: "passed", False: "FAILED", None: "      "}[check.passed]
            yield f"  {mark}  {check.text}" + (f": {check.note}" if check.note else "")
        yield ""
    yield "Locks"
    yield from _indent(_locks(found) or ["none was tried"])
    yield ""
    yield from _page_table(row, explainer)
    yield ""
    yield from _outcome(found)
    for note in (*images.notes(), trace.problem):
        if note:
            yield f"note: {printable(note)}"


def _indent(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield f"  {line}"


def _bits(value: int, bits: list[Bit]) -> list[str]:
    width = max((len(bit.name) for bit in bits), default=0)
    digits = max((len(f"{bit.value:#x}") for bit in bits), default=0)
    return [f"{value:#x}", *(f"{bit.name:<{width}}  {bit.value:>#{digits}x}  {bit.meaning}".rstrip() for bit in bits)]


def _instruction(found: _Found, arch: str, images: Images, metadata: dict[str, Any]) -> Iterator[str]:
    row = found.row
    ip = row[6]
    yield "Instruction"
    if not ip:
        yield f"  the kernel's own, in {printable(row[17] or '?')}"
        return
    symbols = images.at(images.image_at(row[2], found.seq), ip)
    described = symbols.describe(ip)
    yield f"  {ip:#x}" + (f"  {described}" if described else "  (no symbol)")
    source = symbols.line(ip)
    if source is not None:
        yield f"  {printable(source[0])}:{source[1]}"
        text = _source_text(*source)
        if text:
            yield f"      {printable(text)}"
    code = _code(found, arch, symbols, ip)
    if row[5] == ip:
        yield f"  {ip:#x} is what faulted: the fetch of the instruction itself"
    instruction = disassemble(arch, ip, code)
    if instruction is None:
        yield "  its code is not known" if not code else f"  {code[:4].hex(' ')}: cannot be disassembled"
        return
    yield f"  {printable(instruction.text)}    ({instruction.code.hex(' ')}, as the file has it)"
    if row[5] != ip:
        yield from _indent(resolve(instruction, row[5], registers_of(row, metadata)))


def _code(found: _Found, arch: str, symbols: Symbols, ip: int) -> bytes:
    size = LONGEST.get(arch, 4)
    code = symbols.code(ip, size)
    vma = found.spaces.find(found.row[2], ip)
    if not code and vma is not None and vma.name == "[vdso]" and arch in _PACKAGES:
        for each in importlib.import_module(_PACKAGES[arch]).ARCHES:
            if each.name == arch:
                code = each.vdso[ip - vma.start : ip - vma.start + size]
    return code


def _source_text(path: str, line: int) -> str:
    try:
        with open(path, errors="replace") as file:
            for number, text in enumerate(file, 1):
                if number == line:
                    return text.strip()[:200]
    except (OSError, ValueError):
        pass
    return ""


def _call(found: _Found, images: Images) -> Iterator[str]:
    call = found.calls.get(found.row[3])
    if call is not None:
        shown = ", ".join(f"{value:#x}" for value in call[18] or ())
        yield f"  in the system call {printable(call[17] or '?')}({shown})"
    if found.row[20]:
        image = images.image_at(found.row[2], found.seq)
        names = []
        for depth, at in enumerate(found.row[20]):
            called = images.at(image, at - (depth > 0)).lookup(at - (depth > 0))  # a return address: of the call before
            names.append(f"{at:#x}" if called is None else f"{printable(called[0])}+{called[1] + (depth > 0):#x}")
        yield "  call stack: " + " < ".join(names)


def _flag_words(flags: int) -> str:
    letters = " ".join(short for name, short in m.VM_FLAG_LETTERS if flags & getattr(m, name))
    words = [name for name, value in vars(m).items() if name.startswith("VM_") and isinstance(value, int)
             and value and not value & value - 1 and flags & value and not name.startswith("VM_FAULT_")]  # fmt: skip
    return f"{flags:#x}  {letters}  ({'|'.join(words)})"


def _vma(found: _Found, vma: Vma | None) -> Iterator[str]:
    row = found.row
    yield "VMA"
    space = found.spaces.of_pid(row[2])
    if vma is None:
        above = space.next(row[5]) if space is not None else None
        yield "  no VMA contains the address" if space is not None and len(space) else "  no VMA is recorded"
        if above is not None:
            yield "  the next one above:"
            vma = above
    if vma is not None:
        yield f"  {printable(vma.maps_line().rstrip())}"
        yield f"  number {vma.id}, flags {_flag_words(vma.flags)}"
    if row[10] and (vma is None or row[10] != vma.id):
        yield f"  the fault was handled with VMA {row[10]}"


def _facts(found: _Found, vma: Vma | None, metadata: dict[str, Any]) -> Facts:
    row = found.row
    space = found.spaces.of_pid(row[2])
    handled = space.get(row[10]) if space is not None and row[10] else vma
    signal = next(((each[7], each[16]) for each in found.inside if each[4] == Kind.SIGNAL_GENERATE), None)
    taken = sum(each[4] == Kind.MMAP_LOCK_ACQUIRE_RETURNED and not each[7] and each[16] == 1 for each in found.inside)
    grown = any(each[4] == Kind.VMA_RESIZE for each in found.inside)
    return Facts(
        row[5], row[7], row[4] == Kind.PAGE_FAULT_USER, row[9], row[11], row[12], row[13], row[16], row[10],
        None if handled is None else handled.flags, str(metadata.get("locking", "")), signal,
        retried=bool(row[9] & m.FAULT_FLAG_TRIED) and taken > 1, grown=grown,
    )  # fmt: skip


def _locks(found: _Found) -> list[str]:
    lines = []
    for row in found.inside:
        kind, mode = row[4], "write" if row[7] else "read"
        waited = ""
        if row[14]:
            waited = f", after a wait of {show_time(row[14])}" + (f" for {_holder(found, row[15])}" if row[15] else "")
        if kind == Kind.MMAP_LOCK_START_LOCKING:
            continue
        if kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED:
            lines.append(f"mmap_lock of mm {row[5]} for {mode}: {'taken' if row[16] else 'refused'}{waited}")
        elif kind == Kind.MMAP_LOCK_RELEASED:
            held = f", held {show_time(row[19])}" if row[19] else ""
            lines.append(f"mmap_lock of mm {row[5]} for {mode}: released{held}")
        elif kind == Kind.VMA_LOCK_READ:
            lines.append(f"VMA lock of VMA {row[10]} for read: taken{waited}")
        elif kind == Kind.VMA_LOCK_READ_FAILED:
            lines.append(f"VMA lock of VMA {row[10]} for read: refused, {Reason(row[12]).name.lower()}")
        elif kind == Kind.VMA_LOCK_WRITE:
            lines.append(f"VMA lock of VMA {row[10]} for write: taken{waited}")
        elif kind == Kind.VMA_LOCK_RELEASED:
            lines.append(f"VMA lock of VMA {row[10]}: released")
        elif kind == Kind.CONTENTION_BEGIN:
            lines.append(f"begins to wait for {_lock(row)} at {row[0]} ns, which {_holder(found, row[15])} holds")
        elif kind == Kind.CONTENTION_END:
            end = "has it" if row[16] >= 0 else f"gives up ({row[16]})"
            lines.append(f"{end} at {row[0]} ns, after {show_time(row[14])}")
        elif kind == Kind.VMA_RESIZE:
            lines.append(f"VMA {row[10]} now begins at {row[5]:#x}")
        elif kind == Kind.TLB_FLUSH:
            lines.append(f"TLB flush of {row[8] or 'all'} pages")
    row = found.row
    if row[14]:
        lines.append(
            f"in all, {show_time(row[14])} of {show_time(row[19])} were waits, the last for {_holder(found, row[15])}"
        )
    return lines


def _lock(row: Row) -> str:
    """The lock of an event of contention, and how it is to be taken."""
    mode = lock_mode(row[17], bool(row[7]))
    return printable(lock_name(row[17], row[5], row[10])) + (f" for {mode}" if mode else "")


def _holder(found: _Found, tid: int) -> str:
    if not tid:
        return "a task that is not told"
    call = found.holders.get(tid) or found.calls.get(tid)
    if call is not None and call[4] == Kind.SYS_EXIT:
        call = None
    return f"task {tid}" + (f" (in {printable(call[17] or '?')})" if call is not None else "")


def _page_table(row: Row, explainer: Explainer | None) -> Iterator[str]:
    yield "Page-table entry"
    if not row[18] or len(row[18]) < 2:
        yield "  is not recorded"
        return
    before, after = row[18][0], row[18][1]
    for name, value in (("before", before), ("after", after)):
        if name == "after" and before == after:
            yield "  after   the same"
            continue
        if not value:
            yield f"  {name:<6}  0  empty, or no table there"
            continue
        lines = [f"{value:#x}"] if explainer is None else _bits(value, explainer.pte(value))
        yield f"  {name:<6}  {lines[0]}"
        for line in lines[1:]:
            yield f"            {line}"


def _outcome(found: _Found) -> Iterator[str]:
    row = found.row
    yield "Outcome"
    path = {
        Path.NONE: "before any lock", Path.VMA_LOCK: "under the VMA lock", Path.MMAP_LOCK: "under mmap_lock",
        Path.MMAP_LOCK_WRITE: "under mmap_lock, taken for write to grow the stack and downgraded",
        Path.SPECULATIVE: "speculatively",
    }[Path(row[11])]  # fmt: skip
    yield f"  {Served(row[13]).name.lower()}: {_SERVED[Served(row[13])]}, decided {path}"
    yield f"  flags   {fault_flag_names(row[9])}"
    yield f"  result  {vm_fault_names(row[16])}"
    if row[12]:
        yield f"  reason  {Reason(row[12]).name.lower()}: why a faster path did not serve it"
    yield f"  time    {show_time(row[19])}"
    for each in found.inside:
        if each[4] == Kind.SIGNAL_GENERATE:
            try:
                name = Signals(each[7]).name
            except ValueError:
                name = f"signal {each[7]}"
            where = f", si_addr {each[18][0]:#x}" if each[18] else ""
            yield f"  signal  {name}, si_code {each[16]}{where}"
