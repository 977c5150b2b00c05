# SPDX-License-Identifier: GPL-2.0-or-later
"""Which file a program's name on the command line means."""

from __future__ import annotations

import os


def find_program(name: str) -> str:
    """The file that a name without a slash means: one of this directory, else one that PATH leads to."""
    if "/" in name or os.path.exists(name):
        return name
    files = (os.path.join(directory, name) for directory in os.get_exec_path())
    return next((file for file in files if os.path.isfile(file) and os.access(file, os.X_OK)), name)
