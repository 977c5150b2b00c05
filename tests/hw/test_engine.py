# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers go from one engine to another without anything that belongs to the first one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.guests import ROOT, TARGETS

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
