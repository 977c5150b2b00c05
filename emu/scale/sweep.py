# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs many jobs at once, each in a process of its own, so that a run that fails takes no other with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from emu.scale.result import Job, Result

WORKER = (sys.executable, "-m", "emu.scale.worker")
STOPPED = "stopped"  # the problem of a run that was not finished because the sweep was interrupted
OUTPUT_KEPT = 1 << 20  # bytes of a guest's output that are looked at, from its end


class Sweep:
    """The processes that run now."""

    def __init__(self, worker: Sequence[str] = WORKER) -> None:
        self.worker = worker
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, jobs: Iterable[Job], parallel: int, done: Callable[[Job, Result], None]) -> None:
        """Run all jobs, at most `parallel` at a time; `done` is called in the caller's thread as each one ends. What
        interrupts the caller (Ctrl-C) ends all processes first."""
        with ThreadPoolExecutor(parallel) as pool:
            waiting = {pool.submit(self.run_one, job): job for job in jobs}
            try:
                for future in as_completed(waiting):
                    done(waiting[future], future.result())
            except BaseException:
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def run_one(self, job: Job) -> Result:
        """Run one job to its end. Never raises: what goes wrong is in the result."""
        with tempfile.TemporaryDirectory(prefix="mmscope-scale-") as directory:
            answer = Path(directory) / "result"
            with open(Path(directory) / "output", "w+b") as output:
                with self._lock:
                    if self._stopped:
                        return Result(problem=STOPPED)
                    process = subprocess.Popen(
                        [*self.worker, job.to_json(), str(answer)],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # Ctrl-C at the terminal is ours to pass on
                    )
                    self._running.add(process)
                try:
                    process.wait()
                finally:
                    with self._lock:
                        self._running.discard(process)
                output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_KEPT))
                text = output.read().decode(errors="replace")
            if process.returncode or not answer.exists():
                last = text.strip().rpartition("\n")[2]
                how = f"ended with status {process.returncode}"
                if process.returncode < 0:
                    how = f"was killed by {signal.Signals(-process.returncode).name}"
                return Result(problem=f"the run {how}" + (f": {last}" if last else ""))
            result = Result.from_json(answer.read_text())
        if result.problem:
            return result
        result.read_output(text)
        if result.status and not result.timed_out:
            said = [*result.messages, *text.strip().splitlines()[-1:]]
            how = f"killed by signal {-result.status}" if result.status < 0 else f"exit status {result.status}"
            result.problem = ": ".join([how, *said[:1]])
        return result

    def stop(self) -> None:
        """End all processes."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
