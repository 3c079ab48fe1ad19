"""Decompresses a batch, and stops before its records fill the memory. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import cramjam

from schemas.errors import BatchCorruptError, BatchTooLargeError, CodecUnknownError

DECOMPRESSED_MAX_BYTES = 64 * 1024 * 1024
"""Size of the records of one batch. Text shrinks to a tenth or less, so a batch of 1 MiB stays far
below; a batch of equal bytes shrinks to a thousandth, and is refused here."""

_FIRST_GUESS_BYTES = 256 * 1024
_GUESSED_RATIO = 8
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_BUFFER_FULL = "failed to write whole buffer"
_GZIP_WINDOW = 31
_GZIP_SLICE_BYTES = 16 * 1024
_GZIP_MEMBERS_MAX = 1_000
"""A producer writes one member. Each one costs time even if it is empty."""


def decompress(codec: int, data: memoryview) -> bytes:
    """The records of a batch.

    Args:
        codec: the number in the batch's attributes: 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        data: the bytes after the batch's header.

    Raises:
        CodecUnknownError: the codec does not exist.
        BatchTooLargeError: the output would exceed ``DECOMPRESSED_MAX_BYTES``.
        BatchCorruptError: the bytes do not decompress.
    """
    decode = _DECODERS.get(codec)
    if decode is None:
        raise CodecUnknownError(f"no codec has the number {codec}")
    try:
        return decode(data)
    # The boundary: on hostile bytes these libraries fail in more ways than can be listed.
    except (BatchTooLargeError, BatchCorruptError):
        raise
    except Exception as error:
        raise BatchCorruptError(f"codec {codec}: {type(error).__name__}: {error}") from error


def _gzip(data: memoryview) -> bytes:
    out, position, members = bytearray(), 0, 0
    while position < len(data):
        members += 1
        if members > _GZIP_MEMBERS_MAX:
            raise BatchCorruptError(f"the gzip stream has more than {_GZIP_MEMBERS_MAX} members")
        position = _gzip_member(data, position, out)
    return bytes(out)


def _gzip_member(data: memoryview, position: int, out: bytearray) -> int:
    """Decompress one member of a stream into ``out``; return where the next one begins."""
    member = zlib.decompressobj(_GZIP_WINDOW)
    while not member.eof:
        # In slices: the rest of the input after a member is copied each time.
        piece = member.unconsumed_tail or data[position : position + _GZIP_SLICE_BYTES]
        if not len(piece):
            raise BatchCorruptError("the gzip stream ends too early")
        if not member.unconsumed_tail:
            position += len(piece)
        out += member.decompress(piece, DECOMPRESSED_MAX_BYTES + 1 - len(out))
        if len(out) > DECOMPRESSED_MAX_BYTES:
            raise _too_large()
    return position - len(member.unused_data)


def _snappy(data: memoryview) -> bytes:
    """Raw snappy, or Xerial's stream of blocks that Java clients write."""
    if bytes(data[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _snappy_block(data, DECOMPRESSED_MAX_BYTES)
    out, position = bytearray(), _XERIAL_HEADER_BYTES
    while position < len(data):
        (size,) = struct.unpack_from(">i", data, position)
        position += 4
        if not 0 < size <= len(data) - position:
            raise BatchCorruptError(f"a snappy block has {size} bytes")
        block = data[position : position + size]
        out += _snappy_block(block, DECOMPRESSED_MAX_BYTES - len(out))
        position += size
    return bytes(out)


def _snappy_block(block: memoryview, at_most: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > at_most:
        raise _too_large()
    return bytes(cramjam.snappy.decompress_raw(block))


def _into(decompress_into: Callable[[Any, bytearray], int], data: memoryview) -> bytes:
    """Decompress into a buffer of fixed size: first of a likely size, then of the largest."""
    guess = max(_FIRST_GUESS_BYTES, _GUESSED_RATIO * len(data))
    for size in (min(guess, DECOMPRESSED_MAX_BYTES), DECOMPRESSED_MAX_BYTES):
        buffer = bytearray(size)
        try:
            written = decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            if _BUFFER_FULL not in str(error):
                raise
        else:
            return bytes(memoryview(buffer)[:written])
    raise _too_large()


def _lz4(data: memoryview) -> bytes:
    return _into(cramjam.lz4.decompress_into, data)


def _zstd(data: memoryview) -> bytes:
    return _into(cramjam.zstd.decompress_into, data)


def _too_large() -> BatchTooLargeError:
    return BatchTooLargeError(f"the batch has more than {DECOMPRESSED_MAX_BYTES} bytes of records")


_DECODERS: dict[int, Callable[[memoryview], bytes]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
