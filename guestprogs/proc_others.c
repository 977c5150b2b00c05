// SPDX-License-Identifier: GPL-2.0-or-later
// /proc of another process and of threads: while they live, when they are zombies, and when they are gone while their files
// are open.
#include "tasks.h"
#include <dirent.h>

static const char *const FILES[] = {
    "stat",         "status", "statm",    "cmdline", "comm",          "maps",  "smaps",
    "smaps_rollup", "limits", "environ",  "auxv",    "oom_score_adj", "wchan", "personality",
    "pagemap",      "task",   "fdinfo/0",
};
enum { COUNT = sizeof FILES / sizeof *FILES };
static int held[COUNT];
static char text[1 << 16];

static const char *path(pid_t pid, const char *name)
{
    static char at[128];
    snprintf(at, sizeof at, "/proc/%d/%s", pid, name);
    return at;
}

static int take(int fd, char *into, size_t size)
{
    ssize_t got = read(fd, into, size - 1);
    into[got > 0 ? got : 0] = 0;
    return got < 0 ? -errno : got > 0;
}

static void look(pid_t pid)
{
    for (int i = 0; i < COUNT; i++) {
        int fd = open(path(pid, FILES[i]), O_RDONLY);
        if (fd < 0) {
            printf("%s: no open %d\n", FILES[i], errno);
            continue;
        }
        printf("%s: %d\n", FILES[i], take(fd, text, 4096));
        close(fd);
    }
}

static void list(pid_t pid, const char *name)
{
    DIR *directory = opendir(path(pid, name));
    if (!directory) {
        printf("%s/: %d\n", name, errno);
        return;
    }
    int entries = 0;
    while (readdir(directory))
        entries++;
    closedir(directory);
    printf("%s/: %d entries\n", name, entries - 2);
}

static void links(pid_t pid)
{
    static const char *const NAMES[] = {"exe", "cwd", "root", "fd/0", "fd/77"};
    for (unsigned i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        ssize_t got = readlink(path(pid, NAMES[i]), text, sizeof text);
        printf("%s -> %d\n", NAMES[i], got < 0 ? -errno : got > 0);
    }
}

static void read_held(void)
{
    for (int i = 0; i < COUNT; i++)
        if (held[i] >= 0) {
            printf("%s, open: %d\n", FILES[i], take(held[i], text, 4096));
            lseek(held[i], 0, SEEK_SET);
        }
}

/* One line of /proc/PID/status. */
static const char *status_line(pid_t pid, const char *name)
{
    FILE *file = fopen(path(pid, "status"), "r");
    MUST(file != NULL);
    static char line[256];
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
            line[strcspn(line, "\n")] = 0;
            fclose(file);
            return line;
        }
    fclose(file);
    return "none";
}

static void wait_for_state(pid_t pid, char state)
{
    while (strchr(status_line(pid, "State"), '\t')[1] != state)
        sleep_ms(1);
}

static void *spin(void *stop)
{
    while (!*(volatile int *)stop)
        ;
    return NULL;
}

static void *sleep_in_pipe(void *pipe_end)
{
    char byte;
    MUST(read(*(int *)pipe_end, &byte, 1) == 1);
    return NULL;
}

static void of_threads(void)
{
    int gate[2], stop = 0;
    MUST(pipe(gate) == 0);
    pthread_t one = begin(spin, &stop), two = begin(sleep_in_pipe, &gate[0]);
    sleep_ms(5);
    list(getpid(), "task");
    int running = 0, asleep = 0;
    DIR *directory = opendir("/proc/self/task");
    MUST(directory != NULL);
    struct dirent *entry;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.') {
            char name[300];
            snprintf(name, sizeof name, "task/%s/stat", entry->d_name);
            int fd = open(path(getpid(), name), O_RDONLY);
            MUST(fd >= 0 && take(fd, text, 4096) == 1);
            close(fd);
            MUST(atoi(text) == atoi(entry->d_name));
            char state = strrchr(text, ')')[2];
            running += state == 'R';
            asleep += state == 'S';
            snprintf(name, sizeof name, "/proc/%s/status", entry->d_name);
            MUST(access(name, R_OK) == 0); /* not listed, but there */
        }
    closedir(directory);
    printf("%d running, %d asleep, %s\n", running, asleep, status_line(getpid(), "Threads"));
    stop = 1;
    MUST(write(gate[1], "x", 1) == 1);
    end(one), end(two);
    printf("%s\n", status_line(getpid(), "Threads"));
    close(gate[0]), close(gate[1]);
}

int main(void)
{
    start();
    MUST(syscall(SYS_close_range, 3, ~0u, 0) == 0);
    pid_t pid = child();
    if (!pid) {
        pause();
        _exit(0);
    }
    wait_for_state(pid, 'S');
    for (int i = 0; i < COUNT; i++)
        held[i] = open(path(pid, FILES[i]), O_RDONLY);
    int directory = open(path(pid, ""), O_RDONLY | O_DIRECTORY);
    puts("alive");
    look(pid);
    list(pid, "fd"), list(pid, "task"), list(pid, "fdinfo");
    links(pid);
    int name = open(path(pid, "comm"), O_RDWR);
    printf("another one's name: %d\n", write(name, "x", 1) < 0 ? -errno : 0);
    close(name);
    kill(pid, SIGSTOP);
    wait_for_state(pid, 'T');
    printf("%s\n", status_line(pid, "State"));
    kill(pid, SIGKILL);
    wait_for_state(pid, 'Z');
    puts("zombie");
    look(pid);
    list(pid, "fd"), list(pid, "task"), list(pid, "fdinfo");
    links(pid);
    read_held();
    static const char *const LINES[] = {"Name", "State", "FDSize", "VmSize", "Threads", "CoreDumping"};
    for (unsigned i = 0; i < sizeof LINES / sizeof *LINES; i++)
        printf("%s\n", status_line(pid, LINES[i]));
    reap(pid);
    puts("gone");
    printf("open %d\n", open(path(pid, "stat"), O_RDONLY) < 0 ? errno : 0);
    list(pid, "");
    read_held();
    printf("openat %d\n", openat(directory, "stat", O_RDONLY) < 0 ? errno : 0);
    printf("getdents %d\n", syscall(SYS_getdents64, directory, text, sizeof text) < 0 ? errno : 0);
    static const char *const NOT[] = {"/proc/0", "/proc/0001", "/proc/4194305", "/proc/self/task/1", "/proc/-1"};
    for (unsigned i = 0; i < sizeof NOT / sizeof *NOT; i++)
        printf("%s %d\n", NOT[i], access(NOT[i], F_OK) ? errno : 0);
    of_threads();
    return 0;
}
