// SPDX-License-Identifier: GPL-2.0-or-later
// The smallest program that prints.
#include <stdio.h>

int main(int argc, char **argv)
{
    (void)argv;
    printf("hello %d\n", argc);
    return 0;
}
