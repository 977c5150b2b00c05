# SPDX-License-Identifier: GPL-2.0-or-later
"""Static glibc programs of every architecture, built by the distribution's compilers (powerpc64 is ELFv1)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guests import ROOT, mmscope

COMPILERS = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")
PROGRAMS = ("anon", "brk", "faults", "mremap", "segv", "stack")


@pytest.mark.parametrize("machine", COMPILERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_what_it_prints_natively(name: str, machine: str, tmp_path: Path) -> None:
    compiler = shutil.which(f"{machine}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"{machine}-linux-gnu-gcc is missing: install gcc-{machine.replace('_', '-')}-linux-gnu")
    source = ROOT / "guestprogs" / f"{name}.c"
    program = tmp_path / name
    built = subprocess.run([compiler, "-O1", "-static", "-w", str(source), "-o", str(program)], capture_output=True)
    assert built.returncode == 0, built.stderr.decode()
    ran = mmscope("run", program)
    assert ran.out == (ROOT / "traces" / "kernel" / "emerald-rapids" / f"{name}.out").read_bytes(), ran.err


UNWINDING = r"""
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unwind.h>

static sem_t ready;
static int cleaned;
static int frames;

static void cleanup(void *argument) { (void)argument; cleaned++; }

static void *waits(void *argument)
{
    pthread_cleanup_push(cleanup, NULL);
    sem_post(&ready);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return argument;
}

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *argument)
{
    (void)context;
    (void)argument;
    frames++;
    return _URC_NO_REASON;
}

static void handler(int signo)
{
    _Unwind_Backtrace(frame, NULL);
    printf("signal %d: the handler, its trampoline, six callers, main: %d\n", signo, frames >= 9);
    exit(0);
}

__attribute__((noinline)) int fault(int depth, volatile int *where)
{
    return depth ? fault(depth - 1, where) + 1 : *where;
}

int main(void)
{
    pthread_t thread;
    void *result;
    sem_init(&ready, 0, 0);
    pthread_create(&thread, NULL, waits, NULL);
    sem_wait(&ready);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("cancelled %d, cleaned up %d\n", result == PTHREAD_CANCELED, cleaned);
    fflush(stdout);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    return fault(5, NULL);
}
"""


@pytest.mark.parametrize("siginfo", ["SA_SIGINFO", "0"])
@pytest.mark.parametrize("machine", COMPILERS)
def test_unwinding_goes_through_signal_frames(machine: str, siginfo: str, tmp_path: Path) -> None:
    """The cancellation of a thread, and a backtrace from a handler to main."""
    compiler = shutil.which(f"{machine}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"{machine}-linux-gnu-gcc is missing: install gcc-{machine.replace('_', '-')}-linux-gnu")
    source, program = tmp_path / "unwinding.c", tmp_path / "unwinding"
    source.write_text(UNWINDING.replace("SIGINFO", siginfo))
    flags = ["-O0", "-static", "-w", "-pthread", "-fasynchronous-unwind-tables"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True)
    ran = mmscope("run", program)
    told = b"signal 11: the handler, its trampoline, six callers, main: 1\n"
    assert (ran.out, ran.status) == (b"cancelled 1, cleaned up 1\n" + told, 0), ran.err
