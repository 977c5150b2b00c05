// SPDX-License-Identifier: GPL-2.0-or-later
// Protection keys: memory that may be executed only, keys that a program asks for, what a thread may do with them, what
// a signal handler finds, and accesses by the kernel. Ends at once on a CPU without keys.
#include "guest.h"
#include <setjmp.h>
#include <sys/wait.h>
#include <ucontext.h>

enum { DISABLE_ACCESS = 1, DISABLE_WRITE = 2 };
static sigjmp_buf back;
static char *area;

#ifdef __x86_64__
static unsigned rdpkru(unsigned which)
{
    unsigned value;
    __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(value) : "c"(which) : "rdx");
    return value;
}

static void wrpkru(unsigned value, unsigned high)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(value), "c"(0), "d"(high) : "memory");
}

static long error_of(ucontext_t *context)
{
    return context->uc_mcontext.gregs[19]; // REG_ERR
}
#else
static unsigned rdpkru(unsigned which) { return which; }
static void wrpkru(unsigned value, unsigned high) { (void)value, (void)high; }
static long error_of(ucontext_t *context) { return context != NULL; }
#endif

static long alloc(unsigned long flags, unsigned long rights) { return syscall(SYS_pkey_alloc, flags, rights); }
static long give_back(int key) { return syscall(SYS_pkey_free, key); }
static long protect(char *from, size_t pages, int prot, int key)
{
    return syscall(SYS_pkey_mprotect, from, pages * page, prot, key);
}

/* What a key forbids this thread, the others left alone. */
static void set(int key, unsigned rights)
{
    wrpkru((rdpkru(0) & ~(3u << 2 * key)) | rights << 2 * key, 0);
}

static void refused(int signo, siginfo_t *info, void *context)
{
    unsigned key;
    memcpy(&key, (char *)info + 32, sizeof key); // si_pkey
    printf(" signal %d code %d error %lx in the handler %x", signo, info->si_code, error_of(context), rdpkru(0));
    if (info->si_code == 4)
        printf(" key %u at %ld", key, (long)((char *)info->si_addr - area));
    siglongjmp(back, 1);
}

#define TRY(what)                      \
    do {                               \
        printf("%s:", #what);          \
        if (sigsetjmp(back, 1) == 0) { \
            what;                      \
            printf(" done");           \
        }                              \
        printf(" %x\n", rdpkru(0));    \
    } while (0)

static void told(const char *what, long result)
{
    printf("%s %ld %d\n", what, result, err(result));
}

static void execute_only(volatile char *at)
{
    at[0] = 1;
    told("execute only", mprotect(area, 2 * page, PROT_EXEC));
    TRY(at[0]);
    TRY(at[0] = 1);
    TRY(at[page]);
    TRY(at[page] = 1);
    int ends[2];
    told("pipe", pipe(ends));
    told("write from it", write(ends[1], area, 1));
    told("write", write(ends[1], "x", 1));
    told("read into it", read(ends[0], area, 1));
    told("mlock", mlock(area, 2 * page));
    told("populate", madvise(area, 2 * page, 22)); // MADV_POPULATE_READ
    told("its key for another", protect(area, 1, PROT_READ, 1));
    told("give its key back", give_back(1));
    told("readable again", mprotect(area, page, PROT_READ));
    TRY(at[0]);
    char *more = map(1, PROT_EXEC, MAP_PRIVATE);
    TRY((void)*(volatile char *)more);
}

static void asked_for(volatile char *at)
{
    told("flags", alloc(1, 0));
    told("rights", alloc(0, 8));
    told("key 0", give_back(0));
    told("key 0 again", alloc(0, 0));
    told("unknown", protect(area, 1, PROT_READ, 9));
    told("too large", protect(area, 1, PROT_READ, 16));
    int key = (int)alloc(0, DISABLE_ACCESS);
    told("key", key);
    told("protect", protect(area + 2 * page, 2, PROT_READ | PROT_WRITE, key));
    TRY(at[2 * page]);
    TRY(at[2 * page] = 1);
    set(key, DISABLE_WRITE);
    TRY(at[2 * page]);
    TRY(at[2 * page] = 1);
    set(key, 0);
    TRY(at[2 * page] = 1);
    set(key, DISABLE_WRITE);
    TRY(at[2 * page] = 1);
    TRY(at[2 * page]);
    told("mprotect keeps the key", mprotect(area + 2 * page, page, PROT_READ));
    set(key, DISABLE_WRITE);
    TRY(at[2 * page] = 1);
    told("no key named", protect(area + 2 * page, 1, PROT_READ | PROT_WRITE, -1));
    TRY(at[2 * page] = 1);
    told("key 0 instead", protect(area + 2 * page, 1, PROT_READ | PROT_WRITE, 0));
    TRY(at[2 * page] = 1);
    set(key, DISABLE_ACCESS);
    pid_t pid = fork();
    if (pid == 0) {
        TRY(at[3 * page]);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    told("give back", give_back(key));
    told("twice", give_back(key));
    TRY(at[3 * page]); // the memory keeps it
    int count = 0;
    while (alloc(0, 0) >= 0)
        count++;
    printf("%d more, then %d\n", count, errno);
}

/* A handler that is left by its end gets the rights back that it interrupted. */
static void open_in_frame(int signo, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    printf("handler %d %x\n", signo, rdpkru(0));
    wrpkru(0, 0);
}

int main(void)
{
    start();
    struct sigaction act = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &act, NULL);
    int first = (int)alloc(0, 0);
    if (first < 0) {
        puts("no protection keys");
        return 0;
    }
    told("first", first);
    told("free", give_back(first));
    area = fresh(8);
    execute_only(area);
    asked_for(area);
    TRY(rdpkru(1));
    TRY(wrpkru(0, 1));
    act.sa_sigaction = open_in_frame;
    sigaction(SIGUSR1, &act, NULL);
    wrpkru(0x55555550, 0);
    raise(SIGUSR1);
    printf("after %x\n", rdpkru(0));
    return 0;
}
