// SPDX-License-Identifier: GPL-2.0-or-later
// Forks children one after another, each of which writes to some pages and ends. usage: forks [COUNT]
#include "guest.h"
#include <sys/wait.h>

int main(int argc, char **argv)
{
    start();
    int count = argc > 1 ? atoi(argv[1]) : 10;
    enum { PAGES = 256, WRITTEN = 16 };
    char *memory = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    for (int i = 0; i < PAGES; i++)
        memory[(size_t)i * page] = 1;
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (int j = 0; j < WRITTEN; j++)
                memory[(size_t)j * page] = 2;
            _exit(i & 127);
        }
        int status = 0;
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != (i & 127) || memory[0] != 1)
            return 1;
    }
    printf("forks %d\n", count);
    return 0;
}
