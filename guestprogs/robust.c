// SPDX-License-Identifier: GPL-2.0-or-later
// Robust mutexes, whose owner dies with them: a thread, a process, one killed while others wait. And priority inheritance.
#include "tasks.h"

static pthread_mutex_t mutex;
static int order[4], at;

static void init(pthread_mutex_t *m, int shared, int robust, int protocol)
{
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    if (shared)
        pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    if (robust)
        pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    MUST(pthread_mutexattr_setprotocol(&kind, protocol) == 0);
    MUST(pthread_mutex_init(m, &kind) == 0);
}

static const char *named(int result)
{
    return result == 0 ? "0" : result == EOWNERDEAD ? "EOWNERDEAD" : result == ENOTRECOVERABLE ? "ENOTRECOVERABLE"
           : result == EBUSY ? "EBUSY" : result == EDEADLK ? "EDEADLK" : "other";
}

static void *lock_and_end(void *argument)
{
    return (void *)(intptr_t)pthread_mutex_lock(argument);
}

static void *lock_once(void *argument)
{
    int result = pthread_mutex_lock(argument);
    if (result == EOWNERDEAD)
        pthread_mutex_consistent(argument);
    order[__atomic_fetch_add(&at, 1, __ATOMIC_SEQ_CST)] = result;
    pthread_mutex_unlock(argument);
    return NULL;
}

int main(void)
{
    start();
    init(&mutex, 0, 1, PTHREAD_PRIO_NONE);
    end(begin(lock_and_end, &mutex));
    int result = pthread_mutex_trylock(&mutex);
    printf("thread ended: %s consistent %s", named(result), named(pthread_mutex_consistent(&mutex)));
    printf(" unlock %s", named(pthread_mutex_unlock(&mutex)));
    printf(" again %s\n", named(pthread_mutex_lock(&mutex)));
    pthread_mutex_unlock(&mutex);
    end(begin(lock_and_end, &mutex));
    result = pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex); // not made consistent: lost for good
    printf("not repaired: %s then %s\n", named(result), named(pthread_mutex_lock(&mutex)));

    pthread_mutex_t *shared = (pthread_mutex_t *)map(1, PROT_READ | PROT_WRITE, MAP_SHARED);
    volatile int *state = (int *)((char *)shared + page / 2);
    init(shared, 1, 1, PTHREAD_PRIO_NONE);
    pid_t pid = child();
    if (pid == 0) {
        MUST(pthread_mutex_lock(shared) == 0);
        _exit(0);
    }
    reap(pid);
    result = pthread_mutex_lock(shared);
    printf("process ended: %s\n", named(result));
    pthread_mutex_consistent(shared);
    pthread_mutex_unlock(shared);
    // Killed while three processes wait: one gets EOWNERDEAD, repairs it, and the others go on.
    pid = child();
    if (pid == 0) {
        MUST(pthread_mutex_lock(shared) == 0);
        state[0] = 1;
        for (;;)
            sleep_ms(1000);
    }
    while (!__atomic_load_n(&state[0], __ATOMIC_ACQUIRE))
        sched_yield();
    pid_t waiters[3];
    for (int i = 0; i < 3; i++) {
        waiters[i] = child();
        if (waiters[i] == 0) {
            __atomic_fetch_add(&state[1], 1, __ATOMIC_SEQ_CST);
            int mine = pthread_mutex_lock(shared);
            if (mine == EOWNERDEAD)
                pthread_mutex_consistent(shared);
            pthread_mutex_unlock(shared);
            _exit(mine == EOWNERDEAD ? 1 : mine == 0 ? 2 : 3);
        }
    }
    while (__atomic_load_n(&state[1], __ATOMIC_ACQUIRE) < 3)
        sched_yield();
    sleep_ms(5);
    kill(pid, SIGKILL);
    reap(pid);
    int dead = 0, fine = 0;
    for (int i = 0; i < 3; i++) {
        int status = WEXITSTATUS(reap(waiters[i]));
        dead += status == 1, fine += status == 2;
    }
    printf("killed with waiters: EOWNERDEAD %d, 0 %d\n", dead, fine);
    // A waiting thread is told when the owner thread ends.
    pthread_mutex_t held;
    init(&held, 0, 1, PTHREAD_PRIO_NONE);
    end(begin(lock_and_end, &held));
    pthread_t two[2] = {begin(lock_once, &held), begin(lock_once, &held)};
    end(two[0]), end(two[1]);
    printf("threads: %s %s\n", named(order[0]), named(order[1]));
    return 0;
}
