# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernel work costs in virtual time."""

from __future__ import annotations


class Cost:
    """ns for each kind of work."""

    def __init__(self) -> None:
        self.fork = 25_000
