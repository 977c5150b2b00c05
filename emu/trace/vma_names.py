# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMAs of a trace by number, as they were last, read in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.address_space import VMA_STATE, Vma
from emu.trace.scan import of_kinds


class VmaNames:
    """The last range, flags and name of every VMA."""

    COLUMNS = ("kind", "vma", "address", "size", "flags", "text")

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []
        self._rows = 0

    def add(self, piece: pa.Table) -> None:
        """Take in a piece with COLUMNS; where it has `args` too, the address spaces are known."""
        found = of_kinds(piece, *sorted(VMA_STATE))
        if found.num_rows:
            mm = (
                [args[0] if args else 0 for args in found.column("args").to_pylist()]
                if "args" in piece.schema.names
                else [0] * found.num_rows
            )
            found = found.select(["seq", "vma", "address", "size", "flags", "text"])
            found = found.append_column("mm", pa.array(mm, pa.int64()))
            self._parts.append(_last(found))
            self._rows += self._parts[-1].num_rows
            if self._rows > 1 << 19:
                self._parts = [_last(pa.concat_tables(self._parts))]
                self._rows = self._parts[0].num_rows // 2

    def get(self, strings: Sequence[str]) -> dict[int, Vma]:
        """By serial number."""
        if not self._parts:
            return {}
        found = _last(pa.concat_tables(self._parts))
        columns = (found.column(name).to_pylist() for name in ("vma", "address", "size", "flags", "text", "mm"))
        return {
            vma: Vma(vma, start, start + size, flags, strings[text], mm=mm)
            for vma, start, size, flags, text, mm in zip(*columns)
        }


def _last(table: pa.Table) -> pa.Table:
    """Of each VMA the newest row."""
    newest = table.group_by("vma").aggregate([("seq", "max")]).column("seq_max")
    return table.filter(pc.is_in(table.column("seq"), value_set=newest))
