# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the C extension; everything else is in pyproject.toml. Where it cannot be built the program runs without
it."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "emu.hw._native",
            ["emu/hw/_native.c", "emu/hw/_x86_insn.c"],
            depends=["emu/hw/_x86_insn.h"],
            extra_compile_args=["-O2"],
            optional=True,
        )
    ]
)
