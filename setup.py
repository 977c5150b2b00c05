# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the C extensions; everything else is in pyproject.toml. Where they cannot be built the program runs
without them."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "emu.hw._native",
            ["emu/hw/_native.c", "emu/hw/_x86_insn.c", "emu/hw/_registers.c"],
            depends=["emu/hw/_engine.h", "emu/hw/_x86_insn.h"],
            extra_compile_args=["-O2"],
            optional=True,
        ),
        Extension(
            "emu.hw._call",
            ["emu/hw/_call.c"],
            depends=["emu/hw/_engine.h", "emu/_numbers.h"],
            extra_compile_args=["-O2"],
            optional=True,
        ),
        Extension(
            "emu.sched._native",
            [f"emu/sched/_{part}.c" for part in ("native", "batches", "events", "mm", "stacks", "turns")],
            depends=["emu/sched/_slots.h", "emu/_numbers.h"],
            extra_compile_args=["-Os"],  # all of it runs at each fault: 150 misses of the instruction cache less
            optional=True,
        ),
        Extension(
            "emu.trace._pack",
            ["emu/trace/_pack.c"],
            depends=["emu/_numbers.h"],
            extra_compile_args=["-O2"],
            optional=True,
        ),
    ]
)
