# SPDX-License-Identifier: GPL-2.0-or-later
"""The locking schemes: how a fault finds and locks its VMA."""
