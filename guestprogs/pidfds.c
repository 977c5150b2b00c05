// SPDX-License-Identifier: GPL-2.0-or-later
// pidfds, process_vm_readv and writev, scheduling attributes, I/O priorities, membarrier, close_range: what they do, and
// what they refuse.
#include "tasks.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define SHOW(what) printf("%s: %ld\n", #what, show(what))

enum { GETFD_CLOEXEC = 1 };

static long show(long result)
{
    return result == -1 ? -errno : result;
}

static long pidfd_open(pid_t pid, unsigned flags)
{
    return syscall(SYS_pidfd_open, pid, flags);
}

static long pidfd_send(int fd, int signo, siginfo_t *info, unsigned flags)
{
    return syscall(SYS_pidfd_send_signal, fd, signo, info, flags);
}

static int ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, 0);
    return n < 0 ? -errno : p.revents;
}

struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

static void on_signal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    printf("signal %d code %d\n", signo, info->si_code);
}

static void *sit(void *fd)
{
    char byte;
    MUST(read((int)(intptr_t)fd, &byte, 1) == 1);
    return NULL;
}

static void of_processes(void)
{
    int gate[2];
    MUST(pipe(gate) == 0);
    pid_t pid = child();
    if (!pid) {
        char byte;
        MUST(read(gate[0], &byte, 1) == 1);
        _exit(7);
    }
    SHOW(pidfd_open(0, 0));
    SHOW(pidfd_open(-1, 0));
    SHOW(pidfd_open(pid, 1));
    SHOW(pidfd_open(3999999, 0));
    int fd = (int)pidfd_open(pid, 0);
    printf("closed on exec %d, waits %d\n", fcntl(fd, F_GETFD) == GETFD_CLOEXEC, ready(fd) == 0);
    char byte;
    SHOW(read(fd, &byte, 1));
    SHOW(pidfd_send(fd, 0, NULL, 0));
    SHOW(pidfd_send(fd, 65, NULL, 0));
    SHOW(pidfd_send(fd, 0, NULL, 8));
    SHOW(pidfd_send(fd, 0, NULL, 3));
    SHOW(pidfd_send(gate[0], 0, NULL, 0));
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    int tasks = open(path, O_RDONLY), process;
    path[strlen(path) - 5] = 0;
    SHOW((process = open(path, O_RDONLY)) >= 0);
    SHOW(pidfd_send(process, 0, NULL, 0));
    SHOW(pidfd_send(tasks, 0, NULL, 0));
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_USER};
    SHOW(pidfd_send(fd, SIGUSR2, &info, 0));
    SHOW(pidfd_send(fd, SIGUSR1, &info, 0));
    SHOW(pidfd_send(fd, SIGUSR1, (siginfo_t *)8, 0));
    int theirs = (int)syscall(SYS_pidfd_getfd, fd, gate[1], 0);
    printf("fd of another process %d\n", theirs >= 0);
    SHOW(syscall(SYS_pidfd_getfd, fd, 999, 0));
    SHOW(syscall(SYS_pidfd_getfd, fd, gate[1], 1));
    SHOW(syscall(SYS_pidfd_getfd, gate[1], 0, 0));
    siginfo_t told = {0};
    int wait_fd = (int)pidfd_open(pid, O_NONBLOCK);
    SHOW(waitid(P_PIDFD, (id_t)wait_fd, &told, WEXITED));
    SHOW(waitid(P_PIDFD, (id_t)fd, &told, WEXITED | WNOHANG));
    SHOW(waitid(P_PIDFD, (id_t)gate[0], &told, WEXITED));
    SHOW(waitid(P_PIDFD, (id_t)-1, &told, WEXITED));
    int ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
    MUST(write(theirs, "x", 1) == 1);
    SHOW(epoll_wait(ep, &event, 1, 10000));
    printf("a zombie: %#x\n", (unsigned)ready(fd));
    SHOW(pidfd_send(fd, 0, NULL, 0));
    MUST(waitid(P_PIDFD, (id_t)fd, &told, WEXITED) == 0);
    printf("waited: %d %d %d\n", told.si_pid == pid, told.si_code, told.si_status);
    printf("reaped: %#x\n", (unsigned)ready(fd));
    SHOW(pidfd_send(fd, 0, NULL, 0));
    SHOW(pidfd_send(process, 0, NULL, 0));
    close(tasks), close(process);
    SHOW(waitid(P_PIDFD, (id_t)fd, &told, WEXITED));
    SHOW(syscall(SYS_pidfd_getfd, fd, 0, 0));
    close(fd), close(wait_fd), close(theirs), close(ep), close(gate[0]), close(gate[1]);
}

static void of_clone(void)
{
    int fd = -1, parent = 0;
    struct clone3_args args = {.flags = 0x1000, .pidfd = (uint64_t)(uintptr_t)&fd, .exit_signal = SIGCHLD};
    fflush(stdout);
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (!pid)
        _exit(3);
    siginfo_t told = {0};
    MUST(pid > 0 && waitid(P_PIDFD, (id_t)fd, &told, WEXITED) == 0);
    printf("clone3: %d %d\n", told.si_pid == pid, told.si_status);
    close(fd);
    args.pidfd = 8;
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    SHOW(waitid(P_ALL, 0, &told, WEXITED));
    args.pidfd = args.parent_tid = (uint64_t)(uintptr_t)&parent;
    args.flags = 0x1000 | 0x100000;
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    struct rlimit files = {3, 1024};
    MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
    args.pidfd = (uint64_t)(uintptr_t)&fd;
    args.flags = 0x1000;
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    files.rlim_cur = 1024;
    MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
}

static void of_threads(void)
{
    int gate[2];
    MUST(pipe(gate) == 0);
    SHOW(pidfd_open(getpid(), 0x80) >= 0);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &action, NULL) == 0);
    int self = (int)pidfd_open(getpid(), 0);
    SHOW(pidfd_send(self, SIGUSR1, NULL, 0));
    pthread_t thread = begin(sit, (void *)(intptr_t)gate[0]);
    printf("own process: %d\n", ready(self));
    MUST(write(gate[1], "x", 1) == 1);
    end(thread);
    close(self), close(gate[0]), close(gate[1]);
}

static void of_memory(void)
{
    char *mine = fresh(4), *theirs = fresh(4);
    strcpy(theirs + page - 3, "across a page");
    munmap(theirs + 3 * page, page);
    int gate[2];
    MUST(pipe(gate) == 0);
    pid_t pid = child();
    if (!pid) {
        char byte;
        strcpy(theirs + page - 3, "of the child ");
        MUST(write(gate[1], "x", 1) == 1);
        pause();
        byte = 0;
        _exit(byte);
    }
    char byte;
    MUST(read(gate[0], &byte, 1) == 1);
    struct iovec local[2] = {{mine, 4}, {mine + 100, 9}}, remote = {theirs + page - 3, 13};
    SHOW(process_vm_readv(pid, local, 2, &remote, 1, 0));
    printf("[%.4s][%.9s]\n", mine, mine + 100);
    strcpy(mine, "changed there");
    local[0].iov_len = 13;
    SHOW(process_vm_writev(pid, local, 1, &remote, 1, 0));
    SHOW(process_vm_readv(pid, local, 1, &remote, 1, 0));
    printf("[%s] here [%s]\n", mine, theirs + page - 3);
    remote = (struct iovec){theirs + 3 * page - 5, 10};
    SHOW(process_vm_readv(pid, local, 1, &remote, 1, 0));
    remote.iov_base = theirs + 3 * page;
    SHOW(process_vm_readv(pid, local, 1, &remote, 1, 0));
    SHOW(process_vm_readv(pid, local, 1, &remote, 1, 1));
    SHOW(process_vm_readv(pid, local, 1025, &remote, 1, 0));
    SHOW(process_vm_readv(pid, local, 0, &remote, 1, 0));
    SHOW(process_vm_readv(3999999, local, 1, &remote, 1, 0));
    remote = (struct iovec){theirs, 4};
    local[0].iov_base = (void *)8;
    SHOW(process_vm_readv(pid, local, 1, &remote, 1, 0));
    kill(pid, SIGKILL);
    reap(pid);
    close(gate[0]), close(gate[1]);
}

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t more[4];
};

static long set(struct attr *attr)
{
    return syscall(SYS_sched_setattr, 0, attr, 0);
}

static void of_scheduling(void)
{
    struct attr a = {.size = 48, .policy = SCHED_RR, .priority = 7};
    SHOW(set(&a));
    struct timespec t;
    MUST(sched_rr_get_interval(0, &t) == 0);
    printf("interval %ld.%09ld\n", (long)t.tv_sec, t.tv_nsec);
    memset(&a, 0, sizeof a);
    SHOW(syscall(SYS_sched_getattr, 0, &a, 48, 0));
    printf("size %u policy %u priority %u\n", a.size, a.policy, a.priority);
    a = (struct attr){.size = 0, .policy = SCHED_BATCH, .nice = 5, .flags = 1};
    SHOW(set(&a));
    SHOW(sched_getscheduler(0) == (SCHED_BATCH | 0x40000000));
    SHOW(getpriority(PRIO_PROCESS, 0));
    pid_t pid = child();
    if (!pid) {
        printf("child: %d %d\n", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0));
        _exit(0);
    }
    reap(pid);
    a = (struct attr){.size = 48, .policy = SCHED_FIFO};
    SHOW(set(&a));
    a = (struct attr){.size = 48, .policy = 99};
    SHOW(set(&a));
    a = (struct attr){.size = 40};
    SHOW(set(&a));
    printf("size %u\n", a.size > 48);
    a = (struct attr){.size = sizeof a, .more = {0, 0, 0, 1}};
    SHOW(set(&a));
    SHOW(syscall(SYS_sched_setattr, 0, NULL, 0));
    SHOW(syscall(SYS_sched_setattr, -1, &a, 0));
    SHOW(syscall(SYS_sched_getattr, 0, &a, 40, 0));
    a = (struct attr){.size = 48, .policy = SCHED_OTHER, .flags = 0x100};
    SHOW(set(&a));
    a.flags = 0;
    SHOW(set(&a));
    SHOW(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
    SHOW(syscall(SYS_ioprio_get, 1, 0));
    SHOW(syscall(SYS_ioprio_set, 1, 0, 5 << 13));
    SHOW(syscall(SYS_ioprio_set, 1, 0, 1));
    SHOW(syscall(SYS_ioprio_set, 4, 0, 0));
    SHOW(syscall(SYS_ioprio_get, 1, 3999999));
}

static void of_barriers(void)
{
    printf("commands %#lx\n", (long)syscall(SYS_membarrier, 0, 0, 0) & 0x1ff);
    SHOW(syscall(SYS_membarrier, 8, 0, 0));
    SHOW(syscall(SYS_membarrier, 16, 0, 0));
    SHOW(syscall(SYS_membarrier, 8, 0, 0));
    SHOW(syscall(SYS_membarrier, 32, 0, 0));
    SHOW(syscall(SYS_membarrier, 128, 0, 0));
    SHOW(syscall(SYS_membarrier, 256, 0, 0));
    SHOW(syscall(SYS_membarrier, 128, 1, 0));
    SHOW(syscall(SYS_membarrier, 8, 1, 0));
    SHOW(syscall(SYS_membarrier, 128, 2, 0));
    SHOW(syscall(SYS_membarrier, 1, 0, 0));
    SHOW(syscall(SYS_membarrier, 2, 0, 0));
    SHOW(syscall(SYS_membarrier, 3, 0, 0));
    SHOW(syscall(SYS_membarrier, 1024, 0, 0));
}

static void *closer(void *argument)
{
    (void)argument;
    SHOW(syscall(SYS_close_range, 3, ~0u, 2));
    SHOW(fcntl(3, F_GETFD));
    return NULL;
}

static void of_ranges(void)
{
    MUST(dup2(1, 3) == 3);
    end(begin(closer, NULL));
    SHOW(fcntl(3, F_GETFD));
    SHOW(syscall(SYS_close_range, 3, 3, 4));
    SHOW(fcntl(3, F_GETFD));
    SHOW(syscall(SYS_close_range, 4, 3, 0));
    SHOW(syscall(SYS_close_range, 3, 4, 8));
}

int main(void)
{
    start();
    of_processes();
    of_clone();
    of_threads();
    of_memory();
    of_scheduling();
    of_barriers();
    of_ranges();
    return 0;
}
