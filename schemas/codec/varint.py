"""Avro's numbers: zig-zag, then seven bits a byte, the lowest first.

Source: Apache Avro 1.12, "Binary Encoding", ``int`` and ``long``.
"""

import struct


class Varints(dict[int, bytes]):
    """The bytes of a number that is already zig-zag: small ones by look-up.

    Large ones are computed each time, so that the dict does not grow.
    """

    def __missing__(self, number: int) -> bytes:
        # Timeouts, counts of tokens, offsets of a young topic.
        if 1 << 14 <= number < 1 << 21:
            return _WRITE_THREE_BYTES(number & 127 | 128, number >> 7 & 127 | 128, number >> 14)
        return _varint(number)


def write_long(value: int) -> bytes:
    """The bytes of a number.

    Raises:
        TypeError: the value is not an int, or is of a subclass such as bool.
        OverflowError: it does not fit into 64 bits.
    """
    if value.__class__ is not int:
        raise TypeError(value)
    return VARINTS[value << 1 ^ value >> 63]


def write_timestamp(value: int) -> bytes:
    """The same as :func:`write_long`, faster for times from 1970-07 to 2039."""
    zigzag = value << 1
    if not 1 << 35 <= zigzag < 1 << 42:
        return write_long(value)
    return _WRITE_SIX_BYTES(
        zigzag & 127 | 128,
        zigzag >> 7 & 127 | 128,
        zigzag >> 14 & 127 | 128,
        zigzag >> 21 & 127 | 128,
        zigzag >> 28 & 127 | 128,
        zigzag >> 35,
    )


def read_long(data: bytes, start: int) -> tuple[int, int]:
    """A number and the start of the next value.

    Raises:
        IndexError: the data ends within the number.
        ValueError: the number has more bytes than it needs, or more than 64 bits. Decoders
            disagree about such numbers, so this one leaves them to fastavro.
    """
    byte = data[start]
    number = byte & 127
    shift = 7
    while byte > 127:
        start += 1
        byte = data[start]
        number |= (byte & 127) << shift
        shift += 7
        if not byte or shift > 70:
            raise ValueError("the number is not in its shortest form")
    if number >> 64:
        raise ValueError("the number is outside of 64 bits")
    return number >> 1 ^ -(number & 1), start + 1


def read_timestamp(data: bytes, start: int) -> tuple[int, int]:
    """The same as :func:`read_long`, faster for the times of :func:`write_timestamp`."""
    try:
        a, b, c, d, e, last = _READ_SIX_BYTES(data, start)
    except struct.error:
        return read_long(data, start)
    if not (a & b & c & d & e & 128 and 0 < last < 128):
        return read_long(data, start)
    number = a + (b << 7) + (c << 14) + (d << 21) + (e << 28) + (last << 35) - _FIVE_MARKS
    return number >> 1 ^ -(number & 1), start + 6


def read_size(data: bytes, start: int) -> tuple[int, int]:
    """As :func:`read_long`, for the length of a text or the number of items in a block.

    Raises:
        ValueError: also for a number below 0, with which a block announces its size in bytes.
    """
    size, end = read_long(data, start)
    if size < 0:
        raise ValueError("the size is under 0")
    return size, end


def _varint(number: int) -> bytes:
    if number >> 64:
        raise OverflowError("the number is outside of 64 bits")
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_WRITE_THREE_BYTES = struct.Struct("3B").pack
_WRITE_SIX_BYTES = struct.Struct("6B").pack
_READ_SIX_BYTES = struct.Struct("6B").unpack_from
_FIVE_MARKS = sum(128 << 7 * place for place in range(5))
"""The sum of the top bits of five bytes: each bit shows that another byte follows."""
VARINTS = Varints({number: bytes((number,)) for number in range(128)})
VARINTS |= {n: bytes((n & 127 | 128, n >> 7)) for n in range(128, 1 << 12)}
"""Covers the length of text up to 2 KiB, and most counters."""
