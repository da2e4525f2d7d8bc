"""The safetensors format, read with every number of the header checked before any memory is taken for it.

Format: 8 bytes little-endian header length, a JSON header `{name: {dtype, shape, data_offsets}}`, then the data
(https://github.com/huggingface/safetensors#format). The library's own reader accepts a file whose names and shapes
fit nothing and leaves the values unread until they are used; here a file is wholly checked or refused.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicpase.errors import ModelError
from musicpase.weights.files import shown

__all__ = ["Header", "read_header", "read_tensors"]

MAX_HEADER_BYTES = 1 << 20  # PASE+ needs 8 kB
MAX_DIMENSIONS = 8  # PASE+ needs 3; the product of 100,000 would take minutes
DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,  # num_batches_tracked
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the header: its type, its shape, and its bytes counted from the end of the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself; consistent with the file's size."""

    entries: dict[str, Entry]
    data_start: int
    size: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name -> shape."""
        return {name: entry.shape for name, entry in self.entries.items()}


def read_header(path: Path, file: BufferedReader, size: int) -> Header:
    """Read and check the header of a safetensors file of `size` bytes.

    Raises:
        ModelError: another format, a truncated file, or a header that contradicts itself or the file.
    """
    start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x1f\x8b")):
        raise ModelError(
            f"{shown(path)}: a zip, gzip or pickle file, not safetensors; a PyTorch checkpoint needs the suffix .ckpt"
        )
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise ModelError(f"{shown(path)}: truncated, or not a safetensors file ({size} bytes); fetch it again")
    if length > MAX_HEADER_BYTES:
        raise ModelError(f"{shown(path)}: its header of {length} bytes is too long for an encoder")
    try:
        values = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise ModelError(f"{shown(path)}: not a safetensors file (its header is not JSON)") from None
    if not isinstance(values, dict):
        raise ModelError(f"{shown(path)}: not a safetensors file (its header is no JSON object)")
    values.pop("__metadata__", None)
    header = Header({name: _entry(path, name, value) for name, value in values.items()}, 8 + length, size)
    _check_layout(path, header)
    return header


def _entry(path: Path, name: str, value: Any) -> Entry:
    """One header entry whose type, shape and byte range agree."""
    prefix = f"{shown(path)}: tensor '{shown(name, 80)}'"
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise ModelError(f"{prefix} has a malformed header entry") from None
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelError(f"{prefix} has type {shown(dtype, 20)}, expected one of {', '.join(DTYPES)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or any(type(n) is not int or n < 0 for n in (*shape, begin, end))
    ):
        raise ModelError(f"{prefix} has a malformed shape or position in its header")
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ModelError(f"{prefix} has shape {shown(shape, 50)}, which does not fit its {end - begin} bytes")
    return Entry(DTYPES[dtype], tuple(shape), begin, end)


def _check_layout(path: Path, header: Header) -> None:
    """The tensors lie end to end, without overlap or gap, and fill the file exactly."""
    position = 0
    for name, entry in sorted(header.entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            kind = "overlaps the one before it" if entry.begin < position else "leaves a gap before it"
            raise ModelError(f"{shown(path)}: tensor '{shown(name, 80)}' {kind}; the header was tampered with")
        position = entry.end
    present = header.size - header.data_start
    if present < position:
        raise ModelError(f"{shown(path)}: truncated, {present} of {position} bytes of tensors; fetch it again")
    if present > position:
        raise ModelError(f"{shown(path)}: {present - position} bytes after the last tensor; fetch it again")


def read_tensors(path: Path, file: BufferedReader, header: Header) -> tuple[dict[str, Tensor], str]:
    """Read the data that a checked header describes.

    Returns:
        Tensors by name, as stored, and the sha256 of the whole file as read here.
    """
    file.seek(0)
    data = file.read(header.size)
    if len(data) != header.size:
        raise ModelError(f"{shown(path)}: changed while it was read")
    tensors = {}
    for name, entry in header.entries.items():
        # A copy of its own, because frombuffer needs writable and aligned memory.
        own = bytearray(data[header.data_start + entry.begin : header.data_start + entry.end])
        tensors[name] = torch.frombuffer(own, dtype=entry.dtype).view(entry.shape)
    return tensors, hashlib.sha256(data).hexdigest()
