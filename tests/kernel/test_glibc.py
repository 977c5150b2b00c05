# SPDX-License-Identifier: GPL-2.0-or-later
"""Static glibc programs of every architecture, built by the distribution's compilers (powerpc64 is ELFv1)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests import ROOT, mmscope

COMPILERS = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")
PROGRAMS = ("anon", "brk", "faults", "mremap", "segv", "stack")


@pytest.mark.parametrize("machine", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_what_it_prints_natively(name: str, machine: str, tmp_path: Path) -> None:
    compiler = shutil.which(f"{machine}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"{machine}-linux-gnu-gcc is missing: install gcc-{machine.replace('_', '-')}-linux-gnu")
    source = ROOT / "guestprogs" / f"{name}.c"
    program = tmp_path / name
    built = subprocess.run([compiler, "-O1", "-static", "-w", str(source), "-o", str(program)], capture_output=True)
    assert built.returncode == 0, built.stderr.decode()
    ran = mmscope("run", program)
    assert ran.out == (ROOT / "traces" / "kernel" / "emerald-rapids" / f"{name}.out").read_bytes(), ran.err
