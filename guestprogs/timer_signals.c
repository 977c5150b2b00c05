// SPDX-License-Identifier: GPL-2.0-or-later
// What becomes of the signals of timers that are ignored, flushed or set anew, and what timers answer at the edges.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

static const char *told(long result)
{
    return result < 0 ? strerror(errno) : "done";
}

static void tell(const char *what, long value)
{
    printf("%s %ld", what, value);
}

static volatile sig_atomic_t fired;

static void count(int signo)
{
    (void)signo;
    fired++;
}

static long create(clockid_t clock, int signo, int value, int *timer)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signo, .sigev_value.sival_int = value };
    return syscall(SYS_timer_create, clock, &event, timer);
}

static int timer_of(int signo, int value)
{
    int timer;
    MUST(create(CLOCK_MONOTONIC, signo, value, &timer) == 0);
    return timer;
}

static long set(int timer, long first_ms, long interval_ms)
{
    struct itimerspec spec = { { 0, interval_ms * 1000000 }, { 0, first_ms * 1000000 } };
    return timer_settime((timer_t)(long)timer, 0, &spec, NULL);
}

static void drop(int timer)
{
    MUST(timer_delete((timer_t)(long)timer) == 0);
}

static void block(int how, int signo)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signo);
    MUST(sigprocmask(how, &mask, NULL) == 0);
}

static int pending(int signo)
{
    sigset_t mask;
    MUST(sigpending(&mask) == 0);
    return sigismember(&mask, signo);
}

// The value of the next one that is pending, -1: it is not a timer's, -2: there is none.
static int taken(int signo)
{
    struct timespec now = { 0, 0 };
    siginfo_t info;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signo);
    if (sigtimedwait(&mask, &info, &now) < 0)
        return -2;
    return info.si_code == SI_TIMER ? info.si_value.sival_int : -1;
}

static void ignored(void)
{
    int timer = timer_of(SIGUSR1, 1);
    signal(SIGUSR1, SIG_IGN);
    set(timer, 5, 0);
    sleep_ms(20);
    signal(SIGUSR1, count);
    printf("fired once when ignored: %d", (int)fired);
    set(timer, 5, 0);
    sleep_ms(30);
    printf(" set again: %d\n", (int)fired);
    signal(SIGUSR1, SIG_IGN);
    set(timer, 5, 5);
    sleep_ms(30);
    struct itimerspec left;
    MUST(timer_gettime((timer_t)(long)timer, &left) == 0);
    printf("periodic and ignored: goes on %d,", left.it_value.tv_nsec > 0);
    fired = 0;
    signal(SIGUSR1, count);
    printf(" not ignored any more %d,", (int)fired);
    sleep_ms(50);
    printf(" later more than one %d\n", fired > 1);
    drop(timer);
}

static void ignored_and_changed(void)
{
    int timer = timer_of(SIGUSR1, 2);
    signal(SIGUSR1, SIG_IGN);
    set(timer, 5, 5);
    sleep_ms(30);
    set(timer, 0, 0);
    block(SIG_BLOCK, SIGUSR1);
    signal(SIGUSR1, count);
    tell("ignored, then stopped: pending", pending(SIGUSR1));
    tell(" taken", taken(SIGUSR1));
    tell(" pending", pending(SIGUSR1));
    printf("\n");
    block(SIG_UNBLOCK, SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    set(timer, 5, 5);
    sleep_ms(30);
    set(timer, 5, 0);
    sleep_ms(30);
    block(SIG_BLOCK, SIGUSR1);
    signal(SIGUSR1, count);
    tell("ignored, then set to fire once: pending", pending(SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    set(timer, 5, 5);
    sleep_ms(30);
    drop(timer);
    block(SIG_BLOCK, SIGUSR1);
    signal(SIGUSR1, count);
    tell(" deleted: pending", pending(SIGUSR1));
    printf("\n");
    block(SIG_UNBLOCK, SIGUSR1);
}

static void order_of_ignored(void)
{
    int first = timer_of(SIGUSR1, 3), second = timer_of(SIGUSR1, 4), other = timer_of(SIGUSR2, 5);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    set(first, 5, 100);
    set(second, 10, 100);
    set(other, 5, 100);
    sleep_ms(30);
    block(SIG_BLOCK, SIGUSR1);
    block(SIG_BLOCK, SIGUSR2);
    signal(SIGUSR1, SIG_DFL);
    tell("two were ignored:", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    tell(" of the other", taken(SIGUSR2));
    signal(SIGUSR2, count);
    tell("", taken(SIGUSR2));
    printf("\n");
    drop(first);
    drop(second);
    drop(other);
    // SIGCHLD is ignored by default too; its default action does not count as one that was set.
    block(SIG_BLOCK, SIGCHLD);
    int child_timer = timer_of(SIGCHLD, 6);
    set(child_timer, 5, 100);
    sleep_ms(20);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGCHLD, count);
    tell("SIGCHLD after its default action: pending", pending(SIGCHLD));
    set(child_timer, 5, 100);
    sleep_ms(20);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGCHLD, count);
    tell(" after SIG_IGN: pending", pending(SIGCHLD));
    tell(" taken", taken(SIGCHLD));
    printf("\n");
    drop(child_timer);
    signal(SIGCHLD, SIG_DFL);
    block(SIG_UNBLOCK, SIGCHLD);
}

static void queued(void)
{
    // SIGUSR1 and SIGUSR2 stay blocked from here on.
    int timer = timer_of(SIGUSR1, 7), other = timer_of(SIGUSR1, 8);
    set(timer, 5, 0);
    sleep_ms(20);
    tell("pending", pending(SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    tell(" flushed", pending(SIGUSR1));
    signal(SIGUSR1, count);
    set(timer, 5, 0);
    sleep_ms(20);
    tell(" set again", pending(SIGUSR1));
    tell(" taken", taken(SIGUSR1));
    printf("\n");
    set(timer, 5, 0);
    sleep_ms(20);
    set(timer, 5, 0);
    sleep_ms(20);
    tell("fires when queued:", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    set(timer, 5, 0);
    sleep_ms(20);
    set(timer, 900, 0);
    tell(" set when queued: pending", pending(SIGUSR1));
    tell(" taken", taken(SIGUSR1));
    printf("\n");
    set(timer, 5, 0);
    set(other, 10, 0);
    sleep_ms(30);
    tell("two timers:", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    kill(getpid(), SIGUSR1);
    set(timer, 5, 0);
    sleep_ms(20);
    kill(getpid(), SIGUSR1);
    tell(" with kill:", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    printf("\n");
    set(timer, 5, 0);
    sleep_ms(20);
    drop(timer);
    tell("deleted when queued: pending", pending(SIGUSR1));
    tell(" taken", taken(SIGUSR1));
    tell(" pending", pending(SIGUSR1));
    printf("\n");
    set(other, 10, 10);
    sleep_ms(35);
    printf("periodic, flushed when queued:");
    signal(SIGUSR1, SIG_IGN);
    tell(" pending", pending(SIGUSR1));
    signal(SIGUSR1, count);
    tell("", pending(SIGUSR1));
    tell(" taken", taken(SIGUSR1));
    sleep_ms(30);
    tell(" goes on", taken(SIGUSR1));
    printf("\n");
    drop(other);
}

static void stopped_without_signals(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_NONE };
    struct itimerspec left;
    int timer;
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0);
    set(timer, 900, 7);
    set(timer, 0, 7);
    MUST(timer_gettime((timer_t)(long)timer, &left) == 0);
    printf("SIGEV_NONE, stopped: interval %ld value %d\n", left.it_interval.tv_nsec, left.it_value.tv_nsec > 0);
    drop(timer);
}

static void numbers(void)
{
    int first = timer_of(SIGUSR1, 0), second, third;
    drop(first);
    second = timer_of(SIGUSR1, 0);
    printf("numbers: the next %d", second - first);
    printf(" no such signal: %s", told(create(CLOCK_MONOTONIC, 65, 0, &third)));
    third = timer_of(SIGUSR1, 0);
    printf(" the next %d\n", third - first);
    drop(second);
    drop(third);
}

static void show_interval(int which, long value_us, long interval_us)
{
    struct itimerval timer = { { 0, interval_us }, { 0, value_us } };
    MUST(setitimer(which, &timer, NULL) == 0 && getitimer(which, &timer) == 0);
    printf(" %d %ld", timer.it_value.tv_usec > 0, (long)timer.it_interval.tv_usec);
}

static void intervals(void)
{
    for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
        printf("%sinterval timer %d:", which ? ", " : "", which);
        show_interval(which, 0, 5000);
        show_interval(which, 900000, 6000);
        show_interval(which, 0, 0);
    }
    printf("\n");
}

static void tell_real(const char *what)
{
    struct itimerval left;
    MUST(getitimer(ITIMER_REAL, &left) == 0);
    printf("%s left %d of %ld", what, left.it_value.tv_usec > 0, (long)left.it_interval.tv_usec);
}

static void real_timer(void)
{
    struct itimerval each = { { 0, 10000 }, { 0, 5000 } };
    signal(SIGALRM, count);
    block(SIG_BLOCK, SIGALRM);
    MUST(setitimer(ITIMER_REAL, &each, NULL) == 0);
    sleep_ms(40);
    tell_real("SIGALRM pending:");
    tell(" taken", taken(SIGALRM));
    tell_real("");
    sleep_ms(30);
    tell(" pending", pending(SIGALRM));
    tell_real("");
    printf("\n");
    signal(SIGALRM, SIG_IGN);
    tell_real("flushed:");
    MUST(setitimer(ITIMER_REAL, &each, NULL) == 0);
    sleep_ms(30);
    tell_real(" blocked and ignored:");
    signal(SIGALRM, count);
    fired = 0;
    block(SIG_UNBLOCK, SIGALRM);
    sleep_ms(50);
    printf(" goes on %d\n", fired > 1);
    signal(SIGALRM, SIG_IGN);
    sleep_ms(30);
    tell_real("ignored:");
    signal(SIGALRM, count);
    fired = 0;
    sleep_ms(30);
    printf(" then %d", (int)fired);
    kill(getpid(), SIGALRM);
    sleep_ms(50);
    printf(" after another's signal %d\n", fired > 2);
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL) == 0);
}

static volatile int over;

static void *spend(void *argument)
{
    (void)argument;
    while (!over)
        sleep_ms(1);
    return NULL;
}

static void cpu_clocks(void)
{
    struct timespec time = { 0, 0 }, wrong = { 0, 1000000000 };
    printf("resolution of CPU clocks:");
    for (int clock = -8; clock < 0; clock++)
        if ((clock & 3) != 3)
            printf(" %s %ld", told(clock_getres(clock, &time)), time.tv_nsec);
    printf("\nsetting them:");
    for (int clock = -8; clock < 0; clock++)
        if ((clock & 3) != 3)
            printf(" %s", told(clock_settime(clock, clock == -8 ? &wrong : &time)));
    printf(" by name: %s", told(clock_settime(CLOCK_PROCESS_CPUTIME_ID, &time)));
    printf(" of nobody: %s\n", told(clock_settime(~(clockid_t)4194304 * 8 | 2, &time)));
}

static void clock_of_the_dead(void)
{
    struct itimerspec left;
    clockid_t clock;
    int timer;
    pthread_t thread = begin(spend, NULL);
    MUST(pthread_getcpuclockid(thread, &clock) == 0 && create(clock, SIGUSR1, 9, &timer) == 0);
    printf("on a thread's clock: %s", told(set(timer, 900, 100)));
    over = 1;
    end(thread);
    sleep_ms(20);
    printf(" that has ended: %s", told(set(timer, 5, 0)));
    MUST(timer_gettime((timer_t)(long)timer, &left) == 0);
    printf(" interval %ld value %ld\n", left.it_interval.tv_nsec, left.it_value.tv_nsec);
    drop(timer);
}

static void to_a_thread(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 10 };
    int timer;
    event.sigev_notify_thread_id = gettid();
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0);
    raise(SIGUSR1);
    set(timer, 5, 0);
    sleep_ms(20);
    tell("to a thread:", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    tell("", taken(SIGUSR1));
    printf("\n");
    drop(timer);
}

static void limited(void)
{
    pid_t pid = child();
    if (pid == 0) {
        struct rlimit none = { 0, 2 }, two = { 2, 2 };
        int timers[3];
        MUST(setresuid(65534, 65534, 65534) == 0 && setrlimit(RLIMIT_SIGPENDING, &none) == 0);
        printf("no signal may be queued: %s", told(create(CLOCK_MONOTONIC, SIGUSR1, 1, timers)));
        MUST(setrlimit(RLIMIT_SIGPENDING, &two) == 0);
        printf(" two:");
        for (int i = 0; i < 3; i++)
            printf(" %s", told(create(CLOCK_MONOTONIC, SIGUSR1, i, timers + i)));
        block(SIG_BLOCK, SIGRTMIN);
        printf(" another: %s", told(sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 })));
        set(timers[1], 5, 0);
        sleep_ms(20);
        tell(" taken", taken(SIGUSR1));
        drop(timers[1]);
        printf(" one less: %s", told(sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 })));
        printf(" %s\n", told(create(CLOCK_MONOTONIC, SIGUSR1, 1, timers + 1)));
        fflush(stdout);
        _exit(0);
    }
    reap(pid);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    ignored();
    ignored_and_changed();
    order_of_ignored();
    queued();
    to_a_thread();
    stopped_without_signals();
    numbers();
    intervals();
    real_timer();
    cpu_clocks();
    clock_of_the_dead();
    limited();
    return 0;
}
