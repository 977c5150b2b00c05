// SPDX-License-Identifier: GPL-2.0-or-later
// Record locks beyond 2 GiB, asked for with the structure of 32 bits where there is one, which has no place for them.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/syscall.h>

struct narrow {
    short type, whence;
    int start, length, pid;
};

static void ask(int file, const char *what)
{
#if __SIZEOF_POINTER__ == 4
    struct narrow lock = {F_WRLCK, SEEK_SET, 0, 0, 0};
    long result = syscall(SYS_fcntl, file, 5, &lock); // F_GETLK
    printf("%s: %d, %d at %d for %d\n", what, err(result), lock.type, lock.start, lock.length);
#else
    (void)file;
    printf("%s: one structure only\n", what);
#endif
}

static void holds(off_t start, off_t length, const char *what)
{
    int ends[2], file = (int)syscall(SYS_memfd_create, "locked", 0);
    char turn;
    MUST(file >= 0 && pipe(ends) == 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    MUST(fcntl(file, F_SETLK, &lock) == 0);
    pid_t pid = child();
    if (!pid) {
        MUST(read(ends[0], &turn, 1) == 1);
        ask(file, what);
        fflush(stdout);
        _exit(0);
    }
    MUST(write(ends[1], "c", 1) == 1);
    MUST(reap(pid) == 0);
    close(file);
}

int main(void)
{
    start();
    holds(100, 50, "near");
    holds(100, 0, "to the end");
    holds(0x110000000, 10, "far");
    holds(0x7fffff00, 0x200, "across");
    return 0;
}
