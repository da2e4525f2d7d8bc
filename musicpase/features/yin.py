"""The first half of pYIN: which pitches each frame could have, and how probable each one is.

Mauch and Dixon, "pYIN", ICASSP 2014, in the form of the authors' software, which librosa follows. Precision:
the difference function is float32 (as librosa's), candidate probabilities are float64 and then rounded to
float32 where librosa does: whether a frame's candidates sum to 1 exactly decides if it may be unvoiced at all.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicpase.features.banks import beta_prior
from musicpase.features.config import FeatureConfig
from musicpase.features.framing import frame
from musicpase.features.parabola import parabolic_shift

__all__ = ["PitchCandidates", "difference", "troughs"]


def difference(frames: Tensor, max_period: int) -> Tensor:
    """Cumulative mean normalised difference of each frame (de Cheveigné and Kawahara 2002, equation 8).

    Args:
        frames: `(..., frame_length)`.
        max_period: longest period [samples], less than the frame.

    Returns:
        `(..., max_period)`: entry k is for a period of k + 1 samples; about 1 where the frame does not repeat,
        near 0 where it does.
    """
    # Circular, but long enough that the lags which are kept do not wrap: 2304 instead of librosa's 4096.
    size = -(-(frames.shape[-1] + max_period) // 256) * 256
    spectrum = torch.fft.rfft(frames, size)
    product = spectrum.real.square() + spectrum.imag.square()
    correlation = torch.fft.irfft(product, size)[..., : max_period + 1]
    # librosa's difference leaves out the energy of the frame's last k samples; so do we.
    energy = frames[..., :max_period].square().cumsum(-1)
    raw = 2.0 * (correlation[..., :1] - correlation[..., 1:]) - energy
    period = torch.arange(1, max_period + 1, dtype=raw.dtype, device=raw.device)
    normalised: Tensor = raw / (raw.cumsum(-1) / period + torch.finfo(raw.dtype).tiny)
    return normalised


def troughs(curve: Tensor) -> Tensor:
    """Mark local minima along the last axis; of a flat bottom the first point, at the ends one side decides."""
    falls = torch.ones_like(curve, dtype=torch.bool)
    falls[..., 1:] = curve[..., 1:] < curve[..., :-1]
    rises = torch.ones_like(falls)
    rises[..., :-1] = curve[..., :-1] <= curve[..., 1:]
    rises[..., 0] = curve[..., 0] < curve[..., 1]  # librosa: strict at the first point
    return falls & rises


class PitchCandidates(nn.Module):
    """Waveform -> probability of each pitch bin in each frame: `(clips, grid, pitch_bins)`, float64.

    Bin b is the pitch `fmin * 2 ** (b / 120)`; a row sums to at most 1, the probability of being voiced.
    """

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
        self.register_buffer("thresholds", thresholds, persistent=False)
        self.register_buffer("mass", mass, persistent=False)
        self.register_buffer("mass_below", F.pad(mass.cumsum(0), (1, 0)), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the observation probabilities of the voiced states."""
        half = self.pyin.frame_length // 2
        frames = frame(F.pad(waveform, (half, half)), self.pyin.frame_length, self.hop_length)
        curve = difference(frames, self.max_period)[..., self.min_period - 1 :].flatten(0, 1)
        is_trough = troughs(curve)
        row, column = torch.nonzero(is_trough, as_tuple=True)
        height = curve[row, column]
        lowest = _first_lowest(curve, is_trough, row, column)
        # Troughs above every threshold have no probability, unless they are all the frame has.
        kept = (height < 1.0) | lowest
        row, column, height, lowest = row[kept], column[kept], height[kept], lowest[kept]
        probability = self._probability(row, height, lowest, len(curve))
        table = self._by_pitch(curve, row, column, probability)
        return table.view(len(waveform), -1, self.pitch_bins)

    def _probability(self, row: Tensor, height: Tensor, lowest: Tensor, rows: int) -> Tensor:
        """Probability of each trough (sorted by frame, then period), float32.

        A threshold that leaves n troughs below it gives the k-th of them, counted from the shortest period, the
        share `exp(-2 k)`, normalised over the n (Boltzmann); the beta distribution weighs the thresholds.
        """
        below = height.double()[:, None] < self.thresholds  # (troughs, thresholds)
        seen = F.pad(below.cumsum(0, dtype=torch.int32), (0, 0, 1, 0))  # before each trough, over all frames
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
        return torch.where(lowest, probability + leftover, probability).float()

    def _by_pitch(self, curve: Tensor, row: Tensor, column: Tensor, probability: Tensor) -> Tensor:
        """Put each trough's probability into its pitch bin: `(rows, pitch_bins)`, float64."""
        seen = probability > 0
        row, column, probability = row[seen], column[seen], probability[seen]
        inner = (column > 0) & (column < curve.shape[1] - 1)
        left, right = (column - 1).clamp(min=0), (column + 1).clamp(max=curve.shape[1] - 1)
        shift = parabolic_shift(curve[row, left], curve[row, column], curve[row, right]) * inner
        frequency = self.sample_rate / (self.min_period + column + shift.double())
        bin_ = torch.round(self.bins_per_octave * torch.log2(frequency / self.pyin.fmin)).long().clamp(min=0)
        # Of several troughs in one bin the longest period wins (they are neighbours: pitch falls along a row);
        # above fmax there is no bin. Both as in librosa.
        last = torch.ones_like(seen[seen])
        last[:-1] = (row[1:] != row[:-1]) | (bin_[1:] != bin_[:-1])
        last &= bin_ < self.pitch_bins
        table = curve.new_zeros((len(curve), self.pitch_bins), dtype=torch.float64)
        table[row[last], bin_[last]] = probability[last].double()
        return table


def _first_lowest(curve: Tensor, is_trough: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Mark, among the troughs `(row, column)`, the lowest of each row; the first where several are."""
    lowest = torch.where(is_trough, curve, torch.inf).argmin(dim=1)
    return column == lowest[row]
