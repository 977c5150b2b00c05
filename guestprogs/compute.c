// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark: arithmetic, branches and memory in cache. Argument: rounds in thousands.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t table[4096];

int main(int argc, char **argv)
{
    long rounds = (argc > 1 ? atol(argv[1]) : 100) * 1000;
    uint32_t x = 1, total = 0;
    for (long i = 0; i < rounds; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t at = x >> 20;
        if (table[at] & 1)
            total += table[at] ^ x;
        else
            total -= x >> 7;
        table[at] = total + (uint32_t)i;
        for (int j = 0; j < 8; j++)
            total = (total << 5) + (total >> 2) + table[(at + (uint32_t)j) & 4095];
    }
    printf("%u\n", total);
    return 0;
}
