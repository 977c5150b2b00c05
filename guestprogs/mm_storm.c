// SPDX-License-Identifier: GPL-2.0-or-later
// Threads that change one address space at once, each in its own part and all in a common one; nothing may be lost.
// Arguments: threads, rounds.
#include "tasks.h"
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { MOST = 128, PART = 32, COMMON = 64 };
static int count = 8;
static long rounds = 20;
static char *common;
static long added[COMMON];
static pthread_barrier_t barrier;

static unsigned next(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

static void *storm(void *argument)
{
    long me = (long)(intptr_t)argument, wrong = 0;
    unsigned state = (unsigned)me * 2654435761u + 1;
    unsigned char expected[PART] = {0};
    char *part = fresh(PART), *spare = fresh(PART);
    MUST(part != MAP_FAILED && spare != MAP_FAILED);
    pthread_barrier_wait(&barrier);
    for (long round = 0; round < rounds; round++) {
        size_t first = next(&state) % PART, pages = 1 + next(&state) % (PART - first);
        char *at = part + first * page;
        switch (next(&state) % 7) {
        case 0:
        case 1: // write
            for (size_t i = 0; i < pages; i++)
                at[i * page] = (char)(expected[first + i] = (unsigned char)next(&state));
            break;
        case 2: // map anew over it
            MUST(mmap(at, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
            memset(expected + first, 0, pages);
            break;
        case 3: // protect, read, unprotect
            MUST(mprotect(at, pages * page, PROT_READ) == 0);
            for (size_t i = 0; i < pages; i++)
                wrong += (unsigned char)at[i * page] != expected[first + i];
            MUST(mprotect(at, pages * page, PROT_READ | PROT_WRITE) == 0);
            break;
        case 4:
            MUST(madvise(at, pages * page, MADV_DONTNEED) == 0);
            memset(expected + first, 0, pages);
            break;
        case 5: { // move it away and back; both ranges stay mapped, or another thread's mapping could get in between
            int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
            MUST(mremap(at, pages * page, pages * page, flags, spare) == spare);
            wrong += sum(at, pages) != 0;
            MUST(mremap(spare, pages * page, pages * page, flags, at) == at);
            break;
        }
        case 6: { // something of its own that comes and goes
            char *other = fresh(8);
            touch(other, 8, (char)me);
            wrong += other[7 * page] != (char)me;
            munmap(other, 8 * page);
        }
        }
        for (size_t i = 0; i < PART; i++)
            wrong += (unsigned char)part[i * page] != expected[i];
        size_t word = next(&state) % COMMON; // pages that all write to, each with an atomic add
        __atomic_fetch_add((long *)(common + word * page), me + 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&added[word], me + 1, __ATOMIC_SEQ_CST);
    }
    munmap(part, PART * page);
    munmap(spare, PART * page);
    return (void *)wrong;
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1)
        count = atoi(argv[1]);
    if (argc > 2)
        rounds = atol(argv[2]);
    MUST(count > 0 && count <= MOST);
    common = fresh(COMMON);
    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    pthread_t id[MOST];
    for (long i = 0; i < count; i++)
        id[i] = begin(storm, (void *)i);
    long wrong = 0, lost = 0, sum = 0;
    for (int i = 0; i < count; i++)
        wrong += (long)(intptr_t)end(id[i]);
    for (int i = 0; i < COMMON; i++) {
        lost += *(long *)(common + (size_t)i * page) != added[i];
        sum += added[i];
    }
    printf("wrong %ld lost %ld sum %ld\n", wrong, lost, sum);
    return 0;
}
