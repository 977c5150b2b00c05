// SPDX-License-Identifier: GPL-2.0-or-later
// madvise: what it drops, brings in, marks, accepts and refuses.
#include "guest.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#define POPULATE_READ 22
#define POPULATE_WRITE 23

int main(void)
{
    start();
    char *a = fresh(16);
    touch(a, 16, 1);
    printf("dontneed %d %u\n", madvise(a, 8 * page, MADV_DONTNEED), sum(a, 16));
    touch(a, 4, 2);
    printf("free %d %u\n", madvise(a, 16 * page, MADV_FREE), sum(a, 16));
    touch(a, 8, 3);
    printf("after free %u\n", sum(a, 16));
    char *b = fresh(16);
    printf("populate write %d\n", madvise(b, 8 * page, POPULATE_WRITE));
    printf("populate read %d\n", madvise(b + 4 * page, 12 * page, POPULATE_READ));
    touch(b, 16, 4);
    printf("sum %u\n", sum(b, 16));
    int fd = open("/proc/self/exe", O_RDONLY);
    char *f = mmap(NULL, 4 * page, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("willneed %d\n", madvise(f, 4 * page, MADV_WILLNEED));
    printf("file %.3s\n", f + 1);
    printf("dontneed file %d %.3s\n", madvise(f, page, MADV_DONTNEED), f + 1);
    printf("free file %d\n", err(madvise(f, page, MADV_FREE)));
    printf("advice %d %d %d\n", madvise(a, 2 * page, MADV_SEQUENTIAL), madvise(a, 2 * page, MADV_RANDOM),
           madvise(a, 2 * page, MADV_NORMAL));
    printf("huge %d %d\n", madvise(a, 4 * page, MADV_NOHUGEPAGE), madvise(a, 4 * page, MADV_DONTDUMP));
    printf("dump %d\n", madvise(a, 4 * page, MADV_DODUMP));
    printf("fork %d %d %d\n", madvise(a, page, MADV_DONTFORK), madvise(a, page, MADV_DOFORK),
           madvise(a + page, page, MADV_WIPEONFORK));
    printf("keep %d\n", madvise(a + page, page, MADV_KEEPONFORK));
    printf("wipe of a file %d\n", err(madvise(f, page, MADV_WIPEONFORK)));
    printf("cold %d pageout %d\n", madvise(b, page, MADV_COLD), madvise(b + page, page, MADV_PAGEOUT));
    printf("remove of private %d\n", err(madvise(a, page, MADV_REMOVE)));
    printf("remove of private file %d\n", err(madvise(f, page, MADV_REMOVE)));
    char *s = map(4, PROT_READ | PROT_WRITE, MAP_SHARED);
    touch(s, 4, 5);
    printf("remove %d %u\n", madvise(s + page, page, MADV_REMOVE), sum(s, 4));
    printf("unaligned %d\n", err(madvise(a + 1, page, MADV_DONTNEED)));
    printf("unknown %d\n", err(madvise(a, page, 77)));
    printf("nothing %d\n", madvise(a, 0, MADV_DONTNEED));
    munmap(a + 4 * page, page);
    printf("hole %d %u\n", err(madvise(a, 8 * page, MADV_DONTNEED)), sum(a + 5 * page, 11));
    printf("locked %d", mlock(b, page));
    printf(" %d\n", err(madvise(b, page, MADV_DONTNEED)));
    printf("populate hole %d\n", err(madvise(a, 8 * page, POPULATE_WRITE)));
    char *none = map(2, PROT_NONE, MAP_PRIVATE);
    printf("populate none %d\n", err(madvise(none, page, POPULATE_READ)));
    return 0;
}
