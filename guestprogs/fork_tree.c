// SPDX-License-Identifier: GPL-2.0-or-later
// Trees of processes: each forks two until the depth is reached; results come back as exit statuses and in shared memory.
#include "tasks.h"

static volatile long *shared;

static int grow(int depth)
{
    __atomic_fetch_add(&shared[0], 1, __ATOMIC_SEQ_CST);
    if (depth == 0)
        return 1;
    int leaves = 0;
    pid_t kids[2];
    for (int i = 0; i < 2; i++) {
        kids[i] = child();
        if (kids[i] == 0)
            _exit(grow(depth - 1));
    }
    for (int i = 0; i < 2; i++) {
        int status = reap(kids[i]);
        MUST(WIFEXITED(status));
        leaves += WEXITSTATUS(status);
    }
    return leaves;
}

int main(int argc, char **argv)
{
    start();
    int depth = argc > 1 ? atoi(argv[1]) : 4;
    shared = (long *)map(1, PROT_READ | PROT_WRITE, MAP_SHARED);
    printf("leaves %d", grow(depth));
    printf(" processes %ld\n", shared[0]);
    // A chain: each process forks the next one and ends with one more than what that one gave.
    pid_t pid = child();
    if (pid == 0) {
        int left = 20;
        while (left-- && (pid = child()) == 0)
            ;
        if (left < 0)
            _exit(0);
        _exit(WEXITSTATUS(reap(pid)) + 1);
    }
    printf("chain %d\n", WEXITSTATUS(reap(pid)));
    // Many, one after another.
    long sum = 0;
    for (int i = 0; i < 100; i++) {
        pid = child();
        if (pid == 0)
            _exit(i % 7);
        sum += WEXITSTATUS(reap(pid));
    }
    printf("one by one %ld\n", sum);
    // Many at once, reaped in any order.
    for (int i = 0; i < 40; i++) {
        pid = child();
        if (pid == 0) {
            for (volatile int spin = 0; spin < i * 100; spin++)
                ;
            _exit(i);
        }
    }
    sum = 0;
    int status, count = 0;
    while (waitpid(-1, &status, 0) > 0)
        sum += WEXITSTATUS(status), count++;
    printf("at once %d %ld errno %d\n", count, sum, errno);
    return 0;
}
