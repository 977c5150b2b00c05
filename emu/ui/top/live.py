# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings what a running guest records to the player."""

from __future__ import annotations

import pyarrow as pa

from emu.trace.live import decode_tail
from emu.ui.top.guest import Guest
from emu.ui.top.player import Player


class Live:
    """Takes the recorder's datagrams into the player's source."""

    def __init__(self, guest: Guest, player: Player) -> None:
        self.guest = guest
        self.player = player

    def update(self) -> None:
        """Take what has come; see whether the guest has ended."""
        source = self.player.source
        ended = self.guest.poll() is not None  # first: nothing comes behind it
        while self.guest.datagrams:
            try:
                events, clock, first, batch = decode_tail(self.guest.datagrams.popleft())
            except (ValueError, pa.ArrowException):
                continue
            source.clock = max(source.clock, clock)
            source.total = max(source.total, events)
            if batch is not None:
                source.add_tail(first, batch)
        if ended and source.growing:
            source.finish()
