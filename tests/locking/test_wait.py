# SPDX-License-Identifier: GPL-2.0-or-later
"""Wait queues: only who sleeps for an object that changed looks again, in the order of going to sleep."""

from __future__ import annotations

from typing import Any

from emu.locking.wait import Sleeper, wait_queue_head


def test_only_the_sleepers_of_a_changed_object_look_again() -> None:
    look: dict[int, Sleeper] = {}
    nobody: Any = None
    sleepers = [Sleeper(nobody, lambda: True, number, look) for number in range(4)]
    one, other = wait_queue_head(), wait_queue_head()
    for sleeper in (sleepers[3], sleepers[1]):
        one.add(sleeper)
    for sleeper in (sleepers[0], sleepers[1]):
        other.add(sleeper)
    one.wake_up()
    assert sorted(look) == [1, 3]
    look.clear()
    one.remove(sleepers[3])
    one.wake_up()
    assert list(look.values()) == [sleepers[1]]
