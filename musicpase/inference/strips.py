"""What lies on a strip: pieces of files, where each begins, and the reflect padding around the ends of files."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from musicpase.config import HOP_LENGTH
from musicpase.nn.blocks import reflect_index

__all__ = ["MARGIN", "Edges", "Piece", "place"]

MARGIN = 9  # frames of context on each side: receptive field (7 and 8 frames), mirrored edges, one frame for x_(t-1)
GAP_BEFORE = 2  # frames kept free before the first sample of a file for its reflection (320 samples are needed)
GAP_AFTER = 4  # frames kept free behind the last whole frame of a file (159 samples of rest, then up to 410)


@dataclass
class Piece:
    """Some consecutive frames of one file, with the samples they look at.

    `samples` are `[MARGIN frames before, MARGIN frames behind)` the piece, or as much of that as the file has.
    """

    samples: Tensor  # (samples,) float32
    first_frame: int  # of the file
    frames: int
    total_samples: int | None = None  # of the file, once its end lies within `samples`
    state: Tensor | None = None  # recurrence at frame `first_frame - 1`, (qrnn_dim,)

    @property
    def frames_before(self) -> int:
        """Frames of room that the piece needs on its left."""
        return MARGIN if self.first_frame else GAP_BEFORE

    @property
    def frames_after(self) -> int:
        """Frames of room that the piece needs on its right."""
        return MARGIN if self.total_samples is None else GAP_AFTER


class Edges:
    """The rows around beginnings and ends of files on a strip that reflect padding fills."""

    def __init__(self, pieces: Sequence[Piece], starts: Sequence[int]) -> None:
        # Where sample 0 of each file is or would be on the strip; always a multiple of the hop.
        origin = [(start - piece.first_frame) * HOP_LENGTH for piece, start in zip(pieces, starts, strict=True)]
        self.origin = torch.tensor(origin)
        self.begins = torch.tensor([piece.first_frame <= MARGIN for piece in pieces])
        self.ends = torch.tensor([piece.total_samples is not None for piece in pieces])
        # A file whose end is not in sight counts as endless.
        self.total_samples = torch.tensor([piece.total_samples or 2**62 for piece in pieces])

    def mirror(self, first: int, hop: int, rows: int, length: Tensor, pads: tuple[int, int]) -> list[Tensor]:
        """The padding of every file among rows that are `hop` samples apart.

        Args:
            first: position of the first row.
            hop: samples between two.
            rows: how many there are.
            length: rows of each file.
            pads: of the convolution.

        Returns:
            The rows to fill, and those to fill them with.
        """
        origin = self.origin // hop - first
        targets, sources = [origin[:0]], [origin[:0]]
        for where, offset in (
            (self.begins, torch.arange(-pads[0], 0)[None]),
            (self.ends, length[self.ends, None] + torch.arange(pads[1])[None]),
        ):
            if where.any():
                base = origin[where, None]
                targets.append((base + offset).flatten())
                sources.append((base + reflect_index(offset, length[where, None])).flatten())
        target, source = torch.cat(targets), torch.cat(sources)
        there = (target >= 0) & (target < rows)  # the rest is so far out that no frame to keep sees it
        return [target[there], source[there]]


def place(pieces: Sequence[Piece], frames: int) -> list[int] | None:
    """Strip frame at which each piece's first frame stands, or None if they do not fit on one strip."""
    starts: list[int] = []
    free = end = 0
    for piece in pieces:
        starts.append(max(free + piece.frames_before, MARGIN))
        end = starts[-1] + piece.frames
        free = end + piece.frames_after
    return starts if end <= MARGIN + frames else None
