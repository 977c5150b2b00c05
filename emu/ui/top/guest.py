# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest of a dashboard: a process of its own that runs the machine and records, seen through descriptors.

A thread reads what the guest prints and what the recorder sends, so that neither waits for the picture.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from emu.trace.escape import printable

KEEP = 1 << 18  # bytes of the guest's output
DATAGRAMS = 64
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL
_CSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

Watched = Callable[[tuple[int, int, int], socket.socket], int]  # runs the guest on these descriptors: its status


def harmless(text: str) -> str:
    """A line of a guest's output: colours and cursor movements are dropped, other control characters are shown."""
    text = text.removesuffix("\r")
    text = _CSI.sub("", text.rsplit("\r", 1)[-1]).expandtabs()
    return printable(text).replace("\\\\", "\\")


class Guest:
    """A running guest. `status` is None until it has ended; then as a shell has it."""

    def __init__(self, run: Watched, *, terminal: bool, size: tuple[int, int] = (80, 24)) -> None:
        """Start `run` in a new process. `terminal`: the guest prints to a terminal of `size` (columns, rows), else to
        a pipe. Its standard input is that of this process unless that is a terminal, whose keys are not for it."""
        self.status: int | None = None
        self.ready = False  # it has sent something
        self.datagrams: deque[bytes] = deque(maxlen=DATAGRAMS)
        self._output: deque[bytes] = deque()
        self._kept = 0
        self.printed = 0  # bytes in all
        self._messages = b""
        self._lock = threading.Lock()
        if terminal:
            self._out, inner = os.openpty()
            self.resize(*size)
        else:
            self._out, inner = os.pipe()
        self._said, say = os.pipe()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 2
            try:
                os.setsid()  # Ctrl-C is for the dashboard, which passes it on
                for fd in (self._out, self._said):
                    os.close(fd)
                self._socket.close()
                source = os.open(os.devnull, os.O_RDWR) if os.isatty(0) else os.dup(0)
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, 0)
                os.dup2(nothing, 1)
                os.dup2(say, 2)
                status = run((source, inner, inner), theirs)
                sys.stderr.flush()
            finally:
                os._exit(status)
        for fd in (inner, say):
            os.close(fd)
        theirs.close()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        """Read until both the output and the messages have ended."""
        poller = select.poll()
        for fd in (self._out, self._said, self._socket.fileno()):
            poller.register(fd, select.POLLIN)
        left = 3
        while left:
            for fd, _ in poller.poll():
                try:
                    data = os.read(fd, 1 << 20 if fd == self._socket.fileno() else 1 << 16)
                except OSError:  # a terminal whose other side is closed
                    data = b""
                if not data:
                    poller.unregister(fd)
                    left -= 1
                elif fd == self._socket.fileno():
                    self.datagrams.append(data)
                    self.ready = True
                else:
                    with self._lock:
                        if fd == self._said:
                            self._messages = (self._messages + data)[-KEEP:]
                        self._output.append(data)
                        self._kept += len(data)
                        self.printed += len(data)
                        while self._kept > KEEP and len(self._output) > 1:
                            self._kept -= len(self._output.popleft())

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest's terminal its size."""
        import fcntl
        import termios

        with contextlib.suppress(OSError):
            fcntl.ioctl(self._out, termios.TIOCSWINSZ, struct.pack("HHHH", max(1, rows), max(1, columns), 0, 0))

    def lines(self) -> list[str]:
        """The last lines that the guest printed, harmless for a terminal."""
        with self._lock:
            data = b"".join(self._output)
        found = data.decode("utf-8", "backslashreplace").split("\n")
        if found and not found[-1]:
            found.pop()
        return [harmless(line) for line in found]

    def take_output(self) -> bytes:
        """What the guest printed since the last call, as far as it was kept."""
        with self._lock:
            data = b"".join(self._output)
            self._output.clear()
            self._kept = 0
        return data

    def messages(self) -> list[str]:
        """What mmscope itself said beside the guest, a line each."""
        with self._lock:
            text = self._messages.decode("utf-8", "backslashreplace")
        return [line for line in text.splitlines() if line.startswith(("mmscope: ", "[ mmscope "))]

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended(status)
        return self.status

    def _ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code
        self._thread.join(1.0)

    def wait_ready(self) -> bool:
        """Wait until the recording has begun: False when the guest could not be started."""
        while not self.ready:
            if self.poll() is not None:
                return self.ready
            time.sleep(0.005)
        return True

    def signal(self, number: int) -> None:
        """Send the guest a signal, as `mmscope record` passes one on."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> int:
        """See to it that the guest ends, with SIGTERM and, when it does not mind that, SIGKILL: its status."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._ended(os.waitpid(self.pid, 0)[1])
        assert self.status is not None
        return self.status
