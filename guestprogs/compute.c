// SPDX-License-Identifier: GPL-2.0-or-later
// Benchmark of guest code. Arguments: rounds in thousands; "memory" to go through a table in each step, too.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t table[4096];

// Arithmetic and branches in registers: how many steps of the Collatz sequence, and a hash of them.
static uint32_t arithmetic(long rounds)
{
    uint32_t hash = 1;
    for (long i = 1; i <= rounds; i++) {
        uint32_t n = (uint32_t)i * 2654435761u;
        for (int step = 0; step < 10; step++) {
            hash = (hash ^ n) * 16777619u;
            hash ^= hash >> 15;
            hash += (hash << 7) ^ (n >> 3);
            n = n & 1 ? n + (n >> 1) + 1 : n >> 1;
        }
    }
    return hash;
}

static uint32_t memory(long rounds)
{
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
    return total;
}

int main(int argc, char **argv)
{
    long rounds = (argc > 1 ? atol(argv[1]) : 100) * 1000;
    printf("%u\n", argc > 2 ? memory(rounds) : arithmetic(rounds));
    return 0;
}
