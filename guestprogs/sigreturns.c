// SPDX-License-Identifier: GPL-2.0-or-later
// What becomes of a program that returns from a signal through a frame that is no good: nowhere mapped, askew, with
// registers that no program may have. Each way is tried with a handler on another stack, and without one.
#include "tasks.h"
#include <sys/ucontext.h>
#include <ucontext.h>

static char stack[65536];
static int way;
static volatile sig_atomic_t came;

// rt_sigreturn with this stack pointer.
static void return_from(unsigned long sp)
{
#if defined __x86_64__
    __asm__ volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall" ::"r"(sp) : "memory");
#elif defined __aarch64__
    __asm__ volatile("mov sp, %0\n mov x8, #139\n svc #0" ::"r"(sp) : "memory");
#else
    __asm__ volatile("mr 1, %0\n li 0, 172\n sc" ::"r"(sp) : "memory");
#endif
}

static void spoil(ucontext_t *context)
{
#if defined __x86_64__
    greg_t *regs = context->uc_mcontext.gregs;
    if (way == 0)
        regs[REG_RIP] = (greg_t)0x8000000000000000ul;
    else if (way == 1)
        regs[REG_EFL] |= 0x3000; // more rights to ports
    else
        ((unsigned short *)&regs[REG_CSGSFS])[0] = 0x10; // the kernel's code
#elif defined __aarch64__
    if (way == 0)
        context->uc_mcontext.pc = 0x8000000000000000ul;
    else if (way == 1)
        context->uc_mcontext.pstate |= 5; // EL1h
    else
        context->uc_mcontext.pstate |= 0x3c0; // interrupts masked
#elif defined __powerpc64__
    unsigned long *regs = context->uc_mcontext.gp_regs;
    if (way == 0)
        regs[32] = 0x8000000000000000ul; // NIP
    else if (way == 1)
        regs[33] &= ~(1ul << 14); // MSR: not a problem state
    else
        regs[33] |= 1ul << 60; // hypervisor
#else
    unsigned *regs = (unsigned *)context->uc_mcontext.gregs;
    if (way == 0)
        regs[32] = 0xc0000000u;
    else if (way == 1)
        regs[33] &= ~(1u << 14);
    else
        regs[33] &= ~0x30u; // no translation
#endif
}

static void on_usr1(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)info;
    came++;
    spoil(context);
}

static void on_segv(int signo, siginfo_t *info, void *context)
{
    (void)context;
    printf("signal %d code %d address %lx\n", signo, info->si_code, (unsigned long)info->si_addr);
    fflush(stdout);
    _exit(3);
}

static void attempt(const char *name, unsigned long sp, int handled)
{
    char text[64];
    printf("%s%s: ", name, handled ? "" : ", no handler");
    pid_t pid = child();
    if (pid == 0) {
        stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
        sigaltstack(&other, NULL);
        struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };
        if (handled) {
            sigaction(SIGSEGV, &action, NULL);
            sigaction(SIGBUS, &action, NULL);
            sigaction(SIGILL, &action, NULL);
        }
        if (sp)
            return_from(sp);
        action.sa_sigaction = on_usr1;
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
        printf("goes on %d\n", came);
        fflush(stdout);
        _exit(0);
    }
    int status = reap(pid);
    if (!handled || WIFSIGNALED(status))
        printf("%s\n", how(status, text, sizeof text));
}

int main(void)
{
    start();
    char *edge = map(2, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    munmap(edge + page, page);
    static const char *const ways[] = { "program counter", "rights", "more rights" };
    for (int handled = 1; handled >= 0; handled--) {
        attempt("low", 64, handled);
        attempt("askew", (unsigned long)edge + 3, handled);
        attempt("half of it mapped", (unsigned long)edge + page - 64, handled);
        attempt("kernel", (unsigned long)-4096, handled);
        for (way = 0; way < 3; way++)
            attempt(ways[way], 0, handled);
    }
    return 0;
}
