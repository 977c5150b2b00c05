// SPDX-License-Identifier: GPL-2.0-or-later
// Anonymous memory: first touch by reads and by writes, in order and out of order, and heaps of malloc.
#include "guest.h"

int main(void)
{
    start();
    char *a = fresh(64);
    for (int i = 0; i < 64; i++)
        a[(i * 37 % 64) * page + 5] = (char)i;
    printf("writes %u\n", sum(a, 64));
    char *b = fresh(64);
    printf("reads %u\n", sum(b, 64));
    touch(b, 64, 1);
    printf("writes after reads %u\n", sum(b, 64));
    char *c = map(16, PROT_READ, MAP_PRIVATE);
    printf("read-only %u\n", sum(c, 16));
    mprotect(c, 16 * page, PROT_READ | PROT_WRITE);
    touch(c, 16, 2);
    printf("then writable %u\n", sum(c, 16));
    char *small[40];
    for (int i = 0; i < 40; i++) {
        small[i] = malloc((size_t)(i + 1) * 700);
        memset(small[i], i, (size_t)(i + 1) * 700);
    }
    unsigned total = 0;
    for (int i = 0; i < 40; i++) {
        total += (unsigned char)small[i][i * 700];
        if (i % 3)
            free(small[i]);
    }
    char *big = malloc(900000);
    memset(big, 7, 900000);
    big = realloc(big, 2500000);
    total += (unsigned char)big[899999];
    free(big);
    printf("malloc %u\n", total);
    munmap(a, 64 * page);
    munmap(b + 16 * page, 16 * page);
    printf("left %u\n", sum(b, 16) + sum(b + 32 * page, 32));
    return 0;
}
