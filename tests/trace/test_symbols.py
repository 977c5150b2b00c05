# SPDX-License-Identifier: GPL-2.0-or-later
"""Functions, lines and code of programs, with debugging information of every kind; files that are not what they
should be."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from emu.trace import source_lines
from emu.trace.symbols import Symbols
from tests.guests import TARGETS, guest

SOURCE = """\
#include "touch.h"
int main(int argc, char **argv)
{
    touch(argv[0]);
    return argc;
}
"""
HEADER = """\
static __attribute__((noinline)) void touch(char *p)
{
    *(volatile char *)p = 1;
}
"""
KINDS = {
    "dwarf4": ["-gdwarf-4"], "dwarf5": ["-gdwarf-5"], "split4": ["-gdwarf-4", "-gsplit-dwarf"],
    "split5": ["-gdwarf-5", "-gsplit-dwarf"], "compressed": ["-gdwarf-5", "-gz=zlib"],
    "zdebug": ["-gdwarf-4", "-gz=zlib-gnu"], "split, compressed": ["-gdwarf-5", "-gsplit-dwarf", "-gz=zlib"],
}  # fmt: skip


def build(directory: Path, *options: str, compiler: str = "gcc") -> Path:
    (directory / "main.c").write_text(SOURCE)
    (directory / "touch.h").write_text(HEADER)
    command = [compiler, "-O1", "-static", *options, "-o", "program", "main.c"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return directory / "program"


def start_of(symbols: Symbols, name: str) -> int:
    return next(start for start, _, found in symbols._symbols if found == name)


needs_gcc = pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("objcopy"), reason="needs gcc and objcopy")


@needs_gcc
@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_every_kind_of_debugging_information(kind: str, tmp_path: Path) -> None:
    symbols = Symbols.of_file(str(build(tmp_path, *KINDS[kind]))).at(0x5000)
    assert symbols.note is None
    start = start_of(symbols, "touch") + 0x5000
    assert symbols.lookup(start + 1) == ("touch", 1)
    assert symbols.line(start) == (str(tmp_path / "touch.h"), 3)
    assert symbols.line(start_of(symbols, "main") + 0x5000) == (str(tmp_path / "main.c"), 3)
    assert symbols.line(start_of(symbols, "_start") + 0x5000) is None
    assert len(symbols.code(start, 4)) == 4


@needs_gcc
def test_debugging_information_in_a_file_of_its_own(tmp_path: Path) -> None:
    program = build(tmp_path, "-gdwarf-5")
    start = start_of(Symbols.of_file(str(program)), "touch")
    debug = tmp_path / "program.debug"
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", program], check=True)
    symbols = Symbols.of_file(str(program))
    assert symbols.lookup(start) == ("touch", 0)
    assert symbols.line(start) == (str(tmp_path / "touch.h"), 3)
    place = tmp_path / ".debug"
    place.mkdir()
    debug.rename(place / debug.name)
    assert Symbols.of_file(str(program)).line(start) is not None
    (place / debug.name).write_bytes((place / debug.name).read_bytes() + b"changed")
    assert Symbols.of_file(str(program)).line(start) is None, "the checksum is wrong"


@needs_gcc
def test_debugging_information_by_build_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As distributions install it: /usr/lib/debug/.build-id/12/34....debug."""
    program = build(tmp_path, "-g", "-Wl,--build-id=0x0123456789abcdef")
    start = start_of(Symbols.of_file(str(program)), "touch")
    place = tmp_path / "debug" / ".build-id" / "01"
    place.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, place / "23456789abcdef.debug"], check=True)
    subprocess.run(["objcopy", "--strip-all", program], check=True)
    assert Symbols.of_file(str(program)).lookup(start) is None
    monkeypatch.setattr(source_lines, "DEBUG_DIRECTORY", str(tmp_path / "debug"))
    symbols = Symbols.of_file(str(program))
    assert symbols.lookup(start) == ("touch", 0)
    assert symbols.line(start) == (str(tmp_path / "touch.h"), 3)


@pytest.mark.parametrize("target", TARGETS)
def test_functions_on_every_architecture(target: str) -> None:
    symbols = Symbols.of_file(str(guest("faults", target)), arch=target)
    assert symbols.note is None
    assert symbols.lookup(start_of(symbols, "main") + 4) == ("main", 4)


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    program = str(guest("hello"))
    other = Symbols.of_file(program, arch="aarch64")
    assert other.note is not None
    assert "is for x86_64, the trace is of aarch64" in other.note
    changed = Symbols.of_file(program, arch="x86_64", sha256="0")
    assert changed.note is not None
    assert "has changed" in changed.note
    assert changed.lookup(start_of(Symbols.of_file(program), "main")) is None
    given = Symbols.of_file(program, arch="x86_64", sha256="0", given=True)
    assert given.note is not None
    assert "may be wrong" in given.note
    assert start_of(given, "main")
    missing = Symbols.of_file(str(tmp_path / "gone"))
    assert missing.note is not None
    assert "No such file" in missing.note
    damaged = tmp_path / "damaged"
    content = bytearray(guest("hello").read_bytes())
    for size in (5, 70, 300, len(content) // 2):
        damaged.write_bytes(content[:size])
        assert Symbols.of_file(str(damaged)).note is not None


@pytest.mark.skipif(shutil.which("powerpc64-linux-gnu-gcc") is None, reason="needs powerpc64-linux-gnu-gcc")
def test_function_descriptors(tmp_path: Path) -> None:
    """By the first version of PowerPC64's ABI the symbol of a function is its descriptor, in .opd."""
    program = build(tmp_path, "-g", compiler="powerpc64-linux-gnu-gcc")
    symbols = Symbols.of_file(str(program))
    start = start_of(symbols, "touch")
    assert len(symbols.code(start, 4)) == 4
    assert symbols.line(start) == (str(tmp_path / "touch.h"), 3)


def test_between_functions_there_is_none() -> None:
    symbols = Symbols.of_file(str(guest("faults")))
    gaps = [
        (start + size, name) for (start, size, name), (after, _, _) in pairwise(symbols._symbols)
        if size and start + size < after
    ]  # fmt: skip
    assert gaps
    for at, name in gaps:
        assert symbols.lookup(at - 1) is not None, name
        assert symbols.lookup(at) is None, name
