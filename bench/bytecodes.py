# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a fault goes, in bytecodes of Python: exact on a host that is busy with other things, where times are not.

    python bench/bytecodes.py [CPUS [PAGES]]

Each of 64 threads touches 1 and 1 + PAGES pages (512) on CPUS virtual CPUs (64), recorded; what the difference
executes is divided by its faults. On a host whose bare pager (bench/bare_pager.py) serves 65,000 faults a second a
bytecode takes some 15 ns, its part of the C code that it calls included.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import greenlet

ROOT = Path(__file__).resolve().parent.parent
THREADS = 64


def executed(cpus: int, pages: int) -> tuple[Counter[str], Counter[str]]:
    """Bytecodes and calls of each function while the machine runs."""
    from emu.cli.main import main
    from emu.kernel.machine import Machine

    names: dict[CodeType, str] = {}
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        name = names.get(code)
        if name is None:
            name = names[code] = f"{os.path.relpath(code.co_filename, ROOT)}:{code.co_qualname}"
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts[1][name] += 1

        def step(_frame: FrameType, event: str, _argument: Any) -> Any:
            counts[0][name] += event == "opcode"
            return step

        return step

    run = Machine.run

    def traced(self: Machine) -> int:
        sys.settrace(enter)
        before = greenlet.settrace(lambda *_: sys.settrace(enter))
        try:
            return run(self)
        finally:
            sys.settrace(None)
            greenlet.settrace(before)

    program = str(ROOT / "guestprogs" / "build" / "x86_64" / "page_fault1")
    Machine.run = traced  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        main(["record", "--cpus", str(cpus), "-o", f"{scratch}/t", program, "threads", str(THREADS), str(pages)])
    Machine.run = run  # type: ignore[method-assign]
    return counts


def report(cpus: int, pages: int) -> None:
    few, many = executed(cpus, 1), executed(cpus, 1 + pages)
    faults = THREADS * pages
    bytecodes = {name: (many[0][name] - few[0][name]) / faults for name in many[0]}
    print(f"{sum(bytecodes.values()):8.1f} bytecodes a fault, {cpus} CPUs, {THREADS} threads of {pages} pages")
    for name, number in sorted(bytecodes.items(), key=lambda item: -item[1]):
        if number >= 1:
            print(f"{number:8.1f} {(many[1][name] - few[1][name]) / faults:6.2f} calls  {name}")


if __name__ == "__main__":
    report(*(int(argument) for argument in (sys.argv[1:] + ["64", "512"][len(sys.argv) - 1 :])))
