// SPDX-License-Identifier: GPL-2.0-or-later
// Code that changes: by stores at its own address, through another mapping, by another thread, by another process, by the
// kernel, and by a frame that gets another use. Each call returns what the code says last.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/syscall.h>

enum { ALL = PROT_READ | PROT_WRITE | PROT_EXEC, CODE = PROT_READ | PROT_EXEC, DATA = PROT_READ | PROT_WRITE };
static int wrong;

static void clear_cache(char *from, char *to)
{
#ifdef __powerpc__
    for (char *at = from; at < to; at += 4) // whatever the size of a cache line
        __asm__ volatile("dcbst 0, %0\n sync\n icbi 0, %0" : : "r"(at) : "memory");
    __asm__ volatile("sync\n isync" : : : "memory");
#else
    __builtin___clear_cache(from, to);
#endif
}

// A function that returns a number, at `at`; it will run at `where`.
static void *code(char *at, char *where, int number)
{
#if defined __x86_64__
    unsigned char bytes[] = {0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(bytes + 1, &number, 4);
#elif defined __aarch64__
    uint32_t bytes[] = {0x52800000u | (uint32_t)number << 5, 0xd65f03c0u};
#else
    uint32_t bytes[] = {0x38600000u | (uint32_t)number, 0x4e800020u};
#endif
    memcpy(at, bytes, sizeof bytes);
    clear_cache(at, at + sizeof bytes);
    if (where)
        clear_cache(where, where + sizeof bytes);
    return at;
}

static void runs(const char *what, char *at, int number)
{
    int got = ((int (*)(void))(uintptr_t)at)();
    if (got != number)
        wrong++, printf("%s: %d where %d is right\n", what, got, number);
}

static void *writer(void *area)
{
    char **two = area;
    code(two[0], two[1], 77);
    return NULL;
}

// Two processes execute one page at one address, and in turn one of them changes it there.
static void in_turns(void)
{
    int there[2], back[2], status = 0;
    char turn;
    char *both = mmap(NULL, page, ALL, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(both != MAP_FAILED && pipe(there) == 0 && pipe(back) == 0);
    code(both, NULL, 0);
    runs("at the beginning", both, 0);
    pid_t pid = child();
    for (int i = 1; i < 9; i += 2) {
        if (!pid) {
            runs("before it is changed", both, i - 1);
            MUST(write(there[1], "c", 1) == 1 && read(back[0], &turn, 1) == 1);
            runs("the parent's change", both, i);
            code(both, NULL, i + 1);
            runs("the child's own change", both, i + 1);
            MUST(write(there[1], "c", 1) == 1 && read(back[0], &turn, 1) == 1);
        } else {
            MUST(read(there[0], &turn, 1) == 1);
            code(both, NULL, i);
            runs("the parent's own change", both, i);
            MUST(write(back[1], "p", 1) == 1 && read(there[0], &turn, 1) == 1);
            runs("the child's change", both, i + 1);
            MUST(write(back[1], "p", 1) == 1);
        }
    }
    if (!pid) {
        fflush(stdout);
        _exit(wrong);
    }
    status = reap(pid);
    wrong += status != 0;
}

int main(void)
{
    start();
    char image[64];
    int ends[2], file = (int)syscall(SYS_memfd_create, "code", 0);
    MUST(file >= 0 && ftruncate(file, (off_t)page) == 0 && pipe(ends) == 0);
    char *own = mmap(NULL, page, ALL, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *seen = mmap(NULL, page, CODE, MAP_SHARED, file, 0), *written = mmap(NULL, page, DATA, MAP_SHARED, file, 0);
    MUST(own != MAP_FAILED && seen != MAP_FAILED && written != MAP_FAILED);
    for (int i = 1; i < 6; i++) {
        code(own, NULL, i);
        runs("a store", own, i);
        code(written, seen, i);
        runs("a store through another mapping", seen, i);
    }
    for (int i = 10; i < 15; i++) {
        code(image, NULL, i);
        MUST(pwrite(file, image, sizeof image, 0) == sizeof image);
        runs("a write of the file", seen, i);
        MUST(write(ends[1], image, sizeof image) == sizeof image && read(ends[0], own, sizeof image) == sizeof image);
        runs("a read into it", own, i);
    }
    for (int i = 20; i < 25; i++) {
        char *again = mmap(own, page, ALL, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        MUST(again == own);
        code(again, NULL, i);
        runs("new memory at the same address", again, i);
    }
    char *two[] = {written, seen};
    end(begin(writer, two));
    runs("a store by another thread", seen, 77);
    pid_t pid = child();
    if (!pid) {
        runs("the parent's code", seen, 77);
        runs("a private copy", own, 24);
        code(own, NULL, 30);
        runs("a store into a private copy", own, 30);
        code(written, seen, 31);
        runs("a child's store", seen, 31);
        fflush(stdout);
        _exit(wrong);
    }
    MUST(reap(pid) == 0);
    runs("another process's store", seen, 31);
    runs("what only the child changed", own, 24);
    for (int i = 40; i < 44; i++) {
        pid = child();
        if (!pid) {
            code(written, seen, i);
            _exit(0);
        }
        MUST(reap(pid) == 0);
        runs("one after the other", seen, i);
    }
    in_turns();
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
