// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: getppid again and again. Argument: how often.
#include "guest.h"

int main(int argc, char **argv)
{
    start();
    long count = argc > 1 ? atol(argv[1]) : 10000, total = 0;
    for (long i = 0; i < count; i++)
        total += syscall(SYS_getppid) > 0;
    printf("%ld\n", total);
    return 0;
}
