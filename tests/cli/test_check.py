# SPDX-License-Identifier: GPL-2.0-or-later
"""--check on the command line: silent where all is well, a report and its status where not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emu.mm.memory_manager import SCHEMES
from tests.guests import ROOT, guest, mmscope

_BROKEN = """
import sys
import emu.mm.mprotect
from emu.cli.main import main
{patch}
sys.exit(main(sys.argv[1:]))
"""
# mprotect that forgets to write-lock the VMA, and one with an assertion that does not hold.
FORGETS = """
real = emu.mm.mprotect.vma_modify
def vma_modify(vma, start, end, flags, *more, **named):
    mm = vma.vm_mm
    result = real(vma, start, end, flags, *more, **named)
    mm.scheme.vma_end_write_all(mm)
    mm.scheme.mm_lock_begin(mm)
    type(mm.scheme).vma_start_write = lambda self, vma, site="": None
    return result
emu.mm.mprotect.vma_modify = vma_modify
"""
ASSERTS = """
import emu.kernel.sys_mm
def sys_mprotect(*_):
    raise AssertionError("something is wrong")
emu.mm.mprotect.mprotect_fixup = sys_mprotect
"""


def broken(patch: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BROKEN.format(patch=patch), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("locking", SCHEMES)
@pytest.mark.parametrize("program", ["mm_storm", "thread_storm", "fork_tree", "madvise", "guards"])
def test_guests_break_no_rule(locking: str, program: str) -> None:
    plain = mmscope("run", "--locking", locking, "--cpus", "4", "--seed", "5", guest(program))
    checked = mmscope("run", "--check", "--locking", locking, "--cpus", "4", "--seed", "5", guest(program))
    assert (checked.status, checked.out, checked.err) == (plain.status, plain.out, plain.err)


def test_a_finding_is_a_report_and_status_125() -> None:
    ran = broken(FORGETS, "run", "--check", guest("anon"))
    assert ran.returncode == 125, ran.stderr
    lines = ran.stderr.splitlines()
    assert lines[0].startswith("mmscope: I4: vm_") and "without the VMA write-locked" in lines[0]
    assert any("mprotect_fixup (" in line for line in lines)
    assert "Traceback" not in ran.stderr and all(line.startswith("mmscope: ") for line in lines)


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_an_assertion_is_a_report_too(options: tuple[str, ...]) -> None:
    ran = broken(ASSERTS, "run", *options, guest("anon"))
    assert ran.returncode == 125
    assert ran.stderr.startswith("mmscope: kernel BUG: something is wrong\n")
    assert "do_mprotect_pkey (" in ran.stderr and "Traceback" not in ran.stderr
