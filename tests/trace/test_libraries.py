# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions of libraries have their names, in whatever shows functions."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests import mmscope

COMPILER = shutil.which("x86_64-linux-gnu-gcc")
LIBRARY = r"""
__attribute__((noinline)) static void fill(char *to, int pages) {
    for (int i = 0; i < pages; i++)
        to[4096 * i] = 1;
}
void touch_them(char *to, int pages) { fill(to, pages); fill(to, 1); }
"""
PROGRAM = r"""
#include <stdlib.h>
void touch_them(char *, int);
int main(void) {
    char *memory = (char *)(((long)malloc(202 << 12) + 4096) & -4096);
    touch_them(memory, 200);
    return memory[0] - 1;
}
"""
LAUNCHER = r"""
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (fork() == 0)
        execv(argv[1], argv + 1);
    wait(0);
    return execv(argv[1], argv + 1);
}
"""


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None or not Path("/lib64/ld-linux-x86-64.so.2").exists():
        pytest.skip("needs x86_64-linux-gnu-gcc and the dynamic linker of glibc on x86-64")
    folder = tmp_path_factory.mktemp("linked")
    (folder / "library.c").write_text(LIBRARY)
    (folder / "program.c").write_text(PROGRAM)
    # Segments of code at another offset than in the first page, and a function that .dynsym does not have.
    library, program = folder / "libtouch.so", folder / "program"
    for flags in (
        ["-shared", "-fPIC", "library.c", "-o", str(library)],
        ["program.c", str(library), f"-Wl,-rpath,{folder}", "-o", str(program)],
    ):
        subprocess.run([COMPILER, "-O1", "-g", *flags], check=True, cwd=folder)
    recorded = folder / "trace.mmscope"
    ran = mmscope("record", "-o", recorded, program)
    assert ran.status == 0, ran.err
    return recorded


@pytest.mark.parametrize("options", [["--by", "symbol"], ["--by", "line"], []], ids=["symbol", "line", "summary"])
def test_reports(trace: Path, options: list[str]) -> None:
    ran = mmscope("report", *options, trace)
    wanted = "library.c:4" if "line" in options else "fill"
    counts = [int(line.split()[0]) for line in ran.out.decode().splitlines() if line.split()[-1:] == [wanted]]
    assert counts == [200], ran.out.decode()


def test_the_story_of_a_fault(trace: Path) -> None:
    lines = mmscope("script", trace).out.decode().splitlines()
    number = next(line.split("#")[1].split()[0] for line in lines if "(fill+" in line)
    told = mmscope("report", "--fault", number, trace).out.decode()
    assert "fill+" in told
    assert "library.c:4" in told


def test_exports(trace: Path, tmp_path: Path) -> None:
    folded = tmp_path / "folded"
    mmscope("export", "--to", "folded", "-o", folded, trace)
    assert "program;fill 200" in folded.read_text().splitlines()
    html = tmp_path / "page.html"
    mmscope("report", "--html", html, trace)
    assert '"fill"' in html.read_text()


def test_call_stacks(trace: Path, tmp_path: Path) -> None:
    again, folded = tmp_path / "trace.mmscope", tmp_path / "folded"
    assert mmscope("record", "--call-graph", "dwarf", "-o", again, trace.with_name("program")).status == 0
    mmscope("export", "--to", "folded", "-o", folded, again)
    fills = [line for line in folded.read_text().splitlines() if line.endswith("main;touch_them;fill 200")]
    assert len(fills) == 1
    assert fills[0].startswith("program;_start;")
    lines = mmscope("script", again).out.decode().splitlines()
    number = next(line.split("#")[1].split()[0] for line in lines if "(fill+" in line)
    told = mmscope("report", "--fault", number, again).out.decode()
    assert re.search(r"call stack: fill\+0x\w+ < touch_them\+0x\w+ < main\+0x\w+ < ", told), "of both files"


def test_libraries_of_programs_that_are_executed_later(trace: Path, tmp_path: Path) -> None:
    assert COMPILER is not None
    (tmp_path / "launcher.c").write_text(LAUNCHER)
    subprocess.run([COMPILER, "-O1", "launcher.c", "-o", "launcher"], check=True, cwd=tmp_path)
    again, folded = tmp_path / "trace.mmscope", tmp_path / "folded"
    assert mmscope("record", "-o", again, tmp_path / "launcher", trace.with_name("program")).status == 0
    assert mmscope("export", "--to", "folded", "-o", folded, again).status == 0
    assert "program;fill 400" in folded.read_text().splitlines()
    for options in (["--by", "symbol"], []):
        lines = mmscope("report", *options, again).out.decode().splitlines()
        assert [int(line.split()[0]) for line in lines if line.split()[-1:] == ["fill"]] == [400]
