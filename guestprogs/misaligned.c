// SPDX-License-Identifier: GPL-2.0-or-later
// Accesses that no alignment makes good: exclusive ones at odd addresses, and jumps into the middle of an instruction.
#include "guest.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile int signo, code;
static volatile uintptr_t at;

static void caught(int s, siginfo_t *info, void *context)
{
    (void)context;
    signo = s;
    code = info->si_code;
    at = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

#define TRY(name, ...)                                                                                   \
    do {                                                                                                 \
        signo = 0;                                                                                       \
        if (!sigsetjmp(back, 1)) {                                                                       \
            __VA_ARGS__;                                                                                 \
        }                                                                                                \
        if (signo)                                                                                       \
            printf("%s: signal %d code %d at +%#lx\n", name, signo, code, (unsigned long)(at - (uintptr_t)a)); \
        else                                                                                             \
            printf("%s: fine\n", name);                                                                  \
    } while (0)

int main(void)
{
    start();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    char *a = fresh(4);
    a[0] = 1;
    munmap(a + 2 * page, page);
    TRY("load across pages", (void)*(volatile uint32_t *)(a + page - 2));
    TRY("store across the end", *(volatile uint32_t *)(a + 2 * page - 2) = 1);
#ifdef __aarch64__
    unsigned got;
    TRY("exclusive", __asm__ volatile("ldxr %w0, [%1]" : "=&r"(got) : "r"(a + 1) : "memory"));
    TRY("exclusive in no page", __asm__ volatile("ldxr %w0, [%1]" : "=&r"(got) : "r"(a + 2 * page) : "memory"));
    TRY("jump", __asm__ volatile("br %0" : : "r"(a + 2)));
#elif defined(__powerpc__)
    unsigned got;
    char *b = a + 3 * page;
    TRY("exclusive", __asm__ volatile("lwarx %0,0,%1" : "=&r"(got) : "r"(a + 1) : "memory"));
    TRY("exclusive, two registers",
        __asm__ volatile("lwarx %0,%1,%2" : "=&r"(got) : "b"(b), "r"((long)-5) : "memory"));
    TRY("exclusive store", __asm__ volatile("stwcx. %0,%1,%2" : : "r"(0), "b"(a), "r"(7L) : "memory", "cr0"));
    TRY("exclusive in no page", __asm__ volatile("lwarx %0,0,%1" : "=&r"(got) : "r"(a + 2 * page) : "memory"));
#endif
    return 0;
}
