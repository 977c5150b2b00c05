# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks, virtual CPUs and virtual time."""
