"""The few header fields of a WAV file that decoders hide: what it claims, and why it is impossible."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["WavHeader", "read_wav_header"]

_PIPED = 0x7FFF0000  # a writer to a pipe does not know the length: it writes 0, or about 2^31 or 2^32
_MAX_CHUNKS = 1000  # a forged file could hold millions of empty ones


@dataclass(frozen=True)
class WavHeader:
    """Fields of `fmt ` as written; where the first `data` starts, its size (0: unknown), how many there are."""

    codec: int
    channels: int
    rate: int
    bytes_per_second: int
    block_align: int
    bits: int
    data_start: int
    data_size: int
    data_chunks: int

    def claimed_s(self, file_size: int) -> float | None:
        """Length that the header promises [s] where the file is too short for it, else None."""
        if self.data_start + self.data_size <= file_size or not self.bytes_per_second:
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
    """Read the header of a RIFF or RF64 WAVE file; None when it is not one, or has no `fmt ` chunk.

    The file position is left anywhere.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    fmt, size64 = b"", 0
    data: list[tuple[int, int]] = []  # start and size
    for name, start, size in _chunks(file):
        if name == b"fmt ":
            fmt = file.read(16)
        elif name == b"ds64":
            size64 = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"data":
            data.append((start, size if size < _PIPED else size64))
    if len(fmt) < 16:
        return None
    start, size = data[0] if data else (0, 0)
    codec, channels, rate, per_second, align, bits = struct.unpack("<HHIIHH", fmt)
    return WavHeader(codec, channels, rate, per_second, align, bits, start, size, len(data))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and size of the chunks; the file stands at the start of each."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        name, size = struct.unpack("<4sI", header)
        yield name, position + 8, size
        position += 8 + size + size % 2
