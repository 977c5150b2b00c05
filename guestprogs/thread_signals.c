// SPDX-License-Identifier: GPL-2.0-or-later
// Signals with many threads: which thread gets them, masks of each thread, sigwait, faults of each thread, sleeps that end.
#include "tasks.h"
#include <setjmp.h>

enum { THREADS = 6 };
static pthread_t id[THREADS];
static volatile int got[THREADS], wrong, ready, stop, alarms;
static __thread int me = -1;
static __thread sigjmp_buf back;
static __thread volatile uintptr_t bad_address;
static int begun, interrupted[2];

static void directed(int number)
{
    (void)number;
    if (me >= 0 && pthread_equal(pthread_self(), id[me]))
        got[me]++;
    else
        wrong = 1;
}

static void at_process(int number)
{
    (void)number;
    if (me == 3)
        alarms++;
    else
        wrong = 1;
}

static void fault(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    bad_address = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

static void interrupt(int number)
{
    (void)number;
}

static void *wait_until_stop(void *argument)
{
    me = (int)(intptr_t)argument;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    if (me != 3) // only this one takes signals of the process
        MUST(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        sched_yield();
    return NULL;
}

static void *take_faults(void *argument)
{
    me = (int)(intptr_t)argument;
    volatile long right = 0;
    for (volatile int i = 0; i < 10; i++) {
        volatile uintptr_t address = 0x1000 + (uintptr_t)me * 0x100 + (uintptr_t)i * 4;
        if (sigsetjmp(back, 1) == 0)
            *(volatile int *)address = 1;
        right += bad_address == address;
    }
    return (void *)(intptr_t)right;
}

static void *sleep_long(void *argument)
{
    struct timespec t = {1000, 0};
    __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
    interrupted[0] = nanosleep(&t, &t) == -1 && errno == EINTR && t.tv_sec >= 900;
    return argument;
}

static void *read_pipe(void *argument)
{
    char byte;
    __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
    ssize_t n = read(*(int *)argument, &byte, 1);
    interrupted[1] = n == -1 && errno == EINTR;
    return NULL;
}

static void *wait_for_signal(void *argument)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    siginfo_t info;
    int number = sigwaitinfo(&set, &info);
    (void)argument;
    return (void *)(intptr_t)(number == SIGUSR2 ? info.si_value.sival_int : -1);
}

int main(void)
{
    start();
    struct sigaction action = {0};
    action.sa_handler = directed;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = at_process;
    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < THREADS; i++)
        id[i] = begin(wait_until_stop, (void *)(intptr_t)i);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < THREADS)
        sched_yield();
    for (int i = 0; i < THREADS; i++)
        for (int times = 0; times <= i; times++) {
            int before = got[i];
            MUST(pthread_kill(id[i], SIGUSR1) == 0);
            while (got[i] == before && !wrong)
                sched_yield();
        }
    printf("directed");
    for (int i = 0; i < THREADS; i++)
        printf(" %d", got[i]);
    for (int i = 0; i < 5; i++) {
        int before = alarms;
        MUST(kill(getpid(), SIGALRM) == 0);
        while (alarms == before && !wrong)
            sched_yield();
    }
    printf(" to the process %d wrong %d\n", alarms, wrong);
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        end(id[i]);
    // Blocked everywhere: pending for the process, then taken by the thread that unblocks it.
    MUST(kill(getpid(), SIGALRM) == 0);
    sigset_t pending;
    sigpending(&pending);
    me = 3;
    int before = alarms;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    printf("pending %d then taken %d\n", sigismember(&pending, SIGALRM), alarms - before);
    me = -1;
    action.sa_handler = NULL;
    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    long faults = 0;
    for (int i = 0; i < THREADS; i++)
        id[i] = begin(take_faults, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        faults += (long)(intptr_t)end(id[i]);
    printf("faults %ld\n", faults);
    action.sa_flags = 0;
    action.sa_handler = interrupt;
    sigaction(SIGUSR1, &action, NULL);
    pthread_t sleeper = begin(sleep_long, NULL);
    while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
        sched_yield();
    while (!interrupted[0]) { // it may not sleep yet
        pthread_kill(sleeper, SIGUSR1);
        sleep_ms(1);
    }
    end(sleeper);
    int ends[2];
    begun = 0;
    MUST(pipe(ends) == 0);
    pthread_t reader = begin(read_pipe, &ends[0]);
    while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
        sched_yield();
    while (!interrupted[1]) {
        pthread_kill(reader, SIGUSR1);
        sleep_ms(1);
    }
    end(reader);
    printf("interrupted sleep %d read %d\n", interrupted[0], interrupted[1]);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t waiter = begin(wait_for_signal, NULL);
    union sigval value = {.sival_int = 1234};
    MUST(sigqueue(getpid(), SIGUSR2, value) == 0);
    printf("sigwaitinfo %ld\n", (long)(intptr_t)end(waiter));
    return 0;
}
