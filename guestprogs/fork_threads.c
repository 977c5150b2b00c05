// SPDX-License-Identifier: GPL-2.0-or-later
// Threads that map, protect, unmap and fork at once, each in a range of its own, and a table under a mutex.
#include "tasks.h"

#define THREADS 4
#define ROUNDS 8

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned table[THREADS * ROUNDS];
static unsigned entries;
static char *shared;

static void note(unsigned value)
{
    MUST(pthread_mutex_lock(&mutex) == 0);
    table[entries++] = value;
    MUST(pthread_mutex_unlock(&mutex) == 0);
}

static void *worker(void *number)
{
    uintptr_t self = (uintptr_t)number;
    char *own = (char *)(0x40000000 + self * 0x1000000);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t pages = 2 + round;
        MUST(mmap(own, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == own);
        touch(own, pages, (char)self);
        MUST(mprotect(own, page, PROT_READ) == 0);
        if (round % 4 == 3) {
            pid_t pid = fork();
            MUST(pid >= 0);
            if (pid == 0) {
                touch(own + page, pages - 1, 9);
                shared[self * page] += 1;
                _exit((int)sum(own, pages) & 0x7f);
            }
            note((unsigned)reap(pid) >> 8);
            touch(own + page, pages - 1, (char)self);
        } else {
            note(sum(own, pages));
        }
        MUST(munmap(own + (pages - 1) * page, page) == 0);
        MUST(madvise(own, page, MADV_DONTNEED) == 0);
    }
    return NULL;
}

int main(void)
{
    start();
    if (page != 4096)
        return 1;
    shared = map(THREADS, PROT_READ | PROT_WRITE, MAP_SHARED);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = begin(worker, (void *)(i + 1 == THREADS ? 0 : i + 1));
    for (int i = 0; i < THREADS; i++)
        end(threads[i]);
    unsigned total = 0;
    for (unsigned i = 0; i < entries; i++)
        total += table[i];
    printf("%u entries, sum %u, forked %u\n", entries, total, sum(shared, THREADS));
    return 0;
}
