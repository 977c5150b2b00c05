// SPDX-License-Identifier: GPL-2.0-or-later
// Parents that end: PR_SET_PDEATHSIG when a process does, and when only the thread that forked does; PR_SET_CHILD_SUBREAPER,
// which finds a parent for grandchildren, and not for those below another subreaper.
#include "tasks.h"
#include <sys/prctl.h>

static int told[2];

static void on_death(int signo, siginfo_t *info, void *context)
{
    (void)context;
    char text[64];
    int size = snprintf(text, sizeof text, "signal %d code %d\n", signo, info->si_code);
    MUST(write(told[1], text, (size_t)size) == size);
}

static void hear(void)
{
    char text[64];
    ssize_t got = read(told[0], text, sizeof text);
    MUST(got > 0);
    printf("%.*s", (int)got, text);
}

static void wait_for_death_of_parent(void)
{
    struct sigaction action = {.sa_sigaction = on_death, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &action, NULL) == 0);
    sigset_t set, old;
    sigemptyset(&set), sigaddset(&set, SIGUSR1);
    MUST(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
    MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    MUST(write(told[1], "r", 1) == 1);
    sigdelset(&old, SIGUSR1);
    sigsuspend(&old);
    _exit(0);
}

static void *fork_and_end(void *result)
{
    pid_t pid = fork();
    MUST(pid >= 0);
    if (!pid)
        wait_for_death_of_parent();
    *(pid_t *)result = pid;
    char byte;
    MUST(read(told[0], &byte, 1) == 1);
    return NULL;
}

static void *set_in_thread(void *unused)
{
    (void)unused;
    wait_for_death_of_parent();
    return NULL;
}

int main(void)
{
    start();
    MUST(pipe(told) == 0);
    int signo = -1, reaper = -1;
    printf("%d %d\n", err(prctl(PR_SET_PDEATHSIG, 65)), err(prctl(PR_GET_PDEATHSIG, 8)));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0);
    MUST(prctl(PR_GET_PDEATHSIG, &signo) == 0);
    printf("reaper %d signal %d\n", reaper, signo);

    pid_t middle = child(), pid;
    if (!middle) { /* a process that ends */
        MUST(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 0);
        if (!fork())
            wait_for_death_of_parent();
        char byte;
        MUST(read(told[0], &byte, 1) == 1);
        _exit(0);
    }
    reap(middle);
    hear();
    pid = waitpid(-1, NULL, 0);
    printf("grandchild is mine: %d\n", pid > 0 && pid != middle);

    end(begin(fork_and_end, &pid)); /* a thread that ends */
    hear();
    reap(pid);

    middle = child();
    if (!middle) { /* one that has a thread which wants to know */
        if (!fork()) {
            sigset_t set;
            sigemptyset(&set), sigaddset(&set, SIGUSR1);
            MUST(sigprocmask(SIG_BLOCK, &set, NULL) == 0); /* for the thread to get it */
            begin(set_in_thread, NULL);
            for (;;)
                pause();
        }
        char byte;
        MUST(read(told[0], &byte, 1) == 1);
        _exit(0);
    }
    reap(middle);
    hear();
    MUST(waitpid(-1, NULL, 0) > 0);

    middle = child();
    if (!middle) { /* a subreaper of its own */
        MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        pid_t lower = fork();
        if (!lower) {
            if (!fork())
                _exit(5);
            _exit(4);
        }
        int status = reap(lower), other;
        pid = waitpid(-1, &other, 0);
        _exit(WEXITSTATUS(status) == 4 && pid > 0 && WEXITSTATUS(other) == 5 ? 0 : 1);
    }
    printf("below another subreaper %d\n", reap(middle));
    printf("none is left: %d\n", err(waitpid(-1, NULL, 0)));
    return 0;
}
