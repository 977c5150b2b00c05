# SPDX-License-Identifier: GPL-2.0-or-later
"""top: watch a guest while it is recorded, or a trace."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import stat
import sys
import tempfile
from types import FrameType
from typing import TYPE_CHECKING

from emu.cli.failure import Failure, tell

if TYPE_CHECKING:
    from emu.ui.top.guest import Guest
    from emu.ui.top.player import Player


def top(arguments: argparse.Namespace) -> int:
    """Run the verb: the guest's exit status as for record; of a replay 0, or 1 when the trace is not whole."""
    if arguments.replay is not None:
        if arguments.program is not None:
            raise Failure("top: either --replay FILE or a program to run")
        return _replay(arguments.replay)
    if arguments.program is None:
        raise Failure("top: a program to run, or --replay FILE, is missing (try mmscope top --help)")
    return _watch(arguments)


def _screen() -> bool:
    """Can there be a picture: standard output is a terminal that can place text, and there are keys."""
    if not os.isatty(1) or os.environ.get("TERM", "") in ("", "dumb"):
        return False
    if os.isatty(0):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _keys_from_terminal() -> None:
    """Standard input belongs to the guest: take the keys from the terminal itself."""
    if not os.isatty(0):
        fd = os.open("/dev/tty", os.O_RDWR)
        os.dup2(fd, 0)
        os.close(fd)


def _replay(path: str) -> int:
    from emu.trace.follow import Follower
    from emu.trace.reader import Trace, TraceError
    from emu.ui.top.columns import NAMES

    try:
        meta = Trace(path).metadata
        follower = Follower(path, NAMES)
    except TraceError as problem:
        raise Failure(str(problem)) from None
    except OSError as problem:
        raise Failure(f"{path}: cannot be read: {problem.strerror}") from None
    from emu.ui.top.player import Player, Source

    _one_thread()
    source = Source(follower, growing=False)
    source.poll()
    player = Player(source, live=False)
    if not follower.ended:
        source.problem = "cut off or damaged: the events before that are shown"
    if _screen():
        from emu.ui.top.app import Dashboard

        _keys_from_terminal()
        title = f"{os.path.basename(path)}: {meta.get('comm')} on {meta.get('arch')}, --locking {meta.get('locking')}"
        status = Dashboard(player, title).run() or 0
    else:
        from emu.ui.top.plain import replay

        replay(player)
        status = 0
    if not follower.ended:
        tell(f"{path}: cut off or damaged: only the events before that were shown")
        return status or 1
    if source.problem is not None:
        tell(f"{path}: {source.problem}: only the events before that were shown")
        return status or 1
    return status


def _one_thread() -> None:
    """Arrow's threads would take processors from the guest."""
    import pyarrow as pa

    pa.set_cpu_count(1)


def _watch(arguments: argparse.Namespace) -> int:
    from emu.ui.top.guest import Guest

    temporary = None
    if arguments.output is None:
        handle, temporary = tempfile.mkstemp(prefix="mmscope-", suffix=".mmscope")
        os.close(handle)
        arguments.output = temporary
    elif os.path.exists(arguments.output) and not stat.S_ISREG(os.stat(arguments.output).st_mode):
        raise Failure(f"{arguments.output}: top follows the file that it records to: it must be a regular file")
    screen = _screen()

    def run(stdio: tuple[int, int, int], watcher: socket.socket) -> int:
        from emu.cli.guest import Watched, run_guest

        try:
            return run_guest(arguments, Watched(stdio, watcher, keep=temporary is None))
        except Failure as problem:
            tell(str(problem))
            return 2

    guest = None
    try:
        guest = Guest(run, terminal=screen)
        _pass_on_signals(guest)
        status = _show(arguments, guest, screen, temporary)
    finally:
        if guest is not None:
            ended = guest.end()
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    for message in guest.messages():
        sys.stderr.write(message + "\n")
    return ended if status is None else status


def _pass_on_signals(guest: Guest) -> None:
    """Until the dashboard has handlers of its own: what comes for this process goes to the guest."""

    def forward(number: int, _frame: FrameType | None) -> None:
        guest.signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)


def _show(arguments: argparse.Namespace, guest: Guest, screen: bool, temporary: str | None) -> int | None:
    """Show the guest until the person leaves or, without a screen, it ends: a status, or None for the guest's."""
    if screen:
        import emu.ui.top.app as app
    from emu.trace.follow import Follower
    from emu.ui.top.columns import NAMES
    from emu.ui.top.live import Live
    from emu.ui.top.player import Player, Source

    _one_thread()
    if not guest.wait_ready():
        return None
    follower = Follower(arguments.output, NAMES, check=False)  # what this command itself writes
    player: Player = Player(Source(follower, growing=True), live=True)
    if temporary is not None:
        os.unlink(temporary)  # both sides have it open
    if screen:
        _keys_from_terminal()
        title = f"{os.path.basename(arguments.program)}, --locking {arguments.locking}"
        return app.Dashboard(player, title, guest).run()
    from emu.ui.top.plain import watch

    watch(Live(guest, player), guest)
    return None
