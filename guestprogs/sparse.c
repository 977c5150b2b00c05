// SPDX-License-Identifier: GPL-2.0-or-later
// Large files with nothing in them, mapped and used in order, from the middle and at random: what is read ahead, in which
// pieces, and how many pages a fault maps. The argument is a directory to work in.
#include "guest.h"

enum { MB = 1 << 20 };

static char *mapped(const char *name, size_t size, int flags, int advice)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size))
        exit(1);
    unlink(name);
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    close(fd);
    if (advice)
        madvise(at, size, advice);
    return at;
}

static long read_each(volatile char *at, size_t from, size_t to, size_t step)
{
    long sum = 0;
    for (size_t offset = from; offset < to; offset += step)
        sum += at[offset] + 1;
    return sum;
}

static void write_each(volatile char *at, size_t from, size_t to, size_t step)
{
    for (size_t offset = from; offset < to; offset += step)
        at[offset] = 1;
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    char name[4200];
    snprintf(name, sizeof name, "%s/sparse", argv[1]);

    char *all = mapped(name, 46 * MB, MAP_PRIVATE, 0);
    printf("in order %ld\n", read_each(all, 0, 46 * MB, page));
    write_each(all, 20 * MB, 22 * MB, 37 * page);
    munmap(all, 46 * MB);

    char *advised = mapped(name, 12 * MB, MAP_SHARED, MADV_SEQUENTIAL);
    printf("sequential %ld\n", read_each(advised, 0, 12 * MB, page));
    munmap(advised, 12 * MB);

    char *written = mapped(name, 14 * MB, MAP_SHARED, 0);
    write_each(written, 1400 * page, 3300 * page, page);
    write_each(written, 0, 14 * MB, 61 * page);
    printf("written %ld\n", read_each(written, 0, 14 * MB, 13 * page));
    munmap(written, 14 * MB);

    char *back = mapped(name, 20 * MB, MAP_PRIVATE, 0);
    long sum = 0;
    for (size_t offset = 20 * MB; offset >= 17 * page; offset -= 17 * page)
        sum += back[offset - 17 * page] + 1;
    printf("backwards %ld\n", sum);
    munmap(back, 20 * MB);

    char *random = mapped(name, 30 * MB, MAP_PRIVATE, MADV_RANDOM);
    size_t index = 1;
    for (int i = 0; i < 100; i++) {
        index = index * 1103515245 + 12345 & 0x7fffffff;
        sum += random[index % (30 * MB)];
    }
    printf("random %ld\n", sum);
    return 0;
}
