from __future__ import annotations

from emu.mm.mm_types import mm_struct


def dup_mm(oldmm: mm_struct) -> mm_struct | None:
    return None
