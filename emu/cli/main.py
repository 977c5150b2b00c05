# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `mmscope` and its verbs."""

from __future__ import annotations

import argparse
import os
import sys

from emu import __version__
from emu.cli.failure import Failure, tell
from emu.cli.scale_options import add_scale_options
from emu.cli.units import parse_size

LOCKINGS = ("mmap_lock", "spf", "rfc", "6.4", "6.18")
DEFAULT_MEMORY = 1 << 30


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _cpus(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of CPUs from 1 to 256")
    return int(text)


def _seconds(text: str) -> int:
    """Seconds, as ns."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return round(seconds * 1e9)


def _variable(text: str) -> str:
    if "=" not in text or text.startswith("="):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        tell(f"{message} (try {self.prog} --help)")
        sys.exit(2)


def _guest_options(parser: argparse.ArgumentParser, *, program: bool = True) -> None:
    parser.add_argument("--locking", choices=LOCKINGS, default="6.18", help="how page faults lock (default: 6.18)")
    parser.add_argument(
        "--memory", type=_size, default=DEFAULT_MEMORY, metavar="SIZE", help="guest RAM: 64M, 2G ... (default: 1G)"
    )
    parser.add_argument(
        "--env", action="append", default=[], type=_variable, metavar="NAME=VALUE",
        help="an environment variable for the guest (it has none otherwise)",
    )  # fmt: skip
    parser.add_argument(
        "--writable", action="append", default=[], metavar="DIR", help="let the guest write below this directory"
    )
    parser.add_argument("--cpus", type=_cpus, default=1, metavar="N", help="virtual CPUs, up to 256 (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="perturb the scheduling (default: 0, do not)")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="end the run after this much virtual time, with status 124"
    )
    parser.add_argument("--strace", action="store_true", help="print system calls on stderr")
    parser.add_argument("--pure", action="store_true", help="do without the C extension (slower, the same trace)")
    parser.add_argument("program", nargs=None if program else "?", metavar="PROGRAM", help="a static ELF program")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="its arguments")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="mmscope", description="Run Linux programs with a memory manager in Python; watch its page faults."
    )
    parser.add_argument("--version", action="version", version=f"mmscope {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="run a program; its streams and its exit status are the guest's")
    _guest_options(run)
    stat = verbs.add_parser("stat", help="run a program, then print counters on stderr")
    _guest_options(stat)
    record = verbs.add_parser("record", help="run a program and record its events")
    record.add_argument("-o", "--output", required=True, metavar="FILE", help="the trace")
    _guest_options(record)
    scale = verbs.add_parser("scale", help="run a program over numbers of CPUs and locking schemes")
    add_scale_options(scale, LOCKINGS, _size, _variable, DEFAULT_MEMORY)
    report = verbs.add_parser("report", help="what happened in a trace")
    report.add_argument("file", metavar="FILE")
    script = verbs.add_parser("script", help="every event of a trace, a line each")
    script.add_argument("file", metavar="FILE")
    script.add_argument("--format", choices=("text", "json", "kernel"), default="text", help="default: text")
    script.add_argument("--from-entry", action="store_true", help="drop all before the first fault of the program")
    _top_options(verbs)
    return parser


def _top_options(verbs: argparse._SubParsersAction[_Parser]) -> None:
    top = verbs.add_parser("top", help="watch a program while it runs, or a trace")
    top.add_argument("--replay", metavar="FILE", help="show this trace instead of running a program")
    top.add_argument("-o", "--output", metavar="FILE", help="keep the trace of the run")
    _guest_options(top, program=False)


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status. Errors are one line and status 2."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.verb == "scale":
            from emu.cli.scale import scale

            return scale(arguments)
        if arguments.verb in ("run", "stat", "record"):
            from emu.cli.guest import run_guest

            return run_guest(arguments)
        if arguments.verb == "top":
            from emu.cli.top import top

            return top(arguments)
        from emu.cli.trace_verbs import report, script

        return report(arguments) if arguments.verb == "report" else script(arguments)
    except Failure as problem:
        tell(str(problem))
        return 2
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
