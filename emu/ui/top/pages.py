# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages of one VMA and of one lock, and the page of the keys."""

from __future__ import annotations

from textwrap import wrap

from emu.trace.escape import printable
from emu.trace.lock_names import SHARED
from emu.tracepoint import Path, Reason
from emu.ui.top.lines import Line, bar, count, duration, fit, seconds, sparkline
from emu.ui.top.model import LockKey, Model
from emu.ui.top.totals import Filter, totals
from emu.ui.top.views import kind_name, lock_name, name_of, permissions, share, vma_name

KEYS = (
    ("space, p", "pause, go on"),
    ("s", "step to the next page fault"),
    ("e", "step by one event"),
    ("+ -", "faster, slower (a live run: slower leaves its end)"),
    ("left, right", "seek back, forward by 1 % of the time"),
    ("PgUp, PgDn", "seek back, forward by 10 %"),
    ("Home, End", "to the begin, to the end (a live run: stay there)"),
    ("g", "go to a time: 1.5ms, 20us, 0.003 (s), 40%"),
    ("Tab, Shift+Tab", "next pane, previous pane"),
    ("up, down", "choose a row"),
    ("o", "sort the pane by its next column"),
    ("Enter", "open the page of the chosen VMA, lock or output"),
    ("f", "show only the chosen thread or VMA"),
    ("t, v", "show only one thread, one VMA (asks)"),
    ("Escape", "close the page; drop the filter"),
    ("Ctrl+C", "SIGINT for the guest; when it has ended, or in a replay: leave"),
    ("q", "leave; a guest that still runs gets SIGTERM"),
)


def help_page(width: int, height: int) -> list[Line]:
    """What the keys do."""
    lines = [fit([("Keys", "focus")], width, "focus")]
    for keys, text in KEYS:
        if width >= 60:
            lines.append(fit([(f"  {keys:<15} ", "key"), (text, "")], width))
            continue
        lines.append(fit([(keys, "key")], width))
        lines += [fit([(f"  {part}", "")], width) for part in wrap(text, max(8, width - 2))]
    lines.append(fit([], width))
    lines.append(fit([("Times are virtual: those of the emulated machine.", "dim")], width))
    return _cut(lines, width, height)


def _cut(lines: list[Line], width: int, height: int) -> list[Line]:
    lines = lines[:height]
    while len(lines) < height:
        lines.append(fit([], width))
    return lines


def _parts(title: str, items: list[tuple[str, int]], whole: int, width: int, limit: int) -> list[Line]:
    """A titled list of names with counts and bars."""
    lines: list[Line] = [fit([(title, "title")], width)]
    for name, number in items[:limit]:
        part = number / whole if whole else 0.0
        lines.append(
            fit(
                [(f"  {name[:24]:<24} {count(number):>7} {share(number, whole):>7} ", ""), bar(part, min(30, width))],
                width,
            )
        )
    if len(items) > limit:
        lines.append(fit([(f"  ({len(items) - limit} more)", "dim")], width))
    return lines


def vma_page(model: Model, number: int, span: float, width: int, height: int) -> list[Line]:
    """All about one VMA."""
    vma = model.vmas.get(number)
    lines: list[Line] = []
    if vma is None:
        lines.append(fit([(f"VMA {number}", "focus")], width, "focus"))
        lines.append(fit([("does not exist at this time", "note")], width))
        return _cut(lines, width, height)
    found = totals(model, Filter(vma=number), span)
    end = vma.start + vma.size
    lines.append(fit([(f"VMA {number}: {vma.start:x}-{end:x} {vma_name(vma)}", "focus")], width, "focus"))
    state = f"unmapped at {seconds(vma.removed)} s" if vma.removed else "mapped"
    lines.append(
        fit([(f"{permissions(vma.flags)}  flags {vma.flags:#x}  {vma.size >> 10} KiB  pid {vma.pid}  "
              f"since {seconds(vma.since)} s, {state}", "")], width)
    )  # fmt: skip
    lines.append(
        fit([(f"{found.faults} faults, {count(found.rate(found.faults))}/s; waited {duration(found.waited)}, "
              f"served in {duration(found.duration)}", "")], width)
    )  # fmt: skip
    lines.append(fit([("over time ", "dim"), (sparkline(found.history, max(8, width - 10)), "cool")], width))
    limit = max(2, (height - 16) // 3)
    kinds = sorted(((kind_name(*key), n) for key, n in found.by_kind.items()), key=lambda item: -item[1])
    lines += _parts("Faults by kind", kinds, found.faults, width, limit)
    ways = sorted(((name_of(Path, path), n) for path, n in found.by_path.items()), key=lambda item: -item[1])
    ways += [(f"- {name_of(Reason, reason)}", n) for reason, n in sorted(found.by_reason.items(), key=lambda i: -i[1])]
    lines += _parts("Served under, and why not under its own lock", ways, found.faults, width, limit)
    tids = sorted(((f"thread {tid}", entry[0]) for tid, entry in found.by_tid.items()), key=lambda item: -item[1])
    lines += _parts("Threads", tids, found.faults, width, limit)
    lock = model.locks.get(("vma_lock", number))
    if lock is not None:
        lines.append(fit([("Its lock", "title")], width))
        lines.append(
            fit([(f"  read {lock.reads}, write {lock.writes}, refused {lock.failed}, waited for {lock.waits.count} "
                  f"times, {duration(lock.waits.total)}", "")], width)
        )  # fmt: skip
    return _cut(lines, width, height)


def lock_page(model: Model, key: LockKey, span: float, width: int, height: int) -> list[Line]:
    """All about one lock: how long it was waited for, who held it meanwhile, who waited, the last waits."""
    lock = model.locks.get(key)
    title = lock_name(key, model)
    lines: list[Line] = [fit([(title, "focus")], width, "focus")]
    if lock is None:
        lines.append(fit([("has not been taken at this time", "note")], width))
        return _cut(lines, width, height)
    waits = lock.waits
    lines.append(
        fit([(f"acquired {lock.acquired}: {lock.reads} for read, {lock.writes} for write; refused {lock.failed}; "
              f"contended {waits.count}", "")], width)
    )  # fmt: skip
    shown = [("total", waits.total), ("mean", waits.mean)]
    shown += [(f"p{percent}", waits.quantile(percent / 100)) for percent in (50, 90, 99)] + [("max", waits.longest)]
    text = "  ".join(f"{name} {duration(value)}" for name, value in shown) if waits.count else "none"
    lines.append(fit([("waits: ", "dim"), (text, "")], width))
    if lock.longest_hold:
        text = (
            f"{duration(lock.longest_hold)} by {lock.longest_holder} in {printable(lock.longest_call) or 'page fault'}"
        )
        mean = duration(lock.held / lock.holds) if lock.holds else "-"
        lines.append(fit([("longest hold: ", "dim"), (f"{text}; mean {mean}", "")], width))
    limit = max(2, (height - 12) // 4)
    octaves = [(f"from {duration(low)}", number) for low, number in lock.waits.octaves()]
    if octaves:
        room = max(4, height // 4)
        if len(octaves) > room:  # the long ones are those that matter
            short = octaves[: 1 - room]
            octaves = [("shorter", sum(number for _, number in short)), *octaves[1 - room :]]
        lines += _parts("How long it was waited for", octaves, waits.count, width, len(octaves))
    for heading, found in (("Held meanwhile by", lock.contended.holders), ("Waited", lock.contended.waiters)):
        if found:
            lines.append(fit([(heading, "title")], width))
            order = sorted(found.items(), key=lambda item: -item[1][1])
            for (tid, call), (number, wait) in order[:limit]:
                name = f"{tid or 'unknown'} {printable(call) or 'page fault'}"
                part = bar(wait / waits.total if waits.total else 0, min(24, width))
                lines.append(
                    fit([(f"  {name[:28]:<28} {count(number):>6} waits {duration(wait):>8} ", ""), part], width)
                )
            if len(order) > limit:
                lines.append(fit([(f"  ({len(order) - limit} more)", "dim")], width))
    if lock.contended.recent:
        lines.append(fit([("The last waits", "title")], width))
        for last in reversed(lock.contended.recent):
            mode = f" ({'write' if last.write else 'read'})" if key[0] in SHARED else ""
            line = (
                f"  {seconds(last.time)} s  {last.tid} {printable(last.call) or 'page fault'}{mode} "
                f"<- {last.holder or 'unknown'} {printable(last.holder_call) or 'page fault'}  {duration(last.wait)}"
            )
            lines.append(fit([(line, "")], width))
    return _cut(lines, width, height)
