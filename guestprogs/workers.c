// SPDX-License-Identifier: GPL-2.0-or-later
// A server that is slower than it should be: workers answer requests, each in a buffer whose pages it gives back after
// every request, while one thread loads table after table. The tutorial (docs/tutorial.md) finds out why, and mends it.
// Arguments: where the tables lie, workers, requests of each.
//   beside  each table is mapped and unmapped; it comes to lie beside the buffers
//   apart   the same, but an inaccessible page keeps tables and buffers apart
//   keep    one table is mapped, and filled again and again
#include "tasks.h"

enum { MOST = 64, BUFFER = 16, TABLE = 8 }; // pages
static int count = 4;
static long requests = 50;
static int keep_table, done;
static char *buffers;
static long long worst[MOST];
static unsigned answers[MOST];
static pthread_barrier_t barrier;

__attribute__((noinline)) static void fill_table(char *table)
{
    for (size_t i = 0; i < TABLE * page; i += 64)
        *(volatile unsigned *)(table + i) = (unsigned)i;
}

__attribute__((noinline)) static unsigned fill_buffer(char *buffer, unsigned request)
{
    unsigned total = 0;
    for (size_t i = 0; i < BUFFER * page; i += 64)
        total += *(volatile unsigned *)(buffer + i) = request + (unsigned)i;
    return total;
}

static void *load_tables(void *unused)
{
    char *table = NULL;
    long loaded = 0;
    pthread_barrier_wait(&barrier);
    for (; !__atomic_load_n(&done, __ATOMIC_ACQUIRE); loaded++) {
        if (!table)
            MUST((table = fresh(TABLE)) != MAP_FAILED);
        fill_table(table);
        if (!keep_table) {
            MUST(munmap(table, TABLE * page) == 0);
            table = NULL;
        }
    }
    (void)unused;
    return (void *)loaded;
}

static void *answer_requests(void *argument)
{
    int me = (int)(intptr_t)argument;
    pthread_barrier_wait(&barrier);
    char *buffer = buffers + (size_t)me * BUFFER * page;
    for (long i = 0; i < requests; i++) {
        long long begun = now_ns();
        answers[me] += fill_buffer(buffer, (unsigned)i);
        MUST(madvise(buffer, BUFFER * page, MADV_DONTNEED) == 0);
        long long took = now_ns() - begun;
        worst[me] = took > worst[me] ? took : worst[me];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    start();
    const char *where = argc > 1 ? argv[1] : "beside";
    int apart = strcmp(where, "apart") == 0;
    keep_table = strcmp(where, "keep") == 0;
    if (argc > 2)
        count = atoi(argv[2]);
    if (argc > 3)
        requests = atol(argv[3]);
    MUST((apart || keep_table || strcmp(where, "beside") == 0) && count > 0 && count <= MOST && requests > 0);
    pthread_barrier_init(&barrier, NULL, (unsigned)count + 2);
    pthread_t id[MOST], loader = begin(load_tables, NULL);
    for (int i = 0; i < count; i++)
        id[i] = begin(answer_requests, (void *)(intptr_t)i);
    MUST((buffers = fresh((size_t)count * BUFFER)) != MAP_FAILED);
    if (apart) // what is mapped next comes below this
        MUST(map(1, PROT_NONE, MAP_PRIVATE) != MAP_FAILED);
    long long begun = now_ns(), longest = 0;
    pthread_barrier_wait(&barrier);
    unsigned total = 0;
    for (int i = 0; i < count; i++) {
        end(id[i]);
        total += answers[i];
        longest = worst[i] > longest ? worst[i] : longest;
    }
    long long took = now_ns() - begun;
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    long loaded = (long)(intptr_t)end(loader);
    printf("%ld requests, answers add up to %u\n", count * requests, total);
    fprintf(stderr, "%lld us, the slowest request took %lld us; %ld tables\n", took / 1000, longest / 1000, loaded);
    return 0;
}
