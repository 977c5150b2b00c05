# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors of mmscope itself."""

from __future__ import annotations


class Failure(Exception):
    """What went wrong, where, and what to do, in one line: for stderr, with status 2."""
