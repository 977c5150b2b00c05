# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures what memory management and scheduling cost on the kernel that this runs on, beside emu/sched/cost.py.

usage: kernel_costs.py [--repeats N] [--profile]

The measurements are those of kernel_costs.c, built with the host's C compiler: CPU time of a thread an operation, the
median of all repetitions. `scaled` is what the table's machine would take, in proportion to one first-touch fault.
--profile samples first-touch faults with perf (as root) and prints which share of a fault each part of it takes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from emu.sched.cost import AGAIN, MEASURED, RANGES, READERS, Cost, anon_fault_ns  # noqa: E402

# Parts of a fault: the sample belongs to the first part of which one function is on its call stack.
PARTS = {
    "clear_page": ("clear_page_erms", "clear_page_rep", "clear_page_orig", "clear_user_highpage", "folio_zero_user"),
    "page_alloc": ("alloc_anon_folio", "vma_alloc_folio_noprof", "alloc_pages_mpol", "__alloc_frozen_pages_noprof"),
    "memcg_charge": ("__mem_cgroup_charge", "charge_memcg", "__folio_throttle_swaprate", "mem_cgroup_from_task"),
    "rmap_lru": ("folio_add_new_anon_rmap", "folio_add_lru_vma", "folio_add_lru", "__folio_batch_add_and_move"),
    "vma_lookup": ("lock_vma_under_rcu", "vma_end_read", "mas_walk", "vma_refcount_put"),
    "fault_core": ("handle_mm_fault", "__handle_mm_fault", "do_anonymous_page"),
}
WITHIN = {"lru_page": "folio_batch_move_lru"}  # what is part of a part, and has an entry too
FAULT = "exc_page_fault"


def build(directory: Path) -> Path:
    """The measuring program."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("kernel_costs.py: there is no C compiler (cc)")
    program = directory / "kernel_costs"
    subprocess.run([compiler, "-O2", "-pthread", str(HERE / "kernel_costs.c"), "-o", str(program)], check=True)
    return program


def measure(program: Path, repeats: int) -> dict[str, list[float]]:
    """All measurements by name, ns."""
    out = subprocess.run([str(program), str(repeats)], check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, list[float]] = {}
    for line in out.splitlines():
        name, _, ns = line.partition(" ")
        found.setdefault(name, []).append(float(ns))
    return found


def print_measured(console: Console, found: dict[str, list[float]]) -> None:
    """What was measured, and what it is on the machine of the table."""
    cost = Cost()
    factor = anon_fault_ns(cost) / statistics.median(found["fault_anon"])
    table = Table("measured", "median ns", "least", "most", f"scaled by {factor:.3f}", "entries that rest on it")
    for column in table.columns[1:5]:
        column.justify = "right"
    for name, values in found.items():
        users = [
            f"{entry} {value}"
            for entry, value, _, source in cost.entries()
            for prefix in (MEASURED, RANGES, AGAIN, READERS)
            if source.startswith(prefix) and name in source.removeprefix(prefix).replace(",", " ").split()
        ]
        middle = statistics.median(values)
        figures = (f"{figure:,.1f}" for figure in (middle, min(values), max(values)))
        table.add_row(name, *figures, f"{middle * factor:,.0f}", ", ".join(users))
    console.print(table)


def profile(program: Path, directory: Path) -> tuple[Counter[str], Counter[str]]:
    """Samples of first-touch faults by part, and those of WITHIN."""
    data = directory / "perf.data"
    record = ["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "8000", "-o", str(data), str(program), "faults"]
    subprocess.run(record, check=True, stdout=subprocess.DEVNULL)
    script = ["perf", "script", "-i", str(data), "-F", "ip,sym"]
    text = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    samples: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for block in text.split("\n\n"):
        frames = [words[1].split("+")[0] for line in block.splitlines() if len(words := line.split(None, 1)) == 2]
        if not frames:
            continue
        names = set(frames)
        if FAULT not in names and f"asm_{FAULT}" not in names:
            if frames[0] == "writes":
                samples["(user)"] += 1
            continue
        samples[next((part for part, functions in PARTS.items() if names & set(functions)), "exception")] += 1
        within.update(part for part, function in WITHIN.items() if function in names)
    return samples, within


def print_profile(console: Console, samples: Counter[str], within: Counter[str]) -> None:
    """The share of each part of a fault, and what that is of the table's fault."""
    cost = Cost()
    total = samples.total()
    table = Table("part of a first-touch fault", "share", f"of {anon_fault_ns(cost)} ns", "in the table")
    for column in table.columns[1:]:
        column.justify = "right"
    values = {name: value for name, value, _, _ in cost.entries()}
    for part, count in (*samples.most_common(), *within.items()):
        share = count / total
        table.add_row(part, f"{share:.1%}", f"{share * anon_fault_ns(cost):.0f}", str(values.get(part, "")))
    console.print(table)


def print_costs(console: Console) -> None:
    """The table with its sources."""
    table = Table("entry", "value", "unit", "source")
    table.columns[1].justify = "right"
    for name, value, unit, source in Cost().entries():
        table.add_row(name, f"{value:,}", unit, source)
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what kernel work costs here.")
    parser.add_argument("--repeats", type=int, default=9, help="default: 9")
    parser.add_argument("--profile", action="store_true", help="sample a fault's parts with perf (root)")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{os.uname().sysname} {os.uname().release}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        print_measured(console, measure(program, max(1, arguments.repeats)))
        if arguments.profile:
            if shutil.which("perf") is None:
                sys.exit("kernel_costs.py: --profile needs perf")
            print_profile(console, *profile(program, Path(directory)))
    print_costs(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
