/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What guest programs with many tasks share: threads and processes that must start, results that must hold. */
#ifndef TASKS_H
#define TASKS_H
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>

#define MUST(what)                                                                   \
    do {                                                                             \
        if (!(what)) {                                                               \
            fprintf(stderr, "%s:%d: %s: errno %d\n", __FILE__, __LINE__, #what, errno); \
            _exit(99);                                                               \
        }                                                                            \
    } while (0)

static inline pthread_t begin(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    int problem = pthread_create(&thread, NULL, function, argument);
    errno = problem;
    MUST(problem == 0);
    return thread;
}

static inline void *end(pthread_t thread)
{
    void *result;
    MUST(pthread_join(thread, &result) == 0);
    return result;
}

/* fork; what is buffered is written first, so that no child writes it again. */
static inline pid_t child(void)
{
    fflush(stdout);
    pid_t pid = fork();
    MUST(pid >= 0);
    return pid;
}

/* Wait for it: its status as waitpid tells. */
static inline int reap(pid_t pid)
{
    int status;
    pid_t got;
    while ((got = waitpid(pid, &status, 0)) == -1 && errno == EINTR)
        ;
    MUST(got == pid);
    return status;
}

static inline const char *how(int status, char *text, size_t size)
{
    if (WIFEXITED(status))
        snprintf(text, size, "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, size, "signal %d", WTERMSIG(status));
    return text;
}

static inline long long now_ns(void)
{
    struct timespec t;
    MUST(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) == -1 && errno == EINTR)
        ;
}

/* What a call returned: a number, or its error in words. */
static inline const char *result_text(long result)
{
    static char text[24];
    if (result == -1)
        return strerror(errno);
    snprintf(text, sizeof text, "%ld", result);
    return text;
}
#endif
