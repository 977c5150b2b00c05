# SPDX-License-Identifier: GPL-2.0-or-later
"""run, stat and record: the verbs that run a guest."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from emu import __version__
from emu.cli.failure import Failure, tell
from emu.cli.program import find_program
from emu.cli.standard_streams import for_guest
from emu.kernel.elf import ExecError
from emu.kernel.machine import Machine
from emu.locking.lockdep import Violation, print_stack
from emu.trace.escape import printable

if TYPE_CHECKING:
    import socket

    from emu.trace.recorder import Recorder

_QUIET = (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


CHECK_FAILED = 125
ENOUGH = 3  # SIGINT or SIGTERM, within PATIENCE, end the run whatever the guest does
PATIENCE = 10.0  # seconds of the host


@dataclass(frozen=True)
class Watched:
    """How a guest runs that a dashboard watches."""

    stdio: tuple[int, int, int]  # descriptors for the guest
    socket: socket.socket  # where the recording is shown while it is made (emu.trace.live)
    keep: bool  # somebody wants the trace afterwards


def run_guest(arguments: argparse.Namespace, watched: Watched | None = None) -> int:
    """Run the program as the options say: its exit status, 128 + N when signal N killed it, 1 instead of 0 when not all
    could be recorded, CHECK_FAILED after the report of what a check found (those of --check, and the assertions that
    are always on)."""
    try:
        return _run_guest(arguments, watched)
    except Violation as found:
        lines = found.lines
    except AssertionError as bug:
        import traceback

        stack = [(frame.f_code, line) for frame, line in traceback.walk_tb(bug.__traceback__)]
        lines = [f"kernel BUG: {bug}", *print_stack(tuple(reversed(stack)))]
    sys.stdout.flush()
    for line in lines:
        tell(line)
    return CHECK_FAILED


def _run_guest(arguments: argparse.Namespace, watched: Watched | None) -> int:
    recorder = sender = None
    try:
        machine = Machine(
            memory=arguments.memory,
            locking=arguments.locking,
            pure=arguments.pure or os.environ.get("MMSCOPE_PURE") == "1",
            writable=arguments.writable,
            strace=arguments.strace,
            seed=arguments.seed,
            cpus=arguments.cpus,
            timeout=arguments.timeout,
            check=arguments.check,
            stdio=for_guest() if watched is None else watched.stdio,
            cpu=arguments.cpu,
        )
    except (MemoryError, OSError) as problem:
        raise Failure(f"cannot make guest RAM of {arguments.memory} bytes: {problem}") from None
    argv = [arguments.program, *arguments.args]
    arguments.program = find_program(arguments.program)
    try:
        if arguments.verb in ("record", "top"):
            recorder = _start_recording(machine, arguments)
        machine.spawn(arguments.program, argv, arguments.env)
    except ExecError as problem:
        if recorder is not None:
            recorder.discard()
        raise Failure(str(problem)) from None
    if recorder is not None:
        from emu.trace.schema import header

        metadata = header(machine, arguments.program, argv, arguments.env, __version__)
        if arguments.user_regs:
            from emu.trace.registers import UserRegisters

            machine.tp.registers = UserRegisters(machine)
            metadata["user_regs"] = machine.tp.registers.names
        recorder.start(machine.tp, metadata)
        machine.on_idle_rows = recorder.drain
        if arguments.call_graph:
            from emu.trace.callchain import Callchain

            machine.tp.callchain = Callchain(lambda: machine.sched.current, arguments.call_graph)
        if watched is not None:
            from emu.trace.live import LiveSender

            hang_up = partial(machine.request_signal, signal.SIGHUP)
            sender = LiveSender(watched.socket, recorder, machine.clock, hang_up)
    _forward_signals(machine)
    # The fault path makes many short-lived tuples and no cycles: collections would only cost time.
    gc.freeze()
    gc.disable()
    if sender is not None:
        sender.start()
    begun = time.perf_counter()
    try:
        status = machine.run()
    finally:
        if sender is not None:
            sender.stop()
        if recorder is not None:
            recorder.close()
    elapsed = time.perf_counter() - begun
    gc.freeze()  # the interpreter looks through what is left at its end
    sys.stdout.flush()
    _tell(machine, status, arguments.program)
    if recorder is not None:
        if recorder.problem:
            tell(recorder.problem)
        if watched is None or watched.keep:
            per_event = recorder.bytes_written / recorder.events if recorder.events else 0
            sys.stderr.write(
                f"[ mmscope {arguments.verb}: {recorder.events} events, {recorder.bytes_written} bytes "
                f"({per_event:.1f} an event) in {printable(arguments.output)} ]\n"
            )
    if arguments.verb == "stat":
        from emu.cli.stat import print_stat

        print_stat(machine, argv, elapsed)
    if not status and recorder is not None and recorder.problem:
        return 1
    return status if status >= 0 else 128 - status


def _start_recording(machine: Machine, arguments: argparse.Namespace) -> Recorder:
    from emu.trace.recorder import Recorder, RecordError

    try:
        recorder = Recorder(arguments.output)
    except RecordError as problem:
        raise Failure(str(problem)) from None
    machine.tp.on = True
    return recorder


def _forward_signals(machine: Machine) -> None:
    """Ctrl-C, a terminal that goes away and a request to end go to the guest; what is ignored stays ignored. Where
    requests to end come as ENOUGH within PATIENCE the guest is not asked again."""
    asked: deque[float] = deque([-PATIENCE] * ENOUGH, ENOUGH)

    def forward(number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            asked.append(time.monotonic())
            if asked[-1] - asked[0] < PATIENCE:
                machine.request_end(number)
                return
        machine.request_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)


def _tell(machine: Machine, status: int, program: str) -> None:
    """What the operator should know: how the guest was killed, what it missed."""
    for message in machine.messages:
        tell(message)
    if status < 0 and -status not in _QUIET:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        tell(f"{program}: killed by {name}")
    if machine.missing_syscalls:
        calls = ", ".join(f"{name} ({count})" for name, count in sorted(machine.missing_syscalls.items()))
        tell(f"system calls that are missing, answered with ENOSYS: {calls}")
