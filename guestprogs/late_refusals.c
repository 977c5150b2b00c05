// SPDX-License-Identifier: GPL-2.0-or-later
// Children that are refused when the address space has been copied already: its pages are write-protected then. And a
// mapping that moves into the hole of which it is a neighbour itself.
#define _GNU_SOURCE
#include "guest.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static void refused(struct args args, char *pages)
{
    args.exit_signal = SIGCHLD;
    touch(pages, 2, 1);
    long result = syscall(435, &args, sizeof args); // clone3
    if (result == 0)
        _exit(0);
    int problem = errno;
    touch(pages, 2, 1);
    printf("%d\n", result < 0 ? problem : 0);
}

int main(void)
{
    start();
    enum { SETTLS = 0x80000, NEWUTS = 0x04000000, NEWPID = 0x20000000, THREAD = 0x10000, SIGHAND = 0x800, VM = 0x100 };
    int tids[] = {-1, -1}, *far = (int *)fresh(1);
    char *pages = fresh(2);
    refused((struct args){.set_tid = (uintptr_t)tids, .set_tid_size = 1}, pages);
    refused((struct args){.set_tid = (uintptr_t)tids, .set_tid_size = 2}, pages);
    refused((struct args){.set_tid = (uintptr_t)tids, .set_tid_size = 33}, pages);
    refused((struct args){.set_tid = (uintptr_t)far + 4096 - 4, .set_tid_size = 1}, pages);
    tids[0] = getpid();
    refused((struct args){.set_tid = (uintptr_t)tids, .set_tid_size = 1}, pages);
    refused((struct args){.flags = THREAD | SIGHAND | VM | NEWPID}, pages);
#ifdef __x86_64__ // elsewhere any thread pointer will do
    refused((struct args){.flags = SETTLS, .tls = 1ull << 63}, pages);
#else
    printf("1\n");
#endif
    if (setresuid(1000, 1000, 1000))
        return 1;
    refused((struct args){.flags = NEWUTS}, pages);
    tids[0] = 9999;
    refused((struct args){.set_tid = (uintptr_t)tids, .set_tid_size = 1}, pages);
    char *a = fresh(6);
    munmap(a + 2 * page, 2 * page);
    printf("%d\n", mremap(a + 4 * page, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, a + 2 * page) == a + 2 * page);
    touch(a, 4, 1);
    return 0;
}
