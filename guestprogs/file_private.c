// SPDX-License-Identifier: GPL-2.0-or-later
// Private file mappings: fault-around, copy on write, offsets, the end of the file.
#include "guest.h"

int main(void)
{
    start();
    int fd = open("/proc/self/exe", O_RDONLY);
    struct stat st;
    fstat(fd, &st);
    size_t pages = ((size_t)st.st_size + page - 1) / page;
    printf("big enough %d\n", pages >= 3);
    char *a = mmap(NULL, pages * page, PROT_READ, MAP_PRIVATE, fd, 0);
    printf("magic %.3s\n", a + 1);
    unsigned long total = 0;
    for (size_t i = 0; i < (size_t)st.st_size; i += 512)
        total += (unsigned char)a[i];
    char *b = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    unsigned long copy = 0;
    for (size_t i = 0; i < pages; i += 2)
        b[i * page + 1] ^= 0x55;
    for (size_t i = 0; i < pages; i += 2)
        b[i * page + 1] ^= 0x55;
    for (size_t i = 0; i < (size_t)st.st_size; i += 512)
        copy += (unsigned char)b[i];
    printf("same %d\n", total == copy);
    char *c = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)page);
    printf("offset %d\n", memcmp(c, a + page, page) == 0);
    memset(c, 0, page);
    printf("private %d\n", memcmp(a + page, b + page, page) == 0);
    char *tail = a + (pages - 1) * page;
    unsigned beyond = 0;
    for (size_t i = (size_t)st.st_size % page; i && i < page; i++)
        beyond += (unsigned char)tail[i];
    printf("behind the end %u\n", beyond);
    munmap(b, pages * page);
    close(fd);
    printf("after close %.3s\n", a + 1);
    return 0;
}
