# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-copy-update (kernel/rcu): read-side sections and callbacks after a grace period.

With one task a grace period ends as soon as no read-side section is open.
"""

from __future__ import annotations

from collections.abc import Callable


class Rcu:
    """One RCU domain. `nesting` counts open read-side sections; the fault path changes it in place."""

    __slots__ = ("_callbacks", "nesting")

    def __init__(self) -> None:
        self.nesting = 0
        self._callbacks: list[Callable[[], None]] = []

    def call_rcu(self, function: Callable[[], None]) -> None:
        """Call `function` after all read-side sections that are open now have ended."""
        self._callbacks.append(function)

    def quiescent(self) -> None:
        """Run callbacks whose grace period is over; called where no task is inside a read-side section."""
        assert self.nesting == 0, "a task left the kernel inside rcu_read_lock"
        if self._callbacks:
            ready, self._callbacks = self._callbacks, []
            for function in ready:
                function()
