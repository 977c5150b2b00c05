// SPDX-License-Identifier: GPL-2.0-or-later
// mprotect splits and merges mappings; what is read and written in between.
#include "guest.h"

static int count(void)
{
    static char text[16384];
    int fd = open("/proc/self/maps", O_RDONLY), lines = 0;
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

int main(void)
{
    start();
    int base = count();
    char *a = fresh(24);
    printf("new %d\n", count() - base);
    touch(a, 24, 1);
    mprotect(a + 8 * page, 8 * page, PROT_READ);
    printf("split %d\n", count() - base);
    mprotect(a, 8 * page, PROT_READ);
    printf("moved boundary %d\n", count() - base);
    mprotect(a + 12 * page, 12 * page, PROT_READ);
    printf("merged %d\n", count() - base);
    mprotect(a + 2 * page, page, PROT_NONE);
    mprotect(a + 5 * page, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC);
    printf("islands %d\n", count() - base);
    a[5 * page] = 2;
    mprotect(a, 24 * page, PROT_READ | PROT_WRITE);
    printf("one again %d\n", count() - base);
    touch(a, 24, 3);
    printf("sum %u\n", sum(a, 24));
    char *b = mmap(a - 4 * page, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("neighbour %d %d\n", b == a - 4 * page, count() - base);
    touch(b, 4, 4);
    mprotect(b, 6 * page, PROT_READ);
    mprotect(b, 6 * page, PROT_READ | PROT_WRITE);
    printf("across %d %u\n", count() - base, sum(b, 28));
    printf("hole %d\n", err(mprotect(b - 2 * page, 4 * page, PROT_READ)));
    printf("unaligned %d\n", err(mprotect(b + 1, page, PROT_READ)));
    printf("nothing %d\n", mprotect(b, 0, PROT_READ));
    int fd = open("/proc/self/exe", O_RDONLY);
    char *f = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, fd, 0);
    printf("shared read-only file %d\n", err(mprotect(f, page, PROT_READ | PROT_WRITE)));
    printf("growsdown %d\n", err(mprotect(b, page, PROT_READ | PROT_GROWSDOWN)));
    return 0;
}
