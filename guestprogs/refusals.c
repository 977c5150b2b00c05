// SPDX-License-Identifier: GPL-2.0-or-later
// Every way in which mmap, mprotect, mremap, mlock, madvise, mincore, msync and brk say no, for root and for a user.
#include "tasks.h"
#include <sys/prctl.h>
#include <sys/resource.h>

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define DROPPABLE 8
#define VALIDATE 3
#define SET_VMA 0x53564d41

#define REMAP(at, size, prot, offset) err(syscall(SYS_remap_file_pages, at, size, prot, offset, 0))

static int self;

static int refused(void *at, size_t length, int prot, int flags, int fd)
{
    void *got = mmap(at, length, prot, flags, fd, 0);
    int problem = failed(got);
    if (!problem)
        munmap(got, length);
    return problem;
}

static int moved(void *at, size_t length, size_t longer, int flags, void *to)
{
    return failed((void *)syscall(SYS_mremap, at, length, longer, flags, to));
}

static void mmaps(void)
{
    char *a = fresh(4);
    printf("noreplace over %d into a hole %d", refused(a + page, page, RW, ANON | MAP_FIXED_NOREPLACE, -1),
           munmap(a + page, page));
    printf(" %d across %d\n", refused(a + page, page, RW, ANON | MAP_FIXED_NOREPLACE, -1),
           refused(a, 2 * page, RW, ANON | MAP_FIXED_NOREPLACE, -1));
    printf("validate %d unknown flag %d ignored flag %d sync %d\n",
           refused(NULL, page, PROT_READ, VALIDATE, self), refused(NULL, page, PROT_READ, VALIDATE | 1 << 30, self),
           refused(NULL, page, PROT_READ, MAP_SHARED | 1 << 30, self), refused(NULL, page, PROT_READ, VALIDATE | 0x80000, self));
    printf("shared writable of a read-only file %d private %d\n", refused(NULL, page, RW, MAP_SHARED, self),
           refused(NULL, page, RW, MAP_PRIVATE, self));
    printf("grows down of a file %d shared %d private %d\n",
           refused(NULL, page, RW, MAP_PRIVATE | MAP_GROWSDOWN, self),
           refused(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1),
           refused(NULL, page, RW, ANON | MAP_GROWSDOWN, -1));
    printf("types 0 %d 8 %d 9 %d with a lock %d\n", refused(NULL, page, RW, MAP_ANONYMOUS, -1),
           refused(NULL, page, RW, MAP_ANONYMOUS | DROPPABLE, -1), refused(NULL, page, RW, MAP_ANONYMOUS | 9, -1),
           refused(NULL, page, RW, MAP_ANONYMOUS | DROPPABLE | MAP_LOCKED, -1));
    printf("memfd sealed");
    int fd = (int)syscall(SYS_memfd_create, "x", 2);
    MUST(fd >= 0 && !ftruncate(fd, (off_t)page) && !fcntl(fd, 1033, 8)); // F_SEAL_WRITE
    printf(" write %d read %d private %d\n", refused(NULL, page, RW, MAP_SHARED, fd),
           refused(NULL, page, PROT_READ, MAP_SHARED, fd), refused(NULL, page, RW, MAP_PRIVATE, fd));
    char *s = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    printf("sealed made writable %d\n", err(mprotect(s, page, RW)));
}

static void mprotects(void)
{
    char *a = fresh(8), *s = mmap(NULL, page, PROT_READ, MAP_SHARED, self, 0);
    printf("mprotect shared read-only file %d unaligned %d wrap %d nothing %d\n", err(mprotect(s, page, RW)),
           err(syscall(SYS_mprotect, a + 1, page, RW)), err(syscall(SYS_mprotect, a, -page, RW)), err(mprotect(a, 0, RW)));
    printf("grows both %d down %d up %d\n", err(mprotect(a, page, PROT_READ | 0x03000000)),
           err(mprotect(a, page, PROT_READ | 0x01000000)), err(mprotect(a, page, PROT_READ | 0x02000000)));
    munmap(a + 4 * page, page);
    printf("hole %d", err(mprotect(a, 8 * page, PROT_READ)));
    printf(" before it %d behind it %d\n", err(madvise(a, page, 23)), err(madvise(a + 5 * page, page, 23)));
    char *g = map(4, RW, MAP_PRIVATE | MAP_GROWSDOWN);
    g[3 * page] = 1;
    printf("growing one %d whole %d\n", err(mprotect(g + 2 * page, page, PROT_READ | 0x01000000)), err(madvise(g, page, 23)));
}

static void mremaps(void)
{
    char *a = fresh(8), *to = fresh(8), *s = map(4, RW, MAP_SHARED);
    printf("mremap unaligned %d flags %d fixed alone %d zero %d nothing there %d\n", moved(a + 1, page, page, 0, 0),
           moved(a, page, page, 8, 0), moved(a, page, page, MREMAP_FIXED, to), moved(a, page, 0, 1, 0),
           moved((void *)(8 * page), page, page, 1, 0));
    printf("dontunmap alone %d resized %d shared %d\n", moved(a, page, page, MREMAP_DONTUNMAP, 0),
           moved(a, page, 2 * page, 5, 0), moved(s, page, page, 5, 0));
    printf("fixed unaligned %d overlapping %d %d above %d\n", moved(a, page, page, 3, to + 1),
           moved(a, 4 * page, 4 * page, 3, a + 2 * page), moved(a + 2 * page, 2 * page, 4 * page, 3, a),
           moved(a, page, page, 3, (void *)-page));
    printf("in place %d", moved(a, 4 * page, 12 * page, 0, 0));
    printf(" old 0 private %d shared %d\n", moved(a, 0, page, 1, 0), moved(s, 0, page, 1, 0));
    printf("across two %d", err(mprotect(a + 2 * page, page, PROT_READ)));
    printf(" %d %d", moved(a, 4 * page, 6 * page, 1, 0), moved(a, 4 * page, 3 * page, 1, 0));
    printf(" moved %d\n", moved(a, 4 * page, 4 * page, 3, to));
    printf("too large %d\n", moved(to, page, -page, 1, 0));
    char *d = map(2, RW, MAP_PRIVATE);
    d[0] = 7;
    char *e = (char *)syscall(SYS_mremap, d, 2 * page, 2 * page, 5, 0);
    printf("dontunmap %d %d %d\n", failed(e), e[0], d[0]);
    char *one = fresh(1), *gap = fresh(1), *two = fresh(1);
    (void)one, (void)gap;
    printf("behind the end %d\n", moved(two, page, 1 << 30, 0, 0));
}

static void locks(const char *who)
{
    char *a = fresh(8);
    printf("%s mlock2 flags %d mlockall none %d on fault alone %d wrong %d\n", who, err(syscall(SYS_mlock2, a, page, 2)),
           err(syscall(SYS_mlockall, 0)), err(syscall(SYS_mlockall, 4)), err(syscall(SYS_mlockall, 8)));
    printf("mlock wrap %d munlock wrap %d nothing %d\n", err(syscall(SYS_mlock, a, -page)),
           err(syscall(SYS_munlock, a + page, -page)), err(mlock(a, 0)));
    munmap(a + 4 * page, page);
    printf("hole %d", err(mlock(a, 8 * page)));
    printf(" munlock %d\n", err(munlock(a, 8 * page)));
    struct rlimit limit = {4 * page, 1 << 20};
    MUST(!setrlimit(RLIMIT_MEMLOCK, &limit));
    char *b = fresh(16);
    printf("limit: 8 pages %d 4 pages %d", err(mlock(b, 8 * page)), err(mlock(b, 4 * page)));
    printf(" the same again %d two more %d\n", err(mlock(b, 4 * page)), err(mlock(b + 4 * page, 2 * page)));
    printf("mmap locked %d grown %d all %d\n", refused(NULL, 4 * page, RW, ANON | MAP_LOCKED, -1),
           moved(b, 4 * page, 6 * page, 1, 0), err(mlockall(MCL_CURRENT)));
    munlock(b, 16 * page);
    munlockall();
    printf("future %d", err(mlockall(MCL_FUTURE)));
    printf(" mmap %d brk %d\n", refused(NULL, 8 * page, RW, ANON, -1), sbrk(32 * (long)page) == (void *)-1);
    munlockall();
    limit.rlim_cur = 0;
    MUST(!setrlimit(RLIMIT_MEMLOCK, &limit));
    printf("limit 0: mlock %d mlockall %d mmap %d munlock %d\n", err(mlock(b, page)), err(mlockall(MCL_CURRENT)),
           refused(NULL, page, RW, ANON | MAP_LOCKED, -1), err(munlock(b, page)));
}

static void sizes(void)
{
    struct rlimit limit = {64 << 20, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    char *a = fresh(1);
    MUST(!setrlimit(RLIMIT_AS, &limit));
    printf("RLIMIT_AS mmap %d", refused(NULL, 65 << 20, RW, ANON, -1));
    printf(" over itself %d mremap %d brk %d\n", refused(a, page, RW, ANON | MAP_FIXED, -1),
           moved(fresh(1), page, 65 << 20, 1, 0), sbrk(65 << 20) == (void *)-1);
    MUST(!setrlimit(RLIMIT_AS, &none));
    limit.rlim_cur = 1 << 20;
    MUST(!setrlimit(RLIMIT_DATA, &limit));
    char *r = map(512, PROT_READ, MAP_PRIVATE);
    printf("RLIMIT_DATA made writable %d grown %d", err(mprotect(r, 512 * page, RW)), moved(fresh(1), page, 2 << 20, 1, 0));
    printf(" shared %d grows down %d\n", refused(NULL, 2 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1),
           refused(NULL, 2 << 20, RW, ANON | MAP_GROWSDOWN, -1));
    MUST(!setrlimit(RLIMIT_DATA, &none));
}

static void others(void)
{
    char *a = fresh(4), *f = mmap(NULL, 2 * page, PROT_READ, MAP_PRIVATE, self, 0);
    unsigned char vec[4];
    printf("mincore wrap %d hole %d unaligned %d vector %d\n", err(mincore(a, (size_t)-page, vec)),
           err(mincore((void *)(8 * page), page, vec)), err(mincore(a + 1, page, vec)), err(mincore(a, page, (void *)8)));
    printf("msync flags %d both %d unaligned %d wrap %d nothing %d\n", err(msync(a, page, 8)), err(msync(a, page, 5)),
           err(msync(a + 1, page, 4)), err(msync(a, (size_t)-page, 4)), err(msync(a, 0, 4)));
    printf("madvise wrap %d unaligned %d unknown %d nothing %d\n", err(madvise(a, (size_t)-page, 4)),
           err(madvise(a + 1, page, 4)), err(madvise(a, page, 99)), err(madvise(a, 0, 4)));
    printf("unknown and nothing %d free of a file %d of shared %d\n", err(madvise(a, 0, 99)), err(madvise(f, page, 8)),
           err(madvise(map(1, RW, MAP_SHARED), page, 8)));
    mlock(a, page);
    printf("locked: dontneed %d free %d cold %d pageout %d dontneed locked %d\n", err(madvise(a, page, 4)),
           err(madvise(a, page, 8)), err(madvise(a, page, 20)), err(madvise(a, page, 21)), err(madvise(a, page, 24)));
    munlock(a, page);
    printf("populate none %d", err(madvise(map(1, PROT_NONE, MAP_PRIVATE), page, 23)));
    printf(" write of read-only %d remove of locked %d wipe shared %d\n", err(madvise(f, page, 23)),
           err(madvise(a, page, 9)), err(madvise(map(1, RW, MAP_SHARED), page, 18)));
    munmap(a + 2 * page, page);
    printf("hole: dontneed %d willneed %d dontfork %d populate %d\n", err(madvise(a, 4 * page, 4)),
           err(madvise(a, 4 * page, 3)), err(madvise(a, 4 * page, 10)), err(madvise(a, 4 * page, 23)));
    printf("munmap nothing %d unmapped %d\n", err(munmap(a, 0)), err(munmap(a + 2 * page, page)));
    int fd = (int)syscall(SYS_memfd_create, "x", 0);
    MUST(fd >= 0 && !ftruncate(fd, 4 * (off_t)page) && pwrite(fd, "zero", 4, 0) == 4);
    MUST(pwrite(fd, "two", 3, 2 * (off_t)page) == 3 && pwrite(fd, "three", 5, 3 * (off_t)page) == 5);
    char *s = mmap(NULL, 4 * page, RW, MAP_SHARED, fd, 0), *both = map(2, RW, MAP_SHARED);
    printf("remap_file_pages prot %d private %d nothing %d empty %d wrap %d", REMAP(s, page, PROT_READ, 1),
           REMAP(a, page, 0, 1), REMAP((void *)(8 * page), page, 0, 0), REMAP(s, 1, 0, 1), REMAP(s, -page, 0, 1));
    printf(" past the end %d", REMAP(s + 3 * page, 2 * page, 0, 0));
    printf(" %d %d %s %s", REMAP(s, 2 * page, 0, 2), REMAP(s + 2 * page, page, 0, 0), s, s + page);
    printf(" %s over several %d %s anonymous %d\n", s + 2 * page, REMAP(s, 4 * page, 0, 0), s, REMAP(both, page, 0, 1));
}

static void as(uid_t user, void (*what)(const char *), const char *name)
{
    pid_t pid = child();
    if (!pid) {
        MUST(!user || !syscall(SYS_setresuid, user, user, user));
        what(name);
        fflush(stdout);
        _exit(0);
    }
    char text[32];
    printf("%s\n", how(reap(pid), text, sizeof text));
}

int main(void)
{
    start();
    self = open("/proc/self/exe", O_RDONLY);
    MUST(self >= 0);
    mmaps();
    mprotects();
    mremaps();
    as(0, locks, "root");
    as(65534, locks, "a user");
    sizes();
    others();
    return 0;
}
