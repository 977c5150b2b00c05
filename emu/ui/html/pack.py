# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns of numbers for the page: one compressed block of bytes, and a list of where each column lies in it.

A column is stored byte plane by byte plane, which compresses better; ascending columns as differences.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

from emu.ui.html.collect import Array

_LEVEL = 6


class Pack:
    """Collects columns; `directory` tells for each (offset, count, bytes a number, differences?)."""

    def __init__(self) -> None:
        self.directory: dict[str, list[int]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: Array, *, ascending: bool = False) -> None:
        """Store a column of integers from 0 to 2**53-1; `ascending`: it is sorted."""
        numbers = np.asarray(values).astype(np.uint64)
        if ascending and len(numbers):
            numbers = np.diff(numbers, prepend=np.uint64(0))
        top = int(numbers.max()) if len(numbers) else 0
        width = next(width for width in (1, 2, 3, 4, 5, 6, 7, 8) if top < 1 << 8 * width)
        planes = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T
        data = np.ascontiguousarray(planes).tobytes()
        self.directory[name] = [self._size, len(numbers), width, int(ascending)]
        self._parts.append(data)
        self._size += len(data)

    def base64(self) -> str:
        """All columns, compressed (zlib) and in base64."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), _LEVEL)).decode()


def script_json(value: Any) -> str:
    """JSON that may stand inside a <script> element: nothing in it can end the element or a line of it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
