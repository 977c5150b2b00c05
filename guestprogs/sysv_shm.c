// SPDX-License-Identifier: GPL-2.0-or-later
// System V shared memory: segments attached, detached, cut, removed; what is refused, with which errno.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096

static const char *failed(long result) {
    static char text[4][32];
    static int turn;
    char *to = text[turn++ & 3];
    snprintf(to, sizeof text[0], "%s %d", result == -1 ? "errno" : "fine", result == -1 ? errno : 0);
    return to;
}

static struct shmid_ds state(int id) {
    struct shmid_ds is;
    memset(&is, 0xee, sizeof is);
    if (shmctl(id, IPC_STAT, &is))
        printf("IPC_STAT: %s\n", failed(-1));
    return is;
}

static void *at(int id, void *where, int flags) {
    void *found = shmat(id, where, flags);
    if (found == (void *)-1)
        printf("shmat: errno %d\n", errno);
    return found;
}

// A child reads (or writes) an address: how it ends.
static void probe(const char *what, volatile char *address, int write) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char seen = *address;
        if (write)
            *address = seen;
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%s: %s %d\n", what, WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int main(int argc, char **argv) {
    int forks = argc > 1 && strcmp(argv[1], "fork") == 0;
    key_t key = 0x4d4d0000 + getpid() % 0x10000;
    int id = shmget(IPC_PRIVATE, 5 * PAGE + 100, IPC_CREAT | 0640);
    printf("shmget %d\n", id >= 0);
    struct shmid_ds is = state(id);
    printf("size %zu mode %o nattch %lu creator %d last %d owner %d %d times %d %d %d key %d\n", is.shm_segsz,
           is.shm_perm.mode, (unsigned long)is.shm_nattch, is.shm_cpid == getpid(), is.shm_lpid, (int)is.shm_perm.uid,
           (int)is.shm_perm.cuid, is.shm_atime != 0, is.shm_dtime != 0, is.shm_ctime != 0, is.shm_perm.__key);

    // Two attachments of one segment see the same bytes.
    char *one = at(id, 0, 0), *two = at(id, 0, 0);
    for (int page = 0; page < 6; page++)
        one[page * PAGE] = 'a' + page;
    printf("seen %c %c apart %d\n", two[0], two[5 * PAGE], one != two);
    is = state(id);
    printf("nattch %lu last %d times %d %d\n", (unsigned long)is.shm_nattch, is.shm_lpid == getpid(),
           is.shm_atime != 0, is.shm_dtime != 0);

    // Cut in the middle: every piece counts, and shmdt finds all of them.
    printf("munmap %d\n", munmap(one + 2 * PAGE, PAGE));
    printf("nattch %lu\n", (unsigned long)state(id).shm_nattch);
    printf("mprotect %d\n", mprotect(one, PAGE, PROT_READ));
    printf("nattch %lu\n", (unsigned long)state(id).shm_nattch);
    printf("shmdt %s\n", failed(shmdt(one)));
    printf("again %s\n", failed(shmdt(one)));
    printf("nattch %lu\n", (unsigned long)state(id).shm_nattch);

    // Where: fixed addresses, rounded ones, occupied ones.
    char *room = mmap(0, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("occupied %s\n", failed((long)shmat(id, room, 0)));
    printf("odd %s\n", failed((long)shmat(id, room + 8, 0)));
    char *there = at(id, room + 8, SHM_RND | SHM_REMAP);
    printf("rounded %d content %c\n", there == room, there[PAGE]);
    printf("remap nowhere %s\n", failed((long)shmat(id, 0, SHM_REMAP)));
    printf("remap 0 %s\n", failed((long)shmat(id, (void *)8, SHM_REMAP | SHM_RND)));
    printf("past the end %s\n", failed((long)shmat(id, (void *)-PAGE, 0)));
    printf("no segment %s %s\n", failed((long)shmat(-1, 0, 0)), failed((long)shmat(id + (1 << 20), 0, 0)));
    printf("shmdt odd %s, of other memory %s\n", failed(shmdt(two + 8)), failed(shmdt(room + 15 * PAGE)));
    printf("shmdt %s\n", failed(shmdt(there)));

    // To read only; to execute.
    char *readonly = at(id, 0, SHM_RDONLY);
    printf("read %c, mprotect %s\n", readonly[PAGE], failed(mprotect(readonly, PAGE, PROT_READ | PROT_WRITE)));
    printf("executable %s\n", failed((long)shmat(id, 0, SHM_EXEC)));

    // Keys.
    int named = shmget(key, 3 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
    printf("by key %d again %d\n", named >= 0, shmget(key, 0, 0) == named);
    printf("exclusive %s\n", failed(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600)));
    printf("larger %s, smaller %s\n", failed(shmget(key, 4 * PAGE, 0600)), failed(shmget(key, PAGE, 0600)));
    printf("no such key %s\n", failed(shmget(key + 1, PAGE, 0)));
    printf("no size %s, too large %s\n", failed(shmget(IPC_PRIVATE, 0, 0600)), failed(shmget(IPC_PRIVATE, -1UL, 0600)));

    // Rights change, and the state tells.
    is = state(named);
    is.shm_perm.mode = 0404;
    printf("IPC_SET %s mode %o\n", failed(shmctl(named, IPC_SET, &is)), state(named).shm_perm.mode);
    printf("SHM_LOCK %s mode %o\n", failed(shmctl(named, SHM_LOCK, 0)), state(named).shm_perm.mode);
    printf("SHM_UNLOCK %s mode %o\n", failed(shmctl(named, SHM_UNLOCK, 0)), state(named).shm_perm.mode);
    printf("bad command %s\n", failed(shmctl(named, 99, 0)));
    struct shminfo limits;
    memset(&limits, 0, sizeof limits);
    printf("IPC_INFO %d least %lu most %lu\n", shmctl(0, IPC_INFO, (struct shmid_ds *)&limits) >= 0, limits.shmmin,
           limits.shmmni);
    struct shm_info use;
    memset(&use, 0, sizeof use);
    printf("SHM_INFO %d %d\n", shmctl(0, SHM_INFO, (struct shmid_ds *)&use) >= 0, use.used_ids >= 2);

    // A removed segment lives on until its last attachment goes.
    char *last = at(named, 0, 0);
    strcpy(last + PAGE, "still here");
    printf("IPC_RMID %s\n", failed(shmctl(named, IPC_RMID, 0)));
    is = state(named);
    printf("mode %o key %d %s\n", is.shm_perm.mode, is.shm_perm.__key, last + PAGE);
    printf("by its key %s\n", failed(shmget(key, 0, 0)));
    char *more = at(named, 0, 0);
    printf("attached once more %s\n", more + PAGE);
    printf("shmdt %s %s\n", failed(shmdt(last)), failed(shmdt(more)));
    printf("gone %s\n", failed(shmctl(named, IPC_STAT, &is)));

    if (forks) {
        pid_t child = fork();
        if (child == 0) {
            two[3 * PAGE] = 'z';
            _exit(state(id).shm_nattch != 6);
        }
        int status;
        waitpid(child, &status, 0);
        printf("child %d wrote %c nattch %lu last %d\n", status, two[3 * PAGE], (unsigned long)state(id).shm_nattch,
               state(id).shm_lpid == child);
        probe("read", readonly, 0);
        probe("write to read only", readonly, 1);
        probe("rest of the last page", two + 5 * PAGE + 200, 1);
    }

    // The end of the process detaches what is left; the segment is removed by then.
    printf("IPC_RMID %s\n", failed(shmctl(id, IPC_RMID, 0)));
    printf("nattch %lu\n", (unsigned long)state(id).shm_nattch);
    return 0;
}
