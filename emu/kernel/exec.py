# SPDX-License-Identifier: GPL-2.0-or-later
"""Starts a program: address space, segments, stack, auxiliary vector (fs/exec.c, fs/binfmt_elf.c).

Addresses are those of a real kernel with randomisation off, to the byte of the stack pointer, since every later fault
depends on them.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

from emu.kernel.binprm import RLIMIT_STACK, ArgumentStack
from emu.kernel.elf import ET_DYN, EXSTACK_DEFAULT, PF_R, PF_W, PF_X, ElfImage, ExecError, Segment
from emu.kernel.process import RLIM_INFINITY
from emu.mm.mm_types import (
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTDUMP,
    VM_EXEC,
    VM_IO,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
)
from emu.mm.mmap import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    get_unmapped_area,
    mmap_base,
    vm_brk_flags,
    vm_mmap_pgoff,
    vm_munmap,
)
from emu.mm.mmap_lock import mmap_write_lock, mmap_write_unlock
from emu.mm.mprotect import do_mseal
from emu.mm.vma import expand_stack_locked, install_special_mapping

if TYPE_CHECKING:
    from emu.kernel.task import Task
    from emu.mm.mm_types import file, mm_struct

AT_NULL, AT_IGNORE, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 0, 1, 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 15, 16, 17, 23
AT_BASE_PLATFORM, AT_RANDOM, AT_HWCAP2, AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN = 24, 25, 26, 27, 28
AT_EXECFN, AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = 31, 33, 51
MAX_ARG_STRLEN = 128 << 10
MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC = 0x0100000, 0x0200000, 0x0400000


def load_program(
    task: Task,
    image: ElfImage,
    program: file,
    filename: bytes,
    argv: list[bytes],
    envp: list[bytes],
    stack: ArgumentStack,
    *,
    interpreter: tuple[ElfImage, file] | None = None,
) -> None:
    """Build the address space of `task`, where nothing but `stack` with the strings is so far, and set its registers.
    `filename` is what AT_EXECFN says; `interpreter` is mapped too, and entered in place of the program. ExecError when
    it cannot be."""
    mm = task.mm
    elf = task.arch.elf
    _pick_mmap_layout(task, mm)
    # SET_PERSONALITY, elf_read_implies_exec: programs of 32 bits that do not say whether their stack is executed.
    mm.read_implies_exec = elf.elf_class == 32 and image.executable_stack == EXSTACK_DEFAULT
    task.personality = task.personality & ~READ_IMPLIES_EXEC | (READ_IMPLIES_EXEC if mm.read_implies_exec else 0)
    error = stack.finish(task.rlimit(RLIMIT_STACK), image.executable_stack)
    if error:
        raise _fail(task, os.fsdecode(filename), "no room for the stack", error)
    p = stack.p
    bias, phdr, entry = _map_segments(task, image, program, interpreter is not None)
    base, start, relocated = 0, entry, bias
    if interpreter is not None:
        base = relocated = _load_elf_interp(task, *interpreter, bias)
        start = base + interpreter[0].entry
    vdso = _map_vdso(task)
    sp = _create_elf_tables(task, image, p, phdr, base, entry, argv, envp, filename, vdso)
    mm.start_stack = sp
    if task.personality & MMAP_PAGE_ZERO:
        _map_page_zero(mm)
    process = task.signal
    process.exe = program.name
    process.argv, process.envp = list(argv), list(envp)
    task.set_pkru(task.arch.init_pkru)
    task.cpu.start_thread(start, sp, relocated, image.flags, task.access)
    task.machine.trace_exec(task, bias, task.cpu.pc)


def _pick_mmap_layout(task: Task, mm: mm_struct) -> None:
    """arch_pick_mmap_layout: mappings begin below the stack and go down, or in the middle and go up."""
    elf = task.arch.elf
    limit = task.rlimit(RLIMIT_STACK)
    mm.mmap_legacy_base = elf.unmapped_base
    mm.mmap_base = mmap_base(elf.task_size, limit, mm.memory.stack_guard_gap)
    if task.personality & ADDR_COMPAT_LAYOUT or (elf.unlimited_goes_up and limit == RLIM_INFINITY):
        mm.top_down = False
        mm.mmap_base = mm.mmap_legacy_base


def _map_page_zero(mm: mm_struct) -> None:
    """As System V had it; that it may not be mapped is no error."""
    vm_mmap_pgoff(mm, None, 0, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_FIXED | MAP_PRIVATE, 0)
    do_mseal(mm, 0, PAGE_SIZE, 0)


def _fail(task: Task, image_path: str, what: str, error: int) -> ExecError:
    return ExecError(f"{image_path}: {what}: {os.strerror(-error)}")


def copy_strings(task: Task, filename: bytes, argv: list[bytes], envp: list[bytes]) -> ArgumentStack:
    """The stack of the machine's first program, which no other one executes."""
    total = sum(len(s) + 1 for s in (filename, *argv, *envp))
    limit = max(min(task.rlimit(RLIMIT_STACK), 24 << 20) // 4, MAX_ARG_STRLEN)
    if total > limit or any(len(s) >= MAX_ARG_STRLEN for s in (*argv, *envp)):
        raise ExecError(f"{os.fsdecode(filename)}: argument list too long")
    stack = ArgumentStack(task.mm, task.arch.elf.stack_top, task.word)
    for text in (filename, *reversed(envp), *reversed(argv)):
        if stack.push(text):
            raise ExecError(f"{os.fsdecode(filename)}: no memory for its arguments")
    return stack


def _prot(segment: Segment) -> int:
    return (1 if segment.flags & PF_R else 0) | (2 if segment.flags & PF_W else 0) | (4 if segment.flags & PF_X else 0)


def _total_mapping_size(image: ElfImage) -> int:
    """Bytes from the first page of the lowest segment to the end of the highest."""
    loads = image.loads
    return max(s.vaddr + s.memsz for s in loads) - min(s.vaddr & PAGE_MASK for s in loads)


def _check_loaded(task: Task, image: ElfImage, address: int, segment: Segment) -> None:
    """A segment that was mapped must be one of user space, and not be larger in the file."""
    size = task.arch.elf.task_size
    if segment.filesz > segment.memsz or segment.memsz > size or address > size - segment.memsz:
        raise ExecError(f"{image.path}: the segment at {segment.vaddr:#x} has no place in the address space")


def _map_segments(task: Task, image: ElfImage, program: file, interpreted: bool) -> tuple[int, int, int]:
    """Map what is to be loaded: (load bias, address of the program headers, entry point). A program that has an
    interpreter lies where programs do, another position-independent one where mmap puts it."""
    mm = task.mm
    loads = image.loads
    bias = 0
    phdr = brk = 0
    mm.start_code = mm.start_data = 0
    first = True
    start_code, end_code, start_data, end_data = 1 << 64, 0, 0, 0
    for segment in loads:
        flags = MAP_PRIVATE
        total = 0
        if not first:
            flags |= MAP_FIXED
        elif image.type != ET_DYN:
            flags |= MAP_FIXED_NOREPLACE
        else:
            total = _total_mapping_size(image)
            alignment = max((s.align for s in loads if s.align & s.align - 1 == 0), default=0)
            if interpreted:
                bias = task.arch.elf.et_dyn_base & -max(alignment, PAGE_SIZE)
                flags |= MAP_FIXED_NOREPLACE
            elif alignment > PAGE_SIZE:
                found = get_unmapped_area(mm, program, 0, total + PAGE_SIZE - 1 & PAGE_MASK, 0, flags)
                if found < 0:
                    raise _fail(task, image.path, "does not fit into the address space", found)
                bias = found & -alignment
                flags |= MAP_FIXED_NOREPLACE
            bias = bias - segment.vaddr & PAGE_MASK
        mapped = _elf_load(task, image.path, program, bias + segment.vaddr, segment, flags, total)
        _check_loaded(task, image, bias + segment.vaddr, segment)
        if first and image.type == ET_DYN:
            bias += mapped - (bias + segment.vaddr & PAGE_MASK)
        first = False
        if segment.offset <= image.phoff < segment.offset + segment.filesz:
            phdr = image.phoff - segment.offset + segment.vaddr + bias
        if segment.flags & PF_X:
            start_code = min(start_code, segment.vaddr)
            end_code = max(end_code, segment.vaddr + segment.filesz)
        start_data = max(start_data, segment.vaddr)
        end_data = max(end_data, segment.vaddr + segment.filesz)
        brk = max(brk, segment.vaddr + segment.memsz)
    mm.start_code, mm.end_code = start_code + bias, end_code + bias
    mm.start_data, mm.end_data = start_data + bias, end_data + bias
    if image.type == ET_DYN and not interpreted:
        # A static PIE has its heap where a dynamic one would be, so that it does not grow into the mmap area.
        mm.start_brk = mm.brk = task.arch.elf.et_dyn_base + PAGE_SIZE - 1 & PAGE_MASK
    else:
        mm.start_brk = mm.brk = brk + bias + PAGE_SIZE - 1 & PAGE_MASK
    return bias, phdr, image.entry + bias


def _load_elf_interp(task: Task, image: ElfImage, program: file, no_base: int) -> int:
    """Map an interpreter, at its own addresses or where mmap puts it: its load bias. `no_base`: that of the program."""
    bias = 0
    for number, segment in enumerate(image.loads):
        flags, total = MAP_PRIVATE, 0
        if number or image.type != ET_DYN:
            flags |= MAP_FIXED
        elif no_base:
            bias = -segment.vaddr
        if not number:
            total = _total_mapping_size(image)
        mapped = _elf_load(task, image.path, program, bias + segment.vaddr, segment, flags, total)
        _check_loaded(task, image, bias + segment.vaddr, segment)
        if not number and image.type == ET_DYN:
            bias = mapped - (segment.vaddr & PAGE_MASK)
    return bias


def _elf_load(task: Task, path: str, program: file, address: int, segment: Segment, flags: int, total: int) -> int:
    """Map one segment and clear what is not in the file (elf_load): the page at which it begins."""
    mm = task.mm
    start = address & PAGE_MASK
    offset = address - start
    if segment.filesz and (segment.offset - offset) % PAGE_SIZE:
        raise ExecError(f"{path}: file offset and address of the segment at {segment.vaddr:#x} differ within a page")
    if segment.filesz:
        size = segment.filesz + offset + PAGE_SIZE - 1 & PAGE_MASK
        pgoff = segment.offset - offset >> PAGE_SHIFT
        if total:
            whole = total + PAGE_SIZE - 1 & PAGE_MASK
            mapped = vm_mmap_pgoff(mm, program, start, whole, _prot(segment), flags, pgoff)
            if mapped >= 0 and whole > size:
                vm_munmap(mm, mapped + size, whole - size)
        else:
            mapped = vm_mmap_pgoff(mm, program, start, size, _prot(segment), flags, pgoff)
        if mapped < 0:
            raise _fail(task, path, f"cannot map the segment at {segment.vaddr:#x}", mapped)
        if segment.memsz <= segment.filesz:
            return mapped
        zero = mapped + offset + segment.filesz
        end = mapped + offset + segment.memsz
        if segment.flags & PF_W and zero & PAGE_SIZE - 1:
            rest = PAGE_SIZE - (zero & PAGE_SIZE - 1)
            if not task.access.clear_user(zero, rest, "elf_load"):
                raise ExecError(f"{path}: no memory to clear its bss")
    else:
        mapped = start
        zero, end = start, address + segment.memsz
        if not segment.memsz:
            return mapped
    zero = zero + PAGE_SIZE - 1 & PAGE_MASK
    end = end + PAGE_SIZE - 1 & PAGE_MASK
    if zero < end:
        error = vm_brk_flags(mm, zero, end - zero, bool(segment.flags & PF_X))
        if error:
            raise _fail(task, path, f"cannot map the bss of the segment at {segment.vaddr:#x}", error)
    return mapped


def _map_vdso(task: Task) -> int:
    """The mappings that a kernel adds to every program: where the vDSO lies, 0 when there is none."""
    arch = task.arch
    pages = sum(count for _, count, _ in arch.elf.vdso_pages)
    vdso = 0
    if not pages:
        return vdso
    mm = task.mm
    mmap_write_lock(mm)
    address = get_unmapped_area(mm, None, 0, pages << PAGE_SHIFT, 0, 0)
    for name, count, prot in arch.elf.vdso_pages:
        frames: list[int] = []
        flags = prot | VM_MAYREAD
        if prot & VM_EXEC:
            flags |= VM_MAYWRITE | VM_MAYEXEC
        else:
            flags |= VM_IO | VM_PFNMAP | VM_DONTDUMP
        if name == "[vdso]":
            frames.append(task.machine.vdso_frame(arch))
            mm.vdso = vdso = address
        install_special_mapping(mm, address, count << PAGE_SHIFT, flags, name, frames)
        address += count << PAGE_SHIFT
    mmap_write_unlock(mm)
    return vdso


def _create_elf_tables(
    task: Task,
    image: ElfImage,
    p: int,
    phdr: int,
    base: int,
    entry: int,
    argv: list[bytes],
    envp: list[bytes],
    filename: bytes,
    vdso: int,
) -> int:
    """What a program finds above its stack pointer (create_elf_tables): the stack pointer."""
    mm = task.mm
    elf = task.arch.elf
    access = task.access
    word = task.word
    order = ">" if elf.big_endian else "<"
    letter = "Q" if word == 8 else "I"

    arg_start = p
    sp = p & -16
    placed: dict[bytes, int] = {}
    for text in (elf.platform, elf.base_platform):
        if text is not None:
            sp -= len(text) + 1
            placed[text] = sp
            access.copy_to_user(sp, text + b"\0")
    sp -= 16
    random = sp
    access.copy_to_user(sp, task.machine.random_bytes(16))
    execfn = mm_string_end(task, filename)

    auxv = [(key, vdso if key == AT_SYSINFO_EHDR else value) for key, value in elf.extra_auxv]
    if elf.minsigstksz and all(key != AT_MINSIGSTKSZ for key, _ in auxv):
        auxv.append((AT_MINSIGSTKSZ, elf.minsigstksz))
    cred = task.cred
    auxv += [
        (AT_HWCAP, elf.hwcap[0]),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, 100),
        (AT_PHDR, phdr),
        (AT_PHENT, image.phentsize),
        (AT_PHNUM, len(image.segments)),
        (AT_BASE, base),
        (AT_FLAGS, 0),
        (AT_ENTRY, entry),
        (AT_UID, cred.uid),
        (AT_EUID, cred.euid),
        (AT_GID, cred.gid),
        (AT_EGID, cred.egid),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_HWCAP2, elf.hwcap[1]),
        (AT_EXECFN, execfn),
    ]
    if elf.platform is not None:
        auxv.append((AT_PLATFORM, placed[elf.platform]))
    if elf.base_platform is not None:
        auxv.append((AT_BASE_PLATFORM, placed[elf.base_platform]))
    auxv += [(AT_RSEQ_FEATURE_SIZE, 28), (AT_RSEQ_ALIGN, 32), (AT_NULL, 0)]

    items = len(argv) + 1 + len(envp) + 1 + 1
    sp -= 2 * word * len(auxv)
    sp = sp - items * word & -16
    words = [len(argv)]
    at = arg_start
    mm.arg_start = at
    for text in argv:
        words.append(at)
        at += len(text) + 1
    mm.arg_end = mm.env_start = at
    words.append(0)
    for text in envp:
        words.append(at)
        at += len(text) + 1
    mm.env_end = at
    words.append(0)
    for key, value in auxv:
        words += (key, value)
    mmap_write_lock(mm)
    vma = mm.mm_mt.find(sp)
    error = -errno.EFAULT if vma is None else expand_stack_locked(vma, sp) if sp < vma.vm_start else 0
    mmap_write_unlock(mm)
    if error:
        raise _fail(task, image.path, "no room for the stack", error)
    data = struct.pack(f"{order}{len(words)}{letter}", *words)
    task.signal.auxv = data[items * word :]
    if not access.copy_to_user(sp, data, f"__put_user_{word}"):
        raise ExecError(f"{image.path}: no memory for its stack")
    return sp


def mm_string_end(task: Task, filename: bytes) -> int:
    """Where the file name lies: the last string below the top of the stack."""
    return task.arch.elf.stack_top - task.word - len(filename) - 1
