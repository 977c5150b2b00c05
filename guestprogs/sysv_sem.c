// SPDX-License-Identifier: GPL-2.0-or-later
// System V semaphores: values, operations that happen as one, who sleeps and who wakes, what an exit undoes, refusals.
#include "tasks.h"
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>

union argument {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static int at(int id, int which)
{
    return semctl(id, which, GETVAL);
}

static int one(int id, int which, int op, int flags)
{
    struct sembuf sop = { (unsigned short)which, (short)op, (short)flags };
    return semop(id, &sop, 1);
}

static const char *told(int result)
{
    static char text[8][40];
    static int turn;
    char *out = text[turn++ % 8];
    if (result >= 0)
        snprintf(out, sizeof text[0], "%d", result);
    else
        snprintf(out, sizeof text[0], "%s", strerror(errno));
    return out;
}

static void values(int id)
{
    union argument arg = { .val = 5 };
    printf("set %s", told(semctl(id, 1, SETVAL, arg)));
    printf(" get %d pid %d", at(id, 1), semctl(id, 1, GETPID) == getpid());
    unsigned short all[3] = { 1, 2, 3 }, back[3];
    arg.array = all;
    printf(" all %s", told(semctl(id, 0, SETALL, arg)));
    arg.array = back;
    MUST(semctl(id, 0, GETALL, arg) == 0);
    printf(" %d %d %d", back[0], back[1], back[2]);
    arg.val = 40000;
    printf(" big %s", told(semctl(id, 0, SETVAL, arg)));
    all[2] = 40000;
    arg.array = all;
    printf(" %s", told(semctl(id, 0, SETALL, arg)));
    printf(" which %s", told(semctl(id, 3, GETVAL)));
    printf(" %s", told(semctl(id, -1, SETVAL, (union argument){ .val = 1 })));
    arg.array = (unsigned short *)8;
    printf(" wild %s\n", told(semctl(id, 0, GETALL, arg)));
    struct semid_ds state;
    arg.buf = &state;
    MUST(semctl(id, 0, IPC_STAT, arg) == 0);
    printf("state %d %o %d %d", (int)state.sem_nsems, state.sem_perm.mode, state.sem_otime == 0, state.sem_ctime != 0);
    state.sem_perm.mode = 0640;
    printf(" change %s", told(semctl(id, 0, IPC_SET, arg)));
    MUST(semctl(id, 0, IPC_STAT, arg) == 0);
    printf(" %o command %s\n", state.sem_perm.mode, told(semctl(id, 0, 99, arg)));
}

static void operations(int id)
{
    struct sembuf both[3] = { { 0, -1, IPC_NOWAIT }, { 1, -9, IPC_NOWAIT }, { 2, 0, 0 } };
    printf("both %s left %d %d", told(semop(id, both, 2)), at(id, 0), at(id, 1));
    both[1].sem_op = -2;
    printf(" both %s left %d %d", told(semop(id, both, 2)), at(id, 0), at(id, 1));
    printf(" range %s", told(one(id, 2, 32767, 0)));
    printf(" zero %s", told(one(id, 2, 0, IPC_NOWAIT)));
    both[0] = (struct sembuf){ 0, 3, 0 };
    both[1] = (struct sembuf){ 0, -3, 0 };
    both[2] = (struct sembuf){ 0, 0, 0 };
    printf(" up, down and zero %s\n", told(semop(id, both, 3)));
    struct timespec soon = { 0, 3000000 }, odd = { 0, 2000000000 };
    both[0] = (struct sembuf){ 0, -1, 0 };
    printf("late %s", told(semtimedop(id, both, 1, &soon)));
    printf(" odd %s", told(semtimedop(id, both, 1, &odd)));
    printf(" none %s", told(semop(id, both, 0)));
    static struct sembuf many[501];
    printf(" many %s", told(semop(id, many, 501)));
    printf(" number %s", told(one(id, 3, 1, 0)));
    printf(" id %s", told(one(-1, 0, 1, 0)));
    printf(" wild %s\n", told(semop(id, (struct sembuf *)8, 1)));
}

static void sleepers(int id)
{
    pid_t kids[3];
    MUST(semctl(id, 0, SETALL, (union argument){ .array = (unsigned short[]){ 0, 1, 0 } }) == 0);
    for (int i = 0; i < 3; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            if (i == 0)
                _exit(one(id, 0, -3, 0)); // 3 at once
            if (i == 1)
                _exit(one(id, 1, 0, 0)); // waits for zero
            struct sembuf two[2] = { { 0, -1, 0 }, { 2, 1, 0 } };
            _exit(semop(id, two, 2));
        }
        while (semctl(id, i == 1 ? 1 : 0, i == 1 ? GETZCNT : GETNCNT) != (i == 2 ? 2 : 1))
            usleep(1000);
    }
    printf("asleep %d %d\n", semctl(id, 0, GETNCNT), semctl(id, 1, GETZCNT));
    MUST(one(id, 0, 2, 0) == 0);
    printf("the third %d", reap(kids[2]));
    printf(" left %d %d asleep %d\n", at(id, 0), at(id, 2), semctl(id, 0, GETNCNT));
    MUST(one(id, 1, -1, 0) == 0);
    printf("the second %d\n", reap(kids[1]));
    MUST(semctl(id, 0, SETVAL, (union argument){ .val = 4 }) == 0);
    printf("the first %d left %d\n", reap(kids[0]), at(id, 0));
}

static void on_alarm(int signo)
{
    (void)signo;
}

static void *take(void *id)
{
    MUST(one(*(int *)id, 0, -1, SEM_UNDO) == 0);
    return NULL;
}

static void endings(int id)
{
    MUST(semctl(id, 0, SETVAL, (union argument){ .val = 10 }) == 0);
    pid_t pid = child();
    if (pid == 0) {
        MUST(one(id, 0, -4, SEM_UNDO) == 0 && one(id, 0, -2, 0) == 0);
        end(begin(take, &id)); // a thread shares what is to be undone
        printf("taken %d", at(id, 0));
        fflush(stdout);
        if (fork() == 0)
            _exit(0); // a child does not
        wait(NULL);
        printf(" %d\n", at(id, 0));
        fflush(stdout);
        _exit(0);
    }
    printf("ended %d value %d pid %d\n", reap(pid), at(id, 0), semctl(id, 0, GETPID) == pid);
    pid = child();
    if (pid == 0) {
        MUST(one(id, 0, -4, SEM_UNDO) == 0);
        MUST(semctl(id, 0, SETVAL, (union argument){ .val = 7 }) == 0); // nothing is undone any more
        _exit(0);
    }
    printf("ended %d value %d\n", reap(pid), at(id, 0));
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    pid = child();
    if (pid == 0) {
        sigaction(SIGALRM, &action, NULL);
        ualarm(20000, 20000);
        int result = one(id, 0, -100, 0);
        _exit(result < 0 && errno == EINTR ? 5 : 6);
    }
    printf("interrupted %d asleep %d\n", reap(pid) >> 8, semctl(id, 0, GETNCNT));
    pid = child();
    if (pid == 0)
        _exit(one(id, 0, -100, 0) < 0 && errno == EIDRM ? 7 : 8);
    while (semctl(id, 0, GETNCNT) != 1)
        usleep(1000);
    printf("remove %s", told(semctl(id, 0, IPC_RMID)));
    printf(" sleeper %d again %s\n", reap(pid) >> 8, told(semctl(id, 0, IPC_RMID)));
}

int main(void)
{
    int key = 0x5e000000 | getpid();
    printf("missing %s", told(semget(key, 3, 0)));
    printf(" none %s", told(semget(key, 0, IPC_CREAT | 0600)));
    printf(" too many %s", told(semget(key, 32001, IPC_CREAT | 0600)));
    int id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0600);
    printf(" made %d", id >= 0);
    printf(" again %s", told(semget(key, 3, IPC_CREAT | IPC_EXCL | 0600)));
    printf(" same %d", semget(key, 2, 0) == id);
    printf(" more %s\n", told(semget(key, 4, 0)));
    values(id);
    operations(id);
    sleepers(id);
    endings(id);
    return 0;
}
