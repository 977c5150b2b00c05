# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs with an interpreter (dynamically linked ones), and stacks that may be executed."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from emu.kernel.elf import ExecError
from emu.kernel.machine import Machine
from tests.guests import guest, mmscope

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
COMPILER = shutil.which("x86_64-linux-gnu-gcc")
MACHINES = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")

needs_loader = pytest.mark.skipif(
    COMPILER is None or not LOADER.exists(), reason=f"needs x86_64-linux-gnu-gcc and {LOADER} (glibc on x86-64)"
)

LINKED = r"""
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <unistd.h>
extern char __executable_start, end;
int main(int argc, char **argv) {
    double (*cbrt)(double) = 0;
    void *library = dlopen("libm.so.6", RTLD_NOW);
    if (library)
        cbrt = (double (*)(double))dlsym(library, "cbrt");
    printf("%d %.3f\n", argc, cbrt ? cbrt(27) : -1);
    struct link_map *map = _r_debug.r_map;
    printf("the program's bias is the loader's: %d\n", (char *)map->l_addr == &__executable_start - (argc < 0));
    printf("AT_BASE is an ELF file: %d\n", *(unsigned *)getauxval(AT_BASE) == *(unsigned *)"\177ELF");
    printf("AT_PHDR is within: %d\n", getauxval(AT_PHDR) == (unsigned long)&__executable_start + sizeof(Elf64_Ehdr));
    printf("the heap begins behind the program: %d\n", (unsigned long)sbrk(0) - (unsigned long)&end < 4 << 20);
    fflush(stdout);
    if (argc == 1) {
        char *again[] = {argv[0], "x", 0};
        execv("/proc/self/exe", again);
    }
    return 6;
}
"""


@needs_loader
@pytest.mark.parametrize("flags", [["-pie", "-fPIE"], ["-no-pie"]], ids=["pie", "no-pie"])
def test_a_dynamically_linked_program(flags: list[str], tmp_path: Path) -> None:
    assert COMPILER is not None
    program = tmp_path / "linked"
    source = tmp_path / "linked.c"
    # __executable_start of a program that is not position-independent is where its headers are, its bias is 0.
    source.write_text(LINKED if "-pie" in flags else LINKED.replace("&__executable_start - (argc < 0)", "(char *)0"))
    subprocess.run([COMPILER, "-O1", "-w", *flags, str(source), "-o", str(program), "-ldl"], check=True)
    ran = mmscope("run", program)
    lines = ran.out.decode().splitlines()
    assert (ran.status, [line for line in lines if not line.endswith(": 1")]) == (6, ["1 3.000", "2 3.000"]), ran.err
    assert len(lines) == 10


def linked_to(name: bytes, tmp_path: Path) -> Path:
    """A program that names this interpreter."""
    data = bytearray(guest("hello").read_bytes())
    phoff = struct.unpack_from("<Q", data, 32)[0]
    count = struct.unpack_from("<H", data, 56)[0]
    headers = (phoff + 56 * n for n in range(count))
    header = next(at for at in headers if struct.unpack_from("<I", data, at)[0] == 0x6474E551)
    struct.pack_into("<IIQQQQQQ", data, header, 3, 4, len(data), 0, 0, len(name), len(name), 1)
    program = tmp_path / "program"
    program.write_bytes(data + name)
    program.chmod(0o755)
    return program


def _text(tmp_path: Path) -> Path:
    path = tmp_path / "loader"
    path.write_text("no ELF file\n" * 20)
    path.chmod(0o755)
    return path


def _closed(tmp_path: Path) -> Path:
    path = tmp_path / "loader"
    shutil.copy(guest("hello", "x86_64-pie"), path)
    path.chmod(0o644)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "missing": (lambda tmp: tmp / "nowhere", errno.ENOENT, "is missing"),
    "a directory": (lambda tmp: tmp, errno.EACCES, "cannot be opened: Permission denied"),
    "not executable": (_closed, errno.EACCES, "cannot be opened: Permission denied"),
    "of another machine": (lambda tmp: guest("hello", "aarch64"), errno.ELIBBAD, "is made for another machine"),
    "no ELF file": (_text, errno.ELIBBAD, "is not an ELF program"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_interpreter_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    make, error, reason = BAD[kind]
    program = linked_to(os.fsencode(make(tmp_path)) + b"\0", tmp_path)
    with pytest.raises(ExecError) as told:
        Machine(memory=16 << 20).spawn(str(program), [str(program)], [])
    assert told.value.errno == error
    ran = mmscope("run", program)
    assert (ran.status, ran.out) == (2, b"")
    assert ran.err.startswith(f"mmscope: {program}: its interpreter ")
    assert reason in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "name", [b"", b"/", b"/lib/no-end", b"x" * 5000 + b"\0"], ids=["empty", "short", "open", "long"]
)
def test_a_name_that_is_none(name: bytes, tmp_path: Path) -> None:
    program = linked_to(name, tmp_path)
    ran = mmscope("run", program)
    assert (ran.status, ran.err) == (2, f"mmscope: {program}: the name of its interpreter is no string\n")


ON_THE_STACK = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
static __attribute__((noinline)) int apply(int (*function)(int), int value) { return function(value); }
int main(int argc, char **argv) {
    int base = argc + 40;
    int add(int value) { return value + base; }
    char line[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "[stack]"))
            printf("%.4s\n", strchr(line, ' ') + 1);
    printf("%d\n", apply(add, 1));
    return 0;
}
"""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("executable", [True, False], ids=["execstack", "noexecstack"])
def test_a_stack_that_may_be_executed(machine: str, executable: bool, tmp_path: Path) -> None:
    """GCC calls nested functions through code on the stack (with ELFv1 through a descriptor, which is no code)."""
    compiler = shutil.which(f"{machine}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"{machine}-linux-gnu-gcc is missing: install gcc-{machine.replace('_', '-')}-linux-gnu")
    source, program = tmp_path / "nested.c", tmp_path / "nested"
    source.write_text(ON_THE_STACK)
    flags = ["-z", "execstack" if executable else "noexecstack"]
    subprocess.run([compiler, "-O1", "-w", "-static", *flags, str(source), "-o", str(program)], check=True)
    ran = mmscope("run", program)
    if executable:
        assert (ran.out, ran.status) == (b"rwxp\n42\n", 0), ran.err
    elif machine == "powerpc64":
        assert (ran.out, ran.status) == (b"rw-p\n42\n", 0), ran.err
    else:
        assert ran.status == 128 + 11, ran.err


IMPLIED = r"""
#include <stdio.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <string.h>
#include <unistd.h>
#include <stdint.h>
static const char *of(void *address) {
    static char line[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && (uintptr_t)address >= from && (uintptr_t)address < to)
            break;
    fclose(maps);
    strchr(line, ' ')[5] = 0;
    return strchr(line, ' ') + 1;
}
int main(void) {
    personality(personality(0xffffffff) | READ_IMPLIES_EXEC);
    char *readable = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("mmap %s\n", of(readable));
    printf("none %s\n", of(none));
    mprotect(none, 4096, PROT_READ);
    printf("mprotect %s\n", of(none));
    sbrk(1 << 20);
    printf("brk %s\n", of((char *)sbrk(0) - 1));
    fflush(stdout);
    if (!fork()) {
        printf("child %s\n", of(mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
        fflush(stdout);
        _exit(0);
    }
    return 0;
}
"""


def test_what_may_be_read_may_be_executed_where_a_program_asks_for_it(tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("x86_64-linux-gnu-gcc is missing: install gcc-x86-64-linux-gnu")
    source, program = tmp_path / "implied.c", tmp_path / "implied"
    source.write_text(IMPLIED)
    subprocess.run([COMPILER, "-O1", "-w", "-static", str(source), "-o", str(program)], check=True)
    ran = mmscope("run", program)
    assert ran.out == b"mmap rwxp\nnone ---p\nmprotect r-xp\nbrk rwxp\nchild r-xp\n", ran.err
