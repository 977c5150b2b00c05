// SPDX-License-Identifier: GPL-2.0-or-later
// How processes end and how parents hear of it: statuses, signals, stop and continue, SIGCHLD, groups, orphans.
#include "tasks.h"

static volatile sig_atomic_t told, told_code, told_status, told_pid;

static void on_child(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    told++;
    told_code = info->si_code, told_status = info->si_status, told_pid = info->si_pid;
}

static void endings(void)
{
    char text[32];
    for (int i = 0; i < 9; i++) {
        pid_t pid = child();
        if (pid == 0) {
            switch (i) {
            case 0: _exit(0);
            case 1: _exit(255);
            case 2: _exit(256 + 3);
            case 3: raise(SIGTERM); break;
            case 4: raise(SIGKILL); break;
            case 5: abort();
            case 6: *(volatile int *)8 = 1; break;
            case 7: exit(4);
            case 8: return (void)syscall(SYS_exit_group, 12);
            }
            _exit(99);
        }
        printf("%s%s", i ? ", " : "", how(reap(pid), text, sizeof text));
    }
    printf("\n");
}

static void waits(void)
{
    int status = 0;
    siginfo_t info;
    printf("no child %d", err(waitpid(-1, &status, 0)) == ECHILD);
    pid_t pid = child();
    if (pid == 0) {
        sleep_ms(3);
        _exit(21);
    }
    printf(" not yet %d", waitpid(pid, &status, WNOHANG) == 0);
    printf(" another %d", err(waitpid(pid + 100000, &status, 0)) == ECHILD);
    memset(&info, 0, sizeof info);
    printf(" waitid %d", waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 && info.si_pid == pid);
    printf(" code %d status %d", info.si_code, info.si_status);
    printf(" still there %d", waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 21);
    printf(" gone %d\n", err(waitpid(pid, &status, 0)) == ECHILD);
}

static void stops(void)
{
    int status;
    pid_t pid = child();
    if (pid == 0) {
        for (;;)
            sleep_ms(1000);
    }
    kill(pid, SIGSTOP);
    MUST(waitpid(pid, &status, WUNTRACED) == pid);
    printf("stopped %d by %d", WIFSTOPPED(status), WSTOPSIG(status) == SIGSTOP);
    kill(pid, SIGTERM); // pending while stopped
    printf(" alive %d", waitpid(pid, &status, WNOHANG) == 0);
    kill(pid, SIGCONT);
    MUST(waitpid(pid, &status, WCONTINUED) == pid);
    if (WIFCONTINUED(status)) // it may be gone already
        MUST(waitpid(pid, &status, 0) == pid);
    printf(" then signal %d\n", WTERMSIG(status));
}

static void hears(void)
{
    struct sigaction action = {0};
    action.sa_sigaction = on_child;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGCHLD, &action, NULL);
    pid_t pid = child();
    if (pid == 0)
        _exit(33);
    MUST(WEXITSTATUS(reap(pid)) == 33);
    printf("SIGCHLD %d code %d status %d pid %d", (int)told, (int)told_code, (int)told_status, told_pid == pid);
    pid = child();
    if (pid == 0)
        raise(SIGKILL);
    reap(pid);
    printf(" killed: code %d status %d\n", (int)told_code, (int)told_status);
    signal(SIGCHLD, SIG_IGN); // children vanish by themselves
    int status;
    pid = child();
    if (pid == 0)
        _exit(0);
    printf("ignored: %d\n", waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

static void orphans(void)
{
    int ends[2];
    MUST(pipe(ends) == 0);
    pid_t pid = child();
    if (pid == 0) {
        pid_t before = getpid();
        if (child() == 0) {
            for (int i = 0; i < 5000 && getppid() == before; i++)
                sleep_ms(1);
            char changed = getppid() != before;
            MUST(write(ends[1], &changed, 1) == 1);
            _exit(0);
        }
        sleep_ms(3);
        _exit(0);
    }
    reap(pid);
    char changed = 0;
    MUST(read(ends[0], &changed, 1) == 1);
    printf("orphan has another parent %d\n", changed);
    close(ends[0]), close(ends[1]);
}

static void groups(void)
{
    pid_t kids[4];
    for (int i = 0; i < 4; i++) {
        kids[i] = child();
        if (kids[i] == 0) {
            for (;;)
                sleep_ms(1000);
        }
        MUST(setpgid(kids[i], i < 2 ? kids[0] : 0) == 0);
    }
    printf("group %d %d", getpgid(kids[1]) == kids[0], getpgid(kids[2]) == kids[2] || getpgid(kids[2]) == getpgid(0));
    kill(-kids[0], SIGINT);
    int status, count = 0;
    while (count < 2 && waitpid(-kids[0], &status, 0) > 0)
        count += WTERMSIG(status) == SIGINT;
    printf(" killed %d", count);
    printf(" others live %d", waitpid(kids[2], &status, WNOHANG) == 0 && waitpid(kids[3], &status, WNOHANG) == 0);
    kill(kids[2], SIGHUP), kill(kids[3], SIGHUP);
    printf(" then %d %d", WTERMSIG(reap(kids[2])), WTERMSIG(reap(kids[3])));
    printf(" nobody left %d\n", kill(-kids[0], 0) == -1 && errno == ESRCH);
}

static void *exit_all(void *argument)
{
    sleep_ms(2);
    exit((int)(intptr_t)argument);
}

static void *forever(void *argument)
{
    for (;;)
        __atomic_fetch_add((long *)argument, 1, __ATOMIC_SEQ_CST);
}

static void threads_end(void)
{
    static long spins;
    char text[32];
    pid_t pid = child();
    if (pid == 0) { // one thread ends all, while others compute
        begin(forever, &spins);
        begin(forever, &spins);
        begin(exit_all, (void *)44);
        forever(&spins);
    }
    printf("exit of one thread: %s", how(reap(pid), text, sizeof text));
    pid = child();
    if (pid == 0) { // the first thread ends; the process lives until the last one does
        begin(exit_all, (void *)45);
        pthread_exit(NULL);
    }
    printf(", first thread gone: %s", how(reap(pid), text, sizeof text));
    pid = child();
    if (pid == 0) {
        begin(forever, &spins);
        sleep_ms(1);
        raise(SIGQUIT);
    }
    printf(", signal: %s\n", how(reap(pid), text, sizeof text));
}

int main(void)
{
    start();
    endings();
    waits();
    stops();
    hears();
    orphans();
    groups();
    threads_end();
    return 0;
}
