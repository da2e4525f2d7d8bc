"""The second decoder: libsndfile, for what FFmpeg refuses (PAF, MAT5, HTK, free-format mp3, 100 channels...)."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicpase.audio.health import Health
from musicpase.errors import AudioError

__all__ = ["read_libsndfile"]

_BATCH = 1 << 17  # values per block


class _Forward(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no types
    """A SoundFile read once from start to end."""

    def seekable(self) -> bool:
        """Say no: else each read() ends in a seek, which fails on FLAC of unknown length."""
        return False


def read_libsndfile(file: BinaryIO, health: Health) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Decode an open file.

    Args:
        file: Seekable binary file.
        health: Receives the claimed length and a damage that ends the decoding.

    Yields:
        `(block, rate)`: `(samples, channels)` float32 and its sample rate [Hz].

    Raises:
        AudioError: libsndfile does not take the file. Never after the first block.
    """
    file.seek(0)
    try:
        sound = _Forward(file)
    except Exception as error:
        raise AudioError("not a format of libsndfile") from error
    with sound:
        if 0 < sound.frames < 1 << 40:  # unknown lengths are huge
            health.claimed_s = sound.frames / max(sound.samplerate, 1)
        decoded = 0
        while True:
            try:
                block = sound.read(max(1, _BATCH // sound.channels), dtype="float32", always_2d=True)
            except Exception:
                health.mark(decoded / max(sound.samplerate, 1))
                return
            if len(block) == 0:
                if sound.format == "OGG":  # FFmpeg refused it, and libsndfile says nothing of pages it passes over
                    health.mark(decoded / max(sound.samplerate, 1))
                return
            decoded += len(block)
            yield block, sound.samplerate
