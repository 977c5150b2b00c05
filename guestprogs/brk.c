// SPDX-License-Identifier: GPL-2.0-or-later
// The program break: grows, shrinks, is refused.
#include "guest.h"

static long kbrk(void *to)
{
    return syscall(SYS_brk, to);
}

int main(void)
{
    start();
    char *begin = (char *)kbrk(0);
    char *base = (char *)(((uintptr_t)begin + page - 1) & -page);
    printf("grow %d\n", kbrk(base + 10 * page) == (long)(base + 10 * page));
    touch(base, 10, 1);
    printf("sum %u\n", sum(base, 10));
    printf("shrink %d\n", kbrk(base + 4 * page) == (long)(base + 4 * page));
    printf("grow again %d\n", kbrk(base + 8 * page + 100) == (long)(base + 8 * page + 100));
    printf("fresh zeroes %u\n", sum(base, 9));
    printf("below the start: %d\n", kbrk((void *)4096) == (long)(base + 8 * page + 100));
    char *wall = mmap(base + 64 * page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("wall %d\n", failed(wall));
    printf("into the wall: %d\n", kbrk(base + 100 * page) == (long)(base + 8 * page + 100));
    printf("up to it: %d\n", kbrk(base + 63 * page) == (long)(base + 63 * page));
    touch(base + 40 * page, 20, 2);
    printf("sum %u\n", sum(base, 63));
    printf("all given back: %d\n", kbrk(base) == (long)base);
    return 0;
}
