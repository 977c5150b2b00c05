# SPDX-License-Identifier: GPL-2.0-or-later
"""The first moments of the command, and signals that are ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.guests import ROOT, guest

_INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "emu.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from emu.cli.entry import main
sys.exit(main())
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_ctrl_c_while_modules_are_imported() -> None:
    ran = subprocess.run([sys.executable, "-c", _INTERRUPTED, "--version"], capture_output=True, env=ENVIRONMENT)
    assert (ran.returncode, ran.stderr) == (-signal.SIGINT, b"")


def test_ctrl_c_while_the_command_line_is_read() -> None:
    code = """
import os, signal, sys
import emu.cli.main
emu.cli.main.build_parser = lambda: os.kill(os.getpid(), signal.SIGINT)
from emu.cli.entry import main
sys.exit(main())
"""
    ran = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, env=ENVIRONMENT)
    assert (ran.returncode, ran.stderr) == (130, b"")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As nohup and a background job of a shell script have it."""
    command = f"trap '' HUP; exec {sys.executable} -m emu.cli.main run --timeout 0.3 {guest('misbehave')} spin"
    with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"spinning\n"
        child.send_signal(signal.SIGHUP)
        assert child.wait(60) == 124
