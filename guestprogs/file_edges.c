// SPDX-License-Identifier: GPL-2.0-or-later
// The ends of files: writes of which nothing can be read, pages that are there without content, large folios that are
// mapped, written back and cut as a whole, mappings that read ahead in their own way. The argument is a directory.
#include "guest.h"
#include <linux/falloc.h>
#include <setjmp.h>

#define MUST(it) do { if (!(it)) { printf("failed in line %d\n", __LINE__); exit(1); } } while (0)
static char *unmapped, *text;
static sigjmp_buf back;

static void on_bus(int sig)
{
    siglongjmp(back, sig);
}

static int load(const char *at)
{
    if (sigsetjmp(back, 1))
        return -1;
    return *(const volatile char *)at;
}

static void store(char *at)
{
    *(volatile char *)at = 'b';
}

static long size_of(int fd)
{
    struct stat st;
    MUST(fstat(fd, &st) == 0);
    return (long)st.st_size;
}

static void residency(const char *what, char *at, int pages)
{
    unsigned char vector[16];
    MUST(mincore(at, pages * page, vector) == 0);
    printf("%s:", what);
    for (int i = 0; i < pages; i++)
        printf(" %d", vector[i] & 1);
    printf("\n");
}

/* A write that fails lets the file reach up to where it would have begun. */
static void short_writes(int fd)
{
    MUST(ftruncate(fd, 0) == 0);
    MUST(write(fd, text, 100) == 100);
    printf("nothing read %d, then %ld\n", err(pwrite(fd, unmapped, 300, 3 * page + 70)), size_of(fd));
    printf("half of it %ld, then %ld\n", (long)pwrite(fd, unmapped - 40, 300, 5 * page), size_of(fd));
    char *m = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    residency("cached", m, 8);
    printf("%d %d %d\n", load(m + 3 * page), load(m + 5 * page), load(m + 6 * page));
    munmap(m, 8 * page);
    // The source is the page that the write itself makes.
    MUST(ftruncate(fd, 0) == 0);
    m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("from its own page %ld\n", (long)pwrite(fd, m, 10, page));
    munmap(m, 2 * page);
}

static void read_around(int fd)
{
    static const int advice[] = { MADV_NORMAL, MADV_SEQUENTIAL, MADV_NORMAL, MADV_RANDOM };
    for (int i = 0; i < 4; i++) {
        MUST(ftruncate(fd, 0) == 0 && ftruncate(fd, 40 * page) == 0);
        char *m = mmap(NULL, 30 * page, i == 2 ? PROT_READ | PROT_EXEC : PROT_READ, MAP_PRIVATE, fd, 5 * page);
        MUST(madvise(m, 30 * page, advice[i]) == 0);
        load(m + 20 * page);
        load(m + 2 * page);
        load(m + 29 * page);
        munmap(m, 30 * page);
        m = mmap(NULL, 40 * page, PROT_READ, MAP_PRIVATE, fd, 0);
        load(m + 38 * page);
        load(m + page);
        munmap(m, 40 * page);
    }
    // A file that grows from within a page has that page, and nothing in it.
    MUST(ftruncate(fd, 0) == 0 && ftruncate(fd, 5 * page + 10) == 0 && ftruncate(fd, 9 * page) == 0);
    char *m = mmap(NULL, 9 * page, PROT_READ, MAP_SHARED, fd, 0);
    load(m + page);
    load(m + 5 * page);
    residency("grown", m, 9);
    munmap(m, 9 * page);
}

static void folios(int fd)
{
    MUST(ftruncate(fd, 0) == 0);
    MUST(pwrite(fd, text, 4 * page, 0) == (ssize_t)(4 * page));
    char *m = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    store(m + 2 * page);
    store(m + page);
    MUST(msync(m + 3 * page, page, MS_SYNC) == 0);
    store(m);
    store(m + 3 * page);
    MUST(ftruncate(fd, 3 * page + 9) == 0);
    printf("%d %d %d\n", load(m), load(m + 3 * page), load(m + 4 * page));
    MUST(ftruncate(fd, 0) == 0);
    for (int i = 0; i < 6; i++)
        MUST(pwrite(fd, text, page, i * page) == (ssize_t)page);
    for (int i = 0; i < 6; i++)
        store(m + i * page);
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * page, page) == 0);
    for (int i = 0; i < 6; i++)
        store(m + i * page);
    // Pages that are there already get no larger folio.
    printf("%ld\n", (long)pwrite(fd, unmapped - 2 * page, 3 * page, 3 * page));
    munmap(m, 6 * page);
}

static void allocated(void)
{
    int fd = (int)syscall(SYS_memfd_create, "allocated", 0);
    MUST(fallocate(fd, 0, 0, 5 * page) == 0);
    char *m = mmap(NULL, 6 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), byte;
    residency("allocated", m, 5);
    MUST(pread(fd, &byte, 1, page) == 1);
    load(m + 2 * page);
    MUST(pwrite(fd, "x", 1, 3 * page) == 1);
    residency("used", m, 5);
    printf("%ld %ld\n", (long)lseek(fd, 0, SEEK_DATA) / (long)page, (long)lseek(fd, 2 * page, SEEK_HOLE) / (long)page);
    load(m);
    load(m + 3 * page);
    load(m + 4 * page);
    short_writes(fd);
    close(fd);
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    signal(SIGBUS, on_bus);
    text = fresh(4);
    memset(text, 'a', 4 * page);
    unmapped = fresh(4);
    touch(unmapped, 3, 'c');
    munmap(unmapped + 3 * page, page);
    unmapped += 3 * page;
    char name[300];
    snprintf(name, sizeof name, "%s/edges", argv[1]);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0);
    short_writes(fd);
    read_around(fd);
    folios(fd);
    allocated();
    return 0;
}
