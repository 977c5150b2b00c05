// SPDX-License-Identifier: GPL-2.0-or-later
// Shared anonymous memory and memfd: one object behind several mappings, truncation, holes.
#include "guest.h"

int main(void)
{
    start();
    char *a = map(16, PROT_READ | PROT_WRITE, MAP_SHARED);
    printf("read %u\n", sum(a, 8));
    touch(a, 16, 1);
    printf("write %u\n", sum(a, 16));
    char *again = mremap(a, 0, 16 * page, MREMAP_MAYMOVE);
    printf("second mapping %d %u\n", failed(again), sum(again, 16));
    again[3 * page] = 9;
    printf("seen %d\n", a[3 * page]);
    madvise(a, 4 * page, MADV_REMOVE);
    printf("hole %u %u\n", sum(a, 16), sum(again, 16));
    madvise(a + 4 * page, 4 * page, MADV_DONTNEED);
    printf("kept %u\n", sum(a, 16));

    int fd = (int)syscall(SYS_memfd_create, "guest", 2);
    printf("memfd %d\n", fd >= 0);
    printf("truncate %d\n", ftruncate(fd, (off_t)(8 * page)));
    char *m = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *p = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    touch(m, 8, 3);
    printf("private sees %u\n", sum(p, 8));
    touch(p, 4, 4);
    printf("private %u shared %u\n", sum(p, 8), sum(m, 8));
    char text[6] = "";
    printf("pread %d %d\n", (int)pread(fd, text, 1, (off_t)page), text[0]);
    printf("pwrite %d\n", (int)pwrite(fd, "abc", 3, (off_t)(2 * page)));
    printf("in memory %.3s\n", m + 2 * page);
    printf("shorter %d\n", ftruncate(fd, (off_t)(6 * page)));
    printf("left %u\n", sum(m, 6));
    printf("seal %d\n", fcntl(fd, 1033, 2));
    printf("sealed %d\n", err(ftruncate(fd, 0)));
    int readonly = open("/proc/self/exe", O_RDONLY);
    void *refused = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, readonly, 0);
    printf("writable mapping of a read-only file %d\n", failed(refused));
    return 0;
}
