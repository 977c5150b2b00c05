# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: RAM, memory manager, file systems, and the loop that runs a guest."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from archs.base import Arch, SigInfo, TrapKind
from emu.fs.file import File
from emu.hw.native import library
from emu.hw.ram import PAGE_SIZE, Ram
from emu.kernel.elf import ElfImage, ExecError, check_target, read_program
from emu.kernel.exit import do_exit
from emu.kernel.signal import SIGKILL, do_signal
from emu.kernel.syscall import NO_RESULT, build_table
from emu.kernel.task import Task
from emu.kernel.timers import Timers
from emu.mm.memory_manager import MemoryManager
from emu.mm.mm_types import mm_struct
from emu.tracepoint import Kind, Tracepoints

ARCH_PACKAGES = {62: "archs.x86", 183: "archs.arm64", 21: "archs.powerpc", 20: "archs.powerpc"}  # by e_machine
SLICE = 40_000_000  # bytes of code between two looks at timers and at the recorder
SYSCALL_NS = 100  # virtual time that a system call costs beside its guest code
EPOCH = 1_767_225_600 * 10**9  # realtime clock at the start: 2026-01-01 00:00 UTC
FIRST_PID = 1000


class Machine:
    """One emulated computer. `run` ends with the guest."""

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
    ) -> None:
        """`memory`: bytes of guest RAM; `locking`: a scheme of emu.mm.memory_manager.SCHEMES; `stdio`: host
        descriptors."""
        self.ram = Ram(memory)
        self.tp = Tracepoints()
        self.memory = MemoryManager(self.ram, self.tp, locking)
        self.memory.out_of_memory = self._out_of_memory
        self.locking = locking
        self.native = not pure and library is not None
        self.serve_inside = serve_inside
        self.writable = tuple(writable)
        self.strace = strace
        self.seed = seed
        self.stdio = stdio
        self.task: Task | None = None
        self.hostname = "mmscope"
        self.boot_time = EPOCH  # CLOCK_REALTIME at virtual time 0, in ns
        self.skew = 0  # virtual ns that passed outside of guest code
        self.timers = Timers(self.clock)
        self.missing_syscalls: dict[str, int] = {}
        self.syscall_count = 0
        self.signal_count = 0
        self.messages: list[str] = []  # what the operator should know at the end
        self.on_idle_rows: Callable[[], None] = lambda: None
        self._host_signals: list[int] = []
        self._vdso_frames: dict[str, int] = {}
        self._random = 0
        self.vfs: Any = None
        self.tp.clock = self.clock

    # Time

    def clock(self) -> int:
        """Virtual nanoseconds since the start: four bytes of code take one, system calls and sleeps the rest."""
        task = self.task
        return self.skew + (task.cpu.engine.retired() >> 2 if task is not None else 0)

    def realtime(self) -> int:
        """CLOCK_REALTIME in ns since 1970."""
        return self.boot_time + self.clock()

    def advance_to(self, moment: int) -> None:
        """Let virtual time pass without guest code."""
        now = self.clock()
        if moment > now:
            self.skew += moment - now

    def random_bytes(self, size: int) -> bytes:
        """The next bytes of the machine's random stream, which depends on the seed alone."""
        out = b""
        while len(out) < size:
            out += hashlib.sha256(b"mmscope %d %d" % (self.seed, self._random)).digest()
            self._random += 1
        return out[:size]

    # Starting

    def spawn(self, path: str, argv: Sequence[str | bytes], env: Sequence[str | bytes]) -> Task:
        """Load a program as the machine's task. `env` holds NAME=VALUE strings. ExecError says why it cannot be."""
        from emu.kernel.exec import load_program

        image = read_program(path)
        arch = self._arch_of(image)
        check_target(image, arch.elf.task_size, arch.elf.flags_ok(image.flags))
        cpu = arch.make_cpu(self.ram, self.native, self.serve_inside)
        try:
            mm = self.memory.new_mm(arch.format)
        except MemoryError:
            raise ExecError(f"{path}: guest RAM of {self.ram.size} bytes is too small") from None
        cpu.engine.root = mm.pgtable.root
        mm.flush_tlb = cpu.engine.flush_tlb
        mm.capable_ipc_lock = mm.privileged = True
        task = Task(self, arch, mm, cpu, FIRST_PID)
        self.task = task
        cpu.clock = self.clock  # type: ignore[attr-defined]
        cpu.engine.on_fault = task.entry.user_fault
        self.tp.pid = self.tp.tid = task.pid
        program = self._set_up_files(task, path)
        load_program(task, image, program, [os.fsencode(a) for a in argv], [os.fsencode(e) for e in env])
        mm.exe_file = program
        self._table = build_table(task)
        return task

    def _arch_of(self, image: ElfImage) -> Arch:
        package = ARCH_PACKAGES.get(image.machine)
        if package is not None:
            for arch in importlib.import_module(package).ARCHES:
                elf = arch.elf
                if (elf.machine, elf.elf_class, elf.big_endian) == (image.machine, image.elf_class, image.big_endian):
                    found: Arch = arch
                    return found
        raise ExecError(
            f"{image.path}: is for machine {image.machine} ({image.elf_class}-bit, "
            f"{'big' if image.big_endian else 'little'}-endian), which is not emulated"
        )

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
        """Tell listeners which program runs: address = load bias, ip = entry point."""
        if self.tp.on:
            self.tp.emit(Kind.EXEC, bias, ip=entry, text=task.exe)

    # Running

    def run(self) -> int:
        """Run the task to its end: exit code, or -signal, as subprocess.Popen.returncode."""
        task = self.task
        assert task is not None, "spawn a program first"
        cpu = task.cpu
        tp = self.tp
        timers = self.timers
        signals = task.signals
        table = self._table
        size = len(table)
        fault_entry = task.entry
        syscall, fault, budget_end = TrapKind.SYSCALL, TrapKind.FAULT, TrapKind.BUDGET
        run, syscall_args, set_result = cpu.run, cpu.syscall_args, cpu.set_syscall_result
        engine = cpu.engine
        simple = not self.strace
        while task.exit_code is None:
            budget = SLICE
            if timers.armed:
                wake = timers.next_deadline()
                assert wake is not None
                budget = max(4, min(SLICE, wake - self.clock() << 2))
            kind = run(budget)
            restart = 0
            if kind is syscall:
                number, a0, a1, a2, a3, a4, a5 = syscall_args()
                self.skew += SYSCALL_NS
                self.syscall_count += 1
                function = table[number] if number < size else table[-1]
                if simple and not tp.on:
                    result = function(task, a0, a1, a2, a3, a4, a5)
                else:
                    result = self._traced_syscall(task, number, function, (a0, a1, a2, a3, a4, a5))
                if result is not NO_RESULT:
                    if -600 < result <= -512:
                        restart = -result
                    else:
                        set_result(result)
            elif kind is fault:
                if not engine.fault_refused:
                    fault_entry.user_fault(cpu.fault_address, cpu.fault_syndrome, cpu.pc)
            elif kind is TrapKind.SIGNAL:
                task.force_sig(cpu.trap_signal)
            elif kind is budget_end:
                pass
            if self._host_signals:
                self.take_host_signals()
            if timers.armed:
                timers.run()
            if signals.pending or restart or signals.saved is not None:
                do_signal(task, restart)
            self.memory.rcu.quiescent()
            if len(tp.rows) > 8192:
                self.on_idle_rows()
        do_exit(task)
        assert task.exit_code is not None
        return task.exit_code

    def _traced_syscall(self, task: Task, number: int, function: Any, args: tuple[int, ...]) -> int:
        from emu.kernel.strace import format_call

        tp = self.tp
        name = task.arch.syscalls.get(number, f"syscall {number}")
        if tp.on:
            tp.emit(Kind.SYS_ENTER, ip=task.cpu.pc, code=number, text=name, args=args)
        text = format_call(task, name, args) if self.strace else ""
        result: int = function(task, *args)
        if tp.on and result is not NO_RESULT:
            tp.emit(Kind.SYS_EXIT, code=number, text=name, result=result)
        if self.strace:
            from emu.kernel.strace import format_result

            sys.stderr.write(f"{text} = {format_result(name, result)}\n")
        return result

    # Ending

    def kill(self, task: Task, info: SigInfo) -> None:
        """A signal ends the task."""
        task.exit_code = -info.signo

    def _out_of_memory(self, mm: mm_struct | None) -> None:
        """out_of_memory: the one task there is must go. The host is not touched."""
        task = self.task
        if task is None or task.signals.fatal:
            return
        self.memory.vmstat["oom_kill"] += 1
        self.messages.append(
            f"out of memory: killed {task.comm} ({task.pid}), anonymous {task.mm.rss[1] * 4} KiB, "
            f"guest RAM {self.ram.size >> 10} KiB"
        )
        if self.tp.on:
            self.tp.emit(Kind.OOM_KILL, text=task.comm)
        task.send_signal(SIGKILL)

    def request_signal(self, signo: int) -> None:
        """Send the guest a signal; safe to call from a signal handler of the host."""
        self._host_signals.append(signo)
        if self.task is not None:
            self.task.cpu.engine.stop()

    def take_host_signals(self) -> None:
        """Make the signals pending that `request_signal` noted."""
        while self._host_signals and self.task is not None:
            self.task.send_signal(self._host_signals.pop(0))

    def restart_syscall_number(self, task: Task) -> int:
        """The number of restart_syscall."""
        return next((n for n, name in task.arch.syscalls.items() if name == "restart_syscall"), 0)

    def stats(self) -> dict[str, int]:
        """Counters of the whole run."""
        task = self.task
        engine = task.cpu.engine if task is not None else None
        lock = task.mm.mmap_lock if task is not None else None
        return {
            "mmap_lock_read": lock.read_count if lock is not None else 0,
            "mmap_lock_write": lock.write_count if lock is not None else 0,
            "tlb_fills": engine.tlb_fills if engine is not None else 0,
            "syscalls": self.syscall_count,
            "retired": engine.retired() if engine is not None else 0,
            "virtual_ns": self.clock(),
            **self.memory.vm_events(),
        }
