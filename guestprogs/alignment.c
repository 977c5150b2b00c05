// SPDX-License-Identifier: GPL-2.0-or-later
// x86-64: which operands of SSE must be aligned, and what an access raises while EFLAGS.AC is set.
#include "guest.h"
#include <ucontext.h>

#ifdef __x86_64__

enum { RSP = 15, RIP = 16, EFL = 17, ERR = 19, TRAPNO = 20 };
static unsigned char *code, *after, *data;
static volatile int raised, wrong;
static volatile unsigned long sp;

static void on_signal(int number, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    int check = number == SIGBUS && info->si_code == BUS_ADRALN && regs[TRAPNO] == 17;
    int general = number == SIGSEGV && info->si_code == SI_KERNEL && regs[TRAPNO] == 13;
    raised = number;
    wrong = !(check || general) || info->si_addr || regs[ERR];
    regs[EFL] &= ~0x40000L; // AC
    regs[RIP] = (long)after;
    regs[RSP] = sp;
}

// Runs `size` bytes of code with RBX and RDI at `at`, and with AC set where `checked`.
static void run(const unsigned char *what, int size, unsigned char *at, int checked)
{
    static const unsigned char set[] = {0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d};            // pushf; or; popf
    static const unsigned char clear[] = {0x9c, 0x81, 0x24, 0x24, 0xff, 0xff, 0xfb, 0xff, 0x9d};
    unsigned char *to = code;
    *to++ = 0x53;                                     // push rbx
    memcpy(to, (unsigned char[]){0x48, 0x89, 0xfb, 0x48, 0x89, 0x26, 0x49, 0x89, 0xe0}, 9);
    to += 9; // mov rbx, rdi; mov [rsi], rsp; mov r8, rsp
    if (checked) {
        memcpy(to, set, sizeof set);
        to += sizeof set;
    }
    memcpy(to, what, size);
    after = to += size;
    memcpy(to, (unsigned char[]){0x4c, 0x89, 0xc4}, 3); // mov rsp, r8
    to += 3;
    if (checked) {
        memcpy(to, clear, sizeof clear);
        to += sizeof clear;
    }
    memcpy(to, (unsigned char[]){0x5b, 0xc3}, 2); // pop rbx; ret
    raised = wrong = 0;
    ((void (*)(void *, volatile unsigned long *))code)(at, &sp);
    unsigned mxcsr = 0x1f80;
    __asm__ volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
}

// The opcodes of SSE to SSE4.2 that leave control and the segments alone.
static int sse(int map, int op)
{
    if (map == 1)
        return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) || (op >= 0x50 && op <= 0x76) || op == 0x7c ||
               op == 0x7d || op == 0x7e || op == 0x7f || op == 0xc2 || op == 0xc4 || op == 0xc6 || op >= 0xd0;
    if (map == 2)
        return op < 0x42;
    return op < 0x23 || (op >= 0x40 && op <= 0x42) || (op >= 0x60 && op <= 0x63);
}

// Prints for each opcode with which prefixes (1: none, 2: 66, 4: F2, 8: F3) a misaligned operand raises the exception.
static void operands(void)
{
    static const unsigned char prefixes[] = {0, 0x66, 0xf2, 0xf3};
    for (int map = 1; map <= 3; map++)
        for (int op = 0; op < 256; op++) {
            int raising = 0;
            for (int prefix = 0; prefix < 4 && sse(map, op); prefix++) {
                unsigned char what[8];
                int size = 0, aligned;
                if (prefix)
                    what[size++] = prefixes[prefix];
                what[size++] = 0x0f;
                if (map > 1)
                    what[size++] = map == 2 ? 0x38 : 0x3a;
                what[size++] = op;
                what[size++] = 0x03; // [rbx]
                if (map == 3 || (map == 1 && (op == 0x70 || op == 0xc2 || op == 0xc4 || op == 0xc6)))
                    what[size++] = 0;
                run(what, size, data + 64, 0);
                aligned = raised;
                run(what, size, data + 72, 0);
                raising |= !aligned && raised ? wrong ? 256 : 1 << prefix : 0;
            }
            if (raising)
                printf("map %d opcode %02x: %d\n", map, op, raising);
        }
}

// Prints what instructions raise whose operand lies 1, 2, 4 and 8 bytes behind a boundary.
static void checked(void)
{
    static const struct { unsigned char size, code[8]; } list[] = {
        {2, {0x8b, 0x03}}, {3, {0x66, 0x8b, 0x03}}, {3, {0x48, 0x8b, 0x03}}, {2, {0x8a, 0x03}}, // mov
        {2, {0x01, 0x03}}, {4, {0x48, 0x83, 0x03, 1}}, {3, {0xf0, 0xff, 0x03}},             // add, lock inc
        {3, {0x48, 0x8d, 0x03}}, {3, {0x0f, 0x18, 0x0b}}, {3, {0x0f, 0x1f, 0x03}},         // lea, prefetch, nop
        {2, {0xdd, 0x03}}, {2, {0xdb, 0x2b}}, {2, {0xd9, 0x33}}, {2, {0xdd, 0x33}},          // fld, fnstenv, fnsave
        {3, {0x0f, 0x10, 0x03}}, {4, {0xf3, 0x0f, 0x10, 0x03}}, {4, {0xf2, 0x0f, 0x10, 0x03}}, {3, {0x0f, 0x28, 0x03}},
        {4, {0xf2, 0x0f, 0xf0, 0x03}}, {3, {0x0f, 0x6f, 0x03}}, {4, {0x66, 0x0f, 0x2f, 0x03}},
        {3, {0x0f, 0xae, 0x03}}, {3, {0x0f, 0xae, 0x1b}}, {3, {0x0f, 0xc7, 0x0b}}, {4, {0x48, 0x0f, 0xc7, 0x0b}},
        {2, {0xff, 0x33}}, {2, {0x66, 0xab}}, {1, {0xab}}, {2, {0x48, 0xa7}}, {5, {0x48, 0x8d, 0x63, 8, 0x50}},
        {6, {0x48, 0x8d, 0x63, 8, 0x66, 0x50}}, {3, {0x0f, 0xa3, 0x03}}, {2, {0x87, 0x03}}, {3, {0x0f, 0xb0, 0x03}},
    };
    for (unsigned i = 0; i < sizeof list / sizeof *list; i++) {
        for (int at = 0; at < list[i].size; at++)
            printf("%02x", list[i].code[at]);
        for (int shift = 0; shift < 4; shift++) {
            unsigned char what[16];
            memcpy(what, (unsigned char[]){0x48, 0x89, 0xfe, 0x31, 0xc0}, 5); // mov rsi, rdi; xor eax, eax
            memcpy(what + 5, list[i].code, list[i].size);
            run(what, 5 + list[i].size, data + 64 + (1 << shift), 1);
            printf(raised && wrong ? " wrong" : " %d", raised);
        }
        puts("");
    }
}

// AC stays set in the handler of a signal, and behind it.
static volatile unsigned long seen;

static unsigned long flags(void)
{
    unsigned long value;
    __asm__ volatile("pushf; pop %0; pushf; andl $~0x40000, (%%rsp); popf" : "=r"(value));
    return value;
}

static void on_usr1(int number) { (void)number, seen = flags(); }

int main(void)
{
    start();
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    static char stack[1 << 16] __attribute__((aligned(64)));
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (int number = 1; number < 32; number++)
        if (number != SIGKILL && number != SIGSTOP && number != SIGUSR1)
            sigaction(number, &action, NULL);
    code = (unsigned char *)map(1, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
    data = (unsigned char *)fresh(4);
    operands();
    checked();
    signal(SIGUSR1, on_usr1);
    __asm__ volatile("pushf; orl $0x40000, (%rsp); popf");
    raise(SIGUSR1);
    int kept = (flags() & 0x40000) != 0;
    __asm__ volatile("mov %%rsp, %%rcx; push $0x2b; push %%rcx; pushf; orl $0x40000, (%%rsp); push $0x33;"
                     "lea 1f(%%rip), %%rax; push %%rax; iretq; 1:" ::: "rax", "rcx", "memory");
    printf("flag: %d %d %d\n", (seen & 0x40000) != 0, kept, (flags() & 0x40000) != 0);
    return 0;
}
#else
int main(void)
{
    puts("alignment");
    return 0;
}
#endif
