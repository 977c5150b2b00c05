# SPDX-License-Identifier: GPL-2.0-or-later
"""A terminal for tests: a pty with pyte's emulation of a VT100 at its other side: a test sees what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

from tests.guests import ROOT

KEYS = {
    "enter": "\r", "tab": "\t", "shift+tab": "\x1b[Z", "escape": "\x1b", "up": "\x1b[A", "down": "\x1b[B",
    "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F", "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~", "ctrl+c": "\x03", "space": " ", "backspace": "\x7f",
}  # fmt: skip
# What textual asks of the terminal and pyte does not know: CSI with < > = or $.
_BEYOND_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$p|\x1b\[\?2026[hl]")


class Terminal:
    """`mmscope` with some arguments on a terminal of columns x rows."""

    def __init__(
        self, *arguments: str | Path, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.status: int | None = None
        command = [sys.executable, "-m", "emu.cli.main", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **(env or {})}
        if "NO_COLOR" not in (env or {}):
            environment.pop("NO_COLOR", None)
        self.pid, self.fd = pty.fork()
        if not self.pid:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(sys.executable, command, environment)
        self.before = termios.tcgetattr(self.fd)

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as a window that is pulled."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> None:
        """Take what comes in this time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], min(left, 0.05))[0]:
                continue
            try:
                data = os.read(self.fd, 1 << 16)
            except OSError:
                data = b""
            if not data:
                self._reap()
                return
            self.raw += data
            self.stream.feed(_BEYOND_PYTE.sub(b"", data))

    def _reap(self) -> None:
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)

    def press(self, *keys: str) -> None:
        """Press keys: names of KEYS, or text."""
        for key in keys:
            os.write(self.fd, KEYS.get(key, key).encode())
            self.read(0.15 if key == "escape" else 0.05)  # an escape followed at once by other keys is another key

    @property
    def text(self) -> str:
        """The screen, line by line."""
        return "\n".join(self.screen.display)

    def wait(self, condition: str | Callable[[str], bool], seconds: float = 30) -> str:
        """Wait until the screen holds a text, or a condition of it: the screen; AssertionError with it otherwise."""
        deadline = time.monotonic() + seconds

        def met(text: str) -> bool:
            return condition in text if isinstance(condition, str) else condition(text)

        while not met(text := self.text):
            if self.status is not None or time.monotonic() > deadline:
                raise AssertionError(f"waited for {condition!r}, status {self.status}:\n{text}")
            self.read(0.1)
        self.read(0.05)  # the rest of a picture that comes in parts
        return self.text if met(self.text) else text

    def wait_end(self, seconds: float = 30) -> int:
        """Wait until the command has ended: its status as Popen.returncode."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            assert time.monotonic() < deadline, f"does not end:\n{self.text}"
            self.read(0.1)
        return self.status

    def close(self) -> None:
        """End what is left."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
        os.close(self.fd)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
