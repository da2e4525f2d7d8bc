"""Prosody: zero crossing rate, energy, and pitch with its probability by pYIN."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicpase.features.config import FeatureConfig
from musicpase.features.viterbi import BandedViterbi
from musicpase.features.yin import PitchCandidates

__all__ = ["Pitch", "Prosody", "Pyin", "root_mean_square", "zero_crossing_rate"]

ZERO = 1e-10  # samples up to this size count as (positive) zero (librosa.zero_crossings)


class Pitch(NamedTuple):
    """What pYIN finds in each frame; every tensor is `(batch, grid)`."""

    f0: Tensor
    """Fundamental frequency [Hz], float32; 0 where unvoiced."""
    voiced: Tensor
    """Whether the best path is voiced, bool."""
    voiced_probability: Tensor
    """Sum of the candidates' probabilities, float32 in [0, 1]; not the path's."""


def zero_crossing_rate(waveform: Tensor, config: FeatureConfig) -> Tensor:
    """`librosa.feature.zero_crossing_rate`: `(batch, samples)` -> `(batch, grid)`, crossings per sample.

    The waveform is continued beyond its ends by its first and last value; counts are exact integers.
    """
    half = config.n_fft // 2
    negative = F.pad(waveform, (half, half), mode="replicate") < -ZERO
    crossings = F.pad((negative[:, 1:] != negative[:, :-1]).cumsum(1), (1, 0))
    # crossings[n]: how many up to sample n; within a frame, those after its first sample
    first = crossings[:, : negative.shape[1] - config.n_fft + 1 : config.hop_length]
    last = crossings[:, config.n_fft - 1 :: config.hop_length]
    return (last - first).float() / config.n_fft


def root_mean_square(waveform: Tensor, config: FeatureConfig) -> Tensor:
    """`librosa.feature.rms`: `(batch, samples)` -> `(batch, grid)`; silence beyond the ends counts as part."""
    frame_length, hop_length = config.n_fft, config.hop_length
    block = torch.gcd(torch.tensor(frame_length), torch.tensor(hop_length)).item()
    power = F.pad(waveform, (frame_length // 2, frame_length // 2)).square()[:, None]
    power = F.avg_pool1d(power, int(block))  # frames share whole blocks of 32 samples, each averaged once
    power = F.avg_pool1d(power, frame_length // int(block), stride=hop_length // int(block))[:, 0]
    silent = power == 0  # the square root has no derivative there
    return torch.where(silent, 0.0, torch.where(silent, 1.0, power).sqrt())


class Pyin(nn.Module):
    """`librosa.pyin(y, fmin=C2, fmax=C7, frame_length=2048)` for a batch of clips.

    One pitch per frame on a grid of 10 cents. Unvoiced frames have `f0 = 0`, where librosa has NaN: a NaN would
    poison the loss and its gradient; 0 Hz is no pitch, so the voicing decision can be read off the same row; and
    it is what pitch trackers and mir_eval commonly write.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.candidates = PitchCandidates(config)
        self.decoder = BandedViterbi(config, self.candidates.pitch_bins)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Pitch:
        """Track the pitch of `(batch, samples)`; not differentiable."""
        bins, voiced, probability = self.decoder(self.candidates(waveform))
        f0 = self.config.pyin.fmin * 2.0 ** (bins.double() / self.candidates.bins_per_octave)
        return Pitch(torch.where(voiced, f0, 0.0).float(), voiced, probability.float())


class Prosody(nn.Module):
    """The prosody worker's target: `(batch, samples)` -> `(batch, 4, grid)`.

    Rows: zero crossing rate, root mean square energy, voiced probability, F0 [Hz, 0 where unvoiced].
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.pyin = Pyin(config)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the four rows."""
        pitch = self.pyin(waveform)
        rows = [
            zero_crossing_rate(waveform, self.config),
            root_mean_square(waveform, self.config),
            pitch.voiced_probability,
            pitch.f0,
        ]
        return torch.stack(rows, dim=1)
