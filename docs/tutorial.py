# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the commands of docs/tutorial.md and puts what they print in the place of what stands there.

usage: tutorial.py [--check]

A block that begins with ```console has commands, behind "$ ", each with its output. A comment after it,
<!-- expect: PATTERN -->, must be found in that output; with --check only this is looked at and nothing is written.
The numbers in `--fault N` and `--at TIME` are those that an output before told ("#N", "at TIME ns").
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
WIDTH = 110
_BLOCK = re.compile(r"(```console\n)(.*?)(```\n)((?:<!-- expect: .*? -->\n)*)", re.DOTALL)
_EXPECT = re.compile(r"<!-- expect: (.*?) -->\n")


@dataclass
class Shell:
    """Runs commands in a directory that has guestprogs/ and out/, as the root of the repository has."""

    directory: Path
    told: dict[str, str] = field(default_factory=dict)  # numbers that outputs have told

    def __post_init__(self) -> None:
        (self.directory / "guestprogs").symlink_to(ROOT / "guestprogs")
        (self.directory / "out").mkdir()

    def command(self, text: str) -> str:
        """The command with the numbers of this run."""
        for name, word in (("fault", r"\d+"), ("at", r"\d+ns")):
            if name in self.told:
                text = re.sub(rf"--{name} {word}", f"--{name} {self.told[name]}", text)
        return text

    def run(self, command: str) -> str:
        """What it prints on both streams. RuntimeError when it fails."""
        environment = {
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": str(WIDTH),
            "NO_COLOR": "1", "TERM": "dumb",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.directory, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode not in (0, 1) or (done.returncode and not command.startswith("mmscope diff")):
            raise RuntimeError(f"{command}: status {done.returncode}\n{done.stdout}")
        for name, pattern, unit in (("fault", r"#(\d+)", ""), ("at", r"at (\d+) ns", "ns")):
            found = re.search(pattern, done.stdout)
            if found:
                self.told[name] = found.group(1) + unit
        lines = done.stdout.replace(f"{ROOT}/", "").splitlines()
        return "".join(line.rstrip() + "\n" for line in lines)


def run_all(text: str, directory: Path) -> tuple[str, list[str]]:
    """The tutorial with outputs of now, and what was expected and not found."""
    shell = Shell(directory)
    missing = []

    def block(found: re.Match[str]) -> str:
        printed = []
        for line in found.group(2).splitlines():
            if line.startswith("$ "):
                command = shell.command(line[2:])
                printed.append(f"$ {command}\n{shell.run(command)}")
        output = "".join(printed)
        for pattern in _EXPECT.findall(found.group(4)):
            if not re.search(pattern, output):
                missing.append(f"{pattern!r} is not in:\n{output}")
        return found.group(1) + output + found.group(3) + found.group(4)

    return _BLOCK.sub(block, text), missing


def main() -> int:
    text = TUTORIAL.read_text()
    with tempfile.TemporaryDirectory() as directory:
        written, missing = run_all(text, Path(directory))
    for each in missing:
        sys.stderr.write(f"tutorial.py: {each}\n")
    if "--check" not in sys.argv[1:]:
        TUTORIAL.write_text(written)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
