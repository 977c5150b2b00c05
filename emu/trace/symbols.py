# SPDX-License-Identifier: GPL-2.0-or-later
"""From addresses to names of functions, source lines and code, by the file of the program that ran."""

from __future__ import annotations

import contextlib
import hashlib
from bisect import bisect_right
from copy import copy
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from emu.trace.escape import printable
from emu.trace.source_lines import ERRORS, SourceLines, debug_file

_MACHINES = {
    ("EM_X86_64", 64, True): "x86_64", ("EM_AARCH64", 64, True): "aarch64", ("EM_PPC64", 64, False): "powerpc64",
    ("EM_PPC64", 64, True): "powerpc64le", ("EM_PPC", 32, False): "powerpc",
}  # fmt: skip


class Symbols:
    """Functions of one program, by address. `note`: why there are none, or why they may be wrong; else None."""

    def __init__(self, bias: int = 0, path: str = "") -> None:
        self.bias = bias  # what was added to the addresses in the file
        self.path = path
        self.note: str | None = None
        self._starts: list[int] = []
        self._symbols: list[tuple[int, int, str]] = []  # start, size, name
        self._segments: list[tuple[int, bytes]] = []  # executable ones: address, content
        self._offsets: list[tuple[int, int, int]] = []  # of all that are loaded: offset in the file, size, address
        self._lines: SourceLines | None = None
        self.dynamic = False  # does it load libraries

    @classmethod
    def of_trace(cls, metadata: dict[str, Any], program: str | None = None) -> Symbols:
        """Those of the program that a trace's header names, or of the file `program` that stands for it."""
        path = str(metadata.get("program", "")) if program is None else program
        return cls.of_file(path, metadata.get("arch"), metadata.get("sha256"), given=program is not None)

    @classmethod
    def of_file(cls, path: str, arch: Any = None, sha256: Any = None, given: bool = False) -> Symbols:
        """Those of a file. `arch` and `sha256`: what it should be, where that is known. A file that the user has
        `given` may differ from the one that ran (an unstripped one does); the note then says so."""
        found = cls(path=path)
        shown = printable(path)
        try:
            with open(path, "rb") as file:
                changed = sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256
                file.seek(0)
                elf = None
                if changed:
                    with contextlib.suppress(*ERRORS):
                        elf = ELFFile(file)
                else:
                    elf = ELFFile(file)
                machine = _machine(elf) if elf is not None else None
                if arch is not None and elf is not None and machine != arch:
                    found.note = f"{shown} is for {machine}, the trace is of {printable(str(arch))}: no symbols"
                elif changed and not given:
                    found.note = f"{shown} has changed since it was recorded: no symbols"
                elif elf is None:
                    found.note = f"{shown} is no ELF file: no symbols"
                else:
                    if changed:
                        found.note = f"{shown} is not the file that was recorded: its symbols may be wrong"
                    found.load(elf)
        except OSError as error:
            found.note = f"{shown}: {error.strerror}: no symbols"
        except ERRORS:
            found.note = f"{shown}: its symbols cannot be read"
        return found

    def at(self, bias: int) -> Symbols:
        """The same file at another load bias; what was read from it is shared."""
        found = copy(self)
        found.bias = bias
        return found

    def load(self, elf: Any, own_only: bool = False) -> None:
        """Take the functions of an ELF file, and of the file with its debugging information unless `own_only`. ELFError
        and what else a damaged file raises."""
        for segment in elf.iter_segments():
            if segment["p_type"] == "PT_INTERP":
                self.dynamic = True
            if segment["p_type"] != "PT_LOAD":
                continue
            self._offsets.append((segment["p_offset"], segment["p_filesz"], segment["p_vaddr"]))
            if segment["p_flags"] & 1:
                self._segments.append((segment["p_vaddr"], segment.data()))
        functions: dict[int, tuple[int, str]] = {}
        self._read_functions(elf, elf, functions)
        if not own_only and elf.get_section_by_name(".symtab") is None:  # stripped: .dynsym has what others may call
            place = debug_file(elf, self.path)
            if place is not None and place != self.path:
                with open(place, "rb") as file:
                    self._read_functions(ELFFile(file), elf, functions)
        self._symbols = [(start, size, name) for start, (size, name) in sorted(functions.items())]
        self._starts = [start for start, _, _ in self._symbols]
        self._lines = SourceLines(self.path)

    def _read_functions(self, elf: Any, program: Any, functions: dict[int, tuple[int, str]]) -> None:
        descriptors = program.get_section_by_name(".opd") if program["e_machine"] == "EM_PPC64" else None
        table = descriptors.data() if descriptors is not None else b""
        for section in elf.iter_sections():
            if not isinstance(section, SymbolTableSection):
                continue
            for symbol in section.iter_symbols():
                if symbol["st_info"]["type"] not in ("STT_FUNC", "STT_GNU_IFUNC") or symbol["st_shndx"] == "SHN_UNDEF":
                    continue
                start = symbol["st_value"]
                if descriptors is not None and 0 <= start - descriptors["sh_addr"] < descriptors["sh_size"]:
                    at = start - descriptors["sh_addr"]  # ELFv1: the symbol is the function's descriptor
                    start = int.from_bytes(table[at : at + 8], "big")
                size = symbol["st_size"]
                if start not in functions or functions[start][0] < size:
                    functions[start] = size, symbol.name

    def lookup(self, ip: int) -> tuple[str, int] | None:
        """(function, offset in it) of an address."""
        at = ip - self.bias
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        start, size, name = self._symbols[index]
        if size and at >= start + size:
            return None
        if not size and not any(base <= at < base + len(data) for base, data in self._segments):
            return None
        return name, at - start

    def line(self, ip: int) -> tuple[str, int] | None:
        """(path of the source file, line) of an address, None where there is no debugging information for it."""
        return None if self._lines is None else self._lines.lookup(ip - self.bias)

    def code(self, ip: int, size: int) -> bytes:
        """Up to `size` bytes of code at an address, as the file has them; empty where it has none."""
        at = ip - self.bias
        for base, data in self._segments:
            if base <= at < base + len(data):
                return data[at - base : at - base + size]
        return b""

    def address_of_offset(self, offset: int) -> int:
        """The address in the file's own terms of what lies at a page-aligned offset in it."""
        for start, size, address in self._offsets:
            if start & -4096 <= offset < start + size:
                return address + offset - start
        return offset

    def address_of_code(self) -> int:
        """The address of the page where the first executable segment begins: what a mapping of code has whose offset is
        not known."""
        return self._segments[0][0] & -4096 if self._segments else 0

    def describe(self, ip: int) -> str:
        """function+0x12, or an empty string."""
        found = self.lookup(ip)
        return "" if found is None else f"{printable(found[0])}+{found[1]:#x}"


def _machine(elf: Any) -> str:
    """The name of a file's architecture, as traces have it."""
    key = elf["e_machine"], elf.elfclass, elf.little_endian
    return _MACHINES.get(key, f"{key[0]}, {key[1]}-bit, {'little' if key[2] else 'big'}-endian")
