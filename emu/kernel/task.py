# SPDX-License-Identifier: GPL-2.0-or-later
"""A task: its identity, its resources, its signals (struct task_struct)."""

from __future__ import annotations

import time as host_time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archs.base import SI_KERNEL, Arch, Cpu, FaultEntry, SigInfo
from emu.kernel.signal import ERESTARTSYS, Signals
from emu.kernel.timers import Timer
from emu.mm.mm_types import mm_struct
from emu.mm.uaccess import Uaccess

if TYPE_CHECKING:
    from emu.fs.files import files_struct
    from emu.fs.fs_struct import fs_struct
    from emu.kernel.machine import Machine

RLIM_INFINITY = (1 << 64) - 1
# RLIMIT_CPU, FSIZE, DATA, STACK, CORE, RSS, NPROC, NOFILE, MEMLOCK, AS, LOCKS, SIGPENDING, MSGQUEUE, NICE, RTPRIO,
# RTTIME
_DEFAULT_RLIMITS = (
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (8 << 20, RLIM_INFINITY),
    (0, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (96365, 96365),
    (1024, 524288),
    (8 << 20, 8 << 20),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (96365, 96365),
    (819200, 819200),
    (0, 0),
    (0, 0),
    (RLIM_INFINITY, RLIM_INFINITY),
)
CAP_ALL = (1 << 41) - 1


@dataclass
class Cred:
    """Who a task is: root, with all capabilities, as a container's first process is."""

    uid: int = 0
    gid: int = 0
    euid: int = 0
    egid: int = 0
    suid: int = 0
    sgid: int = 0
    fsuid: int = 0
    fsgid: int = 0
    groups: list[int] = field(default_factory=lambda: [0])
    cap_effective: int = CAP_ALL


class Task:
    """One thread of one process; there is one so far."""

    def __init__(self, machine: Machine, arch: Arch, mm: mm_struct, cpu: Cpu, pid: int) -> None:
        self.machine = machine
        self.arch = arch
        self.mm = mm
        self.cpu = cpu
        self.pid = pid
        self.tgid = pid
        self.ppid = 1
        self.pgid = pid
        self.sid = pid
        self.nice = 0
        self.oom_score_adj = 0
        self.restart_block: Callable[[], int] | None = None  # what restart_syscall goes on with
        self.pdeath_signal = 0
        self.child_subreaper = 0
        self.timer_slack_ns = 50_000
        self.thp_disabled = 0
        self.itimers: dict[int, Timer] = {}  # by ITIMER_*
        self.posix_timers: dict[int, Any] = {}
        self.cap_permitted = CAP_ALL
        self.rseq = (0, 0)  # address, signature of the registered struct rseq

        self.comm = ""
        self.cred = Cred()
        self.rlimits = [list(pair) for pair in _DEFAULT_RLIMITS]
        self.signals = Signals()
        self.entry: FaultEntry = arch.make_fault_entry(mm, cpu, self.force_sig)
        self.access = Uaccess(mm, self.entry.kernel_fault, "big" if arch.elf.big_endian else "little")
        self.files: files_struct
        self.fs: fs_struct
        self.exit_code: int | None = None  # as subprocess.Popen.returncode: -signal when killed
        self.clear_child_tid = 0
        self.robust_list = (0, 0)
        self.personality = 0x0040000  # ADDR_NO_RANDOMIZE
        self.dumpable = 1
        self.no_new_privs = 0
        self.argv: list[bytes] = []
        self.envp: list[bytes] = []
        self.auxv = b""
        self.exe = ""
        mm.rlimit = self.rlimit
        mm.fatal_signal_pending = lambda: self.exit_code is not None or self.signals.fatal

    @property
    def min_flt(self) -> int:
        """Page faults that did not wait for a disk."""
        return self.machine.memory.vmstat["pgfault"]

    @property
    def word(self) -> int:
        """Bytes of a machine word."""
        return self.arch.elf.word

    def rlimit(self, resource: int) -> int:
        """Soft limit RLIMIT_*; RLIM_INFINITY = none."""
        return self.rlimits[resource][0]

    def force_sig(self, info: SigInfo) -> None:
        """A signal that cannot be blocked or ignored: a fault of the program itself (force_sig_info)."""
        self.signals.force(info)
        self._trace_generated(info)

    def send_signal(self, signo: int, info: SigInfo | None = None) -> None:
        """Make a signal pending (send_signal_locked); the kernel is its sender unless `info` says otherwise."""
        info = info or SigInfo(signo, SI_KERNEL)
        self.signals.send(info)
        self._trace_generated(info)

    def _trace_generated(self, info: SigInfo) -> None:
        tp = self.machine.tp
        if tp.on:
            from emu.tracepoint import Kind

            tp.emit(Kind.SIGNAL_GENERATE, code=info.signo, result=info.code, args=(info.addr,))

    def signal_pending(self) -> bool:
        """Is there a signal that a wait must end for."""
        self.machine.take_host_signals()
        return self.signals.deliverable() != 0

    def wait_event(self, condition: Callable[[], bool], timeout_ns: int | None = None) -> int:
        """Sleep in virtual time until `condition` holds: 1; 0 when `timeout_ns` passed first; -ERESTARTSYS on a
        signal."""
        machine = self.machine
        deadline = None if timeout_ns is None else machine.clock() + timeout_ns
        while True:
            if condition():
                return 1
            if self.signal_pending():
                return -ERESTARTSYS
            now = machine.clock()
            if deadline is not None and now >= deadline:
                return 0
            wake = machine.timers.next_deadline()
            if deadline is not None and (wake is None or deadline < wake):
                wake = deadline
            if wake is None:
                host_time.sleep(0.01)  # only the host can end this: input, or Ctrl-C
                continue
            machine.advance_to(wake)
            machine.timers.run()

    def capable(self, capability: int) -> bool:
        """CAP_* held."""
        return bool(self.cred.cap_effective >> capability & 1)


SyscallFunction = Callable[[Task, int, int, int, int, int, int], int]
SyscallTable = dict[str, Any]
