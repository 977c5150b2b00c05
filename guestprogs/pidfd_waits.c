// SPDX-License-Identifier: GPL-2.0-or-later
// Waits for a child by its pidfd, before, while and after it ends: it is there until it is reaped, and not readable before
// it can be.
#define _GNU_SOURCE
#include "tasks.h"
#include <poll.h>
#include <sys/syscall.h>

int main(void)
{
    start();
    int waited = 0, readable_early = 0, signalled = 0;
    for (int i = 0; i < 300; i++) {
        pid_t pid = child();
        if (!pid)
            _exit(3);
        for (volatile int spin = 0; spin < i * 40; spin++)
            ;
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        MUST(fd >= 0);
        signalled += syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        siginfo_t info = {0};
        if (poll(&poller, 1, 0) == 1)
            readable_early += waitid((idtype_t)3, (id_t)fd, &info, WEXITED | WNOWAIT | WNOHANG) || info.si_pid != pid;
        waited += waitid((idtype_t)3, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == 3;
        MUST(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == -1 && errno == ESRCH);
        MUST(waitid((idtype_t)3, (id_t)fd, &info, WEXITED) == -1 && errno == ECHILD);
        close(fd);
    }
    printf("waited %d, readable without anything to wait for %d, signalled %d\n", waited, readable_early, signalled);
    return 0;
}
