// SPDX-License-Identifier: GPL-2.0-or-later
// A sum that is wider than a register, interrupted between its two halves by a signal whose handler computes such sums too:
// the carry is part of what a handler must leave as it was.
#include "tasks.h"
#include <sys/time.h>

#if __SIZEOF_POINTER__ == 8
typedef unsigned __int128 wide;
#else
typedef unsigned long long wide;
#endif
static volatile wide others = 3;
static volatile int came;

static void on_alarm(int signo)
{
    (void)signo;
    others += 5;
    came++;
}

// The carry of -1 + 1, looked at a moment later.
static unsigned long carry(void)
{
    unsigned long found;
#ifdef __powerpc__
    __asm__ volatile("li 9, -1\n addic 9, 9, 1\n li 9, 500\n mtctr 9\n1: bdnz 1b\n li %0, 0\n addze %0, %0"
                     : "=&r"(found) : : "r9", "ctr", "xer");
#elif defined __x86_64__
    __asm__ volatile("stc\n mov $500, %%ecx\n1: dec %%ecx\n jnz 1b\n mov $0, %0\n adc $0, %0" : "=&r"(found) : : "rcx", "cc");
#else
    __asm__ volatile("mov x9, #500\n cmp x9, x9\n1: sub x9, x9, #1\n cbnz x9, 1b\n adc %0, xzr, xzr" : "=&r"(found) : : "x9", "cc");
#endif
    return found;
}

int main(void)
{
    start();
    struct itimerval often = {{0, 100}, {0, 100}}, never = {0};
    MUST(signal(SIGALRM, on_alarm) != SIG_ERR && setitimer(ITIMER_REAL, &often, NULL) == 0);
    int lost = 0;
    for (int i = 0; i < 3000 || came < 20; i++)
        lost += carry() != 1;
    MUST(setitimer(ITIMER_REAL, &never, NULL) == 0);
    printf("%d lost\n", lost);
    return lost != 0;
}
