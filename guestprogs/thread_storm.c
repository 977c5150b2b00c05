// SPDX-License-Identifier: GPL-2.0-or-later
// Threads come and go: created and joined by the hundred, detached, ended by pthread_exit, cancelled, nested, with big stacks.
#include "tasks.h"

static long ended, cleaned, nested_sum;

static void *count_one(void *argument)
{
    char deep[2048];
    memset(deep, (int)(intptr_t)argument, sizeof deep);
    __atomic_fetch_add(&ended, deep[100] == (char)(intptr_t)argument, __ATOMIC_SEQ_CST);
    return argument;
}

static void *leave(void *argument)
{
    pthread_exit(argument);
}

static void clean(void *argument)
{
    __atomic_fetch_add(&cleaned, (long)(intptr_t)argument, __ATOMIC_SEQ_CST);
}

static void *until_cancelled(void *argument)
{
    pthread_cleanup_push(clean, argument);
    for (;;)
        sleep_ms(1000);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *nest(void *argument)
{
    long depth = (long)(intptr_t)argument;
    __atomic_fetch_add(&nested_sum, depth, __ATOMIC_SEQ_CST);
    if (depth > 0) {
        pthread_t a = begin(nest, (void *)(depth - 1)), b = begin(nest, (void *)(depth - 1));
        end(a);
        end(b);
    }
    return NULL;
}

static void *deep_stack(void *argument)
{
    volatile char big[3 << 20];
    for (size_t i = 0; i < sizeof big; i += page)
        big[i] = (char)i;
    return (void *)(intptr_t)(big[0] + (argument == NULL));
}

int main(int argc, char **argv)
{
    start();
    long rounds = argc > 1 ? atol(argv[1]) : 300;
    long sum = 0;
    for (long i = 0; i < rounds; i++)
        sum += (long)(intptr_t)end(begin(count_one, (void *)i));
    printf("one by one %ld %ld\n", ended, sum);
    ended = sum = 0;
    pthread_t id[64];
    for (int round = 0; round < 3; round++) {
        for (long i = 0; i < 64; i++)
            id[i] = begin(count_one, (void *)i);
        for (long i = 63; i >= 0; i--)
            sum += (long)(intptr_t)end(id[i]);
    }
    printf("64 at once %ld %ld\n", ended, sum);
    ended = 0;
    for (long i = 0; i < 20; i++)
        pthread_detach(begin(count_one, (void *)i));
    while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) < 20)
        sched_yield();
    printf("detached %ld\n", ended);
    printf("pthread_exit %ld\n", (long)(intptr_t)end(begin(leave, (void *)77)));
    long cancelled = 0;
    for (long i = 0; i < 8; i++)
        id[i] = begin(until_cancelled, (void *)(i + 1));
    sleep_ms(5);
    for (int i = 0; i < 8; i++)
        MUST(pthread_cancel(id[i]) == 0);
    for (int i = 0; i < 8; i++)
        cancelled += end(id[i]) == PTHREAD_CANCELED;
    printf("cancelled %ld cleaned %ld\n", cancelled, cleaned);
    end(begin(nest, (void *)4));
    printf("nested %ld\n", nested_sum);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 4 << 20);
    pthread_t big;
    MUST(pthread_create(&big, &attributes, deep_stack, NULL) == 0);
    printf("big stack %ld\n", (long)(intptr_t)end(big));
    return 0;
}
