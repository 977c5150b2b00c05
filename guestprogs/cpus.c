// SPDX-License-Identifier: GPL-2.0-or-later
// What a program may ask about CPUs: affinity, getcpu, yield, membarrier, priorities. Only what is the same with any number.
#include "tasks.h"
#include <sys/resource.h>

static volatile int ran_on_other;

static void *on_one(void *argument)
{
    cpu_set_t one, got;
    int cpu = (int)(intptr_t)argument;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MUST(sched_setaffinity(0, sizeof one, &one) == 0);
    for (int i = 0; i < 50; i++) {
        if (sched_getcpu() != cpu)
            ran_on_other = 1;
        sched_yield();
    }
    CPU_ZERO(&got);
    MUST(sched_getaffinity(0, sizeof got, &got) == 0);
    return (void *)(intptr_t)(CPU_COUNT(&got) == 1 && CPU_ISSET(cpu, &got));
}

int main(void)
{
    start();
    cpu_set_t all;
    CPU_ZERO(&all);
    MUST(sched_getaffinity(0, sizeof all, &all) == 0);
    int cpus = CPU_COUNT(&all);
    printf("cpus %d online %d", cpus >= 1, sysconf(_SC_NPROCESSORS_ONLN) >= cpus);
    int cpu = sched_getcpu();
    printf(" on one of them %d\n", cpu >= 0 && CPU_ISSET(cpu, &all));
    pthread_t threads[4];
    int right = 0, first = 0;
    while (!CPU_ISSET(first, &all))
        first++;
    for (int i = 0; i < 4; i++)
        threads[i] = begin(on_one, (void *)(intptr_t)first);
    for (int i = 0; i < 4; i++)
        right += (int)(intptr_t)end(threads[i]);
    printf("bound %d elsewhere %d\n", right, ran_on_other);
    cpu_set_t none;
    CPU_ZERO(&none);
    printf("no cpu %d", err(sched_setaffinity(0, sizeof none, &none)) == EINVAL);
    printf(" nobody %d", err(sched_getaffinity(99999999, sizeof all, &all)) == ESRCH);
    printf(" short %d\n", err(syscall(SYS_sched_getaffinity, 0, 1, &all)) == EINVAL);
    long commands = syscall(SYS_membarrier, 0, 0, 0);
    printf("membarrier %d", commands > 0 && syscall(SYS_membarrier, 1, 0, 0) == 0);
    printf(" bad %d\n", err(syscall(SYS_membarrier, 1 << 20, 0, 0)) == EINVAL);
    printf("nice %d", getpriority(PRIO_PROCESS, 0) == 0 && setpriority(PRIO_PROCESS, 0, 5) == 0);
    printf(" %d\n", getpriority(PRIO_PROCESS, 0));
    printf("policy %ld yield %ld\n", syscall(SYS_sched_getscheduler, 0), (long)sched_yield());
    return 0;
}
