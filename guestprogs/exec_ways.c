// SPDX-License-Identifier: GPL-2.0-or-later
// Ways to execute and to fail at it: programs and scripts in memory files, descriptors, errors. Arguments are for its own use.
#define _GNU_SOURCE
#include "tasks.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char **environ;
static char *const none[] = {NULL};

static int ended(pid_t pid)
{
    int status = reap(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static long execveat_(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return syscall(SYS_execveat, fd, path, argv, envp, flags);
}

static int file(const char *text, size_t size, unsigned flags) // a read-only descriptor of a memory file
{
    int fd = memfd_create("made", MFD_CLOEXEC);
    MUST(fd >= 0);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, text + done, size - done);
        MUST(n > 0);
        done += (size_t)n;
    }
    MUST(fchmod(fd, 0755) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | (int)flags);
    MUST(again >= 0);
    close(fd);
    return again;
}

static int script(const char *line, unsigned flags)
{
    return file(line, strlen(line), flags);
}

static int try_fd(int fd, char *const argv[])
{
    pid_t pid = child();
    if (pid == 0) {
        execveat_(fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(200 + (errno < 50 ? errno : 50));
    }
    return ended(pid);
}

static int try_path(const char *path, char *const argv[])
{
    pid_t pid = child();
    if (pid == 0) {
        execve(path, argv, environ);
        _exit(200 + (errno < 50 ? errno : 50));
    }
    return ended(pid);
}

static void *only_exec(void *argument)
{
    char *args[] = {argument, "won", NULL};
    execv(argument, args);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    start();
    if (argc > 1) {
        if (strcmp(argv[1], "won") == 0)
            return 7;
        for (int i = 1; i < argc; i++) // what a script's name is depends on the descriptor
            printf("%s[%s]", i > 1 ? " " : "", strncmp(argv[i], "/dev/fd/", 8) == 0 ? "/dev/fd/N" : argv[i]);
        printf("\n");
        return 3;
    }
    char self[4096], line[4200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    MUST(n > 0);
    self[n] = 0;
    char *args[] = {"zero", "one", "two words", NULL};

    int fd = open(self, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0);
    struct stat st;
    MUST(fstat(fd, &st) == 0);
    char *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    MUST(image != MAP_FAILED);
    printf("by descriptor %d\n", try_fd(fd, args));
    int copy = file(image, (size_t)st.st_size, O_CLOEXEC);
    printf("a copy in memory %d\n", try_fd(copy, args));
    int half = file(image, 3000, O_CLOEXEC);
    printf("half of it %d\n", try_fd(half, args) < 0 || try_fd(half, args) > 200);
    int short_one = file(image, 40, O_CLOEXEC);
    printf("less than its header %d\n", try_fd(short_one, args));
    int made = memfd_create("made", MFD_CLOEXEC); // the descriptor that comes with it does not count
    MUST(write(made, image, (size_t)st.st_size) == st.st_size && fchmod(made, 0755) == 0);
    printf("made just now %d\n", try_fd(made, args));
    snprintf(line, sizeof line, "/proc/self/fd/%d", made);
    int busy = open(line, O_RDWR);
    MUST(busy >= 0);
    printf("open for writing %d\n", try_fd(made, args) == 200 + ETXTBSY);

    snprintf(line, sizeof line, "#!%s\n", self);
    printf("script %d\n", try_fd(script(line, 0), args));
    snprintf(line, sizeof line, "#!  %s   with  one argument \t \nrest", self);
    printf("script with an argument %d\n", try_fd(script(line, 0), args));
    snprintf(line, sizeof line, "#!%s", self);
    printf("script without an end %d\n", try_fd(script(line, 0), args));
    printf("script that closes %d\n", try_fd(script(line, O_CLOEXEC), args) == 200 + ENOENT);
    printf("no interpreter %d %d", try_fd(script("#!\n", 0), args), try_fd(script("#!   \t\n", 0), args));
    printf(" missing %d", try_fd(script("#!/nowhere/at/all\n", 0), args));
    printf(" a directory %d", try_fd(script("#!/\n", 0), args));
    printf(" nothing known %d %d\n", try_fd(script("hello\n", 0), args), try_fd(script("", 0), args));
    memset(line, 'a', 300), line[0] = '#', line[1] = '!', line[2] = '/', line[300] = 0;
    printf("a name too long %d", try_fd(script(line, 0), args));
    fd = script("#!/proc/self/fd/100\n", 0);
    MUST(dup2(fd, 100) == 100);
    printf(" itself %d\n", try_fd(100, args) == 200 + ELOOP);

    printf("empty name %d", try_path("", args));
    printf(" of a descriptor without the flag %d", err(execveat_(copy, "", args, environ, 0)) == ENOENT);
    printf(" bad flags %d", err(execveat_(copy, "x", args, environ, 0x40000000)) == EINVAL);
    printf(" bad descriptor %d", err(execveat_(999, "", args, environ, AT_EMPTY_PATH)) == EBADF);
    printf(" below a file %d", err(execveat_(copy, "x", args, environ, 0)) == ENOTDIR);
    printf(" device %d", err(execve("/dev/null", args, environ)) == EACCES);
    printf(" not executable %d", err(execve("/proc/self/maps", args, environ)) == EACCES);
    memset(line, 'a', 4200), line[4199] = 0;
    printf(" long %d\n", err(execve(line, args, environ)) == ENAMETOOLONG);
    printf("bad name %d", err(execve((char *)8, args, environ)) == EFAULT);
    printf(" bad string %d", err(execve(self, (char *[]){(char *)8, NULL}, environ)) == EFAULT);
    char *large = malloc(200000);
    memset(large, 'x', 199999), large[199999] = 0;
    printf(" a string too long %d", err(execve(self, (char *[]){large, NULL}, environ)) == E2BIG);
    enum { MANY = 80 };
    char *many[MANY + 1];
    large[100000] = 0;
    for (int i = 0; i < MANY; i++)
        many[i] = large;
    many[MANY] = NULL;
    printf(" too much %d\n", err(execve(self, many, environ)) == E2BIG);

    printf("no arguments %d\n", try_fd(copy, none) != 3 ? 1 : 0);
    pid_t pid = child();
    if (pid == 0) { // one of them wins
        for (int i = 0; i < 20; i++)
            begin(only_exec, self);
        only_exec(self);
    }
    printf("all at once %d\n", ended(pid));
    pid = child();
    if (pid == 0) { // the parent's file table is shared, and stays as it is
        pid_t other = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
        if (other == 0) {
            execl(self, self, "won", NULL);
            _exit(98);
        }
        int open_fd = fcntl(copy, F_GETFD) >= 0;
        int result = ended(other);
        _exit(result == 7 && open_fd && fcntl(copy, F_GETFD) == FD_CLOEXEC ? 4 : 5);
    }
    printf("shared descriptors %d\n", ended(pid));
    timer_t timer;
    MUST(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0);
    pid = child();
    if (pid == 0) // timers are not inherited
        _exit(timer_delete(timer) != 0 ? 6 : 5);
    printf("timers stay %d\n", ended(pid));
    return 0;
}
