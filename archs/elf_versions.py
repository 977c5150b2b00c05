# SPDX-License-Identifier: GPL-2.0-or-later
"""Symbol versions of the images that the vDSOs are (ELF gABI chapter 5, LSB core chapter 10.7)."""

from __future__ import annotations

import struct

VER_DEFINED = 2  # the index of the version that a vDSO's symbols have


def elf_hash(name: bytes) -> int:
    """The hash function of DT_HASH and of symbol versions."""
    value = 0
    for char in name:
        value = (value << 4) + char
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def verdef(order: str, soname: tuple[bytes, int], version: tuple[bytes, int]) -> bytes:
    """DT_VERDEF with the two definitions that each vDSO has: the image's own name, and the version of its symbols.
    Names come with their places in the string table."""
    table = b""
    for number, flags, (name, place), following in ((1, 1, soname, 28), (VER_DEFINED, 0, version, 0)):
        table += struct.pack(order + "HHHHIIIII", 1, flags, number, 1, elf_hash(name), 20, following, place, 0)
    return table


def versym(order: str, symbols: int) -> bytes:
    """DT_VERSYM of a symbol table with this many symbols, the empty one included."""
    return struct.pack(f"{order}{symbols}H", 0, *[VER_DEFINED] * (symbols - 1))
