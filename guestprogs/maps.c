// SPDX-License-Identifier: GPL-2.0-or-later
// Changes its address space in every way, then prints /proc/self/maps, and again after more changes.
#include "guest.h"
#include <sys/prctl.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static void show(void)
{
    static char text[8192];
    int fd = open("/proc/self/maps", O_RDONLY);
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0)
        if (write(1, text, got) != got)
            _exit(1);
    close(fd);
    if (write(1, "--\n", 3) != 3)
        _exit(1);
}

int main(void)
{
    start();
    show();
    char *a = fresh(24);
    touch(a, 24, 1);
    mprotect(a + 8 * page, 8 * page, PROT_READ);
    mprotect(a, 4 * page, PROT_NONE);
    munmap(a + 18 * page, 2 * page);
    show();
    mprotect(a, 18 * page, PROT_READ | PROT_WRITE);
    int fd = open("/proc/self/exe", O_RDONLY);
    char *f = mmap(NULL, 6 * page, PROT_READ, MAP_PRIVATE, fd, page);
    munmap(f + 2 * page, page);
    mprotect(f + 4 * page, page, PROT_READ | PROT_WRITE);
    mmap(f + 3 * page, page, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    char *s = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mremap(s, 4 * page, 8 * page, MREMAP_MAYMOVE);
    show();
    char *heap = sbrk(8 * page);
    sbrk(-3 * page);
    mlock(heap, page);
    madvise(a + 4 * page, 2 * page, MADV_DONTFORK);
    char *moved = mremap(a + 10 * page, 4 * page, 12 * page, MREMAP_MAYMOVE);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, moved, 2 * page, "named here");
    mremap(a + 20 * page, 4 * page, 2 * page, 0);
    char deep[64 * 4096];
    deep[0] = 1;
    __asm__ volatile("" : : "r"(deep) : "memory");
    show();
    return 0;
}
