"""The second half of pYIN: the most probable path through voiced and unvoiced pitches, for a batch of clips.

The hidden states are pitch bin x (voiced, unvoiced). From one frame to the next the pitch moves within a band
with triangular weights, and voicing switches with a small probability. librosa adds `tiny` to every probability
before the logarithm, so that nothing is impossible, only 708 nats worse; a leap beyond the band costs that, and
so does a voiced state without a candidate. Both happen in real music, so both are here.

Forward only the values of the best paths are computed, in all clips at once, and kept; backward the arg max is
taken again, but only over the states from which the one state on the path can be reached.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicpase.features.config import FeatureConfig

__all__ = ["BandedViterbi", "band_max"]

LOG_TINY = math.log(torch.finfo(torch.float64).tiny)  # what librosa's logarithms give for probability 0: -708.4
BLOCK_BYTES = 256 * 2**20  # memory for path values; longer batches are decoded in several blocks of clips


def band_max(values: Tensor, log_window: Tensor) -> Tensor:
    """Best way into each state from the states at most `reach` below or above it.

    Args:
        values: `(states + 2 * reach, columns)`: log-probabilities, with `-inf` in the `reach` rows at both ends.
        log_window: `(1 + reach,)`, the logarithm of the weight of a move by 0, 1, ... states, up or down.

    Returns:
        `(states, columns)`: row j is the maximum over d of `values[j + reach + d] + log_window[abs(d)]`.
    """
    reach = len(log_window) - 1
    if values.device.type != "cpu":  # three large kernels instead of sixty small ones
        both_sides = torch.cat([log_window.flip(0), log_window[1:]])
        return (values.unfold(0, 2 * reach + 1, 1) + both_sides).amax(-1)
    states = len(values) - 2 * reach
    best = values[reach : reach + states] + log_window[0]
    for move in range(1, reach + 1):  # twice as fast on a CPU: nothing is larger than the cache
        either = torch.maximum(
            values[reach - move :][:states],
            values[reach + move :][:states],
        )
        torch.maximum(best, either.add_(log_window[move]), out=best)
    return best


class _Observations(NamedTuple):
    """Logarithms of the observation probabilities, time first."""

    voiced: Tensor  # (grid, pitch_bins, clips)
    unvoiced: Tensor  # (grid, clips): the same for every pitch


class BandedViterbi(nn.Module):
    """Decode `librosa.sequence.viterbi` with pYIN's transition matrix, without ever building the matrix."""

    log_window: Tensor
    log_row_sum: Tensor

    def __init__(self, config: FeatureConfig, pitch_bins: int) -> None:
        super().__init__()
        pyin = config.pyin
        semitones = round(pyin.max_transition_rate * 12 * config.hop_length / config.sample_rate)
        self.reach = semitones * math.ceil(1.0 / pyin.resolution) // 2
        self.pitch_bins = pitch_bins
        self.log_stay, self.log_switch = math.log1p(-pyin.switch_prob), math.log(pyin.switch_prob)
        moves = torch.arange(self.reach + 1, dtype=torch.float64)
        window = 1.0 - moves / (self.reach + 1)
        # Rows near the ends of the pitch range reach fewer states; each is normalised by what it reaches.
        both_sides = torch.cat([window.flip(0), window[1:]]).view(1, 1, -1)
        inside = torch.ones(1, 1, pitch_bins, dtype=torch.float64)
        row_sum = F.conv1d(inside, both_sides, padding=self.reach)[0, 0]
        self.register_buffer("log_window", window.log(), persistent=False)
        self.register_buffer("log_row_sum", row_sum.log(), persistent=False)

    def forward(self, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decode a batch.

        Args:
            probability: `(clips, grid, pitch_bins)` float64, of being voiced at each pitch.

        Returns:
            The pitch bin `(clips, grid)` int64, whether the frame is voiced `(clips, grid)` bool, and the
            probability that it is `(clips, grid)` float64.
        """
        _, grid, bins = probability.shape
        clips = max(1, BLOCK_BYTES // (grid * 2 * bins * probability.element_size()))
        voiced_probability = probability.sum(2).clamp(0.0, 1.0)
        parts = zip(torch.split(probability, clips), torch.split(voiced_probability, clips), strict=True)
        paths = [self._backward(self._forward(self._observe(*part))) for part in parts]
        states = torch.cat(paths, dim=1).T
        return states % bins, states < bins, voiced_probability

    def _observe(self, probability: Tensor, voiced: Tensor) -> _Observations:
        tiny = torch.finfo(torch.float64).tiny
        return _Observations(
            (probability + tiny).log().permute(1, 2, 0).contiguous(),
            ((1.0 - voiced) / self.pitch_bins + tiny).log().T.contiguous(),
        )

    def _forward(self, seen: _Observations) -> Tensor:
        """Return the value of the best path into each state: `(grid, pitch_bins, 2 * clips)`, voiced first."""
        grid, bins, clips = seen.voiced.shape
        values = seen.voiced.new_empty((grid, bins, 2 * clips))
        padded = seen.voiced.new_full((bins + 2 * self.reach, 2 * clips), -torch.inf)
        start = -math.log(2 * bins)
        for time in range(grid):
            now = values[time]
            if time == 0:
                now.fill_(start)
            else:
                before = values[time - 1]
                torch.sub(before, self.log_row_sum[:, None], out=padded[self.reach : self.reach + bins])
                voiced, unvoiced = band_max(padded, self.log_window).chunk(2, dim=1)
                torch.maximum(voiced + self.log_stay, unvoiced + self.log_switch, out=now[:, :clips])
                torch.maximum(unvoiced + self.log_stay, voiced + self.log_switch, out=now[:, clips:])
                leap = before.amax(0).view(2, clips).amax(0) + LOG_TINY
                torch.maximum(now, leap.repeat(2), out=now)
            now[:, :clips] += seen.voiced[time]
            now[:, clips:] += seen.unvoiced[time]
        return values

    def _backward(self, values: Tensor) -> Tensor:
        """Return the best path `(grid, clips)`: pitch bin, plus `pitch_bins` where unvoiced."""
        grid, bins, columns = values.shape
        clips = columns // 2
        # (grid, clips, state): a state's number is librosa's, so that ties fall alike
        values = values.view(grid, bins, 2, clips).permute(0, 3, 2, 1)
        path = torch.empty((grid, clips), dtype=torch.long, device=values.device)
        path[-1] = values[-1].flatten(1).argmax(1)
        moves = torch.arange(-self.reach, self.reach + 1, device=values.device)
        log_window = self.log_window[moves.abs()]
        for time in range(grid - 2, -1, -1):
            before = values[time]
            unvoiced, bin_ = path[time + 1] // bins, path[time + 1] % bins
            source = bin_[:, None] + moves  # (clips, band)
            inside = (source >= 0) & (source < bins)
            source = source.clamp(0, bins - 1)
            way = before.gather(2, source[:, None].expand(-1, 2, -1))
            way = torch.where(inside, log_window - self.log_row_sum[source], -torch.inf)[:, None] + way
            keeps = torch.arange(2, device=values.device) == unvoiced[:, None]
            way = (way + torch.where(keeps, self.log_stay, self.log_switch)[..., None]).flatten(1)
            best, where = way.max(1)
            near = torch.stack([source, source + bins], 1).flatten(1).gather(1, where[:, None])[:, 0]
            far, leap = before.flatten(1).max(1)
            path[time] = torch.where(far + LOG_TINY > best, leap, near)
        return path
