// SPDX-License-Identifier: GPL-2.0-or-later
// sleepers [COUNT [ROUNDS]]: COUNT processes sleep, in read, poll, epoll_wait, pause and nanosleep, while two others play
// ping-pong through pipes; then one byte wakes each of those that can be woken by one.
#include "tasks.h"
#include <poll.h>
#include <sys/epoll.h>

static void nothing(int signo)
{
    (void)signo;
}

static int sleep_in(int how, int fd)
{
    char byte;
    struct pollfd one = {fd, POLLIN, 0};
    struct epoll_event event = {.events = EPOLLIN};
    struct timespec day = {86400, 0};
    int ep;
    switch (how) {
    case 0:
        return read(fd, &byte, 1) == 1;
    case 1:
        return poll(&one, 1, -1) == 1 && read(fd, &byte, 1) == 1;
    case 2:
        ep = epoll_create1(0);
        MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
        return epoll_wait(ep, &event, 1, -1) == 1 && read(fd, &byte, 1) == 1;
    case 3:
        return pause() == -1 && errno == EINTR;
    default:
        return nanosleep(&day, NULL) == -1 && errno == EINTR;
    }
}

int main(int argc, char **argv)
{
    start();
    int count = argc > 1 ? atoi(argv[1]) : 20, rounds = argc > 2 ? atoi(argv[2]) : 50;
    int *ends = calloc((size_t)count, sizeof *ends);
    pid_t *pids = calloc((size_t)count, sizeof *pids);
    MUST(ends && pids);
    struct sigaction action = {.sa_handler = nothing};
    MUST(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < count; i++) {
        int pipes[2];
        MUST(pipe(pipes) == 0);
        ends[i] = pipes[1];
        if (!(pids[i] = child()))
            _exit(sleep_in(i % 5, pipes[0]) ? 0 : 1);
        close(pipes[0]);
    }
    sleep_ms(20);
    int there[2], back[2];
    char byte = 0;
    MUST(pipe(there) == 0 && pipe(back) == 0);
    pid_t other = child();
    if (!other) {
        for (int i = 0; i < rounds; i++)
            MUST(read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1);
        _exit(0);
    }
    for (int i = 0; i < rounds; i++)
        MUST(write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1);
    int status = reap(other);
    for (int i = 0; i < count; i++) {
        if (i % 5 < 3)
            MUST(write(ends[i], &byte, 1) == 1);
        else
            MUST(kill(pids[i], SIGUSR1) == 0);
        status |= reap(pids[i]);
    }
    printf("status %d\n", status);
    return 0;
}
