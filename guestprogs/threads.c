// SPDX-License-Identifier: GPL-2.0-or-later
// Threads and what keeps them apart: mutex, condition, barrier, rwlock, semaphore, once, thread-local data. Argument: threads.
#include "tasks.h"
#include <semaphore.h>

enum { MOST = 128, ROUNDS = 50, ITEMS = 200, ROOM = 4 };
static int count = 8;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, drained = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static sem_t semaphore;
static long counter, produced, consumed, sum_consumed, onces, destroyed, inside, most_inside, pairs[2], torn;
static int queue[ROOM], queued, phase[MOST], wrong_phase;
static __thread long mine = 41;

static void *add(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        long seen = counter;
        if (i % 8 == 0)
            sched_yield();
        counter = seen + 1;
        pthread_mutex_unlock(&mutex);
    }
    return argument;
}

static void *produce(void *argument)
{
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (queued == ROOM)
            pthread_cond_wait(&drained, &mutex);
        queue[queued++] = i;
        produced++;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&mutex);
    }
    return argument;
}

static void *consume(void *argument)
{
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (queued == 0)
            pthread_cond_wait(&filled, &mutex);
        sum_consumed += queue[--queued];
        consumed++;
        pthread_cond_broadcast(&drained);
        pthread_mutex_unlock(&mutex);
    }
    return argument;
}

static void *phases(void *argument)
{
    int me = (int)(intptr_t)argument;
    long serial = 0;
    for (int i = 0; i < 20; i++) {
        phase[me] = i;
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
        for (int other = 0; other < count; other++)
            if (phase[other] != i)
                __atomic_fetch_add(&wrong_phase, 1, __ATOMIC_SEQ_CST);
        pthread_barrier_wait(&barrier);
    }
    return (void *)serial;
}

static void *read_or_write(void *argument)
{
    int me = (int)(intptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        if ((me + i) % 4 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            pairs[0]++;
            if (i % 16 == 0)
                sched_yield();
            pairs[1]++;
            pthread_rwlock_unlock(&rwlock);
        } else {
            pthread_rwlock_rdlock(&rwlock);
            if (pairs[0] != pairs[1])
                __atomic_fetch_add(&torn, 1, __ATOMIC_SEQ_CST);
            pthread_rwlock_unlock(&rwlock);
        }
    }
    return NULL;
}

static void count_once(void)
{
    onces++;
}

static void destroy(void *value)
{
    __atomic_fetch_add(&destroyed, (long)(intptr_t)value, __ATOMIC_SEQ_CST);
}

static void *local(void *argument)
{
    long me = (long)(intptr_t)argument;
    pthread_once(&once, count_once);
    pthread_setspecific(key, (void *)(me + 1));
    long start = mine;
    for (int i = 0; i < 20; i++) {
        mine += me;
        sched_yield();
    }
    int right = start == 41 && mine == 41 + 20 * me && (long)(intptr_t)pthread_getspecific(key) == me + 1;
    return (void *)(intptr_t)right;
}

static void *limited(void *argument)
{
    for (int i = 0; i < 20; i++) {
        while (sem_wait(&semaphore) == -1 && errno == EINTR)
            ;
        long now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        long most = __atomic_load_n(&most_inside, __ATOMIC_SEQ_CST);
        while (now > most && !__atomic_compare_exchange_n(&most_inside, &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            ;
        sched_yield();
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        sem_post(&semaphore);
    }
    return argument;
}

static long all(void *(*function)(void *))
{
    pthread_t id[MOST];
    long total = 0;
    for (int i = 0; i < count; i++)
        id[i] = begin(function, (void *)(intptr_t)i);
    for (int i = 0; i < count; i++)
        total += (long)(intptr_t)end(id[i]);
    return total;
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1)
        count = atoi(argv[1]);
    MUST(count > 0 && count <= MOST);
    MUST(all(add) == (long)count * (count - 1) / 2);
    printf("mutex %ld\n", counter);
    pthread_t id[MOST];
    int half = count / 2;
    for (int i = 0; i < half; i++) {
        id[i] = begin(produce, NULL);
        id[half + i] = begin(consume, NULL);
    }
    for (int i = 0; i < 2 * half; i++)
        end(id[i]);
    printf("condition %ld %ld %ld left %d\n", produced, consumed, sum_consumed, queued);
    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    printf("barrier serial %ld", all(phases));
    printf(" wrong %d\n", wrong_phase);
    all(read_or_write);
    printf("rwlock %ld %ld torn %ld\n", pairs[0], pairs[1], torn);
    pthread_key_create(&key, destroy);
    printf("local right %ld", all(local));
    printf(" once %ld destroyed %ld\n", onces, destroyed);
    sem_init(&semaphore, 0, 3);
    all(limited);
    printf("semaphore %s\n", most_inside >= 1 && most_inside <= 3 && inside == 0 ? "kept" : "broken");
    pthread_mutexattr_t kind;
    pthread_mutex_t checked, again;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checked, &kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&again, &kind);
    int results[] = {pthread_mutex_lock(&checked), pthread_mutex_lock(&checked), pthread_mutex_unlock(&checked),
                     pthread_mutex_unlock(&checked), pthread_mutex_lock(&again), pthread_mutex_lock(&again),
                     pthread_mutex_unlock(&again), pthread_mutex_unlock(&again)};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        printf("%s%d", i ? " " : "kinds ", results[i] == 0 ? 0 : results[i] == EDEADLK ? 1 : results[i] == EPERM ? 2 : 3);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 2000000;
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    pthread_mutex_lock(&mutex);
    int timed = pthread_cond_timedwait(&filled, &mutex, &soon);
    pthread_mutex_unlock(&mutex);
    printf("\ntimed wait %s\n", timed == ETIMEDOUT ? "timed out" : "did not");
    return 0;
}
