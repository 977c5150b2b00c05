# SPDX-License-Identifier: GPL-2.0-or-later
"""--strace prints calls as strace does: names for flags, what pointers point to, errors by name."""

from __future__ import annotations

import re

import pytest

from tests.guests import TARGETS, guest, mmscope


def lines(name: str, target: str = "x86_64", *arguments: str) -> list[str]:
    """What --strace prints of a guest, without the numbers of the tasks."""
    ran = mmscope("run", "--strace", guest(name, target), *arguments)
    assert "Traceback" not in ran.err
    return [re.sub(r"^\[pid \d+\] ", "", line) for line in ran.err.splitlines()]


def one(pattern: str, printed: list[str]) -> str:
    """The first line that is `pattern` as a whole."""
    found = [line for line in printed if re.fullmatch(pattern, line)]
    assert found, "\n".join(printed)
    return found[0]


@pytest.mark.parametrize("target", TARGETS)
def test_memory_calls(target: str) -> None:
    printed = lines("fork_threads", target)
    one(r"mmap2?\(NULL, \d+, PROT_READ\|PROT_WRITE, MAP_SHARED\|MAP_ANONYMOUS, -1, 0\) = 0x[0-9a-f]+", printed)
    flags = r"MAP_PRIVATE\|MAP_FIXED\|MAP_ANONYMOUS"
    one(rf"mmap2?\(0x41000000, 8192, PROT_READ\|PROT_WRITE, {flags}, -1, 0\) = 0x41000000", printed)
    one(r"mprotect\(0x41000000, 4096, PROT_READ\) = 0", printed)
    one(r"madvise\(0x41000000, 4096, MADV_DONTNEED\) = 0", printed)


@pytest.mark.parametrize("target", TARGETS)
def test_tasks_and_signals(target: str) -> None:
    printed = lines("threads", target)
    assert any(
        re.match(r"clone\(CLONE_VM\|CLONE_FS\|CLONE_FILES\|CLONE_SIGHAND\|CLONE_THREAD\|CLONE_SYSVSEM\|", line)
        for line in printed
    )
    assert any(re.match(r"futex\(0x[0-9a-f]+, FUTEX_WAIT(_PRIVATE)?, ", line) for line in printed)
    one(r"rt_sigprocmask\(SIG_UNBLOCK, \[RT_1 RT_2\], NULL, 8\) = 0", printed)
    printed = lines("forks", target)
    one(r"wait4\(-?\d+, \[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == \d+\}\], 0, NULL\) = \d+", printed)


@pytest.mark.parametrize("target", TARGETS)
def test_handlers(target: str) -> None:
    printed = lines("segv", target)
    flags = r"sa_flags=[A-Z_|0-9x]*SA_SIGINFO"
    one(rf"rt_sigaction\(SIGSEGV, {{sa_handler=0x[0-9a-f]+, sa_mask=\[\], {flags}}}, NULL, 8\) = 0", printed)


@pytest.mark.parametrize("target", TARGETS)
def test_files_and_errors(target: str) -> None:
    printed = lines("misbehave", target, "write", "/nonexistent/a")
    text = "\n".join(printed)
    assert re.search(r'open(at)?\((AT_FDCWD, )?"/nonexistent/a", O_\w+\|[A-Z_|]*O_CREAT[A-Z_|]*, 0\d+\) = -1 E', text)
    printed = lines("misbehave", target, "pointers")
    assert any(line.endswith(" = -1 EFAULT (Bad address)") for line in printed)
    assert any(re.match(r"writev?\(1, 0x[0-9a-f]+, \d+\) = -1 EFAULT", line) for line in printed)


def test_what_was_written_is_shown_as_text() -> None:
    one(r'writev?\(1, (\[\{iov_base=)?"hello.*', lines("hello"))


def test_looking_changes_nothing() -> None:
    """A run with --strace prints and ends as one without."""
    plain, traced = mmscope("run", guest("signals")), mmscope("run", "--strace", guest("signals"))
    assert (plain.out, plain.status) == (traced.out, traced.status)


def test_calls_that_few_use() -> None:
    printed = lines("odd_calls")
    one(r"signalfd4\(-1, \[KILL USR1 CHLD RT_\d\], 8, SOCK_NONBLOCK\|SOCK_CLOEXEC\) = 3", printed)
    one(r"kcmp\(\d+, \d+, KCMP_FILE, 0x1, 0x\d\) = 0", printed)
    one(r"process_madvise\(\d, \[\{iov_base=.*\], 2, MADV_DONTNEED, 0\) = 12288", printed)
    one(
        r'setxattr\("/", "user.a", "b", 1, XATTR_CREATE\|XATTR_REPLACE\|0x4\) = -1 EINVAL \(Invalid argument\)', printed
    )
