# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers go from one engine to another without what belongs to the first one; where an engine may be left."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from archs.arm64.cpu import MODEL as ARM64
from archs.powerpc.cpu import MODEL_32, MODEL_64
from archs.x86.cpu import MODEL as X86_64
from emu.hw.engine import EngineModel, _trial_engine, no_exit_request
from tests.guests import ROOT, TARGETS, guest

from unicorn import UC_HOOK_MEM_READ  # isort: skip

MANY = """
import importlib, sys
from emu.hw.ram import Ram
arches = [a for p in ("x86", "arm64", "powerpc") for a in importlib.import_module("archs." + p).ARCHES]
arch = next(a for a in arches if a.name == sys.argv[1])
ram = Ram(1 << 24)
cpus = [arch.make_cpu(ram, True, True) for _ in range(6)]
saved = [cpu.save() for cpu in cpus]
for turn in range(6):
    for i, cpu in enumerate(cpus):
        cpu.restore(saved[(i + turn) % 6])
        saved[i] = cpu.save()
print("done")
"""


@pytest.mark.parametrize("target", TARGETS)
def test_registers_of_one_engine_in_another(target: str) -> None:
    """Where a pointer of the engine's own came along, both would free it at the end: the host's C library aborts."""
    ran = subprocess.run([sys.executable, "-c", MANY, target], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr


@pytest.mark.parametrize("allocator", ["malloc", "pymalloc"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_searched_for_in_memory_is_found_beside_copies_of_it(target: str, allocator: str) -> None:
    """With the C library's allocator, what Python has lies among what the engine has."""
    ran = subprocess.run(
        [sys.executable, "-c", "from emu.cli.entry import main; raise SystemExit(main())", "run",
         guest("hello", target)], capture_output=True, text=True, timeout=60, cwd=ROOT,
        env=os.environ | {"PYTHONMALLOC": allocator},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hello 1\n", "")


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("model", [X86_64, ARM64, MODEL_64, MODEL_32], ids=lambda m: m.name)
def test_engine_is_left_at_the_start_of_a_block(model: EngineModel, asked: bool) -> None:
    """A block of three loads, of which the first asks for a stop: without the flag it is heard at once."""
    uc = _trial_engine(model)
    load = model.load_linked or b"\x48\x8b\x00"  # mov rax, [rax]
    uc.mem_write(0x1000, load * 3)
    flag = no_exit_request(uc)
    assert flag is not None and flag.value == 0
    flag.value = not asked
    reads = []

    def stop(uc: Any, _access: int, address: int, _size: int, _value: int, _data: Any) -> None:
        reads.append(address)
        uc.emu_stop()

    uc.hook_add(UC_HOOK_MEM_READ, stop)
    uc.emu_start(0x1000, 0x1000 + len(load) * 3)
    assert len(reads) == (1 if asked else 3)
