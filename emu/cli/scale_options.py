# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of scale, apart from the verb, so that other verbs need not load what that draws with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

MOST_CPUS = 256


def _cpu_list(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= MOST_CPUS for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to {MOST_CPUS}, such as 1,2,4")
    return sorted({int(word) for word in words})


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


def _costs(text: str) -> str:
    from emu.sched.cost import MACHINES

    if text not in MACHINES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(sorted(MACHINES))}")
    return text


def seconds(text: str) -> int:
    """An argument in seconds, as ns."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return round(value * 1e9)


def add_scale_options(
    parser: argparse.ArgumentParser,
    lockings: Sequence[str],
    size: Callable[[str], int],
    variable: Callable[[str], str],
    memory: int,
) -> None:
    """`size`, `variable`: how --memory and --env are read; `memory`: bytes of guest RAM by default."""

    def schemes(text: str) -> list[str]:
        words = list(lockings) if text == "all" else text.split(",")
        wrong = [word for word in words if word not in lockings]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(lockings)}, all")
        return list(dict.fromkeys(words))

    add = parser.add_argument
    add("--cpus", type=_cpu_list, default=[1, 2, 4, 8, 16], metavar="N,...", help="CPU counts (default: 1,2,4,8,16)")
    add(
        "--locking", type=schemes, default=["6.18"], metavar="NAME,...",
        help=f"{', '.join(lockings)}, several with commas, or all (default: 6.18)",
    )  # fmt: skip
    add(
        "--costs", type=_costs, metavar="MACHINE",
        help="whose costs the kernel's work has: icelake (the default), skylake, broadwell",
    )  # fmt: skip
    add("-j", "--jobs", type=_jobs, metavar="N", help="runs at a time (default: the host's CPUs)")
    add("-o", "--output", metavar="FILE", help="write the plot as FILE.svg or FILE.png")
    add("--csv", metavar="FILE", help="write all figures")
    add("--memory", type=size, default=memory, metavar="SIZE", help="guest RAM of each run (default: 1G)")
    add("--env", action="append", default=[], type=variable, metavar="NAME=VALUE", help="a variable for the guest")
    add("--writable", action="append", default=[], metavar="DIR", help="let the guest write below this directory")
    add("--seed", type=int, default=0, metavar="N", help="perturb the scheduling (default: 0, do not)")
    add(
        "--timeout", type=seconds, metavar="SECONDS",
        help="end a run after this much virtual time; its figures are those of what it did until then",
    )  # fmt: skip
    add("--cpu", metavar="MODEL", help="the CPU's model, as of run --cpu")
    add("--check", action="store_true", help="look at locks and invariants at every step, as run --check (slow)")
    add("--pure", action="store_true", help="do without the C extension (slower, the same figures)")
    add("program", metavar="PROGRAM", help="an ELF program")
    add("args", nargs=argparse.REMAINDER, metavar="ARG", help="its arguments; {n} is replaced by the number of CPUs")
