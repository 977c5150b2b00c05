// SPDX-License-Identifier: GPL-2.0-or-later
// What a child has of its parent's guard pages, of mappings that had some, and of the record of restartable sequences.
#include "guest.h"
#include <sys/wait.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
static volatile char sink;

static void on_segv(int sig)
{
    _exit(sig);
}

/* What became of a child that looks at a page. */
static int child(const char *at)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        sink = *at;
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static void guards(const char *what, char *m, size_t pages)
{
    int result = err(madvise(m + page, 2 * page, MADV_GUARD_INSTALL));
    printf("%s: %d, in a child %d %d\n", what, result, child(m), child(m + 2 * page));
    sink = m[3 * page];
    printf("  next to it %d\n", child(m + 3 * page));
    madvise(m, pages * page, MADV_GUARD_REMOVE);
    sink = m[page];
    printf("  removed %d\n", child(m + page));
    // What it was stays with the mapping, also when that is cut, changed and put together again.
    mprotect(m + 2 * page, page, PROT_NONE);
    mprotect(m + 2 * page, page, PROT_READ);
    mprotect(m, pages * page, PROT_READ);
    sink = m[4 * page];
    printf("  cut and merged %d\n", child(m + 4 * page));
    char *other = mremap(m, pages * page, pages * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    if (other != MAP_FAILED) {
        sink = m[page];
        sink = other[3 * page];
        printf("  moved %d %d\n", child(m + page), child(other + 3 * page));
        munmap(other, pages * page);
    }
    munmap(m, pages * page);
}

int main(void)
{
    start();
    signal(SIGSEGV, on_segv);
    int fd = (int)syscall(SYS_memfd_create, "guarded", 0);
    if (fd < 0 || ftruncate(fd, 8 * page))
        return 1;
    guards("private", fresh(8), 8);
    char *m = map(8, PROT_READ | PROT_WRITE, MAP_SHARED);
    touch(m, 8, 1);
    guards("shared", m, 8);
    guards("file", mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), 8);
    m = map(16, PROT_NONE, MAP_PRIVATE);
    mmap(m, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    madvise(m, page, MADV_GUARD_INSTALL);
    mmap(m + 2 * page, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    sink = m[3 * page];
    printf("mapped behind %d %d\n", child(m + 3 * page), child(m));
#ifdef SYS_rseq
    char *record = fresh(1);
    if (syscall(SYS_rseq, record, 32, 0, 0x53053053) == 0) {
        pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            _exit(3);
        int status;
        waitpid(pid, &status, 0);
        syscall(SYS_rseq, record, 32, 1, 0x53053053);
    }
#endif
    return 0;
}
