"""Chroma, with the tuning of each clip estimated as librosa does."""

import torch
from torch import Tensor, nn

from musicpase.features.banks import TUNINGS_PER_SEMITONE, chroma_banks, tuning_edges
from musicpase.features.config import FeatureConfig
from musicpase.features.parabola import parabolic_shift

__all__ = ["Chroma"]

PEAK_FMIN, PEAK_FMAX = 150.0, 4000.0  # Hz; where librosa.piptrack looks for peaks
PEAK_THRESHOLD = 0.1  # a peak is above this share of its frame's loudest bin (librosa.piptrack)


class Chroma(nn.Module):
    """`librosa.feature.chroma_stft`: power `(batch, grid, n_bins)` -> `(batch, grid, n_chroma)` in [0, 1].

    Each frame is divided by its largest value; a silent frame stays 0. Differentiable for a fixed tuning.
    """

    banks: Tensor
    edges: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("banks", chroma_banks(config), persistent=False)
        self.register_buffer("edges", tuning_edges(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        """Return the share of each pitch class, relative to the frame's strongest."""
        bank = self.banks[self.tuning(power)]  # (batch, n_chroma, n_bins)
        chroma = power @ bank.transpose(1, 2)
        largest = chroma.amax(dim=2, keepdim=True)
        return chroma / torch.where(largest < torch.finfo(chroma.dtype).tiny, 1.0, largest)

    @torch.no_grad()
    def tuning(self, power: Tensor) -> Tensor:
        """Deviation from A440 of each clip: `librosa.estimate_tuning`.

        Args:
            power: `(batch, grid, n_bins)`; all frames of a clip give one estimate.

        Returns:
            `(batch,)` indices k that stand for a deviation of `k / 100 - 0.5` semitones: the fullest bin of the
            histogram of the louder half of all spectral peaks. A clip without a peak has deviation 0.
        """
        clip, frequency, magnitude = self._peaks(power)
        loud = magnitude >= _median_per_clip(clip, magnitude, len(power))[clip]
        clip, frequency = clip[loud], frequency[loud]
        octaves = torch.log2((frequency / (440.0 / 16)).double()).float()
        residual = torch.remainder(self.config.n_chroma * octaves, 1.0)
        residual = torch.where(residual >= 0.5, residual - 1.0, residual)
        column = torch.bucketize(residual.double(), self.edges, right=True) - 1
        counts = torch.bincount(
            clip * TUNINGS_PER_SEMITONE + column, minlength=len(power) * TUNINGS_PER_SEMITONE
        ).view(len(power), TUNINGS_PER_SEMITONE)
        return torch.where(counts.any(dim=1), counts.argmax(dim=1), TUNINGS_PER_SEMITONE // 2)

    def _peaks(self, power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find all spectral peaks of a batch: clip index, frequency [Hz], interpolated power (`piptrack`)."""
        bin_width = self.config.sample_rate / self.config.n_fft
        first, stop = (int(-(-hz // bin_width)) for hz in (PEAK_FMIN, PEAK_FMAX))
        threshold = PEAK_THRESHOLD * power.amax(dim=2, keepdim=True)
        near = power[..., first - 1 : stop + 1]  # one more bin on either side
        near = torch.where(near > threshold, near, 0.0)
        middle = near[..., 1:-1]
        clip, row, bin_ = torch.nonzero((middle > near[..., :-2]) & (middle >= near[..., 2:]), as_tuple=True)
        bin_ = bin_ + first
        left, centre, right = (power[clip, row, bin_ + offset] for offset in (-1, 0, 1))
        shift = parabolic_shift(left, centre, right)
        frequency = ((bin_ + shift.double()) * bin_width).float()
        return clip, frequency, centre + 0.5 * ((right - left) / 2.0) * shift


def _median_per_clip(clip: Tensor, value: Tensor, clips: int) -> Tensor:
    """Median of the values of each clip `(clips,)`; of no value, 0. `clip` is sorted."""
    if not len(value):
        return value.new_zeros(clips)
    ascending = torch.argsort(value)
    ascending = value[ascending[torch.argsort(clip[ascending], stable=True)]]
    count = torch.bincount(clip, minlength=clips)
    start = count.cumsum(0) - count
    # an empty clip's index may point past the end; its value is never used
    lower, upper = ((start + (count - odd).div(2, rounding_mode="floor")) for odd in (1, 0))
    last = len(value) - 1
    return (ascending[lower.clamp(0, last)] + ascending[upper.clamp(0, last)]) / 2.0
