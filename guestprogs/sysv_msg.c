// SPDX-License-Identifier: GPL-2.0-or-later
// System V message queues: types, order, room, who sleeps and who wakes, copies, refusals.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/ipc.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct message {
    long type;
    char text[9000];
};

static struct message buffer;

static const char *told(long result)
{
    static char text[8][40];
    static int turn;
    char *out = text[turn++ % 8];
    if (result >= 0)
        snprintf(out, sizeof text[0], "%ld", result);
    else
        snprintf(out, sizeof text[0], "%s", strerror(errno));
    return out;
}

static int put(int id, long type, const char *text, int flags)
{
    struct message out = { .type = type };
    strcpy(out.text, text);
    return msgsnd(id, &out, strlen(text), flags);
}

static const char *get(int id, long type, size_t size, int flags)
{
    static char text[8][60];
    static int turn;
    char *out = text[turn++ % 8];
    memset(&buffer, 0, sizeof buffer);
    ssize_t got = msgrcv(id, &buffer, size, type, flags);
    if (got >= 0)
        snprintf(out, sizeof text[0], "%ld:%.20s", buffer.type, buffer.text);
    else
        snprintf(out, sizeof text[0], "%s", strerror(errno));
    return out;
}

static void types(int id)
{
    static const long order[] = { 5, 3, 9, 3, 7 };
    char text[2] = "a";
    for (int i = 0; i < 5; i++, text[0]++)
        MUST(put(id, order[i], text, 0) == 0);
    printf("copy %s", get(id, 1, 10, MSG_COPY | IPC_NOWAIT));
    printf(" %s", get(id, 9, 10, MSG_COPY | IPC_NOWAIT));
    printf(" odd %s\n", get(id, 0, 10, MSG_COPY));
    printf("lowest to 6 %s", get(id, -6, 10, 0));
    printf(" but not 5 %s", get(id, 5, 10, MSG_EXCEPT));
    printf(" of 3 %s", get(id, 3, 10, 0));
    printf(" of 3 %s", get(id, 3, 10, IPC_NOWAIT));
    printf(" to 4 %s", get(id, -4, 10, IPC_NOWAIT));
    printf(" any %s", get(id, 0, 10, 0));
    printf(" any %s", get(id, 0, 10, 0));
    printf(" any %s\n", get(id, 0, 10, IPC_NOWAIT));
    MUST(put(id, 1, "a long one", 0) == 0);
    printf("short %s", get(id, 0, 4, 0));
    printf(" cut %s", get(id, 0, 4, MSG_NOERROR));
    printf(" gone %s", get(id, 0, 4, IPC_NOWAIT));
    printf(" empty %s", told(put(id, 2, "", 0)));
    printf(" %s\n", get(id, 0, 0, 0));
}

static void room(int id)
{
    struct message out = { .type = 1 };
    int count = 0;
    while (msgsnd(id, &out, 1000, IPC_NOWAIT) == 0)
        count++;
    struct msqid_ds state;
    MUST(msgctl(id, IPC_STAT, &state) == 0);
    printf("holds %d %s bytes %lu messages %lu of %lu by %d", count, strerror(errno), (unsigned long)state.msg_cbytes,
           (unsigned long)state.msg_qnum, (unsigned long)state.msg_qbytes, state.msg_lspid == getpid());
    state.msg_qbytes = 16100;
    printf(" change %s", told(msgctl(id, IPC_SET, &state)));
    printf(" one more %s", told(msgsnd(id, &out, 200, IPC_NOWAIT)));
    pid_t pid = child();
    if (pid == 0)
        _exit(msgsnd(id, &out, 1000, 0));
    usleep(50000);
    MUST(msgrcv(id, &buffer, 1000, 0, 0) == 1000);
    printf(" a sleeper %d\n", reap(pid));
    while (msgrcv(id, &buffer, 9000, 0, IPC_NOWAIT) >= 0)
        ;
}

static void sleepers(int id)
{
    pid_t kids[3];
    static const long wanted[] = { 4, -2, 0 };
    for (int i = 0; i < 3; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            ssize_t got = msgrcv(id, &buffer, 3, wanted[i], 0);
            _exit(got < 0 ? (errno == E2BIG ? 50 : 51) : (int)buffer.type * 10 + (int)got);
        }
        usleep(50000);
    }
    MUST(put(id, 9, "too long", 0) == 0);
    printf("third %d", reap(kids[2]) >> 8);
    printf(" left %s", get(id, 0, 10, IPC_NOWAIT));
    MUST(put(id, 4, "x", 0) == 0 && put(id, 2, "yz", 0) == 0);
    printf(" first %d", reap(kids[0]) >> 8);
    printf(" second %d\n", reap(kids[1]) >> 8);
}

static void on_alarm(int signo)
{
    (void)signo;
}

static void endings(int id)
{
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 20000);
    printf("interrupted %s", get(id, 0, 10, 0));
    ualarm(0, 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(msgrcv(id, &buffer, 3, 0, 0) < 0 && errno == EIDRM ? 7 : 8);
    usleep(50000);
    printf(" remove %s", told(msgctl(id, IPC_RMID, NULL)));
    printf(" sleeper %d", reap(pid) >> 8);
    printf(" again %s", told(msgctl(id, IPC_RMID, NULL)));
    printf(" send %s\n", told(put(id, 1, "x", 0)));
}

int main(void)
{
    int key = 0x35000000 | getpid();
    printf("missing %s", told(msgget(key, 0)));
    int id = msgget(key, IPC_CREAT | 0620);
    printf(" made %d", id >= 0);
    printf(" again %s", told(msgget(key, IPC_CREAT | IPC_EXCL)));
    printf(" same %d\n", msgget(key, 0) == id);
    printf("type %s", told(put(id, 0, "x", 0)));
    printf(" %s", told(put(id, -3, "x", 0)));
    printf(" size %s", told(msgsnd(id, &buffer, 8193, 0)));
    printf(" id %s", told(put(-1, 1, "x", 0)));
    printf(" wild %s", told(msgsnd(id, (void *)8, 1, 0)));
    printf(" negative %s", told(msgrcv(id, &buffer, (size_t)-1, 0, 0)));
    printf(" command %s\n", told(msgctl(id, 77, NULL)));
    types(id);
    room(id);
    sleepers(id);
    endings(id);
    return 0;
}
