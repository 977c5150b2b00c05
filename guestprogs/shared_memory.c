// SPDX-License-Identifier: GPL-2.0-or-later
// Memory that processes share: anonymous, memfd and a file's, with locks, conditions, barriers and futexes in it.
#include "tasks.h"
#include <linux/futex.h>
#include <semaphore.h>

enum { PROCESSES = 4, ROUNDS = 60 };
struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_barrier_t barrier;
    sem_t empty, full;
    long counter, turn, slot, sum, passed;
    int word, woken;
    char pages[16 * 65536];
};

static void init(struct shared *s)
{
    pthread_mutexattr_t m;
    pthread_condattr_t c;
    pthread_barrierattr_t b;
    pthread_mutexattr_init(&m), pthread_condattr_init(&c), pthread_barrierattr_init(&b);
    pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
    pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&s->mutex, &m), pthread_cond_init(&s->changed, &c);
    pthread_barrier_init(&s->barrier, &b, PROCESSES);
    sem_init(&s->empty, 1, 1), sem_init(&s->full, 1, 0);
}

static void work(struct shared *s, int me)
{
    pthread_barrier_wait(&s->barrier);
    for (int i = 0; i < ROUNDS; i++) { // a counter under a lock
        pthread_mutex_lock(&s->mutex);
        long seen = s->counter;
        if (i % 16 == 0)
            sched_yield();
        s->counter = seen + 1;
        pthread_mutex_unlock(&s->mutex);
    }
    for (int i = 0; i < 5; i++) { // in turn, by a condition
        pthread_mutex_lock(&s->mutex);
        while (s->turn % PROCESSES != me)
            pthread_cond_wait(&s->changed, &s->mutex);
        s->turn++;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
    }
    for (int i = 0; i < 10; i++) { // one slot, two semaphores: the even ones fill it, the odd ones empty it
        if (me % 2 == 0) {
            sem_wait(&s->empty);
            s->slot = me * 100 + i;
            sem_post(&s->full);
        } else {
            sem_wait(&s->full);
            s->sum += s->slot; // who empties it is alone with it
            sem_post(&s->empty);
        }
    }
    for (int i = 0; i < 16; i++) // each writes its own byte of the same pages
        s->pages[i * 65536 + me] = (char)(me + i);
    pthread_barrier_wait(&s->barrier);
    long right = 1;
    for (int i = 0; i < 16; i++)
        for (int other = 0; other < PROCESSES; other++)
            right &= s->pages[i * 65536 + other] == (char)(other + i);
    __atomic_fetch_add(&s->passed, right, __ATOMIC_SEQ_CST);
    // All sleep on one word in shared memory, found by the page and not by the address.
    if (me) {
        while (__atomic_load_n(&s->word, __ATOMIC_SEQ_CST) == 0)
            syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, NULL, NULL, 0);
        __atomic_fetch_add(&s->woken, 1, __ATOMIC_SEQ_CST);
    } else {
        sleep_ms(3);
        __atomic_store_n(&s->word, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &s->word, FUTEX_WAKE, 1000, NULL, NULL, 0);
    }
}

static void run(const char *what, struct shared *s, int fd)
{
    MUST(s != MAP_FAILED);
    init(s);
    pid_t kids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            struct shared *mine = s;
            if (fd >= 0 && i % 2) // at another address
                mine = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            MUST(mine != MAP_FAILED);
            work(mine, i);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++)
        MUST(reap(kids[i]) == 0);
    printf("%s: %ld %ld %ld passed %ld woken %d\n", what, s->counter, s->turn, s->sum, s->passed, s->woken);
    munmap(s, sizeof *s);
}

int main(void)
{
    start();
    size_t size = sizeof(struct shared);
    run("anonymous", mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), -1);
    int fd = (int)syscall(SYS_memfd_create, "shared", 0);
    MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    run("memfd", mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), fd);
    return 0;
}
