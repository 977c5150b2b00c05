// SPDX-License-Identifier: GPL-2.0-or-later
// Where mmap puts things: hints, MAP_FIXED, MAP_FIXED_NOREPLACE, holes, partial munmap, populate.
#include "guest.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

int main(void)
{
    start();
    char *a = fresh(32);
    char *b = fresh(8);
    printf("downwards %d\n", b + 8 * page == a);
    printf("hole %d\n", munmap(a + 8 * page, 8 * page));
    char *c = fresh(8);
    printf("fills the hole %d\n", c == a + 8 * page);
    munmap(c, 8 * page);
    char *d = fresh(16);
    printf("does not fit %d\n", d + 16 * page == b);
    char *hint = mmap(a + 10 * page, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("hint taken %d\n", hint == a + 10 * page);
    char *busy = mmap(a, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("hint busy %d\n", busy != a && busy != MAP_FAILED);
    char *odd = mmap(a + 9 * page + 17, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("odd hint %d\n", odd == a + 9 * page || odd == a + 8 * page || odd == a + 12 * page || odd != MAP_FAILED);
    touch(a, 4, 1);
    char *fixed = mmap(a + page, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("fixed %d %u\n", fixed == a + page, sum(a, 4));
    void *noreplace = mmap(a, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("noreplace refused %d\n", failed(noreplace));
    noreplace = mmap(a + 13 * page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("noreplace taken %d\n", noreplace == (void *)(a + 13 * page));
    char *populated = map(12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE);
    touch(populated, 12, 1);
    printf("populated %u\n", sum(populated, 12));
    char *readonly = map(6, PROT_READ, MAP_PRIVATE | MAP_POPULATE);
    printf("populated for reading %u\n", sum(readonly, 6));
    char *shared = map(5, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE);
    printf("populated shared %u\n", sum(shared, 5));
    char *reserve = map(1 << 14, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
    reserve[(size_t)12345 * page] = 1;
    printf("noreserve %d\n", reserve[(size_t)12345 * page]);
    munmap(reserve + page, (size_t)8000 * page);
    printf("left %u\n", sum(reserve, 1) + sum(reserve + (size_t)12000 * page, 400));
    printf("unaligned munmap %d\n", err(munmap(a + 1, page)));
    printf("empty munmap %d\n", err(munmap(a, 0)));
    printf("nothing there %d\n", munmap(a + 20 * page, 2 * page) | munmap(a + 20 * page, 2 * page));
    return 0;
}
