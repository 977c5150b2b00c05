# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves a model through a trace: plays, pauses, steps, seeks. The trace may still be growing: then the end is now.

A place in the trace is a number of events. Going back starts from the nearest of the copies of the model that were
put aside on the way, which are thinned out so that there are never more than CHECKPOINTS.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emu.trace.follow import Follower, TraceDamage
from emu.tracepoint import Kind
from emu.ui.top.columns import Columns
from emu.ui.top.model import Model

CHECKPOINTS = 64
PIECE = 1 << 14  # rows that are fed between two looks at the clock
STEP_SECONDS = 0.3
PLAY_SECONDS = 20  # how long the whole trace plays by default
SPEEDS: tuple[int, ...] = tuple(m * 10**e for e in range(12) for m in (1, 2, 5))  # virtual ns a second of the host
_FAULT_NAMES = pa.array([Kind.PAGE_FAULT_USER.name.lower(), Kind.PAGE_FAULT_KERNEL.name.lower()])


class Source:
    """The events of a trace by number: those in the file, and behind them the tail that the recorder has not written
    yet."""

    def __init__(self, follower: Follower, growing: bool) -> None:
        self.follower = follower
        self.growing = growing
        self.problem: str | None = None
        self.tail: deque[tuple[int, pa.RecordBatch]] = deque()  # number of the first event, events
        self.clock = 0  # ns that the machine has reached, where it tells
        self.total = 0  # events there are, as far as known
        self._starts = [0]  # the first event of each batch, and of the next one
        self._end: int | None = None

    def add_tail(self, first: int, batch: pa.RecordBatch) -> None:
        """Events that are not in the file yet."""
        self.tail.append((first, batch))
        self.total = max(self.total, first + batch.num_rows)

    def poll(self) -> None:
        """See what is new in the file."""
        self.follower.poll()
        while self.tail and self.tail[0][0] + self.tail[0][1].num_rows <= self._starts[-1]:
            self.tail.popleft()

    def at(self, event: int) -> pa.RecordBatch | None:
        """Events from number `event` on, as many as are at hand in one piece; None at the end."""
        starts = self._starts
        if event < starts[-1]:
            low, high = 0, len(starts) - 1
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if starts[middle] <= event else (low, middle)
            return self._batch(low, event - starts[low])
        while len(starts) <= self.follower.count:
            index = len(starts) - 1
            batch = self._batch(index, 0)
            if batch is None:
                return None
            starts.append(starts[-1] + batch.num_rows)
            self.total = max(self.total, starts[-1])
            if event < starts[-1]:
                return batch.slice(event - starts[-2])
        for first, batch in self.tail:
            if first <= event < first + batch.num_rows:
                return batch.slice(event - first)
        return None

    def _batch(self, index: int, offset: int) -> pa.RecordBatch | None:
        try:
            batch = self.follower.batch(index)
        except TraceDamage as damage:
            self.problem = f"damaged after {self._starts[-1]} events ({damage})"
            return None
        return batch.slice(offset) if offset else batch

    def end_time(self) -> int:
        """Virtual ns of the end of the trace, as far as known."""
        if self.growing:
            return self.clock
        if self._end is None:
            self._end = self.clock
            for index in range(self.follower.count - 1, -1, -1):
                batch = self._batch(index, 0)
                if batch is not None and batch.num_rows:
                    self._end = max(self._end, int(pc.max(batch.column("time")).as_py()))
                    break
            self.problem = None
        return self._end

    def finish(self) -> None:
        """The trace grows no longer."""
        if self.growing:
            self.poll()
            self.growing = False
            if self.follower.count and self.follower.ended:
                self.tail.clear()


class Player:
    """A model at some place of a trace, and how it moves. `live`: stay at the end; else `speed` virtual ns a second,
    unless `paused`."""

    def __init__(self, source: Source, *, live: bool) -> None:
        self.source = source
        self.model = Model()
        self.live = live
        self.paused = False
        self.clock = 0.0  # virtual ns that is shown
        self.speed = self.default_speed()
        self._goal: int | None = None  # a time that is being sought
        self._checkpoints: list[tuple[int, Model]] = []
        self._every = 4 * PIECE  # events between two of them

    def default_speed(self) -> int:
        """One that plays the whole trace in about PLAY_SECONDS."""
        end = max(1, self.source.end_time())
        return next((speed for speed in SPEEDS if speed * PLAY_SECONDS >= end), SPEEDS[-1])

    @property
    def at_end(self) -> bool:
        """Is there nothing behind this place now."""
        return self.source.at(self.model.events) is None

    @property
    def target(self) -> float:
        """The time that is shown, or that is being sought."""
        return self.clock if self._goal is None else float(self._goal)

    @property
    def seeking(self) -> bool:
        """Is the model still on its way to where it was told to go."""
        return self._goal is not None

    # Moving

    def tick(self, elapsed: float, budget: float) -> None:
        """Go on as `elapsed` seconds of the host passed, for at most about `budget` seconds of work."""
        deadline = time.perf_counter() + budget
        self.source.poll()
        if self._goal is not None:
            if self._advance(self._goal, deadline):
                self.clock = float(self._goal)
                self._goal = None
            else:
                self.clock = float(self.model.now)
        elif self.paused:
            return
        elif self.live:
            self._advance(None, deadline)
            # The machine's clock may be far ahead of the events that are known: then it would look as if none came.
            known = self.at_end and self.model.events >= self.source.total
            self.clock = float(max(self.model.now, self.source.clock if known else 0))
        else:
            self.clock = min(self.clock + self.speed * elapsed, float(max(self.source.end_time(), self.model.now)))
            if not self._advance(int(self.clock), deadline):
                self.clock = float(self.model.now)

    def _advance(self, until: int | None, deadline: float) -> bool:
        """Feed what happened up to the time `until` (None: all there is): False when the time is up before."""
        while True:
            piece = self.source.at(self.model.events)
            if piece is None:
                return True
            piece = piece.slice(0, PIECE)
            if until is not None:
                later = np.flatnonzero(Columns(piece)["time"] > until)
                if len(later):
                    if not later[0]:
                        return True
                    piece = piece.slice(0, int(later[0]))
            self._feed(piece)
            if time.perf_counter() >= deadline:
                return False

    def _feed(self, piece: pa.RecordBatch) -> None:
        last = self._checkpoints[-1][0] if self._checkpoints else 0
        if self.model.events - last >= self._every:
            self._checkpoints.append((self.model.events, self.model.copy()))
            if len(self._checkpoints) > CHECKPOINTS:
                del self._checkpoints[::2]
                self._every *= 2
        self.model.feed(piece)

    def seek(self, moment: int) -> None:
        """Go to a time in virtual ns, forward or back; `tick` does the work."""
        moment = max(0, min(moment, max(self.source.end_time(), self.model.now)))
        self.live = False
        if moment < self.model.now:
            known = [entry for entry in self._checkpoints if entry[1].now <= moment]
            self.model = known[-1][1].copy() if known else Model()
            self.clock = float(self.model.now)
        self._goal = moment

    def seek_end(self) -> None:
        """Go to the end and, where the trace grows, stay there."""
        if self.source.growing:
            self.live, self.paused, self._goal = True, False, None
        else:
            self.seek(self.source.end_time())

    def pause(self, paused: bool | None = None) -> None:
        """Hold the picture, or let it go on; None: the other of both."""
        self.paused = not self.paused if paused is None else paused
        if self.paused:
            self._goal = None

    def step(self, faults: bool = True) -> bool:
        """Pause, and go on by one event, or up to the next page fault: False when there is none, at least not within
        STEP_SECONDS of work."""
        self.pause(True)
        self.live = False
        found = False
        deadline = time.perf_counter() + STEP_SECONDS
        while not found and time.perf_counter() < deadline:
            piece = self.source.at(self.model.events)
            if piece is None:
                break
            piece = piece.slice(0, PIECE)
            count = 1
            if faults:
                kinds = piece.column("kind").cast(pa.string())
                at = pc.index(pc.is_in(kinds, value_set=_FAULT_NAMES), True).as_py()
                count = at + 1 if at >= 0 else piece.num_rows
                found = at >= 0
            else:
                found = True
            self._feed(piece.slice(0, count))
        self.clock = float(self.model.now)
        return found

    def faster(self, up: bool) -> None:
        """The next speed up or down. Down from live: as fast as the default plays; up from the fastest: live."""
        if self.live:
            if not up:
                self.live = False
                self.speed = self.default_speed()
            return
        index = SPEEDS.index(self.speed) + (1 if up else -1)
        if 0 <= index < len(SPEEDS):
            self.speed = SPEEDS[index]
        elif up and self.source.growing:
            self.live = True
