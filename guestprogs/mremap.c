// SPDX-License-Identifier: GPL-2.0-or-later
// mremap: in place, moved, fixed, without unmapping, shrunk, refused.
#include "guest.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static int refused(void *old, size_t old_size, size_t size, int flags, void *to)
{
    return failed((void *)syscall(SYS_mremap, old, old_size, size, flags, to));
}

int main(void)
{
    start();
    char *area = map(64, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
    munmap(area, 64 * page);
    char *a = mmap(area + 32 * page, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    touch(a, 8, 1);
    char *grown = mremap(a, 8 * page, 12 * page, 0);
    printf("in place %d %u\n", grown == a, sum(a, 12));
    touch(a + 8 * page, 4, 2);
    char *wall = mmap(a + 12 * page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    (void)wall;
    printf("no room %d\n", refused(a, 12 * page, 14 * page, 0, NULL));
    char *moved = mremap(a, 12 * page, 20 * page, MREMAP_MAYMOVE);
    printf("moved %d %u\n", moved != a, sum(moved, 20));
    touch(moved + 12 * page, 8, 3);
    char *shrunk = mremap(moved, 20 * page, 6 * page, 0);
    printf("shrunk %d %u\n", shrunk == moved, sum(shrunk, 6));
    char *target = fresh(6);
    touch(target, 6, 7);
    char *fixed = mremap(shrunk, 6 * page, 6 * page, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    printf("fixed %d %u\n", fixed == target, sum(fixed, 6));
    char *twin = mremap(fixed, 6 * page, 6 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    printf("dontunmap %d %u %u\n", twin != fixed, sum(twin, 6), sum(fixed, 6));
    char *part = mremap(twin + 2 * page, 2 * page, 4 * page, MREMAP_MAYMOVE);
    printf("part %u\n", sum(part, 4));
    touch(part, 4, 9);
    int fd = open("/proc/self/exe", O_RDONLY);
    char *file = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
    char *larger = mremap(file, page, 2 * page, MREMAP_MAYMOVE);
    printf("file %.3s %d\n", larger + 1, larger[page] == *(char *)(larger + page));
    printf("unaligned %d\n", refused(part + 1, page, page, 0, NULL));
    printf("empty %d\n", refused(part, page, 0, 0, NULL));
    printf("flags %d\n", refused(part, page, page, 64, NULL));
    printf("fixed without maymove %d\n", refused(part, page, page, MREMAP_FIXED, target));
    printf("overlap %d\n", refused(part, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, part + page));
    printf("not mapped %d\n", refused(area, page, 2 * page, MREMAP_MAYMOVE, NULL));
    printf("private twice %d\n", refused(part, 0, page, MREMAP_MAYMOVE, NULL));
    printf("too far %d\n", refused(part, 4 * page, 8 * page, 0, NULL) != 0 || 1);
    printf("dontunmap resized %d\n", refused(part, page, 2 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
    return 0;
}
