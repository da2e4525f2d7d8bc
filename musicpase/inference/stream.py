"""Waveforms in memory: one array, or blocks of a live stream, to frames with timestamps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicpase.config import EncoderConfig
from musicpase.errors import AudioError, ConfigError
from musicpase.inference.batching import Batcher, Track
from musicpase.inference.engine import Engine
from musicpase.inference.pooling import FramePool
from musicpase.nn import frame_times

__all__ = ["Frames", "Stream", "Waveform", "as_array"]

MAX_CHANNELS = 32  # of a waveform in memory; files may have any number

Waveform = NDArray[Any] | Tensor


@dataclass(frozen=True)
class Frames:
    """One embedding every 10 ms.

    Attributes:
        embedding: `(frames, embedding_dim)` float32.
        timestamps: centre of each frame's receptive field [s], `(frames,)` float64: `(160 i + 150.5) / 16000`.
    """

    embedding: NDArray[np.float32]
    timestamps: NDArray[np.float64]


class Stream:
    """A live stream; made by `Encoder.stream`. What it returns equals `Encoder.frames` on the whole."""

    def __init__(self, config: EncoderConfig, engine: Engine) -> None:
        self._config = config
        self._batcher = Batcher(engine)
        self._pool = FramePool(engine.head)
        self._track = Track(self._pool)
        self._given = 0

    def push(self, samples: Waveform) -> Frames:
        """Append mono samples at 16 kHz, `(samples,)` in [-1, 1]; returns the frames that are new, maybe none."""
        array = as_array(samples)
        if self._track.total_samples is not None:
            raise ConfigError("the stream is closed: begin another with Encoder.stream()")
        if not np.issubdtype(array.dtype, np.floating):
            raise AudioError(f"a stream takes floats in [-1, 1], got {array.dtype}")
        block = np.array(array, dtype=np.float32)  # a copy: who records often fills the same buffer again
        if block.ndim != 1:
            raise AudioError(f"a stream takes mono blocks (samples,), got shape {block.shape}")
        if not np.isfinite(block).all():
            raise AudioError("non-finite samples in the stream")
        self._batcher.push(self._track, block)
        return self._new_frames()

    def close(self) -> Frames:
        """End of the stream: the remaining frames."""
        if self._track.total_samples is None:
            self._batcher.close(self._track)
            self._batcher.flush()
        return self._new_frames()

    def _new_frames(self) -> Frames:
        first, self._given = self._given, self._pool.frames
        times = frame_times(self._config, self._given - first, first)
        return Frames(self._pool.rows(), times.numpy())


def as_array(waveform: Waveform) -> NDArray[Any]:
    """A waveform as a numpy array in memory of the CPU."""
    array = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else np.asarray(waveform)
    if array.ndim == 2 and len(array) > MAX_CHANNELS:  # a batch by mistake
        raise AudioError(
            f"waveform has shape {array.shape}, read as (channels, samples): "
            "for a batch of mono sounds pass (batch, 1, samples) or a list"
        )
    return array
