// SPDX-License-Identifier: GPL-2.0-or-later
// mlock, mlock2, mlockall, munlock and RLIMIT_MEMLOCK.
#include "guest.h"
#include <sys/resource.h>

static void locked(const char *what)
{
    static char text[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    char *at = strstr(text, "VmLck:");
    printf("%s: %ld kB\n", what, at ? strtol(at + 6, NULL, 10) * 4096 / (long)page : -1);
}

int main(void)
{
    start();
    char *a = fresh(16);
    printf("mlock %d\n", mlock(a + page, 4 * page));
    locked("four pages");
    touch(a, 16, 1);
    printf("sum %u\n", sum(a, 16));
    printf("unaligned %d\n", mlock(a + 8 * page + 100, 10));
    locked("five");
    printf("munlock %d\n", munlock(a + 2 * page, 2 * page));
    locked("three");
    printf("onfault %d\n", (int)syscall(SYS_mlock2, a + 12 * page, 2 * page, 1));
    locked("five");
    char *b = fresh(4);
    printf("onfault fresh %d\n", (int)syscall(SYS_mlock2, b, 4 * page, 1));
    touch(b, 2, 1);
    printf("flags %d\n", err(syscall(SYS_mlock2, a, page, 8)));
    printf("future %d\n", mlockall(MCL_FUTURE));
    char *c = fresh(4);
    locked("with a new mapping");
    touch(c, 4, 2);
    printf("munlockall %d\n", munlockall());
    locked("none");
    munmap(a + 4 * page, page);
    printf("hole %d\n", err(mlock(a, 8 * page)));
    locked("up to the hole");
    printf("munlockall %d\n", munlockall());
    char *none = map(2, PROT_NONE, MAP_PRIVATE);
    printf("no access %d\n", err(mlock(none, page)));
    printf("current %d\n", mlockall(MCL_CURRENT | MCL_ONFAULT));
    printf("bad %d %d\n", err(mlockall(0)), err(mlockall(MCL_ONFAULT)));
    munlockall();
    return 0;
}
