# SPDX-License-Identifier: GPL-2.0-or-later
"""Records what the running kernel does for the guest programs: the references that the tests compare with.

usage: record.py [NAME ...]

The programs run below /tmp/mmscope-XXXXXX, a link to guestprogs/build, since their path lies on their stack: it is as
long everywhere.

Of programs that fork the children are recorded too. They run on one CPU with the policy SCHED_FIFO: then a child runs
when its parent waits, not before, and the order is determined.

Of programs with threads NAME.set keeps what does not depend on the schedule (emu/trace/by_set.py): which faults
happened in each of RUNS runs, which in some, and how often each system call took mmap_lock for write.

Needs root, x86-64, tracefs, and the tool kernel-trace: its path in MMSCOPE_KERNEL_TRACE, or in PATH. A program's record
is kept in traces/kernel/CPU/NAME.txt when three runs in a row give the same lines; beside it, in NAME.out, what it
printed. CPU is the model of the machine's CPU (archs/x86/cpu_models.py), or `any`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "guestprogs" / "build"
KERNEL = HERE / "kernel"
NOT_RECORDED = {"compute", "hard_ends", "misbehave", "touch", "syscalls"}  # benchmarks, and what ends badly
PIE = ("hello", "faults", "segv", "brk")
CHILDREN = (
    "exec_self", "fault_counts", "fork_tree", "forks", "guard_forks", "late_refusals", "layouts", "odd_elf",
    "pkeys",
)  # fmt: skip
"""Programs whose children are recorded."""
TRIES = 6
THREADS = {
    "atomics": (), "exec_ways": (), "fork_threads": (), "malloc1": ("threads", "4", "40"),
    "mmap1": ("threads", "4", "40"), "pft": ("threads", "6", "64"), "robust": (), "thread_signals": (),
    "thread_storm": (), "threads": (),
}  # fmt: skip
"""Programs that are compared by set, and their arguments."""
ANY_CPU = {"late_refusals", "layouts", "odd_elf", "proc_reads"}
"""Programs in whose records nothing depends on the CPU: they are in kernel/any."""
FAULTS_ONLY = {"exec_ways"}  # a thread that executes takes its leader's number, and the tracer loses its calls
RUNS = 10
# The kernel's vDSO reads its clocks there; the emulator's has no such page.
VVAR = range(0x7FFFF7FF7000, 0x7FFFF7FFD000)
_MARK = hashlib.sha256(os.fsencode(BUILD)).hexdigest()  # so that two working copies do not meet
LINK = Path(f"/tmp/mmscope-{_MARK[:6]}")
DIRECTORY = Path(f"/tmp/mmscope-{_MARK[:5]}")
# Given the empty directory DIRECTORY as argument.
WRITABLE = {
    "call_order", "directories", "fault_counts", "file_edges", "files", "folio_edges", "folios", "holes", "sparse",
    "splits",
}  # fmt: skip


def cases() -> list[tuple[str, Path]]:
    """(name of the record, program)."""
    found = [
        (p.stem, p)
        for p in sorted((BUILD / "x86_64").glob("*"))
        if not p.suffix and p.stem not in NOT_RECORDED and (p.stem in CHILDREN or not has_tasks(p.stem))
    ]
    found += [(name, BUILD / "x86_64" / name) for name in THREADS]
    found += [(f"{name}-pie", BUILD / "x86_64-pie" / name) for name in PIE]
    return found


def has_tasks(name: str) -> bool:
    """Does the guest program of this name make threads or processes: it then includes one of these headers."""
    source = (BUILD.parent / f"{name}.c").read_text()
    return any(include in source for include in ('#include "tasks.h"', '#include "scale.h"', "<sys/wait.h>"))


@contextmanager
def places(program: Path) -> Iterator[tuple[Path, list[str]]]:
    """The path under which a program runs for the comparison, and its arguments. The directory that some get is one for
    all, since its name is in the record: one at a time has it."""
    if not LINK.is_symlink() or LINK.readlink() != BUILD:
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(BUILD)
    path = LINK / program.relative_to(BUILD)
    if program.stem not in WRITABLE:
        yield path, []
        return
    with open(f"{DIRECTORY}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        DIRECTORY.mkdir()
        try:
            yield path, [str(DIRECTORY)]
        finally:
            shutil.rmtree(DIRECTORY, ignore_errors=True)


def from_entry(lines: list[str], program: Path) -> list[str]:
    """The lines from the first fault of the new image on: the fetch of its entry point, wherever it was loaded."""
    entry = struct.unpack_from("<Q", program.read_bytes(), 24)[0]
    for index, line in enumerate(lines):
        parts = line.split()
        if parts[0] == "U" and parts[1] == parts[2] and int(parts[1], 16) & 0xFFF == entry & 0xFFF and parts[3] == "14":
            return lines[index:]
    raise SystemExit(f"record.py: {program}: no fault at its entry point was recorded")


def trace(tool: str, program: Path, arguments: list[str]) -> tuple[list[str], bytes]:
    """One run: lines and standard output."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
        command = [tool, "-o", output.name, "--", str(program), *arguments]
        if program.stem in CHILDREN:
            command = ["taskset", "-c", "0", "chrt", "-f", "10", tool, "--children", *command[1:]]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"record.py: {program.name}: {done.stderr.decode(errors='replace').strip()}")
        return from_entry(output.read().splitlines(), program), done.stdout


@cache
def cpu_model() -> str:
    """The model of this machine's CPU, of those that the emulator knows; ends when it is none of them."""
    sys.path.insert(0, str(HERE.parent))
    from archs.x86.cpu_models import MODELS

    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    vendor, family, number = facts["vendor_id"], facts["cpu family"], facts["model"]
    for model in MODELS.values():
        if (model.vendor, model.family, model.model) == (vendor, int(family), int(number)):
            return model.name
    raise SystemExit(
        f"record.py: the emulator has no CPU like this one ({vendor}, family {family}, model {number}): "
        "traces/cpu_model.py prints its description for archs/x86/cpu_models.py"
    )


def record(tool: str, name: str, program: Path, cpu: str) -> bool:
    """Record one program; False when its record does not repeat."""
    with places(program) as (path, arguments):
        seen: list[tuple[list[str], bytes]] = []
        for _ in range(TRIES):
            seen.append(trace(tool, path, arguments))
            if len(seen) >= 3 and seen[-1] == seen[-2] == seen[-3]:
                break
        else:
            return False
    lines, output = seen[-1]
    head = _head(program, cpu)
    if program.stem in CHILDREN:
        head.append("# children yes")
    place = KERNEL / cpu
    (place / f"{name}.txt").write_text("\n".join(head + lines) + "\n")
    (place / f"{name}.out").write_bytes(output)
    return True


def record_by_set(tool: str, name: str, program: Path, cpu: str) -> bool:
    """Record a program with threads; False when what it prints does not repeat."""
    from mmap_lock_writes import record_writes

    from archs.x86 import ARCHES
    from emu.trace.by_set import Ranges, Run, run_of_lines

    runs, outputs = [], set()
    with places(program) as (path, _):
        for number in range(RUNS):
            place = ["taskset", "-c", "0"] if number % 2 else []
            with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
                command = [*place, tool, "-o", output.name, "--children", "--", str(path), *THREADS[name]]
                done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
                if done.returncode:
                    raise SystemExit(f"record.py: {name}: {done.stderr.decode(errors='replace').strip()}")
                lines = from_entry(output.read().splitlines(), program)
                faults = {fault for fault in run_of_lines(lines, name).faults if fault[1] not in VVAR}
            outputs.add(done.stdout)
            command = [str(path), *THREADS[name]]
            writes = Counter() if name in FAULTS_ONLY else record_writes(command, ARCHES[0].syscalls)
            runs.append(Run(faults, writes))
    if len(outputs) > 1:
        return False
    head = [*_head(program, cpu), f"# runs {RUNS}"]
    (KERNEL / cpu / f"{name}.set").write_text("\n".join([*head, *Ranges.of(runs).lines()]) + "\n")
    (KERNEL / cpu / f"{name}.out").write_bytes(outputs.pop())
    return True


def _head(program: Path, cpu: str) -> list[str]:
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    (KERNEL / cpu).mkdir(parents=True, exist_ok=True)
    return [
        f"# program {program.parent.name}/{program.name}",
        f"# sha256 {digest}",
        f"# kernel {platform.release()}",
        *([f"# cpu {cpu}"] if cpu != "any" else []),
    ]


def main() -> int:
    tool = os.environ.get("MMSCOPE_KERNEL_TRACE") or shutil.which("kernel-trace")
    if not tool:
        sys.exit("record.py: kernel-trace is not in PATH: set MMSCOPE_KERNEL_TRACE to where it is")
    if os.geteuid() or platform.machine() != "x86_64":
        sys.exit("record.py: needs root on an x86-64 machine")
    os.sync()  # pages under writeback fault in their own way
    unsteady = []
    for name, program in cases():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        if not program.exists():
            sys.exit(f"record.py: {program} is missing: make guests")
        place = "any" if name in ANY_CPU else cpu_model()
        steady = (record_by_set if name in THREADS else record)(tool, name, program, place)
        print(f"  {name}: {'recorded' if steady else 'does not repeat, left out'}", flush=True)
        if not steady:
            unsteady.append(name)
    return 1 if unsteady else 0


if __name__ == "__main__":
    sys.exit(main())
