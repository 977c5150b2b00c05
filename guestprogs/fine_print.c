// SPDX-License-Identifier: GPL-2.0-or-later
// What calls about signals, timers, scheduling, files and polling answer in cases that few programs meet.
#define _GNU_SOURCE
#include "tasks.h"
#include <fcntl.h>
#include <sched.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

static const char *told(long result)
{
    return result < 0 ? strerror(errno) : "done";
}

static volatile sig_atomic_t fired;

static void count(int signo)
{
    (void)signo;
    fired++;
}

static void count_info(int signo, siginfo_t *info, void *context)
{
    (void)context;
    fired += signo == info->si_signo;
}

static void reset_handler(void)
{
    struct sigaction action = { .sa_sigaction = count_info, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_RESTART }, after;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &after);
    printf("after SA_RESETHAND: handled %d default %d info %d reset %d restart %d mask %d\n", (int)fired,
           after.sa_handler == SIG_DFL, (after.sa_flags & SA_SIGINFO) != 0, (after.sa_flags & (int)SA_RESETHAND) != 0,
           (after.sa_flags & SA_RESTART) != 0, sigismember(&after.sa_mask, SIGUSR2));
}

static void timer_notification(void)
{
    // The C library turns SIGEV_THREAD into threads; the kernel signals the process.
    struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_signo = SIGUSR2 };
    struct itimerspec soon = { .it_value = { 0, 1000000 } };
    int timer;
    signal(SIGUSR2, count);
    fired = 0;
    printf("SIGEV_THREAD: %s", told(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer)));
    timer_settime((timer_t)(long)timer, 0, &soon, NULL);
    while (!fired)
        usleep(1000);
    printf(" fired %d", (int)fired);
    event.sigev_notify = 3;
    printf(" 3: %s", told(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer)));
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_signo = 0;
    printf(" no signal: %s\n", told(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer)));
}

static void affinity_of_others(void)
{
    cpu_set_t set;
    int pipes[2], again[2];
    char byte;
    MUST(sched_getaffinity(0, sizeof set, &set) == 0 && pipe(pipes) == 0 && pipe(again) == 0);
    pid_t pid = child();
    if (pid == 0) {
        MUST(write(pipes[1], "x", 1) == 1 && read(again[0], &byte, 1) == 1);
        _exit(0);
    }
    MUST(read(pipes[0], &byte, 1) == 1);
    pid_t other = child();
    if (other == 0) {
        struct robust_list_head *head;
        size_t size;
        MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0 && setresuid(65534, 65534, 65534) == 0);
        printf("another user sets the affinity: %s", told(sched_setaffinity(pid, sizeof set, &set)));
        printf(" no such process: %s", told(sched_setaffinity(4194304, sizeof set, &set)));
        printf(" itself: %s\n", told(sched_setaffinity(0, sizeof set, &set)));
        printf("robust list: %s", told(syscall(SYS_get_robust_list, pid, &head, &size)));
        printf(" its own: %s\n", told(syscall(SYS_get_robust_list, 0, &head, &size)));
        int signo = -1;
        MUST(prctl(PR_GET_PDEATHSIG, &signo) == 0);
        printf("dumpable %d, when the parent dies %d, drop: %s", prctl(PR_GET_DUMPABLE), signo,
               told(prctl(PR_CAPBSET_DROP, 1)));
        printf(" secure bits: %s\n", told(prctl(PR_SET_SECUREBITS, 0)));
        fflush(stdout);
        _exit(0);
    }
    reap(other);
    MUST(write(again[1], "x", 1) == 1);
    reap(pid);
}

static void epoll_operations(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    int ep = epoll_create1(0), pipes[2];
    MUST(ep >= 0 && pipe(pipes) == 0);
    printf("epoll_ctl 9: %s", told(epoll_ctl(ep, 9, pipes[0], &event)));
    printf(" delete: %s", told(epoll_ctl(ep, EPOLL_CTL_DEL, pipes[0], &event)));
    printf(" modify: %s", told(epoll_ctl(ep, EPOLL_CTL_MOD, pipes[0], &event)));
    printf(" add: %s", told(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event)));
    printf(" again: %s\n", told(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event)));
    close(ep);
}

#define WAITERS 4

static void exclusive_epolls(void)
{
    int pipes[2], answers[2];
    pid_t pids[WAITERS];
    char byte;
    MUST(pipe(pipes) == 0 && pipe(answers) == 0);
    for (int i = 0; i < WAITERS; i++) {
        pids[i] = child();
        if (pids[i] == 0) {
            struct epoll_event event = { .events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE };
            int ep = epoll_create1(0);
            MUST(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &event) == 0);
            MUST(write(answers[1], "r", 1) == 1);
            int got = epoll_wait(ep, &event, 1, i < WAITERS - 1 ? -1 : 1500);
            MUST(write(answers[1], got == 1 ? "w" : "t", 1) == 1);
            _exit(0);
        }
        // one after the other, so that the last is the one that nobody wakes
        MUST(read(answers[0], &byte, 1) == 1 && byte == 'r');
        sleep_ms(50);
    }
    for (int round = 0; round < WAITERS - 1; round++) {
        MUST(write(pipes[1], "x", 1) == 1);
        sleep_ms(100);
        long woken = read(answers[0], (char[8]){0}, 8);
        printf("%s%ld", round ? " " : "of exclusive waiters each write wakes ", woken);
    }
    MUST(read(answers[0], &byte, 1) == 1);
    printf(", and the last %s\n", byte == 't' ? "times out" : "wakes too");
    for (int i = 0; i < WAITERS; i++)
        reap(pids[i]);
}

static int kept;

static void *alone(void *argument)
{
    (void)argument;
    printf("unshare in a thread: handlers %s", told(unshare(CLONE_SIGHAND)));
    printf(" thread %s", told(unshare(CLONE_THREAD)));
    printf(" files %s", told(unshare(CLONE_FILES)));
    printf(" directory %s\n", told(unshare(CLONE_FS)));
    MUST(close(kept) == 0 && chdir("/proc") == 0);
    return NULL;
}

static void unshared(void)
{
    char where[64];
    kept = dup(1);
    MUST(chdir("/") == 0);
    end(begin(alone, NULL));
    sleep_ms(20); // joined is not quite gone
    printf("left: file %s, directory %s\n", told(fcntl(kept, F_GETFD)), getcwd(where, sizeof where));
    printf("unshare of one: vm %s", told(unshare(CLONE_VM)));
    printf(" undo %s", told(unshare(CLONE_SYSVSEM)));
    printf(" nothing %s", told(unshare(0)));
    printf(" child's %s\n", told(unshare(CLONE_PARENT)));
}

static void truncated_text(void)
{
    // What a shell does for `echo >`.
    int fd = open("/proc/self/comm", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    char text[32];
    MUST(fd >= 0 && write(fd, "fine", 4) == 4 && close(fd) == 0);
    fd = open("/proc/self/comm", O_RDONLY);
    long size = read(fd, text, sizeof text);
    printf("comm: %.*s", (int)size, text);
    printf("truncate: %s\n", told(truncate("/proc/self/comm", 5)));
    close(fd);
}

static void slack(void)
{
    MUST(prctl(PR_SET_TIMERSLACK, 70000) == 0);
    pid_t pid = child();
    if (pid == 0) {
        printf("timer slack %d", prctl(PR_GET_TIMERSLACK));
        MUST(prctl(PR_SET_TIMERSLACK, 12345) == 0);
        printf(" %d", prctl(PR_GET_TIMERSLACK));
        MUST(prctl(PR_SET_TIMERSLACK, 0) == 0);
        printf(" %d\n", prctl(PR_GET_TIMERSLACK));
        const char *const texts[] = {"1234\n", "0", "x", "-1", "99999999999999999999"};
        int fd = open("/proc/self/timerslack_ns", O_RDWR);
        for (int i = 0; i < 5; i++) {
            printf("%s%s", i ? ", " : "written: ", told(write(fd, texts[i], strlen(texts[i]))));
            printf(" %d", prctl(PR_GET_TIMERSLACK));
        }
        printf("; a thread's own: %s", told(open("/proc/thread-self/timerslack_ns", O_RDONLY)));
        MUST(setresuid(65534, 65534, 65534) == 0);
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/timerslack_ns", getppid());
        int others = open(path, O_RDONLY);
        printf(" another's: %s\n", told(others < 0 ? others : read(others, path, sizeof path)));
        fflush(stdout);
        _exit(0);
    }
    reap(pid);
    MUST(prctl(PR_SET_TIMERSLACK, 0) == 0);
    printf("the parent's own %d\n", prctl(PR_GET_TIMERSLACK));
}

static void capabilities(void)
{
    printf("bounding set: %d", prctl(PR_CAPBSET_READ, 1));
    printf(" %s", told(prctl(PR_CAPBSET_READ, 64)));
    printf(" drop 64: %s", told(prctl(PR_CAPBSET_DROP, 64)));
    printf(" drop 1: %s", told(prctl(PR_CAPBSET_DROP, 1)));
    printf(" now %d\n", prctl(PR_CAPBSET_READ, 1));
    printf("ambient: set %s", told(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 64, 0, 0)));
    printf(" %d", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 2, 0, 0));
    printf(" raise %s", told(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 2, 0, 0)));
    printf(" lower %s", told(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, 2, 0, 0)));
    printf(" clear %s", told(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)));
    printf(" %s", told(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0)));
    printf(" 9: %s\n", told(prctl(PR_CAP_AMBIENT, 9, 2, 0, 0)));
    printf("timing: %s", told(prctl(PR_SET_TIMING, 0)));
    printf(" %s", told(prctl(PR_SET_TIMING, 1)));
    printf(" is %d\n", prctl(PR_GET_TIMING));
}

static void after_exec(void)
{
    char line[128];
    unsigned long long mask;
    FILE *status = fopen("/proc/self/status", "r");
    MUST(status);
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "CapEff: %llx", &mask) == 1)
            printf("after exec: dropped %llu kept %llu dumpable %d\n", mask >> 1 & 1, mask & 1, prctl(PR_GET_DUMPABLE));
    fclose(status);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        after_exec();
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    reset_handler();
    timer_notification();
    affinity_of_others();
    epoll_operations();
    unshared();
    exclusive_epolls();
    truncated_text();
    slack();
    capabilities();
    execl("/proc/self/exe", argv[0], "after", NULL);
    return 0;
}
