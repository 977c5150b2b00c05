# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the pictures of docs/img afresh: records guests, draws their reports and flame graphs, photographs the pages
with chromium, replays traces in the dashboard without a terminal.

The SVGs come out the same to the byte every time; the PNGs depend on the fonts of the machine.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from emu.trace.follow import Follower
from emu.ui.top.app import Dashboard
from emu.ui.top.player import Player, Source

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=5000",
)  # fmt: skip
WORKERS = "guestprogs/build/x86_64/workers"
# name: options, guest program with its arguments, below the root
GUESTS = {
    "faults": ["guestprogs/build/aarch64/faults"],
    "storm": ["--cpus", "4", "guestprogs/build/x86_64/mm_storm", "8", "40"],
    "workers": ["--cpus", "5", "--call-graph", "fp", WORKERS],
    "few": ["--cpus", "5", WORKERS, "beside", "4", "2"],
}
# name: guest
PICTURES = {"faults": "faults"}
# name: (guest, width, height, dark)
PHOTOGRAPHS = {
    "report": ("faults", 1280, 1000, False),
    "report-dark": ("faults", 1280, 1000, True),
    "tutorial-page": ("few", 1280, 1670, False),
}
# name: (guest, weight)
FLAMES = {"tutorial-flame": ("workers", "wait")}
# name: guest, columns, rows, keys
SCREENS = {
    "top": ("storm", 120, 40, ("g", *"80%", "enter")),
    "top-80x24": ("storm", 80, 24, ("g", *"80%", "enter")),
    "top-lock": ("storm", 120, 40, ("end", "tab", "tab", "enter")),
    "top-vma": ("storm", 120, 40, ("end", "tab", "tab", "tab", "enter")),
    "top-keys": ("storm", 80, 24, ("question_mark",)),
    "tutorial-top": ("workers", 120, 40, ("g", *"80%", "enter")),
}


def mmscope(*arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).parent / "mmscope"), *arguments], cwd=ROOT, check=True)


def photograph(page: Path, target: Path, width: int, height: int, dark: bool, profile: Path) -> None:
    """A screenshot of the upper end of a page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is missing")
    shade = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [chromium, *FLAGS, *shade, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    subprocess.run([*command, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)
    Image.open(target).convert("RGB").save(target, optimize=True)


async def screen(trace: str, title: str, columns: int, rows: int, keys: tuple[str, ...]) -> str:
    """The SVG of a replay after some keys."""
    source = Source(Follower(trace), growing=False)
    source.poll()
    player = Player(source, live=False)
    player.paused = True
    dashboard = Dashboard(player, title)
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
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        traces = {name: f"{folder}/{name}.mmscope" for name in GUESTS}
        for name, command in GUESTS.items():
            mmscope("record", "-o", traces[name], *command)
        for name, guest in PICTURES.items():
            mmscope("report", "--svg", str(IMAGES / f"{name}.svg"), traces[guest])
        for name, (guest, width, height, dark) in PHOTOGRAPHS.items():
            page = Path(folder) / f"{name}.html"
            mmscope("report", "--html", str(page), traces[guest])
            photograph(page, IMAGES / f"{name}.png", width, height, dark, Path(folder) / f"profile-{name}")
        for name, (guest, weight) in FLAMES.items():
            mmscope("report", "--flame", str(IMAGES / f"{name}.svg"), "--weight", weight, traces[guest])
        for name, (guest, columns, rows, keys) in SCREENS.items():
            title = f"{Path(next(word for word in GUESTS[guest] if '/' in word)).name}, --locking 6.18"
            svg = asyncio.run(screen(traces[guest], title, columns, rows, keys))
            svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no fonts from the network
            svg = re.sub(r"terminal-\d+", "terminal", svg)
            (IMAGES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
    for image in sorted(IMAGES.iterdir()):
        print(f"{image.relative_to(ROOT)}: {image.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
