"""From hidden rows to embeddings: the mean over a track, every frame, or the mean over windows."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from musicpase.config import HOP_LENGTH, SAMPLE_RATE
from musicpase.errors import ConfigError

__all__ = ["FramePool", "MeanPool", "Pool", "Pooling", "SegmentPool"]

FRAME_S = HOP_LENGTH / SAMPLE_RATE
Rows = NDArray[np.float32]


class Pool(Protocol):
    """Takes a track's hidden rows in order and makes rows of them."""

    frames: int

    def add(self, hidden: Tensor) -> None:
        """Hidden rows of the next frames, `(frames, hidden_dim)` float32, on the engine's device."""

    def rows(self) -> Rows:
        """The embeddings, `(rows, embedding_dim)`, once every frame has been added."""


@dataclass(frozen=True)
class Pooling:
    """What to make of the frames of a track.

    Attributes:
        kind: "mean" (one row per track), "frames" (one row per frame) or "segments" (one row per window).
        segment_s: length of a window [s], a multiple of 10 ms.
        hop_s: from one window to the next [s], a multiple of 10 ms; `segment_s` if None.
    """

    kind: str = "mean"
    segment_s: float | None = None
    hop_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("segment_s", "hop_s"):
            value = getattr(self, name)
            if value is not None and not (FRAME_S <= value < math.inf and is_multiple(value)):
                option = name.removesuffix("_s")
                raise ConfigError(f"{option} is {value:g} s: it must be a positive multiple of {FRAME_S:g} s")
        if self.kind not in ("mean", "frames", "segments"):
            raise ConfigError(f"pooling is {self.kind!r}: it must be mean, frames or segments")
        if (self.kind == "segments") != (self.segment_s is not None) or (self.hop_s and not self.segment_s):
            raise ConfigError("segments need a length, and only they have one: --segment S, perhaps with --hop H")

    def new(self, head: nn.Linear, write: Callable[[Rows], None] | None = None) -> Pool:
        """A pool for one track.

        Args:
            head: maps hidden rows to embeddings.
            write: for "frames", takes the rows as they come instead of keeping them.
        """
        if self.kind == "mean":
            return MeanPool(head)
        if self.kind == "frames":
            return FramePool(head, write)
        assert self.segment_s is not None
        frames = round(self.segment_s / FRAME_S)
        return SegmentPool(head, frames, frames if self.hop_s is None else round(self.hop_s / FRAME_S))


def is_multiple(seconds: float) -> bool:
    """Whether a time is a whole number of frames, rounding errors of decimal fractions aside."""
    return abs(seconds / FRAME_S - round(seconds / FRAME_S)) < 1e-6


@dataclass
class MeanPool:
    """One row per track: the mean over all its frames."""

    head: nn.Linear
    frames: int = 0
    _sum: Tensor | float = 0.0

    def add(self, hidden: Tensor) -> None:
        """Hidden rows of the next frames, `(frames, hidden_dim)`."""
        self.frames += len(hidden)
        # The total in float64: hours of frames must not lose digits.
        self._sum = self._sum + double(hidden.sum(0))

    def rows(self) -> Rows:
        """`(1, embedding_dim)`."""
        assert isinstance(self._sum, Tensor)
        return apply(self.head, (self._sum / self.frames).float()[None])


@dataclass
class FramePool:
    """One row per frame."""

    head: nn.Linear
    write: Callable[[Rows], None] | None = None
    frames: int = 0
    _kept: list[Rows] = field(default_factory=list)

    def add(self, hidden: Tensor) -> None:
        """Hidden rows of the next frames, `(frames, hidden_dim)`."""
        self.frames += len(hidden)
        (self.write or self._kept.append)(apply(self.head, hidden))

    def rows(self) -> Rows:
        """`(frames, embedding_dim)`: those that came since the last call, none where `write` took them."""
        kept, self._kept = self._kept, []
        return np.concatenate(kept) if kept else np.empty((0, self.head.out_features), np.float32)


class Matrix:
    """Rows that come one by one, in one block of memory.

    Kept as many small arrays, they would stand between the large ones that come and go with every strip; the
    allocator (glibc's) then finds no room for those where they were before, and the process grows by megabytes with
    every strip (measured: 1 GB an hour of audio).

    Args:
        width: numbers per row.
    """

    def __init__(self, width: int) -> None:
        self._block = np.empty((64, width), np.float32)
        self._used = 0

    def append(self, rows: Rows) -> None:
        """Add rows, `(rows, width)`."""
        while len(self._block) < self._used + len(rows):
            self._block = np.concatenate([self._block, np.empty_like(self._block)])
        self._block[self._used : self._used + len(rows)] = rows
        self._used += len(rows)

    def rows(self) -> Rows:
        """All rows so far, `(rows, width)`."""
        return self._block[: self._used].copy()


@dataclass
class SegmentPool:
    """One row per window: the mean over the frames in it.

    Windows begin every `hop` frames for as long as they bring frames that no window before had; the last may
    reach beyond the end and is then the mean over what there is.
    """

    head: nn.Linear
    segment: int
    hop: int
    frames: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    _open: deque[tuple[int, Tensor]] = field(default_factory=deque)  # first frame and sum so far of each window
    _next: int = 0  # frame at which the next window begins

    def __post_init__(self) -> None:
        self._kept = Matrix(self.head.out_features)

    def add(self, hidden: Tensor) -> None:
        """Hidden rows of the next frames, `(frames, hidden_dim)`."""
        for part in torch.split(hidden, 4096):  # a GPU has room for a long strip, and not for it in float64
            self._add(part)

    def _add(self, hidden: Tensor) -> None:
        first, self.frames = self.frames, self.frames + len(hidden)
        # Sums over any stretch of these frames are differences of running sums, in float64 so that nothing is lost.
        running = F.pad(double(hidden), (0, 0, 1, 0)).cumsum(0)
        while self._next < self.frames:
            self._open.append((self._next, running.new_zeros(running.shape[1])))
            self._next += self.hop
        for number, (begin, total) in enumerate(self._open):
            low, high = max(begin, first), min(begin + self.segment, self.frames)
            self._open[number] = begin, total + running[high - first] - running[low - first]
        while self._open and self._open[0][0] + self.segment <= self.frames:
            self._emit()

    def _emit(self) -> None:
        begin, total = self._open.popleft()
        end = min(begin + self.segment, self.frames)
        self.spans.append((begin, end))
        self._kept.append(apply(self.head, (total / (end - begin)).float()[None]))

    def rows(self) -> Rows:
        """`(windows, embedding_dim)`; the windows' frames are in `spans`."""
        if self._open and (not self.spans or self.spans[-1][1] < self.frames):
            self._emit()
        self._open.clear()
        return self._kept.rows()


def double(x: Tensor) -> Tensor:
    """In float64, where it lies if the device has that: waiting for a GPU would leave it idle."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@torch.inference_mode()
def apply(head: nn.Linear, hidden: Tensor) -> Rows:
    """The linear top, wherever it lives, on `(rows, hidden_dim)`: embeddings in memory of the CPU."""
    rows: Rows = head(hidden.to(head.weight.device)).cpu().numpy()
    return rows
