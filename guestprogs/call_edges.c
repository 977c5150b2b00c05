// SPDX-License-Identifier: GPL-2.0-or-later
// Whom a signal says it is from, what else it carries, in which order calls refuse, what a pidfd tells of its process.
#define _GNU_SOURCE
#include "tasks.h"
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#define SHOW(what) printf("%s: %s\n", #what, result_text(what))

enum { NOBODY = 3999999, THREAD = 0x80, SELF_THREAD = -10000, SELF_PROCESS = -10001 };
enum { FIELDS = sizeof(long) == 8 ? 16 : 12, KEPT = sizeof(long) == 8 ? 48 : 32 };

static volatile sig_atomic_t handled;
static siginfo_t last;

static void keep(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    handled++;
    last = *info;
}

static void handle(int signo)
{
    struct sigaction action = {.sa_sigaction = keep, .sa_flags = SA_SIGINFO};
    MUST(sigaction(signo, &action, NULL) == 0);
}

static void sender(const char *what)
{
    printf("%s: handled %d signal %d code %d from itself %d\n", what, (int)handled, last.si_signo, last.si_code,
           last.si_pid == getpid() && last.si_uid == getuid());
    handled = 0;
    memset(&last, 0, sizeof last);
}

static void polls_without_waiting(void)
{
    struct timespec zero = {0};
    sigset_t none, one;
    int ends[2];
    fd_set set;
    MUST(pipe(ends) == 0);
    sigemptyset(&none);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, NULL);
    handle(SIGUSR1);
    SHOW(ppoll(NULL, 0, &zero, &none));
    raise(SIGUSR1);
    SHOW(ppoll(NULL, 0, &zero, NULL));
    SHOW(ppoll(NULL, 0, &zero, &none));
    printf("handled %d\n", (int)handled);
    raise(SIGUSR1);
    SHOW(pselect(0, NULL, NULL, NULL, &zero, &none));
    printf("handled %d\n", (int)handled);
    raise(SIGUSR1);
    struct pollfd writable = {.fd = ends[1], .events = POLLOUT};
    SHOW(ppoll(&writable, 1, &zero, &none));
    FD_ZERO(&set);
    FD_SET(ends[1], &set);
    SHOW(pselect(ends[1] + 1, NULL, &set, NULL, &zero, &none));
    printf("handled %d\n", (int)handled);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    printf("handled %d\n", (int)handled);
    handled = 0;
    close(ends[0]), close(ends[1]);
}

/* What is printed goes to a file perhaps: it must not meet the limit. */
static void limit_files(rlim_t size)
{
    struct rlimit limit = {size, RLIM_INFINITY};
    MUST(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static void own_signals(void)
{
    int ends[2], full[2];
    handle(SIGPIPE);
    handle(SIGXFSZ);
    MUST(pipe(ends) == 0 && pipe(full) == 0 && write(full[1], "x", 1) == 1);
    close(ends[0]);
    MUST(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    sender("write to a pipe");
    MUST(splice(full[0], NULL, ends[1], NULL, 1, 0) == -1 && errno == EPIPE);
    sender("splice to a pipe");
    MUST(tee(full[0], ends[1], 1, 0) == -1 && errno == EPIPE);
    sender("tee");
    close(ends[1]), close(full[0]), close(full[1]);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    close(ends[0]);
    MUST(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    sender("write to a socket");
    close(ends[1]);
    int fd = memfd_create("limited", 0);
    limit_files(10);
    MUST(ftruncate(fd, 20) == -1 && errno == EFBIG);
    limit_files(RLIM_INFINITY);
    sender("ftruncate");
    limit_files(10);
    MUST(pwrite(fd, "x", 1, 10) == -1 && errno == EFBIG);
    limit_files(RLIM_INFINITY);
    sender("pwrite");
    limit_files(10);
    MUST(fallocate(fd, 0, 0, 20) == -1 && errno == EFBIG);
    limit_files(RLIM_INFINITY);
    sender("fallocate");
    close(fd);
}

static siginfo_t filled(int signo, int code)
{
    siginfo_t info = {0};
    for (int i = FIELDS; i < KEPT; i++)
        ((unsigned char *)&info)[i] = (unsigned char)(0x81 + i);
    info.si_signo = signo;
    info.si_errno = 33;
    info.si_code = code;
    return info;
}

static int carried(const siginfo_t *a, const siginfo_t *b)
{
    return a->si_signo == b->si_signo && a->si_errno == b->si_errno && a->si_code == b->si_code &&
           !memcmp((char *)a + FIELDS, (char *)b + FIELDS, sizeof *a - FIELDS);
}

static long queue(pid_t pid, int signo, siginfo_t *info)
{
    return syscall(SYS_rt_sigqueueinfo, pid, signo, info);
}

static long pidfd_open(pid_t pid, unsigned flags)
{
    return syscall(SYS_pidfd_open, pid, flags);
}

static long pidfd_send(int fd, int signo, siginfo_t *info, unsigned flags)
{
    return syscall(SYS_pidfd_send_signal, fd, signo, info, flags);
}

static void what_is_carried(void)
{
    static const int codes[] = {-60, -7, -6, -5, -4, -3, -2, -1, 0, 1, 5, 6, 7, 127, 128, 129, -1000, 70000};
    sigset_t set;
    int self = (int)pidfd_open(getpid(), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        siginfo_t info = filled(SIGUSR2, codes[i]), got;
        handle(SIGUSR2);
        memset(&last, 0, sizeof last);
        MUST(queue(getpid(), SIGUSR2, &info) == 0);
        printf("code %d: handler %d", codes[i], carried(&info, &last));
        memset(&last, 0, sizeof last);
        MUST(pidfd_send(self, SIGUSR2, &info, 0) == 0);
        printf(" by pidfd %d", carried(&info, &last));
        memset(&last, 0, sizeof last);
        MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR2, &info) == 0);
        printf(" to the thread %d", carried(&info, &last));
        sigprocmask(SIG_BLOCK, &set, NULL);
        info.si_signo = SIGUSR1;
        MUST(queue(getpid(), SIGUSR2, &info) == 0);
        MUST(syscall(SYS_rt_sigtimedwait, &set, &got, NULL, 8) == SIGUSR2);
        info.si_signo = SIGUSR2;
        printf(" rt_sigtimedwait %d\n", carried(&info, &got));
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    }
    handled = 0;
    close(self);
}

static void through_signalfd(siginfo_t *info, int signo, int code)
{
    static int fd = -1;
    struct signalfd_siginfo got;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(fd, &set, 0);
    info->si_code = code;
    MUST(queue(getpid(), signo, info) == 0 && read(fd, &got, sizeof got) == sizeof got);
    printf("signalfd %d code %d: pid %u uid %u fd %d tid %u band %u overrun %u status %d int %d ptr %d utime %llu "
           "stime %llu addr %llx lsb %d syscall %d call_addr %llx arch %x\n", (int)got.ssi_signo, got.ssi_code, got.ssi_pid,
           got.ssi_uid, got.ssi_fd, got.ssi_tid, got.ssi_band, got.ssi_overrun, got.ssi_status, got.ssi_int,
           got.ssi_ptr != 0, (unsigned long long)got.ssi_utime, (unsigned long long)got.ssi_stime,
           (unsigned long long)got.ssi_addr, got.ssi_addr_lsb, got.ssi_syscall, (unsigned long long)got.ssi_call_addr,
           got.ssi_arch);
}

static void what_signalfd_tells(void)
{
    static const int codes[] = {-60, -6, -5, -3, -2, -1, 0, 1, 6, 7, 128};
    siginfo_t info = {0};
    info.si_pid = 11, info.si_uid = 22, info.si_value.sival_int = 33;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] != -5 && codes[i] != 1 && codes[i] != 6)
            through_signalfd(&info, SIGRTMIN, codes[i]);
    memset(&info, 0, sizeof info);
    info.si_band = 44, info.si_fd = 55;
    through_signalfd(&info, SIGRTMIN, -5);
    through_signalfd(&info, SIGRTMIN, 1);
    through_signalfd(&info, SIGPOLL, 6);
    memset(&info, 0, sizeof info);
    info.si_addr = (void *)0x1000, info.si_addr_lsb = 12;
    through_signalfd(&info, SIGSEGV, 1);
    through_signalfd(&info, SIGBUS, 3);
    through_signalfd(&info, SIGBUS, 4);
    memset(&info, 0, sizeof info);
    info.si_pid = 11, info.si_uid = 22, info.si_status = 66, info.si_utime = 77, info.si_stime = 88;
    through_signalfd(&info, SIGCHLD, 2);
    memset(&info, 0, sizeof info);
    info.si_call_addr = (void *)0x2000, info.si_syscall = 99, info.si_arch = 0x1234;
    through_signalfd(&info, SIGSYS, 1);
    through_signalfd(&info, SIGSYS, 3);
}

static void in_which_order(void)
{
    siginfo_t info = {0}, *bad = (siginfo_t *)8;
    pid_t self = getpid();
    SHOW(kill(NOBODY, 100));
    SHOW(kill(-NOBODY, 100));
    SHOW(kill(INT_MIN, 100));
    SHOW(kill(self, 100));
    SHOW(kill(0, -1));
    SHOW(syscall(SYS_tkill, NOBODY, 100));
    SHOW(syscall(SYS_tkill, 0, 100));
    SHOW(syscall(SYS_tkill, self, 100));
    SHOW(syscall(SYS_tgkill, self, NOBODY, 100));
    SHOW(syscall(SYS_tgkill, NOBODY, self, 100));
    SHOW(syscall(SYS_tgkill, self, self, 100));
    SHOW(queue(NOBODY, 100, bad));
    SHOW(queue(NOBODY, 100, &info));
    info.si_code = -1;
    SHOW(queue(NOBODY, 100, &info));
    SHOW(queue(0, SIGUSR1, &info));
    SHOW(queue(self, 100, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, 0, 0, 100, bad));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, 0, 0, 100, &info));
    info.si_code = -100;
    ((char *)&info)[KEPT] = 1;
    SHOW(queue(NOBODY, 100, &info));
    int own = (int)pidfd_open(self, 0);
    SHOW(pidfd_send(own, SIGUSR1, &info, 0));
    memset(&info, 0, sizeof info);
    SHOW(pidfd_send(own, 100, NULL, 0));
    SHOW(pidfd_send(own, 0, &info, 0));
    SHOW(pidfd_send(own, 0, &info, 1));
    SHOW(pidfd_send(own, 0, &info, 4));
    SHOW(pidfd_send(own, 0, NULL, 4));
    pid_t pid = child();
    if (!pid)
        _exit(0);
    int dead = (int)pidfd_open(pid, 0);
    reap(pid);
    SHOW(pidfd_send(dead, 100, NULL, 0));
    SHOW(pidfd_send(dead, SIGUSR1, &info, 0));
    SHOW(pidfd_send(dead, 0, &info, 0));
    info.si_code = -1;
    SHOW(pidfd_send(dead, 0, &info, 0));
    close(own), close(dead);
}

static void not_root(void)
{
    pid_t other = child();
    if (!other) {
        pause();
        _exit(0);
    }
    pid_t pid = child();
    if (!pid) {
        MUST(setuid(12345) == 0);
        SHOW(kill(other, 0));
        SHOW(kill(other, 100));
        fflush(stdout);
        _exit(0);
    }
    reap(pid);
    kill(other, SIGKILL);
    reap(other);
}

static void codes_by_pidfd(void)
{
    int process = (int)pidfd_open(getpid(), 0), thread = (int)pidfd_open(getpid(), THREAD);
    struct {
        const char *name;
        int fd;
        unsigned flags;
    } ways[] = {
        {"process", process, 0}, {"process, thread", process, 1}, {"process, group", process, 2},
        {"thread", thread, 0}, {"thread, thread", thread, 1}, {"thread, process", thread, 2},
        {"own thread", SELF_THREAD, 0}, {"own thread, process", SELF_THREAD, 2}, {"own process", SELF_PROCESS, 0},
    };
    handle(SIGUSR1);
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        MUST(pidfd_send(ways[i].fd, SIGUSR1, NULL, ways[i].flags) == 0);
        sender(ways[i].name);
    }
    SHOW(pidfd_send(-20000, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_getfd, SELF_THREAD, 0, 0));
    SHOW(syscall(SYS_pidfd_getfd, SELF_PROCESS, 0, 0));
    struct statfs fs;
    struct stat a, b;
    MUST(fstatfs(process, &fs) == 0 && fstat(process, &a) == 0 && fstat(thread, &b) == 0);
    printf("magic %lx mode %o %o same inode %d\n", (unsigned long)fs.f_type, (unsigned)a.st_mode, (unsigned)b.st_mode,
           a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    printf("flags %#x %#x\n", fcntl(process, F_GETFL) & 0xff, fcntl(thread, F_GETFL) & 0xff);
    SHOW(fchmod(process, 0600));
    close(process), close(thread);
}

struct pidfd_info {
    uint64_t mask, cgroupid;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
    uint32_t coredump_mask, spare, later[14];
};

static void info_of(const char *what, int fd, unsigned size, uint64_t mask)
{
    struct pidfd_info info;
    memset(&info, 0xee, sizeof info);
    info.mask = mask;
    long result = ioctl(fd, (int)_IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, size), &info);
    printf("%s, size %u, asks %llx: %s", what, size, (unsigned long long)mask, result_text(result));
    if (result < 0) {
        puts("");
        return;
    }
    printf(" mask %llx pid %d %d parent %d ids", (unsigned long long)info.mask, info.pid == (uint32_t)getpid(),
           info.tgid == (uint32_t)getpid(), info.ppid == (uint32_t)getpid());
    for (int i = 0; i < 8; i++)
        printf(" %u", info.ids[i]);
    printf(" exit %x coredump %x then %x\n", (unsigned)info.exit_code, info.coredump_mask, info.later[0]);
}

static void *open_itself(void *fd)
{
    *(int *)fd = (int)pidfd_open((pid_t)syscall(SYS_gettid), THREAD);
    return NULL;
}

static void until_gone(int fd)
{
    struct pollfd gone = {.fd = fd};
    while (poll(&gone, 1, -1) != 1 || !(gone.revents & POLLHUP))
        ;
}

static void info_by_pidfd(void)
{
    int self = (int)pidfd_open(getpid(), 0), version = 1;
    info_of("itself", self, 64, 0);
    info_of("itself", self, 64, 0x1f);
    info_of("itself", self, 72, 0x1f);
    info_of("itself", self, 128, ~0ULL);
    info_of("itself", self, 63, 1);
    SHOW(ioctl(self, (int)_IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, 64), NULL));
    SHOW(ioctl(self, (int)_IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, 64), 8L));
    SHOW(ioctl(self, (int)_IOC(_IOC_READ, 0xff, 11, 64), 8L));
    SHOW(ioctl(self, (int)_IOC(_IOC_READ | _IOC_WRITE, 0xfe, 11, 64), 8L));
    SHOW(ioctl(self, (int)_IOR('v', 1, long), &version));
    printf("version %d\n", version);
    prctl(PR_SET_DUMPABLE, 0);
    info_of("not dumpable", self, 72, 16);
    prctl(PR_SET_DUMPABLE, 1);
    int ends[2];
    char byte;
    MUST(pipe(ends) == 0);
    pid_t pid = child();
    if (!pid) {
        MUST(setresgid(1, 2, 3) == 0 && setresuid(4, 5, 6) == 0 && write(ends[1], "x", 1) == 1);
        pause();
    }
    MUST(read(ends[0], &byte, 1) == 1);
    int fd = (int)pidfd_open(pid, 0);
    siginfo_t got;
    info_of("a child", fd, 64, 8);
    kill(pid, SIGKILL);
    MUST(waitid(P_PID, (id_t)pid, &got, WEXITED | WNOWAIT) == 0);
    info_of("a zombie", fd, 72, 0x18);
    reap(pid);
    info_of("a killed one", fd, 64, 1);
    info_of("a killed one", fd, 72, 0x1f);
    close(fd);
    pthread_t thread = begin(open_itself, &fd);
    end(thread);
    until_gone(fd);
    info_of("a thread that ended", fd, 64, 0);
    info_of("a thread that ended", fd, 72, 8);
    close(fd), close(self), close(ends[0]), close(ends[1]);
}

static void registers_rseq(void)
{
    static char area[64] __attribute__((aligned(64)));
    SHOW(syscall(SYS_rseq, area, 64, 0, 7));
    SHOW(syscall(SYS_rseq, area, 32, 0, 7));
    SHOW(syscall(SYS_rseq, area, 64, 0, 8));
    SHOW(syscall(SYS_rseq, area, 64, 0, 7));
    SHOW(syscall(SYS_rseq, area, 32, 1, 7));
    SHOW(syscall(SYS_rseq, area, 64, 1, 8));
    SHOW(syscall(SYS_rseq, area, 64, 1, 7));
    SHOW(syscall(SYS_rseq, area, 64, 1, 7));
}

static void requeue(unsigned first, unsigned second, int value)
{
    static uint32_t words[2];
    struct {
        uint64_t value, address;
        uint32_t flags, reserved;
    } from_to[2] = {{(uint64_t)value, (uintptr_t)&words[0], first, 0}, {0, (uintptr_t)&words[1], second, 0}};
    printf("futex_requeue %u %u if %d: %s\n", first, second, value, result_text(syscall(456, from_to, 0, 1, 1)));
}

static void set_tid(const char *what, int tid)
{
    uint64_t args[11] = {[4] = SIGCHLD, [8] = (uintptr_t)&tid, [9] = 1};
    printf("%s: %s\n", what, result_text(syscall(SYS_clone3, args, sizeof args)));
}

static void chosen_pids(void)
{
    set_tid("pid 0", 0);
    set_tid("pid 4194304", 4194304);
    set_tid("pid 4194305", 4194305);
    set_tid("its own pid", getpid());
    pid_t pid = child();
    if (!pid) {
        MUST(setuid(12345) == 0);
        set_tid("pid 4194304 without a right", 4194304);
        set_tid("its own pid without a right", getpid());
        fflush(stdout);
        _exit(0);
    }
    reap(pid);
}

static void io_priorities(void)
{
    MUST(setpriority(PRIO_PROCESS, 0, 0) == 0);
    SHOW(syscall(SYS_ioprio_get, 1, 0));
    SHOW(syscall(SYS_ioprio_get, 2, 0));
    MUST(setpriority(PRIO_PROCESS, 0, 5) == 0);
    SHOW(syscall(SYS_ioprio_get, 1, 0));
    SHOW(syscall(SYS_ioprio_get, 2, 0));
    SHOW(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7));
    SHOW(syscall(SYS_ioprio_get, 1, 0));
    SHOW(syscall(SYS_ioprio_get, 2, 0));
    SHOW(syscall(SYS_ioprio_set, 1, 0, 0));
    SHOW(syscall(SYS_ioprio_get, 1, 0));
    SHOW(syscall(SYS_ioprio_get, 2, 0));
    SHOW(syscall(SYS_ioprio_get, 1, NOBODY));
}

int main(void)
{
    start();
    MUST(getpgrp() == getpid() || setpgid(0, 0) == 0);
    polls_without_waiting();
    own_signals();
    what_is_carried();
    what_signalfd_tells();
    in_which_order();
    not_root();
    codes_by_pidfd();
    info_by_pidfd();
    registers_rseq();
    requeue(2, 2, 0);
    requeue(130, 130, 0);
    requeue(2, 130, 0);
    requeue(130, 2, 1);
    requeue(130, 130, 1);
    chosen_pids();
    io_priorities();
    return 0;
}
