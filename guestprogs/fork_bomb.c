// SPDX-License-Identifier: GPL-2.0-or-later
// Forks, and makes threads, until RLIMIT_NPROC says no. Argument: the limit.
#include "tasks.h"
#include <sys/resource.h>

static volatile int go;

static void *stay(void *argument)
{
    while (!go)
        sleep_ms(1);
    return argument;
}

int main(int argc, char **argv)
{
    start();
    rlim_t limit = argc > 1 ? (rlim_t)atol(argv[1]) : 30;
    if (geteuid() == 0) // the limit does not hold for root
        MUST(setgid(54321) == 0 && setuid(54321) == 0);
    struct rlimit want = {limit, limit};
    MUST(setrlimit(RLIMIT_NPROC, &want) == 0);
    pid_t kids[1000];
    size_t count = 0;
    int problem = 0;
    while (count < 1000) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;)
                sleep_ms(1000);
        }
        if (pid < 0) {
            problem = errno;
            break;
        }
        kids[count++] = pid;
    }
    printf("processes %zu EAGAIN %d\n", count, problem == EAGAIN);
    for (size_t i = 0; i < count; i++)
        kill(kids[i], SIGKILL);
    for (size_t i = 0; i < count; i++)
        reap(kids[i]);
    pthread_t threads[1000];
    for (count = 0; count < 1000; count++)
        if ((problem = pthread_create(&threads[count], NULL, stay, NULL)))
            break;
    printf("threads %zu EAGAIN %d\n", count, problem == EAGAIN);
    go = 1;
    for (size_t i = 0; i < count; i++)
        end(threads[i]);
    pid_t pid = child(); // and after all that there is room again
    if (pid == 0)
        _exit(7);
    printf("then %d\n", WEXITSTATUS(reap(pid)));
    return 0;
}
