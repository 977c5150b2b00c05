// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: map 128 MiB of anonymous memory and unmap it, untouched. An operation is such a pair.
#include "scale.h"

static const char *const name = "mmap1";
static const long usual = 1000;

static void prepare(void)
{
}

static long work(int task)
{
    (void)task;
    for (long i = 0; i < operations; i++) {
        char *a = fresh(((size_t)128 << 20) / page);
        MUST(a != MAP_FAILED && munmap(a, (size_t)128 << 20) == 0);
    }
    return operations;
}
