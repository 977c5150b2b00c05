# SPDX-License-Identifier: GPL-2.0-or-later
"""What mmscope itself says on stderr."""

from __future__ import annotations

import sys

from emu.trace.escape import printable


class Failure(Exception):
    """What went wrong, where, and what to do, in one line: for stderr, with status 2."""


def tell(text: str) -> None:
    """One line on stderr. Names in it may be chosen by a guest: nothing of them reaches the terminal raw."""
    sys.stderr.write(f"mmscope: {printable(text)}\n")
