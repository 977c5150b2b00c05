# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the pictures of docs/img afresh: records guests, draws their reports, photographs the pages with chromium.

The SVGs come out the same to the byte every time; the PNGs depend on the fonts of the machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=5000",
)  # fmt: skip
# name: guest program with its arguments, below the root
GUESTS = {"faults": ["guestprogs/build/aarch64/faults"]}
# name: (guest, width, height, dark)
PHOTOGRAPHS = {"report": ("faults", 1280, 1000, False), "report-dark": ("faults", 1280, 1000, True)}


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


def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in GUESTS.items():
            trace = f"{folder}/{name}.mmscope"
            mmscope("record", "-o", trace, *command)
            mmscope("report", "--html", f"{folder}/{name}.html", "--svg", str(IMAGES / f"{name}.svg"), trace)
        for name, (guest, width, height, dark) in PHOTOGRAPHS.items():
            target = IMAGES / f"{name}.png"
            photograph(Path(folder) / f"{guest}.html", target, width, height, dark, Path(folder) / f"profile-{name}")
            print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
