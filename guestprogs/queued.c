// SPDX-License-Identifier: GPL-2.0-or-later
// What /proc tells of signals that wait: queued for the user, pending for a thread and for its process, blocked, handled.
#define _GNU_SOURCE
#include "tasks.h"

static long first_queued;

static void show(const char *what)
{
    char line[256], *at;
    FILE *file = fopen("/proc/thread-self/status", "r");
    MUST(file);
    printf("%s:", what);
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "SigQ:", 5)) {
            long queued = strtol(line + 5, &at, 10);
            if (first_queued < 0)
                first_queued = queued;
            printf(" queued %ld", queued - first_queued); // the user may have more, of other programs
        } else if (!strncmp(line, "Sig", 3) || !strncmp(line, "Shd", 3)) {
            line[strcspn(line, "\n")] = 0;
            printf(" %.3s %s", line + 3, line + 8 + strspn(line + 8, "0"));
        }
    }
    printf("\n");
    fclose(file);
}

static void ignore(int signo)
{
    (void)signo;
}

static void *thread(void *main_thread)
{
    (void)main_thread;
    MUST(pthread_kill(pthread_self(), SIGRTMIN) == 0);
    show("in a thread that sent itself one");
    return NULL;
}

int main(void)
{
    start();
    sigset_t set;
    union sigval value = {0};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    first_queued = -1;
    MUST(signal(SIGUSR2, ignore) != SIG_ERR && signal(SIGWINCH, SIG_IGN) != SIG_ERR);
    show("nothing");
    MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        MUST(sigqueue(getpid(), SIGRTMIN, value) == 0);
        MUST(kill(getpid(), SIGUSR1) == 0); // queued once
        MUST(kill(getpid(), SIGUSR2) == 0); // taken at once
    }
    show("three of a kind, one of the other");
    end(begin(thread, NULL));
    show("the thread is gone, and what was for it");
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    show("a timer");
    pid_t pid = child();
    if (!pid) {
        show("a child");
        MUST(sigqueue(getpid(), SIGRTMIN, value) == 0);
        show("a child that sent itself one");
        _exit(0);
    }
    MUST(reap(pid) == 0);
    MUST(timer_delete(timer) == 0);
    show("neither");
    siginfo_t info;
    MUST(sigwaitinfo(&set, &info) == SIGUSR1 && sigwaitinfo(&set, &info) == SIGRTMIN);
    show("two are taken");
    return 0;
}
