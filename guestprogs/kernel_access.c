// SPDX-License-Identifier: GPL-2.0-or-later
// Memory that the kernel touches: fresh, read-only, missing, half missing.
#include "guest.h"
#include <sys/utsname.h>
#include <time.h>

int main(void)
{
    start();
    int fd = open("/proc/self/exe", O_RDONLY);
    char *a = fresh(16);
    printf("read into fresh memory %d\n", (int)read(fd, a, 3 * 512) == 3 * 512);
    printf("read across pages %d\n", (int)pread(fd, a + 2 * page - 100, 300, 0));
    mprotect(a + 6 * page, page, PROT_NONE);
    printf("read up to a bad page %d\n", (int)pread(fd, a + 6 * page - 100, 300, 0));
    printf("read into a bad page %d\n", err(pread(fd, a + 6 * page, 100, 0)));
    printf("read into the text %d\n", err(pread(fd, (void *)(uintptr_t)&main, 10, 0)));
    printf("read into nowhere %d\n", err(pread(fd, (void *)64, 10, 0)));
    int fds[2];
    if (pipe(fds))
        return 1;
    printf("write from fresh memory %d\n", (int)write(fds[1], a + 8 * page, 100));
    printf("write across a bad page %d\n", (int)write(fds[1], a + 6 * page - 50, 100));
    printf("write from nowhere %d\n", err(write(fds[1], (void *)64, 10)));
    struct iovec vector[3] = {{a + 9 * page, 10}, {a + 10 * page - 5, 10}, {a + 12 * page, 20}};
    printf("readv %d\n", (int)readv(fds[0], vector, 3));
    vector[1].iov_base = (void *)64;
    printf("writev with a bad part %d\n", (int)writev(fds[1], vector, 3));
    printf("bad iovec %d\n", err(readv(fds[0], (void *)64, 2)));
    struct utsname *name = (void *)(a + 13 * page - 200);
    printf("uname %d\n", uname(name));
    printf("uname nowhere %d\n", err(syscall(SYS_uname, 64)));
    printf("open nowhere %d\n", err(open((void *)64, O_RDONLY)));
    memcpy(a + 15 * page - 5, "/dev", 5);
    printf("open at the end of a page %d\n", open(a + 15 * page - 5, O_RDONLY) >= 0);
    struct stat *st = (void *)(a + 14 * page + 8);
    printf("fstat %d\n", fstat(fd, st));
    printf("getcwd %d\n", err(syscall(SYS_getcwd, (void *)64, 4096)));
    printf("sigaction nowhere %d\n", err(syscall(SYS_rt_sigaction, SIGUSR1, 64, 0, 8)));
    printf("nanosleep nowhere %d\n", err(syscall(SYS_nanosleep, 64, 0)));
    unsigned char random[8];
    printf("getrandom %d\n", (int)syscall(SYS_getrandom, a + 5 * page - 4, 8, 0));
    printf("getrandom nowhere %d\n", err(syscall(SYS_getrandom, 64, 8, 0)));
    (void)random;
    char *ro = map(1, PROT_READ, MAP_PRIVATE);
    printf("read into read-only %d\n", err(pread(fd, ro, 10, 0)));
    char *s = map(2, PROT_READ | PROT_WRITE, MAP_SHARED);
    printf("read into shared %d\n", (int)pread(fd, s + page - 10, 20, 0));
    return 0;
}
