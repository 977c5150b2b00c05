# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast mmscope is, beside qemu-user and a bare demand pager, measured in one run on one machine.

Each figure but one (`many_cpus`) is the best of several runs of whole processes that take turns; what the program
`hello` takes on the same side (start, imports, exit) is taken off, so that the rest is the work itself. Where a figure
misses its target it is marked, and the exit status is then 1.
"""

from __future__ import annotations

import contextlib
import cProfile
import fcntl
import io
import os
import pstats
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "guestprogs" / "build"
MMSCOPE = str(Path(sys.executable).parent / "mmscope")
QEMU = {
    "x86_64": "qemu-x86_64",
    "aarch64": "qemu-aarch64",
    "powerpc64": "qemu-ppc64",
    "powerpc64le": "qemu-ppc64le",
    "powerpc": "qemu-ppc",
}
TIMES = 3
ROUNDS = 11  # where two differences are divided, each of which a busy host can spoil
COMPUTE_ROUNDS = "40000"
MEMORY_ROUNDS = "20000"
TOUCH_MIB = 256
WATCHED_MIB, WATCHED_STORM = 2048, 8000  # of these runs the dashboard's first picture is little
REFILL_MIB, REFILL_ROUNDS = 16, 400
SYSCALLS = 200_000
THREADS, THREAD_PAGES = 64, 2048
FORKS = 1000
REPORTED = 10_000_000  # events
PAGE = 4096


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall time, peak resident bytes, standard error."""

    seconds: float
    rss: int
    err: str


def run(command: Sequence[str | Path]) -> Run:
    """Run `command` with its output dropped; raises CalledProcessError where it fails."""
    with tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        text = err.read().decode(errors="replace")
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args, stderr=text)
    return Run(seconds, usage.ru_maxrss * 1024, text)


def alternate(*commands: Sequence[str | Path], times: int = TIMES) -> list[list[Run]]:
    """Rounds in which each command runs once."""
    return [[run(command) for command in commands] for _ in range(times)]


def best(*commands: Sequence[str | Path]) -> list[Run]:
    """The fastest run of each command; they take turns."""
    return [min(column, key=lambda r: r.seconds) for column in zip(*alternate(*commands))]


class Figures:
    """The table that is printed, and whether every target was met."""

    def __init__(self) -> None:
        self.table = Table("figure", "mmscope", "beside it", "ratio", "target", title="mmscope bench")
        for column in self.table.columns[1:]:
            column.justify = "right"
        self.missed: list[str] = []

    def add(
        self, name: str, ours: str, other: str = "", value: float | None = None, *, least: float | None = None,
        most: float | None = None, shown: str | None = None,
    ) -> None:  # fmt: skip
        """A row; `value` is held against `least` or `most`."""
        met = value is None or ((least is None or value >= least) and (most is None or value <= most))
        if not met:
            self.missed.append(name)
        target = f">= {least:g}" if least is not None else f"<= {most:g}" if most is not None else ""
        ratio = shown if shown is not None else f"{value:.2f}" if value is not None else ""
        self.table.add_row(name, ours, other, ratio, target if met else f"{target}  MISSED")


def guest(name: str, *args: str, target: str = "x86_64") -> list[str]:
    return [str(BUILD / target / name), *args]


def compute(figures: Figures) -> None:
    for target, emulator in QEMU.items():
        qemu = shutil.which(emulator)
        if qemu is None:
            figures.add(f"compute, {target}", f"{emulator} is not installed")
            continue
        for name, args in (("compute", [COMPUTE_ROUNDS]), ("compute through memory", [MEMORY_ROUNDS, "memory"])):
            program, hello = guest("compute", *args, target=target), guest("hello", target=target)
            ours, theirs, our_start, their_start = (
                r.seconds
                for r in best([MMSCOPE, "run", *program], [qemu, *program], [MMSCOPE, "run", *hello], [qemu, *hello])
            )
            a, b = ours - our_start, theirs - their_start
            least = 0.9 if name == "compute" else None
            figures.add(f"{name}, {target}", f"{a:.2f} s", f"qemu-user {b:.2f} s", b / a, least=least)


def bare_pager(program: list[str]) -> float:
    """Faults a second of the yardstick."""
    command = [sys.executable, str(ROOT / "bench" / "bare_pager.py"), *program]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(words[0]) / float(words[3])


def faults(figures: Figures, scratch: Path) -> None:
    program, trace = guest("touch", str(TOUCH_MIB), "0"), scratch / "touch.mmscope"
    count = (TOUCH_MIB << 20) / PAGE
    plain, recorded, start, record_start = best(
        [MMSCOPE, "run", *program],
        [MMSCOPE, "record", "-o", trace, *program],
        [MMSCOPE, "run", *guest("hello")],
        [MMSCOPE, "record", "-o", scratch / "hello.mmscope", *guest("hello")],
    )
    bare = max(bare_pager(program) for _ in range(TIMES))
    ours = count / (plain.seconds - start.seconds)
    with_record = count / (recorded.seconds - record_start.seconds)
    figures.add("first-touch faults a second", f"{ours:,.0f}", f"bare pager {bare:,.0f}", ours / bare, least=0.6)
    figures.add("the same, recorded", f"{with_record:,.0f}", f"bare pager {bare:,.0f}", with_record / bare, least=0.5)
    pure = best([MMSCOPE, "run", "--pure", *program])[0]
    figures.add("the same, --pure", f"{count / (pure.seconds - start.seconds):,.0f}", f"bare pager {bare:,.0f}")


def events(text: str) -> tuple[int, int]:
    """(events, bytes) from what `mmscope record` says at its end."""
    words = text.split()
    return int(words[words.index("events,") - 1]), int(words[words.index("bytes") - 1])


def recording(figures: Figures, scratch: Path) -> None:
    for name, args in (
        ("touch", ["64"]),
        ("syscalls", ["50000"]),
        ("file_private", []),
        ("mremap", []),
        ("faults", []),
    ):
        trace = scratch / f"{name}.mmscope"
        count, size = events(run([MMSCOPE, "record", "-o", trace, *guest(name, *args)]).err)
        large = count >= 10_000
        figures.add(
            f"bytes an event: {name}, {count:,} events", f"{size / count:.1f}", value=size / count if large else None,
            most=12 if large else None, shown="",
        )  # fmt: skip


def processor_seconds(pid: int) -> float:
    """What a process that runs has used so far, without its children: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def state(pid: int) -> str:
    """The letter of a process's state, X when there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    return "X"


def watched(program: list[str], trace: Path) -> tuple[float, float]:
    """(seconds until the guest has ended, processor time of the dashboard as a part of the time since its first
    picture) of `mmscope top` on a terminal of 120x40 cells."""
    start = first = end = time.perf_counter()
    pid, fd = pty.fork()
    if not pid:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.execve(MMSCOPE, [MMSCOPE, "top", "-o", str(trace), *program], {**os.environ, "TERM": "xterm-256color"})
    seen, guests, used, at_first = b"", "", 0.0, 0.0
    while b"guest ended" not in seen:
        if select.select([fd], [], [], 0.01)[0]:
            seen = seen[-64:] + os.read(fd, 1 << 16)
        guests = guests or Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if not at_first and b"mmscope top" in seen:
            first, at_first = time.perf_counter(), processor_seconds(pid)
        if guests and state(int(guests)) not in "ZX":
            end, used = time.perf_counter(), processor_seconds(pid)
    os.write(fd, b"q")
    with contextlib.suppress(OSError):  # the terminal is closed
        while os.read(fd, 1 << 16):
            pass
    os.waitpid(pid, 0)
    os.close(fd)
    return end - start, (used - at_first) / (end - first)


def dashboard(figures: Figures, scratch: Path) -> None:
    program = ["--memory", "4G", *guest("touch", str(WATCHED_MIB), "0")]
    hello, trace = guest("hello"), scratch / "top.mmscope"
    recorded, record_start = best(
        [MMSCOPE, "record", "-o", trace, *program], [MMSCOPE, "record", "-o", trace, *hello]
    )  # fmt: skip
    runs = [(watched(program, trace), watched(hello, trace)[0]) for _ in range(TIMES)]
    ours, plain = recorded.seconds - record_start.seconds, min(r[0] for r, _ in runs) - min(start for _, start in runs)
    figures.add("recording with top on", f"{plain:.2f} s", f"record {ours:.2f} s", ours / plain, least=0.9)
    storm = guest("thread_storm", str(WATCHED_STORM))
    for name, shares in (
        ("one thread that faults", [share for (_, share), _ in runs]),
        ("threads that map, unmap and wait", [watched(["--cpus", "8", *storm], trace)[1] for _ in range(TIMES)]),
    ):
        share = sorted(shares)[len(shares) // 2]
        figures.add(f"top, {name}: reading and drawing", f"{share:.1%} of the time", value=share, most=0.05,
                    shown="")  # fmt: skip


def refills(figures: Figures) -> None:
    def commands(*flags: str, rounds: int) -> list[list[str]]:
        return [[MMSCOPE, "run", *flags, *guest("touch", str(REFILL_MIB), r)] for r in (str(rounds), "0")]

    pages = (REFILL_MIB << 20) // PAGE
    native, native_start = (r.seconds for r in best(*commands(rounds=REFILL_ROUNDS)))
    pure, pure_start = (r.seconds for r in best(*commands("--pure", rounds=REFILL_ROUNDS // 10)))
    a = (native - native_start) / (pages * REFILL_ROUNDS)
    b = (pure - pure_start) / (pages * REFILL_ROUNDS / 10)
    figures.add("TLB refill", f"{a * 1e6:.2f} us", f"--pure {b * 1e6:.2f} us", b / a)


def system_calls(figures: Figures) -> None:
    ours, start = (
        r.seconds for r in best([MMSCOPE, "run", *guest("syscalls", str(SYSCALLS))], [MMSCOPE, "run", *guest("hello")])
    )
    rate = SYSCALLS / (ours - start)
    figures.add("system calls a second", f"{rate:,.0f}", value=rate, least=100_000, shown="")


def start_to_exit(figures: Figures) -> None:
    small, large, touched, python = best(
        [MMSCOPE, "run", *guest("hello")],
        [MMSCOPE, "run", "--memory", "1G", *guest("hello")],
        [MMSCOPE, "run", "--memory", "1G", *guest("touch", "64")],
        [sys.executable, "-c", "import unicorn, pyarrow, capstone, rich.console, elftools.elf.elffile"],
    )
    figures.add("hello, start to exit", f"{small.seconds:.2f} s", f"imports alone {python.seconds:.2f} s",
                small.seconds, most=0.25, shown="")  # fmt: skip
    figures.add("resident with 1 GiB of guest RAM, hello", f"{large.rss / 2**20:.0f} MiB")
    growth = (touched.rss - large.rss) / 2**20
    figures.add("resident growth when 64 MiB are touched", f"{growth:.0f} MiB", value=growth, most=128, shown="")


def many_cpus(figures: Figures, scratch: Path) -> None:
    """64 threads that fault all the time: recorded, on one virtual CPU and on 64. The ratio is the median over rounds,
    in each of which both run one after the other: a host that others use may be half as fast a minute later, and the
    fastest of each would be from different minutes."""

    def command(cpus: int, pages: int) -> list[str | Path]:
        program = guest("page_fault1", "threads", str(THREADS), str(pages))
        return [MMSCOPE, "record", "--cpus", str(cpus), "-o", scratch / f"cpus{cpus}.mmscope", *program]

    rounds = alternate(
        command(1, THREAD_PAGES), command(1, 1), command(THREADS, THREAD_PAGES), command(THREADS, 1), times=ROUNDS
    )
    count = THREADS * (THREAD_PAGES - 1)
    one = [(a.seconds - start.seconds) / count for a, start, _, _ in rounds]
    many = [(b.seconds - start.seconds) / count for _, _, b, start in rounds]
    rate = 1 / min(many)
    figures.add(f"faults a second, {THREADS} threads on {THREADS} CPUs", f"{rate:,.0f}", value=rate, least=25_000,
                shown="")  # fmt: skip
    ratio = median(b / a for a, b in zip(one, many))
    figures.add("host time a fault, the same", f"{median(many) * 1e6:.1f} us", f"on one CPU {median(one) * 1e6:.1f} us",
                ratio, most=1.5)  # fmt: skip


def forks(figures: Figures) -> None:
    """Processes forked one after another leave nothing behind."""
    few, many = best([MMSCOPE, "run", *guest("forks", "20")], [MMSCOPE, "run", *guest("forks", str(FORKS))])
    growth = (many.rss - few.rss) / 2**20
    rate = (FORKS - 20) / (many.seconds - few.seconds)
    figures.add(f"resident growth by {FORKS} forks", f"{growth:.1f} MiB", value=growth, most=8, shown="")
    figures.add("forks with exit and wait a second", f"{rate:,.0f}")


def long_trace(path: Path, scratch: Path) -> int:
    """A trace of REPORTED events at least: a real one, in which threads wait for each other, again and again with later
    times. How many it has."""
    short = scratch / "workers.mmscope"
    run([MMSCOPE, "record", "--cpus", "5", "--call-graph", "fp", "-o", short, *guest("workers")])
    batches = list(pa.ipc.open_stream(short))
    rows = sum(batch.num_rows for batch in batches)
    span = max(pc.max(batch.column("time")).as_py() for batch in batches) + 1
    times = -(-REPORTED // rows)
    with pa.ipc.new_stream(path, batches[0].schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for number in range(times):
            for batch in batches:
                index = batch.schema.get_field_index("time")
                later = pc.add(batch.column(index), pa.scalar(number * span, batch.column(index).type))
                writer.write_batch(batch.set_column(index, "time", later))
    return times * rows


def reports(figures: Figures, scratch: Path) -> None:
    """Each kind of report over ten million events."""
    trace = scratch / "long.mmscope"
    count = long_trace(trace, scratch)
    for options in ([], ["--by", "symbol"], ["--by", "lock,syscall"], ["--lock-waits"], ["--html", scratch / "page"]):
        done = run([MMSCOPE, "report", *options, trace])
        shown = f"{options[0]} PAGE" if "--html" in options else " ".join(map(str, options))
        name = f"report {shown}".rstrip() + f" of {count:,} events"
        figures.add(f"{name}, s", f"{done.seconds:.1f}", value=done.seconds, most=20, shown="")
        figures.add(f"{name}, GiB", f"{done.rss / 2**30:.2f}", value=done.rss / 2**30, most=2, shown="")
    exports(figures, trace, count, scratch)


def exports(figures: Figures, trace: Path, count: int, scratch: Path) -> None:
    """A Perfetto export of the same, which goes through the events one by one."""
    done = run([MMSCOPE, "export", "--to", "perfetto", "-o", scratch / "perfetto", trace])
    figures.add(f"export --to perfetto of {count:,} events, s", f"{done.seconds:.1f}")
    figures.add("the same, events a second", f"{count / done.seconds:,.0f}")
    figures.add("the same, GiB", f"{done.rss / 2**30:.2f}", value=done.rss / 2**30, most=2, shown="")
    (scratch / "perfetto").unlink()


def additions(figures: Figures, scratch: Path) -> None:
    """What call stacks and registers cost where they are recorded with each fault."""
    program, trace = guest("touch", str(TOUCH_MIB), "0"), scratch / "more.mmscope"
    record: list[str | Path] = [MMSCOPE, "record", "-o", trace]
    plain, start = best([*record, *program], [*record, *guest("hello")])
    for options in (["--call-graph", "fp"], ["--call-graph", "dwarf"], ["--user-regs"]):
        more, more_start = best([*record, *options, *program], [*record, *options, *guest("hello")])
        a, b = more.seconds - more_start.seconds, plain.seconds - start.seconds
        _, size = events(more.err)
        per_event = size / events(plain.err)[0]
        figures.add(f"record {' '.join(options)}", f"{a:.2f} s", f"without {b:.2f} s", a / b)
        figures.add("the same, bytes an event", f"{per_event:.1f}", value=per_event, most=12, shown="")


def profile() -> str:
    """Where a first-touch fault spends its time: the Python functions of it, with their share."""
    from emu.kernel.machine import Machine

    machine = Machine(memory=1 << 30)
    program = guest("touch", "64", "0")
    machine.spawn(program[0], program, [])
    profiler = cProfile.Profile()
    with open(os.devnull, "wb") as null:
        saved = os.dup(1)
        os.dup2(null.fileno(), 1)
        try:
            profiler.runcall(machine.run)
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    total = stats.total_tt  # type: ignore[attr-defined]
    lines = []
    entries = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:14]  # type: ignore[attr-defined]
    for (path, line, name), (_, calls, own, _, _) in entries:
        place = "" if path == "~" else f"{Path(path).relative_to(ROOT)}:{line}"
        lines.append(f"{own / total:6.1%}  {calls:9,} calls  {name}  {place}")
    return "\n".join(lines)


def main() -> int:
    figures = Figures()
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for step in (start_to_exit, compute, system_calls, refills):
            console.print(f"[dim]{step.__name__} ...[/dim]")
            step(figures)
        console.print("[dim]faults and records ...[/dim]")
        faults(figures, scratch)
        recording(figures, scratch)
        console.print("[dim]many CPUs, many processes ...[/dim]")
        many_cpus(figures, scratch)
        forks(figures)
        dashboard(figures, scratch)
        additions(figures, scratch)
        console.print("[dim]reports ...[/dim]")
        reports(figures, scratch)
    console.print(figures.table)
    console.print("Where the time of a first-touch fault goes (cProfile; it makes small functions look larger):")
    console.print(profile(), markup=False, highlight=False)
    if figures.missed:
        console.print(f"missed: {'; '.join(figures.missed)}")
    return 1 if figures.missed else 0


if __name__ == "__main__":
    sys.exit(main())
