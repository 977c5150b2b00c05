// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: one mapping, of which each task touches its own part, page by page, once. An operation is a page.
// With threads all of it is one VMA of one address space, and nothing is mapped or unmapped meanwhile.
#include "scale.h"

static const char *const name = "pft";
static const long usual = 2048;
static char *memory;

static void prepare(void)
{
    memory = fresh((size_t)tasks * (size_t)operations);
    MUST(memory != MAP_FAILED);
}

static long work(int task)
{
    touch(memory + (size_t)task * (size_t)operations * page, (size_t)operations, 1);
    return operations;
}
