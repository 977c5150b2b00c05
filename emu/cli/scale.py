# SPDX-License-Identifier: GPL-2.0-or-later
"""scale: the verb that runs a program over numbers of CPUs and locking schemes."""

from __future__ import annotations

import argparse
import csv
import errno
import os
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from emu.cli.failure import Failure, tell
from emu.cli.program import find_program
from emu.cli.trace_file import stdout_console
from emu.scale import plot
from emu.scale.result import Job, Result
from emu.scale.sweep import STOPPED, Sweep
from emu.trace.escape import printable

Results = dict[tuple[str, int], Result]  # by (locking, cpus)


def scale(arguments: argparse.Namespace) -> int:
    """Run all, print a table and a plot; 0, or 1 when a run failed. After Ctrl-C, or SIGTERM, what is done by then, and
    128 + the signal's number."""
    out = Path(arguments.output) if arguments.output else None
    if out is not None:
        _check_output(out)
    for file in (arguments.output, arguments.csv):
        if file:
            _check_place(file)
    arguments.program = find_program(arguments.program)
    if not os.access(arguments.program, os.R_OK):
        raise Failure(f"{arguments.program}: cannot read it: {_why_not(arguments.program)}")
    jobs = [
        Job(
            arguments.program, tuple(arguments.args), locking, cpus, arguments.memory, arguments.seed,
            tuple(arguments.env), tuple(arguments.writable), arguments.timeout, arguments.costs,
            arguments.cpu, arguments.check, arguments.pure,
        )
        for locking in arguments.locking
        for cpus in arguments.cpus
    ]  # fmt: skip
    results, stopped = _run(jobs, arguments.jobs or len(os.sched_getaffinity(0)))
    series, unit = curves(arguments, results)
    failures = []
    try:
        if arguments.csv:
            _write_csv(Path(arguments.csv), results)
    except Failure as failure:
        failures.append(str(failure))
    try:
        if out is not None:
            _write_plot(out, series, printable(" ".join([Path(arguments.program).name, *arguments.args])), unit)
    except Failure as failure:
        failures.append(str(failure))
    try:
        console = stdout_console()
        if any(not result.problem for result in results.values()):
            figures = table(arguments, results)
            least = 1 + sum(3 + (column.min_width or 0) for column in figures.columns)
            if console.width < least:  # rich would drop columns
                figures.width = least
            console.print(figures, crop=False)
        for line in plot.terminal(series, min(100, console.width)):
            console.print(Text(line))
        sys.stdout.flush()
    finally:
        failed = _tell(arguments, results, stopped)
        for text in failures:
            tell(text)
    if failures:
        return 2
    return 128 + stopped if stopped else int(failed)


def _tell(arguments: argparse.Namespace, results: Results, stopped: int) -> bool:
    """Say on stderr what the table does not tell: did a run fail."""
    if stopped:
        missing_runs = sum(result.problem == STOPPED for result in results.values())
        tell(f"interrupted: {missing_runs} of {len(results)} runs were not finished")
    problems: dict[str, list[str]] = {}
    for (locking, cpus), result in results.items():
        if result.problem and result.problem != STOPPED:
            problems.setdefault(result.problem, []).append(f"{locking} on {cpus} CPU{'s' if cpus > 1 else ''}")
    for problem, runs in problems.items():
        tell(f"{'all runs' if len(runs) == len(results) > 1 else ', '.join(runs)}: {problem}")
    cut = [result for result in results.values() if result.timed_out]
    if cut:
        which = "all runs" if len(cut) == len(results) else f"{len(cut)} of {len(results)} runs"
        ended = f"ended after {arguments.timeout / 1e9:g} s of virtual time"
        tell(f"{which} {ended}: their figures are of what was done by then")
    missing = {name for result in results.values() for name in result.missing}
    if missing:
        tell(f"system calls that are missing, answered with ENOSYS: {', '.join(sorted(missing))}")
    return bool(problems)


def _run(jobs: list[Job], parallel: int) -> tuple[Results, int]:
    """All jobs, and the number of the signal that ended it all early, or 0. The longest ones, those with many CPUs, are
    begun first."""
    found: Results = {}
    stopped = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("running", total=len(jobs))

        def done(job: Job, result: Result) -> None:
            found[job.locking, job.cpus] = result
            progress.update(bar, advance=1, description=f"{job.locking} on {job.cpus} CPUs")

        def terminate(number: int, _frame: object) -> None:
            nonlocal stopped
            stopped = number
            raise KeyboardInterrupt

        before = {number: signal.signal(number, terminate) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            Sweep().run(sorted(jobs, key=lambda job: -job.cpus), parallel, done)
        except KeyboardInterrupt:
            stopped = stopped or signal.SIGINT
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    unfinished = Result(problem=STOPPED)
    return {(job.locking, job.cpus): found.get((job.locking, job.cpus), unfinished) for job in jobs}, stopped


def _ns(value: float) -> str:
    for limit, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f} ns" if value else "-"


def _lock_names(results: Results) -> list[str]:
    total: dict[str, int] = {}
    for result in results.values():
        for name, ns in result.waits.items():
            total[name] = total.get(name, 0) + ns
    return sorted(total, key=lambda name: -total[name])


def _path_names(results: Results) -> list[str]:
    total: dict[str, int] = {}
    for result in results.values():
        for name, count in result.paths.items():
            total[name] = total.get(name, 0) + count
    return sorted(total, key=lambda name: -total[name])


def table(arguments: argparse.Namespace, results: Results) -> Table:
    """A row for each run: rates in virtual time, waits of all tasks together for each lock, faults by path."""
    locks, paths = _lock_names(results)[:4], _path_names(results)
    told = any(result.operations for result in results.values())
    found = Table(title=Text(printable(" ".join([arguments.program, *arguments.args]))), title_justify="left")
    for name in ("locking", "CPUs", *(("operations/s", "speedup") if told else ()), "faults/s"):
        found.add_column(name, justify="left" if name == "locking" else "right")
    for name in [f"waited for {name}" for name in locks] + [f"under {name}" for name in paths]:
        found.add_column(Text(printable(name)), justify="right")
    before = ""
    for (locking, cpus), result in results.items():
        if before and before != locking:
            found.add_section()
        cells = [locking if locking != before else "", str(cpus)]
        before = locking
        if result.problem:
            found.add_row(*cells, "stopped" if result.problem == STOPPED else "failed")
            continue
        if told:
            rate = result.operation_rate
            base = next((r.operation_rate for (k, _), r in results.items() if k == locking and not r.problem), None)
            cells.append(f"{rate:,.0f}" if rate is not None else "-")
            cells.append(f"{rate / base:.2f}" if rate is not None and base else "-")
        cells.append(f"{result.fault_rate:,.0f}")
        cells += [_ns(result.waits.get(name, 0)) for name in locks]
        cells += [f"{result.paths.get(name, 0) / result.faults:.1%}" if result.faults else "-" for name in paths]
        found.add_row(*cells)
    for column in found.columns:  # too little room folds heads of several words, and no figures
        column.overflow = "fold"
        cells = [str(cell) for cell in column.cells]
        if " " not in str(column.header):
            column.no_wrap = True
            cells.append(str(column.header))
        column.min_width = max(map(len, cells))
    return found


def curves(arguments: argparse.Namespace, results: Results) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """What is plotted: operations a second if the program told any, else faults a second."""
    told = any(result.operations for result in results.values())
    series: dict[str, list[tuple[int, float]]] = {}
    for locking in arguments.locking:
        points = []
        for cpus in arguments.cpus:
            result = results[locking, cpus]
            value = result.operation_rate if told else result.fault_rate
            if not result.problem and value is not None:
                points.append((cpus, value))
        if points:
            series[locking] = points
    return series, "operations/s" if told else "faults/s"


def _write_csv(path: Path, results: Results) -> None:
    locks, paths = _lock_names(results), _path_names(results)
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(
                ["locking", "cpus", "status", "virtual_ns", "operations", "operations_ns", "faults"]
                + [f"faults_{name}" for name in paths]
                + [f"wait_ns_{name}" for name in locks]
                + ["problem"]
            )
            for (locking, cpus), r in results.items():
                rows.writerow(
                    [locking, cpus, r.status, r.ns, r.operations, r.operations_ns, r.faults]
                    + [r.paths.get(name, 0) for name in paths]
                    + [r.waits.get(name, 0) for name in locks]
                    + [printable(r.problem)]
                )
    except OSError as problem:
        raise Failure(f"{path}: cannot write it: {problem.strerror}") from None


def _why_not(path: str) -> str:
    try:
        with open(path, "rb"):
            return "it is not readable"
    except OSError as problem:
        return problem.strerror or str(problem)


def _check_place(file: str) -> None:
    """Say before the long runs that a file could not be written after them."""
    folder = os.path.dirname(file) or "."
    if os.path.isdir(file):
        raise Failure(f"{file}: cannot write it: it is a directory")
    if not os.path.isdir(folder):
        raise Failure(f"{file}: cannot write it: {folder} is no directory")
    if not os.access(file if os.path.exists(file) else folder, os.W_OK):
        raise Failure(f"{file}: cannot write it: {os.strerror(errno.EACCES)}")


def _check_output(path: Path) -> None:
    """Say before the long runs what would go wrong after them."""
    if path.suffix not in (".svg", ".png"):
        raise Failure(f"{path}: the name of a plot ends in .svg or .png")
    if path.suffix == ".png":
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise Failure(f"{path}: PNG needs matplotlib: pip install 'mmscope[plot]'; SVG does not") from None


def _write_plot(path: Path, series: plot.Series, title: str, unit: str) -> None:
    if not series:
        tell(f"{path}: not written, there is nothing to plot")
        return
    try:
        if path.suffix == ".png":
            plot.png(path, series, title, unit)
        else:
            path.write_text(plot.svg(series, title, unit), encoding="utf-8")
    except OSError as problem:
        raise Failure(f"{path}: cannot write it: {problem.strerror}") from None
