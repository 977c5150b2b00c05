/* SPDX-License-Identifier: GPL-2.0-or-later */
/* page_fault2 and page_fault3: each task writes to every page of a mapping of a file of its own that has no data.
   The file is on tmpfs, where there is one, as memfd_create makes it. */
#include "scale.h"

enum { PAGES = 1024 }; /* of one mapping */
static const long usual = 2048;

static void prepare(void)
{
}

static long file_faults(int flags)
{
    int fd = (int)syscall(SYS_memfd_create, name, 0);
    MUST(fd >= 0 && ftruncate(fd, (off_t)(PAGES * page)) == 0);
    long done = 0;
    while (done < operations) {
        size_t pages = operations - done < PAGES ? (size_t)(operations - done) : PAGES;
        char *a = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, flags, fd, 0);
        MUST(a != MAP_FAILED);
        touch(a, pages, 1);
        MUST(munmap(a, pages * page) == 0);
        done += (long)pages;
    }
    close(fd);
    return done;
}
