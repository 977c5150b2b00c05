// SPDX-License-Identifier: GPL-2.0-or-later
// A lock that one thread gives away for the time of a short call only, again and again, waking another one that waits for
// it and is always too late, as Python's interpreters do. As nothing is in step for ever, the other one gets it at last.
#define _GNU_SOURCE
#include "tasks.h"
#include <poll.h>
#include <stdatomic.h>

static atomic_int locked, turns, got;

static void take(void)
{
    for (;;) {
        int seen = turns, free = 0;
        if (atomic_compare_exchange_strong(&locked, &free, 1))
            return;
        syscall(SYS_futex, &turns, 128, seen, NULL, NULL, 0); // FUTEX_WAIT_PRIVATE
    }
}

static void give(void)
{
    locked = 0;
    turns++;
    syscall(SYS_futex, &turns, 129, 1, NULL, NULL, 0); // FUTEX_WAKE_PRIVATE
}

static void *other(void *unused)
{
    (void)unused;
    take();
    got = 1;
    give();
    return NULL;
}

int main(void)
{
    start();
    take();
    give();
    poll(NULL, 0, 0);
    take(); // from now on all code that it runs is there
    pthread_t thread = begin(other, NULL);
    sleep_ms(2); // it waits
    long rounds = 0;
    while (!got && rounds < 10000) {
        for (volatile int work = 0; work < 12000; work++)
            ;
        give();
        poll(NULL, 0, 0);
        take();
        rounds++;
    }
    printf("%s\n", got ? "the other one got it" : "the other one never got it");
    give();
    end(thread);
    return 0;
}
