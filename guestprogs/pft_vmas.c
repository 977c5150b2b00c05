// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: as pft, but each task has a mapping of its own, with a hole before the next one, so that its pages are in
// a VMA which no other task touches. An operation is a page.
#include "scale.h"

static const char *const name = "pft_vmas";
static const long usual = 2048;
static char *memory;
static size_t part; // bytes from one task's mapping to the next one's

static void prepare(void)
{
    part = ((size_t)operations + 1) * page;
    memory = fresh((size_t)tasks * ((size_t)operations + 1));
    MUST(memory != MAP_FAILED);
    for (int task = 0; task < tasks; task++)
        MUST(munmap(memory + (size_t)task * part + (size_t)operations * page, page) == 0);
}

static long work(int task)
{
    touch(memory + (size_t)task * part, (size_t)operations, 1);
    return operations;
}
