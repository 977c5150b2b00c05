# SPDX-License-Identifier: GPL-2.0-or-later
"""From addresses to names of functions, by the symbol tables of the program that ran."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from emu.trace.escape import printable


class Symbols:
    """Functions of one program, by address. `note`: why there are none, or why they may be wrong; else None."""

    def __init__(self, bias: int = 0) -> None:
        self.bias = bias  # what was added to the addresses in the file
        self.note: str | None = None
        self._starts: list[int] = []
        self._symbols: list[tuple[int, int, str]] = []  # start, size, name

    @classmethod
    def of_trace(cls, metadata: dict[str, Any], bias: int) -> Symbols:
        """Those of the program that a trace's header names."""
        found = cls(bias)
        path = str(metadata.get("program", ""))
        try:
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != metadata.get("sha256"):
                    found.note = f"{printable(path)} has changed since it was recorded: no symbols"
                    return found
                file.seek(0)
                found.load(ELFFile(file))
        except OSError as error:
            found.note = f"{printable(path)}: {error.strerror}: no symbols"
        except (ELFError, ValueError, KeyError, AttributeError, UnicodeError, TypeError):
            found.note = f"{printable(path)}: its symbols cannot be read"
        return found

    def load(self, elf: Any) -> None:
        """Take the functions of an ELF file. ELFError and what else a damaged file raises."""
        functions: dict[int, tuple[int, str]] = {}
        descriptors = elf.get_section_by_name(".opd") if elf["e_machine"] == "EM_PPC64" else None
        for section in elf.iter_sections():
            if not isinstance(section, SymbolTableSection):
                continue
            for symbol in section.iter_symbols():
                if symbol["st_info"]["type"] not in ("STT_FUNC", "STT_GNU_IFUNC") or symbol["st_shndx"] == "SHN_UNDEF":
                    continue
                start = symbol["st_value"]
                if descriptors is not None and 0 <= start - descriptors["sh_addr"] < descriptors["sh_size"]:
                    at = start - descriptors["sh_addr"]  # ELFv1: the symbol is the function's descriptor
                    start = int.from_bytes(descriptors.data()[at : at + 8], "big")
                size = symbol["st_size"]
                if start not in functions or functions[start][0] < size:
                    functions[start] = size, symbol.name
        self._symbols = [(start, size, name) for start, (size, name) in sorted(functions.items())]
        self._starts = [start for start, _, _ in self._symbols]

    def starts(self) -> list[int]:
        """Where functions begin, in order."""
        return [start + self.bias for start in self._starts]

    def lookup(self, ip: int) -> tuple[str, int] | None:
        """(function, offset in it) of an address."""
        at = ip - self.bias
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        start, size, name = self._symbols[index]
        if size and at >= start + size:
            return None
        return name, at - start

    def describe(self, ip: int) -> str:
        """function+0x12, or an empty string."""
        found = self.lookup(ip)
        return "" if found is None else f"{printable(found[0])}+{found[1]:#x}"
