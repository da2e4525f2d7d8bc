"""The first layer of PASE: band-pass filters that are learned through their two cut-off frequencies."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicpase.config import SAMPLE_RATE

__all__ = ["SincConv"]

MIN_LOW_HZ = 50.0  # lowest cut-off frequency [Hz], as in the original
MIN_BAND_HZ = 50.0  # narrowest band [Hz], as in the original


class SincConv(nn.Module):
    """Bank of windowed sinc band-pass filters (SincNet, arXiv 1808.00158, in the form PASE uses).

    A band-pass filter is the difference of two low-pass filters, so its taps follow from two numbers:
    `low = 50 + |low_hz_|` and `high = clamp(low + 50 + |band_hz_|, 50, 8000)` [Hz]. Only the left half is
    computed; the filter is symmetric around a centre tap of 1.

    Args:
        out_channels: number of filters.
        kernel_size: taps per filter; odd.

    Shape:
        - input: `(batch, 1, time)`
        - output: `(batch, out_channels, time - kernel_size + 1)`
    """

    window: Tensor
    half_period: Tensor

    def __init__(self, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        half = kernel_size // 2
        edges = mel_spaced_hz(30.0, SAMPLE_RATE / 2 - MIN_LOW_HZ - MIN_BAND_HZ, out_channels + 1)
        self.low_hz_ = nn.Parameter(edges[:-1, None])
        self.band_hz_ = nn.Parameter(edges.diff()[:, None])
        # Left half of a Hamming window, sampled as the original does: linspace(0, 124.5, 125) for 251 taps.
        position = torch.linspace(0, kernel_size / 2 - 1, half)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * position / kernel_size), False)
        time = torch.arange(-half, 0) / SAMPLE_RATE  # [s], relative to the centre tap
        self.register_buffer("half_period", 2 * math.pi * time[None], False)

    def filters(self) -> Tensor:
        """The impulse responses as they stand now, `(out_channels, 1, kernel_size)`."""
        low = MIN_LOW_HZ + self.low_hz_.abs()
        high = (low + MIN_BAND_HZ + self.band_hz_.abs()).clamp(MIN_LOW_HZ, SAMPLE_RATE / 2)
        difference = torch.sin(high * self.half_period) - torch.sin(low * self.half_period)
        left = difference / (self.half_period / 2) * self.window / (2 * (high - low))
        return torch.cat([left, torch.ones_like(low), left.flip(1)], dim=1)[:, None]

    def forward(self, waveform: Tensor) -> Tensor:
        """Filter `(batch, 1, time)`; no padding here."""
        return F.conv1d(waveform, self.filters())


def mel_spaced_hz(low: float, high: float, count: int) -> Tensor:
    """`count` frequencies [Hz] from `low` to `high`, evenly spaced on the mel scale (HTK's formula)."""
    bottom, top = (2595 * math.log10(1 + hz / 700) for hz in (low, high))
    mel = torch.linspace(bottom, top, count, dtype=torch.float64)
    return (700 * (10 ** (mel / 2595) - 1)).float()
