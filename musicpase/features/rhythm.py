"""Onset strength and tempogram."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicpase.features.banks import hann_window
from musicpase.features.config import FeatureConfig
from musicpase.features.framing import frame

__all__ = ["Tempogram", "onset_strength"]


def onset_strength(mel_db: Tensor, config: FeatureConfig) -> Tensor:
    """`librosa.onset.onset_strength`: by how much the mel bands get louder, on average over the bands.

    Args:
        mel_db: `(batch, grid, n_mels)` [dB].
        config: its window and hop say how late the analysis window notices an onset.

    Returns:
        `(batch, grid)` [dB per frame]; the rise from frame i to i + 1 stands at frame `i + 1 + 6`, half an
        analysis window later, and the first 7 frames are 0 (librosa's `center=True`).
    """
    rise = mel_db.diff(dim=1).clamp(min=0.0).mean(dim=2)
    delay = 1 + config.n_fft // (2 * config.hop_length)
    return F.pad(rise, (delay, 0))[:, : mel_db.shape[1]]


class Tempogram(nn.Module):
    """`librosa.feature.tempogram`: mel decibels `(batch, grid, n_mels)` -> `(batch, grid, tempogram_lags)`.

    The autocorrelation of the onset strength in a Hann window of 384 frames (3.84 s) around each frame. Row k is
    a lag of k frames, k / 100 s; each frame is divided by its largest value, which is that of lag 0, and a frame
    without an onset in sight is 0.
    """

    window: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", hann_window(config.tempogram_lags).float(), persistent=False)

    def forward(self, mel_db: Tensor) -> Tensor:
        """Return the local autocorrelation of the onset strength."""
        onsets = onset_strength(mel_db, self.config)
        lags = self.config.tempogram_lags
        # Beyond the clip the onset strength fades to 0 in a straight line (numpy's linear_ramp).
        ramp = torch.arange(lags // 2, device=onsets.device) / (lags // 2)
        padded = torch.cat([onsets[:, :1] * ramp, onsets, onsets[:, -1:] * ramp.flip(0)], dim=1)
        frames = frame(padded, lags, 1)[:, : onsets.shape[1]] * self.window
        # A transform twice as long keeps the correlation from wrapping around.
        spectrum = torch.fft.rfft(frames, 2 * lags)
        product = spectrum.real.square() + spectrum.imag.square()
        correlation: Tensor = torch.fft.irfft(product, 2 * lags)[..., :lags]
        largest = correlation.abs().amax(dim=2, keepdim=True)
        return correlation / torch.where(largest < torch.finfo(largest.dtype).tiny, 1.0, largest)
