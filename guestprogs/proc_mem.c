// SPDX-License-Identifier: GPL-2.0-or-later
// /proc/self/mem: reads and writes, against the protection too, across pages, where nothing is, below a stack.
#include "guest.h"

static int mem;

static void put(const char *what, char *where, const char *text)
{
    long done = pwrite(mem, text, strlen(text), (off_t)(uintptr_t)where);
    printf("write %s %ld %d\n", what, done, done < 0 ? errno : 0);
}

static void get(const char *what, char *where, size_t size)
{
    char data[16] = "";
    long done = pread(mem, data, size, (off_t)(uintptr_t)where);
    printf("read %s %ld %d '%s'\n", what, done, done < 0 ? errno : 0, data);
}

int main(void)
{
    start();
    mem = open("/proc/self/mem", O_RDWR);
    printf("open %d\n", mem < 0 ? errno : 0);
    char *a = fresh(4);
    strcpy(a, "text");
    get("own", a, 4);
    put("own", a + 2, "xy");
    printf("now %s\n", a);
    put("fresh", a + page, "fresh");
    put("across pages", a + 3 * page - 3, "across");
    printf("now %s %.6s\n", a + page, a + 3 * page - 3);

    char *ro = map(2, PROT_READ, MAP_PRIVATE);
    (void)*(volatile char *)ro;
    put("zero page", ro + 1, "forced");
    put("read-only", ro + page, "forced");
    printf("now %s %s\n", ro + 1, ro + page);
    char *none = map(2, PROT_NONE, MAP_PRIVATE);
    put("PROT_NONE", none, "hidden");
    get("PROT_NONE", none, 6);
    get("PROT_NONE, fresh", none + page, 6);
    char *text = (char *)(uintptr_t)&main, before[4];
    memcpy(before, text, 4);
    printf("write code %d\n", (int)pwrite(mem, before, 4, (off_t)(uintptr_t)text));
    printf("code is the same %d\n", memcmp(before, text, 4) == 0);

    char *shared = map(2, PROT_READ, MAP_SHARED);
    put("shared read-only", shared, "no");
    char *s = map(2, PROT_READ | PROT_WRITE, MAP_SHARED);
    put("shared", s + page - 2, "both");
    printf("now %.4s\n", s + page - 2);

    char *edge = fresh(2);
    munmap(edge + page, page);
    memcpy(edge + page - 3, "end", 3);
    get("up to the end", edge + page - 3, 8);
    put("up to the end", edge + page - 2, "ENDS");
    printf("now %.3s\n", edge + page - 3);
    get("nothing", (char *)64, 4);
    put("nothing", (char *)64, "x");
    char local[8];
    get("below the stack", (char *)((uintptr_t)local & -page) - 40 * page, 4);
    printf("bad buffer %d\n", err(pread(mem, (void *)64, 4, (off_t)(uintptr_t)a)));
    printf("bad buffer %d\n", err(pwrite(mem, (void *)64, 4, (off_t)(uintptr_t)a)));
    printf("seek %d\n", lseek(mem, (off_t)(uintptr_t)a, SEEK_SET) == (off_t)(uintptr_t)a);
    printf("read %d\n", (int)read(mem, local, 2));
    printf("seek on %d\n", lseek(mem, 1, SEEK_CUR) == (off_t)(uintptr_t)a + 3);
    printf("seek to the end %d\n", err(lseek(mem, 0, SEEK_END)));
    printf("map %d\n", failed(mmap(NULL, page, PROT_READ, MAP_PRIVATE, mem, 0)));
    return 0;
}
