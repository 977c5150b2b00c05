// SPDX-License-Identifier: GPL-2.0-or-later
// Threads that wait for each other without a system call: flags, test-and-set, tickets, a sequence count. With one CPU
// they get on only because their time slices end.
#include "tasks.h"

enum { THREADS = 4, ROUNDS = 30 };
static int turn, flag, lock, ticket, serving, sequence, stop;
static long guarded, ticketed, left, right_, torn, reads_done;

static void *in_turn(void *argument)
{
    int me = (int)(intptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != me)
            ;
        guarded++;
        __atomic_store_n(&turn, (me + 1) % THREADS, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *test_and_set(void *argument)
{
    for (int i = 0; i < ROUNDS * 20; i++) {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            ;
        guarded++;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
    return argument;
}

static void *tickets(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        int mine = __atomic_fetch_add(&ticket, 1, __ATOMIC_RELAXED);
        while (__atomic_load_n(&serving, __ATOMIC_ACQUIRE) != mine)
            ;
        ticketed++;
        __atomic_store_n(&serving, mine + 1, __ATOMIC_RELEASE);
    }
    return argument;
}

static void *sequence_read(void *argument)
{
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        int before = __atomic_load_n(&sequence, __ATOMIC_ACQUIRE);
        long a = __atomic_load_n(&left, __ATOMIC_RELAXED), b = __atomic_load_n(&right_, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && __atomic_load_n(&sequence, __ATOMIC_RELAXED) == before) {
            __atomic_fetch_add(&reads_done, 1, __ATOMIC_RELAXED);
            if (a != b)
                __atomic_fetch_add(&torn, 1, __ATOMIC_RELAXED);
        }
    }
    return argument;
}

static void *raise_flag(void *argument)
{
    for (volatile int i = 0; i < 100000; i++)
        ;
    __atomic_store_n(&flag, 1, __ATOMIC_RELEASE);
    return argument;
}

static void all(void *(*function)(void *))
{
    pthread_t id[THREADS];
    for (int i = 0; i < THREADS; i++)
        id[i] = begin(function, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        end(id[i]);
}

int main(void)
{
    start();
    pthread_t helper = begin(raise_flag, NULL);
    while (!__atomic_load_n(&flag, __ATOMIC_ACQUIRE))
        ;
    end(helper);
    printf("flag %d\n", flag);
    all(in_turn);
    printf("turns %ld\n", guarded);
    guarded = 0;
    all(test_and_set);
    printf("test and set %ld\n", guarded);
    all(tickets);
    printf("tickets %ld\n", ticketed);
    pthread_t reader = begin(sequence_read, NULL);
    for (int i = 0; i < 20000 || __atomic_load_n(&reads_done, __ATOMIC_RELAXED) == 0; i++) {
        __atomic_store_n(&sequence, sequence + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        __atomic_store_n(&left, left + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&right_, right_ + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&sequence, sequence + 1, __ATOMIC_RELEASE);
    }
    stop = 1;
    end(reader);
    printf("sequence torn %ld\n", torn);
    return 0;
}
