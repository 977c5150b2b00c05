// SPDX-License-Identifier: GPL-2.0-or-later
// Guests that go wrong, one way an argument: endless recursion, wild jumps and pointers, all of memory, a busy loop.
#include "guest.h"

static volatile int never;

static int recurse(volatile char *above)
{
    volatile char here[1024];
    here[0] = above[0];
    if (never)
        return here[0];
    return recurse(here) + here[0];
}

static void eat(void)
{
    for (;;) {
        char *more = fresh(256);
        if (failed(more)) {
            printf("refused with %d\n", errno);
            return;
        }
        touch(more, 256, 1);
    }
}

static void wild_pointers(void)
{
    printf("write %d\n", err(write(1, (void *)16, 4)));
    printf("stat %d\n", err(stat((void *)-4096L, NULL)));
    printf("readv %d\n", err(readv(0, (void *)8, 2)));
    printf("mincore %d\n", err(mincore(fresh(1), page, (void *)1)));
    printf("sigaction %d\n", err(syscall(SYS_rt_sigaction, SIGUSR1, 24, NULL, 8)));
}

int main(int argc, char **argv)
{
    start();
    const char *how = argc > 1 ? argv[1] : "";
    if (!strcmp(how, "recurse")) {
        volatile char first = 0;
        return recurse(&first);
    }
    if (!strcmp(how, "jump"))
        ((void (*)(void))(uintptr_t)0x123456000)();
    if (!strcmp(how, "eat"))
        eat();
    if (!strcmp(how, "pointers"))
        wild_pointers();
    if (!strcmp(how, "missing")) {
        for (int i = 0; i < 3; i++)
            printf("bpf %d\n", err(syscall(SYS_bpf, 0, 0, 0)));
        printf("number 4000 %d\n", err(syscall(4000)));
    }
    if (!strcmp(how, "spin")) {
        puts("spinning");
        while (!never)
            ;
    }
    if (!strcmp(how, "write")) {
        int fd = open(argv[2], O_WRONLY | O_CREAT, 0644);
        printf("open %d\n", err(fd));
        if (fd >= 0)
            printf("write %d\n", (int)write(fd, "text", 4));
    }
    return 0;
}
