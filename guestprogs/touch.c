// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: first touch of anonymous memory. Argument: MiB.
#include "guest.h"

int main(int argc, char **argv)
{
    start();
    size_t size = (size_t)(argc > 1 ? atol(argv[1]) : 16) << 20;
    char *a = fresh(size / page);
    touch(a, size / page, 1);
    printf("%u\n", sum(a, size / page));
    return 0;
}
