# SPDX-License-Identifier: GPL-2.0-or-later
"""Every system call takes what the entry code hands it, and none of them ends in anything but a result or a signal."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
from pathlib import Path

import pytest

from emu.kernel.syscall import MODULES
from tests.guests import mmscope

MACHINES = ("x86_64", "aarch64", "powerpc64", "powerpc64le", "powerpc")


@pytest.mark.parametrize("module", MODULES)
def test_takes_a_task_and_six_arguments(module: str) -> None:
    for name, function in importlib.import_module(module).SYSCALLS.items():
        inspect.signature(function).bind(None, 0, 0, 0, 0, 0, 0), name


WILD = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long long state;
static char *memory; /* eight pages, the next one is not there */
static int fds[8];

static unsigned long pick(unsigned long below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned long)(state >> 11) % below;
}

static unsigned long argument(void)
{
    switch (pick(14)) {
    case 0: return 0;
    case 1: return -1ul;
    case 2: return (unsigned long)memory;
    case 3: return (unsigned long)memory + 32768 - pick(16);
    case 4: return (unsigned long)state;
    case 5: return pick(8);
    case 6: return (unsigned long)fds[pick(8)];
    case 7: return 4096 * pick(20);
    case 8: return 1ul << pick(8 * sizeof(long));
    case 9: return (unsigned long)memory + 8192;
    case 10: return (unsigned long)memory + 8192 + 256;
    case 11: return -pick(4096);
    case 12: return 0x7fffffff;
    default: return (unsigned long)memory & -4096ul;
    }
}

static int ends_others(long number)
{
    static const long numbers[] = {SYS_exit_group, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_clone, 435,
#ifdef SYS_fork
                                   SYS_fork, SYS_vfork,
#endif
    };
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] == number)
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    state = 88172645463325252ull ^ strtoull(argv[argc - 2], 0, 10) * 2654435761ull;
    memory = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(memory + 32768, 4096);
    for (int i = atoi(argv[argc - 1]); i; i--) {
        long number = i <= 470 ? i - 1 : (long)pick(470); /* each of them once at least */
        if (ends_others(number))
            continue;
        pid_t child = fork();
        if (!child) {
            alarm(1);
            if (pipe(fds))
                _exit(1);
            fds[2] = open("/etc/passwd", O_RDONLY);
            fds[3] = memfd_create("memory", MFD_ALLOW_SEALING);
            fds[4] = open("/dev/zero", O_RDWR);
            fds[5] = open("/proc/self", O_RDONLY | O_DIRECTORY);
            fds[6] = open("/proc/self/mem", O_RDWR);
            fds[7] = open("/proc/self/maps", O_RDONLY);
            for (int at = 0; at < 4096; at++)
                memory[at] = (char)pick(256);
            memset(memory + 8192, 0, 64);
            strcpy(memory + 8192 + 256, "/etc/passwd");
            ((unsigned long *)(memory + 8192))[0] = (unsigned long)memory;
            ((unsigned long *)(memory + 8192))[1] = 100;
            for (int round = 0; round < 12; round++) {
                unsigned long a[6];
                for (int j = 0; j < 6; j++)
                    a[j] = argument();
                syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
            }
            _exit(0);
        }
        for (int wait = 0; wait < 30 && waitpid(child, 0, WNOHANG) == 0; wait++)
            usleep(100000);
        kill(child, SIGKILL); /* a signal mask may have kept the alarm away */
        waitpid(child, 0, 0);
    }
    puts("done");
    return 0;
}
"""


@pytest.fixture(scope="module", params=MACHINES)
def wild(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose children make system calls with arguments that make no sense."""
    machine = request.param
    compiler = shutil.which(f"{machine}-linux-gnu-gcc")
    if compiler is None:
        pytest.skip(f"{machine}-linux-gnu-gcc is missing: install gcc-{machine.replace('_', '-')}-linux-gnu")
    directory = tmp_path_factory.mktemp("wild")
    source, program = directory / "wild.c", directory / "wild"
    source.write_text(WILD)
    subprocess.run([compiler, "-O1", "-static", "-w", str(source), "-o", str(program)], check=True)
    return program


def test_wild_arguments(wild: Path) -> None:
    ran = mmscope("run", "--timeout", "600", wild, "1", "520", timeout=300)
    assert "Traceback" not in ran.err
    assert (ran.status, ran.out[-5:]) == (0, b"done\n"), ran.err
