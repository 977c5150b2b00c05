# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the debug information of the C library out of a program, which names the place where the compiler is installed.

What is loaded stays byte for byte; behind it come the symbols of functions and objects alone.
"""

from __future__ import annotations

import io
import struct

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

SHF_ALLOC = 2
SHT_SYMTAB, SHT_STRTAB = 2, 3


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        where = len(self.data)
        self.data += text.encode() + b"\0"
        return where


def strip_debug(program: bytes) -> bytes:
    """The program without debug sections; ValueError when its sections lie in an order that cannot be kept."""
    elf = ELFFile(io.BytesIO(program))
    wide = elf.elfclass == 64
    order = "<" if elf.little_endian else ">"
    header = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    symbol_layout = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    sections = list(elf.iter_sections())
    kept = [s for s in sections if s.name == "" or s["sh_flags"] & SHF_ALLOC]
    if sections[: len(kept)] != kept:
        raise ValueError("a section that is loaded lies behind one that is not")
    end = max(s["p_offset"] + s["p_filesz"] for s in elf.iter_segments() if s["p_type"] == "PT_LOAD")

    names, texts = _Strings(), _Strings()
    symbols = [bytes(symbol_layout.size)]
    for section in sections:
        if not isinstance(section, SymbolTableSection) or section["sh_type"] != "SHT_SYMTAB":
            continue
        for s in section.iter_symbols():
            info, at = s["st_info"], s["st_shndx"]
            if info["type"] not in ("STT_FUNC", "STT_OBJECT") or not isinstance(at, int):
                continue
            kind = (2 if info["type"] == "STT_FUNC" else 1) | 1 << 4
            other = s.entry.st_other
            raw = other["local"] << 5 if isinstance(other["local"], int) else 0
            name, value, size = texts.add(s.name), s["st_value"], s["st_size"]
            packed = (name, kind, raw, at, value, size) if wide else (name, value, size, kind, raw, at)
            symbols.append(symbol_layout.pack(*packed))
    table = b"".join(symbols)

    headers = []
    for index, section in enumerate(kept):
        fields = list(header.unpack_from(program, elf["e_shoff"] + index * header.size))
        fields[0] = names.add(section.name) if section.name else 0
        headers.append(fields)
    symtab_name, strtab_name, shstrtab_name = (names.add(n) for n in (".symtab", ".strtab", ".shstrtab"))
    body = bytearray(program[:end])

    def place(data: bytes) -> int:
        body.extend(bytes(-len(body) % 8))
        where = len(body)
        body.extend(data)
        return where

    count = len(kept)
    at = place(table)
    headers.append([symtab_name, SHT_SYMTAB, 0, 0, at, len(table), count + 1, 1, 8, symbol_layout.size])
    at = place(texts.data)
    headers.append([strtab_name, SHT_STRTAB, 0, 0, at, len(texts.data), 0, 0, 1, 0])
    at = place(names.data)
    headers.append([shstrtab_name, SHT_STRTAB, 0, 0, at, len(names.data), 0, 0, 1, 0])
    at = place(b"".join(header.pack(*h) for h in headers))
    if wide:
        struct.pack_into(order + "Q", body, 40, at)
        struct.pack_into(order + "HHH", body, 58, header.size, len(headers), count + 2)
    else:
        struct.pack_into(order + "I", body, 32, at)
        struct.pack_into(order + "HHH", body, 46, header.size, len(headers), count + 2)
    return bytes(body)
