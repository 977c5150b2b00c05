/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which faults a process is told of, as minor and as major ones: not those that fail; those of mlock and of
 * process_vm_readv too; major only the one that waited. And flags of smaps. Argument: a directory to write to. */
#include "guest.h"
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/wait.h>

static sigjmp_buf back;

static void caught(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static long last_minor, last_major;

static void count(const char *what)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (what)
        printf("%s: minor %ld, major %ld\n", what, usage.ru_minflt - last_minor, usage.ru_majflt - last_major);
    getrusage(RUSAGE_SELF, &usage);
    last_minor = usage.ru_minflt;
    last_major = usage.ru_majflt;
}

static void poke(const char *what, volatile char *at)
{
    for (int i = what ? 1 : 0; i < 2; i++) { /* without a name: the frame of the signal is new to the stack */
        count(NULL);
        if (sigsetjmp(back, 1) == 0)
            (void)*at;
    }
    count(what);
}

static void flags_of(const char *what, void *at)
{
    char line[256];
    int here = 0;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, smaps)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start == (unsigned long)at;
        if (here && strncmp(line, "VmFlags:", 8) == 0)
            printf("%s: %s", what, line);
    }
    fclose(smaps);
}

static void children(const char *name)
{
    struct rusage usage;
    int status;
    pid_t child = fork();
    if (child == 0) {
        int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        ftruncate(file, 4 * page);
        _exit(*(char *)mmap(NULL, page, PROT_READ, MAP_SHARED, file, 0));
    }
    wait4(child, &status, 0, &usage);
    printf("child %d: major %ld", status, usage.ru_majflt);
    getrusage(RUSAGE_CHILDREN, &usage);
    printf(", of children %ld\n", usage.ru_majflt);
    char text[1024] = "";
    int stat = open("/proc/self/stat", O_RDONLY);
    read(stat, text, sizeof text - 1);
    close(stat);
    unsigned long major, of_children;
    sscanf(text, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %lu %lu", &major, &of_children);
    getrusage(RUSAGE_SELF, &usage);
    printf("stat: major as in rusage %d, of children %lu\n", (long)major == usage.ru_majflt, of_children);
}

int main(int argc, char **argv)
{
    char name[256];
    start();
    snprintf(name, sizeof name, "%s/counts", argc > 1 ? argv[1] : ".");
    struct sigaction action = {.sa_handler = caught};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    count(NULL);
    count("nothing");

    char *none = map(1, PROT_NONE, MAP_PRIVATE);
    poke(NULL, none);
    poke("no rights", none);
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(file, 8 * page);
    char *mapped = mmap(NULL, 16 * page, PROT_READ, MAP_SHARED, file, 0);
    poke("behind the end", mapped + 9 * page);
    poke("not in the cache", mapped + 4 * page);
    poke("in the cache", mapped + 8 * page - 1);
    munmap(mapped, 16 * page);

    ftruncate(file, 0);
    ftruncate(file, 8 * page);
    count(NULL);
    mapped = mmap(NULL, 8 * page, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    count("populated");
    munmap(mapped, 8 * page);
    ftruncate(file, 0);
    ftruncate(file, 8 * page);
    mapped = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    count(NULL);
    printf("populate to write %d\n", err(madvise(mapped, 8 * page, 23)));
    count("populated to write");

    char *memory = fresh(4), copy[64];
    touch(memory, 4, 1);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    struct iovec here = {copy, sizeof copy}, there = {memory + 2 * page - 32, sizeof copy};
    count(NULL);
    ssize_t got = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    count("read what was shared");
    got += process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    count("read what is one's own");
    touch(memory, 2, 2);
    count("written");
    printf("read %zd\n", got);

    syscall(SYS_mlock2, memory, page, 1);
    flags_of("locked on fault", memory);
    char *droppable = mmap(NULL, page, PROT_READ | PROT_WRITE, 8 | MAP_ANONYMOUS, -1, 0);
    flags_of("droppable", droppable);
    children(name);
    return 0;
}
