# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as lines: text in the manner of perf script, or JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from emu.trace.escape import printable
from emu.trace.export.names import Comms
from emu.trace.images import TraceSymbols
from emu.trace.lock_names import SHARED
from emu.tracepoint import FIELDS, Kind, Path, Reason, Row, Served

_LOCKS = (Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED, Kind.MMAP_LOCK_RELEASED)
_OF_TASKS = (Kind.EXEC, Kind.SCHED_PROCESS_FORK)
_FAULTS = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)


def from_entry(rows: Iterable[Row]) -> Iterator[Row]:
    """Drop what comes before the first user fault, the fetch of the entry point."""
    seen = False
    for row in rows:
        seen = seen or row[4] == Kind.PAGE_FAULT_USER
        if seen:
            yield row


class Only:
    """Chooses the events of some processes, tasks and kinds; an empty collection stands for all."""

    def __init__(
        self, pids: Collection[int] = (), tids: Collection[int] = (), kinds: Collection[int] = ()
    ) -> None:  # fmt: skip
        self.pids, self.tids, self.kinds = frozenset(pids), frozenset(tids), frozenset(kinds)

    def __call__(self, row: Row) -> bool:
        return (
            (not self.pids or row[2] in self.pids)
            and (not self.tids or row[3] in self.tids)
            and (not self.kinds or row[4] in self.kinds)
        )


ALL = Only()


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object a line: time, cpu, pid, tid, kind, and each other field that is not empty."""
    names: dict[str, Any] = {"kind": Kind, "path": Path, "reason": Reason, "served": Served}
    for row in rows:
        event: dict[str, Any] = {}
        for index, (name, value) in enumerate(zip(FIELDS, row)):
            if index < 5 or value:
                event[name] = names[name](value).name.lower() if name in names else value
        yield json.dumps(event)


def text_lines(
    rows: Iterable[Row], comm: str, symbols: TraceSymbols, entry: bool = False, only: Only = ALL
) -> Iterator[str]:  # fmt: skip
    """A line for each event: comm, tid, CPU, time in seconds, event, fields. A fault has its number, which report
    --fault takes. `entry`: leave out what comes before the first user fault, `only`: and what it does not choose."""
    comms = Comms(comm)
    faults = 0
    for row in rows:
        number = ""
        if row[4] in _OF_TASKS:
            comms.follow(row)
            symbols.follow(row)
        if row[4] in _FAULTS:
            faults += 1
            number = f"#{faults} "
        if entry and row[4] != Kind.PAGE_FAULT_USER:
            continue
        entry = False
        if not only(row):
            continue
        yield (
            f"{comms.of(row[3]):>16} {row[3]:6d} [{row[1]:03d}] {row[0] // 10**9:5d}.{row[0] % 10**9:09d}: "
            f"{Kind(row[4]).name.lower()}: {number}{details(row, symbols)}"
        )


def details(row: Row, symbols: TraceSymbols, stack: bool = True) -> str:
    """What a line tells of an event behind its name; without `stack` not its call stack."""
    kind, address, ip, code, size, flags, vma = row[4:11]
    path, reason, served, wait, holder, result, text, args, duration, frames = row[11:]
    name = "" if text is None else printable(text)
    parts: list[str]
    if kind in _FAULTS:
        parts = [f"address={address:#x}", f"ip={ip:#x}" if ip else f"function={name}"]
        symbol = symbols.describe(symbols.image(row[2]), ip) if ip else ""
        parts += [f"({symbol})"] if symbol else []
        parts += [f"error_code={code:#x}", f"path={Path(path).name.lower()}", f"served={Served(served).name.lower()}"]
        parts += [f"vma={vma}"] if vma else []
        parts += [f"reason={Reason(reason).name.lower()}"] if reason else []
    elif kind in _LOCKS:
        parts = [f"mm={address}", f"write={'true' if code else 'false'}"]
        if kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED:
            parts.append(f"success={'true' if result else 'false'}")
        parts += [f"caller={name}"] if name else []
    elif kind in (Kind.SYS_ENTER, Kind.SYS_EXIT):
        shown = ", ".join(f"{value:#x}" for value in args or ())
        parts = [f"{name}({shown})" if kind == Kind.SYS_ENTER else f"{name} = {result}"]
    elif kind in (Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER):
        parts = [f"sig={code}", f"code={result}"] + ([f"addr={args[0]:#x}"] if args and args[0] else [])
    elif kind == Kind.EXEC:
        parts = [f"filename={name}", f"entry={ip:#x}", f"load_bias={address:#x}"]
    elif kind == Kind.EXIT:
        parts = [f"status={result}"]
    elif kind == Kind.OOM_KILL:
        parts = [f"comm={name}"]
    elif kind in (Kind.CONTENTION_BEGIN, Kind.CONTENTION_END):
        parts = [f"lock={name}", f"id={address:#x}" if name not in SHARED else f"id={address}"]
        parts += [f"flags={flags:#x}"] if kind == Kind.CONTENTION_BEGIN else [f"ret={result}"]
    elif kind == Kind.SCHED_SWITCH:
        parts = [f"prev_tid={row[3]}", f"prev_state={'RSX'[result]}", f"next_tid={code}"]
    elif kind == Kind.SCHED_WAKEUP:
        parts = [f"tid={code}", f"target_cpu={size}"]
    elif kind == Kind.SCHED_PROCESS_FORK:
        parts = [f"child_tid={code}", f"child_pid={size}", f"clone_flags={flags:#x}"]
    elif kind == Kind.TLB_FLUSH:
        parts = [f"pages={size or 'all'}"]
    else:  # VMAs and their locks
        parts = [f"vma={vma}", f"start={address:#x}"]
        parts += [f"length={size:#x}", f"flags={flags:#x}"] if size else []
        parts += [f"reason={Reason(reason).name.lower()}"] if reason else []
        parts += [f"name={name}"] if name else []
    if wait:
        parts.append(f"wait={wait}ns")
    if holder:
        parts.append(f"holder={holder}")
    if duration:
        parts.append(f"duration={duration}ns")
    if kind in _FAULTS and args:
        parts.append(f"pte={args[0]:#x}->{args[1]:#x}")
        parts += ["user_regs=" + ",".join(f"{value:x}" for value in args[2:])] if len(args) > 2 else []
    if stack and frames:
        parts.append("stack=" + ",".join(f"{at:x}" for at in frames))
    return " ".join(parts)
