"""The second half of pYIN: the most probable path through voiced and unvoiced pitches, for a batch of clips.

The hidden states are pitch bin x (voiced, unvoiced). From one frame to the next the pitch moves within a band
with triangular weights, and voicing switches with a small probability. librosa adds `tiny` to every probability
before the logarithm, so that nothing is impossible, only 708 nats worse; a leap beyond the band costs that, and
so does a voiced state without a candidate. Both happen in real music, so both are here.

Forward only the values of the best paths are computed, in all clips at once, and kept; backward the arg max is
taken again, but only over the states from which the one state on the path can be reached. Everything is float64
and added in librosa's order: many paths are equally good on paper, and rounding decides between them.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from musicpase.features.banks import pitch_moves
from musicpase.features.config import FeatureConfig
from musicpase.features.yin import Candidates

__all__ = ["BandedViterbi", "band_max"]

LOG_TINY = math.log(torch.finfo(torch.float64).tiny)  # what librosa's logarithms give for probability 0: -708.4
# Larger batches are decoded in several blocks of clips. On a CPU fewer clips leave the arithmetic to the overhead of
# calls and more fall out of its cache; a GPU wants as many as fit.
CPU_CLIPS = 16
CPU_BLOCK_BYTES, GPU_BLOCK_BYTES = 2**28, 2**32  # memory for path values


def band_max(values: Tensor, log_weights: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Best way into each state from the states at most `reach` below or above it.

    Args:
        values: `(states + 2 * reach, columns)`: log-probabilities, with `-inf` in the `reach` rows at both ends.
        log_weights: `(ways, 1 + reach)`: for each kind of move (staying voiced, switching), the logarithm of the
            weight of a move by 0, 1, ... states, up or down.
        out: `(ways, states, columns)`, overwritten: row j is the maximum over d of
            `values[j + reach + d] + log_weights[way, abs(d)]`.
        scratch: `(2, 1 + reach, states, columns)`, overwritten; a new one for every frame would cost as much as
            the arithmetic.
    """
    states, reach = out.shape[1], log_weights.shape[1] - 1
    shifted = values.unfold(0, states, 1).transpose(1, 2)  # (2 * reach + 1, states, columns), a view
    either, moved = scratch
    torch.maximum(shifted[: reach + 1].flip(0), shifted[reach:], out=either)  # down or up, by 0, 1, ...
    for way, weights in enumerate(log_weights):
        torch.add(either, weights[:, None, None], out=moved)
        torch.amax(moved, 0, out=out[way])


class _Observations(NamedTuple):
    """Logarithms of the observation probabilities, time first."""

    voiced: Tensor  # (grid, pitch_bins, clips)
    unvoiced: Tensor  # (grid, clips): the same for every pitch


class BandedViterbi(nn.Module):
    """Decode `librosa.sequence.viterbi` with pYIN's transition matrix, without ever building the matrix.

    Args:
        config: pYIN's parameters.
        pitch_bins: states per voicing.
    """

    log_weights: Tensor
    row_correction: Tensor

    def __init__(self, config: FeatureConfig, pitch_bins: int) -> None:
        super().__init__()
        self.pitch_bins = pitch_bins
        weights, row_scale = pitch_moves(config, pitch_bins)
        stay = 1.0 - config.pyin.switch_prob
        tiny = torch.finfo(torch.float64).tiny
        log_weights = torch.stack([stay * weights, (1.0 - stay) * weights]).add(tiny).log()
        self.reach = log_weights.shape[1] - 1
        self.register_buffer("log_weights", log_weights, persistent=False)
        self.register_buffer("row_correction", row_scale.log(), persistent=False)

    def forward(self, candidates: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Decode a batch.

        Args:
            candidates: the pitches that each frame could have.

        Returns:
            The pitch bin `(clips, grid)` int64, whether the frame is voiced `(clips, grid)` bool, and the
            probability that it is `(clips, grid)` float64.
        """
        voiced = candidates.voiced_probability()
        bytes_per_clip = candidates.grid * 2 * self.pitch_bins * voiced.element_size()
        if voiced.device.type == "cpu":
            size = max(1, min(CPU_CLIPS, CPU_BLOCK_BYTES // bytes_per_clip))
        else:
            size = max(1, GPU_BLOCK_BYTES // bytes_per_clip)
        paths = [
            self._backward(self._forward(self._observe(block, voiced[first : first + size])))
            for first in range(0, candidates.clips, size)
            for block in [candidates.block(first, first + size)]
        ]
        states = torch.cat(paths, dim=1).T
        return states % self.pitch_bins, states < self.pitch_bins, voiced

    def _observe(self, candidates: Candidates, voiced: Tensor) -> _Observations:
        tiny = torch.finfo(torch.float64).tiny
        table = voiced.new_full((candidates.grid, self.pitch_bins, candidates.clips), LOG_TINY)
        table[candidates.frame, candidates.bin, candidates.clip] = (candidates.probability + tiny).log()
        return _Observations(table, ((1.0 - voiced) / self.pitch_bins + tiny).log().T.contiguous())

    def _forward(self, seen: _Observations) -> Tensor:
        """Return the value of the best path into each state: `(grid, pitch_bins, 2 * clips)`, voiced first."""
        grid, bins, clips = seen.voiced.shape
        values = seen.voiced.new_empty((grid, bins, 2 * clips))
        padded = values.new_full((bins + 2 * self.reach, 2 * clips), -torch.inf)
        best = values.new_empty((2, bins, 2 * clips))
        scratch = values.new_empty((2, self.reach + 1, bins, 2 * clips))
        for time in range(grid):
            now = values[time]
            if time == 0:
                now.fill_(-math.log(2 * bins))
            else:
                before = values[time - 1]
                torch.add(before, self.row_correction[:, None], out=padded[self.reach : self.reach + bins])
                band_max(padded, self.log_weights, best, scratch)
                stay, switch = best
                torch.maximum(stay[:, :clips], switch[:, clips:], out=now[:, :clips])
                torch.maximum(stay[:, clips:], switch[:, :clips], out=now[:, clips:])
                leap = before.amax(0).view(2, clips).amax(0) + LOG_TINY
                torch.maximum(now, leap.repeat(2), out=now)
            now[:, :clips] += seen.voiced[time]
            now[:, clips:] += seen.unvoiced[time]
        return values

    def _backward(self, values: Tensor) -> Tensor:
        """Return the best path `(grid, clips)`: pitch bin, plus `pitch_bins` where unvoiced."""
        grid, bins, columns = values.shape
        clips = columns // 2
        # (grid, clips, voicing, bin): a state's number is librosa's, and of equal ways it takes the first
        values = values.view(grid, bins, 2, clips).permute(0, 3, 2, 1)
        path = torch.empty((grid, clips), dtype=torch.long, device=values.device)
        path[-1] = values[-1].flatten(1).argmax(1)
        moves = torch.arange(-self.reach, self.reach + 1, device=values.device)
        log_weights = self.log_weights[:, moves.abs()]  # (ways, band)
        ways = torch.stack([log_weights, log_weights.flip(0)])  # by voicing now, then before
        for time in range(grid - 2, -1, -1):
            before = values[time]
            bin_ = path[time + 1] % bins
            source = bin_[:, None] + moves  # (clips, band)
            inside = (source >= 0) & (source < bins)
            source = source.clamp(0, bins - 1)
            way = before.gather(2, source[:, None].expand(-1, 2, -1))
            way = way + torch.where(inside, self.row_correction[source], -torch.inf)[:, None]
            best, where = (way + ways[path[time + 1] // bins]).flatten(1).max(1)
            near = torch.stack([source, source + bins], 1).flatten(1).gather(1, where[:, None])[:, 0]
            far, leap = (before.flatten(1) + LOG_TINY).max(1)
            path[time] = torch.where(far > best, leap, near)
        return path
