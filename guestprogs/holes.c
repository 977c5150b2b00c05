// SPDX-License-Identifier: GPL-2.0-or-later
// Pages of a file that no cache can hold before they are used: what a file was extended by, holes, preallocated parts.
// The argument is a directory to work in.
#include "guest.h"
#include <linux/falloc.h>

#define PAGES 300
#define MUST(it) do { if (!(it)) { printf("failed in line %d\n", __LINE__); exit(1); } } while (0)
static int fd;
static char *m;
static long seen;

static void load(int index)
{
    seen += ((volatile char *)m)[index * (long)page] + 1;
}

static void store(int index)
{
    ((volatile char *)m)[index * (long)page] = 1;
}

static void grow(int pages)
{
    MUST(ftruncate(fd, pages * (off_t)page) == 0);
}

static void again(int pages)
{
    grow(0);
    grow(pages);
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    char name[300];
    snprintf(name, sizeof name, "%s/holes", argv[1]);
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0);
    char *text = malloc(page);
    memset(text, 'a', page);
    m = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    // A write far behind the end leaves a hole before it.
    MUST(pwrite(fd, text, page, 80 * (off_t)page + 50) == (ssize_t)page);
    load(80);
    load(81);
    load(3);
    load(50);
    printf("behind a hole %ld\n", seen);

    // The file is made longer, and used at random: one page at a time.
    grow(180);
    MUST(madvise(m + 120 * page, 30 * page, MADV_RANDOM) == 0);
    load(121);
    load(122);
    store(123);
    store(170);
    load(125);
    load(171);
    printf("longer %ld\n", seen);

    // The kernel itself needs such a page, for a write; a page that was announced; one that was read.
    grow(220);
    int zero = open("/dev/zero", O_RDONLY);
    MUST(read(zero, m + 200 * page + 10, 2 * page) == (ssize_t)(2 * page));
    grow(250);
    MUST(madvise(m + 220 * page, 20 * page, MADV_WILLNEED) == 0);
    load(225);
    store(230);
    load(245);
    grow(PAGES);
    MUST(pread(fd, text, 10, 260 * (off_t)page) == 10);
    load(260);
    load(261);
    printf("read %ld\n", seen);

    // Part of it goes, and is used again.
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * (off_t)page, 20 * (off_t)page) == 0);
    load(25);
    store(30);
    load(39);
    printf("punched %ld\n", seen);

    // mlock and populating take the lock again after each wait.
    again(64);
    MUST(mlock(m, 8 * page) == 0);
    store(2);
    load(20);
    MUST(munlock(m, 8 * page) == 0);
    again(64);
    char *populated = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    store(5);
    load(40);
    MUST(munmap(populated, 64 * page) == 0);

    // The start of a file is read as if more were to come; a private copy of a page that is not there.
    again(64);
    MUST(pread(fd, text, page, 0) == (ssize_t)page);
    load(0);
    load(17);
    load(40);
    again(64);
    char *own = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    own[7 * page] = 2;
    seen += own[8 * page] + own[30 * page];
    own[50 * page] = 3;
    again(64);
    MUST(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED) == 0);
    seen += own[33 * page];
    printf("private %ld\n", seen);
    unlink(name);
    return 0;
}
