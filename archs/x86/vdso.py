# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO of x86-64: a small ELF image whose functions make the system call (arch/x86/entry/vdso, ELF gABI chapter 5).

The C library looks its functions up by name and version as in the kernel's own, so that a program takes the same way
through its own code and its heap. The clocks are virtual, and only the kernel knows them: there is no page to read
them from.
"""

from __future__ import annotations

import struct

from archs import elf_versions

SONAME = b"linux-vdso.so.1"
VERSION = b"LINUX_2.6"
FUNCTIONS = ((b"clock_gettime", 228), (b"gettimeofday", 96), (b"time", 201), (b"getcpu", 309), (b"clock_getres", 229))
_STB_GLOBAL_FUNC, _STB_WEAK_FUNC = 0x12, 0x22
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 4, 5, 6, 10, 11, 14
_DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD


class _Strings:
    """A string table in the making."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: bytes) -> int:
        where = len(self.data)
        self.data += text + b"\0"
        return where


def build() -> bytes:
    """The image: one page, mapped readable and executable."""
    strings = _Strings()
    soname, version = strings.add(SONAME), strings.add(VERSION)
    code = b""
    symbols: list[tuple[int, int, int]] = []  # name, binding and type, offset in the code
    for name, number in FUNCTIONS:
        symbols.append((strings.add(b"__vdso_" + name), _STB_GLOBAL_FUNC, len(code)))
        symbols.append((strings.add(name), _STB_WEAK_FUNC, len(code)))
        code += struct.pack("<BI", 0xB8, number) + b"\x0f\x05\xc3"  # mov eax, number; syscall; ret
        code += b"\xcc" * (-len(code) % 16)
    count = len(symbols) + 1

    verdef = elf_versions.verdef("<", (SONAME, soname), (VERSION, version))
    versym = elf_versions.versym("<", count)
    chains = [0, *range(2, count), 0]
    table = struct.pack(f"<II{1 + count}I", 1, count, 1, *chains[:count])

    at = 0x100
    places: dict[str, int] = {}
    for part, size in (
        ("dynamic", 10 * 16), ("hash", len(table)), ("dynsym", 24 * count), ("dynstr", len(strings.data)),
        ("versym", len(versym)), ("verdef", len(verdef)), ("text", len(code)),
    ):  # fmt: skip
        at = at + 15 & -16
        places[part] = at
        at += size
    end = at
    dynsym = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", name, info, 0, 1, places["text"] + offset, 8) for name, info, offset in symbols
    )
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (_DT_SONAME, soname), (_DT_HASH, places["hash"]), (_DT_STRTAB, places["dynstr"]),
            (_DT_SYMTAB, places["dynsym"]), (_DT_STRSZ, len(strings.data)), (_DT_SYMENT, 24),
            (_DT_VERDEF, places["verdef"]), (_DT_VERDEFNUM, 2), (_DT_VERSYM, places["versym"]), (0, 0),
        )
    )  # fmt: skip
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, places["text"], 64, 0, 0, 64, 56, 2, 64, 0, 0
    )
    phdrs = struct.pack("<IIQQQQQQ", _PT_LOAD, 5, 0, 0, 0, end, end, 4096)
    phdrs += struct.pack("<IIQQQQQQ", _PT_DYNAMIC, 4, *[places["dynamic"]] * 3, len(dynamic), len(dynamic), 8)
    image = bytearray(4096)
    for at, data in (
        (0, header), (64, phdrs), (places["dynamic"], dynamic), (places["hash"], table), (places["dynsym"], dynsym),
        (places["dynstr"], strings.data), (places["versym"], versym), (places["verdef"], verdef),
        (places["text"], code),
    ):  # fmt: skip
        image[at : at + len(data)] = data
    return bytes(image)
