# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO of PowerPC: an ELF image with the signal trampolines and with what unwinders must know of them
(arch/powerpc/kernel/vdso/sigtramp64.S, sigtramp32.S; LSB core chapter 10.6, DWARF 4 chapter 6.4).

C++ exceptions, thread cancellation and backtraces go through a signal's frame by this: for each register an expression
that finds where the kernel saved it. The clocks are system calls.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from archs import elf_versions
from archs.powerpc import signal

EM_PPC, EM_PPC64 = 20, 21
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_EH_FRAME = 1, 2, 0x6474E550
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 4, 5, 6, 10, 11, 14
_DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_VERSION = b"LINUX_2.6.15"
_STB_GLOBAL_FUNC = 0x12
# DWARF numbers: 0 to 31 general, 32 to 63 floating point, 65 link, 67 stands for the place to go on at, 70 CR2.
_LINK, _NIP, _CR2 = 65, 67, 70
_DW_CFA_EXPRESSION, _DW_CFA_DEF_CFA_EXPRESSION = 0x10, 0x0F
_DW_OP_BREG1, _DW_OP_DEREF, _DW_OP_PLUS_UCONST = 0x71, 0x06, 0x23
_NOP = 0x6000_0000
_PCREL_SDATA4, _UDATA4, _DATAREL_SDATA4 = 0x1B, 0x03, 0x3B


@dataclass(frozen=True)
class Trampoline:
    """Code that a handler returns to. `regs`: where, from the stack pointer with which it does, the pointer to the
    saved registers lies. `entry`: words before that code; an unwinder looks for the caller of a return address just
    before it."""

    name: bytes
    words: tuple[int, ...]
    regs: int
    entry: int = 0


TRAMPOLINES_64 = (
    Trampoline(b"__kernel_sigtramp_rt64", signal.TRAMPOLINE_64, signal.SIGNAL_FRAMESIZE_64 + signal.UC64_REGS),
)
TRAMPOLINES_32 = (
    Trampoline(
        b"__kernel_sigtramp32", (_NOP, *signal.TRAMPOLINE_32[:2]), signal.SIGNAL_FRAMESIZE_32 + signal.SIG32_REGS, 1
    ),
    Trampoline(
        b"__kernel_sigtramp_rt32",
        (_NOP, *signal.TRAMPOLINE_32[2:]),
        signal.SIGNAL_FRAMESIZE_32 + 16 + signal.RT32_UC + signal.UC32_REGS,
        1,
    ),
)


def _uleb(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def _sleb(value: int) -> bytes:
    """Of a number that is not negative."""
    out = _uleb(value)
    return out if not out[-1] & 0x40 else out[:-1] + bytes((out[-1] | 0x80, 0))


def _saved(regs: int, offset: int) -> bytes:
    """The address of a saved register, as a DWARF expression."""
    code = bytes((_DW_OP_BREG1,)) + _sleb(regs) + bytes((_DW_OP_DEREF,))
    return code + (bytes((_DW_OP_PLUS_UCONST,)) + _uleb(offset) if offset else b"")


def _rules(regs: int, wide: bool) -> bytes:
    """Where the registers of the interrupted code are: the CFA is its stack pointer."""
    word = 8 if wide else 4
    cfa = _saved(regs, word) + bytes((_DW_OP_DEREF,))
    out = bytes((_DW_CFA_DEF_CFA_EXPRESSION,)) + _uleb(len(cfa)) + cfa
    places = [(number, number * word) for number in range(32) if number != 1]
    places += [(32 + number, 48 * word + 8 * number) for number in range(32)]
    places += [(_NIP, 32 * word), (_LINK, 36 * word), (_CR2, 38 * word + word - 4)]
    for number, offset in places:
        expression = _saved(regs, offset)
        out += bytes((_DW_CFA_EXPRESSION,)) + _uleb(number) + _uleb(len(expression)) + expression
    return out


def build(order: str, wide: bool) -> tuple[bytes, dict[bytes, int]]:
    """The image, one page, and the offsets of the trampolines in it."""
    trampolines = TRAMPOLINES_64 if wide else TRAMPOLINES_32
    word = "Q" if wide else "I"
    strings = b"\0"
    names = []
    soname = b"linux-vdso64.so.1" if wide else b"linux-vdso32.so.1"
    for string in (soname, *(t.name for t in trampolines), _VERSION):
        names.append(len(strings))
        strings += string + b"\0"
    count = len(trampolines) + 1
    table = struct.pack(f"{order}{3 + count}I", 1, count, 1, 0, *range(2, count), 0)

    image = bytearray(4096)
    at = 0x100

    def place(data: bytes, alignment: int = 16) -> int:
        nonlocal at
        start = at + alignment - 1 & -alignment
        image[start : start + len(data)] = data
        at = start + len(data)
        return start

    hashes, strtab = place(table), place(strings)
    verdef = place(elf_versions.verdef(order, (soname, names[0]), (_VERSION, names[-1])))
    versym = place(elf_versions.versym(order, count))
    offsets = {}
    text = at + 15 & -16
    for trampoline in trampolines:
        offsets[trampoline.name] = place(struct.pack(f"{order}{len(trampoline.words)}I", *trampoline.words), 4)

    cie_at = at + 7 & -8
    cie = struct.pack(order + "IIB", 0, 0, 1) + b"zRS\0" + _uleb(4) + b"\x78" + _uleb(_NIP) + _uleb(1)
    cie += bytes((_PCREL_SDATA4,))
    cie += bytes(-len(cie) % 8)
    place(struct.pack(order + "I", len(cie) - 4) + cie[4:], 8)
    entries = []
    for trampoline in trampolines:
        start = at
        code = offsets[trampoline.name]
        body = struct.pack(order + "IiI", start + 4 - cie_at, code - (start + 8), 4 * len(trampoline.words)) + b"\0"
        body += _rules(trampoline.regs, wide)
        body += bytes(-(len(body) + 4) % 8)
        entries.append((code, start))
        place(struct.pack(order + "I", len(body)) + body, 1)
    place(bytes(4), 1)
    header_at = at + 3 & -4
    header = bytes((1, _PCREL_SDATA4, _UDATA4, _DATAREL_SDATA4))
    header += struct.pack(order + "iI", cie_at - (header_at + 4), len(entries))
    for code, start in sorted(entries):
        header += struct.pack(order + "ii", code - header_at, start - header_at)
    place(header, 4)

    symbols = bytes(24 if wide else 16)
    for index, trampoline in zip(names[1:-1], trampolines):
        value, size = offsets[trampoline.name], 4 * len(trampoline.words)
        if wide:
            symbols += struct.pack(order + "IBBHQQ", index, _STB_GLOBAL_FUNC, 0, 1, value, size)
        else:
            symbols += struct.pack(order + "IIIBBH", index, value, size, _STB_GLOBAL_FUNC, 0, 1)
    dynsym = place(symbols)
    tags = (
        (_DT_SONAME, names[0]), (_DT_HASH, hashes), (_DT_STRTAB, strtab), (_DT_SYMTAB, dynsym),
        (_DT_STRSZ, len(strings)), (_DT_SYMENT, 24 if wide else 16), (_DT_VERSYM, versym), (_DT_VERDEF, verdef),
        (_DT_VERDEFNUM, 2), (0, 0),
    )  # fmt: skip
    dynamic = b"".join(struct.pack(f"{order}2{word}", *pair) for pair in tags)
    dynamic_at = place(dynamic)

    segments = (
        (_PT_LOAD, 5, 0, at, 4096),
        (_PT_DYNAMIC, 4, dynamic_at, len(dynamic), 8),
        (_PT_GNU_EH_FRAME, 4, header_at, len(header), 4),
    )
    phdrs = b""
    for kind, access, offset, size, alignment in segments:
        if wide:
            phdrs += struct.pack(order + "IIQQQQQQ", kind, access, offset, offset, offset, size, size, alignment)
        else:
            phdrs += struct.pack(order + "IIIIIIII", kind, offset, offset, offset, size, size, access, alignment)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1))
    e_flags = (2 if order == "<" else 1) if wide else 0
    header_size, entry_size = (64, 56) if wide else (52, 32)
    ehdr = struct.pack(
        f"{order}16sHHI3{word}IHHHHHH", ident, 3, EM_PPC64 if wide else EM_PPC, 1, text, header_size, 0, e_flags,
        header_size, entry_size, len(segments), 0, 0, 0,
    )  # fmt: skip
    image[: len(ehdr)] = ehdr
    image[header_size : header_size + len(phdrs)] = phdrs
    return bytes(image), {t.name: offsets[t.name] + 4 * t.entry for t in trampolines}
