# SPDX-License-Identifier: GPL-2.0-or-later
"""On the other architectures a guest prints and ends as under qemu-user, or, where qemu-user differs from Linux, as the
same program does on x86-64 under the real kernel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests import ROOT, guest, mmscope
from tests.kernel.test_tasks import SOURCES, has_tasks

QEMU = {"aarch64": "aarch64", "powerpc64": "ppc64", "powerpc64le": "ppc64le", "powerpc": "ppc"}
# Where qemu-user is no judge, and why.
OUTSIDE = {
    "bad_pointers": "it looks at addresses in an order of its own",
    "call_order": "it looks at arguments in an order of its own",
    "fault_counts": "its own faults count too",
    "file_edges": "it looks at a buffer before it writes",
    "files": "it takes advice without doing anything",
    "errnos": "it keeps no RLIMIT_AS and RLIMIT_DATA",
    "guard_forks": "it does not know guard advice",
    "guards": "it does not know guard advice",
    "kernel_access": "its copies do not stop at the byte where Linux stops",
    "late_refusals": "its clone3 makes no processes",
    "layouts": "its own mappings lie in the guest's way",
    "madvise": "it takes most advice without doing anything",
    "merge": "it dies of SIGBUS",
    "mlock": "its own mappings count against the limit",
    "mmap_place": "its own mappings lie in the guest's way",
    "mremap": "it cannot do what MREMAP_DONTUNMAP does",
    "odd_elf": "it loads programs itself",
    "proc_reads": "its /proc shows the emulator's own memory",
    "shared": "it dies of SIGSEGV",
    "splits": "it shows the page cache of the host",
    "stack": "its stack has another end",
    "sysv_shm": "it forgets SHM_REMAP and the segment's size",
    "traps": "it sends other codes than Linux",
    "user_copies": "it looks at both ends of a structure before it copies",
}
OUTSIDE_POWERPC = {
    "faults": "it says SEGV_MAPERR where Linux says SEGV_ACCERR",
    "mincore": "it syncs holes of the address space",
    "proc_mem": "its mem of a 32-bit program is that of the emulator",
    "segv": "it says SEGV_MAPERR where Linux says SEGV_ACCERR",
    "signals": "it leaves an old value in the siginfo of kill",
}
# What arch/arm64/kernel/traps.c and debug-monitors.c, arch/powerpc/kernel/traps.c send.
TRAPS = b"illegal 4001\nbreakpoint 5001\njump to nowhere 11001\njump into data 1\n"
# `maps` prints its own address space, which is another one there: tests/trace/test_address_space.py holds it.
PROGRAMS = [source.stem for source in SOURCES if not has_tasks(source) and source.stem != "maps"]


def arguments_of(name: str, directory: Path) -> list[str]:
    """What a guest program wants: some a directory, the benchmarks a small size."""
    place = [str(directory)]
    return {
        "call_order": place,
        "directories": place,
        "fault_counts": place,
        "file_edges": place,
        "files": place,
        "folio_edges": place,
        "folios": place,
        "holes": place,
        "sparse": place,
        "splits": place,
        "compute": ["1"],
        "touch": ["64"],
        "syscalls": ["100"],
    }.get(name, [])


@pytest.mark.parametrize("target", QEMU)
@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_and_ends_as_elsewhere(name: str, target: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    program = guest(name, target)
    ran = mmscope("run", "--writable", ours, program, *arguments_of(name, ours))
    if name in OUTSIDE or (name in OUTSIDE_POWERPC and target != "aarch64"):
        native = next((ROOT / "traces" / "kernel").glob(f"*/{name}.out")).read_bytes()
        assert ran.out == (TRAPS if name == "traps" else native), ran.err
        return
    qemu = shutil.which(f"qemu-{QEMU[target]}")
    if qemu is None:
        pytest.skip(f"qemu-{QEMU[target]} is missing: install the package qemu-user")
    command = [qemu, str(program), *arguments_of(name, theirs)]
    expected = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, env={})
    status = expected.returncode if expected.returncode >= 0 else 128 - expected.returncode
    assert (ran.out, ran.status) == (expected.stdout, status), ran.err
