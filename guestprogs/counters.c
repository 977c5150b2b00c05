// SPDX-License-Identifier: GPL-2.0-or-later
// The CPU's own counter, read by a program (RDTSC, CNTVCT_EL0, the time base): it goes on as CLOCK_MONOTONIC does, at the
// frequency that is announced, within one block of code too, and never back, whichever CPU a thread is on.
#include "tasks.h"

typedef unsigned long long u64;

#if defined(__x86_64__)
static inline u64 counter(void)
{
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static u64 frequency(void)
{
    return 1000000000; // "cpu MHz" of /proc/cpuinfo: 1000
}
#elif defined(__aarch64__)
static inline u64 counter(void)
{
    u64 value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
}

static u64 frequency(void)
{
    u64 value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}
#else
#ifdef __powerpc64__
static inline u64 counter(void)
{
    u64 value;
    __asm__ volatile("mfspr %0, 268" : "=r"(value));
    return value;
}
#else
static inline u64 counter(void)
{
    unsigned high, low, again;
    do
        __asm__ volatile("mfspr %0, 269\n\tmfspr %1, 268\n\tmfspr %2, 269" : "=r"(high), "=r"(low), "=r"(again));
    while (high != again);
    return (u64)high << 32 | low;
}
#endif

static u64 frequency(void)
{
    char line[256];
    unsigned long value = 0;
    FILE *file = fopen("/proc/cpuinfo", "r");
    MUST(file != NULL);
    while (fgets(line, sizeof line, file))
        sscanf(line, "timebase : %lu", &value);
    fclose(file);
    return value;
}
#endif

static u64 hz;

static long long ns(u64 ticks)
{
    return (long long)(ticks / hz * 1000000000 + ticks % hz * 1000000000 / hz);
}

/* Both clocks over the same stretch; the counter's is inside the other one's. */
static void *compare(void *argument)
{
    long long rounds = (long)(intptr_t)argument, wrong = 0;
    for (long i = 0; i < rounds; i++) {
        long long before = now_ns();
        u64 first = counter();
        for (volatile int n = 0; n < 3000; n++)
            ;
        if (i % 8 == 0)
            sched_yield();
        long long between = now_ns();
        u64 second = counter();
        long long after = now_ns(), tick = 1000000000 / (long long)hz + 1;
        wrong += second < first || before > ns(first) + tick || ns(first) > between || between > ns(second) + tick ||
                 ns(second) > after;
    }
    return (void *)(intptr_t)wrong;
}

/* Straight-line code takes time as well. */
static u64 straight_line(void)
{
    u64 first = counter();
#define TEN "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n "
    __asm__ volatile(TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN ::: "memory");
    __asm__ volatile(TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN ::: "memory");
    return counter() - first;
}

static volatile unsigned turn;
static u64 last;

/* Handed round between threads: what one read is not before what another one read earlier. */
static void *hand_round(void *argument)
{
    unsigned me = (unsigned)(intptr_t)argument & 3;
    long backwards = 0;
    unsigned spins = 0;
    for (unsigned i = 0; i < 200; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) % 4 != me)
            if (++spins % 64 == 0)
                sched_yield();
        for (volatile unsigned n = 0; n < 100 * (i % 7); n++)
            ;
        u64 now = counter();
        backwards += now < last;
        last = now;
        __atomic_fetch_add(&turn, 1, __ATOMIC_RELEASE);
    }
    return (void *)backwards;
}

int main(void)
{
    start();
    hz = frequency();
    printf("frequency %llu Hz\n", hz);
    printf("apart from CLOCK_MONOTONIC %ld times\n", (long)(intptr_t)compare((void *)100));
    u64 taken = straight_line();
    printf("straight-line code %s\n", taken > 0 && ns(taken) <= 1000 ? "takes its time" : "takes none");
#ifdef __powerpc64__
    u64 upper, whole = counter();
    __asm__ volatile("mftbu %0" : "=r"(upper));
    printf("upper half %s\n", upper - (whole >> 32) <= 1 ? "is that of the whole" : "is not");
#endif
    pthread_t thread[8];
    long wrong = 0;
    for (long i = 0; i < 8; i++)
        thread[i] = begin(compare, (void *)20);
    for (int i = 0; i < 8; i++)
        wrong += (long)end(thread[i]);
    printf("apart in threads %ld times\n", wrong);
    wrong = 0;
    for (long i = 0; i < 4; i++)
        thread[i] = begin(hand_round, (void *)i);
    for (int i = 0; i < 4; i++)
        wrong += (long)end(thread[i]);
    printf("backwards %ld times\n", wrong);
    return 0;
}
