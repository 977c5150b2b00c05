// SPDX-License-Identifier: GPL-2.0-or-later
// Executes itself in many ways; what must stay stays, what must go is gone. Arguments are for its own use.
#include "tasks.h"
#include <spawn.h>

extern char **environ;
static const char *self;

static void *only_wait(void *argument)
{
    for (;;)
        sleep_ms(1000);
    return argument;
}

static void *exec_now(void *argument)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    char *args[] = {(char *)self, "many", pid, NULL};
    execve(self, args, argument);
    _exit(98);
}

static int child_mode(int argc, char **argv)
{
    if (strcmp(argv[1], "args") == 0) {
        printf("arguments %d", argc - 2);
        for (int i = 2; i < argc; i++)
            printf(" [%s]", argv[i]);
        printf(" environment %s\n", getenv("GUEST") ? getenv("GUEST") : "none");
        return 5;
    }
    if (strcmp(argv[1], "kept") == 0) {
        struct sigaction ignored, handled;
        sigset_t mask, pending;
        sigaction(SIGUSR1, NULL, &ignored);
        sigaction(SIGUSR2, NULL, &handled);
        sigprocmask(SIG_SETMASK, NULL, &mask);
        sigpending(&pending);
        printf("ignored %d handled %d blocked %d pending %d", ignored.sa_handler == SIG_IGN, handled.sa_handler != SIG_DFL,
               sigismember(&mask, SIGTERM), sigismember(&pending, SIGTERM));
        printf(" open %d closed %d", fcntl(atoi(argv[2]), F_GETFD) >= 0, fcntl(atoi(argv[3]), F_GETFD) < 0 && errno == EBADF);
        printf(" same pid %d\n", getpid() == atoi(argv[4]));
        return 6;
    }
    if (strcmp(argv[1], "many") == 0) {
        printf("from a thread: same pid %d, tid is pid %d\n", getpid() == atoi(argv[2]), (int)syscall(SYS_gettid) == getpid());
        return 7;
    }
    if (strcmp(argv[1], "again") == 0) {
        int left = atoi(argv[2]);
        if (left == 0)
            return 8;
        char number[16];
        snprintf(number, sizeof number, "%d", left - 1);
        execl(self, self, "again", number, NULL);
    }
    return 99;
}

static void on_signal(int number)
{
    (void)number;
}

static int ended(pid_t pid)
{
    int status = reap(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int share(void *shared)
{
    *(volatile int *)shared = 1; // seen by the parent, which waits until the child executes or exits
    return 9;
}

int main(int argc, char **argv)
{
    start();
    self = argv[0];
    if (argc > 1)
        return child_mode(argc, argv);
    char *env[] = {"GUEST=yes", NULL};
    pid_t pid = child();
    if (pid == 0) {
        char *args[] = {"any name", "args", "one", "", "three words here", NULL};
        execve(self, args, env);
        _exit(98);
    }
    printf("exec %d\n", ended(pid));
    int open_fd = dup(1), closed_fd = fcntl(1, F_DUPFD_CLOEXEC, 40);
    pid = child();
    if (pid == 0) {
        signal(SIGUSR1, SIG_IGN);
        signal(SIGUSR2, on_signal);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        kill(getpid(), SIGTERM);
        char a[16], b[16], c[16];
        snprintf(a, sizeof a, "%d", open_fd), snprintf(b, sizeof b, "%d", closed_fd), snprintf(c, sizeof c, "%d", getpid());
        execl(self, self, "kept", a, b, c, NULL);
        _exit(98);
    }
    printf("exec %d\n", ended(pid));
    pid = child();
    if (pid == 0) { // the thread that is not the first one executes; all others go
        for (int i = 0; i < 5; i++)
            begin(only_wait, NULL);
        begin(exec_now, env);
        only_wait(NULL);
    }
    printf("exec %d\n", ended(pid));
    pid = child();
    if (pid == 0) {
        execl(self, self, "again", "25", NULL);
        _exit(98);
    }
    printf("again and again %d\n", ended(pid));
    volatile int shared = 0;
    static _Alignas(16) char stack[65536];
    fflush(stdout);
    // vfork itself is fork in some C libraries
    pid = clone(share, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)&shared);
    printf("vfork shares %d %d\n", shared, ended(pid));
    fflush(stdout);
    pid = vfork();
    if (pid == 0) {
        execl(self, self, "again", "1", NULL);
        _exit(98);
    }
    printf("vfork and exec %d\n", ended(pid));
    char *args[] = {(char *)self, "args", "spawned", NULL};
    fflush(stdout);
    MUST(posix_spawn(&pid, self, NULL, NULL, args, env) == 0);
    printf("spawn %d\n", ended(pid));
    char *long_args[4002];
    long_args[0] = (char *)self, long_args[1] = "none";
    for (int i = 2; i < 4001; i++)
        long_args[i] = "0123456789";
    long_args[4001] = NULL;
    pid = child();
    if (pid == 0) {
        execv(self, long_args);
        _exit(98);
    }
    printf("many arguments %d\n", ended(pid));
    printf("no file %d", err(execl("/nowhere/at-all", "x", NULL)) == ENOENT);
    printf(" directory %d", err(execl("/", "x", NULL)) == EACCES);
    printf(" bad pointers %d\n", err(execve(self, (char **)8, NULL)) == EFAULT);
    return 0;
}
