// SPDX-License-Identifier: GPL-2.0-or-later
// How often mmap_lock is taken: cmdline, environ and pagemap read in pieces into pages that are there and that are not,
// and process_madvise of several ranges.
#include "guest.h"

static void reads(const char *name, char *there, char *fresh_pages)
{
    int fd = open(name, O_RDONLY);
    long first = read(fd, there, 7), second = read(fd, there, page), third = read(fd, there, page);
    long again = pread(fd, fresh_pages, page, 3), beyond = pread(fd, there, 8, 1 << 20);
    printf("%s: %ld %d %ld, %d, %ld\n", name, first, second >= 0, third, again >= 0, beyond);
    close(fd);
}

static void pagemap(char *area)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    off_t at = (off_t)((uintptr_t)area / page * 8);
    printf("pagemap: %ld", (long)pread(fd, area, 4 * 8, at));
    printf(" %ld", (long)pread(fd, area + 2 * page, 2 * 8, at));
    printf(" %ld", (long)pread(fd, area, 0, at));
    printf(" %ld", (long)pread(fd, area, 12, at));
    printf(" %ld\n", (long)pread(fd, area, 8, (off_t)1 << 61));
    close(fd);
}

static void advise(int pidfd, struct iovec *ranges, int count, int advice)
{
    long done = syscall(SYS_process_madvise, pidfd, ranges, count, advice, 0);
    printf("advice %d of %d: %ld %d\n", advice, count, done, done < 0 ? errno : 0);
}

int main(int argc, char **argv)
{
    start();
    char *there = fresh(4);
    memset(there, 1, 4 * page);
    reads("/proc/self/cmdline", there, fresh(4));
    reads("/proc/self/environ", there, fresh(4));
    char *last = argv[argc - 1];
    last[strlen(last)] = '+';
    reads("/proc/self/cmdline", there, fresh(4));
    pagemap(fresh(8));

    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    char *area = fresh(16);
    memset(area, 1, 16 * page);
    mprotect(area + 8 * page, 2 * page, PROT_READ);
    struct iovec ranges[] = {
        { area, 4 * page }, { area + 6 * page, 3 * page }, { area + 10 * page, page },
        { area + 12 * page + 1, page }, { area + 14 * page, page },
    };
    advise(pidfd, ranges, 3, 20);
    advise(pidfd, ranges, 3, 102);
    advise(pidfd, ranges, 3, 103);
    advise(pidfd, ranges, 3, MADV_DONTNEED);
    advise(pidfd, ranges, 5, MADV_DONTNEED);
    advise(pidfd, ranges + 3, 2, 3);
    advise(pidfd, ranges, 2, 77);
    memset(area, 2, 4 * page);
    return 0;
}
