# SPDX-License-Identifier: GPL-2.0-or-later
"""Standard streams that were closed when the command began (`mmscope ... >&-`)."""

from __future__ import annotations

import os
import sys

_closed: set[int] = set()


def claim_closed_streams() -> None:
    """Fill closed descriptors among 0, 1 and 2, so that no file of ours gets their number and a guest's output with
    it. What is written to standard output fails with EBADF, as it would; what would be said on stderr is lost."""
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            _closed.add(fd)
            os.open(os.devnull, mode)  # the lowest number that is free is this one
    # None here is what Python makes of a closed one.
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def for_guest() -> tuple[int, int, int]:
    """The guest's standard streams: the command's own, -1 for one that was closed."""
    a, b, c = (-1 if fd in _closed else fd for fd in range(3))
    return a, b, c
