// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: move the end of the heap up by a page and down again. An operation is one call of brk.
// Threads share the heap and its end: each asks for the end plus a page, then for the end that it saw.
#include "scale.h"

static const char *const name = "brk1";
static const long usual = 2000;
static uintptr_t heap;

static void prepare(void)
{
    heap = (uintptr_t)syscall(SYS_brk, 0);
}

static long work(int task)
{
    (void)task;
    long done = 0;
    for (; done + 2 <= operations; done += 2) {
        MUST((uintptr_t)syscall(SYS_brk, heap + page) >= heap);
        MUST((uintptr_t)syscall(SYS_brk, heap) >= heap);
    }
    return done;
}
