// SPDX-License-Identifier: GPL-2.0-or-later
// Devices at a position: what they give, take, and where they stand after a seek.
#include "guest.h"

int main(void)
{
    start();
    const char *const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"};
    for (int i = 0; i < 4; i++) {
        char bytes[8];
        int fd = open(names[i], i < 3 ? O_RDWR : O_RDONLY);
        printf("%s pread %d %d", names[i], (int)pread(fd, bytes, sizeof bytes, 0), (int)pread(fd, bytes, 3, 1 << 20));
        printf(" seek %d %d", (int)lseek(fd, 100, SEEK_SET), (int)lseek(fd, 0, SEEK_CUR));
        printf(" pwrite %d\n", err(pwrite(fd, "x", 1, 5)));
        close(fd);
    }
    return 0;
}
