# SPDX-License-Identifier: GPL-2.0-or-later
"""The RFC, patch by patch: each file names one, and runs with its behaviour and with its switch."""
