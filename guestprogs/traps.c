// SPDX-License-Identifier: GPL-2.0-or-later
// Exceptions that become signals: an illegal instruction, a breakpoint, a division by zero where that traps.
#include "guest.h"
#include <setjmp.h>

static sigjmp_buf back;
#if defined(__x86_64__)
static volatile int zero;
#endif

static void caught(int signo, siginfo_t *info, void *context)
{
    (void)context;
    siglongjmp(back, signo * 1000 + (info->si_code & 0xff));
}

int main(void)
{
    start();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    int signals[] = {SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS};
    for (int i = 0; i < 5; i++)
        sigaction(signals[i], &action, NULL);
    int how = sigsetjmp(back, 1);
    if (!how) {
#if defined(__x86_64__)
        __asm__ volatile("ud2");
#elif defined(__aarch64__)
        __asm__ volatile(".inst 0");
#else
        __asm__ volatile(".long 0");
#endif
    }
    printf("illegal %d\n", how);
    how = sigsetjmp(back, 1);
    if (!how) {
#if defined(__x86_64__)
        __asm__ volatile("int3");
#elif defined(__aarch64__)
        __asm__ volatile("brk #0");
#else
        __asm__ volatile("trap");
#endif
    }
    printf("breakpoint %d\n", how);
#if defined(__x86_64__)
    how = sigsetjmp(back, 1);
    if (!how)
        zero = 7 / zero;
    printf("division %d\n", how);
    how = sigsetjmp(back, 1);
    if (!how)
        __asm__ volatile("hlt");
    printf("privileged %d\n", how);
    how = sigsetjmp(back, 1);
    if (!how)
        *(volatile char *)0x800000000000 = 1;
    printf("kernel's half %d\n", how);
    how = sigsetjmp(back, 1);
    if (!how)
        __asm__ volatile("mov $0x8000000000000000, %%rax\n movb $1, (%%rax)" ::: "rax", "memory");
    printf("not canonical %d\n", how);
#endif
    how = sigsetjmp(back, 1);
    if (!how)
        ((void (*)(void))(uintptr_t)64)();
    printf("jump to nowhere %d\n", how);
    static char text[16];
#if !defined(__powerpc64__) || _CALL_ELF == 2
    how = sigsetjmp(back, 1);
    if (!how)
        ((void (*)(void))(uintptr_t)((uintptr_t)(text + 15) & -4))();
    printf("jump into data %d\n", how / 1000 == SIGSEGV || how / 1000 == SIGILL);
#else
    (void)text;
#endif
    return 0;
}
