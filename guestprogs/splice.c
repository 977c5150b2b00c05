// SPDX-License-Identifier: GPL-2.0-or-later
// splice, tee and vmsplice: what moves, what is left, where they end, and what they refuse.
#include "guest.h"

static void say(const char *what, long result)
{
    printf("%s %ld %d\n", what, result, result < 0 ? errno : 0);
}

static void drain(const char *what, int fd)
{
    static char data[100000];
    long size = read(fd, data, sizeof data);
    unsigned total = 0;
    for (long i = 0; i < size; i++)
        total = total * 31 + (unsigned char)data[i];
    printf("%s %ld %u '%.10s'\n", what, size, total, size > 0 ? data : "");
    memset(data, 0, sizeof data);
}

int main(void)
{
    start();
    int a[2], b[2], file = memfd_create("file", 0);
    if (pipe2(a, O_NONBLOCK) || pipe2(b, O_NONBLOCK) || file < 0)
        return 1;
    for (int i = 0; i < 3000; i++)
        dprintf(file, "line %d of the file\n", i);
    loff_t at = 5;
    say("file at 5", splice(file, &at, a[1], NULL, 10, 0));
    printf("then %lld\n", (long long)at);
    drain("pipe", a[0]);
    lseek(file, 100, SEEK_SET);
    say("file", splice(file, NULL, a[1], NULL, 6000, 0));
    printf("then %ld\n", (long)lseek(file, 0, SEEK_CUR));
    say("tee", tee(a[0], b[1], 5000, 0));
    drain("one", a[0]);
    drain("other", b[0]);
    lseek(file, 0, SEEK_SET);
    say("all that fits", splice(file, NULL, a[1], NULL, 1 << 20, 0));
    say("no room", splice(file, NULL, a[1], NULL, 1, 0));
    say("pipe to pipe", splice(a[0], NULL, b[1], NULL, 7000, 0));
    say("more", splice(a[0], NULL, b[1], NULL, 1 << 20, 0));
    drain("moved", b[0]);
    drain("left", a[0]);
    say("end of the file", (lseek(file, 0, SEEK_END), splice(file, NULL, a[1], NULL, 10, 0)));
    say("empty", splice(a[0], NULL, b[1], NULL, 10, 0));
    say("empty, to a file", splice(a[0], NULL, file, NULL, 10, 0));

    int out = memfd_create("out", 0);
    say("write", write(a[1], "some text for the file", 22));
    at = 4;
    say("to the file", splice(a[0], NULL, out, &at, 9, 0));
    say("the rest", splice(a[0], NULL, out, NULL, 1000, 0));
    char text[32] = "";
    say("read back", pread(out, text, sizeof text - 1, 0));
    for (int i = 0; i < 17; i++)
        putchar(text[i] ? text[i] : '.');
    putchar('\n');

    char *memory = fresh(6);
    strcpy(memory + page - 4, "across a page");
    struct iovec parts[2] = {{memory + page - 4, 13}, {memory + 4 * page, 10}};
    say("vmsplice", vmsplice(a[1], parts, 2, 0));
    drain("pipe", a[0]);
    say("write", write(a[1], "back to memory", 14));
    struct iovec room[2] = {{memory + 3 * page - 3, 7}, {memory + 5 * page, 100}};
    say("vmsplice to memory", vmsplice(a[0], room, 2, 0));
    printf("'%s' '%s'\n", memory + 3 * page - 3, memory + 5 * page);
    parts[1].iov_base = (void *)64;
    say("vmsplice from nowhere", vmsplice(a[1], parts + 1, 1, 0));
    say("vmsplice of no pipe", vmsplice(file, parts, 1, 0));
    say("vmsplice of nothing", vmsplice(a[1], parts, 0, 0));

    say("no pipe", splice(file, NULL, out, NULL, 10, 0));
    say("the same pipe", splice(a[0], NULL, a[1], NULL, 10, 0));
    say("offset of a pipe", splice(a[0], &at, b[1], NULL, 10, 0));
    say("wrong end", splice(a[1], NULL, b[1], NULL, 10, 0));
    say("bad flags", splice(a[0], NULL, b[1], NULL, 10, 99));
    say("bad file", splice(99, NULL, b[1], NULL, 10, 0));
    say("nothing", splice(99, NULL, b[1], NULL, 0, 0));
    say("bad offset", splice(file, (void *)64, b[1], NULL, 10, 0));
    at = -1;
    say("offset below 0", splice(file, &at, b[1], NULL, 10, 0));
    say("tee of a file", tee(file, b[1], 10, 0));
    say("tee to itself", tee(a[0], a[1], 10, 0));
    fcntl(out, F_SETFL, O_APPEND);
    say("write", write(a[1], "x", 1));
    say("to an appending file", splice(a[0], NULL, out, NULL, 1, 0));
    signal(SIGPIPE, SIG_IGN);
    close(b[0]);
    say("nobody reads", splice(a[0], NULL, b[1], NULL, 1, 0));
    close(a[1]);
    say("the last", splice(a[0], NULL, out, NULL, 0, 0));
    drain("last", a[0]);
    say("nobody writes", splice(a[0], NULL, out, NULL, 5, 0));
    return 0;
}
