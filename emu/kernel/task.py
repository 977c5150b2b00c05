# SPDX-License-Identifier: GPL-2.0-or-later
"""A task: its identity, its resources, its signals (struct task_struct)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from archs.base import SI_KERNEL, SI_USER, Arch, Cpu, FaultEntry, SigInfo
from emu.kernel.cpu_timers import CpuTimer
from emu.kernel.process import RLIM_INFINITY, Process
from emu.kernel.signal import ERESTARTSYS, SIGCHLD, Signals, send_signal
from emu.kernel.timers import PosixTimers, Timer
from emu.locking.wait import wait_queue_head
from emu.mm.mm_types import mm_struct
from emu.mm.mmap_lock import mmap_read_trylock, mmap_read_unlock
from emu.mm.uaccess import Uaccess
from emu.sched.entity import SchedEntity, State
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.fs.files import files_struct
    from emu.fs.fs_struct import fs_struct
    from emu.kernel.ipc.sem import sem_undo_list
    from emu.kernel.machine import Machine

# RLIMIT_CPU, FSIZE, DATA, STACK, CORE, RSS, NPROC, NOFILE, MEMLOCK, AS, LOCKS, SIGPENDING, MSGQUEUE, NICE, RTPRIO,
# RTTIME
DEFAULT_RLIMITS = (
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
CAP_IPC_LOCK, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 14, 19, 21
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

    def copy(self) -> Cred:
        """For a new task."""
        return replace(self, groups=list(self.groups))


class Task(SchedEntity):
    """One thread (struct task_struct). What it shares with the others of its process is in `signal`."""

    __slots__ = ("cpu_timers", "entry", "exit_code", "rseq", "signal", "signals", "thread")  # see SchedEntity

    def __init__(
        self, machine: Machine, arch: Arch, mm: mm_struct, pid: int, process: Process, signals: Signals
    ) -> None:
        super().__init__(pid)
        self.machine = machine
        self.arch = arch
        self.tgid = process.tgid
        self.signal = process
        self.signals = signals
        self.exit_signal = SIGCHLD  # what the parent gets when the process ends; -1 for a thread
        self.exit_code: int | None = None  # as subprocess.Popen.returncode: -signal when killed
        self.exiting = False
        self.zombie = False  # ended, and not yet waited for
        self.start_time = 0
        self.restart_block: Callable[[], int] | None = None  # what restart_syscall goes on with
        self.cpu_timers: list[CpuTimer] = []  # armed, on clocks of this thread
        self.pdeath_signal = 0  # for each thread of a child of a thread that ends
        self.real_parent: Task | None = None  # of a leader: the thread that forked it, or took its place
        self.sched_reset_on_fork = False
        self.ioprio = 0  # as ioprio_set gave it; 0 = by policy and nice value
        self.rseq_restart = False  # membarrier wants the sequence that it is in to start over
        self.timer_slack_ns = 50_000  # 0 while it is a real-time thread
        self.default_timer_slack_ns = 50_000
        self.thp_disabled = 0
        self.cap_permitted = CAP_ALL
        self.cap_bset = CAP_ALL  # what an exec may give to root
        self.rseq = (0, 0)  # address, signature of the registered struct rseq
        self.rseq_len = 0
        self.cred = Cred()
        self.set_child_tid = 0
        self.clear_child_tid = 0
        self.robust_list = (0, 0)
        self.futex_waited = 0  # address of the word that it sleeps on, 0 = none
        self.futex_dead = False  # its futexes were dealt with: it may not be waited for any more
        self.sysvsem: sem_undo_list | None = None  # what its end undoes of semaphores
        self.vfork_parent: Task | None = None  # who sleeps until this task lets go of its address space
        self.personality = 0x0040000  # ADDR_NO_RANDOMIZE
        self.dumpable = 1
        self.no_new_privs = 0
        self.thread: Any = None  # archs.thread.thread_struct; None: it has run nothing of its program
        self.files: files_struct
        self.fs: fs_struct
        self.mm: mm_struct
        self.entry: FaultEntry
        self.access: Uaccess
        self.attach_mm(mm)

    def attach_mm(self, mm: mm_struct) -> None:
        """The task runs in `mm` from now on; that counts as a user already."""
        self.mm = mm
        self.entry = self.arch.make_fault_entry(mm, None, self.force_sig)
        self.entry.owner = self
        byteorder: Literal["big", "little"] = "big" if self.arch.elf.big_endian else "little"
        self.access = Uaccess(mm, self.entry.kernel_fault, byteorder, self.arch.user_ptr_max)
        self.set_pkru(self.pkru)

    def set_pkru(self, value: int) -> None:
        """Change what protection keys forbid, also where that is looked up (write_pkru)."""
        self.pkru = self.access.pkru = value
        cpu = self.mm.cpu
        if cpu is not None and cpu.task is self:
            cpu.engine.set_pkru(value)

    @property
    def cpu(self) -> Cpu:
        """The CPU with this task's registers in it."""
        return self.machine.load_registers(self)

    # What belongs to the process

    def cpu_ns(self) -> int:
        """ns that it was on a CPU."""
        return self.machine.sched.cpu_ns(self)

    @property
    def stime(self) -> int:
        """ns in the kernel."""
        return max(0, self.cpu_ns() - self.utime)

    @property
    def ppid(self) -> int:
        parent = self.signal.parent
        return 1 if parent is None else parent.tgid

    @property
    def pgid(self) -> int:
        return self.signal.pgid

    @property
    def sid(self) -> int:
        return self.signal.sid

    @property
    def rlimits(self) -> list[list[int]]:
        return self.signal.rlimits

    @property
    def itimers(self) -> dict[int, Timer | CpuTimer]:
        return self.signal.itimers

    @property
    def posix_timers(self) -> PosixTimers:
        return self.signal.posix_timers

    @property
    def oom_score_adj(self) -> int:
        return self.signal.oom_score_adj

    @oom_score_adj.setter
    def oom_score_adj(self, value: int) -> None:
        self.signal.oom_score_adj = value

    @property
    def exe(self) -> str:
        return self.signal.exe

    @property
    def argv(self) -> list[bytes]:
        return self.signal.argv

    @property
    def auxv(self) -> bytes:
        return self.signal.auxv

    @property
    def word(self) -> int:
        """Bytes of a machine word."""
        return self.arch.elf.word

    def rlimit(self, resource: int) -> int:
        """Soft limit RLIMIT_*; RLIM_INFINITY = none."""
        return self.signal.rlimits[resource][0]

    def ptrace_may_access(self, target: Task) -> bool:
        """May the task look into the other one: of the same process, of the same user and dumpable, or with
        CAP_SYS_PTRACE (__ptrace_may_access with PTRACE_MODE_REALCREDS)."""
        if target.signal is self.signal or self.capable(CAP_SYS_PTRACE):
            return True
        mine, its = self.cred, target.cred
        users = {its.uid, its.euid, its.suid} == {mine.uid}
        return users and {its.gid, its.egid, its.sgid} == {mine.gid} and target.dumpable == 1

    def capable(self, capability: int) -> bool:
        """CAP_* held."""
        return bool(self.cred.cap_effective >> capability & 1)

    def set_mm_rights(self) -> None:
        """The capabilities, or the address space, are new: what that may do follows them."""
        self.mm.privileged = self.capable(CAP_SYS_ADMIN)
        self.mm.capable_ipc_lock = self.capable(CAP_IPC_LOCK)

    # Signals

    def force_sig(self, info: SigInfo) -> None:
        """A signal that cannot be blocked or ignored: a fault of the program itself (force_sig_info)."""
        if self.signals.unhandled(info.signo) and self.arch.show_signal(info):
            # print_vma_addr: the log names the mapping of the instruction
            if mmap_read_trylock(self.mm):
                mmap_read_unlock(self.mm)
        self.force_sig_unlogged(info)

    def force_sig_unlogged(self, info: SigInfo) -> None:
        """The same, for one that the kernel's log does not tell of."""
        self.signals.force(info)
        self.sigpending = True
        self._trace_generated(info)

    def queued_signals(self) -> int:
        """How many signals are queued for processes of its user; a POSIX timer is one as long as it exists."""
        queued = 0
        for other in self.machine.pids.values():
            if other.cred.uid == self.cred.uid:
                queued += other.signals.private.count
                if other is other.signal.leader:
                    queued += other.signal.shared_pending.count + len(other.signal.posix_timers)
        return queued

    def siginfo(self, signo: int, code: int = SI_USER) -> SigInfo:
        """What a signal says that comes from this task (prepare_kill_siginfo)."""
        return SigInfo(signo, code, pid=self.tgid, uid=self.cred.uid)

    def send_signal(self, signo: int, info: SigInfo | None = None) -> int:
        """Send this thread a signal, from itself unless `info` says otherwise (send_sig(signo, current, 0)): 0 or
        -EAGAIN (send_sig_info)."""
        info = info or self.siginfo(signo)
        self._trace_generated(info)
        return send_signal(self, info, False)

    def send_group_signal(self, signo: int, info: SigInfo | None = None) -> int:
        """Send the process a signal: 0 or -EAGAIN (group_send_sig_info)."""
        info = info or SigInfo(signo, SI_KERNEL)
        self._trace_generated(info)
        return send_signal(self, info, True)

    def _trace_generated(self, info: SigInfo) -> None:
        tp = self.machine.tp
        if tp.on:
            tp.emit(Kind.SIGNAL_GENERATE, code=info.signo, size=self.pid, result=info.code, args=(info.addr,))

    def signal_pending(self) -> bool:
        """Is there a signal that a wait must end for."""
        self.machine.take_host_signals()
        process = self.signal
        return self.signals.deliverable() != 0 or process.group_exit is not None or process.stopped

    def has_signal(self, mask: int) -> bool:
        """Is one of `mask` pending for the thread or its process, blocked or not."""
        return bool(self.signals.pending & mask)

    def take_signal(self, mask: int) -> bytes | None:
        """Take the next pending signal of `mask` as signalfd gives it."""
        from emu.kernel.sys_signalfd import signalfd_siginfo

        info = self.signals.dequeue(mask)
        return None if info is None else signalfd_siginfo(self, info)

    def fatal_signal_pending(self) -> bool:
        return self.signals.fatal or self.signal.group_exit is not None

    def wait_event(
        self,
        condition: Callable[[], bool],
        timeout_ns: int | None = None,
        what: str = "",
        host: Sequence[tuple[int, int]] = (),
        queues: Sequence[wait_queue_head] | None = None,
    ) -> int:
        """Sleep in virtual time until `condition` holds: 1; 0 when `timeout_ns` passed first; -ERESTARTSYS on a
        signal. The condition is looked at again when something has happened to one of `queues`, or one of `host`
        (descriptors of the host, with poll events) is ready; where `queues` is None whenever a system call of another
        task has ended, a task has, or a timer has fired."""
        machine = self.machine
        sched = machine.sched
        deadline = None if timeout_ns is None else sched.now() + timeout_ns
        while True:
            if condition():
                return 1
            if self.signal_pending():
                return -ERESTARTSYS
            if deadline is not None and sched.now() >= deadline:
                return 0
            machine.wake_sleepers()
            sleeper = machine.new_sleeper(self, condition)
            outside = [(self, fd, events) for fd, events in host]
            if queues is None:
                machine.sleepers[sleeper.number] = sleeper
            else:
                for queue in queues:
                    queue.add(sleeper)
            machine.host_waiters += outside
            self.waiting_for = what or "something to happen"
            sched.block(State.INTERRUPTIBLE, deadline)
            self.waiting_for = ""
            machine.sleepers.pop(sleeper.number, None)
            for queue in queues or ():
                queue.remove(sleeper)
            for waiter in outside:
                machine.host_waiters.remove(waiter)


SyscallFunction = Callable[[Task, int, int, int, int, int, int], int]
SyscallTable = dict[str, Any]
