// SPDX-License-Identifier: GPL-2.0-or-later
// Files and directories that can only be read, and with a directory as argument ones that can be written.
#include "guest.h"
#include <dirent.h>
#include <sys/stat.h>

static void writable(const char *where)
{
    char name[300], other[300];
    snprintf(name, sizeof name, "%s/guest-file", where);
    snprintf(other, sizeof other, "%s/guest-other", where);
    unlink(name);
    unlink(other);
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
    printf("create %d\n", fd >= 0);
    printf("exists %d\n", err(open(name, O_RDWR | O_CREAT | O_EXCL, 0644)));
    char *text = malloc(3 * page);
    memset(text, 'a', 3 * page);
    printf("write %d\n", (int)(write(fd, text, 3 * page) / (ssize_t)page));
    char *m = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("mapped %c\n", m[page]);
    m[page] = 'b';
    m[2 * page] = 'c';
    printf("msync %d\n", msync(m, 3 * page, MS_SYNC));
    char byte;
    printf("read back %d %c\n", (int)pread(fd, &byte, 1, (off_t)page), byte);
    printf("pwrite %d seen %c\n", (int)pwrite(fd, "d", 1, 0), m[0]);
    printf("hole %d seen %d %c\n", err(madvise(m + page, page, MADV_REMOVE)), m[page], m[2 * page]);
    printf("read back %d %d\n", (int)pread(fd, &byte, 1, (off_t)page), byte);
    printf("truncate %d\n", ftruncate(fd, (off_t)page + 10));
    struct stat st;
    fstat(fd, &st);
    printf("size %d mode %o links %d\n", (int)(st.st_size - (off_t)page), (unsigned)st.st_mode & 07777, (int)st.st_nlink);
    munmap(m, 3 * page);
    printf("rename %d\n", rename(name, other));
    printf("gone %d\n", err(open(name, O_RDONLY)));
    printf("chmod %d\n", chmod(other, 0600));
    printf("unlink %d\n", unlink(other));
    printf("still open %d\n", (int)pread(fd, &byte, 1, 0));
    printf("mkdir %d\n", mkdir(name, 0755));
    printf("rmdir %d\n", rmdir(name));
}

int main(int argc, char **argv)
{
    start();
    int fd = open("/proc/self/exe", O_RDONLY);
    char head[4];
    printf("read %d\n", (int)read(fd, head, 4));
    printf("seek %d\n", (int)lseek(fd, 1, SEEK_SET));
    printf("again %d %c%c%c\n", (int)read(fd, head, 3), head[0], head[1], head[2]);
    printf("dup %d\n", (int)lseek(dup(fd), 0, SEEK_CUR));
    printf("missing %d\n", err(open("/no/such/file", O_RDONLY)));
    printf("not a directory %d\n", err(open("/proc/self/exe/x", O_RDONLY)));
    printf("is a directory %d\n", err(open("/", O_WRONLY)));
    printf("closed %d\n", err(close(77)));
    struct stat st;
    printf("stat %d dir %d\n", stat("/", &st), S_ISDIR(st.st_mode));
    printf("lstat %d link %d\n", lstat("/proc/self/exe", &st), S_ISLNK(st.st_mode));
    DIR *dir = opendir("/");
    int dots = 0, proc = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        dots += entry->d_name[0] == '.' && (entry->d_name[1] == 0 || entry->d_name[1] == '.');
        proc += strcmp(entry->d_name, "proc") == 0;
    }
    closedir(dir);
    printf("dots %d proc %d\n", dots, proc);
    printf("chdir %d\n", chdir("/"));
    char cwd[100];
    printf("cwd %s\n", getcwd(cwd, sizeof cwd));
    int fds[2];
    printf("pipe %d\n", pipe(fds));
    printf("write %d\n", (int)write(fds[1], "pipe", 4));
    printf("nonblock %d\n", fcntl(fds[0], F_SETFL, O_NONBLOCK));
    printf("read %d\n", (int)read(fds[0], cwd, sizeof cwd));
    printf("empty %d\n", err(read(fds[0], cwd, 1)));
    printf("access %d %d\n", access("/", R_OK | X_OK), err(access("/no", R_OK)));
    if (argc > 1)
        writable(argv[1]);
    return 0;
}
