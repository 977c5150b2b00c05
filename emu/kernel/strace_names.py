# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that --strace gives to numbers: flags, operations, signals."""

from __future__ import annotations

from signal import Signals

Names = tuple[tuple[int, str], ...]


def _numbered(prefix: str, names: str, first: int = 0) -> dict[int, str]:
    return {first + i: prefix + name for i, name in enumerate(names.split()) if name != "-"}


def _bits(prefix: str, **values: int) -> Names:
    return tuple((value, prefix + name) for name, value in values.items())


PROT = _bits("PROT_", READ=1, WRITE=2, EXEC=4, SEM=8, GROWSDOWN=0x1000000, GROWSUP=0x2000000)
_MAP = _bits(
    "MAP_", SHARED=1, PRIVATE=2, FIXED=0x10, ANONYMOUS=0x20, GROWSDOWN=0x100, DENYWRITE=0x800, EXECUTABLE=0x1000,
    POPULATE=0x8000, NONBLOCK=0x10000, STACK=0x20000, HUGETLB=0x40000, SYNC=0x80000, FIXED_NOREPLACE=0x100000,
)  # fmt: skip
MAP = (*_MAP, *_bits("MAP_", **{"32BIT": 0x40, "LOCKED": 0x2000, "NORESERVE": 0x4000}))
MAP_POWERPC = (*_MAP, *_bits("MAP_", NORESERVE=0x40, LOCKED=0x80))
MREMAP = _bits("MREMAP_", MAYMOVE=1, FIXED=2, DONTUNMAP=4)
MCL = _bits("MCL_", CURRENT=1, FUTURE=2, ONFAULT=4)
MCL_POWERPC = _bits("MCL_", CURRENT=0x2000, FUTURE=0x4000, ONFAULT=0x8000)
MLOCK = _bits("MLOCK_", ONFAULT=1)
MS = _bits("MS_", ASYNC=1, INVALIDATE=2, SYNC=4)
OPEN = _bits(
    "O_", CREAT=0o100, EXCL=0o200, NOCTTY=0o400, TRUNC=0o1000, APPEND=0o2000, NONBLOCK=0o4000, SYNC=0o4010000,
    DSYNC=0o10000, ASYNC=0o20000, DIRECT=0o40000, LARGEFILE=0o100000, TMPFILE=0o20200000, DIRECTORY=0o200000,
    NOFOLLOW=0o400000, NOATIME=0o1000000, CLOEXEC=0o2000000, PATH=0o10000000,
)  # fmt: skip
AT = _bits("AT_", SYMLINK_NOFOLLOW=0x100, REMOVEDIR=0x200, SYMLINK_FOLLOW=0x400, NO_AUTOMOUNT=0x800, EMPTY_PATH=0x1000)
ACCESS = _bits("", R_OK=4, W_OK=2, X_OK=1)
CLONE = _bits(
    "CLONE_", VM=0x100, FS=0x200, FILES=0x400, SIGHAND=0x800, PIDFD=0x1000, PTRACE=0x2000, VFORK=0x4000, PARENT=0x8000,
    THREAD=0x10000, NEWNS=0x20000, SYSVSEM=0x40000, SETTLS=0x80000, PARENT_SETTID=0x100000, CHILD_CLEARTID=0x200000,
    DETACHED=0x400000, UNTRACED=0x800000, CHILD_SETTID=0x1000000, NEWUTS=0x4000000, NEWIPC=0x8000000,
    NEWUSER=0x10000000, NEWPID=0x20000000, NEWNET=0x40000000, IO=0x80000000,
)  # fmt: skip
SA = _bits(
    "SA_", RESTORER=0x4000000, ONSTACK=0x8000000, RESTART=0x10000000, NODEFER=0x40000000, RESETHAND=0x80000000,
    SIGINFO=4, NOCLDSTOP=1, NOCLDWAIT=2,
)  # fmt: skip
WAIT = _bits(
    "", WNOHANG=1, WSTOPPED=2, WEXITED=4, WCONTINUED=8, WNOWAIT=0x1000000, __WNOTHREAD=0x20000000, __WALL=0x40000000,
    __WCLONE=0x80000000,
)  # fmt: skip
MFD = _bits("MFD_", CLOEXEC=1, ALLOW_SEALING=2, HUGETLB=4, NOEXEC_SEAL=8, EXEC=16)
GRND = _bits("GRND_", NONBLOCK=1, RANDOM=2, INSECURE=4)
IPC = {0: "IPC_RMID", 1: "IPC_SET", 2: "IPC_STAT", 3: "IPC_INFO"}
IPC_GET = _bits("IPC_", CREAT=0o1000, EXCL=0o2000)
KCMP = _numbered("KCMP_", "FILE VM FILES FS SIGHAND IO SYSVSEM EPOLL_TFD")
XATTR = _bits("XATTR_", CREATE=1, REPLACE=2)
FAMILY = {0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
SOCKET = _numbered("SOCK_", "STREAM DGRAM RAW RDM SEQPACKET DCCP", 1)
SOCKET_FLAGS = _bits("SOCK_", NONBLOCK=0o4000, CLOEXEC=0o2000000)
SHUT = {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}
MSG = _bits(
    "MSG_", OOB=1, PEEK=2, DONTROUTE=4, CTRUNC=8, TRUNC=0x20, DONTWAIT=0x40, EOR=0x80, WAITALL=0x100, NOSIGNAL=0x4000,
    MORE=0x8000, WAITFORONE=0x10000, CMSG_CLOEXEC=0x40000000,
)  # fmt: skip
SS = _bits("SS_", ONSTACK=1, DISABLE=2, AUTODISARM=0x80000000)

MADV = {
    **_numbered("MADV_", "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED"),
    **_numbered(
        "MADV_",
        "FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP WIPEONFORK KEEPONFORK "
        "COLD PAGEOUT POPULATE_READ POPULATE_WRITE DONTNEED_LOCKED COLLAPSE", 8,
    ),
    **_numbered("MADV_", "HWPOISON SOFT_OFFLINE GUARD_INSTALL GUARD_REMOVE", 100),
}  # fmt: skip
FUTEX = _numbered(
    "FUTEX_",
    "WAIT WAKE FD REQUEUE CMP_REQUEUE WAKE_OP LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_BITSET WAKE_BITSET WAIT_REQUEUE_PI "
    "CMP_REQUEUE_PI LOCK_PI2",
)
FUTEX_FLAGS = _bits("FUTEX_", PRIVATE_FLAG=128, CLOCK_REALTIME=256)
WHENCE = _numbered("SEEK_", "SET CUR END DATA HOLE")
SIG_HOW = _numbered("SIG_", "BLOCK UNBLOCK SETMASK")
CLOCK = _numbered(
    "CLOCK_",
    "REALTIME MONOTONIC PROCESS_CPUTIME_ID THREAD_CPUTIME_ID MONOTONIC_RAW REALTIME_COARSE MONOTONIC_COARSE BOOTTIME",
)
FCNTL = {
    **_numbered("F_", "DUPFD GETFD SETFD GETFL SETFL GETLK SETLK SETLKW SETOWN GETOWN"),
    **_numbered("F_", "SETLEASE GETLEASE", 1024),
    **_numbered("F_", "DUPFD_CLOEXEC SETPIPE_SZ GETPIPE_SZ ADD_SEALS GET_SEALS", 1030),
}
RLIMIT = _numbered(
    "RLIMIT_",
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME",
)
ARCH_PRCTL = _numbered("ARCH_", "SET_GS SET_FS GET_FS GET_GS", 0x1001)


def signal_name(number: int) -> str:
    """SIGSEGV, SIGRT_3, or the number."""
    if 32 <= number <= 64:
        return f"SIGRT_{number - 32}" if number > 32 else "SIGRTMIN"
    try:
        return Signals(number).name
    except ValueError:
        return str(number)


def flag_names(value: int, names: Names, none: str = "0") -> str:
    """`A|B|0x40`: the bits by name, what is left in hexadecimal; `none` for 0."""
    found = []
    for bits, name in names:
        if bits and value & bits == bits:
            found.append(name)
            value &= ~bits
    if value:
        found.append(f"{value:#x}")
    return "|".join(found) or none
