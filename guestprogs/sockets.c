// SPDX-License-Identifier: GPL-2.0-or-later
// Sockets of AF_UNIX: pairs of each kind, their ends, how much they hold, poll and epoll, descriptors and credentials
// that travel, names, connections, and what is refused.
#include "tasks.h"
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

static volatile sig_atomic_t broken;
static char big[300000];

static void on_sigpipe(int signo)
{
    (void)signo;
    broken++;
}

static const char *name_of(int kind)
{
    return kind == SOCK_STREAM ? "stream" : kind == SOCK_DGRAM ? "dgram" : "seqpacket";
}

// The result of a call, or its error by name.
static const char *told(long result)
{
    static char text[8][40];
    static int turn;
    char *out = text[turn++ % 8];
    if (result >= 0)
        snprintf(out, sizeof text[0], "%ld", result);
    else
        snprintf(out, sizeof text[0], "%s", strerror(errno));
    return out;
}

static int events(int fd)
{
    struct pollfd wanted = { fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
    poll(&wanted, 1, 0);
    return wanted.revents;
}

static void pair(int kind)
{
    int fd[2];
    char buffer[64];
    MUST(socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, fd) == 0);
    printf("%s cloexec %d poll %x\n", name_of(kind), fcntl(fd[0], F_GETFD), events(fd[0]));
    MUST(write(fd[0], "hello", 5) == 5 && write(fd[0], "world!", 6) == 6);
    int ready = -1;
    ioctl(fd[1], FIONREAD, &ready);
    printf("ready %d poll %x\n", ready, events(fd[1]));
    printf("peek %s", told(recv(fd[1], buffer, 3, MSG_PEEK)));
    printf(" truncated %s", told(recv(fd[1], buffer, 3, MSG_TRUNC)));
    printf(" all %s", told(recv(fd[1], buffer, sizeof buffer, 0)));
    printf(" more %s\n", told(recv(fd[1], buffer, sizeof buffer, MSG_DONTWAIT)));
    printf("nothing %s", told(send(fd[0], "", 0, 0)));
    printf(" comes %s\n", told(recv(fd[1], buffer, sizeof buffer, MSG_DONTWAIT)));
    struct iovec two[2] = { { "ab", 2 }, { "cdef", 4 } };
    printf("writev %s", told(writev(fd[1], two, 2)));
    struct iovec back[2] = { { buffer, 1 }, { buffer + 1, 3 } };
    printf(" readv %s", told(readv(fd[0], back, 2)));
    printf(" %.4s then %s\n", buffer, told(recv(fd[0], buffer, 9, MSG_DONTWAIT)));
    printf("wild %s", told(send(fd[0], (void *)8, 4, 0)));
    MUST(write(fd[0], "x", 1) == 1);
    printf(" %s", told(recv(fd[1], (void *)8, 4, 0)));
    printf(" left %s\n", told(recv(fd[1], buffer, 9, MSG_DONTWAIT)));
    printf("oob %s", told(recv(fd[1], buffer, 1, MSG_OOB | MSG_DONTWAIT)));
    printf(" seek %s", told(lseek(fd[0], 0, SEEK_SET)));
    printf(" pread %s\n", told(pread(fd[0], buffer, 1, 0)));

    // The write side ends.
    MUST(write(fd[0], "last", 4) == 4);
    printf("shutdown %s", told(shutdown(fd[0], SHUT_WR)));
    printf(" write %s", told(write(fd[0], "x", 1)));
    printf(" SIGPIPE %d", broken);
    printf(" nosignal %s %d", told(send(fd[0], "x", 1, MSG_NOSIGNAL)), broken);
    printf(" poll %x %x", events(fd[0]), events(fd[1]));
    printf(" read %s", told(recv(fd[1], buffer, 9, 0)));
    printf(" then %s", told(recv(fd[1], buffer, 9, MSG_DONTWAIT)));
    printf(" odd %s\n", told(shutdown(fd[0], 7)));
    close(fd[0]);
    printf("peer closed: poll %x read %s", events(fd[1]), told(recv(fd[1], buffer, 9, MSG_DONTWAIT)));
    printf(" write %s SIGPIPE %d\n", told(write(fd[1], "x", 1)), broken);
    close(fd[1]);

    // The other one goes with messages that it has not read.
    MUST(socketpair(AF_UNIX, kind, 0, fd) == 0);
    MUST(write(fd[0], "lost", 4) == 4);
    close(fd[1]);
    printf("reset: poll %x", events(fd[0]));
    int error = -1;
    socklen_t length = sizeof error;
    printf(" read %s", told(recv(fd[0], buffer, 9, MSG_DONTWAIT)));
    printf(" again %s", told(recv(fd[0], buffer, 9, MSG_DONTWAIT)));
    MUST(getsockopt(fd[0], SOL_SOCKET, SO_ERROR, &error, &length) == 0);
    printf(" error %d write %s\n", error, told(send(fd[0], "x", 1, MSG_NOSIGNAL)));
    close(fd[0]);
    broken = 0;
}

static void room(int kind)
{
    static const int sizes[] = { 1, 200, 1000, 3000, 4000, 5000, 16000, 40000, 65536, 100000, 212000, 212992 };
    printf("%s holds", name_of(kind));
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd[2], count = 0;
        long sent, total = 0;
        MUST(socketpair(AF_UNIX, kind | SOCK_NONBLOCK, 0, fd) == 0);
        while ((sent = send(fd[0], big, (size_t)sizes[i], 0)) >= 0) {
            count++;
            total += sent;
        }
        printf(" %d/%ld", count, total);
        int full = events(fd[0]) & POLLOUT;
        long first = read(fd[1], big, sizeof big);
        printf("%s%s%s", full ? "!" : "", errno == EAGAIN ? "" : strerror(errno), first >= 0 ? "" : "?");
        close(fd[0]);
        close(fd[1]);
    }
    printf("\n");
}

// Much more than fits, in one call, to a process that reads in its own pieces.
static void stream_of_bytes(void)
{
    int fd[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    pid_t pid = child();
    if (pid == 0) {
        close(fd[0]);
        unsigned sum = 0, total = 0;
        static unsigned char piece[7001];
        ssize_t got;
        while ((got = recv(fd[1], piece, sizeof piece, MSG_WAITALL)) > 0) {
            for (ssize_t i = 0; i < got; i++)
                sum = sum * 31 + piece[i];
            total += (unsigned)got;
        }
        MUST(write(fd[1], &sum, sizeof sum) == sizeof sum);
        _exit(total == 2 * sizeof big ? 0 : 1);
    }
    close(fd[1]);
    unsigned sum = 0, theirs;
    for (unsigned i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    for (int lap = 0; lap < 2; lap++) {
        for (unsigned i = 0; i < sizeof big; i++)
            sum = sum * 31 + (unsigned char)big[i];
        MUST(write(fd[0], big, sizeof big) == sizeof big);
    }
    shutdown(fd[0], SHUT_WR);
    MUST(read(fd[0], &theirs, sizeof theirs) == sizeof theirs);
    printf("stream of bytes %s %d\n", theirs == sum ? "arrives" : "is damaged", reap(pid));
    close(fd[0]);
}

static void descriptors(int kind)
{
    int fd[2], ends[2];
    char buffer[16] = "";
    MUST(socketpair(AF_UNIX, kind, 0, fd) == 0 && pipe(ends) == 0);
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(3 * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec part = { "with files", 10 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };
    message.msg_controllen = CMSG_SPACE(2 * sizeof(int));
    memset(&control, 0, sizeof control);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(2 * sizeof(int));
    int given[2] = { ends[1], fd[0] };
    memcpy(CMSG_DATA(&control.head), given, sizeof given);
    printf("%s sendmsg %s", name_of(kind), told(sendmsg(fd[0], &message, 0)));
    MUST(write(fd[0], "after", 5) == 5);
    close(ends[1]);
    part.iov_base = buffer;
    part.iov_len = sizeof buffer;
    message.msg_controllen = sizeof control;
    memset(&control, 0, sizeof control);
    printf(" recvmsg %s", told(recvmsg(fd[1], &message, MSG_CMSG_CLOEXEC)));
    int got[2];
    memcpy(got, CMSG_DATA(&control.head), sizeof got);
    printf(" level %d type %d bytes %d flags %x cloexec %d", control.head.cmsg_level, control.head.cmsg_type,
           (int)(control.head.cmsg_len - CMSG_LEN(0)), message.msg_flags & ~MSG_CMSG_CLOEXEC, fcntl(got[0], F_GETFD));
    MUST(write(got[0], "through", 7) == 7);
    close(got[0]);
    memset(buffer, 0, sizeof buffer);
    MUST(read(ends[0], buffer, sizeof buffer) == 7);
    printf(" pipe %s end %s", buffer, told(read(ends[0], buffer, sizeof buffer)));
    struct stat a, b;
    MUST(fstat(got[1], &a) == 0 && fstat(fd[0], &b) == 0);
    printf(" same %d socket %d\n", a.st_ino == b.st_ino, S_ISSOCK(a.st_mode));
    close(got[1]);
    printf("the rest %s\n", told(recv(fd[1], buffer, sizeof buffer, 0)));

    // Room for none, a descriptor that is not open, an odd message.
    message.msg_controllen = CMSG_SPACE(2 * sizeof(int));
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(2 * sizeof(int));
    given[0] = ends[0];
    memcpy(CMSG_DATA(&control.head), given, sizeof given);
    MUST(sendmsg(fd[0], &message, 0) == sizeof buffer);
    message.msg_controllen = 0;
    printf("no room %s", told(recvmsg(fd[1], &message, 0)));
    printf(" flags %x", message.msg_flags);
    given[1] = 999;
    message.msg_controllen = CMSG_SPACE(2 * sizeof(int));
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(&control.head), given, sizeof given);
    printf(" bad %s", told(sendmsg(fd[0], &message, 0)));
    control.head.cmsg_type = 77;
    printf(" odd %s\n", told(sendmsg(fd[0], &message, 0)));

    // Who it is from.
    int on = 1;
    MUST(setsockopt(fd[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    MUST(write(fd[0], "me", 2) == 2);
    message.msg_controllen = sizeof control;
    struct ucred who;
    MUST(recvmsg(fd[1], &message, 0) == 2);
    memcpy(&who, CMSG_DATA(&control.head), sizeof who);
    printf("credentials type %d %d %d\n", control.head.cmsg_type, who.pid == getpid(), who.uid == getuid());
    socklen_t length = sizeof who;
    MUST(getsockopt(fd[1], SOL_SOCKET, SO_PEERCRED, &who, &length) == 0);
    printf("peer %d %d\n", (int)length, who.pid == getpid());
    close(fd[0]);
    close(fd[1]);
    close(ends[0]);
}

static void edges(void)
{
    int fd[2], ep = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 5 }, got;
    char buffer[8];
    MUST(ep >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd[1], &event) == 0);
    printf("epoll %d", epoll_wait(ep, &got, 1, 0));
    MUST(write(fd[0], "ab", 2) == 2);
    printf(" %d", epoll_wait(ep, &got, 1, 0));
    printf(" %d", epoll_wait(ep, &got, 1, 0));
    MUST(write(fd[0], "c", 1) == 1 && read(fd[1], buffer, 1) == 1);
    printf(" %d", epoll_wait(ep, &got, 1, 0));
    pid_t pid = child();
    if (pid == 0) {
        usleep(2000);
        MUST(write(fd[0], "d", 1) == 1);
        _exit(0);
    }
    printf(" %d", epoll_wait(ep, &got, 1, -1));
    printf(" %x %u reaped %d\n", got.events, got.data.u32, reap(pid));
    close(fd[0]);
    printf("hangs up %d", epoll_wait(ep, &got, 1, 0));
    printf(" %x\n", got.events & EPOLLHUP);
    close(fd[1]);
    close(ep);
}

static void named(int kind)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX }, from;
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 12, size = sizeof from;
    snprintf(at.sun_path + 1, 20, "s%010d", (int)getpid());
    int server = socket(AF_UNIX, kind, 0), client = socket(AF_UNIX, kind, 0), other = socket(AF_UNIX, kind, 0);
    char buffer[16];
    printf("%s unbound: poll %x", name_of(kind), events(client));
    printf(" name %s", told(getsockname(server, (struct sockaddr *)&from, &size)));
    printf(" %d peer %s", (int)size, told(getpeername(server, (struct sockaddr *)&from, &size)));
    printf(" send %s", told(send(client, "x", 1, MSG_NOSIGNAL)));
    printf(" recv %s", told(recv(client, buffer, 1, MSG_DONTWAIT)));
    printf(" connect %s", told(connect(client, (struct sockaddr *)&at, length)));
    printf(" listen %s\n", told(listen(server, 5)));
    printf("bind %s", told(bind(server, (struct sockaddr *)&at, length)));
    printf(" again %s", told(bind(server, (struct sockaddr *)&at, length)));
    printf(" taken %s", told(bind(other, (struct sockaddr *)&at, length)));
    size = sizeof from;
    MUST(getsockname(server, (struct sockaddr *)&from, &size) == 0);
    printf(" length %d", (int)size);
    if (kind == SOCK_DGRAM) {
        printf(" sendto %s", told(sendto(client, "abc", 3, 0, (struct sockaddr *)&at, length)));
        size = sizeof from;
        printf(" recvfrom %s", told(recvfrom(server, buffer, 9, 0, (struct sockaddr *)&from, &size)));
        printf(" %d", (int)size);
        printf(" connect %s", told(connect(client, (struct sockaddr *)&at, length)));
        int count = 0;
        fcntl(client, F_SETFL, O_NONBLOCK);
        while (send(client, "x", 1, 0) == 1)
            count++;
        printf(" holds %d %s poll %x\n", count, strerror(errno), events(client));
        close(server);
        printf("gone %s", told(send(client, "x", 1, 0)));
        printf(" then %s\n", told(send(client, "x", 1, 0)));
        close(client);
        close(other);
        return;
    }
    printf(" listen %s", told(listen(server, 1)));
    printf(" poll %x read %s", events(server), told(recv(server, buffer, 1, 0)));
    printf(" connect %s", told(connect(client, (struct sockaddr *)&at, length)));
    printf(" again %s poll %x", told(connect(client, (struct sockaddr *)&at, length)), events(server));
    MUST(send(client, "early", 5, 0) == 5);
    int got = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    printf(" accept %d read %s", got >= 0, told(recv(got, buffer, 9, 0)));
    size = sizeof from;
    printf(" peer %s", told(getpeername(client, (struct sockaddr *)&from, &size)));
    printf(" %d", (int)size);
    fcntl(server, F_SETFL, O_NONBLOCK);
    printf(" none %s\n", told(accept(server, NULL, NULL)));
    fcntl(other, F_SETFL, O_NONBLOCK);
    int more = socket(AF_UNIX, kind, 0), late = socket(AF_UNIX, kind | SOCK_NONBLOCK, 0);
    printf("backlog %s", told(connect(other, (struct sockaddr *)&at, length)));
    printf(" %s", told(connect(more, (struct sockaddr *)&at, length)));
    printf(" %s\n", told(connect(late, (struct sockaddr *)&at, length)));
    int yes = 0;
    size = sizeof yes;
    MUST(getsockopt(server, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) == 0);
    close(server);
    printf("listener %d gone: read %s\n", yes, told(recv(more, buffer, 1, 0)));
    close(got);
    printf("closed: read %s\n", told(recv(client, buffer, 1, 0)));
    close(client);
    close(other);
    close(more);
    close(late);
}

static void options(void)
{
    int fd[2], value = 0;
    socklen_t length = sizeof value;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd) == 0);
    static const int asked[] = { SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_SNDBUF, SO_RCVBUF, SO_PASSCRED, SO_ACCEPTCONN };
    for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++) {
        value = -1;
        getsockopt(fd[0], SOL_SOCKET, asked[i], &value, &length);
        printf("%d ", value);
    }
    value = 8192;
    MUST(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof value) == 0);
    getsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &value, &length);
    printf("sndbuf %d too big %s", value, told(send(fd[0], big, 20000, 0)));
    struct timeval limit = { 0, 20000 };
    MUST(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    printf(" late %s", told(recv(fd[0], big, 1, 0)));
    printf(" level %s", told(setsockopt(fd[0], 99, 1, &value, sizeof value)));
    printf(" option %s", told(setsockopt(fd[0], SOL_SOCKET, 999, &value, sizeof value)));
    printf(" short %s\n", told(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &value, 2)));
    close(fd[0]);
    close(fd[1]);
    printf("family %s", told(socket(77, SOCK_STREAM, 0)));
    printf(" type %s", told(socket(AF_UNIX, 9, 0)));
    printf(" raw %d", socket(AF_UNIX, SOCK_RAW, 0) >= 0);
    printf(" protocol %s", told(socket(AF_UNIX, SOCK_STREAM, 5)));
    printf(" flags %s", told(socket(AF_UNIX, SOCK_STREAM | 0x100, 0)));
    printf(" file %s", told(send(1, "x", 1, 0)));
    printf(" closed %s", told(send(99, "x", 1, 0)));
    printf(" wild %s\n", told(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8)));
}

// All calls behind one number, where there is such a call; the same by their own numbers elsewhere.
static long one_number(int call, long a, long b, long c, long d)
{
#ifdef SYS_socketcall
    long args[4] = { a, b, c, d };
    return syscall(SYS_socketcall, call, args);
#else
    switch (call) {
    case 8:
        return socketpair((int)a, (int)b, (int)c, (int *)d);
    case 9:
        return send((int)a, (void *)b, (size_t)c, (int)d);
    case 10:
        return recv((int)a, (void *)b, (size_t)c, (int)d);
    case 13:
        return shutdown((int)a, (int)b);
    default:
        errno = EINVAL;
        return -1;
    }
#endif
}

static void multiplexed(void)
{
    int fd[2];
    char buffer[16] = "";
    printf("socketcall %s", told(one_number(8, AF_UNIX, SOCK_STREAM, 0, (long)fd)));
    printf(" send %s", told(one_number(9, fd[0], (long)"through", 7, 0)));
    printf(" recv %s", told(one_number(10, fd[1], (long)buffer, sizeof buffer, 0)));
    printf(" %s shutdown %s", buffer, told(one_number(13, fd[0], SHUT_WR, 0, 0)));
    printf(" recv %s", told(one_number(10, fd[1], (long)buffer, sizeof buffer, 0)));
    printf(" odd %s", told(one_number(0, 0, 0, 0, 0)));
    printf(" %s\n", told(one_number(21, 0, 0, 0, 0)));
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    static const int kinds[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
    signal(SIGPIPE, on_sigpipe);
    for (int i = 0; i < 3; i++) {
        pair(kinds[i]);
        room(kinds[i]);
        descriptors(kinds[i]);
        named(kinds[i]);
    }
    stream_of_bytes();
    edges();
    options();
    multiplexed();
    return 0;
}
