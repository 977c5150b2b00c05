// SPDX-License-Identifier: GPL-2.0-or-later
// Tasks that share one CPU and sleep for a moment at a time: who is woken takes the CPU from one that has had more than
// its share. A sleeper under a flood of signals, one that wants a lock that another takes again at once, one beside a
// program that computes; and shares by nice value.
#include "tasks.h"
#include <sys/resource.h>

enum { SIGNALS = 200, LOCKS = 50, NAPS = 40, MS = 1000000 };

static void count(int signo)
{
    (void)signo;
}

static void flood(void)
{
    sigset_t usr1, before;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    MUST(sigprocmask(SIG_BLOCK, &usr1, &before) == 0);
    struct sigaction act = {.sa_handler = count};
    MUST(sigaction(SIGUSR1, &act, NULL) == 0);
    pid_t me = getpid(), pid = child();
    if (pid == 0)
        for (;;)
            kill(me, SIGUSR1);
    long long from = now_ns();
    for (int i = 0; i < SIGNALS; i++)
        sigsuspend(&before);
    long long took = now_ns() - from;
    kill(pid, SIGKILL);
    reap(pid);
    printf("%d signals %s\n", SIGNALS, took < 400LL * MS ? "in time" : "late");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int done;

static void compute(void)
{
    for (volatile int i = 0; i < 20000; i++)
        ;
}

static void *greedy(void *argument)
{
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&lock);
        compute();
        pthread_mutex_unlock(&lock);
    }
    return argument;
}

static void convoy(void)
{
    pthread_t thread = begin(greedy, NULL);
    sleep_ms(5);
    for (int i = 0; i < LOCKS; i++) {
        pthread_mutex_lock(&lock);
        pthread_mutex_unlock(&lock);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    end(thread);
    printf("%d times the lock\n", LOCKS);
}

static void naps(void)
{
    pid_t pid = child();
    if (pid == 0)
        for (;;)
            compute();
    long long from = now_ns();
    for (int i = 0; i < NAPS; i++)
        sleep_ms(1);
    long long took = now_ns() - from;
    kill(pid, SIGKILL);
    reap(pid);
    printf("%d naps %s\n", NAPS, took < 400LL * MS ? "in time" : "late");
}

static long long cpu_ns(const struct rusage *use)
{
    return (use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1000000000LL + (use->ru_utime.tv_usec + use->ru_stime.tv_usec) * 1000LL;
}

/* Of two that compute for as long as this one sleeps, the second with nice 10: a tenth of the first's share. */
static void shares(void)
{
    pid_t pids[2];
    long long used[2];
    for (int i = 0; i < 2; i++) {
        pids[i] = child();
        if (pids[i] == 0) {
            MUST(setpriority(PRIO_PROCESS, 0, 10 * i) == 0);
            for (;;)
                compute();
        }
    }
    sleep_ms(300);
    for (int i = 0; i < 2; i++) {
        struct rusage use;
        kill(pids[i], SIGKILL);
        MUST(wait4(pids[i], NULL, 0, &use) == pids[i]);
        used[i] = cpu_ns(&use);
    }
    printf("shares %s\n", used[1] * 5 < used[0] && used[1] * 20 > used[0] ? "by weight" : "wrong");
}

int main(void)
{
    start();
    cpu_set_t one;
    MUST(sched_getaffinity(0, sizeof(one), &one) == 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &one))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MUST(sched_setaffinity(0, sizeof(one), &one) == 0);
    flood();
    convoy();
    naps();
    shares();
    return 0;
}
