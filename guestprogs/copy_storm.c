// SPDX-License-Identifier: GPL-2.0-or-later
// Threads that write a file from pages that are not there yet, for which the kernel tries a copy with faults disabled,
// while others of the same address space fault, futexes among them.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/syscall.h>

enum { WRITERS = 2, TOUCHERS = 2, PAGES = 400 };
static int file;
static char *areas[WRITERS + TOUCHERS];

static void *writer(void *area)
{
    for (int i = 0; i < PAGES; i++)
        MUST(pwrite(file, (char *)area + (size_t)i * page, page, (off_t)i * page) == (ssize_t)page);
    return NULL;
}

static void *toucher(void *area)
{
    for (int i = 0; i < PAGES; i++) {
        int *word = (int *)((char *)area + (size_t)i * page);
        if (i & 1)
            *word = 1;
        else
            MUST(syscall(SYS_futex, word, 128, 1, NULL, NULL, 0) == -1 && errno == EAGAIN); // FUTEX_WAIT_PRIVATE
    }
    return NULL;
}

int main(void)
{
    start();
    file = (int)syscall(SYS_memfd_create, "copies", 0);
    MUST(file >= 0);
    pthread_t threads[WRITERS + TOUCHERS];
    for (int i = 0; i < WRITERS + TOUCHERS; i++) {
        areas[i] = fresh(PAGES);
        threads[i] = begin(i < WRITERS ? writer : toucher, areas[i]);
    }
    for (int i = 0; i < WRITERS + TOUCHERS; i++)
        end(threads[i]);
    printf("%ld bytes\n", (long)lseek(file, 0, SEEK_END));
    return 0;
}
