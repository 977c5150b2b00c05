// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: malloc of 128 MiB and free: a mapping, one page touched for the allocator's own word, and unmapping.
#include "scale.h"

static const char *const name = "malloc1";
static const long usual = 1000;

static void prepare(void)
{
}

static long work(int task)
{
    (void)task;
    for (long i = 0; i < operations; i++) {
        char *volatile a = malloc((size_t)128 << 20);
        MUST(a != NULL);
        free(a);
    }
    return operations;
}
