// SPDX-License-Identifier: GPL-2.0-or-later
// Memory-deny-write-execute: which mappings it refuses, that it cannot be taken back, what a child and a new program have.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/prctl.h>

enum { SET_MDWE = 65, GET_MDWE = 66, REFUSE = 1, NO_INHERIT = 2 };
enum { R = PROT_READ, W = PROT_WRITE, X = PROT_EXEC };
#define SHOW(what) printf("%s: %s\n", #what, result_text(what))

static long set(unsigned long bits)
{
    return prctl(SET_MDWE, bits, 0L, 0L, 0L);
}

static long get(void)
{
    return prctl(GET_MDWE, 0L, 0L, 0L, 0L);
}

static char *area(int prot)
{
    return mmap(NULL, 3 * page, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long maps(int prot)
{
    char *at = area(prot);
    return at == MAP_FAILED ? -1 : munmap(at, 3 * page);
}

static long turns(int before, int after)
{
    char *at = area(before);
    if (at == MAP_FAILED)
        return -1;
    long result = mprotect(at + page, page, after);
    int problem = errno;
    munmap(at, 3 * page);
    errno = problem;
    return result;
}

static void refusals(void)
{
    SHOW(maps(R | W));
    SHOW(maps(R | X));
    SHOW(maps(X));
    SHOW(maps(W | X));
    SHOW(maps(R | W | X));
    SHOW(turns(R | W, R));
    SHOW(turns(R, R | W));
    SHOW(turns(R, R | X));
    SHOW(turns(R | W, R | X));
    SHOW(turns(PROT_NONE, X));
    SHOW(turns(R | X, R | X));
    SHOW(turns(R | X, X));
    SHOW(turns(R | X, R | W));
    SHOW(turns(R | X, R | W | X));
    // What came before a refusal stays changed.
    char *a = area(R | X);
    MUST(a != MAP_FAILED && mprotect(a + page, page, R) == 0);
    SHOW(mprotect(a, 3 * page, X));
    SHOW(mprotect(a + 1, page, R | X));
    SHOW(mprotect(a + 3 * page, 0, R | X));
    munmap(a, 3 * page);
}

static void in_child(const char *what, const char *self)
{
    pid_t pid = child();
    if (!pid) {
        printf("%s: a child has %ld\n", what, get());
        fflush(stdout);
        if (self)
            execl(self, self, what, (char *)NULL);
        _exit(0);
    }
    char text[32];
    printf("%s: %s\n", what, how(reap(pid), text, sizeof text));
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1) {
        printf("%s: the program has %ld\n", argv[1], get());
        SHOW(turns(R, R | X));
        return 0;
    }
    SHOW(get());
    SHOW(set(4));
    SHOW(set(REFUSE | 8));
    SHOW(set(NO_INHERIT));
    SHOW(prctl(SET_MDWE, (unsigned long)REFUSE, 1L, 0L, 0L));
    SHOW(prctl(SET_MDWE, (unsigned long)REFUSE, 0L, 0L, 1L));
    SHOW(prctl(GET_MDWE, 1L, 0L, 0L, 0L));
    SHOW(set(0));
    in_child("none", argv[0]);
    pid_t pid = child();
    if (!pid) {
        SHOW(set(REFUSE | NO_INHERIT));
        SHOW(get());
        SHOW(set(REFUSE));
        SHOW(turns(R, R | X));
        in_child("not inherited", argv[0]);
        fflush(stdout);
        execl(argv[0], argv[0], "not inherited, exec", (char *)NULL);
        _exit(1);
    }
    MUST(reap(pid) == 0);
    SHOW(set(REFUSE));
    SHOW(set(REFUSE));
    SHOW(get());
    SHOW(set(0));
    SHOW(set(REFUSE | NO_INHERIT));
    refusals();
    in_child("inherited", argv[0]);
    fflush(stdout);
    execl(argv[0], argv[0], "inherited, exec", (char *)NULL);
    return 1;
}
