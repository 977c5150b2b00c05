# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as /sys/kernel/tracing/trace shows them.

An event that the kernel has is printed in the kernel's own format, so that programs that parse ftrace text take it for
the kernel's. What such a format has no place for goes into an event of its own behind it: `page_fault_served` at the
end of a fault, `lock_wait` where a lock was waited for. Events that the kernel lacks (VMA locks, VMAs) are printed in
the same style. Times have nanoseconds, as with `trace-cmd report -t`: several faults fall on one microsecond.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from emu.trace.escape import printable
from emu.trace.export.names import Comms, lock_address
from emu.trace.export.output import Output
from emu.trace.export.source import Source
from emu.tracepoint import Kind, Path, Reason, Row, Served

_LOCK_FLAGS = ((1, "SPIN"), (2, "READ"), (4, "WRITE"), (8, "RT"), (16, "PERCPU"), (32, "MUTEX"))
_HEADER = """\
# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
_PRIO = 120
_SHOOTDOWN = "local MM shootdown"  # TLB_LOCAL_MM_SHOOTDOWN

Event = tuple[str, str, str]
"""Flags, name, fields."""
Placed = tuple[int, int, int, Event]
"""Time, CPU, tid, event."""


def _flag_names(flags: int) -> str:
    known = "|".join(name for bit, name in _LOCK_FLAGS if flags & bit)
    rest = flags & ~63
    return "|".join(part for part in (known, hex(rest) if rest else "") if part)


class FtraceEvents:
    """Turns rows into ftrace's events."""

    def __init__(self, comm: str) -> None:
        self.comms = Comms(comm)
        self._ends = 0  # so far: keeps ends of the same time in order
        self._running: dict[int, int] = {}  # by CPU
        self._live: dict[int, set[int]] = {}  # threads by process, as far as the rows have named them
        self._later: list[tuple[int, int, Row, Event]] = []  # ends of events, by time
        self._format: dict[int, Callable[[Row], list[Event]]] = {
            Kind.PAGE_FAULT_USER: self._fault, Kind.PAGE_FAULT_KERNEL: self._fault,
            Kind.MMAP_LOCK_START_LOCKING: self._mmap_lock, Kind.MMAP_LOCK_ACQUIRE_RETURNED: self._mmap_lock,
            Kind.MMAP_LOCK_RELEASED: self._mmap_lock, Kind.VMA_LOCK_READ: self._vma_lock,
            Kind.VMA_LOCK_READ_FAILED: self._vma_lock, Kind.VMA_LOCK_RELEASED: self._vma_lock,
            Kind.VMA_LOCK_WRITE: self._vma_lock, Kind.SYS_ENTER: self._sys_enter, Kind.SYS_EXIT: self._sys_exit,
            Kind.SIGNAL_GENERATE: self._signal_generate, Kind.SIGNAL_DELIVER: self._signal_deliver,
            Kind.EXEC: self._exec, Kind.EXIT: self._exit, Kind.OOM_KILL: self._oom_kill,
            Kind.CONTENTION_BEGIN: self._contention_begin, Kind.CONTENTION_END: self._contention_end,
            Kind.SCHED_SWITCH: self._switch, Kind.SCHED_WAKEUP: self._wakeup,
            Kind.SCHED_PROCESS_FORK: self._fork, Kind.TLB_FLUSH: self._tlb_flush,
        }  # fmt: skip

    def events(self, row: Row) -> Iterator[Placed]:
        """The events of a row, after the ends of those that ended before it. Rows come in the order of time."""
        when, cpu, pid, tid = row[:4]
        while self._later and self._later[0][0] < when:
            yield self._end()
        self._live.setdefault(pid, set()).add(tid)
        before = self._running.get(cpu, 0)
        if before != tid:
            # The trace tells when a task leaves its CPU; that an idle one takes it up is seen by its next event.
            yield when, cpu, before, ("d..2.", "sched_switch", self._switched(cpu, before, "R", tid))
        self._running[cpu] = row[7] if row[4] == Kind.SCHED_SWITCH else tid
        for event in self._format.get(row[4], self._vma)(row):
            yield when, cpu, tid, event

    def rest(self) -> Iterator[Placed]:
        """Events that end after the last row."""
        while self._later:
            yield self._end()

    def _end(self) -> Placed:
        when, _, row, event = heapq.heappop(self._later)
        return when, row[1], row[3], event

    def line(self, placed: Placed) -> str:
        """An event as a line."""
        when, cpu, tid, (flags, name, fields) = placed
        comm = self._comm(tid) if tid else "<idle>"
        return f"{comm:>16}-{tid:<7d} [{cpu:03d}] {flags} {when // 10**9:5d}.{when % 10**9:09d}: {name}: {fields}\n"

    def _comm(self, tid: int) -> str:
        return self.comms.of(tid)

    def _fault(self, row: Row) -> list[Event]:
        kind, address, ip, code = row[4:8]
        user = kind == Kind.PAGE_FAULT_USER
        where = hex(ip) if user else printable(row[17] or "0x0")
        args, stack = row[18], row[20]
        fields = f"address={address:#x} path={Path(row[11]).name.lower()} served={Served(row[13]).name.lower()}"
        fields += f" reason={Reason(row[12]).name.lower()} vma={row[10]} flags={row[9]:#x} result={row[16]:#x}"
        fields += f" wait={row[14]} holder={row[15]} duration={row[19]}"
        if args and len(args) > 1:
            fields += f" pte={args[0]:#x} new_pte={args[1]:#x}"
            if len(args) > 2:
                fields += " user_regs=" + ",".join(f"{value:x}" for value in args[2:])
        if stack:
            fields += " stack=" + ",".join(f"{frame:#x}" for frame in stack)
        self._ends += 1
        heapq.heappush(self._later, (row[0] + row[19], self._ends, row, (".....", "page_fault_served", fields)))
        name = "page_fault_user" if user else "page_fault_kernel"
        return [("d....", name, f"address={address:#x} ip={where} error_code={code:#x}")]

    def _wait(self, row: Row) -> list[Event]:
        """What the kernel's format of a lock event does not hold."""
        if not (row[14] or row[15]):
            return []
        fields = f"lock={lock_address(row):#x} wait={row[14]} holder={row[15]}"
        return [(".....", "lock_wait", fields)]

    def _mmap_lock(self, row: Row) -> list[Event]:
        kind, mm, _, write = row[4:8]
        fields = f"mm={mm:016x} memcg_id=1 write={'true' if write else 'false'}"
        if kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED:
            fields += f" success={'true' if row[16] else 'false'}"
        return [(".....", Kind(kind).name.lower(), fields), *self._wait(row)]

    def _vma_lock(self, row: Row) -> list[Event]:
        fields = f"vma={row[10]} start={row[5]:#x}"
        if row[12]:
            fields += f" reason={Reason(row[12]).name.lower()}"
        return [(".....", Kind(row[4]).name.lower(), fields), *self._wait(row)]

    def _vma(self, row: Row) -> list[Event]:
        fields = f"vma={row[10]} start={row[5]:#x} size={row[8]:#x} flags={row[9]:#x}"
        if row[17]:
            fields += f" name={printable(row[17])}"
        return [(".....", Kind(row[4]).name.lower(), fields)]

    def _sys_enter(self, row: Row) -> list[Event]:
        args = [*(row[18] or ()), 0, 0, 0, 0, 0, 0][:6]
        return [(".....", "sys_enter", f"NR {row[7]} ({', '.join(f'{value:x}' for value in args)})")]

    def _sys_exit(self, row: Row) -> list[Event]:
        return [(".....", "sys_exit", f"NR {row[7]} = {row[16]}")]

    def _signal_generate(self, row: Row) -> list[Event]:
        fields = f"sig={row[7]} errno=0 code={row[16]} comm={self._comm(row[3])} pid={row[3]} grp=0 res=0"
        return [("d..1.", "signal_generate", fields), self._signal_info(row)]

    def _signal_deliver(self, row: Row) -> list[Event]:
        fields = f"sig={row[7]} errno=0 code={row[16]} sa_handler=0 sa_flags=0"
        return [("d..1.", "signal_deliver", fields), self._signal_info(row)]

    def _signal_info(self, row: Row) -> Event:
        return ".....", "signal_info", f"sig={row[7]} addr={(row[18] or (0,))[0]:#x} ip={row[6]:#x}"

    def _exec(self, row: Row) -> list[Event]:
        name = row[17] or ""
        self.comms.exec(row[3], name)
        return [(".....", "sched_process_exec", f"filename={printable(name)} pid={row[3]} old_pid={row[3]}")]

    def _exit(self, row: Row) -> list[Event]:
        threads = self._live.setdefault(row[2], set())
        threads.discard(row[3])
        dead = "false" if threads else "true"
        return [
            (".....", "sched_process_exit", f"comm={self._comm(row[3])} pid={row[3]} prio={_PRIO} group_dead={dead}"),
            (".....", "exit_status", f"status={row[16]}"),
        ]

    def _oom_kill(self, row: Row) -> list[Event]:
        fields = f"pid={row[3]} comm={printable(row[17] or '')}"
        fields += " total-vm=0kB anon-rss=0kB file-rss:0kB shmem-rss:0kB uid=0 pgtables=0kB oom_score_adj=0"
        return [(".....", "mark_victim", fields)]

    def _contention_begin(self, row: Row) -> list[Event]:
        event = (".....", "contention_begin", f"{lock_address(row):016x} (flags={_flag_names(row[9])})")
        name = f"lock={lock_address(row):#x} name={printable(row[17] or '')} holder={row[15]}"
        return [event, (".....", "lock_owner", name)]

    def _contention_end(self, row: Row) -> list[Event]:
        return [(".....", "contention_end", f"{lock_address(row):016x} (ret={row[16]})"), *self._wait(row)]

    def _switch(self, row: Row) -> list[Event]:
        return [("d..2.", "sched_switch", self._switched(row[1], row[3], "RSX"[row[16] % 3], row[7]))]

    def _switched(self, cpu: int, before: int, state: str, after: int) -> str:
        return (
            f"prev_comm={self._comm_on(cpu, before)} prev_pid={before} prev_prio={_PRIO} prev_state={state}"
            f" ==> next_comm={self._comm_on(cpu, after)} next_pid={after} next_prio={_PRIO}"
        )

    def _comm_on(self, cpu: int, tid: int) -> str:
        return self._comm(tid) if tid else f"swapper/{cpu}"

    def _wakeup(self, row: Row) -> list[Event]:
        tid = row[7]
        fields = f"comm={self._comm(tid)} pid={tid} prio={_PRIO} target_cpu={row[8]:03d}"
        return [("d..2.", "sched_wakeup", fields)]

    def _fork(self, row: Row) -> list[Event]:
        parent, child = row[3], row[7]
        comm = self._comm(parent)
        self.comms.fork(parent, child)
        self._live.setdefault(row[8], set()).add(child)
        flags = row[9] & ~0xFF  # the signal to the parent is no flag
        return [
            (".....", "task_newtask", f"pid={child} comm={comm} clone_flags={flags:x} oom_score_adj=0"),
            (".....", "sched_process_fork", f"comm={comm} pid={parent} child_comm={comm} child_pid={child}"),
        ]

    def _tlb_flush(self, row: Row) -> list[Event]:
        return [("d..1.", "tlb_flush", f"pages:{row[8] or -1} reason:{_SHOOTDOWN} (3)")]


LEFT_OUT = (
    "the ftrace format has no place for: which process a thread belongs to, the ip of sys_enter; unknown, and "
    "printed as 0: sa_handler, sa_flags, the sizes in mark_victim; added: sched_switch where an idle CPU goes on"
)


def write_ftrace(source: Source, output: Output) -> str:
    """All events as ftrace text. The result says what of them has no place in it."""
    events = FtraceEvents(source.comm)
    output.write(_HEADER.encode())
    for row in source.rows():
        for placed in events.events(row):
            output.write(events.line(placed).encode())
    for placed in events.rest():
        output.write(events.line(placed).encode())
    return LEFT_OUT
