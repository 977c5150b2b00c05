# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `mmscope` and its verbs."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys

from emu import __version__
from emu.cli.failure import Failure, tell
from emu.cli.scale_options import add_scale_options, seconds
from emu.cli.standard_streams import claim_closed_streams
from emu.cli.units import parse_size

LOCKINGS = ("mmap_lock", "spf", "rfc", "6.4", "6.18")
DEFAULT_MEMORY = 1 << 30
WEIGHTS = ("faults", "wait", "duration")  # what a call stack counts for


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _cpus(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of CPUs from 1 to 256")
    return int(text)


def _time(text: str) -> int:
    from emu.trace.timespan import parse_time

    try:
        return parse_time(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _keys(text: str) -> tuple[str, ...]:
    from emu.trace.grouping import pairs

    try:
        return pairs(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_number(part) for part in text.split(","))


def _events(text: str) -> tuple[str, ...]:
    from emu.cli.diff_verb import parse_events

    try:
        return parse_events(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _kinds(text: str) -> tuple[int, ...]:
    from emu.tracepoint import Kind

    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name.upper() not in Kind.__members__:
            raise argparse.ArgumentTypeError(f"{name!r} is no event: page_fault_user, mmap_lock_released, ...")
    return tuple(int(Kind[name.upper()]) for name in names)


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
        "--timeout", type=seconds, metavar="SECONDS", help="end the run after this much virtual time, with status 124"
    )
    parser.add_argument(
        "--check", action="store_true",
        help="look at the locks and the invariants of the memory manager at every step (slow); status 125 when one "
        "does not hold",
    )  # fmt: skip
    parser.add_argument(
        "--cpu", metavar="MODEL",
        help="the CPU's model, for x86-64: emerald-rapids (the default) or milan; decides CPUID and signal frames",
    )  # fmt: skip
    parser.add_argument("--strace", action="store_true", help="print system calls on stderr")
    parser.add_argument("--pure", action="store_true", help="do without the C extension (slower, the same trace)")
    parser.add_argument("program", nargs=None if program else "?", metavar="PROGRAM", help="an ELF program")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="its arguments")
    parser.set_defaults(run="emu.cli.guest:run_guest")


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
    record.add_argument(
        "--call-graph",
        choices=("fp", "dwarf"),
        metavar="fp|dwarf",
        help="record the guest's call stack at each fault and lock wait, by frame pointers or by DWARF call frames",
    )
    record.add_argument(
        "--user-regs",
        action="store_true",
        help="record the registers at each fault in user mode: report --fault works the operands out with them",
    )
    _guest_options(record)
    scale = verbs.add_parser("scale", help="run a program over numbers of CPUs and locking schemes")
    add_scale_options(scale, LOCKINGS, _size, _variable, DEFAULT_MEMORY)
    scale.set_defaults(run="emu.cli.scale:scale")
    for add in (_report, _lock, _script, _maps, _diff, _query, _export, _top):
        add(verbs)
    return parser


def _top(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("top", help="watch a program while it runs, or a trace")
    parser.add_argument("--replay", metavar="FILE", help="show this trace instead of running a program")
    parser.add_argument("-o", "--output", metavar="FILE", help="keep the trace of the run")
    _guest_options(parser, program=False)
    parser.set_defaults(run="emu.cli.top:top", call_graph=None, user_regs=False)


def _report(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("report", help="what happened in a trace")
    parser.add_argument("file", metavar="FILE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--by", type=_keys, metavar="KEY[,KEY]",
        help="group faults by one or two of vma, symbol, line, reason, path, thread, syscall; with lock, locks taken",
    )  # fmt: skip
    what.add_argument("--lock-waits", action="store_true", help="who waited for whom, in which call, for how long")
    what.add_argument("--fault", type=int, metavar="N", help="the whole story of one fault, counted from 1")
    _wait_options(parser, "with --lock-waits: ")
    parser.add_argument(
        "--html", metavar="OUT.html", help="write pictures and tables as one page that needs no network"
    )
    parser.add_argument("--svg", metavar="OUT.svg", help="write one static picture")
    parser.add_argument("--flame", metavar="OUT.svg", help="write a flame graph of the guest's call stacks")
    parser.add_argument(
        "--weight", choices=WEIGHTS, default="faults", help="with --flame: what counts, times in ns (default: faults)"
    )
    _table_options(parser)
    parser.set_defaults(run="emu.cli.trace_verbs:report")


def _table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-E", "--entries", type=_count, default=40, metavar="N", help="lines of a table (default: 40)")
    parser.add_argument("--program", metavar="ELF", help="take symbols and lines from this file")


def _wait_options(parser: argparse.ArgumentParser, when: str) -> None:
    per = parser.add_mutually_exclusive_group()
    for short, name, text in (
        ("-l", "lock", "each lock"), ("-t", "thread", "each waiting thread"), ("-o", "owner", "each holder"),
        ("-c", "call", "each pair of calls"), ("-i", "wait", "each single wait, the longest first"),
    ):  # fmt: skip
        per.add_argument(short, f"--per-{name}", dest="per", action="store_const", const=name, help=f"{when}{text}")
    parser.add_argument(
        "-k", "--key", choices=("contended", "wait_total", "wait_max", "wait_min", "avg_wait"), default="wait_total",
        help=f"{when}what to sort by (default: wait_total)",
    )  # fmt: skip


def _lock(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """report --lock-waits and report --by lock, in the words of perf lock."""
    parser = verbs.add_parser("lock", help="waits for locks (contention), or all takings of locks (report)")
    lists = parser.add_subparsers(dest="list", required=True, metavar="contention|report")
    contention = lists.add_parser("contention", help="as report --lock-waits")
    _wait_options(contention, "")
    locks = lists.add_parser("report", help="as report --by lock")
    for each, by, waits in ((contention, None, True), (locks, ("lock",), False)):
        each.add_argument("file", metavar="FILE")
        _table_options(each)
        each.set_defaults(
            run="emu.cli.trace_verbs:report", html=None, svg=None, flame=None, fault=None, by=by, lock_waits=waits
        )


def _export(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("export", help="write a trace in the format of another tool")
    formats = ("perfetto", "ftrace", "trace.dat", "parquet", "csv", "folded")
    parser.add_argument("--to", choices=formats, required=True, help="the format")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help='a file, or "-"; a new directory for parquet'
    )
    parser.add_argument(
        "--weight", choices=WEIGHTS, default="faults", help="folded: what counts, times in ns (default: faults)"
    )
    parser.add_argument(
        "--partition", choices=("kind", "time"), default="kind", help="parquet: what files hold (default: kind)"
    )
    parser.add_argument("file", metavar="FILE")
    parser.set_defaults(run="emu.cli.export:export")


def _script(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("script", help="every event of a trace, a line each")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--format", choices=("text", "json", "perf", "kernel"), default="text", help="default: text")
    parser.add_argument("--from-entry", action="store_true", help="drop all before the first fault of the program")
    parser.add_argument(
        "--children", action="store_true", help="with --format kernel: events of all tasks, not of the first one only"
    )
    for name in ("pid", "tid"):
        parser.add_argument(
            f"--{name}", type=_numbers, default=(), metavar="N[,N]", help=f"only events with this {name}"
        )
    parser.add_argument(
        "--event", type=_kinds, default=(), metavar="NAME[,NAME]", help="only events of this name: page_fault_user"
    )
    parser.set_defaults(run="emu.cli.trace_verbs:script")


def _maps(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("maps", help="the address space as it was at a time, like /proc/PID/maps")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--at", type=_time, metavar="TIME",
        help="virtual time: 0.000027 (seconds), 27us, 27000ns (default: the end, before the process exits)",
    )  # fmt: skip
    parser.add_argument("--pid", type=int, metavar="PID", help="whose (default: the first process of the trace)")
    parser.set_defaults(run="emu.cli.maps_verb:maps")


def _diff(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("diff", help="where two traces differ: status 0 nowhere, 1 somewhere, 2 trouble")
    parser.add_argument("a", metavar="A", help="a trace, or a text record of kernel-trace")
    parser.add_argument("b", metavar="B")
    parser.add_argument(
        "--events", type=_events, metavar="LETTERS",
        help="U user faults, K kernel faults, L mmap_lock, V VMA locks, M mappings, S system calls, G signals, "
        "P processes (default: all that both have)",
    )  # fmt: skip
    parser.add_argument("--from-entry", action="store_true", help="drop all before the first fault of the program")
    parser.add_argument(
        "--children", action="store_true", help="the record of kernel-trace is of all tasks, not of the first one only"
    )
    parser.add_argument(
        "--by-set", action="store_true",
        help="compare what does not depend on the schedule, of all tasks: which faults there were, and "
        "how often each system call took mmap_lock for write (kernel-trace does not tell the call: the sum)",
    )  # fmt: skip
    parser.add_argument(
        "--context", type=_number, default=5, metavar="N", help="events shown around the first difference (default: 5)"
    )
    parser.set_defaults(run="emu.cli.diff_verb:diff")


def _query(verbs: argparse._SubParsersAction[_Parser]) -> None:
    parser = verbs.add_parser("query", help="SQL over the events of a trace (needs DuckDB)")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("sql", metavar="SQL", help="one statement over the table events")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    parser.set_defaults(run="emu.cli.query_verb:run_query")


_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def main(argv: list[str] | None = None) -> int:
    """Entry point: the exit status. Errors are one line and status 2."""
    try:
        claim_closed_streams()
        arguments = build_parser().parse_args(argv)
        module, function = arguments.run.split(":")
        status: int = getattr(importlib.import_module(module), function)(arguments)
        return status
    except Failure as problem:
        tell(str(problem))
        return 2
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as problem:
        if problem.errno not in _OUTPUT_ERRORS or problem.filename is not None:
            raise
        tell(f"standard output: {problem.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
