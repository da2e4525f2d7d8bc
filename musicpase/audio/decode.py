"""One audio file -> mono float32 blocks at 16 kHz, in bounded memory."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from musicpase.audio.access import open_audio
from musicpase.audio.explain import explain
from musicpase.audio.health import Health
from musicpase.audio.libsndfile import read_libsndfile
from musicpase.audio.mono import MonoResampler
from musicpase.audio.pyav import read_pyav
from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.errors import AudioError

__all__ = ["BLOCK_LENGTH", "DecodeReport", "decode_open_file", "iter_blocks", "load_audio"]

BLOCK_LENGTH = 65_536
"""Samples per block, about 4 s and a quarter of a megabyte; the last block of a file is shorter."""

Blocks = Generator[NDArray[np.float32], None, "DecodeReport"]
Decoded = Iterator[tuple[NDArray[np.float32], int]]


@dataclass(frozen=True)
class DecodeReport:
    """What is known after the last block.

    Attributes:
        duration_s: Seconds decoded, at the file's own rate.
        warnings: Plain sentences: parts that are missing, a mono mix that is silent, samples clipped.
    """

    duration_s: float
    warnings: tuple[str, ...] = ()


def iter_blocks(
    path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE, max_duration: float | None = None
) -> Blocks:
    """Decode a file or URL.

    The first audio stream is decoded; the channels are averaged; soxr (HQ) resamples. A damaged stream gives what
    can be decoded, and a warning in the report.

    Args:
        path: File path or http(s), s3, gs URL.
        sample_rate: Rate of the blocks [Hz].
        max_duration: Refuse files that are longer than this [s].

    Yields:
        `(samples,)` float32, each of `BLOCK_LENGTH` samples but the last.

    Returns:
        The report, as the generator's value.

    Raises:
        AudioError: Unreadable, not audio, no audio in it, shorter than 10 ms, non-finite samples, too long. It
            may come after some blocks, which then have to be dropped.
        MissingExtraError: A URL, and fsspec is not installed.
    """
    with open_audio(path) as file:
        return (yield from decode_open_file(file, sample_rate=sample_rate, max_duration=max_duration))


def load_audio(
    path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE, max_duration: float | None = None
) -> tuple[NDArray[np.float32], DecodeReport]:
    """Decode a whole file or URL into memory; arguments and errors as in `iter_blocks`.

    Returns:
        `(samples,)` float32 in [-1, 1] at `sample_rate`, and the report.
    """
    blocks = iter_blocks(path, sample_rate=sample_rate, max_duration=max_duration)
    parts: list[NDArray[np.float32]] = []
    while True:
        try:
            parts.append(next(blocks))
        except StopIteration as end:
            return np.concatenate(parts), end.value


def decode_open_file(file: BinaryIO, *, sample_rate: int = SAMPLE_RATE, max_duration: float | None = None) -> Blocks:
    """Decode an open, seekable, not empty binary file; all else as in `iter_blocks`."""
    decoded, health = _first_that_works(file)
    mono = MonoResampler(sample_rate)
    parts: list[NDArray[np.float32]] = []
    pending = total = 0
    for part in _resampled(decoded, mono):
        parts.append(part)
        pending += len(part)
        total += len(part)
        if max_duration is not None and total > max_duration * sample_rate:
            raise AudioError(f"longer than the limit of {max_duration:g} s")
        if pending >= BLOCK_LENGTH:
            joined = np.concatenate(parts)
            cut = pending - pending % BLOCK_LENGTH
            yield from joined[:cut].reshape(-1, BLOCK_LENGTH)
            parts, pending = [joined[cut:]], pending - cut
    # The shortest sound that gives a frame; a shorter one is refused, not padded, so that no row is made up.
    shortest_s = HOP_LENGTH / SAMPLE_RATE
    if total < round(shortest_s * sample_rate):
        raise AudioError(f"shorter than one 10 ms frame ({1000 * mono.duration_s:.1f} ms)")
    if pending:
        yield np.concatenate(parts)
    return DecodeReport(mono.duration_s, health.warnings(mono.duration_s) + mono.warnings())


def _resampled(decoded: Decoded, mono: MonoResampler) -> Iterator[NDArray[np.float32]]:
    try:
        for block, rate in decoded:
            yield mono.push(block, rate)
    except (AudioError, MemoryError):
        raise
    except Exception as error:  # decoders raise all kinds of them
        raise AudioError(f"cannot be decoded ({type(error).__name__})") from error
    yield mono.flush()


def _first_that_works(file: BinaryIO) -> tuple[Decoded, Health]:
    """Return the blocks of the first decoder that gives any, and where it reports damage.

    Raises:
        AudioError: With the reason, when none does.
    """
    reason = ""
    for reader in (read_pyav, read_libsndfile):
        health = Health()
        blocks = reader(file, health)
        try:
            first = next(blocks)
        except StopIteration:
            if health.damaged_at_s is None:  # the container is fine
                reason = "no audio in it (0 samples)"
        except Exception:  # decoders raise all kinds of them
            continue
        else:
            return chain([first], blocks), health
    raise AudioError(reason or explain(file))
