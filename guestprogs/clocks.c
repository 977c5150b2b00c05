// SPDX-License-Identifier: GPL-2.0-or-later
// Time: sleeps, alarms, interval timers, POSIX timers, timerfd, clocks of threads and processes. Only orders and bounds are
// printed, no times.
#include "tasks.h"
#include <sys/time.h>
#include <sys/timerfd.h>

static volatile int ticks, expired[3], order[8], at;

static void tick(int number)
{
    (void)number;
    ticks++;
}

static void which(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    order[at++ & 7] = info->si_value.sival_int;
    expired[info->si_value.sival_int % 3]++;
}

static void *sleep_then_note(void *argument)
{
    long ms = (long)(intptr_t)argument;
    sleep_ms(ms * 10);
    order[__atomic_fetch_add(&at, 1, __ATOMIC_SEQ_CST) & 7] = (int)ms;
    return NULL;
}

static void burn(long long ns)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    long long until = t.tv_sec * 1000000000LL + t.tv_nsec + ns, now;
    do {
        for (volatile int i = 0; i < 1000; i++)
            ;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        now = t.tv_sec * 1000000000LL + t.tv_nsec;
    } while (now < until);
}

static void *burn_thread(void *argument)
{
    burn((long)(intptr_t)argument);
    return NULL;
}

static long long of(clockid_t which_clock)
{
    struct timespec t;
    MUST(clock_gettime(which_clock, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(void)
{
    start();
    long long begun = now_ns();
    sleep_ms(5);
    printf("slept %d", now_ns() - begun >= 5000000);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 3000000;
    until.tv_sec += until.tv_nsec / 1000000000, until.tv_nsec %= 1000000000;
    printf(" until %d", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    printf(" %d", now_ns() >= until.tv_sec * 1000000000LL + until.tv_nsec);
    struct timespec bad = {0, 1000000000};
    printf(" bad %d\n", err(nanosleep(&bad, NULL)) == EINVAL);

    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = begin(sleep_then_note, (void *)(intptr_t)(3 - i));
    for (int i = 0; i < 3; i++)
        end(threads[i]);
    printf("sleepers end in the order %d %d %d\n", order[0], order[1], order[2]);

    struct sigaction action = {0};
    action.sa_handler = tick;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGVTALRM, &action, NULL);
    struct itimerval every = {{0, 2000}, {0, 2000}}, left;
    setitimer(ITIMER_REAL, &every, NULL);
    while (ticks < 5)
        pause();
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, &left);
    printf("interval %d left %d\n", ticks >= 5, left.it_interval.tv_usec == 2000);
    ticks = 0;
    every.it_value.tv_usec = 4000;
    setitimer(ITIMER_VIRTUAL, &every, NULL);
    sleep_ms(10); // takes no CPU time
    int slept = ticks;
    while (ticks == 0)
        ;
    printf("virtual while asleep %d then %d\n", slept, ticks);

    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = which;
    sigaction(SIGUSR1, &action, NULL);
    at = 0;
    timer_t timers[3];
    for (int i = 0; i < 3; i++) {
        struct sigevent event = {0};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGUSR1;
        event.sigev_value.sival_int = i;
        MUST(timer_create(CLOCK_MONOTONIC, &event, &timers[i]) == 0);
    }
    for (int i = 0; i < 3; i++) {
        struct itimerspec when = {{0, 0}, {0, (3 - i) * 15000000}};
        MUST(timer_settime(timers[i], 0, &when, NULL) == 0);
    }
    while (expired[0] + expired[1] + expired[2] < 3)
        pause();
    printf("timers %d %d %d\n", order[0], order[1], order[2]);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct itimerspec often = {{0, 1000000}, {0, 1000000}}, now_left;
    MUST(timer_settime(timers[0], 0, &often, NULL) == 0);
    sleep_ms(10);
    siginfo_t info;
    MUST(sigwaitinfo(&set, &info) == SIGUSR1);
    printf("overrun %d", info.si_code == SI_TIMER && timer_getoverrun(timers[0]) >= 5);
    MUST(timer_gettime(timers[0], &now_left) == 0);
    printf(" left %d", now_left.it_value.tv_nsec > 0 && now_left.it_value.tv_nsec <= 1000000);
    for (int i = 0; i < 3; i++)
        MUST(timer_delete(timers[i]) == 0);
    printf(" deleted %d\n", err(timer_gettime(timers[0], &now_left)) == EINVAL);

    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec when = {{0, 2000000}, {0, 2000000}};
    MUST(fd >= 0 && timerfd_settime(fd, 0, &when, NULL) == 0);
    sleep_ms(9);
    uint64_t count = 0;
    MUST(read(fd, &count, sizeof count) == sizeof count);
    printf("timerfd %d", count >= 4);
    MUST(read(fd, &count, sizeof count) == sizeof count); // waits for the next one
    printf(" next %d\n", count >= 1);

    long long thread = of(CLOCK_THREAD_CPUTIME_ID), process = of(CLOCK_PROCESS_CPUTIME_ID);
    sleep_ms(10);
    int cheap = of(CLOCK_THREAD_CPUTIME_ID) - thread < 9000000;
    pthread_t burner = begin(burn_thread, (void *)3000000);
    end(burner);
    printf("asleep costs nothing %d, another thread's work is the process's %d\n", cheap,
           of(CLOCK_PROCESS_CPUTIME_ID) - process >= 3000000);
    long long real = of(CLOCK_REALTIME), later = of(CLOCK_REALTIME);
    printf("clocks go on %d %d\n", later >= real, of(CLOCK_BOOTTIME) >= 0);
    alarm(1);
    printf("alarm had left %u\n", alarm(0));
    return 0;
}
