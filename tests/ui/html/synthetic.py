# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of many tasks on many CPUs, made up but consistent: threads that fault while others map and unmap.

A small model of a machine: each CPU has a clock and the one that is behind goes next, a writer of mmap_lock makes
faults and other writers wait, who waits sleeps and another task of the CPU runs.
"""

from __future__ import annotations

import random
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa

from emu.trace.schema import FORMAT, Encoder
from emu.tracepoint import FIELDS, Kind, Path, Reason, Row, Served

PAGE = 4096
_INDEX = {name: index for index, name in enumerate(FIELDS)}
_EMPTY: tuple[Any, ...] = tuple(None if name in ("text", "args", "stack") else 0 for name in FIELDS)
HEADER = {
    "format": FORMAT, "mmscope": "test", "program": "/nowhere/churn", "sha256": "0", "argv": ["churn", "8"], "env": [],
    "arch": "x86_64", "word": 8, "locking": "6.18", "memory": 1 << 30, "seed": 7, "comm": "churn", "cpus": 4,
}  # fmt: skip


def event(kind: Kind, time: int, tid: int = 100, pid: int = 100, cpu: int = 0, **fields: Any) -> Row:
    """One row."""
    row = list(_EMPTY)
    row[:5] = [time, cpu, pid, tid, int(kind)]
    for name, value in fields.items():
        row[_INDEX[name]] = value
    return tuple(row)  # type: ignore[return-value]


def write(path: FilePath, rows: list[Row], **header: Any) -> FilePath:
    """A trace of `rows`."""
    encoder = Encoder({**HEADER, **header})
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), emit_dictionary_deltas=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, encoder.schema, options=options) as writer:
        for start in range(0, len(rows), 16384):
            writer.write_batch(encoder.encode(rows[start : start + 16384]))
    return path


class _Task:
    def __init__(self, tid: int, arena: int, vma: int) -> None:
        self.tid = tid
        self.arena = arena
        self.vma = vma
        self.page = 0
        self.until = 0  # sleeps till then
        self.after: list[tuple[Kind, dict[str, Any]]] = []  # events when it wakes


class Churn:
    """`tasks` threads of one process on `cpus` CPUs; every `mappers`-th maps and unmaps, the others touch pages."""

    def __init__(self, cpus: int = 4, tasks: int = 8, mappers: int = 3, seed: int = 7, pages: int = 512) -> None:
        self.random = random.Random(seed)
        self.cpus = cpus
        self.mappers = mappers
        self.pages = pages
        self.rows: list[Row] = []
        self.clock = [0] * cpus
        self.running: list[_Task | None] = [None] * cpus
        self.slice = [0] * cpus
        self.free_at = 0  # when the writer lets mmap_lock go
        self.writer = 0
        self.next_vma = 1000
        self.queues: list[list[_Task]] = [[] for _ in range(cpus)]
        self._emit(Kind.EXEC, 0, 100, 0, address=0, ip=0x401000, text="/nowhere/churn")
        text_flags = (0x5, 0x1, 0x3)
        for number, flags in enumerate(text_flags):
            self._vma(Kind.VMA_CREATE, 10 + number, 0x400000 + number * 0x40000, 0x40000, flags, "/nowhere/churn")
        self._vma(Kind.VMA_CREATE, 20, 0x7FFFFFFDE000, 0x21000, 0x103, "[stack]")
        self._vma(Kind.VMA_CREATE, 21, 0x5C0000, 0x200000, 0x3, "[heap]")
        for number in range(tasks):
            arena = 0x7F1000000000 + number * (64 << 20)
            task = _Task(100 + number, arena, 100 + number)
            self._vma(Kind.VMA_CREATE, task.vma, arena, pages * PAGE, 0x3, None)
            if number:
                self._emit(Kind.SCHED_PROCESS_FORK, 0, 100, 0, code=task.tid, size=100, flags=0x3D0F00)
            self.queues[number % cpus].append(task)

    def _emit(self, kind: Kind, cpu: int, tid: int, time: int, **fields: Any) -> None:
        self.rows.append(event(kind, time, tid, 100, cpu, **fields))

    def _vma(self, kind: Kind, vma: int, start: int, size: int, flags: int, name: str | None, *, cpu: int = 0,
             tid: int = 100, time: int = 0) -> None:  # fmt: skip
        self._emit(kind, cpu, tid, time, address=start, size=size, flags=flags, vma=vma, text=name)

    def run(self, events: int) -> list[Row]:
        """Go on until there are that many rows; give exactly that many."""
        while len(self.rows) < events:
            cpu = min(range(self.cpus), key=lambda index: self.clock[index])
            self._step(cpu)
        return self.rows[:events]

    def _step(self, cpu: int) -> None:
        now = self.clock[cpu]
        task = self.running[cpu]
        queue = self.queues[cpu]
        if task is not None and (task.until > now or (now >= self.slice[cpu] and len(queue) > 1)):
            ready = [other for other in queue if other is not task and other.until <= now]
            chosen = min(ready, key=lambda other: other.until) if ready else None
            if chosen is None and task.until <= now:
                self.slice[cpu] = now + 100_000
                return
            self._emit(Kind.SCHED_SWITCH, cpu, task.tid, now, code=chosen.tid if chosen else 0,
                       result=int(task.until > now))  # fmt: skip
            self.running[cpu] = chosen
            self.slice[cpu] = now + 100_000
            self.clock[cpu] = now + 600
            return
        if task is None:
            chosen = min(queue, key=lambda other: other.until)
            now = max(now, chosen.until)
            self._emit(Kind.SCHED_SWITCH, cpu, 0, now, code=chosen.tid)
            self.running[cpu] = chosen
            self.slice[cpu] = now + 100_000
            self.clock[cpu] = now + 300
            return
        for kind, fields in task.after:
            self._emit(kind, cpu, task.tid, now, **fields)
        if task.after:
            task.after = []
            self.clock[cpu] = now + 400
            return
        if (task.tid - 100) % self.mappers == 0 and self.random.random() < 0.05:
            self._remap(cpu, task, now)
        else:
            self._fault(cpu, task, now)

    def _fault(self, cpu: int, task: _Task, now: int) -> None:
        address = task.arena + task.page * PAGE + self.random.randrange(0, PAGE, 8)
        task.page = (task.page + (1 if self.random.random() < 0.9 else 17)) % self.pages
        common: dict[str, Any] = {"address": address, "ip": 0x401000 + 16 * self.random.randrange(40),
                                  "code": 6, "vma": task.vma, "size": 0}  # fmt: skip
        served = Served.ANON if self.random.random() < 0.8 else Served.COW
        if self.free_at > now and self.writer != task.tid:
            wait = self.free_at - now
            self._emit(Kind.PAGE_FAULT_USER, cpu, task.tid, now, **common, flags=0x255, path=Path.MMAP_LOCK,
                       reason=Reason.WRITE_LOCKED, served=served, wait=wait, holder=self.writer,
                       duration=wait + 1400)  # fmt: skip
            self._emit(Kind.VMA_LOCK_READ_FAILED, cpu, task.tid, now, vma=task.vma, reason=Reason.WRITE_LOCKED)
            self._wait(cpu, task, now, wait, 0)
            task.after.append((Kind.MMAP_LOCK_RELEASED, {"address": 1, "duration": 900}))
            return
        reason, path = (
            (Reason.NONE, Path.VMA_LOCK) if self.random.random() < 0.97 else (Reason.NO_ANON_VMA, Path.MMAP_LOCK)
        )
        self._emit(Kind.PAGE_FAULT_USER, cpu, task.tid, now, **common, flags=0x1255, path=path, reason=reason,
                   served=served, duration=700 + self.random.randrange(300))  # fmt: skip
        if path == Path.VMA_LOCK:
            self._emit(Kind.VMA_LOCK_READ, cpu, task.tid, now, vma=task.vma)
        self.clock[cpu] = now + 1500 + self.random.randrange(800)

    def _wait(self, cpu: int, task: _Task, now: int, wait: int, write: int) -> None:
        self._emit(Kind.MMAP_LOCK_START_LOCKING, cpu, task.tid, now, address=1, code=write)
        self._emit(Kind.CONTENTION_BEGIN, cpu, task.tid, now, address=1, code=write, holder=self.writer,
                   text="mmap_lock")  # fmt: skip
        told = {"address": 1, "code": write, "wait": wait, "holder": self.writer}
        task.after = [
            (Kind.CONTENTION_END, {**told, "text": "mmap_lock"}),
            (Kind.MMAP_LOCK_ACQUIRE_RETURNED, {**told, "result": 1}),
        ]
        task.until = now + wait

    def _remap(self, cpu: int, task: _Task, now: int) -> None:
        """munmap and mmap of the arena; the lock is held for up to 40 us."""
        self._emit(Kind.SYS_ENTER, cpu, task.tid, now, code=11, text="munmap", args=(task.arena, self.pages * PAGE))
        if self.free_at > now:
            self._wait(cpu, task, now, self.free_at - now, 1)
            task.after.append((Kind.MMAP_LOCK_RELEASED, {"address": 1, "code": 1, "duration": 500}))
            task.after.append((Kind.SYS_EXIT, {"code": 11, "text": "munmap", "result": -4, "duration": 900}))
            return
        held = self.random.randrange(5_000, 40_000)
        self._emit(Kind.MMAP_LOCK_START_LOCKING, cpu, task.tid, now, address=1, code=1)
        self._emit(Kind.MMAP_LOCK_ACQUIRE_RETURNED, cpu, task.tid, now, address=1, code=1, result=1)
        self._emit(Kind.VMA_LOCK_WRITE, cpu, task.tid, now, vma=task.vma)
        size = self.pages * PAGE
        self._vma(Kind.VMA_REMOVE, task.vma, task.arena, size, 0x3, None, cpu=cpu, tid=task.tid, time=now)
        self.free_at, self.writer = now + held, task.tid
        done = now + held
        task.vma = self.next_vma
        self.next_vma += 1
        task.page = 0
        self._vma(Kind.VMA_CREATE, task.vma, task.arena, size, 0x3, None, cpu=cpu, tid=task.tid, time=done)
        self._emit(Kind.MMAP_LOCK_RELEASED, cpu, task.tid, done, address=1, code=1, duration=held)
        self._emit(Kind.SYS_EXIT, cpu, task.tid, done, code=11, text="munmap", result=0, duration=held + 300)
        self.clock[cpu] = done + 300


def churn(events: int, **options: int) -> list[Row]:
    """That many rows of a program whose threads fault while every fourth of them maps and unmaps."""
    return Churn(**options).run(events)
