# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the command begins: Ctrl-C while the rest is still being imported ends it without a word."""

from __future__ import annotations

import os
import signal


def main() -> int:
    """The command `mmscope`: its exit status."""
    was = signal.getsignal(signal.SIGINT)
    if was is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Arrow brings numpy, which multiplies no matrices here: without this it starts a thread for each of the host's
    # processors, which spin for a while.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from emu.cli.main import main as command

    signal.signal(signal.SIGINT, was)
    return command()
