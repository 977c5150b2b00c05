// SPDX-License-Identifier: GPL-2.0-or-later
// Programs whose mappings begin elsewhere: with a stack without a limit, with an odd limit, upwards (ADDR_COMPAT_LAYOUT),
// with page 0 mapped (MMAP_PAGE_ZERO). Each maps, touches and ends.
#define _GNU_SOURCE
#include "guest.h"
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void run(char *self, const char *how, unsigned long persona, rlim_t stack)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit;
        getrlimit(RLIMIT_STACK, &limit);
        limit.rlim_cur = stack;
        if (personality(0x0040000 | persona) < 0 || (stack && setrlimit(RLIMIT_STACK, &limit)))
            _exit(9);
        execl(self, self, how, (char *)NULL);
        _exit(8);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("%s ends with %d\n", how, status);
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1) {
        char *one = fresh(3), *two = fresh(600);
        touch(one, 3, 1);
        touch(two, 2, 1);
        int known = strcmp(argv[1], "unlimited"); // where mappings go then depends on the architecture
        printf("%s: %s, %d\n", argv[1], !known ? "somewhere" : two < one ? "down" : "up",
               strcmp(argv[1], "zero") ? 0 : *(volatile unsigned char *)0);
        return 0;
    }
    run(argv[0], "as it is", 0, 0);
    run(argv[0], "unlimited", 0, RLIM_INFINITY);
    run(argv[0], "odd limit", 0, (200 << 20) + 1234);
    run(argv[0], "upwards", 0x0200000, 0);
    run(argv[0], "zero", 0x0100000, 0);
    return 0;
}
