// SPDX-License-Identifier: GPL-2.0-or-later
// What memory management and scheduling cost on the kernel and the CPU that this runs on. For bench/kernel_costs.py.
// usage: kernel_costs REPEATS | faults. Prints a line "name ns" for each measurement of each repetition, ns an operation.
// Times are those of the thread's CPU clock, so that other processes on a busy host count as little as possible;
// where two tasks take turns (context switch, wake-up, fork) they are pinned and the process's CPU clock is read.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 2048L
static long page;
static int cpus;

static double read_clock(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cpu_time(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static double wall(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static void result(const char *name, double ns)
{
    printf("%s %.2f\n", name, ns);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void unpin(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < cpus; i++)
        CPU_SET(i, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static char *anonymous(long pages, int flags)
{
    char *at = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(at, pages * page, MADV_NOHUGEPAGE);
    return at;
}

static __attribute__((noinline)) void writes(volatile char *at, long pages, long step)
{
    for (long i = 0; i < pages; i += step)
        at[i * page] = 1;
}

static unsigned reads(volatile char *at, long pages, long step)
{
    unsigned total = 0;
    for (long i = 0; i < pages; i += step)
        total += (unsigned char)at[i * page];
    return total;
}

#define TIMED(name, count, ...)                       \
    do {                                              \
        double begin_ = cpu_time();                   \
        __VA_ARGS__;                                  \
        result(name, (cpu_time() - begin_) / (count)); \
    } while (0)

static void faults(void)
{
    char *a = anonymous(PAGES, MAP_PRIVATE);
    TIMED("fault_zero_page", PAGES, reads(a, PAGES, 1));
    TIMED("fault_write_over_zero_page", PAGES, writes(a, PAGES, 1));
    mprotect(a, PAGES * page, PROT_READ);
    mprotect(a, PAGES * page, PROT_READ | PROT_WRITE);
    TIMED("user_touch", PAGES, writes(a, PAGES, 1));
    TIMED("munmap_touched_page", PAGES, munmap(a, PAGES * page));
    a = anonymous(PAGES, MAP_PRIVATE);
    TIMED("fault_anon", PAGES, writes(a, PAGES, 1));
    TIMED("madvise_dontneed_page", PAGES, madvise(a, PAGES * page, MADV_DONTNEED));
    munmap(a, PAGES * page);
    a = anonymous(PAGES, MAP_SHARED);
    TIMED("fault_shmem_new", PAGES, writes(a, PAGES, 1));
    munmap(a, PAGES * page);
}

static void copy_on_write(void)
{
    char *a = anonymous(PAGES, MAP_PRIVATE);
    writes(a, PAGES, 1);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    TIMED("fault_cow", PAGES / 2, writes(a, PAGES, 2)); // half of the pages: the child still has them
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    TIMED("fault_reuse", PAGES / 2, writes(a + page, PAGES - 1, 2)); // ours alone again
    munmap(a, PAGES * page);
}

static void files(void)
{
    char name[] = "/tmp/kernel_costs.XXXXXX";
    int fd = mkstemp(name);
    if (fd < 0 || ftruncate(fd, PAGES * page)) {
        perror(name);
        exit(1);
    }
    unlink(name);
    char *buffer = malloc((size_t)page);
    memset(buffer, 1, (size_t)page);
    for (long i = 0; i < PAGES; i++)
        if (write(fd, buffer, (size_t)page) != page)
            exit(1);
    enum { READ = 64 };
    char *into = anonymous(READ, MAP_PRIVATE);
    memset(into, 1, READ * page);
    TIMED("read_cached_page", PAGES, for (long i = 0; i < PAGES; i += READ)
          if (pread(fd, into, READ * page, i * page) != READ * page) exit(1));
    TIMED("write_cached_page", PAGES, for (long i = 0; i < PAGES; i += READ)
          if (pwrite(fd, into, READ * page, i * page) != READ * page) exit(1));
    munmap(into, READ * page);
    char *a = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fd, 0);
    TIMED("fault_file_read_around16", PAGES / 16, reads(a, PAGES, 16)); // fault-around maps 16 pages at a time
    munmap(a, PAGES * page);
    a = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    TIMED("fault_file_cow", PAGES, writes(a, PAGES, 1));
    munmap(a, PAGES * page);
    a = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TIMED("fault_file_shared", PAGES, writes(a, PAGES, 1));
    munmap(a, PAGES * page);
    free(buffer);
    close(fd);
}

static void calls(void)
{
    enum { N = 3000 };
    TIMED("syscall_null", N, for (int i = 0; i < N; i++) syscall(SYS_getppid));
    struct timespec t;
    TIMED("syscall_clock_gettime", N, for (int i = 0; i < N; i++) syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
    static char *at[N];
    TIMED("mmap", N, for (int i = 0; i < N; i++) at[i] =
          mmap(NULL, 2 * page, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    TIMED("munmap_untouched", N, for (int i = 0; i < N; i++) munmap(at[i], 2 * page));
    char *a = anonymous(1, MAP_PRIVATE);
    a[0] = 1;
    TIMED("mprotect_page", N, for (int i = 0; i < N; i++) mprotect(a, page, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ));
    TIMED("madvise_empty", N, for (int i = 0; i < N; i++) madvise(a, page, MADV_DONTNEED));
    munmap(a, page);
    a = anonymous(3, MAP_PRIVATE);
    TIMED("mprotect_split_merge", N, for (int i = 0; i < N; i++)
          mprotect(a + page, page, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ));
    munmap(a, 3 * page);
    char *end = sbrk(0);
    TIMED("brk", 2 * N, for (int i = 0; i < N; i++) if (brk(end + page) || brk(end)) exit(1));
    int word = 0;
    TIMED("futex_wake_nobody", N, for (int i = 0; i < N; i++) syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1));
    TIMED("futex_wait_eagain", N, for (int i = 0; i < N; i++) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL));
    TIMED("sched_yield_alone", N, for (int i = 0; i < N; i++) sched_yield());
    int ends[2];
    char byte = 0;
    if (pipe(ends))
        exit(1);
    TIMED("pipe_write_read", N, for (int i = 0; i < N; i++)
          if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1) exit(1));
    close(ends[0]);
    close(ends[1]);
}

// What calls take that depends on pages and VMAs: each figure is for one page, or for one VMA.
static void ranges(void)
{
    enum { VMAS = 512, MOVES = 1000 };
    char *a = anonymous(PAGES, MAP_PRIVATE);
    writes(a, PAGES, 1);
    mprotect(a, PAGES * page, PROT_READ);
    TIMED("mprotect_touched_page", PAGES, mprotect(a, PAGES * page, PROT_READ | PROT_WRITE));
    TIMED("mlock_touched_page", PAGES, mlock(a, PAGES * page));
    TIMED("munlock_touched_page", PAGES, munlock(a, PAGES * page));
    static unsigned char core[PAGES];
    TIMED("mincore_page", PAGES, mincore(a, PAGES * page, core));
#ifdef MADV_COLD
    TIMED("madvise_cold_page", PAGES, madvise(a, PAGES * page, MADV_COLD));
#endif
    TIMED("madvise_free_page", PAGES, madvise(a, PAGES * page, MADV_FREE));
    char *b = anonymous(PAGES, MAP_PRIVATE);
    TIMED("mremap_move_touched_page", PAGES, mremap(a, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_FIXED, b));
    munmap(b, PAGES * page);
    a = anonymous(PAGES, MAP_PRIVATE);
    TIMED("madvise_guard_page", PAGES, madvise(a, PAGES * page, 102)); // MADV_GUARD_INSTALL, where it exists
    munmap(a, PAGES * page);
    a = anonymous(1, MAP_PRIVATE);
    b = anonymous(2, MAP_PRIVATE);
    TIMED("mremap_move", MOVES, for (int i = 0; i < MOVES; i++)
          a = mremap(a, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, b + i % 2 * page));
    munmap(b, 2 * page);
    a = anonymous(VMAS, MAP_PRIVATE);
    for (int i = 0; i < VMAS; i += 2) // neighbours that do not merge
        mprotect(a + i * page, page, PROT_READ);
    TIMED("madvise_vma", VMAS, madvise(a, VMAS * page, MADV_DONTNEED));
    TIMED("madvise_flags_vma", VMAS, madvise(a, VMAS * page, MADV_SEQUENTIAL));
    TIMED("mlock_vma", VMAS, mlock2(a, VMAS * page, MLOCK_ONFAULT));
    TIMED("munmap_vma", VMAS, munmap(a, VMAS * page));
}

static void on_signal(int number)
{
    (void)number;
}

static void signals(void)
{
    enum { N = 2000 };
    signal(SIGUSR1, on_signal);
    pid_t self = getpid();
    TIMED("signal_to_self", N, for (int i = 0; i < N; i++) kill(self, SIGUSR1));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct timespec now = {0, 0};
    TIMED("signal_send_take", N, for (int i = 0; i < N; i++) { kill(self, SIGUSR1); sigtimedwait(&set, NULL, &now); });
    TIMED("sigtimedwait_none", N, for (int i = 0; i < N; i++) sigtimedwait(&set, NULL, &now));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void switches(void) // two processes and two pipes on one CPU: half of a round trip has one switch
{
    enum { N = 1500 };
    int to[2], from[2];
    char byte = 0;
    pin(0);
    if (pipe(to) || pipe(from))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        while (read(to[0], &byte, 1) == 1 && write(from[1], &byte, 1) == 1)
            if (byte)
                _exit(0);
        _exit(1);
    }
    struct rusage before, after;
    getrusage(RUSAGE_CHILDREN, &before);
    double begin = cpu_time();
    for (int i = 0; i <= N; i++) {
        byte = i == N;
        if (write(to[1], &byte, 1) != 1 || read(from[0], &byte, 1) != 1)
            exit(1);
    }
    double used = cpu_time() - begin;
    waitpid(child, NULL, 0);
    getrusage(RUSAGE_CHILDREN, &after);
    used += (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec + after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1e9;
    used += (double)(after.ru_stime.tv_usec - before.ru_stime.tv_usec + after.ru_utime.tv_usec - before.ru_utime.tv_usec) * 1e3;
    result("pipe_switch", used / (2.0 * N));
    close(to[0]), close(to[1]), close(from[0]), close(from[1]);
    unpin();
}

static void forks(void)
{
    enum { N = 40 };
    TIMED("fork_small", N, for (int i = 0; i < N; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    });
    char *a = anonymous(PAGES, MAP_PRIVATE);
    writes(a, PAGES, 1);
    TIMED("fork_with_pages", N, for (int i = 0; i < N; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    });
    munmap(a, PAGES * page);
    static char *at[2000];
    for (int i = 0; i < 2000; i++)
        at[i] = mmap(NULL, page, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TIMED("fork_with_vmas", N, for (int i = 0; i < N; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    });
    for (int i = 0; i < 2000; i++)
        munmap(at[i], page);
}

static void *nothing(void *argument)
{
    return argument;
}

static void threads(void)
{
    enum { N = 200 };
    pthread_t id;
    TIMED("pthread_create_join", N, for (int i = 0; i < N; i++) {
        pthread_create(&id, NULL, nothing, NULL);
        pthread_join(id, NULL);
    });
}

static _Alignas(128) atomic_int turn;
static _Alignas(128) atomic_long counter;
static atomic_int stop;
static _Alignas(128) volatile long spins;

static void *bounce(void *argument)
{
    pin(1);
    int rounds = *(int *)argument;
    for (int i = 0; i < rounds; i++) {
        int expected = 1;
        while (!atomic_compare_exchange_weak(&turn, &expected, 0))
            expected = 1;
    }
    return NULL;
}

static void *spin(void *argument)
{
    (void)argument;
    pin(1);
    while (!stop)
        spins++;
    return NULL;
}

/* What a reader does to a lock's line: take it, look about for a moment, and give it back; on two CPUs at once. */
enum reader { ADDS, EXCHANGES, STORES_OWNER, PREFETCHES_ADDS, PREFETCHES_EXCHANGES, READERS };
static _Alignas(128) struct {
    atomic_long count;
    volatile long owner;
} lock;
static _Alignas(128) volatile enum reader reader;
static _Alignas(128) volatile long others; // how often the other one did it

static void read_once(enum reader how, long me)
{
    if (how >= PREFETCHES_ADDS) {
#ifdef __x86_64__
        __asm__ volatile("prefetchw %0" : : "m"(lock.count));
#else
        __builtin_prefetch(&lock.count, 1);
#endif
        for (volatile int i = 0; i < 4; i++)
            ;
    }
    if (how == ADDS || how == PREFETCHES_ADDS) {
        atomic_fetch_add(&lock.count, 256);
    } else {
        long old = lock.count;
        while (!atomic_compare_exchange_weak(&lock.count, &old, old + 256))
            ;
        if (how == STORES_OWNER)
            lock.owner = me;
    }
    for (volatile int i = 0; i < 2; i++)
        ;
    atomic_fetch_sub(&lock.count, 256);
    for (volatile int i = 0; i < 2; i++)
        ;
}

static void *other_reader(void *argument)
{
    pin(1);
    while (!stop) {
        read_once(reader, 2);
        others++;
    }
    return argument;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void hardware(void)
{
    enum { N = 100000 };
    TIMED("atomic_add_own_line", N, for (int i = 0; i < N; i++) atomic_fetch_add(&counter, 1));
    char *two = aligned_alloc((size_t)page, 2 * (size_t)page);
    memset(two, 1, 2 * (size_t)page);
    TIMED("clear_page_in_cache", 2000, for (int i = 0; i < 2000; i++) {
        memset(two, 0, (size_t)page);
        __asm__ volatile("" ::"r"(two) : "memory");
    });
    TIMED("copy_page_in_cache", 2000, for (int i = 0; i < 2000; i++) {
        memcpy(two, two + page, (size_t)page);
        __asm__ volatile("" ::"r"(two) : "memory");
    });
    free(two);
    if (cpus < 2)
        return;
    int rounds = 20000;
    pthread_t id;
    pin(0);
    turn = 0;
    pthread_create(&id, NULL, bounce, &rounds);
    double best = 1e18; // the host may take either CPU away for a while: the best slice of many
    double begin = wall();
    for (int i = 1; i <= rounds; i++) {
        int expected = 0;
        while (!atomic_compare_exchange_weak(&turn, &expected, 1))
            expected = 0;
        if (i % 500 == 0) {
            double end = wall();
            if ((end - begin) / 1000 < best)
                best = (end - begin) / 1000;
            begin = wall();
        }
    }
    pthread_join(id, NULL);
    result("line_transfer", best);
    static const char *const readers[] = {
        "reader_adds", "reader_exchanges", "reader_stores_owner", "reader_prefetches_adds",
        "reader_prefetches_exchanges",
    };
    enum { SLICES = 400, OPERATIONS = 1500 };
    static double slices[READERS][SLICES];
    stop = 0;
    pthread_create(&id, NULL, other_reader, NULL);
    for (int slice = 0; slice < SLICES; slice++) { // in turn: the host may move the CPUs apart
        for (enum reader how = ADDS; how < READERS; how++) {
            reader = how;
            for (long seen = others; others < seen + 100;)
                read_once(how, 1);
            long before = others;
            begin = wall();
            for (int i = 0; i < OPERATIONS; i++)
                read_once(how, 1);
            slices[how][slice] = 2 * (wall() - begin) / (double)(OPERATIONS + others - before);
        }
    }
    stop = 1;
    pthread_join(id, NULL);
    for (enum reader how = ADDS; how < READERS; how++) {
        qsort(slices[how], SLICES, sizeof(double), by_value);
        result(readers[how], slices[how][SLICES / 2]);
    }
    char *a = anonymous(1, MAP_PRIVATE);
    static double samples[2][2000];
    for (int with = 0; with < 2; with++) {
        stop = 0;
        if (with)
            pthread_create(&id, NULL, spin, NULL);
        for (int i = 0; i < 2000; i++) {
            a[0] = 1;
            long before = spins;
            while (with && spins == before) // the other CPU must run our thread, or it needs no interrupt
                ;
            begin = wall();
            madvise(a, (size_t)page, MADV_DONTNEED);
            samples[with][i] = wall() - begin;
        }
        stop = 1;
        if (with)
            pthread_join(id, NULL);
        qsort(samples[with], 2000, sizeof(double), by_value);
    }
    result("tlb_shootdown_one_cpu", samples[1][1000] - samples[0][1000]);
    munmap(a, (size_t)page);
    unpin();
}

static void only_faults(void) // for a profiler
{
    for (int i = 0; i < 400; i++) {
        char *a = anonymous(PAGES, MAP_PRIVATE);
        writes(a, PAGES, 1);
        munmap(a, PAGES * page);
    }
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? atoi(argv[1]) : 5;
    page = sysconf(_SC_PAGESIZE);
    cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (argc > 1 && strcmp(argv[1], "faults") == 0) {
        only_faults();
        return 0;
    }
    for (int i = 0; i < repeats; i++) {
        faults();
        copy_on_write();
        files();
        calls();
        ranges();
        signals();
        switches();
        forks();
        threads();
        hardware();
        fflush(stdout);
    }
    return 0;
}
