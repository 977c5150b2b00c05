// SPDX-License-Identifier: GPL-2.0-or-later
// A file that was written in large pieces: its pages are mapped together, where file, mapping and page table allow it.
// The argument is a directory to work in.
#include "guest.h"
#include <linux/falloc.h>

#define PAGES 320
#define MUST(it) do { if (!(it)) { printf("failed in line %d\n", __LINE__); exit(1); } } while (0)

static long used;

static void load_all(volatile char *m, int first, int end, int step)
{
    for (int i = first; i < end; i += step)
        used += m[i * (long)page];
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    char name[300];
    snprintf(name, sizeof name, "%s/folios", argv[1]);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0);
    char *text = malloc(64 * page);
    memset(text, 1, 64 * page);

    // Pieces of 32 pages, of 64, of pages that are not aligned, and a tail.
    for (int i = 0; i < 4; i++)
        MUST(write(fd, text, 32 * page) == (ssize_t)(32 * page));
    MUST(write(fd, text, 64 * page) == (ssize_t)(64 * page));
    MUST(write(fd, text, 1000) == 1000);
    for (int i = 0; i < 3; i++)
        MUST(write(fd, text, 30 * page) == (ssize_t)(30 * page));
    char *m = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    load_all(m, 0, 282, 1);
    printf("read %ld\n", used);
    for (int i = 0; i < 282; i += 9)
        m[i * (long)page] = 1;
    MUST(munmap(m, PAGES * page) == 0);

    // A mapping that begins and ends within folios; private, written first.
    m = mmap(NULL, 100 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 40 * (off_t)page);
    for (int i = 0; i < 100; i += 23)
        m[i * (long)page] = 2;
    load_all(m, 0, 100, 3);
    MUST(munmap(m, 100 * page) == 0);

    // The cache outlives the descriptor.
    MUST(close(fd) == 0);
    fd = open(name, O_RDONLY);
    m = mmap(NULL, 200 * page, PROT_READ, MAP_SHARED, fd, 10 * (off_t)page);
    load_all(m, 0, 200, 7);
    MUST(munmap(m, 200 * page) == 0);
    printf("again %ld\n", used);

    // Cut off and punched within folios: those stay, unmapped.
    MUST(close(fd) == 0);
    fd = open(name, O_RDWR);
    m = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    load_all(m, 0, 200, 3);
    m[150 * page] = 1;
    MUST(ftruncate(fd, 150 * (off_t)page + 7) == 0);
    load_all(m, 0, 150, 9);
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 40 * (off_t)page, 8 * (off_t)page) == 0);
    load_all(m, 0, 150, 5);
    MUST(pwrite(fd, text, 30 * page, 200 * (off_t)page) == (ssize_t)(30 * page));
    load_all(m, 0, 230, 4);
    MUST(munmap(m, PAGES * page) == 0);
    printf("cut %ld\n", used);

    // Emptied and written page by page: single pages.
    MUST(close(fd) == 0);
    fd = open(name, O_RDWR | O_TRUNC);
    for (int i = 0; i < 64; i++)
        MUST(write(fd, text, page) == (ssize_t)page);
    m = mmap(NULL, 64 * page, PROT_READ, MAP_SHARED, fd, 0);
    load_all(m, 0, 64, 1);
    printf("pages %ld\n", used);
    unlink(name);
    return 0;
}
