# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that a guest chose, made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Control characters, escapes among them, as \\x1b and the like; a backslash as two."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        "\\\\" if c == "\\" else c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )
