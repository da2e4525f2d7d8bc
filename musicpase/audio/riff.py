"""The few header fields of a WAV file that decoders hide: what it claims, and why it is impossible."""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["WavHeader", "read_wav_header"]

_PIPED = 0x7FFF0000  # a writer to a pipe does not know the length: it writes 0, or about 2^31 or 2^32


@dataclass(frozen=True)
class WavHeader:
    """Fields of `fmt ` and the size of `data`, as written."""

    codec: int
    channels: int
    rate: int
    bytes_per_second: int
    block_align: int
    bits: int
    data_start: int
    data_size: int

    def claimed_s(self, file_size: int) -> float | None:
        """Length that the header promises [s] where the file is too short for it, else None."""
        if self.data_start + self.data_size <= file_size or self.data_size >= _PIPED or not self.bytes_per_second:
            return None
        return self.data_size / self.bytes_per_second

    def impossible(self) -> str | None:
        """Name the field that no decoder can work with, or None."""
        fields = {"sample rate": self.rate, "channels": self.channels, "block align": self.block_align}
        for name, value in fields.items():
            if value == 0:
                return f"its header says {name} 0"
        if self.codec == 1 and self.bits == 0:
            return "its header says 0 bits per sample"
        if self.rate > 2_000_000:
            return f"its header says sample rate {self.rate}"
        if self.channels > 1024:
            return f"its header says {self.channels} channels"
        return f"its codec (WAV tag 0x{self.codec:04x}) is damaged or not supported"


def read_wav_header(file: BinaryIO) -> WavHeader | None:
    """Read the header of a RIFF WAVE file; None when it is not one, or has no `fmt ` chunk.

    The file position is left anywhere.
    """
    end = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    fmt, start, size = b"", 0, 0
    position = 12
    for _ in range(100):  # chunks; a forged file could hold millions of empty ones
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = struct.unpack("<4sI", chunk)
        if name == b"fmt ":
            fmt = file.read(16)
        elif name == b"data":
            start, size = position + 8, length
            break
        position += 8 + length + length % 2
        if position >= end:
            break
    if len(fmt) < 16:
        return None
    codec, channels, rate, per_second, align, bits = struct.unpack("<HHIIHH", fmt)
    return WavHeader(codec, channels, rate, per_second, align, bits, start, size)
