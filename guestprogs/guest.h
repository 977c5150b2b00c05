/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest programs share: pages, fresh mappings, results as text. */
#ifndef GUEST_H
#define GUEST_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static size_t page;

static inline void start(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline char *map(size_t pages, int prot, int flags)
{
    return mmap(NULL, pages * page, prot, flags | MAP_ANONYMOUS, -1, 0);
}

static inline char *fresh(size_t pages)
{
    return map(pages, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* 0, or the error as a positive number. */
static inline int err(long result)
{
    return result == -1 ? errno : 0;
}

static inline int failed(void *address)
{
    return address == MAP_FAILED ? errno : 0;
}

static inline unsigned sum(const char *at, size_t pages)
{
    unsigned total = 0;
    for (size_t i = 0; i < pages; i++)
        total += (unsigned char)at[i * page];
    return total;
}

static inline void touch(char *at, size_t pages, char value)
{
    for (size_t i = 0; i < pages; i++)
        ((volatile char *)at)[i * page] = value;
}
#endif
