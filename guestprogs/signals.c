// SPDX-License-Identifier: GPL-2.0-or-later
// Masks, pending signals, queues, nesting, SA_ flags, alternate stacks, interrupted calls.
#include "guest.h"
#include <sys/time.h>
#include <time.h>

static char order[64];
static volatile int at;
static char alternate[65536];

static void note(int signo)
{
    order[at++] = (char)('A' + signo);
}

static void info_note(int signo, siginfo_t *info, void *context)
{
    (void)context;
    printf("%d code %d value %d own %d\n", signo, info->si_code, info->si_value.sival_int, info->si_pid == getpid());
}

static void on_stack(int signo)
{
    char local;
    (void)signo;
    printf("on the alternate stack %d\n", &local > alternate && &local < alternate + sizeof alternate);
}

static void nested(int signo)
{
    note(signo);
    if (at < 6)
        raise(signo);
}

static void install(int signo, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signo, &action, NULL);
}

static void flush(const char *what)
{
    order[at] = 0;
    printf("%s: %s\n", what, order);
    at = 0;
}

int main(void)
{
    start();
    install(SIGUSR1, note, 0);
    install(SIGUSR2, note, 0);
    raise(SIGUSR1);
    flush("raised");
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    sigpending(&set);
    printf("pending %d %d\n", sigismember(&set, SIGUSR1), sigismember(&set, SIGUSR2));
    flush("blocked");
    sigprocmask(SIG_SETMASK, &old, NULL);
    flush("unblocked");

    struct sigaction action = {.sa_sigaction = info_note, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 1, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 1; i < 4; i++)
        sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i});
    sigprocmask(SIG_SETMASK, &old, NULL);
    kill(getpid(), SIGUSR1);

    install(SIGUSR2, nested, SA_NODEFER);
    raise(SIGUSR2);
    flush("nested");
    install(SIGUSR2, note, SA_RESETHAND);
    raise(SIGUSR2);
    sigaction(SIGUSR2, NULL, &action);
    printf("reset %d\n", action.sa_handler == SIG_DFL);
    flush("once");

    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, before;
    printf("sigaltstack %d\n", sigaltstack(&stack, &before));
    printf("none before %d\n", before.ss_flags == SS_DISABLE);
    install(SIGUSR2, on_stack, SA_ONSTACK);
    raise(SIGUSR2);
    stack.ss_size = 100;
    printf("too small %d\n", err(sigaltstack(&stack, NULL)));

    install(SIGALRM, note, 0);
    struct itimerval timer = {{0, 0}, {0, 20000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    sigemptyset(&set);
    printf("suspend %d\n", err(sigsuspend(&set)));
    flush("alarm");
    int fds[2];
    char byte;
    printf("pipe %d\n", pipe(fds));
    setitimer(ITIMER_REAL, &timer, NULL);
    printf("read interrupted %d\n", err(read(fds[0], &byte, 1)));
    setitimer(ITIMER_REAL, &timer, NULL);
    struct timespec long_time = {5, 0}, rest;
    printf("sleep interrupted %d\n", err(nanosleep(&long_time, &rest)));
    printf("rest %d\n", rest.tv_sec == 4);
    flush("alarms");
    signal(SIGPIPE, SIG_IGN);
    close(fds[0]);
    printf("broken pipe %d\n", err(write(fds[1], "x", 1)));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    siginfo_t info;
    struct timespec none = {0, 0};
    printf("sigtimedwait %d\n", sigtimedwait(&set, &info, &none) == SIGUSR1);
    printf("nothing left %d\n", err(sigtimedwait(&set, &info, &none)));
    printf("sigaction of SIGKILL %d\n", err(sigaction(SIGKILL, &action, NULL)));
    raise(SIGTERM);
    return 1;
}
