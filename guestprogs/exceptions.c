// SPDX-License-Identifier: GPL-2.0-or-later
// x86-64: instructions that only a kernel may use, and exceptions that come again and again.
#include "guest.h"
#include <setjmp.h>
#include <ucontext.h>

#ifdef __x86_64__
static sigjmp_buf back;
static volatile int zero, show_all;

static void caught(int signo, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    const unsigned char *code = (const unsigned char *)at->uc_mcontext.gregs[REG_RIP];
    printf("signal %d code %d at %02x", signo, info->si_code, code[0]);
    printf(" eax %llx\n", signo == SIGSEGV ? at->uc_mcontext.gregs[REG_RAX] & 0xffffffff : 0);
    if (show_all)
        printf("  trap %lld error %llx address %d\n", at->uc_mcontext.gregs[REG_TRAPNO], at->uc_mcontext.gregs[REG_ERR],
               info->si_addr == (void *)at->uc_mcontext.gregs[REG_RIP]);
    siglongjmp(back, 1);
}

static char alternate[65536];
static uintptr_t handler_stack;
static int spoil;

static void damages(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info;
    ucontext_t *at = context;
    handler_stack = (uintptr_t)&at;
    if (spoil)
        at->uc_mcontext.fpregs = (void *)8;
    else
        memset((char *)at->uc_mcontext.fpregs + 24, 255, 4); // MXCSR
}

static void finds(int signo, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    uintptr_t distance = (uintptr_t)&at - handler_stack + 512;
    printf("signal %d code %d, at the top of the stack again %d\n", signo, info->si_code, distance < 1024);
    siglongjmp(back, 1);
}

static unsigned short control_word(void)
{
    unsigned short word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static unsigned mxcsr(void)
{
    unsigned value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static void looks(int signo)
{
    unsigned char one[16];
    __asm__ volatile("movups %%xmm7, %0" : "=m"(one));
    printf("signal %d begins with %x %x %d\n", signo, control_word(), mxcsr(), one[3]);
    __asm__ volatile("fninit");
}

// A handler has floating-point registers as a program begins with, and what is interrupted has its own again.
static void fresh_registers(void)
{
    unsigned short word = 0xf7f;
    unsigned rounding = 0x5f80;
    unsigned char one[16];
    signal(SIGUSR2, looks);
    __asm__ volatile("fldcw %0\n ldmxcsr %1\n pcmpeqd %%xmm7, %%xmm7" : : "m"(word), "m"(rounding) : "xmm7");
    __asm__ volatile("syscall" : : "a"(62L), "D"((long)getpid()), "S"((long)SIGUSR2) : "rcx", "r11", "memory"); // kill
    __asm__ volatile("movups %%xmm7, %0" : "=m"(one));
    int kept = one[3];
    unsigned after = mxcsr(), control = control_word();
    word = 0x37f, rounding = 0x1f80;
    __asm__ volatile("fldcw %0\n ldmxcsr %1" : : "m"(word), "m"(rounding));
    printf("after it %x %x %d\n", control, after, kept);
}

// A frame with floating-point registers that are none: the stack pointer and the others are restored before.
static void bad_frames(void)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_sigaction = damages, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_sigaction = finds;
    sigaction(SIGSEGV, &action, NULL);
    for (spoil = 0; spoil < 2; spoil++)
        if (!sigsetjmp(back, 1))
            raise(SIGUSR1);
}

#define TRY(text)                                                         \
    do {                                                                  \
        printf("%s: ", text);                                             \
        if (!sigsetjmp(back, 1)) {                                        \
            __asm__ volatile(text : : : "rax", "rcx", "rdx", "memory");   \
            printf("fine\n");                                             \
        }                                                                 \
    } while (0)

static void divide(void)
{
    int value = 1;
    if (!sigsetjmp(back, 1))
        __asm__ volatile("cltd\n idivl %1" : "+a"(value) : "m"(zero) : "edx");
}

int main(void)
{
    start();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    for (int i = 0; i < 3; i++)
        divide();
    TRY("ud2");
    TRY("int3");
    TRY("hlt");
    divide();
    TRY("cli");
    TRY("sti");
    TRY("mov %%cr3, %%rax");
    TRY("mov %%rax, %%cr3");
    TRY("mov %%cr0, %%rax");
    TRY("mov %%db7, %%rax");
    TRY("mov $0xc0000080, %%ecx; rdmsr");
    TRY("mov $0xc0000100, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr");
    TRY("wbinvd");
    TRY("invlpg (%%rsp)");
    TRY("lgdt (%%rsp)");
    TRY("swapgs");
    TRY("clts");
    TRY("mov $0x1234, %%eax; mov %%ax, %%ds");
    TRY("mov $0x7777, %%eax; in %%dx, %%al; mov $1, %%eax");
    TRY("mov $0x8888, %%eax; in $0x80, %%eax");
    TRY("mov $0x9999, %%eax; out %%al, %%dx; mov $1, %%eax");
    TRY("mov $0xaaaa, %%eax; out %%eax, $0x80; mov $1, %%eax; jmp 1f; 1: mov $2, %%eax");
    TRY("mov $0xbbbb, %%eax; int $0x40; mov $1, %%eax");
    TRY("mov $0xcccc, %%eax; int $0xff");
    TRY("mov %%cs, %%ax; cmp $0x33, %%ax; je 1f; ud2; 1:");
    TRY("mov %%ss, %%ax; cmp $0x2b, %%ax; je 1f; ud2; 1:");
    divide();
    show_all = 1;
    TRY("int $0");
    TRY("int $1");
    TRY("int $2");
    TRY("int $3");
    TRY("int $4");
    TRY("int $5");
    TRY("int $6");
    TRY("int $7");
    TRY("int $8");
    TRY("int $10");
    TRY("int $11");
    TRY("int $12");
    TRY("int $13");
    TRY("int $14");
    TRY("int $16");
    TRY("int $17");
    TRY("int $19");
    TRY("int $21");
    TRY("int $31");
    TRY("int $32");
    TRY("int $0xf0");
    TRY("sysretq");
    TRY("rdpmc");
    TRY("ud2");
    divide();
    fresh_registers();
    bad_frames();
    return 0;
}
#else
int main(void)
{
    return 0;
}
#endif
