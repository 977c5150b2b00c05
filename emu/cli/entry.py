# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the command begins: Ctrl-C while the rest is still being imported ends it without a word."""

from __future__ import annotations

import signal


def main() -> int:
    """The command `mmscope`: its exit status."""
    was = signal.getsignal(signal.SIGINT)
    if was is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from emu.cli.main import main as command

    signal.signal(signal.SIGINT, was)
    return command()
