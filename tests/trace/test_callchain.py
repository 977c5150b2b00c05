# SPDX-License-Identifier: GPL-2.0-or-later
"""Call stacks of the guest: the paths of guestprogs/callers.c on every architecture, by both ways."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from emu.trace.reader import Trace
from emu.tracepoint import Kind, Row
from tests.guests import TARGETS, guest, mmscope

SIGNAL_CODE = "0x|__restore"  # where a handler returns to: in the C library or the vDSO


def folded(trace: Path) -> Counter[str]:
    """Paths of calls from main on, the rest as it is; what lies in the vDSO or returns to the kernel as SIGRETURN."""
    ran = mmscope("export", "--to", "folded", "-o", "-", trace)
    assert ran.status == 0, ran.err
    found: Counter[str] = Counter()
    for line in ran.out.decode().splitlines():
        path, count = line.rsplit(" ", 1)
        frames = path.split(";")
        if "main" in frames:
            found[";".join(frames[frames.index("main") :])] += int(count)
    return found


@pytest.fixture(scope="module", params=[f"{t}-{m}" for t in (*TARGETS, "x86_64-pie") for m in ("fp", "dwarf")])
def stacks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    target, mode = request.param.rsplit("-", 1)
    path = tmp_path_factory.mktemp("callchain") / "t"
    ran = mmscope("record", "--call-graph", mode, "-o", path, guest("callers", target))
    assert ran.status == 0, ran.err
    return folded(path)


def test_calls_and_leaves(stacks: Counter[str]) -> None:
    assert stacks["main;outer;middle;leaf"] == 10


def test_recursion(stacks: Counter[str]) -> None:
    """The innermost call is a jump where the compiler made it one."""
    found = [path for path in stacks if path.startswith("main;recurse")]
    assert len(found) == 1 and re.fullmatch("main;(recurse;){5,6}middle;leaf", found[0]), found


def test_a_handler_and_what_its_signal_interrupted(stacks: Counter[str]) -> None:
    found = [path for path in stacks if path.endswith(";handler;from_handler;leaf")]
    assert len(found) == 1 and stacks[found[0]] == 1
    assert re.match(r"main;raise;\w+;(0x\w+|__restore\w*);handler;", found[0]), found


def test_a_fault_that_is_the_program_s_own_mistake(stacks: Counter[str]) -> None:
    assert stacks["main;interrupted"] == 2  # the signal, and the fault on the page that the handler allowed


def test_a_fault_of_the_kernel_has_the_stack_of_the_system_call(stacks: Counter[str]) -> None:
    found = [path for path in stacks if "sys_read_[k]" in path]
    assert len(found) == 1 and re.match(r"main;in_kernel;read;.*sys_read_\[k\];\w+_\[k\]$", found[0]), found


def without_stacks(path: Path) -> list[tuple[object, ...]]:
    return [row[:20] for row in Trace(str(path)).rows()]


@pytest.mark.parametrize("options", [(), ("--pure",), ("--cpus", "4")])
@pytest.mark.parametrize("mode", ["fp", "dwarf"])
def test_the_rest_of_the_trace_is_the_same(tmp_path: Path, mode: str, options: tuple[str, ...]) -> None:
    program = guest("mm_storm") if options[:1] == ("--cpus",) else guest("callers")
    for name, more in (("with", ("--call-graph", mode)), ("without", ())):
        assert mmscope("record", *more, *options, "-o", tmp_path / name, program).status == 0
    assert without_stacks(tmp_path / "with") == without_stacks(tmp_path / "without")
    assert any(row[20] for row in Trace(str(tmp_path / "with")).rows())
    assert not any(row[20] for row in Trace(str(tmp_path / "without")).rows())


def test_both_ways_agree_on_threads(tmp_path: Path) -> None:
    """Each thread's own registers: a stack begins at the fault's ip and ends where threads begin."""
    rows: dict[str, list[Row]] = {}
    for mode in ("fp", "dwarf"):
        path = tmp_path / mode
        assert mmscope("record", "--cpus", "3", "--call-graph", mode, "-o", path, guest("mm_storm")).status == 0
        rows[mode] = list(Trace(str(path)).rows())
        paths = mmscope("export", "--to", "folded", "-o", "-", path).out.decode().splitlines()
        roots = {line.split(";")[1].split(" ")[0] for line in paths if "_[k]" not in line}
        assert roots <= {"_start", "__clone"}, roots
    faults = 0
    for a, b in zip(rows["fp"], rows["dwarf"], strict=True):
        if a[4] == Kind.PAGE_FAULT_USER:
            assert a[20] and b[20] and a[20][0] == b[20][0] == a[6]
            faults += a[20] == b[20]
    assert faults > 1000


def test_a_stack_of_nonsense_ends(tmp_path: Path) -> None:
    """Registers that point anywhere: no failure, no endless stack."""
    ran = mmscope("record", "--call-graph", "fp", "-o", tmp_path / "t", guest("misbehave"), "0")
    assert "Traceback" not in ran.err
    assert all(len(row[20] or ()) <= 127 for row in Trace(str(tmp_path / "t")).rows())


@pytest.mark.parametrize("target", ["aarch64", "powerpc64"])
def test_a_stripped_program_with_its_debugging_information_beside_it(target: str, tmp_path: Path) -> None:
    """A leaf without a frame is told by where functions begin, which then only the other file tells."""
    objcopy = f"{target}-linux-gnu-objcopy"
    if shutil.which(objcopy) is None:
        pytest.skip(f"{objcopy} is missing: install binutils-{target}-linux-gnu")
    program, debug = tmp_path / "callers", tmp_path / "callers.debug"
    shutil.copy(guest("callers", target), debug)
    strip = [objcopy, "--strip-all", f"--add-gnu-debuglink={debug}"]
    subprocess.run([*strip, guest("callers", target), program], check=True)
    traces = []
    for number, file in enumerate((guest("callers", target), program)):
        traces.append(tmp_path / f"trace{number}")
        ran = mmscope("record", "--call-graph", "fp", "-o", traces[-1], file)
        assert ran.status == 0, ran.err
    whole, stripped = (folded(trace) for trace in traces)
    assert stripped["main;outer;middle;leaf"] == 10
    assert stripped == whole
