"""Input checks, and the time grid that every target shares.

librosa centres frame i on sample `hop_length * i` and so has `1 + samples // hop_length` frames ("the centred
grid"). The encoder has `samples // hop_length`, so targets drop the grid's last frame, but only at the very end:
the loudest bin, the tuning and the pitch path of a clip are librosa's, which sees that frame.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from musicpase.errors import AudioError
from musicpase.features.config import FeatureConfig

__all__ = ["by_clip", "check_waveform", "frame"]


def check_waveform(waveform: Tensor, sample_rate: int, config: FeatureConfig) -> None:
    """Refuse what the targets are not defined for; nothing is padded, truncated, resampled or cast.

    Args:
        waveform: `(batch, samples)` float32, at least one analysis window (2048 samples) long, finite.
        sample_rate: what the caller says the waveform's rate is [Hz].
        config: holds the rate and the window that are expected.

    Raises:
        AudioError: naming the value that was wrong.
    """
    if sample_rate != config.sample_rate:
        raise AudioError(
            f"targets are defined at {config.sample_rate} Hz, got sample_rate={sample_rate}; resample first"
        )
    if waveform.ndim != 2 or waveform.shape[0] == 0:
        raise AudioError(f"targets need a waveform (batch, samples), got shape {tuple(waveform.shape)}")
    if waveform.dtype != torch.float32:
        raise AudioError(f"targets need a float32 waveform, got {waveform.dtype}; convert it first")
    if waveform.shape[1] < config.n_fft:
        raise AudioError(
            f"a crop of {waveform.shape[1]} samples is shorter than one analysis window of {config.n_fft}; "
            "use longer crops"
        )
    finite = torch.isfinite(waveform)
    if not finite.all():
        clip, sample = torch.nonzero(~finite)[0].tolist()
        raise AudioError(
            f"the waveform is not finite: clip {clip} has {waveform[clip, sample].item()} at sample {sample}"
        )


def frame(padded: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """View overlapping frames: `(..., samples)` -> `(..., frames, frame_length)`, without a copy."""
    return padded.unfold(-1, frame_length, hop_length)


def by_clip(function: Callable[[Tensor], dict[str, Tensor]], batch: Tensor) -> dict[str, Tensor]:
    """Apply a batched function: clip by clip on a CPU, all at once elsewhere.

    The spectra of one 3 s clip fit a core's cache, those of a batch do not: the short-time spectrum of 32 crops
    takes 2.7 ms per crop this way and 11 ms as one batch (one core). A GPU wants the batch.

    Args:
        function: maps `(clips, ...)` to tensors `(clips, ...)`, each clip by itself.
        batch: `(batch, ...)`.

    Returns:
        `function(batch)`.
    """
    if batch.device.type != "cpu":
        return function(batch)
    parts = [function(clip) for clip in torch.split(batch, 1)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
