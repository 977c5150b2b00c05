// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: first touch of anonymous memory. Arguments: MiB, and how often to read a word of every page again.
#include "guest.h"

int main(int argc, char **argv)
{
    start();
    size_t size = (size_t)(argc > 1 ? atol(argv[1]) : 16) << 20;
    long again = argc > 2 ? atol(argv[2]) : 1;
    char *a = fresh(size / page);
    touch(a, size / page, 1);
    unsigned total = 0;
    for (long i = 0; i < again; i++)
        total += sum(a, size / page);
    printf("%u\n", total);
    return 0;
}
