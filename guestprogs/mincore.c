// SPDX-License-Identifier: GPL-2.0-or-later
// mincore and msync.
#include "guest.h"

static void show(const char *what, char *at, size_t pages)
{
    unsigned char vector[64];
    int error = err(mincore(at, pages * page, vector));
    printf("%s: %d ", what, error);
    for (size_t i = 0; !error && i < pages; i++)
        putchar('0' + (vector[i] & 1));
    putchar('\n');
}

int main(void)
{
    start();
    char *a = fresh(12);
    show("fresh", a, 12);
    a[2 * page] = 1;
    (void)*(volatile char *)(a + 4 * page);
    show("touched", a, 12);
    char *s = map(6, PROT_READ | PROT_WRITE, MAP_SHARED);
    s[page] = 1;
    show("shared", s, 6);
    int fd = open("/proc/self/exe", O_RDONLY);
    char *f = mmap(NULL, 2 * page, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)*(volatile char *)f;
    show("file", f, 2);
    munmap(a + 6 * page, page);
    show("hole", a, 12);
    show("before the hole", a, 6);
    unsigned char vector[4];
    printf("unaligned %d\n", err(mincore(a + 1, page, vector)));
    printf("bad vector %d\n", err(mincore(a, page, (unsigned char *)8)));
    printf("fresh vector %d\n", err(mincore(a, 4 * page, (unsigned char *)a + 8 * page)));
    printf("msync %d %d\n", msync(s, 6 * page, MS_SYNC), msync(s, 6 * page, MS_ASYNC));
    printf("msync both %d\n", err(msync(s, page, MS_SYNC | MS_ASYNC)));
    printf("msync unaligned %d\n", err(msync(s + 1, page, MS_SYNC)));
    printf("msync hole %d\n", err(msync(a, 12 * page, MS_SYNC)));
    mlock(s, page);
    printf("msync locked %d\n", err(msync(s, page, MS_INVALIDATE)));
    return 0;
}
