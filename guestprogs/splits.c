// SPDX-License-Identifier: GPL-2.0-or-later
// Large folios of the page cache that get a hole, an end within them or new bytes, with clean and with dirty buffers; and
// read(2) that reads ahead, before what it left is mapped. What is in the cache afterwards shows in how many pages a
// fault maps (mincore, and the faults themselves). The argument is a directory to work in.
#include "guest.h"
#include <linux/falloc.h>

#define MUST(it) do { if (!(it)) { printf("failed in line %d\n", __LINE__); exit(1); } } while (0)
#define PAGES 32
static int fd;
static char *text, name[300];

static void fresh_file(int pages)
{
    unlink(name);
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && (pages == 0 || write(fd, text, pages * page) == (ssize_t)(pages * page)));
}

static void cached(const char *what)
{
    unsigned char present[PAGES];
    char *m = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fd, 0);
    MUST(m != MAP_FAILED && mincore(m, PAGES * page, present) == 0);
    printf("%-32s", what);
    for (int i = 0; i < PAGES; i++)
        putchar(present[i] & 1 ? 'x' : '.');
    struct stat st;
    fstat(fd, &st);
    unsigned seen = 0;
    for (int i = 0; i < PAGES && i * (off_t)page < st.st_size; i++)
        seen = seen * 31 + ((volatile unsigned char *)m)[i * page] + ((volatile unsigned char *)m)[(i + 1) * page - 1];
    printf(" %u\n", seen);
    munmap(m, PAGES * page);
    close(fd);
}

static void hole(const char *what, int clean, long start, long end)
{
    fresh_file(16);
    if (clean)
        MUST(fsync(fd) == 0);
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start) == 0);
    cached(what);
}

static void cut(const char *what, int clean, long size)
{
    fresh_file(16);
    if (clean)
        MUST(fsync(fd) == 0);
    char *m = mmap(NULL, 16 * page, PROT_READ, MAP_SHARED, fd, 0);
    MUST(((volatile char *)m)[0] == 'a');
    MUST(ftruncate(fd, size) == 0);
    MUST(((volatile char *)m)[page] == 'a');
    munmap(m, 16 * page);
    cached(what);
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    snprintf(name, sizeof name, "%s/splits", argv[1]);
    text = malloc(PAGES * page);
    memset(text, 'a', PAGES * page);

    hole("hole, dirty", 0, 5 * page, 7 * page);
    hole("hole, clean", 1, 5 * page, 7 * page);
    hole("hole at the start, clean", 1, 0, 3 * page);
    hole("parts of pages, dirty", 0, 5 * page + 100, 7 * page + 100);
    hole("parts of pages, clean", 1, 5 * page + 100, 7 * page + 100);
    hole("within a page, clean", 1, 5 * page + 100, 5 * page + 200);
    hole("over the end, clean", 1, 13 * page + 1, 40 * page);
    cut("cut, dirty", 0, 6 * page + 10);
    cut("cut, clean", 1, 6 * page + 10);
    cut("cut at a page, clean", 1, 6 * page);

    // Buffers of a hole are dirty no longer, and those of a page that is stored to are again.
    fresh_file(16);
    fsync(fd);
    char *m = mmap(NULL, 16 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ((volatile char *)m)[3 * page] = 'b';
    MUST(madvise(m + 8 * page, 4 * page, MADV_REMOVE) == 0);
    munmap(m, 16 * page);
    cached("stored to, then a hole");
    fresh_file(16);
    MUST(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4 * page + 1, 4 * page) == 0);
    cached("zeroes, dirty");
    fresh_file(3);
    MUST(fallocate(fd, 0, 2 * page, 5 * page + 7) == 0);
    cached("longer by fallocate");
    fresh_file(8);
    MUST(ftruncate(fd, 8 * page - 5) == 0 && ftruncate(fd, 14 * page + 5) == 0);
    cached("shorter and longer");

    // read(2) takes what is there, and what it has to bring in comes with more behind it.
    fresh_file(0);
    MUST(ftruncate(fd, 30 * page) == 0);
    MUST(pread(fd, text, page, 0) == (ssize_t)page);
    cached("first page read");
    fresh_file(0);
    MUST(ftruncate(fd, 30 * page) == 0);
    MUST(pread(fd, text, 10, 12 * page) == 10);
    cached("a page in the middle read");
    fresh_file(0);
    MUST(ftruncate(fd, 30 * page) == 0);
    for (int i = 0; i < 12; i++)
        MUST(read(fd, text, page) == (ssize_t)page);
    cached("twelve pages read in order");
    memset(text, 'a', PAGES * page);
    fresh_file(4);
    MUST(ftruncate(fd, 30 * page) == 0);
    char *none = map(1, PROT_NONE, MAP_PRIVATE);
    printf("read to nowhere %d\n", err(pread(fd, none, 10 * page, 2 * page)));
    cached("a read that failed");
    fresh_file(4);
    MUST(ftruncate(fd, 30 * page) == 0);
    MUST(pread(fd, text, 6 * page, 2 * page) == (ssize_t)(6 * page));
    cached("behind what is cached");
    memset(text, 'a', PAGES * page);
    unlink(name);
    return 0;
}
