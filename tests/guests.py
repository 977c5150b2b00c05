# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs guest programs for tests, each in a process of its own, as a person would."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "guestprogs" / "build"
TARGETS = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")
MACHINE = platform.machine()
_DRIVER = """
import sys
from emu import __version__
from emu.kernel.machine import Machine
from emu.trace.recorder import Recorder
from emu.trace.schema import header
trace, options, *argv = sys.argv[1:]
machine = Machine(**eval(options))
machine.spawn(argv[0], argv, [])
recorder = Recorder(trace)
machine.tp.on = True
recorder.start(machine.tp, header(machine, argv[0], argv, [], __version__))
machine.on_idle_rows = recorder.drain
status = machine.run()
recorder.close()
sys.exit(status if status >= 0 else 128 - status)
"""


@dataclass
class Ran:
    """What came out of a run."""

    status: int
    out: bytes
    err: str


def run_command(command: list[str], stdin: bytes, timeout: float) -> Ran:
    """Run a command of the host that finds this tree's modules."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, env=environment)
    return Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def mmscope(*arguments: str | Path, stdin: bytes = b"", timeout: float = 120) -> Ran:
    """Run the command."""
    return run_command([sys.executable, "-m", "emu.cli.main", *map(str, arguments)], stdin, timeout)


def record(trace: Path, program: Path, *arguments: str, timeout: float = 120, **options: object) -> Ran:
    """Record a guest on a machine made with `options` (Machine's arguments)."""
    command = [sys.executable, "-c", _DRIVER, str(trace), repr(options), str(program), *arguments]
    return run_command(command, b"", timeout)


def guest(name: str, target: str = "x86_64") -> Path:
    """A built guest program."""
    path = BUILD / target / name
    assert path.exists(), f"{path} is missing: make guests"
    return path
