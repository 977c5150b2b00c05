# SPDX-License-Identifier: GPL-2.0-or-later
"""How often the dashboard draws, and how much time that takes; what a moment may be called."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from textual.geometry import Size

from emu.trace.follow import Follower
from emu.ui.top import app
from emu.ui.top.app import FIRST_COST, FRAME, SHARE, Dashboard, parse_moment
from emu.ui.top.guest import Guest
from emu.ui.top.model import Model
from emu.ui.top.player import Player, Source
from emu.ui.top.totals import Filter, totals
from emu.ui.top.views import View, thread_rows
from tests.trace.synthetic import storm, write


class Stub:
    """A guest that runs until it is given a status."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.printed = 0
        self.datagrams: deque[bytes] = deque()
        self.sizes: list[tuple[int, int]] = []

    def poll(self) -> int | None:
        return self.status

    def lines(self) -> list[str]:
        return []

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@pytest.mark.timing
@pytest.mark.parametrize("pictures", ["plain", "slow", "free"])
def test_drawing_keeps_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: str) -> None:
    """Every frame differs. With pictures that take long there are fewer, and however little they take no more than ten
    a second."""
    heavy = pictures == "slow"
    if pictures == "free":
        monkeypatch.setattr(app, "SHARE", 10.0)
    write(tmp_path / "t", storm(2000))
    source = Source(Follower(str(tmp_path / "t")), growing=False)
    source.poll()
    player = Player(source, live=False)
    player.speed = 1_000_000
    if heavy:
        plain = app.draw

        def slow(*arguments: object) -> object:
            busy(0.06)
            return plain(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(app, "draw", slow)

    async def watch() -> tuple[int, float, float]:
        dashboard = Dashboard(player, "storm")
        async with dashboard.run_test(size=(120, 40)):
            begin = time.monotonic()
            await asyncio.sleep(4)
            while dashboard.frames < 3 and time.monotonic() < begin + 30:  # a slow host: a picture takes its time
                await asyncio.sleep(0.5)
            return dashboard.frames, dashboard.draw_seconds, time.monotonic() - begin

    frames, spent, seconds = asyncio.run(watch())
    assert 3 <= frames <= 10 * seconds + 2
    if pictures == "free":
        assert frames > 5 * seconds
        return
    assert spent <= 0.05 * seconds + 0.2  # the first pictures come at once
    if heavy:
        assert frames <= SHARE * seconds / 0.06 + 3


@pytest.mark.timing
@pytest.mark.parametrize("slow", ["feed", "draw", "both"])
def test_a_run_is_not_held_up_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    """More events than there is time to read, or pictures that take long: the share of the run's time is kept, neither
    of both waits for ever, the picture says that it is behind, and when the guest has ended all is read."""
    rows = storm(50_000)
    write(tmp_path / "t", rows)
    source = Source(Follower(str(tmp_path / "t")), growing=True)
    source.total = len(rows)  # as the recorder tells
    player = Player(source, live=True)
    guest = Stub()
    feed, draw = Model.feed, app.draw

    def slow_feed(model: Model, piece: pa.RecordBatch) -> None:
        busy(0.03)
        feed(model, piece)

    def slow_draw(*arguments: Any) -> Any:
        busy(0.06 if slow == "both" else 0.03)
        return draw(*arguments)

    if slow != "draw":
        monkeypatch.setattr(Model, "feed", slow_feed)
    if slow != "feed":
        monkeypatch.setattr(app, "draw", slow_draw)

    async def watch() -> None:
        dashboard = Dashboard(player, "storm", cast(Guest, guest))
        async with dashboard.run_test(size=(120, 40)):
            begin, used = time.monotonic(), time.process_time()
            events = frames = 0
            # One piece or one picture may cost more than the share of seconds: the host decides.
            while time.monotonic() < begin + 4 or player.model.events == events or dashboard.frames == frames:
                assert time.monotonic() < begin + 60
                await asyncio.sleep(0.1)
                source.clock += 1000  # the machine runs, so each picture differs
                if not frames and dashboard.frames >= 2:
                    events, frames = player.model.events, dashboard.frames
            seconds = time.monotonic() - begin
            assert (time.process_time() - used) / seconds <= 0.05 + 0.02
            if slow == "feed":
                assert not player.at_end
                assert dashboard._state()[0].endswith("events behind")
            guest.status = 0
            until = time.monotonic() + 20
            while not player.at_end and time.monotonic() < until:
                await asyncio.sleep(0.1)

    asyncio.run(watch())
    expected = Model()
    for index in range(source.follower.count):
        feed(expected, source.follower.batch(index))
    assert player.model.events == len(rows)
    assert totals(player.model, Filter(), 1e9) == totals(expected, Filter(), 1e9)


def test_a_picture_of_another_size_is_drawn_anew_whatever_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal tells its new size before the canvas has it: what was drawn meanwhile does not stay."""
    write(tmp_path / "t", storm(2))
    source = Source(Follower(str(tmp_path / "t")), growing=False)
    source.poll()
    monkeypatch.setattr(app, "SHARE", 0.0)  # nothing is drawn but what has to be

    async def watch() -> None:
        dashboard = Dashboard(Player(source, live=False), "storm")
        async with dashboard.run_test(size=(80, 24)):
            await asyncio.sleep(3 * FRAME)
            frames = dashboard.frames
            await asyncio.sleep(3 * FRAME)
            assert dashboard.frames == frames
            dashboard._drawn, dashboard._drawn_size = None, Size(79, 24)
            await asyncio.sleep(3 * FRAME)
            assert dashboard.frames == frames + 1
            assert dashboard._drawn_size == Size(80, 24)

    asyncio.run(watch())


def test_the_guests_terminal_is_as_wide_as_the_dashboard(tmp_path: Path) -> None:
    write(tmp_path / "t", storm(2))
    player = Player(Source(Follower(str(tmp_path / "t")), growing=True), live=True)
    guest = Stub()

    async def watch() -> None:
        async with Dashboard(player, "storm", cast(Guest, guest)).run_test(size=(80, 24)) as pilot:
            await pilot.resize_terminal(120, 42)
            await asyncio.sleep(3 * FRAME)

    asyncio.run(watch())
    assert guest.sizes[0] == (80, 3), guest.sizes
    assert guest.sizes[-1] == (120, 6), guest.sizes


@pytest.mark.parametrize("key", ["f", "enter"])
def test_a_thread_that_is_chosen_filters_and_lets_go(tmp_path: Path, key: str) -> None:
    write(tmp_path / "t", storm(20))
    source = Source(Follower(str(tmp_path / "t")), growing=False)
    source.poll()

    async def watch() -> None:
        dashboard = Dashboard(Player(source, live=False), "storm")
        async with dashboard.run_test(size=(80, 24)) as pilot:
            await pilot.press("end")
            while not dashboard.player.at_end:
                await asyncio.sleep(0.05)
            dashboard.view.focus = "threads"
            await pilot.press("down", key)
            chosen = thread_rows(dashboard.player.model, totals(dashboard.player.model, Filter(), 1e9), View())[1].tid
            assert dashboard.view.chosen == Filter(chosen, None)
            dashboard.view.selected["threads"] = 0  # the one that is left
            await pilot.press(key)
            assert dashboard.view.chosen == Filter(None, None)

    asyncio.run(watch())


@pytest.mark.timing
def test_a_short_run_pays_for_no_more_than_its_share(tmp_path: Path) -> None:
    """The first picture waits until the run has lasted long enough for it; the end of the run is shown at once."""
    write(tmp_path / "t", storm(20))
    source = Source(Follower(str(tmp_path / "t")), growing=True)
    source.poll()
    guest = Stub()

    async def watch(short: bool) -> None:
        guest.status = None
        dashboard = Dashboard(Player(source, live=True), "storm", cast(Guest, guest))
        async with dashboard.run_test(size=(80, 24)):
            begin = dashboard._begun or time.monotonic()
            assert dashboard.frames == 0
            if short:
                guest.status = 0
                await asyncio.sleep(3 * FRAME)
                assert dashboard.frames > 0
                return
            while not dashboard.frames:
                assert time.monotonic() < begin + 3
                await asyncio.sleep(0.01)
            assert time.monotonic() - begin >= FIRST_COST / SHARE

    asyncio.run(watch(True))
    asyncio.run(watch(False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.5ms", 1_500_000), ("20us", 20_000), ("20 µs", 20_000), ("7ns", 7), ("0.003", 3_000_000), (" 2s ", 2 * 10**9),
     ("40%", 400), ("", None), ("soon", None), ("-1", None), ("1e3", None), ("5m", None)],
)  # fmt: skip
def test_moments(text: str, expected: int | None) -> None:
    assert parse_moment(text, 1000) == expected
