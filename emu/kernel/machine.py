# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: RAM, memory manager, CPUs, file systems, and the loop in which a task alternates between guest code and
the kernel."""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from greenlet import greenlet

from archs.base import Arch, Cpu, SigInfo, TrapKind
from emu.fs.file import File
from emu.hw.mmu import walk
from emu.hw.native import library
from emu.hw.ram import PAGE_SIZE, Ram
from emu.kernel.cpu_timers import RLIMIT_CPU, run_posix_cpu_timers
from emu.kernel.elf import ElfImage, ExecError, check_target, read_program
from emu.kernel.exit import do_exit
from emu.kernel.futex.core import FUTEX_TID_MASK, FutexTable
from emu.kernel.ipc.msg import MsgNamespace
from emu.kernel.ipc.sem import SemNamespace
from emu.kernel.ipc.shm import ShmNamespace
from emu.kernel.process import Process
from emu.kernel.rseq import rseq_handle_notify_resume
from emu.kernel.signal import ERESTARTSYS, SIGKILL, Sighand, Signals, do_signal
from emu.kernel.syscall import NO_RESULT, build_table
from emu.kernel.task import DEFAULT_RLIMITS, Task
from emu.kernel.timers import Timers
from emu.locking.lockdep import CheckedSched
from emu.locking.wait import Sleeper
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import mm_struct
from emu.mm.vma import trace_vma_modify, vma_special_name
from emu.sched.cost import ICELAKE, Cost
from emu.sched.entity import State
from emu.sched.native import NativeSched
from emu.sched.sched import INFINITY, Sched
from emu.tracepoint import Kind

ARCH_PACKAGES = {62: "archs.x86", 183: "archs.arm64", 21: "archs.powerpc", 20: "archs.powerpc"}  # by e_machine
SLICE = 40_000_000  # bytes of code between two looks at the host's signals and at the recorder
EPOCH = 1_767_225_600 * 10**9  # realtime clock at the start: 2026-01-01 00:00 UTC
FIRST_PID = 1000
PID_MAX = 4_194_304
MAX_ENGINES = 48  # address spaces whose translated code and registers are in an engine at a time
RLIMIT_NPROC = 6
HOST_STEP_NS = 50_000_000  # how long one wait for the host is
TIMED_OUT = 124  # exit status of a run that deadlocked or took too long


class Machine:
    """One emulated computer. `run` ends with the last task."""

    def __init__(
        self,
        memory: int = 1 << 30,
        locking: str = "6.18",
        pure: bool = False,
        serve_inside: bool = True,
        writable: Sequence[str] = (),
        strace: bool = False,
        seed: int = 0,
        stdio: tuple[int, int, int] = (0, 1, 2),
        cpus: int = 1,
        timeout: int | None = None,
        costs: Cost = ICELAKE,
        check: bool = False,
        cpu: str | None = None,
    ) -> None:
        """`memory`: bytes of guest RAM; `locking`: a scheme of emu.mm.memory_manager.SCHEMES; `stdio`: host
        descriptors; `cpus`: virtual CPUs, 1 to 256; `timeout`: virtual ns after which the run ends;
        `costs`: what kernel work takes; `check`: look at locks and invariants at every step (emu/locking/lockdep.py,
        emu/mm/check.py), and raise a Violation where one does not hold; `cpu`: the CPU's model, one of Arch.models of
        the program's architecture."""
        self.ram = Ram(memory)
        self.native = not pure and library is not None
        kind = CheckedSched if check else NativeSched if self.native else Sched
        self.tp = kind.new_tracepoints()
        self.sched = kind(self.tp, cpus, seed, costs)
        self.sched.end = INFINITY if timeout is None else timeout
        self.sched.on_idle = self._idle
        self.memory = MemoryManager(self.ram, self.tp, locking, self.sched, check)
        self.memory.out_of_memory = self._out_of_memory
        self.locking = locking
        self.serve_inside = serve_inside and not check  # a check looks at every way back to the guest
        self.writable = tuple(writable)
        self.strace = strace
        self.seed = seed
        self.cpus = cpus
        self.cpu_model = cpu
        self.stdio = stdio
        self.task: Task | None = None  # the first one
        self.pids: dict[int, Task] = {}  # all threads, zombies included
        self.max_threads = max(20, memory >> 17)  # set_max_threads: an eighth of RAM for stacks of 16 KiB
        self.hostname = "mmscope"
        self.domainname = "(none)"
        self.boot_time = EPOCH  # CLOCK_REALTIME at virtual time 0, in ns
        self.timers = Timers(self.sched, self.wake_sleepers)
        self.futexes = FutexTable()
        self.pid_max = PID_MAX  # pids are below
        self.shm = ShmNamespace()
        self.sem = SemNamespace()
        self.msg = MsgNamespace()
        self.compared: dict[int, tuple[int, object]] = {}  # what kcmp has seen: its turn, and itself
        self.sleepers: dict[int, Sleeper] = {}  # tasks in wait_event for what has no wait queue
        self._look_again: dict[int, Sleeper] = {}  # those to whose wait queues something has happened
        self._sleeper_count = 0
        self.host_waiters: list[tuple[Task, int, int]] = []  # task, descriptor of the host, poll events
        self.missing_syscalls: dict[str, int] = {}
        self.syscall_count = 0
        self.messages: list[str] = []  # what the operator should know at the end
        self.on_idle_rows: Callable[[], None] = lambda: None
        self.tlb_fills = 0
        self._host_signals: list[int] = []
        self._ended_by = 0  # the signal of `request_end`
        self._vdso_frames: dict[str, int] = {}
        self._random = 0
        self.last_pid = FIRST_PID - 1
        self._tables: dict[str, list[Callable[..., int]]] = {}
        self._engines: dict[mm_struct, Cpu] = {}  # least recently attached first
        self._spare: dict[str, list[Cpu]] = {}
        self._reset: dict[str, Any] = {}
        self._ended_processes = 0
        self.vfs: Any = None
        self.clock = self.sched.now

    # Time

    def realtime(self) -> int:
        """CLOCK_REALTIME in ns since 1970."""
        return self.boot_time + self.sched.now()

    def random_bytes(self, size: int) -> bytes:
        """The next bytes of the machine's random stream, which depends on the seed alone."""
        out = b""
        while len(out) < size:
            out += hashlib.sha256(b"mmscope %d %d" % (self.seed, self._random)).digest()
            self._random += 1
        return out[:size]

    # Starting

    def spawn(self, path: str, argv: Sequence[str | bytes], env: Sequence[str | bytes]) -> Task:
        """Load a program as the machine's first task. `env` holds NAME=VALUE strings. ExecError says why it cannot
        be."""
        from emu.kernel.exec import copy_strings, load_program
        from emu.kernel.sys_exec import open_interpreter

        image = read_program(path)
        arch = self._arch_of(image)
        check_target(image, arch.elf.task_size, arch.elf.flags_ok(image.flags))
        try:
            mm = self.memory.new_mm(arch.format)
        except MemoryError:
            raise ExecError(f"{path}: guest RAM of {self.ram.size} bytes is too small") from None
        rlimits = [list(pair) for pair in DEFAULT_RLIMITS]
        rlimits[RLIMIT_NPROC] = [self.max_threads // 2, self.max_threads // 2]
        pid = self.alloc_pid()
        process = Process(pid, rlimits)
        task = Task(self, arch, mm, pid, process, Signals(Sighand(), process.shared_pending))
        process.leader = task
        process.threads.append(task)
        self.set_mm_owner(task)
        self.task = self.pids[pid] = task
        self.sched.boot.pid = self.sched.boot.tgid = pid  # the events of the exec are this task's
        self.tp.pid = self.tp.tid = pid
        program = self._set_up_files(task, path)
        task.comm = os.path.basename(path)[:15]
        strings = os.fsencode(path), [os.fsencode(a) for a in argv], [os.fsencode(e) for e in env]
        interpreter = open_interpreter(task, image)
        load_program(task, image, program, *strings, copy_strings(task, *strings), interpreter=interpreter)
        if interpreter is not None:
            interpreter[1].put()
        self.sched.boot.pid = self.sched.boot.tgid = 0
        mm.exe_file = program
        task.greenlet = greenlet(lambda *_: self.run_task(task))
        self.sched.start(task)
        return task

    def set_mm_owner(self, task: Task) -> None:
        """Rights and limits of an address space are those of the process that runs in it."""
        mm = task.mm
        process, sched = task.signal, self.sched
        mm.rlimit = process.rlimit
        mm.fatal_signal_pending = lambda: sched.current.fatal_signal_pending()
        task.set_mm_rights()

    def alloc_pid(self) -> int:
        """The next free pid, in turn (alloc_pid)."""
        pid = self.last_pid
        while True:
            pid = pid + 1 if pid < self.pid_max - 1 else 300
            if pid not in self.pids and pid not in self._pids_in_use():
                self.last_pid = pid
                return pid

    def _pids_in_use(self) -> set[int]:
        """Process groups and sessions keep their number while a member lives."""
        return {number for process in self.processes() for number in (process.pgid, process.sid, process.tgid)}

    def processes(self) -> Iterator[Process]:
        """All processes that have not been waited for, by pid."""
        for task in list(self.pids.values()):
            if task.signal.leader is task:
                yield task.signal

    # Engines

    def load_registers(self, task: Task) -> Cpu:
        """The CPU that runs the task's address space, with the task's registers in it."""
        cpu: Cpu | None = task.mm.cpu
        if cpu is None:
            cpu = self._attach(task)
        other = cpu.task
        if other is not task:
            cpu.task = task
            thread = task.thread
            if thread is None:  # it has not run yet
                self._first_registers(cpu, other, task)
            elif other is not None:
                cpu.switch_to(thread)
            else:
                cpu.restore(thread)
            if cpu.engine.pkru != task.pkru:
                cpu.engine.set_pkru(task.pkru)
        return cpu

    def _first_registers(self, cpu: Cpu, other: Task | None, task: Task) -> None:
        """Those of a CPU that has run nothing."""
        if other is not None:
            cpu.keep(other.thread)
        cpu.restore(self._reset[task.arch.name])
        cpu.thread = task.thread = cpu.new_thread()

    def _attach(self, task: Task) -> Cpu:
        """Give an address space an engine: a spare one, a new one, or that of the one attached longest ago."""
        mm, arch = task.mm, task.arch
        spare = self._spare.setdefault(arch.name, [])
        if not spare and len(self._engines) >= MAX_ENGINES:
            victim = next((other for other, its in self._engines.items() if not its.pins), None)
            if victim is not None:
                self.detach(victim)
        if spare:
            cpu = spare.pop()
        else:
            cpu = arch.make_cpu(self.ram, self.native, self.serve_inside)
            cpu.clock, cpu.in_turn = self.sched.now, self.sched.in_turn
            if arch.name not in self._reset:
                self._reset[arch.name] = cpu.save()
        cpu.engine.root = mm.pgtable.root
        mm.flush_tlb = cpu.engine.flush_tlb
        mm.cpu = cpu
        cpu.vdso_address = mm.vdso
        self._engines[mm] = cpu
        return cpu

    def detach(self, mm: mm_struct) -> None:
        """Take the engine of an address space away; the registers in it are kept."""
        cpu: Cpu | None = mm.cpu
        if cpu is None:
            return
        if cpu.task is not None:
            cpu.keep(cpu.task.thread)
            cpu.task = None
        mm.cpu = None
        mm.flush_tlb = lambda: None
        del self._engines[mm]
        for spares in self._spare.values():
            if spares and sum(map(len, self._spare.values())) + len(self._engines) >= MAX_ENGINES:
                spares.pop(0).engine.close()
        self._spare.setdefault(cpu.name, []).append(cpu)

    def _arch_of(self, image: ElfImage) -> Arch:
        package = ARCH_PACKAGES.get(image.machine)
        if package is not None:
            for arch in importlib.import_module(package).ARCHES:
                elf = arch.elf
                if (elf.machine, elf.elf_class, elf.big_endian) == (image.machine, image.elf_class, image.big_endian):
                    return self._with_cpu(arch)
        raise ExecError(
            f"{image.path}: is for machine {image.machine} ({image.elf_class}-bit, "
            f"{'big' if image.big_endian else 'little'}-endian), which is not emulated"
        )

    def _with_cpu(self, arch: Arch) -> Arch:
        """The architecture with the CPU that was asked for."""
        if self.cpu_model is None:
            return arch
        if self.cpu_model not in arch.models:
            known = ", ".join(arch.models) or "none that could be chosen"
            raise ExecError(f"no CPU model {self.cpu_model!r} of {arch.name} is known (there are: {known})")
        return arch.models[self.cpu_model]

    def _set_up_files(self, task: Task, path: str) -> File:
        from emu.fs.vfs import SetupError, set_up_task_files

        try:
            return set_up_task_files(self, task, path)
        except SetupError as problem:
            raise ExecError(str(problem)) from None

    def vdso_frame(self, arch: Arch) -> int:
        """The frame that holds an architecture's vDSO."""
        if arch.name not in self._vdso_frames:
            frame = self.memory.alloc_page()
            if frame is None:
                raise ExecError("no guest RAM for the vDSO")
            self.ram.write(frame.pfn << 12, arch.vdso[:PAGE_SIZE])
            self._vdso_frames[arch.name] = frame.pfn
        return self._vdso_frames[arch.name]

    def trace_exec(self, task: Task, bias: int, entry: int) -> None:
        """Tell listeners which program runs, address = load bias, ip = entry point, and which VMAs have got their names
        since they were made."""
        if self.tp.on:
            self.tp.emit(Kind.EXEC, bias, ip=entry, text=task.exe, args=(task.mm.id,))
            for vma in task.mm.mm_mt:
                if vma.vm_file is None and vma_special_name(vma) in ("[heap]", "[stack]"):
                    trace_vma_modify(vma)

    # Running

    def run(self) -> int:
        """Run until all tasks have ended: how the first one did, as subprocess.Popen.returncode. A run in which
        nothing can happen any more, or that took too long, gives 124 and says why in `messages`."""
        assert self.task is not None, "spawn a program first"
        sched = self.sched
        sched.run()
        task = self.task  # a thread that execs may have taken its place
        if self._ended_by and sched.tasks:
            name = signal.Signals(self._ended_by).name
            self.messages.append(f"ended by {name} after {sched.elapsed() / 1e9:g} s of virtual time, with tasks left")
            return -self._ended_by
        if sched.timed_out:
            self.messages.append(f"ended after {sched.end / 1e9:g} s of virtual time")
            self._report_waits()
            return TIMED_OUT
        if sched.tasks:
            if task.exit_code is not None:
                self.messages.append(f"{sched.tasks} tasks were left that wait for what cannot happen any more")
            else:
                self.messages.append("deadlock: every task waits for what cannot happen any more")
                self._report_waits()
                return TIMED_OUT
        assert task.exit_code is not None
        return task.exit_code

    def _report_waits(self) -> None:
        """Who waits for what, for the operator."""
        for task in self.pids.values():
            if task.state != State.DEAD and not task.zombie:
                what = "runs" if task.state == State.RUNNING else f"waits for {task.waiting_for or 'a signal'}"
                self.messages.append(f"  {task.comm}/{task.pid} (process {task.tgid}): {what}{self._owner(task)}")

    def _owner(self, task: Task) -> str:
        """Which live thread the word names that a task sleeps on, where it holds a thread's number as the locks of C
        libraries do."""
        address = task.futex_waited
        if not address or task.state == State.RUNNING:
            return ""
        paddr, _, _ = walk(task.mm.pgtable.format.hw, self.ram, task.mm.pgtable.root, address, 0, False)
        if paddr < 0:
            return ""
        byteorder: Literal["big", "little"] = "big" if task.arch.elf.big_endian else "little"
        word = int.from_bytes(self.ram.read(paddr + (address & PAGE_SIZE - 1), 4), byteorder)
        owner = self.pids.get(word & FUTEX_TID_MASK)
        told = f" = {word:#x}"
        if owner is not None and owner.signal is task.signal:
            told += f", which {owner.comm}/{owner.pid} holds"
        return told

    def run_task(self, task: Task, *_: object) -> None:
        """The life of a task: guest code until something happens, then the kernel, until it ends.

        A greenlet that another one ends in gets that one's result as an argument.
        """
        sched = self.sched
        tp = self.tp
        signals = task.signals
        process = task.signal
        rcu = self.memory.rcu
        syscall, fault, budget_end = TrapKind.SYSCALL, TrapKind.FAULT, TrapKind.BUDGET
        simple = not self.strace
        syscall_ns = sched.cost.syscall
        table = self.table(task)
        size = len(table)
        restart = 0
        rq, switches = sched.rq, sched.rq.nr_switches  # where it ran, and whether that CPU ran another one since
        if task.rseq[0]:
            switches = -1  # the record that a child has from its parent is brought up to date first of all
        if task.set_child_tid:
            task.access.put_user(task.set_child_tid, task.pid, 4)
        while True:
            # Back to the program: signals, then the scheduler.
            if self._host_signals:
                self.take_host_signals()
            if task.sigpending or restart or signals.saved is not None:
                do_signal(task, restart)
                restart = 0
            if task.exit_code is not None:
                break
            if rcu.pending or rcu.checked:
                rcu.quiescent()
            if len(tp.rows) > tp.enough:
                self.on_idle_rows()
            if task.rseq[0] and (sched.rq.nr_switches != switches or sched.rq is not rq or task.rseq_restart):
                rq, switches = sched.rq, sched.rq.nr_switches
                task.rseq_restart = False
                rseq_handle_notify_resume(task)
                continue
            until = sched.user_deadline()
            if sched.clock >= until or task.need_resched:
                if task.need_resched or (sched.rq.waiting and sched.clock >= sched.rq.slice_end):
                    sched.resched()
                    continue
                sched.sync()
                until = sched.user_deadline()
            if task.cpu_timers or process.cpu_timers or not process.rlimits[RLIMIT_CPU][0] >> 32:
                left = run_posix_cpu_timers(task)
                if left is not None:
                    until = min(until, sched.clock + left)
                if task.sigpending:
                    continue
            cpu = self.load_registers(task)
            engine = cpu.engine
            serve = sched.alone and not rcu.pending
            if engine.serve is not serve:
                engine.set_serve(serve)
            if serve:
                entry = task.entry
                entry.deadline = until
                engine.on_fault = entry.user_fault if until == INFINITY else entry.user_fault_before
            budget = max(4, min(SLICE, until - sched.clock << 2))
            sched.enter_guest(engine.counts)
            kind = cpu.run(budget)
            sched.leave_guest()
            if kind is syscall:
                number, a0, a1, a2, a3, a4, a5 = cpu.syscall_args()
                sched.charge(syscall_ns)
                if sched.clock >= sched.rq.tick_due:
                    sched.tick()
                self.syscall_count += 1
                sched.sync()
                function = table[number] if number < size else table[-1]
                if simple and not tp.on:
                    result = function(task, a0, a1, a2, a3, a4, a5)
                else:
                    result = self._traced_syscall(task, number, function, (a0, a1, a2, a3, a4, a5))
                if result is not NO_RESULT:
                    if -600 < result <= -512:
                        restart = -result
                    else:
                        self.load_registers(task).set_syscall_result(result)
                if self.sleepers or self._look_again:
                    self.wake_sleepers()
            elif kind is fault:
                if not engine.fault_refused:
                    task.entry.user_fault(engine.fault_address, engine.fault_syndrome, engine.pc)
            elif kind is TrapKind.SIGNAL:
                task.force_sig(cpu.trap_signal)
            elif kind is TrapKind.COUNTER:
                sched.sync()  # no CPU may read later what is less
                self.load_registers(task).read_counter(sched.clock)
            elif kind is budget_end:
                if self.host_waiters:
                    self._poll_host(0)
        do_exit(task)
        if process.leader is task or not process.threads:
            self._ended_processes += 1
            if self._ended_processes % 128 == 0:
                gc.collect()
        sched.exit_task()

    def table(self, task: Task) -> list[Callable[..., int]]:
        """The system-call table of a task's architecture."""
        found = self._tables.get(task.arch.name)
        if found is None:
            found = self._tables[task.arch.name] = build_table(task)
        return found

    def wake_sleepers(self) -> None:
        """Wake the tasks in wait_event whose condition holds by now, in the order in which they went to sleep."""
        look = self._look_again
        if not look:
            sleepers = list(self.sleepers.values())
        else:
            both = {**self.sleepers, **look}
            sleepers = [both[number] for number in sorted(both)]
            look.clear()
        for sleeper in sleepers:
            if sleeper.task.state == State.INTERRUPTIBLE and sleeper.condition():
                self.sched.wake(sleeper.task)

    def new_sleeper(self, task: Task, condition: Callable[[], bool]) -> Sleeper:
        """A task goes to sleep until `condition` holds."""
        self._sleeper_count += 1
        return Sleeper(task, condition, self._sleeper_count, self._look_again)

    # The host

    def wait_host(self, task: Task, fd: int, events: int) -> int:
        """Sleep until a descriptor of the host is ready: 0, or -ERESTARTSYS on a signal. While no CPU has anything to
        do virtual time passes as the host's does."""
        waiter = (task, fd, events)
        while True:
            if self._host_ready([waiter], 0):
                return 0
            if task.signal_pending():
                return -ERESTARTSYS
            self.host_waiters.append(waiter)
            task.waiting_for = "input from outside"
            self.sched.block(State.INTERRUPTIBLE)
            self.host_waiters.remove(waiter)

    @staticmethod
    def _host_ready(waiters: list[tuple[Task, int, int]], timeout_ns: int) -> list[tuple[Task, int, int]]:
        poller = select.poll()
        for fd in {fd for _, fd, _ in waiters}:
            wanted = 0
            for _, other, events in waiters:
                if other == fd:
                    wanted |= events
            poller.register(fd, wanted)
        ready = {fd for fd, _ in poller.poll(timeout_ns / 1e6)}
        return [waiter for waiter in waiters if waiter[1] in ready]

    def _poll_host(self, timeout_ns: int) -> bool:
        ready = self._host_ready(self.host_waiters, timeout_ns)
        for task, _, _ in ready:
            self.sched.wake(task)
        return bool(ready)

    def _idle(self) -> bool:
        """No CPU has anything to do: wait for the host, if a task does. True: look again for what can run."""
        if self._ended_by:
            return False
        if self._host_signals:
            self.take_host_signals()
            return True
        if not self.host_waiters:
            return False
        sched = self.sched
        timer = sched.next_timer()
        step = HOST_STEP_NS if timer is None else min(HOST_STEP_NS, timer - sched.clock)
        if step > 0 and not self._poll_host(step) and not self._host_signals:
            sched.clock += step
            self.wake_sleepers()
        return timer is None or timer > sched.clock or sched.something_to_do

    def _traced_syscall(self, task: Task, number: int, function: Any, args: tuple[int, ...]) -> int:
        tp = self.tp
        name = task.arch.syscalls.get(number, f"syscall {number}")
        if tp.on:
            tp.emit(Kind.SYS_ENTER, ip=task.cpu.pc, code=number, text=name, args=args)
        entered = tp.clock()
        call = None
        if self.strace:
            from emu.kernel.strace import Call

            call = Call(task, name, args)
        result: int = function(task, *args)
        if tp.on and result is not NO_RESULT:
            tp.emit(Kind.SYS_EXIT, code=number, text=name, result=result, duration=tp.clock() - entered)
        if call is not None:
            who = f"[pid {task.pid}] " if len(self.pids) > 1 else ""
            sys.stderr.write(f"{who}{call.text(task, result)}\n")
        return result

    # Ending

    def _out_of_memory(self, mm: mm_struct | None) -> None:
        """out_of_memory: the process with the most memory must go, weighed by its oom_score_adj. The host is not
        touched."""
        total = self.memory.totalram
        victim: Task | None = None
        most = -1 << 62
        for process in self.processes():
            if not process.threads or process.oom_score_adj == -1000:
                continue
            task = process.threads[0]
            if task.fatal_signal_pending():
                return  # one is about to free its memory (task_will_free_mem)
            points = sum(task.mm.rss) + task.mm.pgtable.tables + process.oom_score_adj * total // 1000  # oom_badness
            if points >= most:  # of equals the last one
                victim, most = task, points
        if victim is None:
            return
        self.memory.vmstat["oom_kill"] += 1
        self.messages.append(
            f"out of memory: killed {victim.comm} ({victim.tgid}), anonymous {victim.mm.rss[1] * 4} KiB, "
            f"guest RAM {self.ram.size >> 10} KiB"
        )
        if self.tp.on:
            self.tp.emit(Kind.OOM_KILL, code=victim.tgid, text=victim.comm)
        victim.send_group_signal(SIGKILL)

    def request_signal(self, signo: int) -> None:
        """Send the guest a signal; safe to call from a signal handler of the host."""
        self._host_signals.append(signo)
        for cpu in self._engines.values():
            cpu.engine.stop()

    def request_end(self, signo: int) -> None:
        """End the run now, as its timeout does, with the status that a death by `signo` has; safe to call from a signal
        handler of the host."""
        self._ended_by = self._ended_by or signo
        self.sched.end = min(self.sched.end, self.sched.clock)
        for cpu in self._engines.values():
            cpu.engine.stop()

    def take_host_signals(self) -> None:
        """Send what `request_signal` noted to the process group that was started (as a terminal does)."""
        while self._host_signals and self.task is not None:
            signo = self._host_signals.pop(0)
            for process in self.processes():
                if process.pgid == self.task.signal.pgid and process.threads:
                    process.threads[0].send_group_signal(signo, SigInfo(signo, 0x80))

    def restart_syscall_number(self, task: Task) -> int:
        """The number of restart_syscall."""
        return next((n for n, name in task.arch.syscalls.items() if name == "restart_syscall"), 0)

    def stats(self) -> dict[str, int]:
        """Counters of the whole run."""
        memory = self.memory
        return {
            "page_faults": memory.page_faults,
            "mmap_lock_read": memory.mmap_lock_reads,
            "mmap_lock_write": memory.mmap_lock_writes,
            "tlb_fills": self.tlb_fills + sum(cpu.engine.tlb_fills for cpu in self._all_engines()),
            "syscalls": self.syscall_count,
            "context_switches": sum(rq.nr_switches for rq in self.sched.rqs),
            "retired": sum(cpu.engine.retired() for cpu in self._all_engines()),
            "virtual_ns": self.sched.elapsed(),
            **memory.vm_events(),
        }

    def _all_engines(self) -> Iterator[Cpu]:
        yield from self._engines.values()
        for spares in self._spare.values():
            yield from spares
