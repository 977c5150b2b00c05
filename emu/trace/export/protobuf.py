# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format of protocol buffers, as much as a trace needs: fields of a message, one behind the other."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def varint(value: int) -> bytes:
    """A number in seven bits a byte; a negative one as 64 bits."""
    value &= _MASK
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_TAGS = [[varint(number << 3 | kind) for kind in range(6)] for number in range(512)]


def number(field: int, value: int) -> bytes:
    """int32, int64, uint32, uint64, bool or enum."""
    return _TAGS[field][0] + varint(value)


def fixed64(field: int, value: int) -> bytes:
    """fixed64."""
    return _TAGS[field][1] + (value & _MASK).to_bytes(8, "little")


def nested(field: int, data: bytes) -> bytes:
    """A message or bytes."""
    return _TAGS[field][2] + varint(len(data)) + data


def string(field: int, text: str) -> bytes:
    """A string, lone surrogates as escapes."""
    return nested(field, text.encode("utf-8", "backslashreplace"))
