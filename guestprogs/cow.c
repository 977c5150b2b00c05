// SPDX-License-Identifier: GPL-2.0-or-later
// After fork: private memory is each process's own, shared memory is one, whoever writes first, and whatever kind it is.
#include "tasks.h"

enum { PAGES = 24 };
static volatile int *turn; // shared: who may go on
static char data[2 * 65536] = {1}, bss[2 * 65536];

static void wait_for(int value)
{
    while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != value)
        sched_yield();
}

static void set(int value)
{
    __atomic_store_n(turn, value, __ATOMIC_RELEASE);
}

static int same(const char *at, size_t pages, char value)
{
    for (size_t i = 0; i < pages; i++)
        if (at[i * page] != value)
            return 0;
    return 1;
}

static void fill(char *at, char value)
{
    touch(at, PAGES, value);
}

int main(void)
{
    start();
    turn = (int *)map(1, PROT_READ | PROT_WRITE, MAP_SHARED);
    char *private = fresh(PAGES), *shared = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED), *untouched = fresh(PAGES);
    char *zero = fresh(PAGES), *guarded = fresh(PAGES), *heap = malloc(PAGES * page);
    int fd = (int)syscall(SYS_memfd_create, "cow", 0);
    MUST(fd >= 0 && ftruncate(fd, (off_t)(PAGES * page)) == 0);
    char *file = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *same_file = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char stack[PAGES];
    fill(private, 'p'), fill(shared, 's'), fill(guarded, 'g'), fill(heap, 'h'), fill(file, 'f');
    memset(stack, 'k', sizeof stack);
    unsigned zeros = sum(zero, PAGES); // maps the zero page
    MUST(zeros == 0 && mprotect(guarded, PAGES * page, PROT_READ) == 0);
    pid_t pid = child();
    char me = pid ? 'P' : 'C';
    // First the child writes, the parent looks; then the other way round.
    int good = 1;
    for (int round = 0; round < 2; round++) {
        int writer = (round == 0) == (pid == 0);
        wait_for(round * 2 + !writer);
        if (writer) {
            fill(private, me), fill(untouched, me), fill(zero, me), fill(heap, me), fill(file, me);
            memset(stack, me, sizeof stack);
            data[70000] = bss[70000] = me;
            shared[round] = me;
            same_file[round * page + 1] = me;
            MUST(mprotect(guarded, PAGES * page, PROT_READ | PROT_WRITE) == 0);
            fill(guarded, me);
            set(round * 2 + 1);
        } else {
            int written = round == 1; // in the second round the reader has written before
            good &= same(private, PAGES, written ? me : 'p') && same(untouched, PAGES, written ? me : 0);
            good &= same(zero, PAGES, written ? me : 0) && same(guarded, PAGES, written ? me : 'g');
            good &= same(heap, PAGES, written ? me : 'h') && same(file, PAGES, written ? me : 'f');
            good &= stack[PAGES - 1] == (written ? me : 'k');
            good &= data[70000] == (written ? me : 0) && bss[70000] == (written ? me : 0);
            good &= shared[round] == (me == 'P' ? 'C' : 'P') && same_file[round * page + 1] == (me == 'P' ? 'C' : 'P');
            set(round * 2 + 2);
        }
    }
    wait_for(4);
    if (pid == 0)
        _exit(good);
    printf("child %d parent %d\n", WEXITSTATUS(reap(pid)), good);
    // Three generations share a page; each writes a byte of its own to it.
    fill(private, 'a');
    pid = child();
    if (pid == 0) {
        pid_t grandchild = child();
        if (grandchild == 0) {
            private[1] = 'x';
            _exit(private[0] == 'a' && private[2] == 0);
        }
        private[2] = 'y';
        int right = WEXITSTATUS(reap(grandchild));
        _exit(right && private[0] == 'a' && private[1] == 0);
    }
    private[0] = 'b';
    int right = WEXITSTATUS(reap(pid));
    printf("generations %d %d\n", right, private[0] == 'b' && private[1] == 0 && private[2] == 0);
    // A page that was shared and is ours alone again; one that the child unmapped; advice for fork.
    char *kept = fresh(3);
    touch(kept, 3, 'k');
    MUST(madvise(kept, page, MADV_DONTFORK) == 0);
    int wipe = err(madvise(kept + page, page, MADV_WIPEONFORK));
    pid = child();
    if (pid == 0) {
        unsigned char resident;
        int hole = err(syscall(SYS_mincore, kept, page, &resident));
        int wiped = wipe ? 1 : kept[page] == 0;
        munmap(kept + 2 * page, page);
        _exit(hole == ENOMEM && wiped);
    }
    right = WEXITSTATUS(reap(pid));
    touch(kept, 3, 'z');
    printf("advice %d %d\n", right, same(kept, 3, 'z'));
    return 0;
}
