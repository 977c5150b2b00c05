// SPDX-License-Identifier: GPL-2.0-or-later
// Atomic instructions of every size under preemption: locked on x86-64, load-linked and store-conditional elsewhere.
#include "tasks.h"

enum { THREADS = 6, ROUNDS = 4000 };
static uint8_t bytes[8];
static uint16_t halves[4];
static uint32_t words[2], bits, bitmap[32];
static unsigned long longs, stack_top, pushed, popped;
static struct node {
    struct node *next;
    long value;
} nodes[THREADS * 16];
static struct node *top;

#define CAS_ADD(at, n)                                                                                             \
    do {                                                                                                           \
        __typeof__(*(at)) seen_ = __atomic_load_n(at, __ATOMIC_RELAXED);                                           \
        while (!__atomic_compare_exchange_n(at, &seen_, (__typeof__(*(at)))(seen_ + (n)), 1, __ATOMIC_SEQ_CST,     \
                                            __ATOMIC_RELAXED))                                                     \
            ;                                                                                                      \
    } while (0)

static void *add(void *argument)
{
    long me = (long)(intptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        __atomic_fetch_add(&bytes[0], 1, __ATOMIC_SEQ_CST); // neighbours in one word, so that a wide write would show
        CAS_ADD(&bytes[1], 3);
        __atomic_fetch_sub(&bytes[2], 1, __ATOMIC_RELAXED);
        CAS_ADD(&halves[0], 1);
        __atomic_fetch_add(&halves[1], 5, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&words[0], 1, __ATOMIC_ACQ_REL);
        CAS_ADD(&words[1], 7);
        __atomic_fetch_add(&longs, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_xor(&bits, 1u << me, __ATOMIC_SEQ_CST);
        __atomic_fetch_or(&bitmap[i % 32], 1u << me, __ATOMIC_SEQ_CST);
        __atomic_fetch_and(&bitmap[i % 32], ~(1u << (me + 16)), __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void *exchange(void *argument) // each number put in comes out once
{
    long sum = 0;
    for (int i = 0; i < ROUNDS; i++)
        sum += (long)__atomic_exchange_n(&stack_top, (unsigned long)i + 1, __ATOMIC_SEQ_CST);
    (void)argument;
    return (void *)sum;
}

static void *push(void *argument)
{
    long me = (long)(intptr_t)argument;
    for (int i = 0; i < 16; i++) {
        struct node *node = &nodes[me * 16 + i];
        node->value = me * 16 + i;
        node->next = __atomic_load_n(&top, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&top, &node->next, node, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            ;
        __atomic_fetch_add(&pushed, 1, __ATOMIC_RELAXED);
        if (i % 4 == 0)
            sched_yield();
    }
    return NULL;
}

static void all(void *(*function)(void *), long *sum)
{
    pthread_t id[THREADS];
    for (int i = 0; i < THREADS; i++)
        id[i] = begin(function, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        *sum += (long)(intptr_t)end(id[i]);
}

int main(void)
{
    start();
    long sum = 0;
    all(add, &sum);
    printf("bytes %u %u %u %u\n", bytes[0], bytes[1], bytes[2], bytes[3]);
    printf("halves %u %u %u\n", halves[0], halves[1], halves[2]);
    printf("words %u %u longs %lu\n", words[0], words[1], longs);
    unsigned all_or = 0, all_and = ~0u;
    for (int i = 0; i < 32; i++)
        all_or |= bitmap[i], all_and &= bitmap[i];
    printf("bits %x %x %x\n", bits, all_or, all_and);
    sum = 0;
    all(exchange, &sum);
    printf("exchange %ld\n", sum + (long)stack_top);
    sum = 0;
    all(push, &sum);
    long total = 0;
    for (struct node *node = top; node; node = node->next)
        total += node->value, popped++;
    printf("stack %lu %lu %ld\n", pushed, popped, total);
    return 0;
}
