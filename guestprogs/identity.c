// SPDX-License-Identifier: GPL-2.0-or-later
// Who and where: limits, time that goes forward, names, randomness, the environment.
#include "guest.h"
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>

int main(int argc, char **argv, char **envp)
{
    start();
    printf("argc %d env %d\n", argc, envp[0] != NULL);
    (void)argv;
    printf("pid %d\n", getpid() > 0 && getpid() == (int)syscall(SYS_gettid));
    printf("uid %d %d\n", getuid() == geteuid(), getgid() == getegid());
    struct rlimit limit;
    printf("stack limit %d %d\n", getrlimit(RLIMIT_STACK, &limit), limit.rlim_cur == 8 << 20);
    limit.rlim_cur = 20;
    limit.rlim_max = 20;
    printf("nofile %d\n", setrlimit(RLIMIT_NOFILE, &limit));
    int opened = 0;
    while (open("/dev/null", O_RDONLY) >= 0)
        opened++;
    printf("opened %d then %d\n", opened >= 14 && opened <= 17, errno);
    struct timespec first, second;
    clock_gettime(CLOCK_MONOTONIC, &first);
    struct timespec nap = {0, 3000000};
    printf("nanosleep %d\n", nanosleep(&nap, NULL));
    clock_gettime(CLOCK_MONOTONIC, &second);
    long passed = (second.tv_sec - first.tv_sec) * 1000000000L + second.tv_nsec - first.tv_nsec;
    printf("slept %d\n", passed >= 3000000);
    printf("time %d\n", time(NULL) > 1700000000);
    struct utsname name;
    printf("uname %d %s\n", uname(&name), name.sysname);
    unsigned char random[32];
    unsigned total = 0;
    printf("getrandom %d\n", (int)syscall(SYS_getrandom, random, 32, 0));
    for (int i = 0; i < 32; i++)
        total += random[i];
    printf("random %d\n", total > 1000 && total < 7000);
    struct rusage usage;
    printf("getrusage %d faults %d\n", getrusage(RUSAGE_SELF, &usage), usage.ru_minflt > 0);
    printf("umask %o\n", umask(077) & 0);
    return 7;
}
