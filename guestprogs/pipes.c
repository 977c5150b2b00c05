// SPDX-License-Identifier: GPL-2.0-or-later
// Pipes between processes and threads: a ring, big transfers, the end of file, a reader that left, poll, atomic writes.
#include "tasks.h"
#include <poll.h>

enum { RING = 6, LAPS = 20, BIG = 300000 };

static void ring(void)
{
    int ends[RING + 1][2];
    for (int i = 0; i <= RING; i++)
        MUST(pipe(ends[i]) == 0);
    pid_t kids[RING];
    for (int i = 0; i < RING; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            for (int j = 0; j <= RING; j++) {
                if (j != i)
                    close(ends[j][0]);
                if (j != i + 1)
                    close(ends[j][1]);
            }
            int token;
            while (read(ends[i][0], &token, sizeof token) == sizeof token) {
                token++;
                MUST(write(ends[i + 1][1], &token, sizeof token) == sizeof token);
            }
            _exit(0);
        }
    }
    for (int j = 0; j <= RING; j++) {
        if (j != RING)
            close(ends[j][0]);
        if (j != 0)
            close(ends[j][1]);
    }
    int token = 0;
    for (int lap = 0; lap < LAPS; lap++) {
        MUST(write(ends[0][1], &token, sizeof token) == sizeof token);
        MUST(read(ends[RING][0], &token, sizeof token) == sizeof token);
    }
    close(ends[0][1]);
    ssize_t end_of_file = read(ends[RING][0], &token, sizeof token);
    for (int i = 0; i < RING; i++)
        MUST(reap(kids[i]) == 0);
    close(ends[RING][0]);
    printf("ring %d end %zd\n", token, end_of_file);
}

static void big(void)
{
    int ends[2];
    MUST(pipe(ends) == 0);
    pid_t pid = child();
    if (pid == 0) {
        close(ends[0]);
        char *data = malloc(BIG);
        for (int i = 0; i < BIG; i++)
            data[i] = (char)(i * 7);
        for (int sent = 0; sent < BIG;) {
            ssize_t n = write(ends[1], data + sent, (size_t)(BIG - sent));
            MUST(n > 0);
            sent += (int)n;
        }
        _exit(0);
    }
    close(ends[1]);
    int got = 0, wrong = 0;
    char buffer[5000];
    ssize_t n;
    while ((n = read(ends[0], buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < n; i++, got++)
            wrong += buffer[i] != (char)(got * 7);
    MUST(reap(pid) == 0);
    close(ends[0]);
    printf("big %d wrong %d\n", got, wrong);
}

static void reader_left(void)
{
    int ends[2];
    char text[32];
    MUST(pipe(ends) == 0);
    pid_t pid = child();
    if (pid == 0) {
        close(ends[0]);
        struct pollfd gone = {.fd = ends[1]}; // POLLERR: the parent has closed it too
        poll(&gone, 1, -1);
        (void)!write(ends[1], "x", 1);
        _exit(0);
    }
    close(ends[0]);
    int status = reap(pid);
    printf("nobody reads: %s", how(status, text, sizeof text));
    signal(SIGPIPE, SIG_IGN);
    printf(", ignored: %d\n", err(write(ends[1], "x", 1)) == EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(ends[1]);
}

static void whole_writes(void) // writes of up to PIPE_BUF bytes are not mixed
{
    enum { WRITERS = 4, TIMES = 40, SIZE = 1000 };
    int ends[2];
    MUST(pipe(ends) == 0);
    pid_t kids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            char block[SIZE];
            memset(block, 'a' + i, SIZE);
            for (int j = 0; j < TIMES; j++)
                MUST(write(ends[1], block, SIZE) == SIZE);
            _exit(0);
        }
    }
    close(ends[1]);
    int blocks[WRITERS] = {0}, mixed = 0, fill = 0;
    char block[SIZE];
    ssize_t n;
    while ((n = read(ends[0], block + fill, (size_t)(SIZE - fill))) > 0) {
        fill += (int)n;
        if (fill < SIZE)
            continue;
        fill = 0;
        for (int i = 1; i < SIZE; i++)
            mixed += block[i] != block[0];
        blocks[block[0] - 'a']++;
    }
    for (int i = 0; i < WRITERS; i++)
        MUST(reap(kids[i]) == 0);
    close(ends[0]);
    printf("whole writes %d %d %d %d mixed %d\n", blocks[0], blocks[1], blocks[2], blocks[3], mixed);
}

static void polled(void)
{
    int a[2], b[2];
    MUST(pipe(a) == 0 && pipe(b) == 0);
    pid_t pid = child();
    if (pid == 0) {
        sleep_ms(2);
        MUST(write(b[1], "b", 1) == 1);
        sleep_ms(2);
        MUST(write(a[1], "a", 1) == 1);
        _exit(0);
    }
    close(a[1]), close(b[1]);
    struct pollfd fds[2] = {{a[0], POLLIN, 0}, {b[0], POLLIN, 0}};
    char order[8] = "", byte;
    int hung = 0;
    while (hung < 2) {
        MUST(poll(fds, 2, 10000) > 0);
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents & POLLIN) {
                MUST(read(fds[i].fd, &byte, 1) == 1);
                strncat(order, &byte, 1);
            } else if (fds[i].revents & POLLHUP) {
                fds[i].fd = -1;
                hung++;
            }
        }
    }
    MUST(reap(pid) == 0);
    printf("polled %s timeout %d\n", order, poll(fds, 2, 3));
    close(a[0]), close(b[0]);
}

static void full(void)
{
    int ends[2];
    MUST(pipe(ends) == 0);
    MUST(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    char block[4096] = {0};
    long total = 0;
    ssize_t n;
    while ((n = write(ends[1], block, sizeof block)) > 0)
        total += n;
    printf("full after %ld: %d", total, errno == EAGAIN);
    MUST(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    while ((n = read(ends[0], block, sizeof block)) > 0)
        total -= n;
    printf(" empty after %ld: %d\n", total, errno == EAGAIN);
    close(ends[0]), close(ends[1]);
}

int main(void)
{
    start();
    ring();
    big();
    reader_left();
    whole_writes();
    polled();
    full();
    return 0;
}
