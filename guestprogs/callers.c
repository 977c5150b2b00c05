// SPDX-License-Identifier: GPL-2.0-or-later
// Faults at the end of known paths of calls: from a leaf, from a recursion, from a signal handler, and by the kernel in a
// system call. Prints nothing.
#include "guest.h"

#define NOINLINE __attribute__((noinline))
#define PAGES 64

static volatile char *area;
static volatile int sink;

NOINLINE void leaf(volatile char *at) { *at = 1; }

NOINLINE int middle(int page) {
    leaf(area + page * 4096L);
    return sink + 1;
}

NOINLINE int outer(int first, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += middle(first + i);
    return sum + sink;
}

NOINLINE int recurse(int depth) {
    if (depth == 0) return middle(20);
    return recurse(depth - 1) + sink + 1;
}

NOINLINE void from_handler(void) {
    leaf(area + 30 * 4096L);
    sink = 0;
}

static void handler(int signal) {
    (void)signal;
    from_handler();
    sink = 0;
}

NOINLINE void interrupted(void) {
    *(volatile char *)(area + PAGES * 4096L);  // a page without access: SIGSEGV
    sink = 0;
}

static void allow(int signal) {
    (void)signal;
    from_handler();
    mprotect((char *)area + PAGES * 4096L, 4096, PROT_READ | PROT_WRITE);
    sink = 0;
}

NOINLINE int in_kernel(int fd) {
    int got = read(fd, (char *)area + 40 * 4096L, 16);
    return got + sink;
}

int main(void) {
    char *base = mmap(0, (PAGES + 1) * 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return 1;
    area = base;
    mprotect(base + PAGES * 4096L, 4096, PROT_NONE);
    sink += outer(0, 10) - 10;
    sink += recurse(5) - 6;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, 0);
    action.sa_handler = allow;
    sigaction(SIGSEGV, &action, 0);
    raise(SIGUSR1);
    area = base;
    interrupted();
    int ends[2];
    if (pipe(ends) || write(ends[1], "0123456789abcdef", 16) != 16) return 2;
    return in_kernel(ends[0]) == 16 ? 0 : 3;
}
