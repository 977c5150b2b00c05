// SPDX-License-Identifier: GPL-2.0-or-later
// Memory that is given back lazily, and asked for: MADV_FREE, MADV_COLD, MADV_PAGEOUT on pages of every kind. What is
// left of them shows in the faults; what is printed is the same where the kernel keeps everything.
#include "guest.h"

enum { FREE = 8, COLD = 20, PAGEOUT = 21, PAGES = 16 };

static void advise(char *at, size_t pages, int advice)
{
    madvise(at, pages * page, advice);
}

static void look(const char *at, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        (void)*(const volatile char *)(at + i * page);
}

int main(void)
{
    start();
    char *own = fresh(PAGES), *other = fresh(PAGES);
    touch(own, PAGES, 1);
    advise(own, PAGES, PAGEOUT); // no swap: they stay
    touch(own, PAGES, 2);
    advise(own, 8, FREE);
    touch(own, 2, 3); // written since
    look(own + 2 * page, 2); // read since
    advise(own, PAGES, COLD);
    advise(own, PAGES, PAGEOUT);
    touch(own, PAGES, 4);
    printf("own %u\n", sum(own, PAGES));

    touch(other, PAGES, 1);
    advise(other, PAGES, FREE);
    char *moved = mremap(other, PAGES * page, 2 * PAGES * page, MREMAP_MAYMOVE);
    advise(moved, PAGES, PAGEOUT);
    look(moved, PAGES);
    touch(moved, 2 * PAGES, 5);
    printf("moved %u\n", sum(moved, 2 * PAGES));

    advise(moved, 4, FREE); // the kernel has read one of them, which does not keep it
    int ends[2];
    printf("pipe %d\n", err(pipe(ends)));
    printf("written %zd\n", write(ends[1], moved, page));
    advise(moved, 4, PAGEOUT);
    touch(moved, 4, 6);

    int file = memfd_create("reclaim", 0);
    printf("file %d\n", err(ftruncate(file, (off_t)(PAGES * page))));
    char *shared = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    touch(shared, 4, 7);
    printf("shared %u\n", sum(shared, PAGES));
    advise(shared, PAGES, PAGEOUT); // the written ones stay in the object, the others leave it
    printf("shared %u\n", sum(shared, PAGES));
    char *again = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, file, 0);
    printf("twice %u\n", sum(again, 8));
    advise(shared, PAGES, PAGEOUT); // not those that are mapped twice
    printf("shared %u\n", sum(shared, PAGES));
    printf("twice %u\n", sum(again, PAGES));
    return 0;
}
