/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls with more than one thing wrong: which of them Linux tells of. What is read from the program on the way shows as
 * faults. Argument: a directory to work in. */
#include "guest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>

#define T(call) printf("%s: %d\n", #call, err(call))
#define BAD ((void *)none)
#define LOCK_MAND_BIT 32

int main(int argc, char **argv)
{
    start();
    if (argc < 2 || chdir(argv[1]))
        return 2;
    char *none = map(1, PROT_NONE, MAP_PRIVATE), *buffer = fresh(1);
    memset(buffer, 0, page);
    int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644);
    int place = open("file", O_PATH), event = eventfd(0, 0), poll = epoll_create1(0);
    int pair[2], pipes[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    pipe(pipes);
    struct epoll_event wanted = {.events = EPOLLIN};

    puts("a descriptor that only stands for a place");
    T(fsync(place));
    T(flock(place, LOCK_SH));
    T(syscall(SYS_fallocate, place, 0, 0L, -1L));
    T(pread(place, buffer, 1, 0));
    T(syscall(SYS_preadv, place, NULL, 1, 0, 0));
    T(lseek(place, 0, 99));
    T(epoll_ctl(poll, EPOLL_CTL_ADD, place, &wanted));
    T(syscall(SYS_syncfs, place));
    T(sync_file_range(place, 0, 1, 0));
    struct itimerspec at;
    T(timerfd_gettime(place, &at));
    T(splice(place, NULL, pipes[1], NULL, 1, 0));

    puts("descriptors and flags");
    T(accept4(-1, NULL, NULL, 1));
    T(accept4(file, NULL, NULL, 1));
    T(epoll_wait(-1, NULL, 0, 0));
    T(flock(-1, 3));
    T(flock(file, LOCK_MAND_BIT));
    T(copy_file_range(-1, NULL, file, NULL, 1, 1));
    T(copy_file_range(file, BAD, file, NULL, 1, 1));
    T(syscall(SYS_preadv, -1, NULL, 1, -1L, -1L));
    T(pread(-1, buffer, 1, -1));
    T(sync_file_range(file, 0, 1, 8));
    T(sync_file_range(pipes[0], 0, 1, 0));
    T(sync_file_range(file, -1, 1, 0));
    T(lseek(event, 7, SEEK_SET));
    T(fchmod(event, 0600));
    T(fchmod(pair[0], 0600));
    T(fcntl(file, F_SETOWN, 1 << 29));

    puts("sockets");
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "nobody"};
    T(connect(file, BAD, 16));
    T(connect(file, (struct sockaddr *)&name, 999));
    T(setsockopt(file, SOL_SOCKET, SO_SNDBUF, buffer, -1));
    T(setsockopt(pair[0], SOL_SOCKET, 14, buffer, 4));
    T(sendto(pair[0], buffer, 1, MSG_OOB, (struct sockaddr *)&name, 1));

    T(semop(-1, BAD, 1));

    puts("names");
    T(syscall(SYS_renameat2, -1, "x", -1, BAD, 8));
    T(syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, BAD, 3));
    T(renameat(-1, "x", AT_FDCWD, "y"));
    T(mknodat(-1, "x", S_IFLNK, 0));
    T(mknodat(-1, BAD, S_IFDIR, 0));
    T(getxattr("missing", "", buffer, 1));
    T(getxattr("missing", BAD, buffer, 1));
    T(getxattr("file", "nothing.like.it", buffer, 1));
    T(syscall(SYS_linkat, AT_FDCWD, BAD, AT_FDCWD, BAD, 1));
    T(fstatat(AT_FDCWD, BAD, (struct stat *)buffer, 1));
    T(syscall(SYS_statx, AT_FDCWD, BAD, 0, 0x80000000, buffer));

    puts("copies");
    int zero = open("/dev/zero", O_RDONLY);
    T(sendfile(file, zero, NULL, 3000));
    printf("length %ld\n", (long)lseek(file, 0, SEEK_END));
    off_t far = (off_t)1 << 62;
    printf("sendfile from far away %d\n", sizeof(long) == 8 ? err(sendfile(file, file, &far, 10)) : EOVERFLOW);
    struct { long long flags, mode, resolve, more; } how = {0, 0, 0, 1};
    T(syscall(SYS_openat2, AT_FDCWD, BAD, &how, sizeof how));
    T(syscall(SYS_openat2, AT_FDCWD, "file", none - 24, sizeof how));
    T(syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, -1L));
    char *end = fresh(2);
    munmap(end + page, page);
    struct iovec here = {end + page - 50, 100}, there = {buffer, 100};
    printf("process_vm_readv %zd\n", process_vm_readv(getpid(), &here, 1, &there, 1, 0));

    puts("mounts");
    T(mount(BAD, ".", "ext4", 0, NULL));
    T(mount("none", "missing", BAD, 0, NULL));
    T(mount("none", "missing", "ext4", 0, BAD));
    T(mount("none", "missing", "ext4", 0, end + page - 100));
    T(umount2("missing", 0));
    T(umount2(BAD, 64));
    T(umount2(BAD, 0));

    puts("timers and signals");
    T(syscall(SYS_timer_create, CLOCK_REALTIME_COARSE, BAD, buffer));
    T(syscall(SYS_timer_create, -5, NULL, BAD));
    T(syscall(SYS_timer_create, -6, NULL, BAD));
    T(syscall(SYS_rt_sigpending, BAD, 0));
    memset(buffer, 1, 128);
    T(syscall(SYS_rt_sigqueueinfo, 1 << 29, SIGUSR1, buffer));
    memset(buffer, 0x55, 128);
    T(syscall(SYS_waitid, 77, 0, buffer, 1, NULL));
    /* A word of 64 bits leaves a hole before si_pid. */
    printf("what was stored: %x, hole: %x\n", buffer[0], sizeof(long) == 8 ? buffer[12] : 0x55);
    return 0;
}
