"""Filter banks and priors taken from librosa and SciPy once, when a module is built; run time is torch only."""

import math
from types import ModuleType

import torch
from torch import Tensor

from musicpase.errors import MissingExtraError
from musicpase.features.config import FeatureConfig, PyinConfig

__all__ = [
    "TUNINGS_PER_SEMITONE",
    "beta_prior",
    "chroma_banks",
    "dct_matrix",
    "hann_window",
    "mel_bank",
    "pitch_moves",
]

TUNINGS_PER_SEMITONE = 100
"""Resolution of the tuning estimate: one cent (`librosa.pitch_tuning`'s default)."""


def _librosa_filters() -> ModuleType:
    try:
        import librosa.filters
    except ImportError as error:
        raise MissingExtraError(
            "the targets take their filter banks from librosa, which is not installed: pip install 'musicpase[train]'"
        ) from error
    filters: ModuleType = librosa.filters
    return filters


def hann_window(length: int) -> Tensor:
    """Periodic Hann window `(length,)`, float64, as `librosa.filters.get_window("hann", length)`."""
    return torch.hann_window(length, periodic=True, dtype=torch.float64)


def mel_bank(config: FeatureConfig) -> Tensor:
    """Slaney's mel filters `(n_mels, n_bins)`, float32: `librosa.filters.mel` with its defaults."""
    bank = _librosa_filters().mel(sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels)
    return torch.from_numpy(bank)


def chroma_banks(config: FeatureConfig) -> Tensor:
    """Chroma filters for every tuning the estimate can give: `(100, n_chroma, n_bins)`, float32.

    Bank k is `librosa.filters.chroma` at a tuning of `k / 100 - 0.5` bins (5 MB in all): the tuning is a
    property of the clip, so a batch needs a bank per clip, and looking it up costs nothing.
    """
    filters = _librosa_filters()
    banks = [
        torch.from_numpy(
            filters.chroma(sr=config.sample_rate, n_fft=config.n_fft, n_chroma=config.n_chroma, tuning=tuning)
        )
        for tuning in tuning_edges()[:-1].tolist()
    ]
    return torch.stack(banks)


def tuning_edges() -> Tensor:
    """Edges of the tuning histogram `(101,)` [fractions of a bin], float64, as `librosa.pitch_tuning`."""
    return torch.linspace(-0.5, 0.5, TUNINGS_PER_SEMITONE + 1, dtype=torch.float64)


def dct_matrix(n_mels: int, n_mfcc: int) -> Tensor:
    """Orthonormal DCT-II as a matrix `(n_mels, n_mfcc)`, float32: `mel_db @ matrix` are the MFCCs."""
    band = torch.arange(n_mels, dtype=torch.float64)[:, None]
    order = torch.arange(n_mfcc, dtype=torch.float64)
    matrix = torch.cos(math.pi / n_mels * (band + 0.5) * order) * math.sqrt(2 / n_mels)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.float()


def beta_prior(config: PyinConfig) -> tuple[Tensor, Tensor]:
    """Thresholds of pYIN and how much each one counts.

    Returns:
        Thresholds `(n_thresholds,)` in (0, 1], and the mass of the beta distribution below each one and above
        the one before, both float64. SciPy computes it, since above 0.87 the mass is rounding error, and
        whether that is zero or 1e-16 decides whether librosa sees a candidate there.
    """
    _librosa_filters()  # SciPy comes with it; the message is the same
    import numpy as np
    from scipy.stats import beta

    thresholds = np.linspace(0, 1, config.n_thresholds + 1)
    mass = np.diff(beta.cdf(thresholds, *config.beta_parameters))
    return torch.from_numpy(thresholds[1:].copy()), torch.from_numpy(mass)


def pitch_moves(config: FeatureConfig, pitch_bins: int) -> tuple[Tensor, Tensor]:
    """Transition probabilities of pYIN's pitch bins, read off `librosa.sequence.transition_local`'s matrix.

    Returns:
        The probability of moving by 0, 1, ... bins, up or down, `(1 + reach,)`, and for each bin by how much its
        row exceeds that, `(pitch_bins,)`: 1, but more near the ends, where fewer bins are in reach. Float64.
    """
    _librosa_filters()
    import librosa

    semitones = round(config.pyin.max_transition_rate * 12 * config.hop_length / config.sample_rate)
    reach = semitones * math.ceil(1.0 / config.pyin.resolution) // 2
    matrix = torch.from_numpy(
        librosa.sequence.transition_local(pitch_bins, 2 * reach + 1, window="triangle", wrap=False)
    )
    weights = matrix[pitch_bins // 2, pitch_bins // 2 :][: reach + 1].clone()
    return weights, matrix.diagonal() / weights[0]
