// SPDX-License-Identifier: GPL-2.0-or-later
// Waits for ever, in the way the argument says: mutex, self, pipe, children, join, read. It never ends by itself.
#include "tasks.h"

static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static pthread_t threads[2];

static void *one_way(void *argument)
{
    pthread_mutex_lock(&a);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&b);
    return argument;
}

static void *other_way(void *argument)
{
    pthread_mutex_lock(&b);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(&a);
    return argument;
}

static void *join_the_other(void *argument)
{
    pthread_barrier_wait(&both);
    pthread_join(threads[(intptr_t)argument], NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    start();
    const char *what = argc > 1 ? argv[1] : "mutex";
    puts(what);
    fflush(stdout);
    pthread_barrier_init(&both, NULL, 2);
    int ends[2];
    char byte;
    MUST(pipe(ends) == 0);
    if (strcmp(what, "mutex") == 0) {
        threads[0] = begin(one_way, NULL), threads[1] = begin(other_way, NULL);
        end(threads[0]);
    } else if (strcmp(what, "self") == 0) {
        pthread_mutex_lock(&a);
        pthread_mutex_lock(&a);
    } else if (strcmp(what, "pipe") == 0) { // our own end is open, so there will be no end of file
        (void)!read(ends[0], &byte, 1);
    } else if (strcmp(what, "children") == 0) { // two processes that wait for each other's data
        int back[2];
        MUST(pipe(back) == 0);
        if (child() == 0)
            (void)!read(ends[0], &byte, 1);
        else
            (void)!read(back[0], &byte, 1);
    } else if (strcmp(what, "join") == 0) {
        pthread_barrier_init(&both, NULL, 3); // until both numbers are known
        threads[0] = begin(join_the_other, (void *)1), threads[1] = begin(join_the_other, (void *)0);
        pthread_barrier_wait(&both);
        end(threads[0]);
    } else {
        return 2;
    }
    return 0;
}
