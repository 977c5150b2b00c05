# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs guest programs for tests, each in a process of its own, as a person would."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.preloaded import Preloaded

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "guestprogs" / "build"
TARGETS = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")
MACHINE = platform.machine()
PRELOADED = cache(Preloaded)  # one for each process that runs tests


@dataclass
class Ran:
    """What came out of a run."""

    status: int
    out: bytes
    err: str


def run_preloaded(what: str, arguments: list[Any], stdin: bytes, timeout: float) -> Ran:
    """Run one of what tests/preloaded.py does, in a process of its own."""
    status, out, err = PRELOADED().run(what, arguments, stdin, timeout, dict(os.environ))
    return Ran(status, out, err.decode(errors="replace"))


def mmscope(*arguments: str | Path, stdin: bytes = b"", timeout: float = 120) -> Ran:
    """Run the command."""
    return run_preloaded("main", [*map(str, arguments)], stdin, timeout)


def record(trace: Path, program: Path, *arguments: str, timeout: float = 120, **options: object) -> Ran:
    """Record a guest on a machine made with `options` (Machine's arguments; `rt_priority`: of a guest that is
    SCHED_FIFO)."""
    return run_preloaded("record", [str(trace), options, [str(program), *arguments]], b"", timeout)


def guest(name: str, target: str = "x86_64") -> Path:
    """A built guest program."""
    path = BUILD / target / name
    assert path.exists(), f"{path} is missing: make guests"
    return path
