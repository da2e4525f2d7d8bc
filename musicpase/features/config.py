"""Constants of the six targets; together they say which call of librosa each target equals."""

from dataclasses import dataclass

from musicpase.config import HOP_LENGTH, SAMPLE_RATE

__all__ = ["AMIN", "TOP_DB", "FeatureConfig", "PyinConfig"]

AMIN = 1e-10
"""Smallest power that `power_to_db` takes the logarithm of (librosa's default): -100 dB."""

TOP_DB = 80.0
"""Range below a clip's loudest bin that `power_to_db` keeps [dB] (librosa's default)."""


@dataclass(frozen=True)
class PyinConfig:
    """Parameters of probabilistic YIN; names and defaults are `librosa.pyin`'s, `fmin` and `fmax` the issue's."""

    fmin: float = 440.0 * 2.0 ** (-33 / 12)  # C2, 65.4 Hz
    fmax: float = 440.0 * 2.0 ** (27 / 12)  # C7, 2093 Hz
    frame_length: int = 2048  # samples
    n_thresholds: int = 100
    beta_parameters: tuple[float, float] = (2.0, 18.0)
    boltzmann_parameter: float = 2.0
    resolution: float = 0.1  # semitones between two pitch bins
    max_transition_rate: float = 35.92  # octaves per second
    switch_prob: float = 0.01
    no_trough_prob: float = 0.01


@dataclass(frozen=True)
class FeatureConfig:
    """What the targets are computed with; the defaults are the pretext tasks of arXiv 2102.03229.

    Changing a value gives what librosa computes with the same value (`tests/parity/test_features_*.py`), but
    no longer the targets that the workers of `workers/catalogue.py` are declared for.
    """

    sample_rate: int = SAMPLE_RATE  # Hz
    hop_length: int = HOP_LENGTH  # samples; one frame per frame of the encoder
    n_fft: int = 2048  # samples; also the frame length of ZCR and RMS
    n_mels: int = 128
    n_mfcc: int = 20
    n_chroma: int = 12
    tempogram_lags: int = 384  # frames
    pyin: PyinConfig = PyinConfig()

    @property
    def n_bins(self) -> int:
        """Frequency bins of one frame of the short-time spectrum."""
        return self.n_fft // 2 + 1
