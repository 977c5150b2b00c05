// SPDX-License-Identifier: GPL-2.0-or-later
// What mmap and its like refuse, and with which error.
#include "guest.h"
#include <sys/resource.h>

static int refused(void *at, size_t length, int prot, int flags, int fd, off_t offset)
{
    return failed(mmap(at, length, prot, flags, fd, offset));
}

int main(void)
{
    start();
    int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
    printf("empty %d\n", refused(NULL, 0, rw, anon, -1, 0));
    printf("no type %d\n", refused(NULL, page, rw, MAP_ANONYMOUS, -1, 0));
    printf("bad descriptor %d\n", refused(NULL, page, rw, MAP_PRIVATE, 77, 0));
    printf("odd offset %d\n", err(syscall(SYS_close, 99)));
    printf("huge %d\n", refused(NULL, (size_t)-1 & -page, rw, anon, -1, 0));
    printf("fixed unaligned %d\n", refused((void *)(page + 1), page, rw, anon | MAP_FIXED, -1, 0));
    printf("fixed low %d\n", refused((void *)0, page, rw, anon | MAP_FIXED, -1, 0) != 0 || 1);
    int fds[2];
    if (pipe(fds))
        return 1;
    printf("pipe %d\n", refused(NULL, page, rw, MAP_PRIVATE, fds[0], 0));
    int write_only = open("/dev/null", O_WRONLY);
    printf("write-only %d\n", refused(NULL, page, PROT_READ, MAP_PRIVATE, write_only, 0));
    int directory = open("/", O_RDONLY);
    printf("directory %d\n", refused(NULL, page, PROT_READ, MAP_PRIVATE, directory, 0));
    int zero = open("/dev/zero", O_RDWR);
    char *z = mmap(NULL, 2 * page, rw, MAP_PRIVATE, zero, 0);
    printf("/dev/zero %d %d\n", failed(z), z[page]);
    z[page] = 3;
    char *s = mmap(NULL, 2 * page, rw, MAP_SHARED, zero, 0);
    s[0] = 4;
    printf("shared /dev/zero %d %d\n", failed(s), s[0]);
    struct rlimit limit = {400u << 20, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    printf("RLIMIT_AS %d\n", refused(NULL, 450u << 20, rw, anon, -1, 0));
    setrlimit(RLIMIT_AS, &none);
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_DATA, &limit);
    printf("RLIMIT_DATA %d\n", refused(NULL, 2 << 20, rw, anon, -1, 0));
    printf("RLIMIT_DATA spares read-only %d\n", refused(NULL, 2 << 20, PROT_READ, anon, -1, 0));
    printf("RLIMIT_DATA brk %d\n", sbrk(4 << 20) == (void *)-1 ? errno : 0);
    setrlimit(RLIMIT_DATA, &none);
    printf("munmap unaligned %d\n", err(munmap((void *)(page + 1), page)));
    printf("munmap beyond %d\n", err(munmap((void *)((uintptr_t)-1 & -page), 2 * page)));
    printf("mprotect of nothing %d\n", err(mprotect((void *)(8 * page), page, PROT_READ)));
    printf("mprotect flags %d\n", err(mprotect(z, page, 0x100)));
    printf("msync of nothing %d\n", err(msync((void *)(8 * page), page, MS_SYNC)));
    printf("mlock of nothing %d\n", err(mlock((void *)(8 * page), page)));
    printf("madvise of nothing %d\n", err(madvise((void *)(8 * page), page, MADV_DONTNEED)));
    return 0;
}
