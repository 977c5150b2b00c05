# SPDX-License-Identifier: GPL-2.0-or-later
"""System V IPC (ipc/): shared memory, semaphores, message queues."""
