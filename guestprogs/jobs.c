// SPDX-License-Identifier: GPL-2.0-or-later
// Processes that stop, go on, lose their parents and are waited for, in cases that few programs meet. The program is the
// leader of a session, as the first one of a machine is.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef __WNOTHREAD
#define __WNOTHREAD 0x20000000
#endif
#ifndef __WALL
#define __WALL 0x40000000
#endif

static const char *told(long result, long expected, const char *as)
{
    return result < 0 ? strerror(errno) : result == expected ? as : "something else";
}

static volatile sig_atomic_t came;
static siginfo_t last;

static void note(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    came++;
    last = *info;
}

static void handle(int signo)
{
    struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART };
    MUST(sigaction(signo, &action, NULL) == 0);
}

static void stop_without_a_job_control_shell(void)
{
    raise(SIGTSTP);
    printf("nobody could continue the session's leader: it goes on\n");
    pid_t pid = child();
    if (!pid) {
        raise(SIGTTIN);
        _exit(4);
    }
    printf("nor a child of its group: %d\n", WEXITSTATUS(reap(pid)));
}

static void exit_signals(void)
{
    int status;
    for (int signo = 63; signo <= 65; signo++) {
        handle(63);
        handle(64);
        came = 0;
        fflush(stdout);
        pid_t pid = (pid_t)syscall(SYS_clone, (long)signo, 0L, 0L, 0L, 0L);
        if (!pid)
            _exit(signo);
        MUST(waitpid(pid, &status, __WALL) == pid);
        printf("exit signal %d: %d, signals %d\n", signo, WEXITSTATUS(status), (int)came);
    }
}

// Stop, and when somebody has let it go on, say so.
static void stop_and_tell(int end)
{
    signal(SIGHUP, SIG_IGN);
    raise(SIGSTOP);
    MUST(write(end, "c", 1) == 1);
    _exit(0);
}

static void orphaned_group(void)
{
    int pipes[2], status;
    char got = 0;
    MUST(pipe(pipes) == 0);
    pid_t parent = child();
    if (!parent) {
        setsid();
        pid_t pid = fork();
        if (!pid) {
            setpgid(0, 0);
            stop_and_tell(pipes[1]);
        }
        waitpid(pid, &status, WUNTRACED);
        _exit(0);
    }
    close(pipes[1]);
    reap(parent);
    MUST(read(pipes[0], &got, 1) == 1);
    close(pipes[0]);
    printf("a stopped job whose parent ends goes on: %c\n", got);
}

static void orphaned_by_its_own(void)
{
    int pipes[2], status;
    char got = 0;
    MUST(pipe(pipes) == 0);
    pid_t leader = child();
    if (!leader) {
        setsid();
        pid_t link = fork();
        if (!link) {
            setpgid(0, 0);
            pid_t pid = fork();
            if (!pid)
                stop_and_tell(pipes[1]);
            waitpid(pid, &status, WUNTRACED);
            _exit(0);
        }
        waitpid(link, &status, 0);
        MUST(read(pipes[0], &got, 1) == 1);
        printf("one whose group's last link to the session ends goes on: %c\n", got);
        fflush(stdout);
        _exit(0);
    }
    reap(leader);
    close(pipes[0]);
    close(pipes[1]);
}

static void signals_of_the_stopped(void)
{
    int status;
    pid_t pid = child();
    if (!pid)
        for (;;)
            pause();
    kill(pid, SIGSTOP);
    MUST(waitpid(pid, &status, WUNTRACED) == pid);
    kill(pid, SIGTERM);
    sleep_ms(20);
    printf("SIGTERM waits while it is stopped: %d", (int)waitpid(pid, &status, WNOHANG));
    kill(pid, SIGCONT);
    printf(", then it ends with %d\n", WTERMSIG(reap(pid)));
}

static void *in_vfork(void *unused)
{
    struct timespec while_others_stop = {0, 150000000};
    if (!syscall(SYS_clone, (long)(CLONE_VFORK | SIGCHLD), 0L, 0L, 0L, 0L)) {
        nanosleep(&while_others_stop, NULL);
        _exit(3);
    }
    return unused;
}

static void group_stops(void)
{
    int status;
    pid_t pid = child();
    if (!pid) {
        begin(in_vfork, NULL);
        sleep_ms(20);
        raise(SIGSTOP);
        _exit(6);
    }
    sleep_ms(60);
    printf("while a thread is in vfork: %s", told(waitpid(pid, &status, WUNTRACED | WNOHANG), 0, "not stopped"));
    sleep_ms(250);
    printf(", then: %s\n", told(waitpid(pid, &status, WUNTRACED | WNOHANG), pid, "stopped"));
    kill(pid, SIGKILL);
    reap(pid);
}

static void waits_without_wexited(void)
{
    siginfo_t info;
    pid_t pid = child();
    if (!pid)
        _exit(7);
    MUST(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    printf("WSTOPPED of one that has ended: %s", told(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG), 0, "none yet"));
    printf(", %s", told(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0, "stopped"));
    printf("; WCONTINUED: %s\n", told(waitid(P_ALL, 0, &info, WCONTINUED | WNOHANG), 0, "none yet"));
    reap(pid);
}

static pid_t childs;
static volatile int step;

static void *has_a_child(void *unused)
{
    childs = fork();
    if (!childs) {
        pause();
        _exit(3);
    }
    step = 1;
    while (step != 2)
        sleep_ms(1);
    return unused;
}

static void threads_children(void)
{
    int status;
    fflush(stdout);
    pthread_t thread = begin(has_a_child, NULL);
    while (!step)
        sleep_ms(1);
    printf("__WNOTHREAD of another thread's child: %s", told(waitpid(childs, &status, WNOHANG | __WNOTHREAD), 0, "lives"));
    printf(", without: %s\n", told(waitpid(childs, &status, WNOHANG), 0, "lives"));
    kill(childs, SIGKILL);
    reap(childs);
    step = 2;
    end(thread);
}

/* A child with a child of its own that has ended, or will. It ends when that has, with `wait`. */
static pid_t grandparent(long exit_signal, int ends_after, int wait, pid_t *grandchild)
{
    int pipes[2];
    siginfo_t info;
    MUST(pipe(pipes) == 0);
    pid_t pid = child();
    if (!pid) {
        signal(SIGCHLD, SIG_DFL);
        pid_t own = (pid_t)syscall(SYS_clone, exit_signal, 0L, 0L, 0L, 0L);
        if (!own) {
            sleep_ms(ends_after);
            _exit(5);
        }
        MUST(write(pipes[1], &own, sizeof own) == sizeof own);
        if (wait)
            waitid(P_PID, (id_t)own, &info, WEXITED | WNOWAIT);
        sleep_ms(20);
        _exit(1);
    }
    MUST(read(pipes[0], grandchild, sizeof *grandchild) == sizeof *grandchild);
    close(pipes[0]);
    close(pipes[1]);
    return pid;
}

static void subreaper(void)
{
    int status;
    pid_t grandchild;
    siginfo_t info;
    sigset_t set, before;
    struct timespec now = {0, 0};

    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    handle(SIGCHLD);
    reap(grandparent(0, 80, 0, &grandchild));
    sleep_ms(5);
    came = 0;
    printf("a grandchild without exit signal: %s", told(waitpid(grandchild, &status, 0), grandchild, "waited for"));
    sleep_ms(5);
    printf(", SIGCHLD %d\n", (int)came);

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &before);
    pid_t pid = grandparent(SIGCHLD, 0, 1, &grandchild);
    reap(pid);
    MUST(sigtimedwait(&set, &info, &now) == SIGCHLD);
    printf("one that has ended is announced: %d\n", info.si_pid == grandchild);
    reap(grandchild);
    sigprocmask(SIG_SETMASK, &before, NULL);

    signal(SIGCHLD, SIG_IGN);
    grandparent(SIGCHLD, 0, 1, &grandchild);
    printf("with SIGCHLD ignored: %s\n", told(waitpid(-1, &status, 0), grandchild, "waited for"));
    signal(SIGCHLD, SIG_DFL);
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

static void death_of_a_parent(void)
{
    int pipes[2];
    char ready;
    came = 0;
    MUST(pipe(pipes) == 0);
    pid_t pid = child();
    if (!pid) {
        pid_t parent = getpid();
        if (!fork()) {
            handle(SIGUSR1);
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            MUST(write(pipes[1], "r", 1) == 1);
            while (!came)
                sleep_ms(1);
            dprintf(pipes[1], "%d%d", last.si_code, last.si_pid == parent);
            _exit(0);
        }
        MUST(read(pipes[0], &ready, 1) == 1);
        _exit(1);
    }
    reap(pid);
    char text[3] = "";
    MUST(read(pipes[0], text, 2) == 2);
    printf("PR_SET_PDEATHSIG: code %c, from the parent %c\n", text[0], text[1]);
    close(pipes[0]);
    close(pipes[1]);
}

static void no_room_for_signals(void)
{
    struct rlimit before, none;
    sigset_t all, old;
    union sigval value = { .sival_int = 3 };
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    MUST(getrlimit(RLIMIT_SIGPENDING, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    MUST(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
    handle(SIGRTMIN);
    handle(SIGUSR1);
    handle(SIGUSR2);
    printf("RLIMIT_SIGPENDING 0: kill %s", told(kill(getpid(), SIGRTMIN), 0, "done"));
    printf(" %s", told(kill(getpid(), SIGRTMIN), 0, "done"));
    printf(", sigqueue %s", told(sigqueue(getpid(), SIGRTMIN + 1, value), 0, "done"));
    printf(" %s", told(sigqueue(getpid(), SIGUSR1, value), 0, "done"));
    printf(", kill %s\n", told(kill(getpid(), SIGUSR2), 0, "done"));
    MUST(setrlimit(RLIMIT_SIGPENDING, &before) == 0);
    for (int i = 0; i < 4; i++) {
        siginfo_t info;
        struct timespec now = {0, 0};
        int signo = sigtimedwait(&all, &info, &now);
        const char *which = signo < 0 ? "none" : signo == SIGRTMIN ? "RTMIN" : signo == SIGUSR1 ? "USR1" : "USR2";
        printf("  %s", which);
        if (signo > 0)
            printf(" code %d, from us %d", info.si_code, info.si_pid == getpid());
        printf("\n");
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
}

int main(void)
{
    stop_without_a_job_control_shell();
    exit_signals();
    orphaned_group();
    orphaned_by_its_own();
    signals_of_the_stopped();
    group_stops();
    waits_without_wexited();
    threads_children();
    subreaper();
    death_of_a_parent();
    no_room_for_signals();
    return 0;
}
