# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the headers of an ELF program and refuses what cannot be run, with one line that says why."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from errno import ELIBBAD, ENOEXEC

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
EXSTACK_DEFAULT, EXSTACK_DISABLE_X, EXSTACK_ENABLE_X = 0, 1, 2
PATH_MAX = 4096
_PAGE = 4096
_TYPES = {0: "no file type", 1: "an object file", 4: "a core dump"}


class ExecError(Exception):
    """A program that cannot be run: one line that names the file and the reason. `errno` is what execve gives for
    it."""

    def __init__(self, text: str, errno: int = ENOEXEC) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True)
class Segment:
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True)
class ElfImage:
    """What exec must know of a program."""

    path: str
    machine: int
    elf_class: int  # 32 or 64
    big_endian: bool
    flags: int
    type: int  # ET_EXEC or ET_DYN
    entry: int
    phoff: int
    phentsize: int
    segments: tuple[Segment, ...]
    interpreter: bytes | None = None  # PT_INTERP: the program that loads the libraries, and is entered first

    @property
    def executable_stack(self) -> int:
        """What PT_GNU_STACK asks for: EXSTACK_*."""
        wanted = EXSTACK_DEFAULT
        for s in self.segments:
            if s.type == PT_GNU_STACK:
                wanted = EXSTACK_ENABLE_X if s.flags & PF_X else EXSTACK_DISABLE_X
        return wanted

    @property
    def loads(self) -> list[Segment]:
        """The segments to map, in file order."""
        return [s for s in self.segments if s.type == PT_LOAD]


def read_program(path: str) -> ElfImage:
    """Open and check a program. ExecError says what is wrong with it."""
    try:
        mode = os.stat(path)
        if stat.S_ISDIR(mode.st_mode):
            raise ExecError(f"{path}: is a directory")
        if not stat.S_ISREG(mode.st_mode):  # opening a FIFO or a device may block or do something
            raise ExecError(f"{path}: is no regular file")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the name holds a null byte"
        raise ExecError(f"{path}: {reason}") from None
    with open(fd, "rb") as f:
        if not mode.st_mode & 0o111:
            raise ExecError(f"{path}: permission denied (not executable)")

        def read(offset: int, count: int) -> bytes:
            f.seek(offset)
            return f.read(count)

        image = parse_program(path, mode.st_size, read)
        _check_segments(image, mode.st_size)
        return image


def parse_program(path: str, size: int, read: Callable[[int, int], bytes]) -> ElfImage:
    """Read the headers of a program of `size` bytes, as load_elf_binary does before it changes anything: whether the
    segments can be mapped is seen when they are. `read(offset, count)` gives what there is of a part of the file.
    ExecError says what is wrong."""
    head = read(0, 64)
    if head[:4] != b"\x7fELF":
        raise ExecError(f"{path}: is not an ELF program")
    if len(head) < 52 or (head[4] == 2 and len(head) < 64):
        raise ExecError(f"{path}: truncated within the ELF header")
    if head[4] not in (1, 2) or head[5] not in (1, 2):
        raise ExecError(f"{path}: ELF class {head[4]} with byte order {head[5]} is unknown")
    wide = head[4] == 2
    order = "<" if head[5] == 1 else ">"
    kind, machine, version = struct.unpack_from(f"{order}HHI", head, 16)
    layout = f"{order}QQQIHHH" if wide else f"{order}IIIIHHH"
    entry, phoff, _shoff, flags, _ehsize, phentsize, phnum = struct.unpack_from(layout, head, 24)
    if version != 1:
        raise ExecError(f"{path}: ELF version {version} is unknown")
    if kind not in (ET_EXEC, ET_DYN):
        raise ExecError(f"{path}: is {_TYPES.get(kind, f'an ELF file of type {kind}')}, not a program")
    if phentsize != (56 if wide else 32):
        raise ExecError(f"{path}: program headers of {phentsize} bytes (should be {56 if wide else 32})")
    if not 0 < phnum <= 65536 // phentsize:
        raise ExecError(f"{path}: {phnum} program headers")
    if phoff > size or phoff + phnum * phentsize > size:
        raise ExecError(f"{path}: truncated: its program headers lie past the end of the file")
    table = read(phoff, phnum * phentsize)
    if len(table) < phnum * phentsize:
        raise ExecError(f"{path}: truncated within its program headers")
    segments = []
    for i in range(phnum):
        at = i * phentsize
        if wide:
            t, fl, off, va, _pa, fsz, msz, align = struct.unpack_from(f"{order}IIQQQQQQ", table, at)
        else:
            t, off, va, _pa, fsz, msz, fl, align = struct.unpack_from(f"{order}IIIIIIII", table, at)
        segments.append(Segment(t, fl, off, va, fsz, msz, align))
    image = ElfImage(
        path, machine, 64 if wide else 32, order == ">", flags, kind, entry, phoff, phentsize, tuple(segments)
    )
    name = next((_interpreter(path, s, size, read) for s in segments if s.type == PT_INTERP), None)
    return image if name is None else replace(image, interpreter=name)


def _interpreter(path: str, segment: Segment, size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The name in a PT_INTERP segment."""
    if segment.offset + segment.filesz > size:
        raise ExecError(f"{path}: truncated: the name of its interpreter lies past the end of the file")
    name = read(segment.offset, segment.filesz) if 2 <= segment.filesz <= PATH_MAX else b""
    if not name.endswith(b"\0"):
        raise ExecError(f"{path}: the name of its interpreter is no string")
    return name.partition(b"\0")[0]


def check_interpreter(image: ElfImage, program: ElfImage) -> None:
    """An interpreter must be made for the program's machine."""
    same = (program.machine, program.elf_class, program.big_endian)
    if (image.machine, image.elf_class, image.big_endian) != same:
        raise ExecError(f"{program.path}: its interpreter {image.path} is made for another machine", ELIBBAD)


def _check_segments(image: ElfImage, size: int) -> None:
    """What would end the machine's first program at once."""
    path = image.path
    loads = image.loads
    if not loads:
        raise ExecError(f"{path}: has nothing to load")
    limit = 1 << (64 if image.elf_class == 64 else 32)
    last = 0
    for n, s in enumerate(loads):
        where = f"{path}: load segment {n} at {s.vaddr:#x}"
        if s.filesz > s.memsz:
            raise ExecError(f"{where}: larger in the file ({s.filesz:#x}) than in memory ({s.memsz:#x})")
        if s.offset + s.filesz > size:
            raise ExecError(f"{where}: truncated: it ends at {s.offset + s.filesz:#x}, past the end of the file")
        if s.vaddr + s.memsz > limit:
            raise ExecError(f"{where}: {s.memsz:#x} bytes reach past the end of the address space")
        if (s.vaddr - s.offset) % _PAGE:
            raise ExecError(f"{where}: file offset {s.offset:#x} and address differ within a page")
        if s.align & (s.align - 1):
            raise ExecError(f"{where}: alignment {s.align:#x} is no power of two")
        if s.vaddr < last:
            raise ExecError(f"{where}: overlaps the segment before it or is out of order")
        last = s.vaddr + s.memsz
    if not any(s.vaddr <= image.entry < s.vaddr + s.memsz for s in loads):
        raise ExecError(f"{path}: entry point {image.entry:#x} is outside of every load segment")


def check_target(image: ElfImage, task_size: int, flags_ok: bool) -> None:
    """What depends on the architecture: addresses in user space, known flags."""
    for n, s in enumerate(image.loads):
        if s.memsz > task_size or s.vaddr > task_size - s.memsz:
            raise ExecError(f"{image.path}: load segment {n} at {s.vaddr:#x} is not in user space")
    if not flags_ok:
        raise ExecError(f"{image.path}: ELF flags {image.flags:#x} are unknown for its machine")
