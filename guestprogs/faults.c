// SPDX-License-Identifier: GPL-2.0-or-later
// A dozen kinds of page fault, each once or a few times.
#include "guest.h"
#include <setjmp.h>

static sigjmp_buf back;
static char zeroes[3 * 65536];
static char data[2 * 65536] = {1};

static void caught(int signo, siginfo_t *info, void *context)
{
    (void)context;
    siglongjmp(back, signo * 100 + info->si_code);
}

static int __attribute__((noinline)) deep(int levels)
{
    volatile char frame[3000];
    frame[0] = (char)levels;
    return levels ? deep(levels - 1) + frame[0] : 0;
}

int main(int argc, char **argv)
{
    start();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);

    char *anon = fresh(8);
    touch(anon, 4, 1);
    printf("anonymous write: %u\n", sum(anon, 4));
    printf("zero page: %u\n", sum(anon + 4 * page, 4));
    touch(anon + 4 * page, 4, 2);
    printf("written after the zero page: %u\n", sum(anon + 4 * page, 4));
    zeroes[page] = 3;
    data[page] = 4;
    printf("bss and data: %d\n", zeroes[page] + data[page] + data[0]);

    int fd = open("/proc/self/exe", O_RDONLY);
    char *file = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    printf("private file read: %.3s\n", file + 1);
    file[0] = 'x';
    printf("private file copied on write: %.4s\n", file);
    file[page] = 'y';
    printf("private file written first: %c\n", file[page]);

    char *shared = map(4, PROT_READ | PROT_WRITE, MAP_SHARED);
    printf("shared read: %u\n", sum(shared, 2));
    touch(shared, 4, 5);
    printf("shared write: %u\n", sum(shared, 4));

    mprotect(anon, 2 * page, PROT_READ);
    mprotect(anon, 2 * page, PROT_READ | PROT_WRITE);
    touch(anon, 2, 6);
    printf("made writable again: %u\n", sum(anon, 2));
    madvise(anon, 4 * page, MADV_DONTNEED);
    printf("dropped: %u\n", sum(anon, 4));

    printf("stack: %d\n", deep(100));
    lseek(fd, 0, SEEK_SET);
    char *buffer = fresh(2);
    printf("read by the kernel: %d\n", (int)read(fd, buffer, 2 * page) > 0);

    int how;
    munmap(anon, page);
    if ((how = sigsetjmp(back, 1)) == 0)
        *(volatile char *)anon = 1;
    printf("unmapped: %d\n", how);
    mprotect(anon + page, page, PROT_NONE);
    if ((how = sigsetjmp(back, 1)) == 0)
        anon[page] = 1;
    printf("forbidden: %d\n", how);
    char *beyond = mmap(NULL, 1024 * page, PROT_READ, MAP_SHARED, fd, 0);
    if ((how = sigsetjmp(back, 1)) == 0)
        printf("%d", *(volatile char *)(beyond + 1023 * page));
    printf("beyond the end of the file: %d\n", how);
    return argc > 1 ? atoi(argv[1]) : 0;
}
