# SPDX-License-Identifier: GPL-2.0-or-later
"""Records the guest program `faults` on every architecture into out/ and prints each one's report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "x86_64": "x86-64",
    "aarch64": "ARM64",
    "powerpc64": "PowerPC 64, big-endian",
    "powerpc64le": "PowerPC 64, little-endian",
    "powerpc": "PowerPC 32",
}


def main() -> int:
    command = [str(Path(sys.executable).parent / "mmscope")]
    (ROOT / "out").mkdir(exist_ok=True)
    for target, title in TARGETS.items():
        trace = f"out/faults-{target}.mmscope"
        print(f"\n=== {title}: mmscope record -o {trace} guestprogs/build/{target}/faults", flush=True)
        program = f"guestprogs/build/{target}/faults"
        for arguments in (["record", "-o", trace, program], ["report", trace]):
            status = subprocess.run([*command, *arguments], cwd=ROOT).returncode
            if status:
                return status
    print("\nThe command is .venv/bin/mmscope; the traces are in out/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
