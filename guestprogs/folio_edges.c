// SPDX-License-Identifier: GPL-2.0-or-later
// Where folios of the page cache begin and end, and what that does to faults: how large a write makes them, which of
// their buffers are dirty, which pages around a fault are mapped. The argument is a directory to work in.
#include "guest.h"
#include <linux/falloc.h>
#include <sys/sendfile.h>

#define MUST(it) do { if (!(it)) { printf("failed in line %d\n", __LINE__); exit(1); } } while (0)
#define TABLE (4L << 20) // memory that a page table maps: no architecture has more
static int fd;
static char *text, name[300];
static long used;

static void fresh_file(int pages)
{
    if (fd > 0)
        close(fd);
    unlink(name);
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fd > 0 && (pages == 0 || write(fd, text, pages * page) == (ssize_t)(pages * page)));
}

static char *map_file(size_t pages, int prot, int flags)
{
    char *m = mmap(NULL, pages * page, prot, flags, fd, 0);
    MUST(m != MAP_FAILED);
    return m;
}

static void load(char *m, int first, int end, int step)
{
    for (int i = first; i != end; i += step)
        used += ((volatile char *)m)[i * (long)page];
}

// The first try to copy a piece of a write stops where memory is not there, and the more often it does the smaller the
// pieces become. A folio that has no content yet takes nothing of a copy that stops within.
static void copies_that_stop(void)
{
    for (int there = 0; there < 6; there += 2) {
        fresh_file(0);
        for (int i = 0; i < 6; i++)
            MUST(write(fd, text, page) == (ssize_t)page);
        char *source = fresh(70);
        touch(source + 8 * page, there, 'a');
        MUST(pwrite(fd, source, 69 * page + 100, 0) == (ssize_t)(69 * page + 100));
        char *m = map_file(70, PROT_READ, MAP_SHARED);
        load(m, 0, 70, 1);
        munmap(m, 70 * page);
    }
    printf("copied %ld\n", used);
}

// Who unmaps a page that was written through the mapping makes all buffers of its folio dirty: then it stays whole.
static void dirty_when_unmapped(void)
{
    for (int write = 0; write < 2; write++) {
        fresh_file(40);
        char *m = map_file(40, PROT_READ | PROT_WRITE, MAP_SHARED);
        if (write)
            touch(m, 40, 'b');
        MUST(ftruncate(fd, 34 * (off_t)page) == 0);
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 30 * (off_t)page, 20 * (off_t)page) == 0);
        load(m, 33, 29, -1);
        munmap(m, 40 * page);
    }

    // A hole over the end of the file takes all of the last page.
    fresh_file(20);
    char *m = map_file(20, PROT_READ, MAP_SHARED);
    MUST(ftruncate(fd, 17 * (off_t)page + 100) == 0);
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 12 * (off_t)page, 5 * (off_t)page + 200) == 0);
    load(m, 17, 11, -1);
    munmap(m, 20 * page);
    printf("punched %ld\n", used);
}

// A range of zeros that makes the file longer: the pages of its ends exist, and have no content.
static void zeros_behind_the_end(void)
{
    fresh_file(0);
    MUST(fallocate(fd, FALLOC_FL_ZERO_RANGE, 6 * page + 1, 48 * page) == 0);
    char *m = map_file(54, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    for (int i = 0; i < 54; i += 2)
        m[i * (long)page] = 1;
    munmap(m, 54 * page);

    // What was the last page of the file goes with the range, unless that is of whole pages: then it is made once more.
    for (int part = 0; part < 200; part += 100) {
        fresh_file(0);
        MUST(write(fd, text, 4 * page - 100) == (ssize_t)(4 * page - 100));
        MUST(fallocate(fd, FALLOC_FL_ZERO_RANGE, page + part, 40 * page) == 0);
        m = map_file(41, PROT_READ, MAP_PRIVATE);
        load(m, 0, 41, 1);
        munmap(m, 41 * page);
    }

    // The file does not reach them yet: a write finds its folio in the way.
    fresh_file(0);
    MUST(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 2 * page + 7, 48 * page) == 0);
    MUST(pwrite(fd, text, 64 * page, 100) == (ssize_t)(64 * page));
    m = map_file(65, PROT_READ, MAP_SHARED);
    load(m, 0, 65, 1);
    munmap(m, 65 * page);
    printf("zeros %ld\n", used);
}

// Where no page table is, a fault maps one page alone when the folio at the begin of its window reaches over the end of the file.
static void no_page_table(void)
{
    for (int whole = 0; whole < 2; whole++) {
        fresh_file(32);
        MUST(whole || ftruncate(fd, 20 * (off_t)page) == 0);
        char *place = mmap(NULL, 3 * TABLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST(place != MAP_FAILED);
        char *at = (char *)(((uintptr_t)place + TABLE - 1) / TABLE * TABLE);
        MUST(munmap(place, 3 * TABLE) == 0);
        MUST(mmap(at, 20 * page, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == at);
        load(at, 5, -1, -1);
        load(at, 6, 20, 1);
        munmap(at, 20 * page);
    }
    printf("alone %ld\n", used);
}

// Advice about a part of a folio takes it apart, where its buffers are clean; about all of it, it leaves the cache.
static void paged_out(void)
{
    for (int step = 0; step < 4; step++) {
        fresh_file(16);
        MUST(step == 0 || fsync(fd) == 0);
        char *m = map_file(16, PROT_READ | PROT_WRITE, MAP_SHARED);
        load(m, 0, 16, 1);
        int advice = step == 2 ? MADV_COLD : MADV_PAGEOUT;
        MUST(madvise(m + (step < 3 ? 2 * page : 0), (step < 3 ? 6 : 16) * page, advice) == 0);
        load(m, 15, -1, -1);
        m[4 * page] = 1;
        munmap(m, 16 * page);
    }
    printf("paged out %ld\n", used);
}

// Who replaces a file, by emptying it or with another one, has its new content written: then its buffers are clean.
static void replaced(void)
{
    char other[310];
    snprintf(other, sizeof other, "%s.other", name);
    for (int way = 0; way < 3; way++) {
        fresh_file(way == 1 ? 0 : 40);
        if (way == 1) {
            close(fd);
            fd = open(name, O_RDWR | O_TRUNC);
            MUST(fd > 0 && write(fd, text, 40 * page) == (ssize_t)(40 * page));
        }
        close(fd);
        if (way == 2) {
            fd = open(other, O_RDWR | O_CREAT, 0600);
            MUST(fd > 0 && close(fd) == 0 && rename(name, other) == 0 && rename(other, name) == 0);
        }
        fd = open(name, O_RDWR);
        MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * page, 2 * page) == 0);
        char *m = map_file(40, PROT_READ, MAP_SHARED);
        load(m, 0, 40, 1);
        munmap(m, 40 * page);
    }
    printf("replaced %ld\n", used);
}

// A file is sent to another one through a pipe: sixteen pages at a time, of which the first may be part of one.
static void sent(void)
{
    fresh_file(40);
    int from = fd;
    fd = 0;
    fresh_file(0);
    off_t at = 3 * page + 4000;
    MUST(sendfile(fd, from, &at, 36 * page) == (ssize_t)(36 * page));
    close(from);
    char *m = map_file(36, PROT_READ, MAP_SHARED);
    load(m, 0, 36, 1);
    munmap(m, 36 * page);

    // What follows pages that were in the cache is read ahead as if they had been read. A write of nothing leaves the
    // buffers of its page clean.
    from = fd;
    fd = 0;
    fresh_file(0);
    MUST(ftruncate(fd, 40 * (off_t)page) == 0);
    MUST(pwrite(fd, text, 2 * page, 17 * (off_t)page) == (ssize_t)(2 * page));
    at = 17 * (off_t)page;
    MUST(sendfile(from, fd, &at, 8 * page) == (ssize_t)(8 * page));
    m = map_file(40, PROT_READ, MAP_SHARED);
    load(m, 39, -1, -1);
    munmap(m, 40 * page);
    close(from);
    fresh_file(16);
    MUST(fsync(fd) == 0);
    char *nothing = map(1, PROT_NONE, MAP_PRIVATE);
    MUST(pwrite(fd, nothing, 100, 12 * (off_t)page) == -1 && errno == EFAULT);
    MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * page, 2 * page) == 0);
    m = map_file(16, PROT_READ, MAP_SHARED);
    load(m, 0, 16, 1);
    munmap(m, 16 * page);
    printf("sent %ld\n", used);
}

// Pages of memory go into a pipe sixteen at a time: those that are not there are faulted in together.
static void spliced(void)
{
    int ends[2];
    MUST(pipe(ends) == 0);
    static char sink[20 * 65536];
    fresh_file(3);
    char *files = map_file(6, PROT_READ, MAP_SHARED), *some = fresh(40);
    touch(some + 2 * page, 2, 'c');
    struct iovec parts[] = {{some + 77, 20 * page}, {files + 5, 6 * page - 5}, {files + 4 * page, page}};
    for (int i = 0; i < 3; i++) {
        long moved = vmsplice(ends[1], &parts[i], 1, SPLICE_F_NONBLOCK);
        printf("spliced %s", moved < 0 ? "nothing" : "");
        if (moved > 0) {
            printf("%ld pages", (moved + (long)page - 1) / (long)page);
            MUST(read(ends[0], sink, moved) == moved);
        }
        printf("\n");
    }
    munmap(files, 6 * page);
}

int main(int argc, char **argv)
{
    start();
    if (argc < 2)
        return 2;
    snprintf(name, sizeof name, "%s/folio_edges", argv[1]);
    text = fresh(64);
    memset(text, 'a', 64 * page);
    copies_that_stop();
    dirty_when_unmapped();
    zeros_behind_the_end();
    no_page_table();
    paged_out();
    replaced();
    sent();
    spliced();
    unlink(name);
    return 0;
}
