"""From samples that arrive in blocks to strips for the engine: cut long files, put short pieces together."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicpase.config import HOP_LENGTH
from musicpase.errors import ModelError
from musicpase.inference.engine import Engine
from musicpase.inference.pooling import Pool
from musicpase.inference.strips import MARGIN, Piece

__all__ = ["Batcher", "Track"]

Samples = NDArray[np.float32]


class Track:
    """One audio on its way through the engine: samples not used up yet, state of the recurrence, its pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.state: Tensor | None = None
        self.next_frame = 0
        self.total_samples: int | None = None  # known once closed
        self._blocks: list[Samples] = []
        self._begin = self._end = 0  # of the buffered samples, in samples of the file

    def push(self, samples: Samples) -> None:
        """Append samples, `(samples,)` float32 at 16 kHz."""
        self._blocks.append(samples)
        self._end += len(samples)

    def close(self) -> None:
        """No more samples will come."""
        self.total_samples = self._end

    @property
    def done(self) -> bool:
        """Whether every frame has gone into the pool."""
        return self.total_samples is not None and self.pool.frames == self.total_samples // HOP_LENGTH

    def take(self, frames: int) -> Piece | None:
        """The next `frames` frames, fewer at the end; None while samples that they look at are missing."""
        first, total = self.next_frame, self.total_samples
        if total is None:
            if self._end < (first + frames + MARGIN) * HOP_LENGTH:
                return None
        else:
            frames = min(frames, total // HOP_LENGTH - first)
            if frames == 0:
                return None
        stop = min(self._end, (first + frames + MARGIN) * HOP_LENGTH)
        buffer = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        begin = max(first - MARGIN, 0) * HOP_LENGTH
        samples = buffer[begin - self._begin : stop - self._begin].copy()  # not a window into hours
        keep_from = max(first + frames - MARGIN, 0) * HOP_LENGTH
        self._blocks = [buffer[keep_from - self._begin :]]
        self._begin = keep_from
        self.next_frame += frames
        return Piece(torch.from_numpy(samples), first, frames, total if total == stop else None, self.state)


class Batcher:
    """Feeds the engine with strips.

    Whole strips' worth of a file run at once, alone. What is left at the end of a file, or a clip shorter than a
    strip, waits until pieces of other files fill the strip (or `flush`). How a file is cut depends on nothing
    but its length, so its result does not depend on its neighbours.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._queue: list[tuple[Track, Piece]] = []

    def push(self, track: Track, samples: Samples) -> None:
        """Append samples to a track and run what has become complete."""
        track.push(samples)
        while (piece := track.take(self.engine.frames)) is not None:
            self._run([(track, piece)])

    def close(self, track: Track) -> None:
        """End a track; its last piece may wait in the queue."""
        track.close()
        while (piece := track.take(self.engine.frames)) is not None:
            if piece.frames == self.engine.frames or piece.total_samples is None:
                self._run([(track, piece)])
                continue
            if not self.engine.fits([*(queued for _, queued in self._queue), piece]):
                self.flush()
            self._queue.append((track, piece))

    def flush(self) -> None:
        """Run what waits, however little."""
        if self._queue:
            queue, self._queue = self._queue, []
            self._run(queue)

    def _run(self, batch: Sequence[tuple[Track, Piece]]) -> None:
        """Run one strip; on a device that has no memory for it, halve the strips from here on."""
        pieces = [piece for _, piece in batch]
        encoded = self._encode(pieces) if self.engine.fits(pieces) else None
        if encoded is None:  # cut for strips that were longer
            for track, piece in batch:
                for part in split(piece, self.engine.frames):
                    part.state = track.state
                    self._run([(track, part)])
            return
        for (track, _), rows, state in zip(batch, *encoded, strict=True):
            track.state = state
            track.pool.add(rows)

    def _encode(self, pieces: Sequence[Piece]) -> tuple[list[Tensor], list[Tensor]] | None:
        """Run the engine; None, and shorter strips from now on, if the device has no memory for this one."""
        try:
            return self.engine(pieces)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self.engine.frames < 4 * MARGIN:
                raise ModelError(
                    f"{self.engine.device} has no memory left for {self.engine.frames / 100:g} s of audio: "
                    f"free some of it, or use --device cpu ({str(error).partition(chr(10))[0]})"
                ) from error
        # Outside of the handler, where the failed strip's tensors are free.
        self.engine.frames //= 2
        return None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had no memory: torch has an error for it, and the libraries below have messages."""
    signs = ("out of memory", "unable to find an engine", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def split(piece: Piece, frames: int) -> list[Piece]:
    """Cut a piece into pieces of at most `frames` frames, each with its context."""
    offset = max(piece.first_frame - MARGIN, 0) * HOP_LENGTH  # sample of the file where piece.samples begins
    stop = piece.first_frame + piece.frames
    parts = []
    for first in range(piece.first_frame, stop, frames):
        count = min(frames, stop - first)
        begin, end = max(first - MARGIN, 0) * HOP_LENGTH, (first + count + MARGIN) * HOP_LENGTH
        samples = piece.samples[begin - offset : end - offset]
        in_sight = piece.total_samples is not None and piece.total_samples <= end
        parts.append(Piece(samples, first, count, piece.total_samples if in_sight else None))
    return parts
