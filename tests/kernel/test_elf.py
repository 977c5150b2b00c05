# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that cannot be run: each is refused with one line that names the file and the reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kernel.elf import ExecError, read_program
from emu.kernel.machine import Machine
from emu.trace.reader import Trace
from emu.tracepoint import Kind
from tests.guests import TARGETS, guest, mmscope, record

E_PHOFF, E_ENTRY, E_PHENTSIZE, E_PHNUM = 32, 24, 54, 56
P_TYPE, P_OFFSET, P_VADDR, P_FILESZ, P_MEMSZ, P_ALIGN = 0, 8, 16, 32, 40, 48


def put(data: bytearray, at: int, value: int, layout: str = "<Q") -> None:
    struct.pack_into(layout, data, at, value & (1 << 8 * struct.calcsize(layout)) - 1)


def loads(data: bytearray) -> list[int]:
    """Offsets of the headers of load segments."""
    phoff = struct.unpack_from("<Q", data, E_PHOFF)[0]
    count = struct.unpack_from("<H", data, E_PHNUM)[0]
    headers = [phoff + 56 * i for i in range(count)]
    return [at for at in headers if struct.unpack_from("<I", data, at)[0] == 1]


def set_load(number: int, field: int, value: int) -> Callable[[bytearray], None]:
    return lambda data: put(data, loads(data)[number] + field, value)


def interpreter(data: bytearray) -> None:
    put(data, loads(data)[-1], 3, "<I")


def interpreter_nowhere(data: bytearray) -> None:
    interpreter(data)
    put(data, loads(data)[-1] + P_OFFSET, -1)


def overlap(data: bytearray) -> None:
    first = struct.unpack_from("<Q", data, loads(data)[0] + P_VADDR)[0]
    second = loads(data)[1]
    offset = struct.unpack_from("<Q", data, second + P_OFFSET)[0]
    put(data, second + P_VADDR, first + (offset & 0xFFF))


BAD: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "no magic": (lambda data: put(data, 0, 0x464C4500, "<I"), "is not an ELF program"),
    "empty": (lambda data: data.clear(), "is not an ELF program"),
    "cut in the header": (lambda data: data.__delitem__(slice(50, None)), "truncated within the ELF header"),
    "cut in the segments": (lambda data: data.__delitem__(slice(4096, None)), "past the end of the file"),
    "class": (lambda data: put(data, 4, 7, "<B"), "ELF class 7"),
    "byte order": (lambda data: put(data, 5, 3, "<B"), "byte order 3"),
    "version": (lambda data: put(data, 20, 9, "<I"), "ELF version 9"),
    "object file": (lambda data: put(data, 16, 1, "<H"), "an object file"),
    "core dump": (lambda data: put(data, 16, 4, "<H"), "a core dump"),
    "machine": (lambda data: put(data, 18, 243, "<H"), "machine 243"),
    "other class of the machine": (lambda data: put(data, 18, 20, "<H"), "machine 20"),
    "entry outside": (lambda data: put(data, E_ENTRY, 0x10), "entry point 0x10"),
    "size of program headers": (lambda data: put(data, E_PHENTSIZE, 55, "<H"), "program headers of 55 bytes"),
    "no program headers": (lambda data: put(data, E_PHNUM, 0, "<H"), "0 program headers"),
    "program headers outside": (lambda data: put(data, E_PHOFF, 1 << 40), "past the end of the file"),
    "nothing to load": (lambda data: [put(data, at, 4, "<I") for at in loads(data)] and None, "nothing to load"),
    "larger than memory": (set_load(0, P_MEMSZ, 1), "larger in the file"),
    "past the file": (set_load(0, P_OFFSET, 1 << 40), "past the end of the file"),
    "absurd size": (set_load(-1, P_MEMSZ, 1 << 63), "user space"),
    "past the address space": (set_load(-1, P_MEMSZ, -1), "past the end of the address space"),
    "not in user space": (set_load(-1, P_VADDR, 0x7FFF_FFFF_F000), ""),
    "unaligned": (set_load(0, P_VADDR, 0x200123), "differ within a page"),
    "alignment": (set_load(0, P_ALIGN, 3), "no power of two"),
    "overlapping": (overlap, "overlaps"),
    "interpreter": (interpreter, "interpreter"),
    "interpreter nowhere": (interpreter_nowhere, "past the end of the file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_program_is_refused(name: str, tmp_path: Path) -> None:
    damage, reason = BAD[name]
    data = bytearray(guest("hello").read_bytes())
    damage(data)
    path = tmp_path / "program"
    path.write_bytes(data)
    path.chmod(0o755)
    with pytest.raises(ExecError) as told:
        Machine(memory=16 << 20).spawn(str(path), [str(path)], [])
    text = str(told.value)
    assert text.startswith(f"{path}: ")
    assert reason in text
    assert "\n" not in text


def test_the_command_says_it_in_one_line_with_status_2(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    text.chmod(0o755)
    closed = tmp_path / "closed"
    closed.write_bytes(guest("hello").read_bytes())
    closed.chmod(0o644)
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "missing", "No such file or directory"),
        (text / "below", "Not a directory"),
        (text, "is not an ELF program"),
        (closed, "permission denied"),
        (Path("/dev/null"), "is no regular file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        for verb in (("run",), ("stat",), ("record", "-o", str(tmp_path / "trace"))):
            ran = mmscope(*verb, path)
            assert (ran.status, ran.out) == (2, b"")
            assert ran.err.startswith(f"mmscope: {path}: {reason}")
            assert ran.err.count("\n") == 1
    assert not (tmp_path / "trace").exists(), "nothing was recorded, and a file was left"


@pytest.mark.parametrize("target", TARGETS)
def test_cut_off_anywhere(target: str, tmp_path: Path) -> None:
    """A program cut off at any of many places never ends in anything but a refusal."""
    whole = guest("hello", target).read_bytes()
    path = tmp_path / "program"
    path.touch(0o755)
    image = read_program(str(guest("hello", target)))
    needed = max(s.offset + s.filesz for s in image.loads)
    for size in [*range(0, 300, 7), *range(300, needed, needed // 50)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ExecError, match=r"truncated|past the end|not an ELF"):
            read_program(str(path))


@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
def test_damaged_headers(target: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytes changed in the headers: refused, or loaded; never another exception, and no RAM is taken for nothing."""
    program = bytearray(guest("hello", target).read_bytes())
    places = st.one_of(st.integers(0, 63), st.integers(0, 400))
    for _ in range(data.draw(st.integers(1, 6))):
        program[data.draw(places)] = data.draw(
            st.one_of(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)), st.integers(0, 255))
        )
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(program)
    path.chmod(0o755)
    try:
        Machine(memory=16 << 20).spawn(str(path), ["damaged"], [])
    except ExecError as problem:
        assert str(problem).startswith(f"{path}: ")
        assert "\n" not in str(problem)


def test_what_was_mapped_beyond_a_segment_goes_while_the_lock_is_held_for_write(tmp_path: Path) -> None:
    """vm_munmap gives the lock back as it took it, where munmap(2) takes it down to a reader's."""
    trace = tmp_path / "trace"
    record(trace, guest("exec_self", "x86_64-pie"))
    took: dict[int, list[int]] = {}
    for row in Trace(str(trace)).rows():
        if row[4] == Kind.SYS_ENTER and row[17] == "execve":
            took[row[3]] = []
        elif row[4] == Kind.EXEC and row[3] in took:
            break
        elif row[4] in (Kind.MMAP_LOCK_START_LOCKING, Kind.MMAP_LOCK_ACQUIRE_RETURNED) and row[3] in took:
            took[row[3]].append(row[4])
    (kinds,) = took.values()
    assert len(kinds) > 10 and len(kinds) == 2 * kinds.count(Kind.MMAP_LOCK_START_LOCKING)
