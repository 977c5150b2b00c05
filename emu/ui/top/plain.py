# SPDX-License-Identifier: GPL-2.0-or-later
"""top without a terminal: a line of figures from time to time, and the guest's own lines behind a bar."""

from __future__ import annotations

import sys
import time

from emu.tracepoint import Path
from emu.ui.top.guest import Guest, harmless
from emu.ui.top.lines import count, duration, seconds
from emu.ui.top.live import Live
from emu.ui.top.model import Model
from emu.ui.top.player import Player
from emu.ui.top.totals import Filter, totals
from emu.ui.top.views import kind_name, share

PERIOD = 1.0  # seconds of the host between two lines
REPLAY_LINES = 10


def line(model: Model, clock: float) -> str:
    """The figures of a moment."""
    found = totals(model, Filter(), max(clock, float(model.now)))
    kinds = sorted(found.by_kind.items(), key=lambda item: -item[1])[:4]
    waits = [lock.waits for lock in model.locks.values()]
    parts = [
        f"{seconds(found.span)} s",
        f"{model.events} events",
        f"{found.faults} faults ({count(found.recent(found.history))}/s)",
        "vma_lock " + share(found.by_path.get(int(Path.VMA_LOCK), 0), found.faults),
        "mmap_lock "
        + share(sum(found.by_path.get(int(p), 0) for p in (Path.MMAP_LOCK, Path.MMAP_LOCK_WRITE)), found.faults),
        f"retries {found.retries}",
        f"waits {sum(w.count for w in waits)} ({duration(sum(w.total for w in waits))})",
        ", ".join(f"{kind_name(*key)} {number}" for key, number in kinds),
    ]
    return "  ".join(part for part in parts if part)


class _Prefixed:
    """Prints what a guest prints line by line."""

    def __init__(self) -> None:
        self._rest = b""

    def show(self, data: bytes, last: bool = False) -> None:
        """Print the complete lines, with `last` the rest as well."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if last and self._rest:
            whole.append(self._rest)
            self._rest = b""
        for text in whole:
            print(f"| {harmless(text.decode('utf-8', 'backslashreplace'))}")


def watch(live: Live, guest: Guest) -> None:
    """Follow a guest to its end."""
    prefixed = _Prefixed()
    player = live.player
    following = time.monotonic() + PERIOD
    while guest.poll() is None:
        live.update()
        player.tick(0.05, 0.05)
        prefixed.show(guest.take_output())
        if time.monotonic() >= following:
            following += PERIOD
            print(line(player.model, player.clock))
        sys.stdout.flush()
        time.sleep(0.05)
    live.update()
    while not player.at_end:
        player.tick(0.0, 1.0)
    prefixed.show(guest.take_output(), last=True)
    print(line(player.model, player.clock))
    sys.stdout.flush()


def replay(player: Player) -> None:
    """Print figures at REPLAY_LINES moments of a trace."""
    end = player.source.end_time()
    for part in range(1, REPLAY_LINES + 1):
        player.seek(end * part // REPLAY_LINES)
        while player.seeking:
            player.tick(0.0, 1.0)
        print(line(player.model, player.clock))
        sys.stdout.flush()
