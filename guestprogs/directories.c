// SPDX-License-Identifier: GPL-2.0-or-later
// Directories that change while they are read, piece by piece: what is removed meanwhile is not missed, nor the rest.
// In a directory that is given as argument, and among the process's own descriptors.
#include "guest.h"
#include <dirent.h>

enum { FILES = 60 };

struct entry {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Reads `size` bytes of entries at a time, and hands each number to `act` before it reads on: how many there were. */
static int each(const char *path, size_t size, void (*act)(int dir, int number))
{
    char buffer[4096];
    int dir = open(path, O_RDONLY | O_DIRECTORY), count = 0;
    long got;
    while ((got = syscall(SYS_getdents64, dir, buffer, size)) > 0) {
        int numbers[256], n = 0;
        for (long at = 0; at < got; at += ((struct entry *)(buffer + at))->reclen) {
            struct entry *found = (struct entry *)(buffer + at);
            if (found->name[0] >= '0' && found->name[0] <= '9')
                numbers[n++] = atoi(found->name);
        }
        qsort(numbers, (size_t)n, sizeof numbers[0], by_value);
        for (int i = 0; i < n; i++)
            act(dir, numbers[i]);
        count += n;
    }
    close(dir);
    return got < 0 ? -errno : count;
}

static void nothing(int dir, int number) { (void)dir, (void)number; }

static void removed(int dir, int number)
{
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    if (unlinkat(dir, name, 0))
        printf("unlink %s: %d\n", name, errno);
}

static int first_dup;

static void closed(int dir, int number)
{
    if (number >= first_dup && number != dir)
        close(number);
}

static void in(const char *where)
{
    char path[4200];
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%d", where, i);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    printf("all %d\n", each(where, 300, nothing));
    printf("removed %d\n", each(where, 300, removed));
    printf("left %d rmdir %d\n", each(where, 300, nothing), err(rmdir(where)));
    printf("too small %d\n", each("/proc/self/fd", 10, nothing));
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1) {
        char path[4200];
        snprintf(path, sizeof path, "%s/many", argv[1]);
        printf("mkdir %d\n", err(mkdir(path, 0700)));
        in(path);
    }
    first_dup = dup(1);
    for (int i = 1; i < FILES; i++)
        dup(1);
    each("/proc/self/fd", 200, closed);
    int open_ones = 0;
    for (int fd = first_dup; fd < first_dup + FILES; fd++)
        open_ones += fcntl(fd, F_GETFD) >= 0;
    printf("open %d\n", open_ones);
    return 0;
}
