// SPDX-License-Identifier: GPL-2.0-or-later
// Arguments of system calls at the end of a page that nothing follows, and in memory that is not there at all.
#include "guest.h"
#include <poll.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <time.h>
#ifndef SYS_gettimeofday // musl hides what has 32-bit times
#define SYS_gettimeofday SYS_gettimeofday_time32
#define SYS_clock_gettime SYS_clock_gettime32
#endif

static char *end, *gone, *gone_too; // a page ends at `end`, and nothing is there

#define RUN(number, ...) \
    do { \
        errno = 0; \
        long result = syscall(number, __VA_ARGS__); \
        printf(#number " %d %d\n", result < 0 ? -1 : 0, result < 0 ? errno : 0); \
    } while (0)

static void names(void)
{
    RUN(SYS_openat, AT_FDCWD, end - 3, O_RDONLY);
    memcpy(end - 5, "/proc", 5);
    RUN(SYS_openat, AT_FDCWD, end - 5, O_RDONLY);
    memcpy(end - 5, "/etc", 5);
    RUN(SYS_openat, AT_FDCWD, end - 5, O_RDONLY);
    RUN(SYS_renameat2, AT_FDCWD, gone, AT_FDCWD, gone_too, 0);
    RUN(SYS_linkat, AT_FDCWD, gone, AT_FDCWD, gone_too, 0);
    RUN(SYS_symlinkat, gone, AT_FDCWD, gone_too);
    RUN(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", end - 2, 100);
    RUN(SYS_getcwd, end - 1, 100);
    RUN(SYS_memfd_create, gone, 0);
    memcpy(end - 2, "ab", 2);
    char *words[] = {end - 2, NULL};
    RUN(SYS_execve, "/proc/self/exe", words, NULL);
    RUN(SYS_execve, "/proc/self/exe", gone, NULL);
}

static void data(void)
{
    int fds[2];
    if (pipe2(fds, O_NONBLOCK))
        exit(1);
    memset(end - 200, 'x', 200);
    RUN(SYS_write, fds[1], end - 100, 200);
    RUN(SYS_read, fds[0], end - 50, 200);
    RUN(SYS_write, fds[1], gone, 10);
    struct iovec parts[2] = {{end - 20, 100}, {gone_too, 10}};
    RUN(SYS_writev, fds[1], parts, 2);
    RUN(SYS_readv, fds[0], end - 16, 2);
    int file = memfd_create("file", 0);
    RUN(SYS_sendfile, fds[1], file, gone, 10);
    RUN(SYS_copy_file_range, file, gone, file, gone_too, 3, 0);
    RUN(SYS_getrandom, end - 8, 16, 0);
    RUN(SYS_getdents64, open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY), end - 40, 4096);
    struct iovec here = {fresh(2), 2 * page}, there = {fresh(2), 2 * page};
    RUN(SYS_process_vm_writev, getpid(), &here, 1, &there, 1, 0);
    there.iov_base = end - 10;
    RUN(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0);
    there.iov_base = gone;
    RUN(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0);
}

static void structures(void)
{
    struct timespec none = {0, 0};
    RUN(SYS_uname, end - 100);
    RUN(SYS_gettimeofday, end - 6, 0);
    RUN(SYS_clock_gettime, CLOCK_MONOTONIC_RAW, end - 6);
    RUN(SYS_nanosleep, end - 4, 0);
    RUN(SYS_getrusage, 0, end - 50);
    RUN(SYS_times, end - 3);
    RUN(SYS_sysinfo, end - 9);
    RUN(SYS_rt_sigaction, SIGUSR1, end - 8, 0, 8);
    RUN(SYS_rt_sigaction, SIGUSR1, 0, end - 8, 8);
    RUN(SYS_rt_sigprocmask, SIG_BLOCK, end - 4, 0, 8);
    RUN(SYS_rt_sigpending, end - 4, 8);
    RUN(SYS_sigaltstack, 0, end - 8);
    RUN(SYS_pipe2, end - 4, 0);
    RUN(SYS_prctl, 15, end - 3);
    RUN(SYS_prctl, 16, end - 3);
    RUN(SYS_capget, end - 4, 0);
    RUN(SYS_statx, AT_FDCWD, "/", 0, 0xfff, end - 100);
    RUN(SYS_statfs, "/", end - 8);
    RUN(SYS_getitimer, 0, end - 8);
    RUN(SYS_setitimer, 0, end - 8, 0);
    RUN(SYS_timer_create, 0, 0, end - 2);
    RUN(SYS_getcpu, gone, gone_too, 0);
    RUN(SYS_get_robust_list, 0, gone, gone_too);
    RUN(SYS_futex, gone, 0, 0, 0);
    RUN(SYS_futex, end - 4, 0, 5, 0);
    RUN(SYS_wait4, -1, gone, 0, gone_too);
    RUN(SYS_waitid, 0, 1, gone, 4, gone_too);
    RUN(SYS_waitid, 0, 1, 0, 0, 0);
    RUN(SYS_ppoll, end - 8, 2, &none, 0, 8);
    RUN(SYS_pselect6, 8, gone, 0, 0, &none, 0);
    RUN(SYS_epoll_ctl, (int)syscall(SYS_epoll_create1, 0), 1, 0, end - 4);
    RUN(SYS_set_tid_address, gone);
}

int main(void)
{
    start();
    char *a = fresh(8);
    end = gone = a + 2 * page;
    gone_too = a + 5 * page;
    munmap(gone, page);
    munmap(gone_too, page);
    names();
    data();
    structures();
    printf("what is left at the end of the page:");
    for (int i = 16; i; i--)
        printf(" %d", i > 8 ? 0 : end[-i] == 0);
    printf("\n");
    return 0;
}
