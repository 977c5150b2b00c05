# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the pictures of the dashboard in docs/img: records a guest, replays it without a terminal, exports as SVG."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from emu.trace.follow import Follower
from emu.ui.top.app import Dashboard
from emu.ui.top.player import Player, Source

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
PROGRAM = ("guestprogs/build/x86_64/mm_storm", "8", "40")
CPUS = 4
# name, columns, rows, keys
PICTURES = (
    ("top", 120, 40, ("g", *"80%", "enter")),
    ("top-80x24", 80, 24, ("g", *"80%", "enter")),
    ("top-lock", 120, 40, ("end", "tab", "tab", "enter")),
    ("top-vma", 120, 40, ("end", "tab", "tab", "tab", "enter")),
    ("top-keys", 80, 24, ("question_mark",)),
)


async def picture(trace: Path, columns: int, rows: int, keys: tuple[str, ...]) -> str:
    """The SVG of a replay after some keys."""
    source = Source(Follower(str(trace)), growing=False)
    source.poll()
    player = Player(source, live=False)
    player.paused = True
    dashboard = Dashboard(player, f"mm_storm, --cpus {CPUS}, --locking 6.18")
    dashboard.title = "mmscope top"
    async with dashboard.run_test(size=(columns, rows)) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.15)
        while player.seeking:
            await pilot.pause(0.1)
        await pilot.pause(0.3)
        return dashboard.export_screenshot()


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace"
        command = [str(Path(sys.executable).parent / "mmscope"), "record", "--cpus", str(CPUS), "-o", str(trace)]
        subprocess.run([*command, *PROGRAM], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for name, columns, rows, keys in PICTURES:
            svg = asyncio.run(picture(trace, columns, rows, keys))
            svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from the network
            svg = re.sub(r"terminal-\d+", "terminal", svg)
            (IMAGES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
            print(f"docs/img/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
