/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame of the scaling benchmarks: N threads or N processes start together and do the same fixed work.
   usage: NAME threads|processes N [OPERATIONS]
   Standard output tells what was done, standard error how long it took: from the moment when the first task began
   to the moment when the last one was done. */
#ifndef SCALE_H
#define SCALE_H
#include "tasks.h"

struct slot { /* one cache line and its neighbour for each task */
    _Alignas(128) long long begun, done;
    long operations;
};
static struct slot *slots;
static int tasks;
static long operations; /* that each task shall do */

/* A benchmark defines these. `work` does `operations` operations and returns how many it did. */
static const char *const name;
static const long usual;
static long work(int task);
static void prepare(void);

static int gate[2]; /* closed at the other end when all shall begin */

static void run_task(int task)
{
    char byte;
    MUST(read(gate[0], &byte, 1) == 0);
    slots[task].begun = now_ns();
    slots[task].operations = work(task);
    slots[task].done = now_ns();
}

static void *thread_main(void *task)
{
    run_task((int)(intptr_t)task);
    return NULL;
}

static void usage(void)
{
    fprintf(stderr, "usage: %s threads|processes N [OPERATIONS]\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    start();
    int processes = argc > 1 && strcmp(argv[1], "processes") == 0;
    if (argc < 3 || argc > 4 || (!processes && strcmp(argv[1], "threads")))
        usage();
    tasks = atoi(argv[2]);
    operations = argc > 3 ? atol(argv[3]) : usual;
    if (tasks < 1 || tasks > 4096 || operations < 1)
        usage();
    size_t pages = ((size_t)tasks * sizeof(struct slot) + page - 1) / page;
    slots = (struct slot *)map(pages, PROT_READ | PROT_WRITE, MAP_SHARED);
    MUST(slots != MAP_FAILED);
    MUST(pipe(gate) == 0);
    prepare();
    pthread_t *threads = calloc((size_t)tasks, sizeof *threads);
    pid_t *children = calloc((size_t)tasks, sizeof *children);
    for (int i = 0; i < tasks; i++) {
        if (!processes) {
            threads[i] = begin(thread_main, (void *)(intptr_t)i);
        } else if ((children[i] = child()) == 0) {
            close(gate[1]);
            run_task(i);
            _exit(0);
        }
    }
    close(gate[1]);
    for (int i = 0; i < tasks; i++) {
        if (processes)
            MUST(reap(children[i]) == 0);
        else
            end(threads[i]);
    }
    long long first = slots[0].begun, last = slots[0].done;
    long total = 0;
    for (int i = 0; i < tasks; i++) {
        first = slots[i].begun < first ? slots[i].begun : first;
        last = slots[i].done > last ? slots[i].done : last;
        total += slots[i].operations;
    }
    printf("%s %s %d: %ld operations\n", name, argv[1], tasks, total);
    fprintf(stderr, "%ld operations in %lld ns\n", total, last - first);
    return 0;
}
#endif
