// SPDX-License-Identifier: GPL-2.0-or-later
// Straight code that ends with its page, and goes on in a page that is not there with a call of a function that itself
// goes on in a page that is not there: each instruction runs once, and the stack is as it was. Code is of x86-64.
#define _GNU_SOURCE
#include "tasks.h"

#ifdef __x86_64__
enum { PAGES = 48 };
static unsigned char code[PAGES << 12];

static void put(size_t at, const void *bytes, size_t size)
{
    memcpy(code + at, bytes, size);
}
#endif

int main(void)
{
    start();
    long off = 0, sum = 0;
#ifdef __x86_64__
    char name[] = "/dev/shm/split.XXXXXX";
    int file = mkstemp(name);
    MUST(file >= 0 && unlink(name) == 0);
    memset(code, 0xcc, sizeof code);
    for (size_t gap = 0; gap < 12; gap++) {
        size_t first = 0x1000 + gap * 0x4000, callee = first + 0x2000;
        // 8 bytes up to the end of a page; then mov %rsp,%rcx; call; mov %rcx,%rax; sub %rsp,%rax; mov %rcx,%rsp; ret
        put(first - 8, "\x90\x90\x90\x90\x90\x90\x90\x90", 8);
        int distance = (int)(callee - gap - (first + 8));
        put(first, "\x48\x89\xe1\xe8", 4);
        put(first + 4, &distance, 4);
        put(first + 8, "\x48\x89\xc8\x48\x29\xe0\x48\x89\xcc\xc3", 10);
        // inc %edx three times, mov $5,%esi, ret: it ends in the next page, with an instruction that may reach into it
        put(callee - gap, "\xff\xc2\xff\xc2\xff\xc2\xbe\x05\x00\x00\x00\x01\xf2\xc3", 14);
    }
    MUST(write(file, code, sizeof code) == (ssize_t)sizeof code);
    char *at = mmap(NULL, sizeof code, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    MUST(at != MAP_FAILED);
    MUST(madvise(at, sizeof code, MADV_RANDOM) == 0);
    for (size_t gap = 0; gap < 12; gap++) {
        long result, added = 0;
        char *entry = at + 0x1000 + gap * 0x4000 - 8;
        __asm__ volatile("call *%2" : "=a"(result), "+d"(added) : "r"(entry) : "rcx", "rsi", "memory", "cc");
        off += result != 0;
        sum += added;
    }
#endif
    printf("%ld off, %s\n", off, sum == 0 || sum == 12 * 8 ? "sum as it should be" : "another sum");
    return 0;
}
