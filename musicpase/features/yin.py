"""The first half of pYIN: which pitches each frame could have, and how probable each one is.

Mauch and Dixon, "pYIN", ICASSP 2014, in the form of the authors' software, which librosa follows. Everything is
float64: a trough is a trough however shallow, and a path may be unvoiced only where candidates do not sum to 1,
so rounding noise would show as other decisions. Only the difference function is rounded to float32, librosa's
precision, so that a flat one (a click) has no troughs of noise.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicpase.features.banks import beta_prior
from musicpase.features.config import FeatureConfig
from musicpase.features.framing import frame
from musicpase.features.parabola import parabolic_shift

__all__ = ["Candidates", "PitchCandidates", "difference", "troughs"]


def difference(frames: Tensor, max_period: int) -> Tensor:
    """Cumulative mean normalised difference of each frame (de Cheveigné and Kawahara 2002, equation 8).

    Args:
        frames: `(..., frame_length)`.
        max_period: longest period [samples], less than the frame.

    Returns:
        `(..., max_period)` float64: entry k is for a period of k + 1 samples; about 1 where the
        frame does not repeat, near 0 where it does.
    """
    # Circular, but long enough that the lags which are kept do not wrap: 2304 instead of librosa's 4096.
    size = -(-(frames.shape[-1] + max_period) // 256) * 256
    spectrum = torch.fft.rfft(frames.double(), size)
    product = spectrum.real.square() + spectrum.imag.square()
    correlation = torch.fft.irfft(product, size)[..., : max_period + 1]
    # librosa's difference leaves out the energy of the frame's last k samples; so do we.
    energy = frames[..., :max_period].double().square().cumsum(-1)
    raw = (2.0 * (correlation[..., :1] - correlation[..., 1:]) - energy).float().double()
    period = torch.arange(1, max_period + 1, device=raw.device)
    normalised: Tensor = raw / (raw.cumsum(-1) / period + torch.finfo(torch.float64).tiny)
    return normalised


def troughs(curve: Tensor) -> Tensor:
    """Mark local minima along the last axis; of a flat bottom the first point, at the ends one side decides."""
    falls = torch.ones_like(curve, dtype=torch.bool)
    falls[..., 1:] = curve[..., 1:] < curve[..., :-1]
    rises = torch.ones_like(falls)
    rises[..., :-1] = curve[..., :-1] <= curve[..., 1:]
    rises[..., 0] = curve[..., 0] < curve[..., 1]  # librosa: strict at the first point
    return falls & rises


@dataclass(frozen=True)
class Candidates:
    """The pitches that the frames of a batch could have, as a list sorted by clip, frame and falling pitch."""

    clips: int
    grid: int
    clip: Tensor
    frame: Tensor
    bin: Tensor
    """Pitch `fmin * 2 ** (bin / 120)`; at most once per frame."""
    probability: Tensor
    """Float64; those of a frame add up to at most 1 (and rounding), the probability of being voiced."""

    def voiced_probability(self) -> Tensor:
        """Sum up each frame's candidates: `(clips, grid)` float64 in [0, 1]."""
        total = self.probability.new_zeros(self.clips * self.grid)
        # from the lowest pitch up, librosa's order: the last bit decides whether the rest is 0
        return (
            total.index_add_(0, (self.clip * self.grid + self.frame).flip(0), self.probability.flip(0))
            .clamp(0.0, 1.0)
            .view(self.clips, self.grid)
        )

    def block(self, first: int, stop: int) -> "Candidates":
        """Take the clips from `first` to before `stop`."""
        inside = (self.clip >= first) & (self.clip < stop)
        columns = (self.clip[inside] - first, self.frame[inside], self.bin[inside], self.probability[inside])
        return Candidates(min(stop, self.clips) - first, self.grid, *columns)


class PitchCandidates(nn.Module):
    """Waveform `(clips, samples)` -> candidates with their probabilities: pYIN's observations."""

    thresholds: Tensor
    mass: Tensor
    mass_below: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        pyin = config.pyin
        self.pyin, self.sample_rate, self.hop_length = pyin, config.sample_rate, config.hop_length
        self.min_period = math.floor(config.sample_rate / pyin.fmax)
        self.max_period = min(math.ceil(config.sample_rate / pyin.fmin), pyin.frame_length - 1)
        self.bins_per_octave = 12 * math.ceil(1.0 / pyin.resolution)
        self.pitch_bins = math.floor(self.bins_per_octave * math.log2(pyin.fmax / pyin.fmin)) + 1
        thresholds, mass = beta_prior(pyin)
        used = int(mass.nonzero()[-1]) + 1  # by default those above 0.9 have no mass at all
        thresholds, mass = thresholds[:used], mass[:used]
        self.highest_threshold = float(thresholds[-1])
        self.register_buffer("thresholds", thresholds, persistent=False)
        self.register_buffer("mass", mass, persistent=False)
        self.register_buffer("mass_below", F.pad(mass.cumsum(0), (1, 0)), persistent=False)

    def forward(self, waveform: Tensor) -> Candidates:
        """Return the candidates of every frame of the centred grid."""
        if waveform.device.type != "cpu":
            return self._search(waveform)
        # clip by clip, so that the frames fit the cache (see `framing.by_clip`)
        found = [self._search(clip) for clip in torch.split(waveform, 1)]
        clip = [part.clip + index for index, part in enumerate(found)]
        columns = zip(*((part.frame, part.bin, part.probability) for part in found), strict=True)
        return Candidates(len(found), found[0].grid, torch.cat(clip), *(torch.cat(column) for column in columns))

    def _search(self, waveform: Tensor) -> Candidates:
        half = self.pyin.frame_length // 2
        frames = frame(F.pad(waveform, (half, half)), self.pyin.frame_length, self.hop_length)
        grid = frames.shape[1]
        curve = difference(frames, self.max_period)[..., self.min_period - 1 :].flatten(0, 1)
        is_trough = troughs(curve)
        row, column = torch.nonzero(is_trough, as_tuple=True)
        height = curve[row, column]
        lowest = column == torch.where(is_trough, curve, torch.inf).argmin(dim=1)[row]
        # Troughs above every threshold have no probability, unless they are all the frame has.
        kept = (height < self.highest_threshold) | lowest
        row, column, height, lowest = row[kept], column[kept], height[kept], lowest[kept]
        probability = self._probability(row, height, lowest, len(curve))
        kept = probability > 0
        row, column, probability = row[kept], column[kept], probability[kept]
        bin_ = self._pitch_bin(curve, row, column)
        # Of several troughs in one bin the longest period wins (they are neighbours: pitch falls along a row);
        # above fmax there is no bin. Both as in librosa.
        last = torch.ones_like(row, dtype=torch.bool)
        last[:-1] = (row[1:] != row[:-1]) | (bin_[1:] != bin_[:-1])
        last &= bin_ < self.pitch_bins
        row, bin_, probability = row[last], bin_[last], probability[last]
        clip = torch.div(row, grid, rounding_mode="floor")
        return Candidates(len(waveform), grid, clip, row % grid, bin_, probability)

    def _probability(self, row: Tensor, height: Tensor, lowest: Tensor, rows: int) -> Tensor:
        """Probability of each trough (sorted by frame, then period).

        A threshold that leaves n troughs below it gives the k-th of them, counted from the shortest period, the
        share `exp(-2 k)`, normalised over the n (Boltzmann); the beta distribution weighs the thresholds.
        """
        below = height[:, None] < self.thresholds  # (troughs, thresholds)
        # before each trough, over all frames; transposed, since a GPU sums in parallel only along the last dimension
        seen = F.pad(below.T.cumsum(1, dtype=torch.int32), (1, 0)).T
        stop = torch.bincount(row, minlength=rows).cumsum(0)
        start = F.pad(stop[:-1], (1, 0))
        position = seen[:-1] - seen[start[row]]
        count = (seen[stop] - seen[start]).double()  # (rows, thresholds)
        decay = self.pyin.boltzmann_parameter
        weight = self.mass * math.expm1(-decay) / torch.expm1(-decay * count.clamp(min=1.0))
        shares = torch.exp(-decay * position.double()) * below
        probability = (shares * weight[row]).sum(1)
        above = (~below).sum(1)  # thresholds that leave nothing, for the lowest trough
        leftover = self.pyin.no_trough_prob * self.mass_below[above]
        return torch.where(lowest, probability + leftover, probability)

    def _pitch_bin(self, curve: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Pitch bin of each trough, its period interpolated; not below 0, but possibly above the highest."""
        inner = (column > 0) & (column < curve.shape[1] - 1)
        left, right = (column - 1).clamp(min=0), (column + 1).clamp(max=curve.shape[1] - 1)
        shift = parabolic_shift(curve[row, left], curve[row, column], curve[row, right]) * inner
        frequency = self.sample_rate / (self.min_period + column + shift)
        return torch.round(self.bins_per_octave * torch.log2(frequency / self.pyin.fmin)).long().clamp(min=0)
