# SPDX-License-Identifier: GPL-2.0-or-later
"""Playing, pausing, stepping and seeking in a trace, finished or growing."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.trace.follow import Follower
from emu.trace.recorder import BATCH, Recorder
from emu.tracepoint import Tracepoints
from emu.ui.top.model import Model
from emu.ui.top.player import CHECKPOINTS, PIECE, SPEEDS, Player, Source
from tests.trace.synthetic import METADATA, ROUND_NS, batch, fault, storm, write
from tests.ui.top.test_model import comparable

ROUNDS = 10_000  # 120,000 events


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("player") / "storm.mmscope"
    write(path, storm(ROUNDS))
    return path


def opened(path: Path) -> Player:
    source = Source(Follower(str(path)), growing=False)
    source.poll()
    return Player(source, live=False)


def settle(player: Player) -> None:
    while player.seeking:
        player.tick(0.0, 1.0)


def until(rows: list, moment: int) -> int:  # type: ignore[type-arg]
    """How many events a player at this time has behind it: all before the first later one."""
    return next((at for at, row in enumerate(rows) if row[0] > moment), len(rows))


def test_seeking_gives_what_playing_up_to_there_gives(trace: Path) -> None:
    rows = storm(ROUNDS)
    player = opened(trace)
    end = player.source.end_time()
    assert end == rows[-1][0]
    for moment in (end, 5 * ROUND_NS, end // 2, end // 2 - 1, 0, end // 3, end, end - ROUND_NS):
        player.seek(moment)
        settle(player)
        expected = Model()
        count = until(rows, moment)
        for at in range(0, count, BATCH):
            expected.feed(batch(rows[at : min(count, at + BATCH)]))
        assert player.model.events == count
        assert comparable(player.model) == comparable(expected), moment
        assert player.clock == moment


def test_going_back_does_not_start_anew(trace: Path) -> None:
    player = opened(trace)
    player.seek_end()
    settle(player)
    assert 0 < len(player._checkpoints) <= CHECKPOINTS
    end = player.source.end_time()
    player.seek(end - 1)
    assert player.model.events >= (ROUNDS * 12) - 5 * PIECE


def test_play_pause_speed(trace: Path) -> None:
    player = opened(trace)
    assert player.speed in SPEEDS and player.speed * 20 >= player.source.end_time()
    player.speed = 1_000_000
    player.tick(1.0, 5.0)
    assert player.clock == 1_000_000 and player.model.now <= 1_000_000
    player.pause()
    player.tick(1.0, 5.0)
    assert player.clock == 1_000_000
    player.pause()
    player.faster(True)
    assert player.speed == 2_000_000
    player.tick(1.0, 5.0)
    assert player.clock == 3_000_000
    player.faster(False)
    player.faster(False)
    assert player.speed == 500_000
    player.tick(10_000.0, 60.0)
    assert player.at_end and player.clock == player.source.end_time()


def test_steps(trace: Path) -> None:
    rows = storm(ROUNDS)
    player = opened(trace)
    assert player.step(faults=True)
    first = next(at for at, row in enumerate(rows) if row[4] == 1)
    assert player.model.events == first + 1
    assert player.model.last_fault is not None and player.model.last_fault[0] == rows[first][0]
    assert player.step(faults=False) and player.model.events == first + 2
    assert player.paused
    player.seek_end()
    settle(player)
    assert not player.step(faults=True) and not player.step(faults=False)


def test_a_growing_trace_with_its_tail(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    rows = storm(4000)  # 48,000 events
    tp = Tracepoints()
    recorder = Recorder(str(path))
    recorder.start(tp, METADATA)
    source = Source(Follower(str(path)), growing=True)
    player = Player(source, live=True)
    player.tick(0.1, 1.0)
    assert player.model.events == 0
    source.add_tail(0, batch(rows[:100]))
    source.clock = 2_000_000
    player.tick(0.1, 1.0)
    assert player.model.events == 100 and player.clock == 2_000_000
    source.clock, source.total = 3_000_000, 101  # one event more is on its way: as if there were none would be wrong
    player.tick(0.1, 1.0)
    assert player.clock == player.model.now
    tp.rows.extend(rows[: BATCH + 200])
    recorder.drain()
    source.add_tail(BATCH, batch(rows[BATCH : BATCH + 200]))
    player.tick(0.1, 1.0)
    assert player.model.events == BATCH + 200
    player.pause()
    tp.rows.extend(rows[BATCH + 200 :])
    recorder.close()
    player.tick(0.1, 1.0)
    assert player.model.events == BATCH + 200
    player.pause()
    player.tick(0.1, 1.0)
    source.finish()
    player.tick(0.1, 1.0)
    assert player.model.events == len(rows)
    expected = Model()
    expected.feed(batch(rows))
    assert comparable(player.model) == comparable(expected)


def test_slower_leaves_the_end_and_end_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "growing"
    recorder = Recorder(str(path))
    recorder.start(Tracepoints(), METADATA)
    source = Source(Follower(str(path)), growing=True)
    player = Player(source, live=True)
    source.add_tail(0, batch([fault(n * 1000, 1, 0, 4096) for n in range(100)]))
    source.clock = 100_000
    player.tick(0.1, 1.0)
    player.faster(False)
    assert not player.live
    player.seek(50_000)
    settle(player)
    assert player.model.events == 51
    player.seek_end()
    player.tick(0.1, 1.0)
    assert player.live and player.model.events == 100
    recorder.close()
