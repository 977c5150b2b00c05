# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of one program over numbers of CPUs and locking schemes."""
