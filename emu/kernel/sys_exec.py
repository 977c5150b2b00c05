# SPDX-License-Identifier: GPL-2.0-or-later
"""execve and execveat: a task goes on with another program (fs/exec.c, fs/binfmt_script.c)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from archs.base import SI_KERNEL, SigInfo
from emu.fs.consts import AT_FDCWD, FMODE_WRITE, MAY_EXEC, O_RDONLY
from emu.fs.dcache import Dentry, d_path
from emu.fs.file import File
from emu.fs.iov_iter import kernel_read
from emu.fs.namei import LOOKUP_FOLLOW, inode_permission, path_lookup
from emu.kernel.args import getname, s32, starting_point
from emu.kernel.binprm import RLIMIT_STACK, ArgumentStack
from emu.kernel.elf import ElfImage, ExecError, check_interpreter, parse_program
from emu.kernel.exec import MAX_ARG_STRLEN, load_program
from emu.kernel.exit import mm_release, take_over_leader
from emu.kernel.signal import SIGCHLD, SIGSEGV
from emu.kernel.sys_timer import exit_timers
from emu.kernel.syscall import NO_RESULT
from emu.mm.fork import mmput
from emu.mm.mm_types import inherited_mdwe
from emu.mm.mmap_lock import mmap_read_lock_killable, mmap_read_unlock
from emu.sched.entity import State

if TYPE_CHECKING:
    from emu.kernel.task import Task
    from emu.mm.mm_types import mm_struct

AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0x100, 0x1000
MAX_ARG_STRINGS = 0x7FFFFFFF
BINPRM_BUF_SIZE = 256
MAX_INTERPRETERS = 5


class linux_binprm:
    """What is known of the program to be run (struct linux_binprm)."""

    stack: ArgumentStack

    def __init__(self, filename: bytes, file: File) -> None:
        self.filename = filename  # as it was asked for: AT_EXECFN
        self.interp = filename  # what a script's interpreter is told to read
        self.file = file  # the program itself; of a script, its interpreter
        self.comm = b""  # what the task is called where `filename` says nothing
        self.inaccessible = False  # the interpreter of a script could not open `filename`
        self.argv: list[bytes] = []
        self.envp: list[bytes] = []
        self.interpreter: tuple[ElfImage, File] | None = None  # what loads the program's libraries

    def use(self, file: File) -> None:
        """Go on with another file."""
        self.file.put()
        self.file = file


def do_open_execat(task: Task, start: Dentry, path: bytes, flags: int) -> File | int:
    """Open a program: -EACCES what may not be executed, -ETXTBSY what is open for writing."""
    if path:
        found = path_lookup(task, start, path, 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW)
    else:
        found = start if flags & AT_EMPTY_PATH else -errno.ENOENT
    if isinstance(found, int):
        return found
    inode = found.inode
    if inode.is_link:
        return -errno.ELOOP
    if not inode.is_reg:
        return -errno.EACCES
    error = inode_permission(found, task, MAY_EXEC)
    if error:
        return error
    if _open_for_writing(task, found):
        return -errno.ETXTBSY
    return inode.open(found, O_RDONLY, task)


def _open_for_writing(task: Task, place: Dentry) -> bool:
    """deny_write_access: has anybody opened it for writing."""
    key = place.inode.key
    tables = {id(other.files): other.files for other in task.machine.pids.values() if not other.exiting}
    return any(
        file.f_mode & FMODE_WRITE and file.write_access and file.f_inode.key == key
        for files in tables.values()
        for file in files.fd.values()
    )


def _strings(task: Task, array: int) -> list[int] | int:
    """Addresses of the strings of an argument vector; none for NULL (count). -EFAULT, -E2BIG."""
    found: list[int] = []
    word = task.word
    while array:
        pointer = task.access.get_user(array + word * len(found), word)
        if pointer is None:
            return -errno.EFAULT
        if not pointer:
            break
        if len(found) >= MAX_ARG_STRINGS:
            return -errno.E2BIG
        if task.fatal_signal_pending():
            return -514  # ERESTARTNOHAND
        found.append(pointer)
        if len(found) * word > _stack_limit(task):
            return -errno.E2BIG
    return found


def _stack_limit(task: Task) -> int:
    """Bytes that arguments and environment may take (bprm_stack_limits)."""
    return max(min(task.rlimit(RLIMIT_STACK) // 4, 6 << 20), 128 << 10)


def _copy_strings(task: Task, stack: ArgumentStack, pointers: list[int], room: int) -> tuple[list[bytes], int] | int:
    """Put the strings on the new program's stack, the last one first: they, and what is left of `room`; -EFAULT,
    -E2BIG (copy_strings)."""
    texts = []
    stack.begin()
    for pointer in reversed(pointers):
        text = task.access.strnlen_user(pointer, MAX_ARG_STRLEN)
        if text is None:
            return -errno.EFAULT
        room -= len(text) + 1
        if len(text) >= MAX_ARG_STRLEN or room < 0:
            return -errno.E2BIG
        if task.fatal_signal_pending():
            return -514  # ERESTARTNOHAND
        error = stack.push(text)
        if error:
            return error
        texts.append(text)
    return texts[::-1], room


def load_script(task: Task, bprm: linux_binprm, buffer: bytes) -> int:
    """`#!`: the interpreter, with what the line gives it and the script's name in front of the arguments. `buffer`: the
    file's first 256 bytes, filled up with zeros."""
    text = buffer[2:]
    end = text.partition(b"\0")[0].find(b"\n")
    if end < 0:
        # The line is longer than the buffer, or the file's last: all right as long as the interpreter's name is whole.
        rest = text.lstrip(b" \t")
        if not rest or not any(c in rest for c in b" \t\0"):
            return -errno.ENOEXEC
        end = len(text) - 1
    line = text[:end].rstrip(b" \t").lstrip(b" \t")
    name = min((line.split(c, 1)[0] for c in (b" ", b"\t", b"\0")), key=len)
    if not name:
        return -errno.ENOEXEC
    if bprm.inaccessible:
        return -errno.ENOENT
    argument = b""
    if line[len(name) : len(name) + 1] in (b" ", b"\t"):
        argument = line[len(name) :].lstrip(b" \t").partition(b"\0")[0]
    stack = bprm.stack
    error = stack.remove_arg_zero(bprm.argv[0])
    added = [name, *([argument] if argument else []), bprm.interp]
    for string in reversed(added):
        error = error or stack.push_kernel(string)
    if error:
        return error
    bprm.argv = [*added, *bprm.argv[1:]]
    bprm.interp = name
    file = do_open_execat(task, task.fs.root if name.startswith(b"/") else task.fs.pwd, name, 0)
    if isinstance(file, int):
        return file
    bprm.use(file)
    return 0


def _find_program(task: Task, bprm: linux_binprm) -> ElfImage | int:
    """Through scripts to a program that this machine runs; -ENOEXEC, -ELOOP (exec_binprm)."""
    for _ in range(MAX_INTERPRETERS + 1):
        head = kernel_read(task, bprm.file, 0, BINPRM_BUF_SIZE)
        if isinstance(head, int):
            return head
        if head[:2] != b"#!":
            return _read_elf(task, bprm)
        error = load_script(task, bprm, head.ljust(BINPRM_BUF_SIZE, b"\0"))
        if error:
            return error
    return -errno.ELOOP


def _parse(task: Task, file: File) -> ElfImage:
    """The headers of an ELF file; ExecError."""
    path = d_path(file.f_dentry).decode("utf-8", "surrogateescape")

    def read(offset: int, size: int) -> bytes:
        data = kernel_read(task, file, offset, size)
        return b"" if isinstance(data, int) else data

    return parse_program(path, file.f_inode.i_size, read)


def open_interpreter(task: Task, image: ElfImage) -> tuple[ElfImage, File] | None:
    """The interpreter that a program names, open; None when it names none. ExecError when there is none that fits."""
    if image.interpreter is None:
        return None
    name = image.interpreter
    shown = f"{image.path}: its interpreter {name.decode('utf-8', 'surrogateescape')!r}"
    file = do_open_execat(task, task.fs.root if name.startswith(b"/") else task.fs.pwd, name, 0)
    if isinstance(file, int):
        reason = "is missing" if file == -errno.ENOENT else f"cannot be opened: {os.strerror(-file)}"
        raise ExecError(f"{shown} {reason}", -file)
    try:
        interpreter = _parse(task, file)
        check_interpreter(interpreter, image)
    except ExecError as problem:
        file.put()
        raise ExecError(f"{shown} cannot be used: {problem}", errno.ELIBBAD) from None
    return interpreter, file


def _read_elf(task: Task, bprm: linux_binprm) -> ElfImage | int:
    elf = task.arch.elf
    try:
        image = _parse(task, bprm.file)
        if (image.machine, image.elf_class, image.big_endian) != (elf.machine, elf.elf_class, elf.big_endian):
            return -errno.ENOEXEC
        if not elf.flags_ok(image.flags):
            return -errno.ENOEXEC
        bprm.interpreter = open_interpreter(task, image)
    except ExecError as problem:
        return -problem.errno
    return image


def de_thread(task: Task) -> int:
    """End all other threads of the process, and become its leader: 0, -EAGAIN when somebody else ends it."""
    process = task.signal
    if process.group_exit is not None or process.execing is not None:
        return -errno.EAGAIN
    process.execing = task
    try:
        for thread in list(process.threads):
            if thread is not task:
                process.kill_thread(thread)
        while len(process.threads) > 1 or not (task is process.leader or process.leader.zombie):
            task.waiting_for = "its other threads to end (execve)"
            if task.machine.sched.block(State.KILLABLE) < 0 and task.fatal_signal_pending():
                return -errno.EAGAIN
    finally:
        process.execing = None
    if task is not process.leader:
        take_over_leader(task)
    task.exit_signal = SIGCHLD
    return 0


def exec_mmap(task: Task, mm: mm_struct) -> int:
    """Change to the new address space; the old one loses a user."""
    machine, old = task.machine, task.mm
    mm_release(task)
    if mmap_read_lock_killable(old):
        return -errno.EINTR
    cpu = old.cpu
    if cpu is not None and cpu.task is task:
        cpu.task = None
    task.thread = None
    task.attach_mm(mm)
    machine.set_mm_owner(task)
    mmap_read_unlock(old)
    old.hiwater_rss = max(old.hiwater_rss, sum(old.rss))
    task.signal.maxrss = max(task.signal.maxrss, old.hiwater_rss)
    if old.mm_users == 1:
        machine.detach(old)
    mmput(old)
    return 0


def begin_new_exec(task: Task, bprm: linux_binprm, mm: mm_struct) -> int:
    """The point of no return: what the old program had goes. After an error only the end is left."""
    error = de_thread(task)
    if error:
        return error
    process, signals = task.signal, task.signals
    if task.files.count > 1:
        task.files.count -= 1
        task.files = task.files.copy()
    mm.exe_file = bprm.file
    bprm.file.get()
    error = exec_mmap(task, mm)
    if error:
        return error
    exit_timers(process)
    process.shared_pending.flush_timers()
    signals.private.flush_timers()
    if signals.sighand.count > 1:
        signals.sighand.count -= 1
        signals.sighand = signals.sighand.copy()
    signals.sighand.flush_handlers()
    signals.altstack = (0, 0, signals.altstack[2])
    task.clear_child_tid = task.set_child_tid = 0
    task.robust_list = (0, 0)
    task.rseq = (0, 0)
    task.futex_dead = False
    _set_creds(task)
    task.restart_block = None
    process.did_exec = True
    task.files.do_close_on_exec()
    return 0


def _set_creds(task: Task) -> None:
    """Root gets what its bounding set allows, others nothing; no file is set-user-ID (cap_bprm_creds_from_file)."""
    cred = task.cred
    permitted = task.cap_bset if 0 in (cred.uid, cred.euid) else 0
    task.cap_permitted = permitted & task.cap_permitted if task.no_new_privs else permitted
    cred.cap_effective = task.cap_permitted if cred.euid == 0 else 0
    cred.suid = cred.fsuid = cred.euid
    cred.sgid = cred.fsgid = cred.egid
    task.set_mm_rights()
    task.dumpable = int((cred.uid, cred.gid) == (cred.euid, cred.egid))


def do_execveat(task: Task, dfd: int, name: int, argv: int, envp: int, flags: int) -> Any:
    """Run another program: -errno, or NO_RESULT with the registers of the new program (do_execveat_common)."""
    path = getname(task, name)
    if isinstance(path, int):
        return path
    if not path and not flags & AT_EMPTY_PATH:
        return -errno.ENOENT
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    start = starting_point(task, dfd, path)
    if isinstance(start, int):
        return start
    file = do_open_execat(task, start, path, flags)
    if isinstance(file, int):
        return file
    bprm = linux_binprm(path, file)
    if s32(dfd) != AT_FDCWD and not path.startswith(b"/"):
        number = dfd & 0xFFFFFFFF
        bprm.filename = bprm.interp = b"/dev/fd/%d" % number + (b"/" + path if path else b"")
        bprm.inaccessible = number in task.files.close_on_exec
        if not path:
            bprm.comm = file.f_dentry.name
    try:
        return _execute(task, bprm, argv, envp)
    finally:
        bprm.file.put()
        if bprm.interpreter is not None:
            bprm.interpreter[1].put()


def _prepare(task: Task, bprm: linux_binprm, argv: int, envp: int) -> ElfImage | int:
    """Copy the arguments to where the new program finds them, and find it; -errno, and the caller goes on."""
    arguments = _strings(task, argv)
    if isinstance(arguments, int):
        return arguments
    environment = _strings(task, envp)
    if isinstance(environment, int):
        return environment
    room = _stack_limit(task) - (max(len(arguments), 1) + len(environment)) * task.word
    room -= len(bprm.filename) + 1
    if room <= 0:
        return -errno.E2BIG
    error = bprm.stack.push_kernel(bprm.filename)
    if error:
        return error
    copied = _copy_strings(task, bprm.stack, environment, room)
    if isinstance(copied, int):
        return copied
    bprm.envp, room = copied
    copied = _copy_strings(task, bprm.stack, arguments, room)
    if isinstance(copied, int):
        return copied
    bprm.argv = copied[0]
    if not bprm.argv:
        bprm.argv = [b""]
        error = bprm.stack.push_kernel(b"")
        if error:
            return error
    return _find_program(task, bprm)


def _execute(task: Task, bprm: linux_binprm, argv: int, envp: int) -> Any:
    """bprm_execve."""
    memory = task.machine.memory
    try:
        mm = memory.new_mm(task.arch.format)
    except MemoryError:
        return -errno.ENOMEM
    mm.rlimit = task.rlimit
    mm.mdwe = inherited_mdwe(task.mm)
    bprm.stack = ArgumentStack(mm, task.arch.elf.stack_top, task.word)
    image = _prepare(task, bprm, argv, envp)
    if isinstance(image, int):
        mmput(mm)
        return image
    error = begin_new_exec(task, bprm, mm)
    if error:
        if task.mm is not mm:
            mmput(mm)
        _fatal(task)
        return error
    task.comm = (bprm.comm or bprm.filename.rpartition(b"/")[2])[:15].decode("utf-8", "surrogateescape")
    try:
        load_program(
            task, image, bprm.file, bprm.filename, bprm.argv, bprm.envp, bprm.stack, interpreter=bprm.interpreter
        )
    except ExecError:
        _fatal(task)
        return -errno.ENOEXEC
    return NO_RESULT


def _fatal(task: Task) -> None:
    """There is nothing to go back to (force_fatal_sig)."""
    if not task.fatal_signal_pending():
        task.signals.actions[SIGSEGV] = type(task.signals.actions[SIGSEGV])()
        task.force_sig_unlogged(SigInfo(SIGSEGV, SI_KERNEL))


def sys_execve(task: Task, name: int, argv: int, envp: int, *_: int) -> Any:
    return do_execveat(task, AT_FDCWD, name, argv, envp, 0)


def sys_execveat(task: Task, dfd: int, name: int, argv: int, envp: int, flags: int, *_: int) -> Any:
    return do_execveat(task, dfd, name, argv, envp, flags & 0xFFFFFFFF)


SYSCALLS = {"execve": sys_execve, "execveat": sys_execveat}
