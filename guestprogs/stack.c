// SPDX-License-Identifier: GPL-2.0-or-later
// The stack grows by itself, MAP_GROWSDOWN too; the guard gap stops both.
#include "guest.h"
#include <setjmp.h>
#include <sys/resource.h>

static sigjmp_buf back;
static char alternate[65536];

static void caught(int signo, siginfo_t *info, void *context)
{
    (void)context;
    siglongjmp(back, signo * 100 + info->si_code);
}

static int __attribute__((noinline)) deep(int levels)
{
    volatile char frame[8000];
    frame[4000] = (char)levels;
    int below = levels ? deep(levels - 1) : 0;
    return below + frame[4000] - (char)levels;
}

static int __attribute__((noinline)) endless(int levels)
{
    volatile char frame[20000];
    frame[0] = (char)levels;
    return endless(levels + 1) + frame[0];
}

int main(void)
{
    start();
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    printf("deep %d\n", deep(60));
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    printf("limit %d\n", setrlimit(RLIMIT_STACK, &limit));
    int how = sigsetjmp(back, 1);
    if (!how)
        endless(0);
    printf("endless %d\n", how);

    char *area = map(1024, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
    munmap(area, 1024 * page);
    char *g = mmap(area + 900 * page, 2 * page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    printf("growsdown %d\n", failed(g));
    g[page] = 1;
    for (int i = 1; i < 6; i++)
        ((volatile char *)g)[-i * (long)page] = (char)i;
    printf("grown %d %d\n", g[-5 * (long)page], g[-(long)page]);
    char *below = mmap(g - 300 * page, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("neighbour %d\n", failed(below));
    how = sigsetjmp(back, 1);
    if (!how)
        ((volatile char *)g)[-20 * (long)page] = 1;
    printf("far from the gap %d\n", how);
    how = sigsetjmp(back, 1);
    if (!how)
        ((volatile char *)g)[-60 * (long)page] = 1;
    printf("into the gap %d\n", how);
    return 0;
}
