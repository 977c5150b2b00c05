# SPDX-License-Identifier: GPL-2.0-or-later
"""Restartable sequences: a thread sees on which CPU it runs, and a sequence that was interrupted starts over
(kernel/rseq.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archs.base import SIGSEGV, SigInfo

if TYPE_CHECKING:
    from emu.kernel.task import Task

_CPU_ID_START, _CPU_ID, _CS, _NODE_ID, _MM_CID = 0, 4, 8, 20, 24
_UNINITIALIZED = 0xFFFFFFFF  # RSEQ_CPU_ID_UNINITIALIZED
_NO_RESTART = 7  # RSEQ_CS_FLAG_NO_RESTART_ON_*


def rseq_update_cpu_node_id(task: Task) -> bool:
    """Store the number of the CPU; False = EFAULT."""
    cpu = task.machine.sched.rq.id
    return _store(task, cpu, cpu, cpu, "rseq_update_cpu_node_id")


def rseq_reset_rseq_cpu_node_id(task: Task) -> bool:
    """Store that no CPU's number is kept there (any more); False = EFAULT."""
    return _store(task, 0, _UNINITIALIZED, 0, "rseq_reset_rseq_cpu_node_id")


def _store(task: Task, cpu_id_start: int, cpu_id: int, mm_cid: int, function: str) -> bool:
    access, (address, _) = task.access, task.rseq
    for offset, value in ((_CPU_ID_START, cpu_id_start), (_CPU_ID, cpu_id), (_NODE_ID, 0), (_MM_CID, mm_cid)):
        if not access.put_user(address + offset, value, 4, function):
            return False
    return True


def rseq_handle_notify_resume(task: Task) -> None:
    """Before the task goes back to its program after it was preempted, moved or sent a signal: abort the sequence that
    it was in, then tell the CPU. SIGSEGV where the record cannot be used."""
    if task.exiting or not (_rseq_ip_fixup(task) and rseq_update_cpu_node_id(task)):
        task.force_sig(SigInfo(SIGSEGV, 0x80))
        task.sigpending = True


def _rseq_ip_fixup(task: Task) -> bool:
    access, (address, signature) = task.access, task.rseq
    pointer = access.get_user(address + _CS, 8)
    if pointer is None:
        return False
    if not pointer:  # taken for a section of no length: what is there already is written again
        return access.put_user(address + _CS, 0, 8)
    words = [access.get_user(pointer + at, size, "_copy_from_user") for at, size in ((0, 4), (8, 8), (16, 8), (24, 8))]
    if any(word is None for word in words):
        return False
    version, start, length, abort = (word or 0 for word in words)
    if version or abort - start < length or start + length < start:
        return False
    if access.get_user(abort - 4, 4) != signature:
        return False
    ip = task.cpu.pc
    if not access.put_user(address + _CS, 0, 8):
        return False
    if start <= ip < start + length:
        task.cpu.pc = abort
    return True
