// SPDX-License-Identifier: GPL-2.0-or-later
// Faults while timers are due: a real-time timer whose handler faults too, a timer on CPU time, and a second thread that
// wakes up now and then.
#include "tasks.h"
#include <sys/time.h>

enum { ROUNDS = 12, PAGES = 512 };
static volatile sig_atomic_t real, profiled;
static volatile int over;
static char *spare;
static long wakes;

static void on_alarm(int signo)
{
    if (signo == SIGALRM)
        spare[(size_t)(real++ & 255) * page] = 1;
    else
        profiled++;
}

static void *sleeper(void *unused)
{
    (void)unused;
    struct timespec nap = {0, 330000};
    while (!over) {
        nanosleep(&nap, NULL);
        wakes++;
    }
    return NULL;
}

int main(void)
{
    start();
    spare = fresh(256);
    MUST(signal(SIGALRM, on_alarm) != SIG_ERR && signal(SIGPROF, on_alarm) != SIG_ERR);
    pthread_t thread = begin(sleeper, NULL);
    struct itimerval often = {{0, 410}, {0, 410}}, seldom = {{0, 1700}, {0, 1700}};
    MUST(setitimer(ITIMER_REAL, &often, NULL) == 0 && setitimer(ITIMER_PROF, &seldom, NULL) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        char *a = fresh(PAGES);
        MUST(a != MAP_FAILED);
        touch(a, PAGES, round & 1);
        for (sig_atomic_t before = real; real == before;) // now nothing but the clock goes on
            ;
        touch(a, 50, 1);
        for (sig_atomic_t before = real; real == before;)
            ;
        MUST(munmap(a, PAGES * page) == 0);
    }
    over = 1;
    end(thread);
    printf("alarms %d, profiled %d, sleeper %d\n", real > 0, profiled > 0, wakes > 0);
    return 0;
}
