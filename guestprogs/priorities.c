// SPDX-License-Identifier: GPL-2.0-or-later
// Nice values of other processes, of groups and of users: who may set them, what is read back.
#include "tasks.h"
#include <sys/resource.h>

int main(void)
{
    start();
    MUST(setpgid(0, 0) == 0 || getpgrp() == getpid());
    pid_t pid = child();
    if (pid == 0)
        for (;;)
            sleep_ms(1000);
    printf("set %d", setpriority(PRIO_PROCESS, (id_t)pid, 7));
    printf(" child %d own %d", getpriority(PRIO_PROCESS, (id_t)pid), getpriority(PRIO_PROCESS, 0));
    printf(" group %d\n", getpriority(PRIO_PGRP, 0)); // the most favourable one
    printf("set group %d", setpriority(PRIO_PGRP, 0, 9));
    printf(" child %d own %d\n", getpriority(PRIO_PROCESS, (id_t)pid), getpriority(PRIO_PROCESS, 0));
    printf("nobody %d %d", err(setpriority(PRIO_PROCESS, 4000000, 1)) == ESRCH, err(setpriority(PRIO_USER, 77777, 1)) == ESRCH);
    printf(" which %d\n", err(setpriority(3, 0, 1)) == EINVAL);
    kill(pid, SIGKILL);
    reap(pid);
    return 0;
}
