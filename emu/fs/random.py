# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's random numbers, the same in every run with the same seed (drivers/char/random.c)."""

from __future__ import annotations

import hashlib


class RandomPool:
    """A stream of bytes from a seed."""

    def __init__(self, seed: int) -> None:
        self._key = hashlib.sha256(b"mmscope random pool %d" % seed).digest()
        self._counter = 0

    def get_random_bytes(self, size: int) -> bytes:
        """The next `size` bytes."""
        blocks = []
        for _ in range((size + 63) // 64):
            blocks.append(hashlib.blake2b(self._counter.to_bytes(8, "little"), key=self._key).digest())
            self._counter += 1
        return b"".join(blocks)[:size]
