# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints groups of faults and locks, and waits for locks, as tables."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from emu.trace.grouping import Grouping, columns_of
from emu.trace.lock_waits import Chains, Contention, Wait, chain_label
from emu.trace.tables import add_row, is_narrow, new_table, share
from emu.trace.timespan import show_time


def print_grouping(found: Grouping, entries: int, console: Console) -> None:
    """A line each for the `entries` largest groups, and one for the rest."""
    what = "Locks" if found.locks else "Faults"
    heads = [f">{head}" for head in columns_of(found)]
    if is_narrow(console):
        heads = heads[:1]
    shown = new_table(f"{what} by {' and '.join(found.keys)}: {found.total}", *heads, *found.keys)
    for group in found.groups[:entries]:
        cells: list[object] = [group.count, f"{100 * group.share:.1f} %", group.waited or ""]
        cells += [
            show_time(value) if group.waited else "" for value in (group.wait, group.mean, group.p99, group.longest)
        ]
        cells.append(show_time(group.duration) if group.duration else "")
        if found.locks:
            cells.append(group.refused or "")
        add_row(shown, *cells[: len(heads)], *group.keys)
    rest = found.groups[entries:]
    if rest:
        count = sum(group.count for group in rest)
        cells = [count, share(count, found.total), *[""] * 7]
        add_row(shown, *cells[: len(heads)], f"({len(rest)} more)", *[""] * (len(found.keys) - 1))
    console.print(shown, "")


_HEADS = {
    "chain": ("lock", "waiter <- holder"), "lock": ("lock",), "thread": ("waiter",), "owner": ("holder", "in"),
    "call": ("lock", "waiter in", "holder in"),
}  # fmt: skip


def print_contention(found: list[Contention], per: str, key: str, entries: int, console: Console) -> None:
    """Sums of waits, the largest by `key` first, in the manner of perf lock contention."""
    narrow = is_narrow(console)
    numbers = (">contended",) if narrow else (">contended", ">total wait", ">max wait", ">min wait", ">avg wait")
    shown = new_table(f"Waits for locks by {per}", *numbers, *_HEADS[per])
    ordered = sorted(found, key=lambda each: (-getattr(each, key), each.label))
    for each in ordered[:entries]:
        times = (each.wait_total, each.wait_max, each.wait_min, each.avg_wait)
        add_row(shown, each.contended, *map(show_time, () if narrow else times), *each.label)
    if len(ordered) > entries:
        rest = ordered[entries:]
        blank = [""] * (len(numbers) - 1 + len(_HEADS[per]) - 1)
        add_row(shown, sum(each.contended for each in rest), *blank, f"({len(rest)} more)")
    console.print(shown, "")


def print_waits(waits: list[Wait], entries: int, console: Console) -> None:
    """Every wait, the longest first."""
    chains = Chains(waits)
    heads = (">wait",) if is_narrow(console) else (">at (ns)", ">wait", "lock", ">fault")
    shown = new_table("Waits for locks", *heads, "waiter <- holder")
    ordered = sorted(waits, key=lambda each: (-each.wait, each.begin, each.tid))
    for each in ordered[:entries]:
        wait = show_time(each.wait) + ("" if each.ended else ", not over")
        cells = (wait,) if is_narrow(console) else (each.begin, wait, each.name, f"#{each.fault}" if each.fault else "")
        add_row(shown, *cells, chain_label(chains.chain(each)))
    if len(ordered) > entries:
        add_row(shown, *[""] * len(heads), f"({len(ordered) - entries} more)")
    console.print(shown, "")


def print_notes(notes: list[str | None], console: Console) -> None:
    """What the reader should know, a line each."""
    for note in notes:
        if note:
            console.print(Text(f"note: {note}"))
