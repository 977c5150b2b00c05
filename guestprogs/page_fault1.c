// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: each task maps anonymous memory, touches every page and unmaps it. An operation is a page.
#include "scale.h"

enum { PAGES = 1024 }; // of one mapping
static const char *const name = "page_fault1";
static const long usual = 2048;

static void prepare(void)
{
}

static long work(int task)
{
    (void)task;
    long done = 0;
    while (done < operations) {
        size_t pages = operations - done < PAGES ? (size_t)(operations - done) : PAGES;
        char *a = fresh(pages);
        MUST(a != MAP_FAILED);
        touch(a, pages, 1);
        MUST(munmap(a, pages * page) == 0);
        done += (long)pages;
    }
    return done;
}
