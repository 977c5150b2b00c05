# SPDX-License-Identifier: GPL-2.0-or-later
"""How often the dashboard draws, and how much time that takes; what a moment may be called."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from emu.trace.follow import Follower
from emu.ui.top import app
from emu.ui.top.app import BURST, FRAME, SHARE, Dashboard, parse_moment
from emu.ui.top.player import Player, Source
from tests.trace.synthetic import storm, write


@pytest.mark.timing
@pytest.mark.parametrize("heavy", [False, True])
def test_drawing_keeps_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heavy: bool) -> None:
    """Every frame differs. With pictures that take long, there are fewer."""
    write(tmp_path / "t", storm(2000))
    source = Source(Follower(str(tmp_path / "t")), growing=False)
    source.poll()
    player = Player(source, live=False)
    player.speed = 1_000_000
    if heavy:
        plain = app.draw

        def slow(*arguments: object) -> object:
            until = time.thread_time() + 0.06
            while time.thread_time() < until:
                pass
            return plain(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(app, "draw", slow)

    async def watch() -> tuple[int, float, float]:
        dashboard = Dashboard(player, "storm")
        async with dashboard.run_test(size=(120, 40)):
            begin = time.monotonic()
            await asyncio.sleep(4)
            return dashboard.frames, dashboard.draw_seconds, time.monotonic() - begin

    frames, spent, seconds = asyncio.run(watch())
    assert 3 <= frames <= seconds / FRAME + 2
    assert spent <= BURST + SHARE * seconds + 0.15
    if heavy:
        assert frames <= (BURST + SHARE * seconds) / 0.06 + 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.5ms", 1_500_000), ("20us", 20_000), ("20 µs", 20_000), ("7ns", 7), ("0.003", 3_000_000), (" 2s ", 2 * 10**9),
     ("40%", 400), ("", None), ("soon", None), ("-1", None), ("1e3", None), ("5m", None)],
)  # fmt: skip
def test_moments(text: str, expected: int | None) -> None:
    assert parse_moment(text, 1000) == expected
