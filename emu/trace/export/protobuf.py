# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format of protocol buffers, as much as a trace needs: fields of a message, one behind the other."""

from __future__ import annotations

_MASK = (1 << 64) - 1
# Numbers of up to two bytes, and pairs of bytes behind which more come: an export makes a hundred million of them.
SHORT = [bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7)) for value in range(1 << 14)]
PAIRS = [bytes((value & 0x7F | 0x80, value >> 7 | 0x80)) for value in range(1 << 14)]


_HIGH: dict[int, bytes] = {}  # what follows the first two bytes of large numbers: addresses and times share it
_MANY = 1 << 16


def varint(value: int) -> bytes:
    """A number in seven bits a byte; a negative one as 64 bits."""
    if 0 <= value < 0x4000:
        return SHORT[value]
    value &= _MASK
    if value < 0x4000:
        return SHORT[value]
    high = _HIGH.get(value >> 14)
    if high is None:
        if len(_HIGH) >= _MANY:
            _HIGH.clear()
        high = _HIGH[value >> 14] = varint(value >> 14)
    return PAIRS[value & 0x3FFF] + high


_TAGS = [[varint(number << 3 | kind) for kind in range(6)] for number in range(512)]


def tag(field: int, kind: int) -> bytes:
    """What stands before a value. `kind`: 0 a number, 1 eight bytes, 2 a message or bytes behind their length."""
    return _TAGS[field][kind]


def number(field: int, value: int) -> bytes:
    """int32, int64, uint32, uint64, bool or enum."""
    return _TAGS[field][0] + (SHORT[value] if 0 <= value < 0x4000 else varint(value))


def fixed64(field: int, value: int) -> bytes:
    """fixed64."""
    return _TAGS[field][1] + (value & _MASK).to_bytes(8, "little")


def nested(field: int, data: bytes) -> bytes:
    """A message or bytes."""
    return _TAGS[field][2] + varint(len(data)) + data


def string(field: int, text: str) -> bytes:
    """A string, lone surrogates as escapes."""
    return nested(field, text.encode("utf-8", "backslashreplace"))
