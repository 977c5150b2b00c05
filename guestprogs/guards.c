// SPDX-License-Identifier: GPL-2.0-or-later
// What outlives what: guard markers and MADV_DONTNEED, private copies and a hole in their file; then a fault that
// nobody handles.
#include "guest.h"
#include <setjmp.h>

#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
#define POPULATE_WRITE 23

static sigjmp_buf back;

static void caught(int signo, siginfo_t *info, void *context)
{
    (void)context;
    siglongjmp(back, signo * 100 + info->si_code);
}

static int store(char *at)
{
    int how = sigsetjmp(back, 1);
    if (!how)
        *(volatile char *)at = 1;
    return how;
}

/* Signal frames have another size on each CPU: none of them is the first to touch its page. */
static void __attribute__((noinline)) touch_stack(void)
{
    char below[16384];
    memset(below, 1, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

int main(void)
{
    start();
    touch_stack();
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    char *a = fresh(16);
    touch(a, 16, 1);
    printf("install %d\n", err(madvise(a + 4 * page, 4 * page, GUARD_INSTALL)));
    printf("store %d %d\n", store(a + 4 * page), store(a + 8 * page));
    printf("dontneed %d\n", err(madvise(a, 16 * page, MADV_DONTNEED)));
    printf("store %d %d\n", store(a + 7 * page), store(a + 3 * page));
    printf("populate %d\n", err(madvise(a, 16 * page, POPULATE_WRITE)));
    printf("remove %d %d\n", err(madvise(a + 6 * page, 8 * page, GUARD_REMOVE)), store(a + 6 * page));
    char *b = fresh(4);
    printf("without pages %d %d\n", err(madvise(b + page, page, GUARD_INSTALL)), store(b + page));
    char *again = mmap(b, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("mapped afresh %d\n", store(again + page));

    int fd = (int)syscall(SYS_memfd_create, "guards", 0);
    if (ftruncate(fd, 8 * (long)page))
        return 1;
    char *s = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *p = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    touch(s, 8, 3);
    touch(p, 4, 5);
    printf("before %u %u\n", sum(s, 8), sum(p, 8));
    printf("hole %d\n", err(fallocate(fd, 3, 2 * (long)page, 4 * (long)page)));
    printf("after %u %u\n", sum(s, 8), sum(p, 8));
    printf("cut %d\n", err(ftruncate(fd, 0)));
    printf("grown %d\n", err(ftruncate(fd, 8 * (long)page)));
    printf("after %u %u\n", sum(s, 8), sum(p, 8));
    volatile long double third = 1;
    third /= 3;
    printf("long double %d\n", (double)third == 1 / 3.0);
    printf("huge %d\n", failed(map(512, PROT_READ, MAP_PRIVATE | MAP_HUGETLB)) == ENOMEM);
    char *low = mmap((void *)page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("low %d\n", (uintptr_t)low >= 0x10000);

    signal(SIGSEGV, SIG_DFL);
    *(volatile char *)(a + 5 * page) = 1;
    return 0;
}
