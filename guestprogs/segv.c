// SPDX-License-Identifier: GPL-2.0-or-later
// SIGSEGV and SIGBUS are caught, looked at, mended with mprotect and mmap; the program goes on.
#include "guest.h"

static char *volatile expected;
static volatile int mend, seen;

static void caught(int signo, siginfo_t *info, void *context)
{
    (void)context;
    char *at = (char *)((uintptr_t)info->si_addr & -page);
    printf("signal %d code %d address %s\n", signo, info->si_code, info->si_addr == expected ? "right" : "wrong");
    seen++;
    if (mend == 1)
        mprotect(at, page, PROT_READ | PROT_WRITE);
    else
        mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void poke(char *at)
{
    expected = at;
    *(volatile char *)at = 42;
    printf("then %d\n", *at);
}

int main(void)
{
    start();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    char *a = map(8, PROT_NONE, MAP_PRIVATE);
    mend = 1;
    poke(a + 5);
    mprotect(a + page, page, PROT_READ);
    poke(a + page + 100);
    mend = 2;
    munmap(a + 2 * page, page);
    poke(a + 2 * page + 8);
    poke(a + 3 * page);
    int fd = open("/proc/self/exe", O_RDONLY);
    char *f = mmap(NULL, 4096 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    poke(f + 4000 * page + 1);
    expected = a + 4 * page + 3;
    printf("read %d\n", *(volatile char *)expected);
    volatile unsigned char *byte = (unsigned char *)a;
    for (int i = 0; i < 3; i++) {
        mprotect(a, page, PROT_READ);
        expected = a;
        mend = 1;
        byte[0]++;
    }
    printf("counted %d seen %d\n", byte[0], seen);
    return 0;
}
