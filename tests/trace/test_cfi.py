# SPDX-License-Identifier: GPL-2.0-or-later
"""DWARF expressions and call frame information."""

from __future__ import annotations

import io
import struct

import pytest
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.structs import DWARFStructs
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from emu.trace.cfi import CallFrames, Uncomputable, evaluate
from tests.guests import guest

PARSER = DWARFExprParser(DWARFStructs(little_endian=True, dwarf_format=32, address_size=8, dwarf_version=4))
MEMORY = {0x1000: 0x2000, 0x2000: 0x1122334455667788}


def run(code: str, first: int | None = None) -> int:
    def read(address: int, size: int) -> int | None:
        value = MEMORY.get(address)
        return None if value is None else value & (1 << 8 * size) - 1

    return evaluate(PARSER.parse_expr(list(bytes.fromhex(code))), {7: 0x1000, 16: 0x40100B}, read, 8, first)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("35", 5),  # lit5
        ("7708", 0x1008),  # breg7 +8
        ("7778", 0xFF8),  # breg7 -8
        ("92077f", 0xFFF),  # bregx 7 -1
        ("0a3412", 0x1234),  # const2u
        ("09ff", 0xFFFFFFFFFFFFFFFF),  # const1s -1
        ("770006", 0x2000),  # breg7, deref
        ("770006069402", None),
        ("770006940231220000"[:10], 0x7788),  # deref, deref_size 2
        ("77082308", 0x1010),  # plus_uconst
        ("34321e", 8),  # mul
        ("3432" + "1c", 2),  # minus
        ("09f0" + "32" + "26", 0xFFFFFFFFFFFFFFFC),  # -16 shra 2
        ("3534" + "2a", 1),  # 5 ge 4
        ("09ff" + "30" + "2d", 1),  # -1 lt 0: signed
        ("3132" + "16" + "1c", 1),  # swap, minus: 2 - 1
        ("3132" + "14", 1),  # over
        ("31" + "280100" + "35" + "37", 7),  # bra over lit5
    ],
)
def test_expressions(code: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(Uncomputable):
            run(code)
    else:
        assert run(code) == value


def test_the_plt_s_expression() -> None:
    """rsp + 8 + ((rip & 15) >= 11) * 8, as linkers write it."""
    assert run("7708" + "8000" + "3f1a3b2a3324" + "22") == 0x1008 + 8


@given(st.binary(max_size=24))
def test_any_bytes_give_a_value_or_nothing(code: bytes) -> None:
    try:
        operations = PARSER.parse_expr(list(code))
    except Exception:
        return
    try:
        value = evaluate(operations, {7: 0x1000}, lambda address, size: MEMORY.get(address), 8, 3)
    except Uncomputable:
        return
    assert 0 <= value < 1 << 64


def test_a_caller_by_hand() -> None:
    """At the entry of main the return address lies at rsp, on x86-64."""
    elf = ELFFile(io.BytesIO(guest("callers").read_bytes()))
    main = elf.get_section_by_name(".symtab").get_symbol_by_name("main")[0]["st_value"]
    frames = CallFrames(elf, 0x5000)
    memory = struct.pack("<QQ", 0x401234, 0xBEEF)

    def read(address: int, size: int) -> int | None:
        at = address - 0x7000
        return int.from_bytes(memory[at : at + size], "little") if 0 <= at <= len(memory) - size else None

    caller = frames.caller(main + 0x5000, {6: 0x99, 7: 0x7000, 16: 0}, read, 8, 7)
    assert caller is not None
    assert (caller[-1], caller[7], caller[6], caller[-2]) == (0x401234, 0x7008, 0x99, 0)
    assert frames.caller(main, {7: 0x7000}, read, 8, 7) is None  # not moved: nothing is known there
    assert frames.caller(main + 0x5000, {6: 0, 7: 0x9000}, read, 8, 7) is None  # no stack
