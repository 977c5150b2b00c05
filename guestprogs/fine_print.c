// SPDX-License-Identifier: GPL-2.0-or-later
// What calls about signals, timers, scheduling, files and polling answer in cases that few programs meet.
#define _GNU_SOURCE
#include "tasks.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
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
    if (geteuid() == 0) {
        pid_t other = child();
        if (other == 0) {
            MUST(setresuid(65534, 65534, 65534) == 0);
            printf("another user sets the affinity: %s", told(sched_setaffinity(pid, sizeof set, &set)));
            printf(" no such process: %s", told(sched_setaffinity(4194304, sizeof set, &set)));
            printf(" itself: %s\n", told(sched_setaffinity(0, sizeof set, &set)));
            fflush(stdout);
            _exit(0);
        }
        reap(other);
    }
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

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    reset_handler();
    timer_notification();
    affinity_of_others();
    epoll_operations();
    truncated_text();
    return 0;
}
