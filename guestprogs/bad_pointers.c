// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses that are no user's, and in which order calls touch what they are given.
#include "guest.h"
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static void result(const char *name, long value)
{
    printf(" %s %ld", name, value < 0 ? -(long)errno : value);
}

static void everywhere(long a)
{
    int fd[2] = { open("/dev/zero", O_RDWR), open("/dev/null", O_RDWR) };
    result("getresuid", syscall(SYS_getresuid, a, a, a));
    result("openat", syscall(SYS_openat, AT_FDCWD, a, 0));
    result("nanosleep", syscall(SYS_nanosleep, a, a));
    result("write", syscall(SYS_write, fd[1], a, 8) < 0 ? -1 : 0);
    result("read", syscall(SYS_read, fd[0], a, 8));
    result("fstat", syscall(SYS_fstat, 0, a));
    result("writev", syscall(SYS_writev, fd[1], a, 1));
    result("sigaction", syscall(SYS_rt_sigaction, SIGUSR1, a, 0, 8));
    result("getcwd", syscall(SYS_getcwd, a, 100));
    result("execve", syscall(SYS_execve, a, 0, 0));
    result("execve", syscall(SYS_execve, "/", a, 0));
    result("setrlimit", syscall(SYS_setrlimit, 3, a));
    result("sigaltstack", syscall(SYS_sigaltstack, a, 0));
    result("sigaltstack", syscall(SYS_sigaltstack, 0, a));
    result("memfd_create", syscall(SYS_memfd_create, a, 0));
    result("ioctl", syscall(SYS_ioctl, fd[0], FIONBIO, a));
    result("getrandom", syscall(SYS_getrandom, a, 10, 0));
    result("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), a, 1, a, 1, 0));
    printf("\n");
    close(fd[0]);
    close(fd[1]);
}

/* The last page of the mapping is not there. */
static char *end(size_t left)
{
    char *m = fresh(2);
    munmap(m + page, page);
    return m + page - left;
}

static char *read_only(void)
{
    return map(1, PROT_READ, MAP_PRIVATE);
}

static void orders(void)
{
    int s[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
        exit(1);
    printf("getsockname %d", err(syscall(SYS_getsockname, s[0], fresh(1), read_only())));
    printf(" %d", err(syscall(SYS_getsockname, s[0], end(1), fresh(1))));
    int *length = (int *)fresh(1);
    *length = 20;
    printf(" %d", err(syscall(SYS_getsockname, s[0], end(1), length)));
    printf(" then %d\n", *length);
    send(s[0], "abcdef", 6, 0);
    printf("recvfrom %ld\n", (long)syscall(SYS_recvfrom, s[1], fresh(1), 2, 0, fresh(1), fresh(1)));
    struct msghdr nothing = { .msg_iovlen = 0 };
    printf("recvmsg of nothing %ld", (long)recvmsg(s[1], &nothing, MSG_DONTWAIT));
    printf(" %ld", (long)recv(s[1], fresh(1), 10, 0));
    printf(" %d", err(recvmsg(s[1], &nothing, MSG_DONTWAIT)));
    printf(" %ld\n", (long)read(s[1], fresh(1), 0));
    printf("sched_getattr %d", err(syscall(SYS_sched_getattr, 0, fresh(1), 100, 0)));
    printf(" %d\n", err(syscall(SYS_sched_getattr, 0, end(60), 100, 0)));
    struct timespec odd[2] = { { 1, -1 }, { 1, 0 } }, omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
    printf("utimensat %d %d %d\n", err(utimensat(AT_FDCWD, "/nonexistent", odd, 0)),
           err(utimensat(AT_FDCWD, "/", odd, 0)), err(utimensat(AT_FDCWD, "/nonexistent", omit, 0)));
    int memory = (int)syscall(SYS_memfd_create, "m", 0), exe = open("/proc/self/exe", O_RDONLY);
    printf("copy_file_range %d\n", err(syscall(SYS_copy_file_range, exe, 0, memory, 0, 10, 0)));
    struct iovec mine = { fresh(1), 80 }, theirs[2] = { { (void *)-1L, 1L << 30 }, { NULL, 1L << 30 } };
    for (int i = 0; i < 2; i++)
        printf("process_vm %d %d\n", err(process_vm_readv(getpid(), &mine, 1, theirs + i, 1, 0)),
               err(process_vm_writev(getpid(), &mine, 1, theirs + i, 1, 0)));
}

static void populate(void)
{
    char *m = map(12, PROT_NONE, MAP_PRIVATE);
    for (int i = 0; i < 4; i++)
        mmap(m + i * 2 * page, 2 * page, PROT_READ | PROT_WRITE,
             (i & 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("populate %d", err(madvise(m, 8 * page, 23)));
    printf(" %d", err(madvise(m + 6 * page, 4 * page, 22)));
    munmap(m + 3 * page, page);
    printf(" %d", err(madvise(m, 8 * page, 23)));
    printf(" %d\n", err(madvise(m, 8 * page, 22)));
}

int main(void)
{
    start();
    everywhere(-1);
    everywhere(-4096);
    everywhere((long)(31UL << (8 * sizeof(long) - 5)));
#ifdef __x86_64__ // the first one behind user space, and where addresses are no longer canonical
    everywhere(0x7ffffffff000);
    everywhere(0x7fffffffffff);
    everywhere(0x800000000000);
#else
    everywhere((long)(3UL << (8 * sizeof(long) - 2)));
    everywhere((long)(7UL << (8 * sizeof(long) - 3)));
    everywhere((long)(15UL << (8 * sizeof(long) - 4)));
#endif
    orders();
    populate();
    return 0;
}
