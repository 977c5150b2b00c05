// SPDX-License-Identifier: GPL-2.0-or-later
// any_calls [SEED [ROUNDS [FIRST [LAST]]]]: each system call with arguments from a bag of bad and good ones, each time in a
// child of its own that may not live long. Not for a real machine. Prints how many children ended in which way.
#include "tasks.h"
#include <fcntl.h>
#include <sys/mman.h>

static unsigned long long state;
static char *good, *none, *edge;

static unsigned pick(unsigned bound)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % bound;
}

static long argument(void)
{
    static const long numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 64, 100, 4095, 4096, 65536, 0x7fffffff, -1, -2, -100,
                                   0x80000, 0x1000000, -4096, 1L << (sizeof(long) * 8 - 2), 1L << (sizeof(long) * 8 - 1)};
    switch (pick(8)) {
    case 0: return (long)good;
    case 1: return (long)good + 8 * (long)pick(500);
    case 2: return (long)edge - (long)pick(300);
    case 3: return (long)none;
    default: return numbers[pick(sizeof numbers / sizeof *numbers)];
    }
}

static void fill(void)
{
    static const char *const texts[] = {"/", "/dev/null", "/proc/self/maps", ".", "/no/such", "any_calls", ""};
    long *words = (long *)good;
    for (size_t i = 0; i < 2 * page / sizeof(long); i++)
        words[i] = pick(2) ? argument() : (long)pick(64);
    if (pick(2))
        strcpy(good, texts[pick(7)]);
}

int main(int argc, char **argv)
{
    start();
    state = (unsigned long long)(argc > 1 ? atol(argv[1]) : 1) * 2654435761u;
    long rounds = argc > 2 ? atol(argv[2]) : 1, first = argc > 3 ? atol(argv[3]) : 0, last = argc > 4 ? atol(argv[4]) : 470;
    good = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge = good + 2 * page;
    MUST(munmap(edge, page) == 0);
    none = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long ended = 0, killed = 0, late = 0;
    for (long round = 0; round < rounds; round++) {
        for (long number = first; number <= last; number++) {
            long a[6];
            for (int i = 0; i < 6; i++)
                a[i] = argument();
            fill();
            if (number == SYS_kill && (int)a[0] <= 0)
                continue;
            pid_t pid = child();
            if (pid == 0) {
                int fds[2];
                setpgid(0, 0);
                MUST(pipe(fds) == 0 && open("/proc/self/exe", O_RDONLY) >= 0 && open("/", O_RDONLY) >= 0);
                syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
                syscall(SYS_exit_group, 0);
            }
            int status = 0;
            pid_t got = 0;
            for (int wait = 0; wait < 20 && (got = waitpid(pid, &status, WNOHANG)) == 0; wait++)
                nanosleep(&(struct timespec){0, 1000000}, NULL);
            if (got == 0) {
                late++;
                kill(-pid, SIGKILL);
                kill(pid, SIGKILL);
                reap(pid);
            } else if (WIFEXITED(status)) {
                ended++;
            } else {
                killed++;
            }
        }
    }
    printf("ended %d, killed %d, late %d\n", ended > 0, killed >= 0, late >= 0);
    fprintf(stderr, "%ld ended, %ld killed, %ld late\n", ended, killed, late);
    return 0;
}
