// SPDX-License-Identifier: GPL-2.0-or-later
// System calls that few programs use: signalfd, kcmp, process_madvise, capget of others, refusals of extended
// attributes.
#define _GNU_SOURCE
#include "tasks.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static const char *told(long result)
{
    static char text[8][40];
    static int turn;
    char *out = text[turn++ % 8];
    if (result >= 0)
        snprintf(out, sizeof text[0], "%ld", result);
    else
        snprintf(out, sizeof text[0], "%s", strerror(errno));
    return out;
}

static void signals(void)
{
    sigset_t mask;
    struct signalfd_siginfo got[4];
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGRTMIN + 3);
    sigaddset(&mask, SIGKILL);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    int fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC), ep = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN }, seen;
    struct pollfd wanted = { fd, POLLIN | POLLOUT, 0 };
    MUST(fd >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
    printf("empty %s poll %d epoll %d short %s", told(read(fd, got, sizeof got)), poll(&wanted, 1, 0),
           epoll_wait(ep, &seen, 1, 0), told(read(fd, got, 100)));
    printf(" write %s\n", told(write(fd, got, 128)));
    kill(getpid(), SIGUSR1);
    union sigval value = { .sival_int = 42 };
    sigqueue(getpid(), SIGRTMIN + 3, value);
    value.sival_int = 43;
    sigqueue(getpid(), SIGRTMIN + 3, value);
    printf("poll %d %x epoll %d wild %s", poll(&wanted, 1, 0), wanted.revents, epoll_wait(ep, &seen, 1, 0),
           told(read(fd, (void *)8, 128)));
    long bytes = read(fd, got, sizeof got);
    printf(" read %s", told(bytes));
    for (int i = 0; i < bytes / 128; i++)
        printf(" [%d %d %d %d %d]", got[i].ssi_signo, got[i].ssi_code, got[i].ssi_pid == (unsigned)getpid(),
               got[i].ssi_uid == getuid(), got[i].ssi_int);
    printf("\n");
    fcntl(fd, F_SETFL, 0);
    pid_t pid = child();
    if (pid == 0) {
        usleep(20000);
        _exit(7);
    }
    MUST(read(fd, got, sizeof got) == 128);
    printf("child %d %d %d %d", got[0].ssi_signo == SIGCHLD, got[0].ssi_code, got[0].ssi_pid == (unsigned)pid,
           got[0].ssi_status);
    printf(" reaped %d\n", reap(pid));
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    printf("change %s", told(signalfd(fd, &mask, 0) == fd));
    printf(" other %s", told(signalfd(ep, &mask, 0)));
    printf(" closed %s", told(signalfd(99, &mask, 0)));
    printf(" flags %s", told(signalfd(-1, &mask, 0x100)));
    printf(" size %s", told(syscall(SYS_signalfd4, -1, &mask, 7, 0)));
    printf(" wild %s\n", told(syscall(SYS_signalfd4, -1, 8, 8, 0)));
    close(fd);
    close(ep);
}

static long kcmp(pid_t a, pid_t b, int what, unsigned long i, unsigned long j)
{
    return syscall(SYS_kcmp, a, b, what, i, j);
}

static void compare(void)
{
    pid_t me = getpid(), pid = child();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    int copy = dup(1), fresh = open("/dev/null", O_RDONLY), again = open("/dev/null", O_RDONLY);
    printf("file %s", told(kcmp(me, me, 0, 1, (unsigned)copy)));
    printf(" child's %s", told(kcmp(me, pid, 0, 1, 1)));
    long one = kcmp(me, me, 0, (unsigned)fresh, (unsigned)again), two = kcmp(me, me, 0, (unsigned)again, (unsigned)fresh);
    printf(" two %d", (one == 1 && two == 2) || (one == 2 && two == 1));
    for (int what = 1; what < 7; what++)
        printf(" %d:%s/%d", what, told(kcmp(me, me, what, 0, 0)), kcmp(me, pid, what, 0, 0) > 0);
    printf(" closed %s", told(kcmp(me, me, 0, 1, 99)));
    printf(" type %s", told(kcmp(me, me, 99, 0, 0)));
    printf(" nobody %s\n", told(kcmp(me, 999999, 1, 0, 0)));
    kill(pid, SIGKILL);
    reap(pid);
}

static void advise(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *data = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(data, 1, 4 * page);
    pid_t pid = child();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    long me = syscall(SYS_pidfd_open, getpid(), 0), other = syscall(SYS_pidfd_open, pid, 0);
    struct iovec two[2] = { { data, page }, { data + 2 * page, 2 * page } };
    printf("self %s", told(syscall(SYS_process_madvise, me, two, 2, MADV_DONTNEED, 0)));
    printf(" gone %d %d %d", data[0], data[page], data[3 * page]);
    printf(" other %s", told(syscall(SYS_process_madvise, other, two, 2, MADV_DONTNEED, 0)));
    printf(" willneed %s", told(syscall(SYS_process_madvise, other, two, 2, MADV_WILLNEED, 0)));
    printf(" cold %s", told(syscall(SYS_process_madvise, other, two, 1, 20, 0)));
    two[1].iov_base = (void *)page;
    printf(" hole %s", told(syscall(SYS_process_madvise, me, two, 2, MADV_DONTNEED, 0) >= 0));
    two[0].iov_base = data + 1;
    printf(" odd %s", told(syscall(SYS_process_madvise, me, two, 2, MADV_DONTNEED, 0)));
    printf(" flags %s", told(syscall(SYS_process_madvise, me, two, 2, MADV_DONTNEED, 1)));
    printf(" fd %s", told(syscall(SYS_process_madvise, 1, two, 2, MADV_DONTNEED, 0)));
    printf(" many %s\n", told(syscall(SYS_process_madvise, me, two, 2000, MADV_DONTNEED, 0)));
    kill(pid, SIGKILL);
    reap(pid);
    close((int)me);
    close((int)other);
    munmap(data, 4 * page);
}

static void attributes(void)
{
    char name[300];
    memset(name, 'x', sizeof name);
    name[299] = 0;
    printf("flags %s", told(setxattr("/", "user.a", "b", 1, 7)));
    printf(" empty %s", told(setxattr("/", "", "b", 1, 0)));
    printf(" long %s", told(lsetxattr("/", name, "b", 1, 0)));
    printf(" big %s", told(fsetxattr(1, "user.a", "b", 65537, 0)));
    printf(" wild %s", told(setxattr("/", "user.a", (void *)8, 1, 0)));
    printf(" name %s", told(setxattr("/", (char *)8, "b", 1, 0)));
    printf(" missing %s", told(setxattr("/no/such", "user.a", "b", 1, 0)));
    printf(" closed %s", told(fsetxattr(99, "user.a", "b", 1, 0)));
    printf(" remove %s", told(removexattr("/no/such", "user.a")));
    printf(" %s", told(lremovexattr("/", "")));
    printf(" %s\n", told(fremovexattr(99, "user.a")));
    struct {
        unsigned version;
        int pid;
    } head = { 0x20080522, 1 };
    unsigned caps[6] = { 0 };
    printf("capget %s", told(syscall(SYS_capget, &head, caps)));
    head.pid = 999999;
    printf(" %s", told(syscall(SYS_capget, &head, caps)));
    head.pid = -1;
    printf(" %s\n", told(syscall(SYS_capget, &head, caps)));
}

int main(void)
{
    signals();
    compare();
    advise();
    attributes();
    return 0;
}
