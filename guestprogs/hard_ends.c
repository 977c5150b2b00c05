// SPDX-License-Identifier: GPL-2.0-or-later
// Ends of threads and processes at the worst moment. usage: hard_ends WAY [NUMBER]
#include "tasks.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

static volatile long handled;
static int ready;

static void *wait_forever(void *argument)
{
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    for (;;)
        sleep_ms(1000);
    return argument;
}

// Faults, maps and unmaps without end: whoever ends the process does so in the middle of one of these.
static void *fault_forever(void *argument)
{
    for (;;) {
        char *memory = fresh(64);
        touch(memory, 64, 1);
        __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
        munmap(memory, 64 * page);
    }
    return argument;
}

static void *exec_self(void *argument)
{
    char **argv = argument;
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    execl(argv[0], argv[0], "after", pid, NULL);
    _exit(98);
}

static void wait_ready(int count)
{
    while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < count)
        sched_yield();
}

// exec with `count` other threads, by the first thread or by the last.
static void exec_among(char **argv, int count, void *(*others)(void *), int leader)
{
    for (int i = 0; i < count; i++)
        begin(others, NULL);
    wait_ready(count);
    if (leader)
        exec_self(argv);
    begin(exec_self, argv);
    wait_forever(NULL);
}

static void on_signal(int number)
{
    (void)number;
    __atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
}

static void *storm_each_other(void *argument)
{
    pthread_t *all = argument;
    wait_ready(1);
    for (int i = 0; i < 120; i++)
        pthread_kill(all[i % 8], i % 2 ? SIGUSR1 : SIGRTMIN + 3);
    __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
    wait_ready(9); // none is joined while another one may send it something
    return NULL;
}

static void storm(void)
{
    static pthread_t all[8];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMIN + 3, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < 8; i++)
        all[i] = begin(storm_each_other, all);
    ready = 1;
    pid_t pid = child();
    if (pid == 0) {
        for (int i = 0; i < 120; i++)
            kill(getppid(), i % 2 ? SIGUSR1 : SIGRTMIN + 3);
        _exit(0);
    }
    for (int i = 0; i < 8; i++)
        end(all[i]);
    int status = reap(pid);
    timer.it_value.tv_usec = timer.it_interval.tv_usec = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
    printf("storm over: child %d, queued ones all came %d\n", status, handled >= 8 * 60 + 60);
}

// Queued signals are limited: RLIMIT_SIGPENDING.
static void flood(void)
{
    struct rlimit limit = {50, 50};
    union sigval value = {.sival_int = 1};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    int sent = 0, taken = 0;
    while (sent < 1000 && sigqueue(getpid(), SIGRTMIN + 3, value) == 0)
        sent++;
    int full = errno;
    struct timespec none = {0, 0};
    while (sigtimedwait(&set, NULL, &none) > 0)
        taken++;
    printf("queued %d EAGAIN %d taken %d\n", sent, full == EAGAIN, taken);
}

// Forks with `pages` of memory of its own, each child writes all of it and stays: RAM ends in fork or in a copy.
static void eat_by_fork(size_t pages, int way)
{
    char *memory = fresh(pages);
    touch(memory, pages, 'a');
    int forked = 0, killed = 0, refused = 0;
    pid_t gone;
    pid_t kids[400];
    while (forked < 400) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (way)
                touch(memory, pages, 'b');
            for (;;)
                sleep_ms(1000);
        }
        if (pid < 0) {
            refused = errno;
            break;
        }
        kids[forked++] = pid;
        sleep_ms(1);
        if ((gone = waitpid(-1, NULL, WNOHANG)) > 0) {
            killed = gone;
            break;
        }
    }
    printf("ended by %s; own memory kept %d\n", refused == ENOMEM ? "ENOMEM" : killed ? "a kill" : "nothing",
           sum(memory, pages) == (unsigned)('a' * pages));
    for (int i = 0; i < forked; i++)
        if (kids[i] != killed) {
            kill(kids[i], SIGKILL);
            reap(kids[i]);
        }
    pid_t pid = child();
    if (pid == 0) {
        touch(memory, 10, 'c');
        _exit(7);
    }
    char text[32];
    printf("then %s\n", how(reap(pid), text, sizeof text));
}

// A child eats all memory and is killed for it; its sister and its parent go on.
static void eat_in_child(void)
{
    int to_sister[2];
    MUST(pipe(to_sister) == 0);
    pid_t sister = child();
    if (sister == 0) {
        char one;
        close(to_sister[1]);
        MUST(read(to_sister[0], &one, 1) == 1);
        _exit(one);
    }
    pid_t eater = child();
    if (eater == 0) {
        for (int i = 0; i < 3; i++)
            begin(wait_forever, NULL); // the kill is for all threads
        for (;;)
            touch(fresh(64), 64, 1);
    }
    char text[32];
    printf("eater %s\n", how(reap(eater), text, sizeof text));
    MUST(write(to_sister[1], "\5", 1) == 1);
    printf("sister %s\n", how(reap(sister), text, sizeof text));
}

int main(int argc, char **argv)
{
    start();
    const char *way = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (strcmp(way, "after") == 0) {
        printf("same pid %d, tid is pid %d\n", getpid() == number, (int)syscall(SYS_gettid) == getpid());
        return 7;
    }
    if (strcmp(way, "exec-leader") == 0)
        exec_among(argv, number, wait_forever, 1);
    if (strcmp(way, "exec-thread") == 0)
        exec_among(argv, number, wait_forever, 0);
    if (strcmp(way, "exec-faulting") == 0)
        exec_among(argv, number, fault_forever, 0);
    if (strcmp(way, "exit-faulting") == 0) {
        for (int i = 0; i < number; i++)
            begin(fault_forever, NULL);
        wait_ready(3 * number);
        _exit(9);
    }
    if (strcmp(way, "killed-faulting") == 0) {
        pid_t pid = child();
        if (pid == 0) {
            for (int i = 0; i < number; i++)
                begin(fault_forever, NULL);
            wait_ready(3 * number);
            *(volatile int *)8 = 1; // one thread's SIGSEGV ends all
        }
        char text[32];
        printf("%s\n", how(reap(pid), text, sizeof text));
    }
    if (strcmp(way, "storm") == 0)
        storm();
    if (strcmp(way, "flood") == 0)
        flood();
    if (strcmp(way, "eat-fork") == 0)
        eat_by_fork((size_t)number, 0);
    if (strcmp(way, "eat-copy") == 0)
        eat_by_fork((size_t)number, 1);
    if (strcmp(way, "eat-child") == 0)
        eat_in_child();
    if (strcmp(way, "threads") == 0) { // until no more can be made
        int made = 0, problem = 0;
        pthread_t id;
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 16384);
        while (made < 5000 && (problem = pthread_create(&id, &small, wait_forever, NULL)) == 0)
            made++;
        printf("made %d EAGAIN %d\n", made, problem == EAGAIN);
        _exit(3);
    }
    return 0;
}
