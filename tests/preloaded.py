# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that has imported mmscope and forks a child for each command, so that a test pays for what the command
does and not for two hundred imports. The child is a process of its own as any: its streams, environment, working
directory, signals, exit status. Start and end of the interpreter are the subject of tests/cli/test_entry.py."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What verbs import as they begin, apart from what few tests use.
MODULES = (
    "emu.cli.main", "emu.cli.guest", "emu.cli.stat", "emu.cli.trace_verbs", "emu.trace.schema", "emu.trace.recorder",
    "emu.trace.reader", "emu.trace.script", "emu.trace.report_tables", "emu.trace.grouping", "emu.trace.lock_waits",
    "archs.x86", "archs.arm64", "archs.powerpc",
)  # fmt: skip


def run_main(argv: list[str]) -> int:
    """The command."""
    from emu.cli.main import main

    return main(argv)


def run_recorded(arguments: list[Any]) -> int:
    """Record a guest on a machine made with Machine's own arguments: [trace, options, argv]."""
    from emu import __version__
    from emu.kernel.machine import Machine
    from emu.sched.entity import SCHED_FIFO
    from emu.trace.recorder import Recorder
    from emu.trace.schema import header

    trace, options, argv = arguments
    rt_priority = options.pop("rt_priority", 0)
    machine = Machine(**options)
    task = machine.spawn(argv[0], argv, [])
    if rt_priority:
        machine.sched.set_scheduler(task, SCHED_FIFO, rt_priority, 0)
    recorder = Recorder(trace)
    machine.tp.on = True
    recorder.start(machine.tp, header(machine, argv[0], argv, [], __version__))
    machine.on_idle_rows = recorder.drain
    status = machine.run()
    recorder.close()
    return status if status >= 0 else 128 - status


DOES: dict[str, Callable[[list[Any]], int]] = {"main": run_main, "record": run_recorded}


def _child(request: dict[str, Any], fds: list[int]) -> int:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.closerange(3, max(fds) + 1)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    try:
        return DOES[request["what"]](request["arguments"])
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1


def serve(connection: socket.socket) -> None:
    """Fork a child for each request: answers with its pid, then with its exit status."""
    for name in (*MODULES, *importlib.import_module("emu.kernel.syscall").MODULES):
        importlib.import_module(name)
    gc.freeze()  # a collection in a child would touch, and so copy, all of this
    while True:
        message, fds, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:
            return
        pid = os.fork()
        if not pid:
            status = 1
            try:
                connection.close()
                status = _child(json.loads(message), fds)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status & 0xFF)
        for fd in fds:
            os.close(fd)
        connection.send(json.dumps(pid).encode())
        connection.send(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


class Preloaded:
    """The tests' side."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self.lock = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.wait()

    def run(
        self, what: str, arguments: list[Any], stdin: bytes, timeout: float, env: dict[str, str]
    ) -> tuple[int, bytes, bytes]:
        """(exit status as Popen.returncode, standard output, standard error) of one of DOES; subprocess.TimeoutExpired
        after `timeout` seconds. `stdin` must fit into a pipe."""
        request = json.dumps({"what": what, "arguments": arguments, "env": env, "cwd": os.getcwd()}).encode()
        with self.lock:
            pipes = [os.pipe() for _ in range(3)]
            theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
            socket.send_fds(self.connection, [request], theirs)
            for fd in theirs:
                os.close(fd)
            os.write(pipes[0][1], stdin)
            os.close(pipes[0][1])
            pid = json.loads(self.connection.recv(64))
            try:
                out, err = _read_all([pipes[1][0], pipes[2][0]], time.monotonic() + timeout)
            except TimeoutError:
                os.kill(pid, 9)
                raise subprocess.TimeoutExpired([what, *map(str, arguments)], timeout) from None
            finally:
                status = json.loads(self.connection.recv(64))
            return status, out, err


def _read_all(fds: list[int], end: float) -> list[bytes]:
    got = {fd: bytearray() for fd in fds}
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        try:
            while selector.get_map():
                ready = selector.select(max(0, end - time.monotonic()))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    got[key.fd] += data
                    if not data:
                        selector.unregister(key.fd)
        finally:
            for fd in fds:
                os.close(fd)
    return [bytes(got[fd]) for fd in fds]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
