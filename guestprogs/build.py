# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the guest programs with zig's C compiler: static, for every target, the same bytes on every host.

usage: build.py [--target TARGET] [NAME ...]

A program is built again when its source, a header that it includes, the flags or the compiler have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

import ziglang
from strip_debug import strip_debug

HERE = Path(__file__).resolve().parent
OUT = HERE / "build"
ZIG = Path(ziglang.__file__).with_name("zig")
FLAGS = [
    "-std=gnu11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=undefined", "-fno-strict-aliasing",
    "-Wl,--build-id=none", "-Wno-macro-redefined", "-Wno-infinite-recursion",
]  # fmt: skip
TARGETS = {
    "x86_64": ["-target", "x86_64-linux-musl", "-mcpu=x86_64", "-static"],
    "x86_64-pie": ["-target", "x86_64-linux-musl", "-mcpu=x86_64", "-static", "-pie", "-fPIE"],
    "aarch64": ["-target", "aarch64-linux-musl", "-mcpu=generic", "-static"],
    "powerpc64": ["-target", "powerpc64-linux-musl", "-mcpu=ppc64", "-static"],
    "powerpc64le": ["-target", "powerpc64le-linux-musl", "-mcpu=pwr8", "-static"],
    "powerpc": ["-target", "powerpc-linux-musleabihf", "-mcpu=ppc", "-static"],
}


def _headers(source: Path) -> list[Path]:
    """The headers of this directory that `source` includes, and theirs."""
    found: list[Path] = []
    for name in re.findall(r'^#include "(.+)"', source.read_text(), re.MULTILINE):
        header = HERE / name
        found += [file for file in (header, *_headers(header)) if file not in found]
    return found


def _stamp(source: Path, target: str) -> str:
    """What the program depends on, as a hash."""
    digest = hashlib.sha256()
    for part in (version("ziglang"), *FLAGS, *TARGETS[target]):
        digest.update(part.encode() + b"\0")
    for file in (source, *_headers(source), HERE / "strip_debug.py"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def build(source: Path, target: str) -> str | None:
    """Build one program; None when it worked, else what the compiler said."""
    directory = OUT / target
    directory.mkdir(parents=True, exist_ok=True)
    output = directory / source.stem
    partial = output.with_name(f".{output.name}.partial")
    command = [str(ZIG), "cc", *FLAGS, *TARGETS[target], source.name, "-o", str(partial)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        return f"{source.name} for {target}:\n{done.stderr}"
    partial.write_bytes(strip_debug(partial.read_bytes()))
    os.replace(partial, output)
    output.with_suffix(".stamp").write_text(_stamp(source, target))
    return None


def is_current(source: Path, target: str) -> bool:
    """Is there a program of exactly this source."""
    output = OUT / target / source.stem
    stamp = output.with_suffix(".stamp")
    return output.exists() and stamp.exists() and stamp.read_text() == _stamp(source, target)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the guest programs.")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this target")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these programs")
    arguments = parser.parse_args()
    sources = [s for s in sorted(HERE.glob("*.c")) if not arguments.names or s.stem in arguments.names]
    unknown = set(arguments.names) - {s.stem for s in sources}
    if unknown:
        sys.exit(f"build.py: there is no guest program {', '.join(sorted(unknown))}")
    jobs = [(s, t) for t in arguments.target or TARGETS for s in sources if not is_current(s, t)]
    if not jobs:
        return 0
    print(f"building {len(jobs)} guest programs (the first one of a target takes half a minute)", flush=True)
    failed = 0
    # The first program of each target fills the compiler's cache with that target's C library; then the rest.
    first = {target: source for source, target in reversed(jobs)}
    waves = [[(s, t) for t, s in first.items()], [job for job in jobs if first[job[1]] != job[0]]]
    number = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for wave in waves:
            for future in as_completed({pool.submit(build, s, t): (s, t) for s, t in wave}):
                number += 1
                problem = future.result()
                if problem:
                    failed += 1
                    print(f"\n{problem}", file=sys.stderr)
                if sys.stdout.isatty():
                    print(f"\r  {number}/{len(jobs)}", end="", flush=True)
                elif number % 25 == 0 or number == len(jobs):
                    print(f"  {number}/{len(jobs)}", flush=True)
    if sys.stdout.isatty():
        print()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
