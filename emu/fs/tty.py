# SPDX-License-Identifier: GPL-2.0-or-later
"""Terminal ioctls: the host's terminal shown in the guest's struct termios (asm/termbits.h of generic and powerpc)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emu.fs.current import Current

# name: (value in asm-generic, value on powerpc)
IFLAGS = {
    "IGNBRK": (0o1, 0o1), "BRKINT": (0o2, 0o2), "IGNPAR": (0o4, 0o4), "PARMRK": (0o10, 0o10), "INPCK": (0o20, 0o20),
    "ISTRIP": (0o40, 0o40), "INLCR": (0o100, 0o100), "IGNCR": (0o200, 0o200), "ICRNL": (0o400, 0o400),
    "IXANY": (0o4000, 0o4000), "IUCLC": (0o1000, 0x1000), "IXON": (0o2000, 0x200), "IXOFF": (0o10000, 0x400),
    "IMAXBEL": (0o20000, 0x2000), "IUTF8": (0o40000, 0x4000),
}  # fmt: skip
OFLAGS = {
    "OPOST": (0o1, 0o1), "OLCUC": (0o2, 4), "ONLCR": (0o4, 2), "OCRNL": (0o10, 0o10), "ONOCR": (0o20, 0o20),
    "ONLRET": (0o40, 0o40), "OFILL": (0o100, 0o100), "OFDEL": (0o200, 0o200), "TAB3": (0o14000, 0xC00),
}  # fmt: skip
CFLAGS = {
    "CSTOPB": (0o100, 0x400), "CREAD": (0o200, 0x800), "PARENB": (0o400, 0x1000), "PARODD": (0o1000, 0x2000),
    "HUPCL": (0o2000, 0x4000), "CLOCAL": (0o4000, 0x8000), "CRTSCTS": (0o20000000000, 0o20000000000),
}  # fmt: skip
CSIZES = {"CS5": (0, 0), "CS6": (0o20, 0x100), "CS7": (0o40, 0x200), "CS8": (0o60, 0x300)}
LFLAGS = {
    "ISIG": (0o1, 0x80), "ICANON": (0o2, 0x100), "ECHO": (0o10, 8), "ECHOE": (0o20, 2), "ECHOK": (0o40, 4),
    "ECHONL": (0o100, 0x10), "NOFLSH": (0o200, 0x80000000), "TOSTOP": (0o400, 0x400000), "ECHOCTL": (0o1000, 0x40),
    "ECHOPRT": (0o2000, 0x20), "ECHOKE": (0o4000, 1), "IEXTEN": (0o100000, 0x400), "PENDIN": (0o40000, 0x20000000),
}  # fmt: skip
CHARS = {
    "VINTR": (0, 0), "VQUIT": (1, 1), "VERASE": (2, 2), "VKILL": (3, 3), "VEOF": (4, 4), "VTIME": (5, 7),
    "VMIN": (6, 5), "VSWTC": (7, 9), "VSTART": (8, 13), "VSTOP": (9, 14), "VSUSP": (10, 12), "VEOL": (11, 6),
    "VREPRINT": (12, 11), "VDISCARD": (13, 16), "VWERASE": (14, 10), "VLNEXT": (15, 15), "VEOL2": (16, 8),
}  # fmt: skip
SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
FAST_SPEEDS = (
    57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000,
    3500000, 4000000,
)  # fmt: skip
NCCS = 19


def _translate(value: int, table: dict[str, tuple[int, int]], ppc: int, to_guest: bool) -> int:
    result = 0
    for name, values in table.items():
        ours = getattr(termios, name, None)
        if not ours:
            continue
        source, target = (ours, values[ppc]) if to_guest else (values[ppc], ours)
        if value & source == source:
            result |= target
    return result


def _speed_to_guest(host_speed: int, ppc: int) -> int:
    for index, baud in enumerate(SPEEDS):
        if getattr(termios, f"B{baud}", None) == host_speed:
            return index
    for index, baud in enumerate(FAST_SPEEDS):
        if getattr(termios, f"B{baud}", None) == host_speed:
            return 16 + index if ppc else 0o10001 + index
    return 15


def _speed_to_host(code: int, ppc: int) -> int:
    if code < 16:
        return int(getattr(termios, f"B{SPEEDS[code]}"))
    index = code - 16 if ppc else code - 0o10001
    if 0 <= index < len(FAST_SPEEDS):
        return int(getattr(termios, f"B{FAST_SPEEDS[index]}", termios.B38400))
    return termios.B38400


def pack_termios(attributes: list[object], ppc: bool, order: str) -> bytes:
    """struct termios of the guest from what termios.tcgetattr gave. `order` is "<" or ">"."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, chars = attributes
    assert isinstance(iflag, int) and isinstance(oflag, int) and isinstance(cflag, int) and isinstance(lflag, int)
    assert isinstance(ispeed, int) and isinstance(ospeed, int) and isinstance(chars, list)
    which = int(ppc)
    guest_cflag = _translate(cflag, CFLAGS, which, True) | _speed_to_guest(ospeed, which)
    for name, values in CSIZES.items():
        if cflag & termios.CSIZE == getattr(termios, name):
            guest_cflag |= values[which]
    cc = bytearray(NCCS)
    for name, positions in CHARS.items():
        index = getattr(termios, name, None)
        if index is not None:
            value = chars[index]
            cc[positions[which]] = value if isinstance(value, int) else value[0]
    flags = struct.pack(
        order + "4I",
        _translate(iflag, IFLAGS, which, True),
        _translate(oflag, OFLAGS, which, True),
        guest_cflag,
        _translate(lflag, LFLAGS, which, True),
    )
    if ppc:
        return (
            flags
            + bytes(cc)
            + b"\0"
            + struct.pack(order + "2I", ispeed and _speed_to_guest(ispeed, 1), _speed_to_guest(ospeed, 1))
        )
    return flags + b"\0" + bytes(cc)


def unpack_termios(data: bytes, ppc: bool, order: str) -> list[Any]:
    """The list for termios.tcsetattr from a guest's struct termios."""
    which = int(ppc)
    iflag, oflag, cflag, lflag = struct.unpack_from(order + "4I", data)
    cc = data[16 : 16 + NCCS] if ppc else data[17 : 17 + NCCS]
    speed = _speed_to_host(cflag & (0xFF if ppc else 0o10017), which)
    host_cflag = _translate(cflag, CFLAGS, which, False)
    mask = 0x300 if ppc else 0o60
    for name, values in CSIZES.items():
        if cflag & mask == values[which]:
            host_cflag |= getattr(termios, name)
    chars: list[Any] = [b"\0"] * 32
    host_lflag = _translate(lflag, LFLAGS, which, False)
    for name, positions in CHARS.items():
        index = getattr(termios, name, None)
        if index is not None:
            chars[index] = cc[positions[which] : positions[which] + 1]
    if not host_lflag & termios.ICANON:
        chars[termios.VMIN] = cc[CHARS["VMIN"][which]]
        chars[termios.VTIME] = cc[CHARS["VTIME"][which]]
    return [_translate(iflag, IFLAGS, which, False), _translate(oflag, OFLAGS, which, False), host_cflag, host_lflag,
            speed, speed, chars]  # fmt: skip


def tty_ioctl(fd: int, task: Current, command: str, arg: int) -> int | None:
    """A terminal's ioctl on the host's terminal `fd`; None when it is not one of them."""
    ppc = task.arch.name.startswith("powerpc")
    order = ">" if task.arch.elf.big_endian else "<"
    size = 44 if ppc else 36
    access = task.access
    try:
        if command == "TCGETS":
            return 0 if access.copy_to_user(arg, pack_termios(termios.tcgetattr(fd), ppc, order)) else -errno.EFAULT
        if command in ("TCSETS", "TCSETSW", "TCSETSF"):
            data = access.copy_from_user(arg, size)
            if data is None:
                return -errno.EFAULT
            when = {"TCSETS": termios.TCSANOW, "TCSETSW": termios.TCSADRAIN}.get(command, termios.TCSAFLUSH)
            termios.tcsetattr(fd, when, unpack_termios(data, ppc, order))
            return 0
        if command == "TIOCGWINSZ":
            rows, columns, x, y = struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
            return 0 if access.copy_to_user(arg, struct.pack(order + "4H", rows, columns, x, y)) else -errno.EFAULT
        if command == "TIOCSWINSZ":
            data = access.copy_from_user(arg, 8)
            if data is None:
                return -errno.EFAULT
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", *struct.unpack(order + "4H", data)))
            return 0
        if command == "TIOCGPGRP":
            return 0 if access.put_user(arg, task.tgid, 4) else -errno.EFAULT
        if command == "TIOCSPGRP":
            return 0 if access.copy_from_user(arg, 4) is not None else -errno.EFAULT
        if command == "TIOCGSID":
            return 0 if access.put_user(arg, task.tgid, 4) else -errno.EFAULT
        if command == "TIOCOUTQ":
            return 0 if access.put_user(arg, 0, 4) else -errno.EFAULT
        if command == "TCFLSH":
            if arg > 2:
                return -errno.EINVAL
            termios.tcflush(fd, arg)
            return 0
        if command == "TCXONC":
            if arg > 3:
                return -errno.EINVAL
            termios.tcflow(fd, arg)
            return 0
        if command in ("TCSBRK", "TCSBRKP"):
            termios.tcdrain(fd)
            return 0
    except termios.error as problem:
        return -int(problem.args[0])
    except OSError as problem:
        return -(problem.errno or os.EX_OSERR)
    return None
